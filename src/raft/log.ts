/**
 * The log of one group as the consensus core sees it.
 *
 *        compacted        on disk only        in memory               being written
 *   1 ............ c | c+1 ............ o-1 | o .......... stable | stable+1 .. last
 *                                        applied <= commit
 *
 * New entries are in memory at once and on disk a little later; `stableIndex` is the end of what is certainly on disk.
 * Entries that are applied and stable may leave memory (oldest first); a follower that still needs them gets them from
 * the disk. The term of every entry stays known at almost no cost, as runs: terms never fall along a log, so a run is
 * one pair (first index, term).
 *
 * After etcd/raft's log.go and log_unstable.go.
 */
import { assert } from '../lib/assert.ts';
import { type ConfigurationAt, ConfigurationLog } from './configuration-log.ts';
import { ENTRY_OVERHEAD_BYTES } from './limits.ts';
import type { Entry, NodeId } from './types.ts';

interface TermRun {
  readonly from: number;
  readonly term: number;
}

/** What is to be written: entries from `from` on replace whatever the disk holds from there. */
export interface UnsavedEntries {
  readonly from: number;
  readonly entries: readonly Entry[];
}

export interface LogStart {
  /** The last entry that is no longer in the log: 0 and term 0 for a whole log. */
  readonly compactedIndex: number;
  readonly compactedTerm: number;
  /** The term of every entry behind it, as runs in order. */
  readonly termRuns: readonly TermRun[];
  readonly lastIndex: number;
  /** What the state machine has applied already; entries behind it must be in `entries`. */
  readonly appliedIndex: number;
  /** The tail of the log, at least everything behind `appliedIndex`. */
  readonly entries: readonly Entry[];
}

export const EMPTY_LOG: LogStart = {
  compactedIndex: 0,
  compactedTerm: 0,
  termRuns: [],
  lastIndex: 0,
  appliedIndex: 0,
  entries: [],
};

export function entryBytes(entry: Entry): number {
  return entry.data.length + ENTRY_OVERHEAD_BYTES;
}

export class RaftLog {
  /** Invariant: compactedIndex <= appliedIndex <= commitIndex <= lastIndex, and appliedIndex <= stableIndex. */
  compactedIndex: number;
  appliedIndex: number;
  commitIndex: number;
  lastIndex: number;

  #compactedTerm: number;
  #runs: TermRun[];
  #entries: Entry[];
  /** Index of #entries[0]; lastIndex + 1 when memory is empty. */
  #memoryFrom: number;
  #memoryBytes: number;
  /** First index that no save has been handed out for; lastIndex + 1 when all have. */
  #unsavedFrom: number;
  /** Saves handed out and not yet durable, in order: the first index each one writes. */
  #saving: { token: number; from: number }[] = [];
  readonly #configurations: ConfigurationLog;
  /** A snapshot that took the place of the log, and that no save has been handed out for. */
  #unsavedSnapshot: { readonly index: number; readonly term: number } | undefined;

