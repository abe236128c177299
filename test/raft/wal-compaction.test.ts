/** What the log lets go of, and what it keeps: for itself always, for members that lag as long as it is of bounded size. */
import { describe, expect, test } from 'vitest';
import type { CompactionNeeds } from '../../src/raft/wal-compaction.ts';
import { entry, GROUP, installedAt, saveOf, segmentPath, upTo, WalWorld } from './wal-world.ts';

const SEGMENT_BYTES = 4096;
const padded = (index: number, term: number) => entry(index, term, `${index}.`.padEnd(900, 'x'));

/** A log of forty entries, four to a segment: the segments begin behind entries 0, 4, 8, ... 36. */
async function fortyEntries(options: { keepBytes?: number; seed?: number } = {}) {
  const { keepBytes = 1 << 20, seed = 1 } = options;
  const world = new WalWorld({ seed });
  const { wal } = await world.open({ keepBytes });
  for (let index = 1; index <= 40; index++) await world.save(wal, saveOf({ entries: [padded(index, 1)] }));
  await world.run(10);
  return { world, wal };
}

const needs = (given: Partial<CompactionNeeds>): CompactionNeeds => ({
  ...{ checkpointedIndex: 40, matchedIndex: 40, heldIndex: Number.POSITIVE_INFINITY },
  ...given,
});

describe('a segment goes', () => {
  test('only when a checkpoint has its entries, whoever else has them and however large the log is', async () => {
    for (const keepBytes of [0, 1 << 20]) {
      const { wal } = await fortyEntries({ keepBytes });
      expect(wal.compact(GROUP, needs({ checkpointedIndex: 3 }))).toBe(0);
      expect(wal.compact(GROUP, needs({ checkpointedIndex: 13 }))).toBe(12);
    }
  });

  test('only when no snapshot is being sent that a member needs its entries after', async () => {
    for (const keepBytes of [0, 1 << 20]) {
      const { wal } = await fortyEntries({ keepBytes });
      expect(wal.compact(GROUP, needs({ heldIndex: 9 }))).toBe(8);
      expect(wal.compact(GROUP, needs({}))).toBe(36);
    }
  });

  test('at once when every member has its entries', async () => {
    const { wal } = await fortyEntries();
    expect(wal.compact(GROUP, needs({ matchedIndex: 22 }))).toBe(20);
  });

  test('without that when the log is larger than is kept, and no more go than make it small enough', async () => {
    const { world, wal } = await fortyEntries({ keepBytes: 6 * SEGMENT_BYTES });
    // Ten segments, and the one made in advance.
    expect(wal.bytes).toBe(11 * SEGMENT_BYTES);
    const kept = Math.floor(wal.keepBytes / SEGMENT_BYTES);
    expect(wal.compact(GROUP, needs({ matchedIndex: 0 }))).toBe(4 * (11 - kept));
    expect(wal.bytes).toBe(kept * SEGMENT_BYTES);
    await world.run(100);
    expect(world.files().size).toBe(kept);
    expect(wal.compact(GROUP, needs({ matchedIndex: 0 }))).toBe(4 * (11 - kept));
  });

  test('when no group needs it', async () => {
    const world = new WalWorld();
    const { wal } = await world.open({ keepBytes: 0 });
    const save = (group: number, index: number) =>
      world.until(
        new Promise<void>((done) => wal.save(group, saveOf({ entries: [padded(index, 1)] }), done)),
      );
    for (let index = 1; index <= 20; index++) for (const group of [1, 2]) await save(group, index);
    expect(wal.compact(1, needs({}))).toBe(0);
    expect(wal.compact(2, needs({ checkpointedIndex: 5 }))).toBe(4);
    expect(wal.compact(1, needs({}))).toBe(4);
    expect(wal.compact(2, needs({}))).toBe(18);
  });

  test('not while it, or one before it, is being read', async () => {
    const { world, wal } = await fortyEntries();
    let read: readonly { index: number }[] = [];
    wal.read(GROUP, 9, (entries) => {
      read = entries;
    });
    expect(wal.compact(GROUP, needs({}))).toBe(8);
    await world.run(10);
    expect(read[0]?.index).toBe(9);
    expect(wal.compact(GROUP, needs({}))).toBe(36);
  });
});

test('the size over which a log is too large is a little different on every server', async () => {
  const sizes = new Set<number>();
  for (let seed = 1; seed <= 20; seed++) {
    const { wal } = await new WalWorld({ seed }).open({ keepBytes: 1000 });
    expect(wal.keepBytes).toBeGreaterThanOrEqual(1000);
    expect(wal.keepBytes).toBeLessThan(1250);
    sizes.add(wal.keepBytes);
  }
  expect(sizes.size).toBeGreaterThan(10);
});

test('a store that is ahead of the disk by a snapshot lets nothing go that waits to be replaced', async () => {
  const { world, wal } = await fortyEntries();
  world.disk.faults.stallMs = 1000;
  wal.save(GROUP, saveOf({ hardState: { term: 2, votedFor: 0 } }), () => {});
  // Segments begin behind the old 32 and 36; those entries are not what the snapshot has.
  const others = Array.from({ length: 15 }, (_, i) => entry(31 + i, 2));
  wal.save(GROUP, saveOf({ entries: others }), () => {});
  expect(wal.compact(GROUP, upTo(45))).toBe(28);
  const files = new WalWorld({ files: world.files() });
  const { recovered } = await files.open({ stateOf: () => installedAt(45, 2) });
  expect(recovered.get(GROUP)!.log).toMatchObject({ compactedIndex: 45, lastIndex: 45 });
  await world.run(20_000);
  world.disk.faults.stallMs = 0;
  expect(wal.compact(GROUP, upTo(45))).toBe(28);
  const after = await new WalWorld({ files: world.crash() }).open({ stateOf: () => installedAt(45, 2) });
  expect(after.recovered.get(GROUP)!.log).toMatchObject({ compactedIndex: 28, lastIndex: 45 });
});

test('the segment made in advance is part of the size', async () => {
  const world = new WalWorld();
  const { wal } = await world.open();
  expect(wal.bytes).toBe(SEGMENT_BYTES);
  await world.run(10);
  expect(wal.bytes).toBe(2 * SEGMENT_BYTES);
  expect([...world.files().keys()].sort()).toEqual([segmentPath(1), segmentPath(2)]);
});
