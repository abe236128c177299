/** The write-ahead log in service: group commit, segments, compaction, reading back, a full disk and a broken one. */
import { describe, expect, test } from 'vitest';
import { DiskFullError } from '../../src/lib/errors.ts';
import {
  entry,
  GROUP,
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

/** Of an entry as text. */
const termOf = (text: string) => Number(/^\d+@(\d+)/.exec(text)?.[1] ?? 0);

describe('group commit', () => {
  test('one write is under way at a time, and what is saved meanwhile goes together in the next', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    world.writes.length = 0;
    const done: number[] = [];
    const saves = [1, 2, 3, 4].map(
      (index) =>
        new Promise<void>((resolve) => {
          wal.save(GROUP, saveOf({ entries: [entry(index, 1)] }), () => {
            done.push(index);
            resolve();
          });
        }),
    );
    expect(world.writes.length).toBe(1);
    expect(done).toEqual([]);
    await world.until(Promise.all(saves));
    expect(world.writes.length).toBe(2);
    expect(world.underWayMax).toBe(1);
    expect(done).toEqual([1, 2, 3, 4]);
    expect(recoveredTexts(await new WalWorld({ files: world.crash() }).open())).toEqual(
      texts([1, 2, 3, 4].map((index) => entry(index, 1))),
    );
  });

  test('saves of several groups share a write, and each group gets back its own', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    world.writes.length = 0;
    const saves = [1, 2, 3].map(
      (group) =>
        new Promise<void>((resolve) => {
          const hardState = { term: group, votedFor: group };
          wal.save(group, saveOf({ hardState, entries: [entry(1, group, `of group ${group}`)] }), resolve);
        }),
    );
    await world.until(Promise.all(saves));
    expect(world.writes.length).toBe(2);
    const { recovered } = await new WalWorld({ files: world.crash() }).open();
    for (const group of [1, 2, 3]) {
      expect(recovered.get(group)!.hardState).toEqual({ term: group, votedFor: group });
      expect(texts(recovered.get(group)!.log.entries)).toEqual([`1@${group} of group ${group}`]);
    }
  });

  test('term and vote are one record: after a crash in its write both are old or both are new (hashicorp/raft#661)', async () => {
    const outcomes = new Set<string>();
    for (let seed = 1; seed <= 60; seed++) {
      const world = new WalWorld({ seed });
      const { wal } = await world.open();
      await world.save(wal, saveOf({ hardState: { term: 1, votedFor: 11 } }));
      wal.save(GROUP, saveOf({ hardState: { term: 2, votedFor: 22 } }), () => {});
      await world.run(world.random.between(0, 0.4));
      const { recovered } = await new WalWorld({ files: world.crash() }).open();
      const { term, votedFor } = recovered.get(GROUP)!.hardState;
      outcomes.add(`${term} ${votedFor}`);
    }
    expect([...outcomes].sort()).toEqual(['1 11', '2 22']);
  });

  test('what is read back ends before what is being written, of which some may be seen', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    await world.save(wal, saveOf({ entries: [entry(1, 1, 'x'.repeat(700))] }));
    for (let index = 2; index < 100; index++) {
      const saved = world.save(wal, saveOf({ entries: [entry(index, 1, 'x'.repeat(700))] }));
      const read = await world.read(wal, index - 1);
      expect(read[0]!.index).toBe(index - 1);
      await saved;
    }
  });

  test('since when the disk has been at a write is known until it is durable', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    expect(wal.busySinceMs).toBeUndefined();
    await world.run(5);
    const nowMs = world.scheduler.nowMs;
    const saved = world.save(wal, saveOf({ entries: [entry(1, 1)] }));
    expect(wal.busySinceMs).toBeCloseTo(nowMs);
    await saved;
    expect(wal.busySinceMs).toBeUndefined();
  });
});

