/** The log and the snapshots that take its place: it begins anew, whatever the moment at which the power fails. */
import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/lib/errors.ts';
import type { StoredState } from '../../src/raft/wal-rebuild.ts';
import { Twin, textOf } from './wal-twin.ts';
import {
  entry,
  GROUP,
  installedAt,
  recoveredTexts,
  saveOf,
  segmentPath,
  stateAt,
  texts,
  upTo,
  WalWorld,
} from './wal-world.ts';

const padded = (index: number, term: number, bytes: number) =>
  entry(index, term, `${index}.`.padEnd(bytes, 'x'));
const entriesFrom = (from: number, count: number, term: number, bytes = 900) =>
  Array.from({ length: count }, (_, i) => padded(from + i, term, bytes));

/** A log of `count` entries of term 1, in segments of four, on a world to go on with. */
async function logOf(count: number) {
  const world = new WalWorld();
  const { wal } = await world.open();
  for (const one of entriesFrom(1, count, 1)) await world.save(wal, saveOf({ entries: [one] }));
  return { world, wal };
}

describe('a save with a snapshot', () => {
  test('makes all void that the log held, and entries follow it, in the same save or later', async () => {
    for (const index of [3, 10, 50]) {
      const { world, wal } = await logOf(10);
      await world.save(wal, saveOf({ snapshot: { index, term: 3 }, entries: [entry(index + 1, 3)] }));
      await world.save(wal, saveOf({ entries: [entry(index + 2, 4)] }));
      const log = await new WalWorld({ files: world.crash() }).open({ stateOf: () => installedAt(index, 3) });
      expect(recoveredTexts(log)).toEqual(texts([entry(index + 1, 3), entry(index + 2, 4)]));
      expect(log.recovered.get(GROUP)!.log).toMatchObject({
        ...{ compactedIndex: index, compactedTerm: 3, lastIndex: index + 2 },
        termRuns: [
          { from: index + 1, term: 3 },
          { from: index + 2, term: 4 },
        ],
      });
    }
  });

  test('hides what was there from those who read back, and what was in the same write', async () => {
    const { world, wal } = await logOf(10);
    // The first of these is being written while the others gather for one record.
    wal.save(GROUP, saveOf({ entries: [entry(11, 1)] }), () => {});
    wal.save(GROUP, saveOf({ entries: [entry(12, 1), entry(13, 1), entry(14, 1)] }), () => {});
    wal.save(GROUP, saveOf({ snapshot: { index: 12, term: 2 } }), () => {});
    await world.save(wal, saveOf({ entries: [entry(13, 2)] }));
    const check = async (at: WalWorld, log: typeof wal) => {
      for (const from of [1, 10, 11, 12]) expect(await at.read(log, from)).toEqual([]);
      expect(texts(await at.read(log, 13))).toEqual(texts([entry(13, 2)]));
    };
    await check(world, wal);
    const again = new WalWorld({ files: world.crash() });
    await check(again, (await again.open({ stateOf: () => installedAt(12, 2) })).wal);
  });

  test('lets all segments before it go at once, and the log then begins behind it', async () => {
    const { world, wal } = await logOf(10);
    expect(wal.compact(GROUP, upTo(3))).toBe(0);
    await world.save(wal, saveOf({ snapshot: { index: 50, term: 3 } }));
    // No member needs to have what this server does not have itself.
    const needs = { checkpointedIndex: 50, matchedIndex: 0, heldIndex: Number.POSITIVE_INFINITY };
    expect(wal.compact(GROUP, needs)).toBe(50);
    await world.run(100);
    expect(world.files().has(segmentPath(2))).toBe(false);
    await world.save(wal, saveOf({ entries: [entry(51, 3)] }));
    for (const files of [world.files(), world.crash()]) {
      const again = new WalWorld({ files });
      const { wal: reopened, recovered } = await again.open({ stateOf: () => installedAt(50, 3) });
      expect(recovered.get(GROUP)!.log).toMatchObject({ compactedIndex: 50, lastIndex: 51 });
      expect(reopened.compact(GROUP, upTo(50))).toBe(50);
    }
  });

  test('of one group leaves the others as they are', async () => {
    const { world, wal } = await logOf(10);
    await world.until(new Promise<void>((done) => wal.save(2, saveOf({ entries: [entry(1, 1)] }), done)));
    await world.save(wal, saveOf({ snapshot: { index: 50, term: 3 } }));
    expect(wal.compact(GROUP, upTo(50))).toBe(50);
    const { recovered } = await new WalWorld({ files: world.crash() }).open({
      stateOf: (group) => (group === GROUP ? installedAt(50, 3) : stateAt(0)),
    });
    expect(texts(recovered.get(2)!.log.entries)).toEqual(texts([entry(1, 1)]));
  });

  test('that is not durable yet lets nothing go', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const world = new WalWorld({ seed });
      const { wal } = await world.open();
      for (const one of entriesFrom(1, 10, 1)) await world.save(wal, saveOf({ entries: [one] }));
      wal.save(GROUP, saveOf({ snapshot: { index: 5, term: 2 } }), () => {});
      wal.compact(GROUP, upTo(5));
      await world.run(world.random.between(0, 2));
      const { recovered } = await new WalWorld({ files: world.crash() }).open({
        stateOf: () => installedAt(5, 2),
      });
      expect(recovered.get(GROUP)!.log).toMatchObject({ compactedIndex: 5, compactedTerm: 2, lastIndex: 5 });
    }
  });
});

