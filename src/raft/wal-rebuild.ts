/**
 * Building each group's log from what the records say, and holding it against the store.
 *
 * The store may be behind the log, and usually is: it is a checkpoint, and the entries behind it are applied again. It
 * is ahead of the log in one case only. A snapshot from the leader goes into the store first and is then written to the
 * log, which begins anew behind it; a crash between the two leaves a store that is exactly at the snapshot and a log
 * that ends before it, or has another entry there. Such an install is finished: the log is to be reset before
 * anything else is written. In every other case log and store are not of one time and place, and that is corruption.
 */
import type { LogStart } from './log.ts';
import { type Entry, type GroupId, type HardState, NOBODY } from './types.ts';
import { damageError } from './wal-damage.ts';
import type { WalItem } from './wal-format.ts';

/** An entry by its index and term, which is all it takes to tell it from every other (§5.3). */
export interface LogPosition {
  readonly index: number;
  readonly term: number;
}

/** What the store holds of a group. All zero for a store in which nothing was ever applied. */
export interface StoredState {
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  /** The last snapshot from a leader that took the place of the state, if there was one; never behind `appliedIndex`. */
  readonly installed: LogPosition | undefined;
}

export type StateOf = (group: GroupId) => StoredState;

export interface RecoveredGroup {
  readonly hardState: HardState;
  readonly log: LogStart;
  /** The install to be finished: `log` has it, the disk does not yet. */
  readonly reset: LogPosition | undefined;
}

/** Where a group's log stands, for whoever looks at it from outside. */
export interface LogOutline {
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly lastTerm: number;
  readonly hardState: HardState;
}

/** Takes the items of all records, in their order. */
export class LogRebuilder {
  readonly groups = new Map<GroupId, GroupLog>();
  readonly #stateOf: StateOf;

  constructor(stateOf: StateOf) {
    this.#stateOf = stateOf;
  }

  /** Throws CorruptionError. */
  take(item: WalItem): void {
    let log = this.groups.get(item.group);
    if (log === undefined) {
      log = new GroupLog(item.group, this.#stateOf(item.group));
      this.groups.set(item.group, log);
    }
    log.take(item);
  }
}

export class GroupLog {
  #hardState: HardState = { term: 0, votedFor: 0 };
  readonly #group: GroupId;
  readonly #state: StoredState;
  #compacted: LogPosition = { index: 0, term: 0 };
  #begun = false;
  /** The log cannot begin here: what the segment's first record told of was replaced. It begins with a later one. */
  #replaced = false;
  #lastIndex = 0;
  #runs: { from: number; term: number }[] = [];
  #entries: Entry[] = [];

  constructor(group: GroupId, state: StoredState) {
    this.#group = group;
    this.#state = state;
  }

  take(item: WalItem): void {
    switch (item.type) {
      case 'hardState':
        this.#hardState = item.hardState;
        break;
      case 'logEnd':
        this.#logEnd(item.lastIndex, item.lastTerm);
        break;
      case 'snapshot':
        this.#beginBehind(item);
        break;
      case 'entries':
        this.#append(item.from, item.entries);
        break;
    }
    this.#begun = true;
  }

  /** At the beginning of the oldest segment it tells where the log begins; later ones repeat what is known. */
  #logEnd(lastIndex: number, lastTerm: number): void {
    if (!this.#begun || this.#replaced) {
      this.#beginBehind({ index: lastIndex, term: lastTerm });
    } else if (lastIndex !== this.#lastIndex || lastTerm !== this.#lastTerm) {
      throw damageError(`the log was at ${lastIndex}, but its records lead to ${this.#lastIndex}`);
    }
  }