describe('segments', () => {
  test('a log rolls through many segments and is whole after a restart, before and after a clean stop', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    const entries = Array.from({ length: 60 }, (_, i) => padded(i + 1, 1 + Math.floor(i / 25), 700));
    for (const one of entries) await world.save(wal, saveOf({ entries: [one] }));
    expect(world.files().size).toBeGreaterThan(10);
    expect(recoveredTexts(await new WalWorld({ files: world.files() }).open())).toEqual(texts(entries));
    await world.until(wal.close());
    const again = await new WalWorld({ files: world.files() }).open();
    expect(recoveredTexts(again)).toEqual(texts(entries));
    expect(again.recovered.get(GROUP)!.log.termRuns).toEqual([
      { from: 1, term: 1 },
      { from: 26, term: 2 },
      { from: 51, term: 3 },
    ]);
  });

  test('the hard state outlives the segment in which it was written', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    await world.save(wal, saveOf({ hardState: { term: 7, votedFor: 3 } }));
    for (let index = 1; index <= 20; index++)
      await world.save(wal, saveOf({ entries: [padded(index, 7, 900)] }));
    wal.compact(GROUP, upTo(20));
    await world.run(100);
    expect(world.files().has(segmentPath(1))).toBe(false);
    const { recovered } = await new WalWorld({ files: world.files() }).open({
      stateOf: () => stateAt(20, 7),
    });
    expect(recovered.get(GROUP)!.hardState).toEqual({ term: 7, votedFor: 3 });
  });

  test('a record larger than a segment gets one of its own, and everything behind it is still there', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    const entries = [
      padded(1, 1, 500),
      padded(2, 1, 20_000),
      ...Array.from({ length: 60 }, (_, i) => padded(i + 3, 1, 900)),
      padded(63, 1, 9000),
      padded(64, 1, 9000),
      padded(65, 1, 10),
    ];
    for (const one of entries) await world.save(wal, saveOf({ entries: [one] }));
    for (const from of [1, 2, 3, 40, 63, 65]) {
      expect((await world.read(wal, from))[0]).toMatchObject({ index: from });
    }
    expect(recoveredTexts(await new WalWorld({ files: world.crash() }).open())).toEqual(texts(entries));
  });

  test('compaction drops whole segments only, and a restart begins where the log then begins', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    const entries = Array.from({ length: 40 }, (_, i) => padded(i + 1, 1, 900));
    for (const one of entries) await world.save(wal, saveOf({ entries: [one] }));
    expect(wal.compact(GROUP, upTo(2))).toBe(0);
    const begin = wal.compact(GROUP, upTo(20));
    expect(begin).toBeGreaterThan(10);
    expect(begin).toBeLessThanOrEqual(20);
    // One that comes late changes nothing.
    expect(wal.compact(GROUP, upTo(5))).toBe(begin);
    await world.run(100);
    expect(await world.read(wal, begin)).toEqual([]);
    expect((await world.read(wal, begin + 1))[0]).toMatchObject({ index: begin + 1 });
    const { recovered } = await new WalWorld({ files: world.crash() }).open({ stateOf: () => stateAt(20) });
    const { log } = recovered.get(GROUP)!;
    expect(log).toMatchObject({ compactedIndex: begin, compactedTerm: 1, lastIndex: 40, appliedIndex: 20 });
    expect(texts(log.entries)).toEqual(texts(entries.slice(20)));
  });

  test('a crash at any moment of a compaction leaves a log that can be opened (redisraft#42)', async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const world = new WalWorld({ seed });
      const { wal } = await world.open();
      for (let index = 1; index <= 30; index++)
        await world.save(wal, saveOf({ entries: [padded(index, 1, 900)] }));
      wal.compact(GROUP, upTo(30));
      await world.run(world.random.between(0, 4));
      const { recovered } = await new WalWorld({ files: world.crash() }).open({ stateOf: () => stateAt(30) });
      expect(recovered.get(GROUP)!.log.lastIndex).toBe(30);
    }
  });

  test('a compaction while the next segment is being begun does not drop the one before it', async () => {
    const tooEarly: number[] = [];
    for (let seed = 1; seed <= 60; seed++) {
      const world = new WalWorld({ seed });
      const { wal } = await world.open();
      await world.save(wal, saveOf({ hardState: { term: 3, votedFor: 2 } }));
      for (let index = 1; index <= 4; index++)
        await world.save(wal, saveOf({ entries: [padded(index, 3, 900)] }));
      // This one needs the next segment, whose header is on its way to the disk when the compaction comes.
      wal.save(GROUP, saveOf({ entries: [padded(5, 3, 900)] }), () => {});
      wal.compact(GROUP, upTo(4));
      await world.run(world.random.between(0, 1.5));
      const { recovered } = await new WalWorld({ files: world.crash() })
        .open({ stateOf: () => stateAt(4, 3) })
        .catch(() => ({ recovered: new Map() }));
      if (recovered.get(GROUP)?.hardState.term !== 3) tooEarly.push(seed);
    }
    expect(tooEarly).toEqual([]);
  });

  test('the log never begins with a segment whose first record tells of a tail that was replaced', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    // Entries 1 to 8 fill two segments; the third is begun when the log ends at 8, and in it 5 to 12 replace what was.
    for (let index = 1; index <= 9; index++)
      await world.save(wal, saveOf({ entries: [padded(index, 1, 900)] }));
    const others = Array.from({ length: 8 }, (_, i) => padded(i + 5, 2, 10));
    await world.save(wal, saveOf({ entries: others }));
    expect(world.files().has(segmentPath(3))).toBe(true);
    wal.compact(GROUP, upTo(9));
    await world.run(100);
    expect((await world.read(wal, 5))[0]).toMatchObject({ index: 5, term: 2 });
    const { recovered } = await new WalWorld({ files: world.crash() }).open({ stateOf: () => stateAt(9, 2) });
    const { log } = recovered.get(GROUP)!;
    expect(log.lastIndex).toBe(12);
    expect(texts(log.entries)).toEqual(texts(others.slice(-3)));
  });

  test('a group that lags keeps the segments that another group has done with', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    await world.until(
      new Promise<void>((resolve) => wal.save(2, saveOf({ entries: [entry(1, 1)] }), resolve)),
    );
    for (let index = 1; index <= 20; index++)
      await world.save(wal, saveOf({ entries: [padded(index, 1, 900)] }));
    expect(wal.compact(GROUP, upTo(20))).toBe(0);
    wal.compact(2, upTo(1));
    expect(wal.compact(GROUP, upTo(20))).toBeGreaterThan(0);
  });

  test('the log goes on after every restart, from wherever a crash has cut it', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      let world = new WalWorld({ seed });
      let acknowledged = 0;
      for (let life = 0; life < 6; life++) {
        const log = await world.open();
        const found = log.recovered.get(GROUP)?.log.lastIndex ?? 0;
        expect(found, `seed ${seed}`).toBeGreaterThanOrEqual(acknowledged);
        expect(recoveredTexts(log)).toEqual(
          Array.from({ length: found }, (_, i) => texts([padded(i + 1, 1, 300)])[0]),
        );
        for (let index = found + 1; index <= found + 12; index++) {
          log.wal.save(GROUP, saveOf({ entries: [padded(index, 1, 300)] }), () => {
            acknowledged = index;
          });
          await world.run(world.random.between(0, 1.2));
        }
        world = new WalWorld({ seed: seed * 100 + life, files: world.crash() });
      }
      expect(acknowledged).toBeGreaterThan(20);
    }
  });
});