  /** `base`: the configuration of the applied state. */
  constructor(start: LogStart, base: ConfigurationAt) {
    this.compactedIndex = start.compactedIndex;
    this.#compactedTerm = start.compactedTerm;
    this.#runs = [...start.termRuns];
    this.lastIndex = start.lastIndex;
    this.appliedIndex = start.appliedIndex;
    this.commitIndex = start.appliedIndex;
    this.#entries = [...start.entries];
    this.#memoryFrom = start.lastIndex - start.entries.length + 1;
    this.#memoryBytes = this.#entries.reduce((sum, entry) => sum + entryBytes(entry), 0);
    this.#unsavedFrom = start.lastIndex + 1;
    assert(this.compactedIndex <= this.appliedIndex, 'what is compacted was applied', start.compactedIndex);
    assert(this.appliedIndex <= this.lastIndex, 'the log reaches what was applied', start.lastIndex);
    assert(this.#memoryFrom <= this.appliedIndex + 1, 'what is to be applied is in memory', this.#memoryFrom);
    for (const [i, entry] of this.#entries.entries()) {
      assert(entry.index === this.#memoryFrom + i, 'the log has no gap', entry.index, this.#memoryFrom + i);
      assert(entry.term === this.termAt(entry.index), 'the runs tell the terms', entry.index, entry.term);
    }
    this.#configurations = new ConfigurationLog(base);
    for (const entry of this.#entries) if (entry.index > base.index) this.#configurations.appended(entry);
  }

  /** The configuration in force. */
  get configuration(): ConfigurationAt {
    return this.#configurations.last;
  }

  /**
   * Whether `id` votes, or voted before a configuration that is not committed yet: "a server that is not part of its own
   * latest configuration should still start new elections, as it might still be needed until the C_new entry is
   * committed" (thesis 4.2.2). A leader that removes itself may be the only one who has that entry.
   */
  mayLead(id: NodeId): boolean {
    const { last, beforeLast } = this.#configurations;
    if (last.configuration.isVoter(id)) return true;
    return last.index > this.commitIndex && (beforeLast?.configuration.isVoter(id) ?? false);
  }

  get lastTerm(): number {
    return this.#runs.at(-1)?.term ?? this.#compactedTerm;
  }

  get memoryBytes(): number {
    return this.#memoryBytes;
  }

  /** All entries up to here are on disk, in their present form: no write that touches them is missing or under way. */
  get stableIndex(): number {
    let firstUnstable = this.#unsavedFrom;
    for (const save of this.#saving) firstUnstable = Math.min(firstUnstable, save.from);
    return firstUnstable - 1;
  }

  /** The term of an entry, or undefined where the log does not reach (compacted, or behind the end). */
  termAt(index: number): number | undefined {
    if (index === this.compactedIndex) return this.#compactedTerm;
    if (index < this.compactedIndex || index > this.lastIndex) return undefined;
    return this.#runs[this.#runAt(index)]!.term;
  }

  matches(index: number, term: number): boolean {
    return this.termAt(index) === term;
  }

  /** Whether a candidate whose log ends so may lead: "more up-to-date" of §5.4.1, with this log's own end. */
  isUpToDate(lastLogIndex: number, lastLogTerm: number): boolean {
    if (lastLogTerm !== this.lastTerm) return lastLogTerm > this.lastTerm;
    return lastLogIndex >= this.lastIndex;
  }

  /**
   * The last entry at or before `index` whose term is not above `term`: the latest place where this log and one that
   * has `term` at `index` can agree. One step skips a whole term, so a divergent tail costs a round per term, not per
   * entry. For example, with ours 1 1 4 4 4 and theirs holding term 2 at index 5, the answer is index 2, term 1.
   */
  findConflictByTerm(index: number, term: number): { index: number; term: number } {
    let at = Math.min(index, this.lastIndex);
    while (at > this.compactedIndex) {
      const run = this.#runs[this.#runAt(at)]!;
      if (run.term <= term) return { index: at, term: run.term };
      at = run.from - 1;
    }
    return { index: this.compactedIndex, term: this.#compactedTerm };
  }

  /** The leader's way to add: at the end. */
  append(entry: Entry): void {
    assert(entry.index === this.lastIndex + 1, 'the log has no gap', entry.index, this.lastIndex);
    assert(entry.term >= this.lastTerm, 'terms never fall along a log', entry.term, this.lastTerm);
    if (entry.term !== this.lastTerm || this.#runs.length === 0) {
      this.#runs.push({ from: entry.index, term: entry.term });
    }
    this.#entries.push(entry);
    this.#memoryBytes += entryBytes(entry);
    this.lastIndex = entry.index;
    this.#configurations.appended(entry);
  }

  /**
   * The follower's way: takes from `entries`, which follow an entry known to match, what it does not have. Only a real
   * conflict (same index, other term) removes anything: a late AppendEntries that ends before what we already hold must
   * not shorten the log, since what it would cut off may be acknowledged. (§5.3, "if an existing entry conflicts")
   */
  merge(entries: readonly Entry[]): void {
    let i = 0;
    while (i < entries.length && this.matches(entries[i]!.index, entries[i]!.term)) i++;
    if (i === entries.length) return;
    const first = entries[i]!.index;
    if (first <= this.lastIndex) this.truncateFrom(first);
    for (; i < entries.length; i++) this.append(entries[i]!);
  }

  /** A conflict with the leader's log: entry `index` and all behind it go. */
  truncateFrom(index: number): void {
    assert(index > this.commitIndex, 'a committed entry is never removed', index, this.commitIndex);
    assert(index >= this.#memoryFrom, 'what is not committed is in memory', index, this.#memoryFrom);
    for (const entry of this.#entries.splice(index - this.#memoryFrom))
      this.#memoryBytes -= entryBytes(entry);
    while (this.#runs.length > 0 && this.#runs.at(-1)!.from >= index) this.#runs.pop();
    this.lastIndex = index - 1;
    this.#unsavedFrom = Math.min(this.#unsavedFrom, index);
    this.#configurations.truncatedFrom(index);
  }

  /**
   * The state machine has taken over a snapshot that holds everything up to entry `index`. "If existing log entry has
   * same index and term as snapshot's last included entry, retain log entries following it. Discard the entire log"
   * otherwise (figure 13 of the paper). A log that has not come so far on the disk begins anew there too; but what follows
   * is written behind the snapshot, since an acknowledgement of it may be waiting for an earlier write.
   */
  restore(snapshot: { index: number; term: number; configuration: ConfigurationAt }): void {
    const { index, term, configuration } = snapshot;
    assert(index > this.commitIndex, 'a snapshot brings something new', index, this.commitIndex);
    if (this.matches(index, term) && this.stableIndex >= index) {
      this.commitTo(index);
      this.appliedTo(index);
      return;
    }
    const tail = this.matches(index, term) ? this.#entries.slice(index + 1 - this.#memoryFrom) : [];
    this.compactedIndex = index;
    this.#compactedTerm = term;
    this.#runs = [];
    this.#entries = [];
    this.#memoryBytes = 0;
    this.#memoryFrom = index + 1;
    this.#unsavedFrom = index + 1;
    this.lastIndex = index;
    this.commitIndex = index;
    this.appliedIndex = index;
    // Up to here the store has everything; what was being written is void.
    this.#saving = [];
    this.#unsavedSnapshot = { index, term };
    this.#configurations.restored(configuration);
    for (const entry of tail) this.append(entry);
  }

  /** Hands out, once, the snapshot behind which the log on the disk has to begin anew. */
  takeUnsavedSnapshot(): { readonly index: number; readonly term: number } | undefined {
    const snapshot = this.#unsavedSnapshot;
    this.#unsavedSnapshot = undefined;
    return snapshot;
  }

  /** Whether that moved the commit index. It never goes back. */
  commitTo(index: number): boolean {
    assert(index <= this.lastIndex, 'what is committed is in the log', index, this.lastIndex);
    if (index <= this.commitIndex) return false;
    this.commitIndex = index;
    return true;
  }

  appliedTo(index: number): void {
    assert(index >= this.appliedIndex, 'applied never goes back', index, this.appliedIndex);
    assert(index <= this.commitIndex, 'only what is committed is applied', index, this.commitIndex);
    this.appliedIndex = index;
    this.#configurations.appliedTo(index);
  }

  /** Hands out what has to be written, once; `token` names the write for `saved`. */
  takeUnsaved(token: number): UnsavedEntries | undefined {
    if (this.#unsavedFrom > this.lastIndex) return undefined;
    const from = this.#unsavedFrom;
    const entries = this.#entries.slice(from - this.#memoryFrom);
    this.#saving.push({ token, from });
    this.#unsavedFrom = this.lastIndex + 1;
    return { from, entries };
  }

  /** All writes up to `token` are durable. Writes finish in the order in which they were handed out. */
  saved(token: number): void {
    while (this.#saving.length > 0 && this.#saving[0]!.token <= token) this.#saving.shift();
  }

  /** Entries from `from` on that are in memory: at least one, then as many as fit; undefined if `from` is only on disk. */
  slice(from: number, bytesMax: number, to = this.lastIndex): Entry[] | undefined {
    assert(
      from > this.compactedIndex && from <= to,
      'a slice lies in the log',
      from,
      this.compactedIndex,
      to,
    );
    if (from < this.#memoryFrom) return undefined;
    const slice: Entry[] = [];
    let bytes = 0;
    for (let index = from; index <= to; index++) {
      const entry = this.#entries[index - this.#memoryFrom]!;
      bytes += entryBytes(entry);
      if (slice.length > 0 && bytes > bytesMax) break;
      slice.push(entry);
    }
    return slice;
  }

  /** Committed, durable here, not yet applied: at least one if there is any, then as many as fit. */
  nextToApply(bytesMax: number): Entry[] {
    const to = Math.min(this.commitIndex, this.stableIndex);
    if (to <= this.appliedIndex) return [];
    return this.slice(this.appliedIndex + 1, bytesMax, to)!;
  }

  /**
   * Lets go of applied and stable entries in memory, the oldest first, once more than `bytesMax` and an eighth are held,
   * until at most `bytesMax` are: moving the rest up costs as much as there is of it, and so is done seldom.
   */
  trimMemory(bytesMax: number): void {
    if (this.#memoryBytes <= bytesMax + bytesMax / 8) return;
    const keepFrom = Math.min(this.appliedIndex, this.stableIndex) + 1;
    let drop = 0;
    while (this.#memoryBytes > bytesMax && this.#memoryFrom + drop < keepFrom) {
      this.#memoryBytes -= entryBytes(this.#entries[drop]!);
      drop++;
    }
    this.#entries.splice(0, drop);
    this.#memoryFrom += drop;
  }

  /** The disk no longer holds entries up to `index`. */
  compactTo(index: number): void {
    if (index <= this.compactedIndex) return;
    assert(index <= this.appliedIndex, 'only what is applied is compacted', index, this.appliedIndex);
    const term = this.termAt(index)!;
    if (index >= this.#memoryFrom) {
      const dropped = this.#entries.splice(0, index - this.#memoryFrom + 1);
      for (const entry of dropped) this.#memoryBytes -= entryBytes(entry);
      this.#memoryFrom = index + 1;
    }
    const endOf = (i: number) => (this.#runs[i + 1]?.from ?? this.lastIndex + 1) - 1;
    this.#runs = this.#runs
      .filter((_, i) => endOf(i) > index)
      .map((run) => (run.from <= index ? { from: index + 1, term: run.term } : run));
    this.compactedIndex = index;
    this.#compactedTerm = term;
  }

  /** Position of the run that holds `index`, by bisection. */
  #runAt(index: number): number {
    let low = 0;
    let high = this.#runs.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#runs[middle]!.from <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