describe('a snapshot in the store that the log does not know of', () => {
  const open = (world: WalWorld, state: StoredState) => world.open({ stateOf: () => state });

  test('is written to the log before anything else: it ended before it, or had another entry there', async () => {
    for (const at of [
      { index: 11, term: 1 },
      { index: 40, term: 3 },
      { index: 10, term: 2 },
      { index: 2, term: 3 },
    ]) {
      const { world } = await logOf(10);
      const again = new WalWorld({ files: world.crash() });
      const { recovered } = await open(again, installedAt(at.index, at.term));
      const expected = { compactedIndex: at.index, compactedTerm: at.term, lastIndex: at.index, entries: [] };
      expect(recovered.get(GROUP)!.log).toMatchObject(expected);
      // It is durable when the log is open: a store that goes on from there finds it.
      const { wal } = await open(new WalWorld({ files: again.files() }), installedAt(at.index, at.term));
      expect(wal.compact(GROUP, upTo(at.index))).toBe(at.index);
    }
  });

  test('and whose last entry the log has leaves the log as it is', async () => {
    const { world } = await logOf(10);
    const { recovered } = await open(new WalWorld({ files: world.crash() }), installedAt(8, 1));
    expect(recovered.get(GROUP)!.log).toMatchObject({ compactedIndex: 0, lastIndex: 10, appliedIndex: 8 });
    expect(texts(recovered.get(GROUP)!.log.entries)).toEqual(texts(entriesFrom(9, 2, 1)));
  });

  test('is finished only where nothing was applied behind it: otherwise the log has lost entries', async () => {
    const { world } = await logOf(10);
    const files = world.crash();
    const behind = { appliedIndex: 41, appliedTerm: 3, installed: { index: 40, term: 3 } };
    await expect(open(new WalWorld({ files }), behind)).rejects.toThrow(/ends at 10/);
    const other = { appliedIndex: 9, appliedTerm: 1, installed: { index: 8, term: 2 } };
    await expect(open(new WalWorld({ files }), other)).rejects.toThrow(/entry 8 of the log is of term 1/);
  });

  test('is no excuse for a log whose beginning is missing', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    await world.save(wal, saveOf({ snapshot: { index: 5, term: 2 } }));
    for (const one of entriesFrom(6, 20, 2)) await world.save(wal, saveOf({ entries: [one] }));
    const files = new Map(world.crash());
    files.delete(segmentPath(1));
    await expect(open(new WalWorld({ files }), installedAt(5, 2))).rejects.toThrow(CorruptionError);
  });

  test('a log with another entry where the store is is of another time or place', async () => {
    const { world } = await logOf(10);
    const opened = open(new WalWorld({ files: world.crash() }), stateAt(7, 2));
    await expect(opened).rejects.toThrow(/entry 7 of the log is of term 1, but .* term 2/);
  });
});

test('whatever is saved, installed, compacted and cut off by crashes, every log is as it was after one of its saves, and none acknowledged is missing (a plain list as twin)', { timeout: 300_000 }, async () => {
  let [resets, finished, compactions] = [0, 0, 0];
  for (let seed = 1; seed <= 3000; seed++) {
    let world = new WalWorld({ seed });
    const { random } = world;
    const twins = [1, 2].map((group) => new Twin(group, random));
    const options = {
      keepBytes: random.pick([0, 12 << 10, 1 << 20]),
      stateOf: (group: number) => twins[group - 1]!.store,
    };
    let { wal } = await world.open(options);
    const save = (twin: Twin, what: ReturnType<Twin['nextSave']>) => {
      const version = twin.now;
      wal.save(twin.group, what, () => twin.acknowledge(version));
    };
    for (let step = 0; step < 150; step++) {
      const twin = random.pick(twins);
      save(twin, twin.nextSave());
      if (random.chance(0.5)) await world.run(random.between(0, 3));
      twin.commit();
      if (random.chance(0.3)) twin.checkpoint();
      let crashes = random.chance(0.08);
      if (twin.mayInstall && random.chance(0.08)) {
        const reset = twin.install();
        if (random.chance(0.3)) await world.run(random.between(0, 2));
        // Or the power fails before the log knows of it.
        if (reset !== undefined && random.chance(0.7)) save(twin, reset);
        else if (reset !== undefined) crashes = true;
        resets++;
      }
      if (random.chance(0.3)) {
        const needs = twin.needs();
        const begin = wal.compact(twin.group, needs);
        expect(begin).toBeLessThanOrEqual(needs.checkpointedIndex);
        if (begin > 0) compactions++;
      }
      if (!crashes) {
        await readBack(twin);
        continue;
      }
      if (random.chance(0.5)) await world.run(random.between(0, 2));
      world = new WalWorld({ seed: seed * 1000 + step, files: world.crash() });
      const opened = await world.open(options);
      wal = opened.wal;
      for (const each of twins) {
        const found = opened.recovered.get(each.group);
        if (found?.reset !== undefined) finished++;
        expect(each.recover(found), `seed ${seed}, step ${step}`).toBeUndefined();
      }
    }

    async function readBack(twin: Twin): Promise<void> {
      const { entries } = twin.now;
      if (entries.length === 0 || !random.chance(0.2)) return;
      await world.run(50);
      const at = random.pick(entries).index;
      const read: readonly Parameters<typeof textOf>[0][] = await world.until(
        new Promise((done) => wal.read(twin.group, at, done)),
      );
      const expected = entries.filter(({ index }) => index >= at).map(textOf);
      expect(read.map(textOf), `seed ${seed}, entry ${at}`).toEqual(expected.slice(0, read.length));
    }
  }
  expect(Math.min(resets, finished, compactions)).toBeGreaterThan(50);
});