describe('reading back', () => {
  test('what is read is what was written last, truncations, restarts and compactions included (a plain array as twin)', async () => {
    for (let seed = 1; seed <= 30; seed++) {
      let world = new WalWorld({ seed });
      let { wal } = await world.open();
      const { random } = world;
      const twin: string[] = [''];
      let begin = 0;
      // What may be compacted is committed, and never replaced.
      let committed = 0;
      let term = 1;
      for (let step = 0; step < 300; step++) {
        const last = twin.length - 1;
        const truncate = random.chance(0.1) && last > committed;
        const from = truncate ? committed + 1 + random.below(last - committed) : last + 1;
        if (truncate) term++;
        const entries = Array.from({ length: 1 + random.below(4) }, (_, i) =>
          padded(from + i, term, 10 + random.below(600)),
        );
        twin.length = from;
        twin.push(...texts(entries));
        // Those that are not waited for go together in one record.
        if (random.chance(0.5)) wal.save(GROUP, saveOf({ entries }), () => {});
        else await world.save(wal, saveOf({ entries }));
        if (random.chance(0.7)) continue;
        await world.save(wal, saveOf({ hardState: { term, votedFor: 1 } }));
        if (random.chance(0.2)) {
          committed += random.below(twin.length - committed);
          begin = wal.compact(GROUP, upTo(committed));
        }
        if (random.chance(0.2)) {
          world = new WalWorld({ seed: seed * 1000 + step, files: world.crash() });
          const applied = committed;
          const appliedTerm = termOf(twin[committed]!);
          ({ wal } = await world.open({ stateOf: () => stateAt(applied, appliedTerm) }));
        }
        if (begin === twin.length - 1) continue;
        const at = begin + 1 + random.below(twin.length - begin - 1);
        const read = texts(await world.read(wal, at));
        expect(read.length, `seed ${seed}, step ${step}`).toBeGreaterThan(0);
        expect(read).toEqual(twin.slice(at, at + read.length));
      }
    }
  });

  test('entries that were replaced in the very write that brought them are not read', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    wal.save(GROUP, saveOf({ entries: [entry(1, 1), entry(2, 1)] }), () => {});
    // These wait for that write, and go together in the next.
    wal.save(GROUP, saveOf({ entries: [entry(3, 1), entry(4, 1), entry(5, 1)] }), () => {});
    wal.save(GROUP, saveOf({ entries: [entry(4, 2)] }), () => {});
    await world.save(wal, saveOf({ entries: [entry(5, 2), entry(6, 2)] }));
    const all = texts([entry(1, 1), entry(2, 1), entry(3, 1), entry(4, 2), entry(5, 2), entry(6, 2)]);
    for (let from = 1; from <= 6; from++) {
      const read = texts(await world.read(wal, from));
      expect(read.length).toBeGreaterThan(0);
      expect(read).toEqual(all.slice(from - 1, from - 1 + read.length));
    }
    const again = new WalWorld({ files: world.crash() });
    const log = await again.open();
    expect(recoveredTexts(log)).toEqual(all);
    for (let from = 1; from <= 6; from++)
      expect(texts(await again.read(log.wal, from))[0]).toBe(all[from - 1]);
  });

  test('a whole log can be walked from its beginning to its end', async () => {
    const world = new WalWorld();
    const { wal } = await world.open({ segmentBytes: 64 << 10 });
    const entries = Array.from({ length: 300 }, (_, i) => padded(i + 1, 1, 1500));
    for (let i = 0; i < 300; i += 10) await world.save(wal, saveOf({ entries: entries.slice(i, i + 10) }));
    const walked: string[] = [];
    while (walked.length < 300) walked.push(...texts(await world.read(wal, walked.length + 1)));
    expect(walked).toEqual(texts(entries));
  });

  test('what rotted on the disk is not handed out: the log says so and ends', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    await world.save(wal, saveOf({ entries: [entry(1, 1)] }));
    const content = world.disk.files.get(segmentPath(1))!;
    const at = Buffer.from(content).indexOf('entry 1');
    content[at] = content[at]! ^ 1;
    let answered = false;
    wal.read(GROUP, 1, () => {
      answered = true;
    });
    await world.run(100);
    expect(answered).toBe(false);
    expect(world.fatal.map(String)).toEqual([
      expect.stringMatching(/CorruptionError.*000000000001.wal is damaged at byte \d+; .*--join$/),
    ]);
  });
});

