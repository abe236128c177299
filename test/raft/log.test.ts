/** `RaftLog` against an obvious implementation: an array of entries, and a disk that does its writes one by one. */
import { describe, expect, test } from 'vitest';
import { EMPTY_LOG, entryBytes, RaftLog } from '../../src/raft/log.ts';
import type { Entry } from '../../src/raft/types.ts';
import { SimRandom } from '../sim/random.ts';
import { entriesOf, foundingOf, logOf } from './cores.ts';

const FOUNDING = { index: 0, configuration: foundingOf([1, 2, 3]) };

interface Write {
  readonly token: number;
  readonly from: number;
  readonly entries: readonly Entry[];
}

/** What a log is, without any cleverness. Entry i is at i - 1. */
class Twin {
  readonly entries: Entry[] = [];
  disk: Entry[] = [];
  readonly writes: Write[] = [];
  commit = 0;
  applied = 0;
  compacted = 0;

  term(index: number): number | undefined {
    if (index < this.compacted) return undefined;
    return index === 0 ? 0 : this.entries[index - 1]?.term;
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
}

function compare(log: RaftLog, twin: Twin, random: SimRandom): void {
  expect(log.lastIndex).toBe(twin.entries.length);
  expect(log.lastTerm).toBe(twin.term(twin.entries.length));
  expect(log.commitIndex).toBe(twin.commit);
  expect(log.stableIndex).toBeLessThanOrEqual(twin.stable());
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

describe('a log', () => {
  test('is what an array would be, through appends, conflicts, writes in any pace, and compaction', () => {
    for (let seed = 1; seed <= 150; seed++) {
      const random = new SimRandom(seed);
      const log = new RaftLog(EMPTY_LOG, FOUNDING);
      const twin = new Twin();
      let term = 1;
      let token = 0;
      for (let step = 0; step < 200; step++) {
        switch (random.below(8)) {
          case 0:
          case 1: {
            if (random.chance(0.2)) term++;
            const entry: Entry = {
              index: log.lastIndex + 1,
              term,
              type: 'data',
              data: random.bytes(random.below(30)),
            };
            log.append(entry);
            twin.entries.push(entry);
            break;
          }
          case 2: {
            merge(log, twin, random, ++term);
            break;
          }
          case 3: {
            const unsaved = log.takeUnsaved(++token);
            if (unsaved === undefined) break;
            expect(unsaved.entries).toEqual(twin.entries.slice(unsaved.from - 1));
            twin.writes.push({ token, ...unsaved });
            break;
          }
          case 4: {
            const write = twin.writes.shift();
            if (write === undefined) break;
            twin.disk.length = write.from - 1;
            twin.disk.push(...write.entries);
            log.saved(write.token);
            break;
          }
          case 5: {
            twin.commit += random.below(twin.entries.length - twin.commit + 1);
            log.commitTo(twin.commit);
            expect(log.commitTo(random.below(twin.commit + 1)), 'the commit index never goes back').toBe(
              false,
            );
            break;
          }
          case 6: {
            const entries = log.nextToApply(80);
            expect(entries).toEqual(twin.entries.slice(twin.applied, twin.applied + entries.length));
            twin.applied += entries.length;
            expect(twin.applied).toBeLessThanOrEqual(Math.min(twin.commit, twin.stable()));
            log.appliedTo(twin.applied);
            log.trimMemory(random.below(2000));
            break;
          }
          default: {
            if (random.chance(0.8) || twin.applied === 0) break;
            twin.compacted = Math.max(twin.compacted, random.below(twin.applied + 1));
            log.compactTo(twin.compacted);
          }
        }
        compare(log, twin, random);
      }
      drain(log, twin, ++token);
    }
  });
});

/** A leader's entries from somewhere on, of which some may be there already. */
function merge(log: RaftLog, twin: Twin, random: SimRandom, term: number): void {
  const prev = twin.commit + random.below(twin.entries.length - twin.commit + 1);
  const known = twin.entries.slice(prev, prev + random.below(4));
  const added: Entry[] = [];
  const from = prev + known.length + 1;
  for (let i = 0; i < random.below(3); i++)
    added.push({ index: from + i, term, type: 'data', data: random.bytes(5) });
  log.merge([...known, ...added]);
  if (added.length > 0) twin.entries.splice(from - 1, Number.POSITIVE_INFINITY, ...added);
}

/** When everything is written, everything is stable. */
function drain(log: RaftLog, twin: Twin, token: number): void {
  const unsaved = log.takeUnsaved(token);
  if (unsaved !== undefined) twin.writes.push({ token, ...unsaved });
  log.saved(token);
  expect(log.stableIndex).toBe(log.lastIndex);
}

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