  #beginBehind({ index, term }: LogPosition): void {
    this.#compacted = { index, term };
    this.#lastIndex = index;
    this.#runs = [];
    this.#entries = [];
    this.#replaced = false;
  }

  get #lastTerm(): number {
    return this.#runs.at(-1)?.term ?? this.#compacted.term;
  }

  #append(from: number, entries: readonly Entry[]): void {
    // Only compaction makes a segment the first, and it lets none be that in which this happens: it was interrupted.
    if (from <= this.#compacted.index) this.#replaced = true;
    if (this.#replaced) return;
    if (from > this.#lastIndex + 1) {
      throw damageError(
        `entries from ${from} on do not join the log, which runs from ${this.#compacted.index} to ${this.#lastIndex}`,
      );
    }
    while (this.#runs.length > 0 && this.#runs.at(-1)!.from >= from) this.#runs.pop();
    while (this.#entries.length > 0 && this.#entries.at(-1)!.index >= from) this.#entries.pop();
    for (const entry of entries) {
      if (entry.term !== this.#lastTerm || this.#runs.length === 0) {
        this.#runs.push({ from: entry.index, term: entry.term });
      }
      // What the store has applied is not kept. The rest is copied, or one entry would keep its segment in memory.
      if (entry.index > this.#state.appliedIndex)
        this.#entries.push({ ...entry, data: Uint8Array.from(entry.data) });
      this.#lastIndex = entry.index;
    }
  }

  /** The term of an entry, or undefined where the log does not reach. */
  #termAt(index: number): number | undefined {
    if (index === this.#compacted.index) return this.#compacted.term;
    if (index < this.#compacted.index || index > this.#lastIndex) return undefined;
    return this.#runs.findLast((run) => run.from <= index)!.term;
  }

  /** Undefined when the records do not say where the log begins: segments are missing. */
  get outline(): LogOutline | undefined {
    if (this.#replaced) return undefined;
    const [firstIndex, hardState] = [this.#compacted.index + 1, this.#hardState];
    return { firstIndex, lastIndex: this.#lastIndex, lastTerm: this.#lastTerm, hardState };
  }

  /** The log as it is, when no more items come. Throws CorruptionError when it and the store do not belong together. */
  finish(): RecoveredGroup {
    const { appliedIndex, installed } = this.#state;
    const hardState = this.#hardStateOf(installed?.term ?? 0);
    if (installed !== undefined && this.#lacks(installed)) {
      const { index, term } = installed;
      const log = { compactedIndex: index, compactedTerm: term, termRuns: [], lastIndex: index };
      return { hardState, log: { ...log, appliedIndex, entries: [] }, reset: installed };
    }
    this.#checkAgainstStore();
    const { index: compactedIndex, term: compactedTerm } = this.#compacted;
    const log = { compactedIndex, compactedTerm, termRuns: this.#runs, lastIndex: this.#lastIndex };
    return { hardState, log: { ...log, appliedIndex, entries: this.#entries }, reset: undefined };
  }

  /**
   * A snapshot may be of a term that this server had not saved when it took it: in that term it has told nobody anything,
   * and given no vote.
   */
  #hardStateOf(snapshotTerm: number): HardState {
    return this.#hardState.term >= snapshotTerm ? this.#hardState : { term: snapshotTerm, votedFor: NOBODY };
  }

  /**
   * Whether the install of this snapshot was not finished. A log that begins behind the snapshot is no such case: it
   * was never let go further than the store had come, so what it lacks there was there, and is lost.
   */
  #lacks({ index, term }: LogPosition): boolean {
    if (this.#replaced || index !== this.#state.appliedIndex) return false;
    return this.#lastIndex < index || (this.#compacted.index <= index && this.#termAt(index) !== term);
  }

  #checkAgainstStore(): void {
    const { appliedIndex, appliedTerm, installed } = this.#state;
    const { index: compactedIndex } = this.#compacted;
    const of = `group ${this.#group}: `;
    if (this.#lastIndex < appliedIndex) {
      throw damageError(
        `${of}the log ends at ${this.#lastIndex}, but the store holds the state after entry ${appliedIndex}: ` +
          'one of the two is of another time or place',
      );
    }
    if (compactedIndex > appliedIndex || this.#replaced) {
      throw damageError(
        `${of}the log begins behind entry ${compactedIndex}, but the store holds the state after entry ` +
          `${appliedIndex}: segments are missing, or the store is of another time or place`,
      );
    }
    for (const { index, term } of [
      { index: appliedIndex, term: appliedTerm },
      installed ?? this.#compacted,
    ]) {
      const found = this.#termAt(index);
      if (found === undefined || found === term) continue;
      throw damageError(
        `${of}entry ${index} of the log is of term ${found}, but the store holds the state after one of term ` +
          `${term}: one of the two is of another time or place`,
      );
    }
  }
}