describe('a full disk', () => {
  test('is told while the present segment still takes writes, and when there is room again nothing is lost', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    await world.run(10);
    world.disk.faults.full = true;
    const entries = Array.from({ length: 30 }, (_, i) => padded(i + 1, 1, 700));
    const done: number[] = [];
    let toldAt = 0;
    for (const one of entries) {
      wal.save(GROUP, saveOf({ entries: [one] }), () => void done.push(one.index));
      await world.run(20);
      if (wal.full && toldAt === 0) toldAt = done.length;
    }
    expect(toldAt).toBeGreaterThan(0);
    expect(done.length, 'saves were taken after the disk was known to be full').toBeGreaterThan(toldAt);
    expect(done.length).toBeLessThan(30);
    expect(world.fatal).toEqual([]);
    world.disk.faults.full = false;
    await world.run(3000);
    expect(wal.full).toBe(false);
    expect(done).toEqual(entries.map(({ index }) => index));
    expect(recoveredTexts(await new WalWorld({ files: world.crash() }).open())).toEqual(texts(entries));
  });

  test('refuses to begin a log', async () => {
    const world = new WalWorld();
    world.disk.faults.full = true;
    await expect(world.open()).rejects.toThrow(DiskFullError);
  });

  test('does not keep the log from being closed', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    await world.run(10);
    world.disk.faults.full = true;
    for (let index = 1; index <= 30; index++)
      wal.save(GROUP, saveOf({ entries: [padded(index, 1, 700)] }), () => {});
    await world.run(2000);
    expect(wal.full).toBe(true);
    await world.until(wal.close(), 10_000);
  });
});

describe('a disk that fails', () => {
  test('is fatal, and nothing is acknowledged afterwards: neither what was in the write nor what comes later (fsyncgate)', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    await world.save(wal, saveOf({ entries: [entry(1, 1)] }));
    world.disk.faults.failNextWrite = true;
    const done: number[] = [];
    for (const index of [2, 3, 4])
      wal.save(GROUP, saveOf({ entries: [entry(index, 1)] }), () => void done.push(index));
    await world.run(5000);
    for (const index of [5, 6])
      wal.save(GROUP, saveOf({ entries: [entry(index, 1)] }), () => void done.push(index));
    await world.run(5000);
    expect(done).toEqual([]);
    expect(world.fatal.map(({ message }) => message)).toEqual(['input/output error']);
    const recovered = recoveredTexts(await new WalWorld({ files: world.crash() }).open());
    expect(recovered[0]).toBe('1@1 entry 1');
  });
});

describe('the seal', () => {
  test('comes a second after the last record, once, and after a clean stop at once', async () => {
    const world = new WalWorld();
    const { wal } = await world.open();
    await world.save(wal, saveOf({ entries: [entry(1, 1)] }));
    world.writes.length = 0;
    await world.run(900);
    expect(world.writes.length).toBe(0);
    await world.run(200);
    expect(world.writes.map(({ bytes }) => bytes)).toEqual([24]);
    await world.run(5000);
    expect(world.writes.length).toBe(1);
    await world.save(wal, saveOf({ entries: [entry(2, 1)] }));
    await world.until(wal.close());
    expect(world.writes.map(({ bytes }) => bytes).at(-1)).toBe(24);
    expect(world.writes.length).toBe(3);
  });
});
