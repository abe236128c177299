/** The write-ahead log on this machine's disk: what the simulated one stands for. A crash is a copy of the directory. */
import { cpSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SystemClock } from '../../src/io/clock.ts';
import { SystemDisk } from '../../src/io/disk.ts';
import { SystemRandom } from '../../src/io/random.ts';
import { CorruptionError } from '../../src/lib/errors.ts';
import type { Entry } from '../../src/raft/types.ts';
import { Wal, type WalOptions } from '../../src/raft/wal.ts';
import { temporaryDirectory } from '../io/temporary.ts';
import {
  entry,
  GROUP,
  installedAt,
  recoveredTexts,
  SILENT,
  saveOf,
  stateAt,
  texts,
  upTo,
} from './wal-world.ts';

function open(directory: string, options: Partial<WalOptions> = {}): ReturnType<typeof Wal.open> {
  return Wal.open({
    ...{ disk: new SystemDisk(), clock: new SystemClock(), random: new SystemRandom(), log: SILENT },
    ...{ directory, segmentBytes: 4096, keepBytes: 1 << 30, stateOf: () => stateAt(0) },
    onFatal: (error) => {
      throw error;
    },
    ...options,
  });
}

const save = (wal: Wal, entries: readonly Entry[]) =>
  new Promise<void>((resolve) => wal.save(GROUP, saveOf({ entries }), resolve));
const read = (wal: Wal, from: number) =>
  new Promise<readonly Entry[]>((resolve) => wal.read(GROUP, from, resolve));
const padded = (index: number, term: number, bytes: number) =>
  entry(index, term, `${index}.`.padEnd(bytes, 'x'));

/** The directory as a power loss would leave it. */
function crashed(directory: string): string {
  const copy = join(temporaryDirectory(), 'wal');
  cpSync(directory, copy, { recursive: true });
  return copy;
}

/** What can be recovered from it, and the log closed again. */
async function recover(directory: string, appliedIndex = 0): Promise<string[]> {
  const log = await open(directory, { stateOf: () => stateAt(appliedIndex) });
  await log.wal.close();
  return recoveredTexts(log);
}

test('segments, records larger than a segment, and what replaced what are there after a crash and after a clean stop', async () => {
  const directory = join(temporaryDirectory(), 'wal');
  const { wal } = await open(directory);
  const entries = [
    padded(1, 1, 700),
    padded(2, 1, 20_000),
    ...Array.from({ length: 20 }, (_, i) => padded(i + 3, 1, 700)),
  ];
  for (const one of entries) await save(wal, [one]);
  const replaced = [padded(20, 2, 300), padded(21, 2, 9000), padded(22, 2, 10)];
  await save(wal, replaced);
  const expected = texts([...entries.slice(0, 19), ...replaced]);
  for (const from of [1, 2, 3, 19, 20, 22]) expect(texts(await read(wal, from))[0]).toBe(expected[from - 1]);
  expect(await recover(crashed(directory))).toEqual(expected);
  await wal.close();
  expect(await recover(directory)).toEqual(expected);
});

test('compaction takes files from the disk, and a restart begins behind them', async () => {
  const directory = join(temporaryDirectory(), 'wal');
  const { wal } = await open(directory);
  for (let index = 1; index <= 30; index++) await save(wal, [padded(index, 1, 900)]);
  const before = readdirSync(directory).length;
  expect(wal.compact(GROUP, upTo(20))).toBeGreaterThan(10);
  await wal.close();
  expect(readdirSync(directory).length).toBeLessThan(before - 2);
  expect(await recover(directory, 20)).toEqual(
    texts(Array.from({ length: 10 }, (_, i) => padded(i + 21, 1, 900))),
  );
});

test('a torn tail is cut off, and a flipped bit before the end is refused', async () => {
  const directory = join(temporaryDirectory(), 'wal');
  const { wal } = await open(directory);
  for (let index = 1; index <= 4; index++) await save(wal, [entry(index, 1)]);
  const copy = crashed(directory);
  await wal.close();
  const path = join(copy, readdirSync(copy)[0]!);
  const content = readFileSync(path);
  const flip = (at: number) => {
    const changed = Buffer.from(content);
    changed[at] = changed[at]! ^ 1;
    writeFileSync(path, changed);
  };
  flip(content.indexOf('entry 4'));
  expect(await recover(crashed(copy))).toEqual(texts([1, 2, 3].map((index) => entry(index, 1))));
  flip(content.indexOf('entry 2'));
  await expect(open(copy)).rejects.toThrow(CorruptionError);
});

test('a file that is shorter than it was made is no reason to read past its end', async () => {
  const directory = join(temporaryDirectory(), 'wal');
  const { wal } = await open(directory);
  for (let index = 1; index <= 3; index++) await save(wal, [entry(index, 1)]);
  const copy = crashed(directory);
  await wal.close();
  const path = join(copy, readdirSync(copy)[0]!);
  const end = readFileSync(path).indexOf('entry 3') + 3;
  expect(statSync(path).size).toBeGreaterThan(end);
  truncateSync(path, end);
  expect(await recover(copy)).toEqual(texts([1, 2].map((index) => entry(index, 1))));
});

test('a snapshot voids what was there, also when only the store knew of it before the crash', async () => {
  const directory = join(temporaryDirectory(), 'wal');
  const { wal } = await open(directory);
  for (let index = 1; index <= 20; index++) await save(wal, [padded(index, 1, 900)]);
  const before = crashed(directory);
  await new Promise<void>((done) => {
    wal.save(GROUP, saveOf({ snapshot: { index: 50, term: 2 }, entries: [entry(51, 2)] }), done);
  });
  const after = crashed(directory);
  await wal.close();
  const stateOf = () => installedAt(50, 2);
  const finished = await open(before, { stateOf });
  expect(finished.recovered.get(GROUP)!.log).toMatchObject({ compactedIndex: 50, lastIndex: 50 });
  await save(finished.wal, [entry(51, 2)]);
  await finished.wal.close();
  for (const place of [before, after]) {
    const again = await open(place, { stateOf });
    expect(recoveredTexts(again)).toEqual(texts([entry(51, 2)]));
    expect(again.wal.compact(GROUP, upTo(50))).toBe(50);
    await again.wal.close();
  }
});
