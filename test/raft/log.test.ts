/** `RaftLog` against an obvious implementation: an array of entries, and a disk that does its writes one by one. */
import { describe, expect, test } from 'vitest';
import {
  type Configuration,
  decodeConfiguration,
  encodeConfiguration,
} from '../../src/raft/configuration.ts';
import type { ConfigurationAt } from '../../src/raft/configuration-log.ts';
import { EMPTY_LOG, entryBytes, type LogStart, RaftLog } from '../../src/raft/log.ts';
import type { Entry } from '../../src/raft/types.ts';
import { SimRandom } from '../sim/random.ts';
import { describeConfiguration, entriesOf, foundingOf, logOf } from './cores.ts';

const FOUNDING = { index: 0, configuration: foundingOf([1, 2, 3]) };

interface Write {
  readonly token: number;
  readonly from: number;
  readonly entries: readonly Entry[];
}

/** What a log is, without any cleverness. Entry i is at i - 1; before a snapshot there is anything. */
class Twin {
  entries: Entry[] = [];
  disk: Entry[] = [];
  writes: Write[] = [];
  /** Writes under way when a snapshot took the place of the log: what they do counts for nothing. */
  voidTokens: number[] = [];
  unsavedSnapshot: { index: number; term: number } | undefined;
  /** The configuration that it began with, or that the snapshot brought. */
  base: ConfigurationAt = FOUNDING;
  commit = 0;
  applied = 0;
  compacted = 0;

  term(index: number): number | undefined {
    if (index < this.compacted) return undefined;
    return index === 0 ? 0 : this.entries[index - 1]?.term;
  }

  /** "A server always uses the latest configuration in its log", up to `index`. */
  configuration(index = this.entries.length): ConfigurationAt {
    const isOne = (entry: Entry) =>
      entry.type === 'configuration' && entry.index > this.base.index && entry.index <= index;
    const last = this.entries.findLast(isOne);
    return last === undefined
      ? this.base
      : { index: last.index, configuration: decodeConfiguration(last.data) };
  }

  /** Entries that are on the disk as they are in the log, however many of the writes under way are done. */
  stable(): number {
    const disk = [...this.disk];
    let stable = this.#agree(disk);
    for (const { from, entries } of this.writes) {
      disk.length = from - 1;
      disk.push(...entries);
      stable = Math.min(stable, this.#agree(disk));
    }
    return stable;
  }

  #agree(disk: readonly Entry[]): number {
    let n = 0;
    while (n < this.entries.length && disk[n]?.term === this.entries[n]!.term) n++;
    return n;
  }

  findConflictByTerm(index: number, term: number): number {
    let at = Math.max(Math.min(index, this.entries.length), this.compacted);
    while (at > this.compacted && this.term(at)! > term) at--;
    return at;
  }

  /** The log begins anew behind `index`, with what was behind it before if the entry there is the same. */
  beginBehind(index: number, term: number, base: ConfigurationAt): void {
    const tail = this.term(index) === term ? this.entries.slice(index) : [];
    const before = Array.from({ length: index }, (_, i): Entry => {
      return { index: i + 1, term, type: 'data', data: new Uint8Array() };
    });
    this.entries = [...before, ...tail];
    this.disk = before.slice();
    this.voidTokens.push(...this.writes.map(({ token }) => token));
    this.writes = [];
    this.unsavedSnapshot = { index, term };
    this.base = base;
    this.commit = index;
    this.applied = index;
    this.compacted = index;
  }
}

function compare(log: RaftLog, twin: Twin, random: SimRandom): void {
  expect(log.lastIndex).toBe(twin.entries.length);
  expect(log.lastTerm).toBe(twin.term(twin.entries.length));
  expect(log.commitIndex).toBe(twin.commit);
  expect(log.compactedIndex).toBe(twin.compacted);
  expect(log.stableIndex).toBeLessThanOrEqual(twin.stable());
  const { index: at, configuration } = twin.configuration();
  expect(log.configuration.index).toBe(at);
  expect(describeConfiguration(log.configuration.configuration)).toBe(describeConfiguration(configuration));
  const index = random.below(twin.entries.length + 3);
  expect(log.termAt(index)).toBe(twin.term(index));
  const term = random.below(20);
  const found = log.findConflictByTerm(index, term);
  expect(found.index).toBe(twin.findConflictByTerm(index, term));
  expect(found.term).toBe(twin.term(found.index));
  const upToDate = term > log.lastTerm || (term === log.lastTerm && index >= twin.entries.length);
  expect(log.isUpToDate(index, term)).toBe(upToDate);
  const slice = index > twin.compacted && index <= twin.entries.length ? log.slice(index, 100) : undefined;
  if (slice !== undefined) expect(slice).toEqual(twin.entries.slice(index - 1, index - 1 + slice.length));
  const memory = log.lastIndex > log.appliedIndex ? log.slice(log.appliedIndex + 1, 1 << 30) : [];
  expect(memory, 'what is not applied is in memory').toEqual(twin.entries.slice(log.appliedIndex));
}

