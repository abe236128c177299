/** A disk that returns what is not there: flipped bits and the bytes of other places, for a moment or for good. */
import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/lib/errors.ts';
import { DAMAGE_ADVICE } from '../../src/raft/wal-damage.ts';
import { damaged, entry, GROUP, recoveredTexts, saveOf, segmentPath, texts, WalWorld } from './wal-world.ts';

const padded = (index: number) => entry(index, 1, `${index}.`.padEnd(300, 'x'));
const entries = Array.from({ length: 60 }, (_, i) => padded(i + 1));

async function sixtyEntries(seed: number) {
  const world = new WalWorld({ seed });
  const { wal } = await world.open({ segmentBytes: 8192 });
  for (const one of entries) await world.save(wal, saveOf({ entries: [one] }));
  return { world, wal };
}

describe('a read that was bad once', () => {
  for (const [name, faults] of [
    ['a flipped bit', { flipReadChance: 0.7 }],
    ['the bytes of another place', { misdirectReadChance: 0.7 }],
  ] as const) {
    test(`is made again when entries are read back: ${name}`, async () => {
      let badReads = 0;
      for (let seed = 1; seed <= 20; seed++) {
        const { world, wal } = await sixtyEntries(seed);
        Object.assign(world.disk.faults, faults);
        for (let i = 0; i < 20; i++) {
          const from = 1 + world.random.below(60);
          const read = texts(await world.read(wal, from));
          expect(read).toEqual(texts(entries.slice(from - 1, from - 1 + read.length)));
          await world.run(3000);
        }
        expect(world.fatal).toEqual([]);
        badReads += world.disk.badReads;
      }
      expect(badReads).toBeGreaterThan(200);
    });

    test(`is made again when the log is opened: ${name}`, async () => {
      let badReads = 0;
      for (let seed = 1; seed <= 60; seed++) {
        const { world } = await sixtyEntries(seed);
        const again = new WalWorld({ seed, files: world.files() });
        Object.assign(again.disk.faults, faults);
        const log = await again.open();
        expect(recoveredTexts(log), `seed ${seed}`).toEqual(texts(entries));
        badReads += again.disk.badReads;
      }
      expect(badReads).toBeGreaterThan(100);
    });
  }
});

describe('what is bad for good', () => {
  test('ends the log with the file, the byte and what to do: good records of another place too', async () => {
    const { world, wal } = await sixtyEntries(1);
    const content = world.disk.files.get(segmentPath(1))!;
    // The second record of entries over the first: a good one, and not the one that was written there.
    const [first, second] = [Buffer.from(content).indexOf('1.x'), Buffer.from(content).indexOf('2.x')];
    content.copyWithin(first - 64, second - 64, second + 304);
    let answered = false;
    wal.read(GROUP, 1, () => {
      answered = true;
    });
    await world.run(100);
    expect(answered).toBe(false);
    expect(world.fatal).toHaveLength(1);
    expect(world.fatal[0]).toBeInstanceOf(CorruptionError);
    expect(world.fatal[0]!.message).toMatch(/^wal\/000000000001\.wal is damaged at byte \d+; /);
    expect(world.fatal[0]!.message.endsWith(DAMAGE_ADVICE)).toBe(true);
  });

  test('is refused at start, with what to do: a file under the name of another', async () => {
    const { world } = await sixtyEntries(1);
    const files = new Map(world.crash());
    files.set(segmentPath(1), files.get(segmentPath(2))!);
    const opened = new WalWorld({ files }).open({ segmentBytes: 8192 });
    await expect(opened).rejects.toThrow(`${segmentPath(1)} holds segment 2`);
    await expect(opened).rejects.toThrow(DAMAGE_ADVICE);
  });

  test('rot anywhere gives a refusal that says what to do, or what was written, but for the last record', async () => {
    let refused = 0;
    for (let seed = 1; seed <= 100; seed++) {
      const { world } = await sixtyEntries(seed);
      // A seal behind the last record, so that all of them are known to be durable.
      await world.run(2000);
      const hit = world.disk.rot()!;
      const opened = await new WalWorld({ files: world.crash() }).open({ segmentBytes: 8192 }).catch(String);
      if (typeof opened === 'string') {
        expect(opened, hit.path).toContain(DAMAGE_ADVICE);
        refused++;
      } else expect(recoveredTexts(opened), `${hit.path} ${hit.offset}`).toEqual(texts(entries));
    }
    expect(refused).toBeGreaterThan(50);
  });

  test('of a log in another format no advice is given that loses it', async () => {
    const { world } = await sixtyEntries(1);
    const older = damaged(world.crash(), segmentPath(1), (content) => {
      content[8] = 1;
    });
    const opened = new WalWorld({ files: older }).open();
    await expect(opened).rejects.toThrow(
      new CorruptionError(`${segmentPath(1)} is of log format 1, this program reads format 2`),
    );
  });
});