/** One life of a log and its twin, by chance. */
class Life {
  readonly log = new RaftLog(EMPTY_LOG, FOUNDING);
  readonly twin = new Twin();
  readonly #random: SimRandom;
  #term = 1;
  #token = 0;

  constructor(random: SimRandom) {
    this.#random = random;
  }

  step(): void {
    switch (this.#random.below(9)) {
      case 0:
      case 1:
        return this.#append();
      case 2:
        return this.#merge(++this.#term);
      case 3:
        return this.#save();
      case 4:
        return this.#saved();
      case 5:
        return this.#commit();
      case 6:
        return this.#apply();
      case 7:
        if (this.#random.chance(0.15)) this.#restore();
        return;
      default:
        return this.#compact();
    }
  }

  #entry(index: number, term: number): Entry {
    if (this.#random.chance(0.8)) {
      return { index, term, type: 'data', data: this.#random.bytes(this.#random.below(30)) };
    }
    return { index, term, type: 'configuration', data: encodeConfiguration(this.#anyConfiguration()) };
  }

  #anyConfiguration(): Configuration {
    return foundingOf(
      Array.from({ length: 1 + this.#random.below(5) }, (_, i) => 10 * i + this.#random.below(10)),
    );
  }

  #append(): void {
    const { log, twin } = this;
    if (this.#random.chance(0.2)) this.#term++;
    const entry = this.#entry(log.lastIndex + 1, Math.max(this.#term, log.lastTerm));
    log.append(entry);
    twin.entries.push(entry);
  }

  /** A leader's entries from somewhere on, of which some may be there already. */
  #merge(term: number): void {
    const { log, twin } = this;
    const random = this.#random;
    const prev = twin.commit + random.below(twin.entries.length - twin.commit + 1);
    const known = twin.entries.slice(prev, prev + random.below(4));
    const from = prev + known.length + 1;
    const added = Array.from({ length: random.below(3) }, (_, i) => this.#entry(from + i, term));
    log.merge([...known, ...added]);
    if (added.length > 0) twin.entries.splice(from - 1, Number.POSITIVE_INFINITY, ...added);
  }

  #save(): void {
    const { log, twin } = this;
    const token = ++this.#token;
    expect(log.takeUnsavedSnapshot()).toEqual(twin.unsavedSnapshot);
    twin.unsavedSnapshot = undefined;
    const unsaved = log.takeUnsaved(token);
    if (unsaved === undefined) return;
    expect(unsaved.entries).toEqual(twin.entries.slice(unsaved.from - 1));
    twin.writes.push({ token, ...unsaved });
  }

  #saved(): void {
    const { log, twin } = this;
    const late = twin.voidTokens.shift();
    if (late !== undefined) return log.saved(late);
    const write = twin.writes.shift();
    if (write === undefined) return;
    twin.disk.length = write.from - 1;
    twin.disk.push(...write.entries);
    log.saved(write.token);
  }

  #commit(): void {
    const { log, twin } = this;
    twin.commit += this.#random.below(twin.entries.length - twin.commit + 1);
    log.commitTo(twin.commit);
    expect(log.commitTo(this.#random.below(twin.commit + 1)), 'the commit index never goes back').toBe(false);
  }

  #apply(): void {
    const { log, twin } = this;
    const entries = log.nextToApply(80);
    expect(entries).toEqual(twin.entries.slice(twin.applied, twin.applied + entries.length));
    twin.applied += entries.length;
    expect(twin.applied).toBeLessThanOrEqual(Math.min(twin.commit, twin.stable()));
    log.appliedTo(twin.applied);
    log.trimMemory(this.#random.below(2000));
  }

  /** A snapshot of a log that has the same entry at `index`, or another one, or is longer. */
  #restore(): void {
    const { log, twin } = this;
    const random = this.#random;
    const index = twin.commit + 1 + random.below(twin.entries.length - twin.commit + 3);
    const own = twin.term(index);
    const term = own !== undefined && random.chance(0.7) ? own : ++this.#term;
    const at = { index: random.below(index + 1), configuration: this.#anyConfiguration() };
    const configuration = own === term ? twin.configuration(index) : at;
    const kept = own === term && log.stableIndex >= index;
    log.restore({ index, term, configuration });
    if (!kept) return twin.beginBehind(index, term, configuration);
    twin.commit = index;
    twin.applied = index;
  }

  #compact(): void {
    const { log, twin } = this;
    if (this.#random.chance(0.8) || twin.applied === 0) return;
    twin.compacted = Math.max(twin.compacted, this.#random.below(twin.applied + 1));
    log.compactTo(twin.compacted);
  }

  /** When everything is written, everything is stable. */
  drain(): void {
    this.#save();
    this.log.saved(this.#token);
    expect(this.log.stableIndex).toBe(this.log.lastIndex);
  }
}

describe('a log', () => {
  test('is what an array would be, through appends, conflicts, writes in any pace, snapshots and compaction', () => {
    for (let seed = 1; seed <= 150; seed++) {
      const random = new SimRandom(seed);
      const life = new Life(random);
      for (let step = 0; step < 200; step++) {
        life.step();
        compare(life.log, life.twin, random);
      }
      life.drain();
    }
  });
});

describe('a configuration in the log', () => {
  const configuration = (index: number, term: number, voters: number[]): Entry => {
    return { index, term, type: 'configuration', data: encodeConfiguration(foundingOf(voters)) };
  };
  const votersOf = (log: RaftLog) => log.configuration.configuration.voters;

  test('is in force from when it is there, and with it goes (pitfall 27)', () => {
    const log = new RaftLog(EMPTY_LOG, FOUNDING);
    log.merge([...entriesOf(1), configuration(2, 1, [1, 2]), configuration(3, 1, [1])]);
    expect(votersOf(log)).toEqual([1]);
    log.merge([{ ...entriesOf(1, 1, 2)[2]! }]);
    expect(votersOf(log)).toEqual([1, 2]);
    log.truncateFrom(1);
    expect(log.configuration).toBe(FOUNDING);
  });

  test('that was applied is the one that a truncated log goes back to, however long ago it came', () => {
    const log = new RaftLog(EMPTY_LOG, FOUNDING);
    for (const index of [1, 2, 3]) log.append(configuration(index, 1, [index]));
    log.takeUnsaved(1);
    log.saved(1);
    log.commitTo(2);
    log.appliedTo(2);
    log.compactTo(2);
    log.truncateFrom(3);
    expect(log.configuration.index).toBe(2);
    expect(votersOf(log)).toEqual([2]);
  });

  test('behind what was applied is read from the log at the start, the rest comes with the state', () => {
    const entries = [...entriesOf(1), configuration(2, 1, [1, 2]), configuration(3, 1, [1])];
    const log = new RaftLog(logOf(entries, 2), { index: 2, configuration: foundingOf([1, 2]) });
    expect(votersOf(log)).toEqual([1]);
    log.truncateFrom(3);
    expect(votersOf(log)).toEqual([1, 2]);
  });
});

describe('a snapshot', () => {
  const at = (index: number, term: number) => ({ index, term, configuration: FOUNDING });

  test('"if existing log entry has same index and term, retain log entries following it" (figure 13)', () => {
    const log = new RaftLog(logOf(entriesOf(1, 1, 2, 2, 2), 0), FOUNDING);
    log.restore(at(3, 2));
    expect(log).toMatchObject({ compactedIndex: 0, appliedIndex: 3, commitIndex: 3, lastIndex: 5 });
    expect(log.takeUnsavedSnapshot()).toBeUndefined();
    expect(log.takeUnsaved(1)).toBeUndefined();
  });

  test('"discard the entire log" where that entry differs or is not there (figure 13)', () => {
    for (const [index, term] of [
      [3, 3],
      [9, 3],
    ] as const) {
      const log = new RaftLog(logOf(entriesOf(1, 1, 2, 2, 2), 0), FOUNDING);
      log.restore(at(index, term));
      const all = { compactedIndex: index, appliedIndex: index, commitIndex: index, lastIndex: index };
      expect(log).toMatchObject({ ...all, lastTerm: term, memoryBytes: 0 });
      expect(log.takeUnsavedSnapshot()).toEqual({ index, term });
      expect(log.takeUnsavedSnapshot(), 'once').toBeUndefined();
      expect(log.takeUnsaved(1)).toBeUndefined();
    }
  });

  test('at an entry that is not on the disk yet keeps what follows it, to be written behind it', () => {
    const log = new RaftLog(logOf(entriesOf(1, 1), 0), FOUNDING);
    log.merge(entriesOf(1, 1, 1, 1, 1).slice(2));
    log.takeUnsaved(1);
    // The write is under way, and its acknowledgement will say: up to 5.
    log.restore(at(3, 1));
    expect(log).toMatchObject({ compactedIndex: 3, appliedIndex: 3, lastIndex: 5, stableIndex: 3 });
    log.saved(1);
    expect(log.stableIndex).toBe(3);
    expect(log.takeUnsavedSnapshot()).toEqual({ index: 3, term: 1 });
    expect(log.takeUnsaved(2)).toMatchObject({ from: 4, entries: [{ index: 4 }, { index: 5 }] });
    log.saved(2);
    expect(log.stableIndex).toBe(5);
  });

  test('that brings nothing new is refused (pitfall 24)', () => {
    const log = new RaftLog(logOf(entriesOf(1, 1, 1), 2), FOUNDING);
    expect(() => log.restore(at(2, 1))).toThrow('a snapshot brings something new');
    expect(() => log.restore(at(1, 1))).toThrow('a snapshot brings something new');
  });
});

describe('a log with a gap', () => {
  const open = (start: Partial<LogStart>) =>
    new RaftLog({ ...logOf(entriesOf(1, 1, 1), 0), ...start }, FOUNDING);

  test('is refused at open: between the state and its first entry, inside, or at its end (pitfall 26)', () => {
    expect(() => open({ compactedIndex: 2, compactedTerm: 1 })).toThrow('what is compacted was applied');
    expect(() => open({ appliedIndex: 4 })).toThrow('the log reaches what was applied');
    expect(() => open({ lastIndex: 4, appliedIndex: 0 })).toThrow('what is to be applied is in memory');
    const [first, , third] = entriesOf(1, 1, 1);
    expect(() => open({ lastIndex: 2, entries: [first!, third!] })).toThrow('the log has no gap');
    expect(() => open({ termRuns: [{ from: 1, term: 2 }] })).toThrow('the runs tell the terms');
  });
});

describe('the bytes in memory', () => {
  test('are those of the entries that are there', () => {
    const log = new RaftLog(logOf(entriesOf(1, 1, 2, 2, 3), 4), FOUNDING);
    const total = entriesOf(1, 1, 2, 2, 3).reduce((sum, entry) => sum + entryBytes(entry), 0);
    expect(log.memoryBytes).toBe(total);
    log.trimMemory(0);
    expect(log.memoryBytes).toBe(total / 5);
    expect(log.slice(4, 100)).toBeUndefined();
    expect(log.slice(5, 100)).toHaveLength(1);
  });
});

describe('the append ABA race', () => {
  test('an entry is stable when its own write is done, not when one of another entry at its index is (etcd aba_race)', () => {
    const log = new RaftLog(logOf(entriesOf(1), 1), FOUNDING);
    const at2 = (term: number): Entry => ({ index: 2, term, type: 'data', data: new Uint8Array() });
    log.merge([at2(1)]);
    log.takeUnsaved(1);
    log.merge([at2(2)]);
    log.takeUnsaved(2);
    log.merge([at2(1)]);
    log.takeUnsaved(3);
    log.saved(1);
    expect(log.stableIndex).toBe(1);
    log.saved(2);
    expect(log.stableIndex).toBe(1);
    log.saved(3);
    expect(log.stableIndex).toBe(2);
  });
});
