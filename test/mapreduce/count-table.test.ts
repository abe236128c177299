import { describe, expect, test } from 'vitest';
import { CountTable } from '../../src/mapreduce/count-table.ts';
import { writeRun } from '../../src/mapreduce/merge.ts';
import { partitionOf } from '../../src/mapreduce/partition.ts';
import { SimRandom } from '../sim/random.ts';
import { MemoryFiles } from './memory-files.ts';
import { countRows } from './run-rows.ts';
import { pick } from './texts.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Keys of few different bytes, zeros and 0xff among them, so that many have beginnings in common. */
function randomKey(random: SimRandom, lengthMax: number): Buffer {
  const length = random.below(lengthMax + 1);
  return Buffer.from(Array.from({ length }, () => pick([0, 1, 0x61, 0x80, 0xff], random)));
}

function rowsOf(table: CountTable, partitions: number): string[] {
  const files = new MemoryFiles();
  writeRun('run', 'counts', partitions, files, (run) => table.writeTo(run));
  return countRows(files, ['run'], partitions);
}

describe('a table of counts', () => {
  test('counts as a Map does, keys of any bytes and lengths', () => {
    for (let seed = 0; seed < 40; seed++) {
      const random = new SimRandom(seed);
      const table = new CountTable();
      const expected = new Map<string, number>();
      const lengthMax = pick([3, 8, 9, 20, 100], random);
      for (let i = 0; i < 3000; i++) {
        const key = randomKey(random, lengthMax);
        const count = random.chance(0.9) ? 1 : 1 + random.below(2 ** 33);
        table.add(key, 0, key.length, count);
        expected.set(hex(key), (expected.get(hex(key)) ?? 0) + count);
      }
      expect(table.size).toBe(expected.size);
      for (const [key, count] of expected) expect(table.count(Buffer.from(key, 'hex')), key).toBe(count);
    }
  });

  test('writes its keys by partition, in the order of their bytes', () => {
    const random = new SimRandom(7);
    for (const partitions of [1, 2, 7, 3000]) {
      const table = new CountTable();
      const keys = new Map<string, Buffer>();
      for (let i = 0; i < 5000; i++) {
        const key = Buffer.from(hex(randomKey(random, 12)), 'latin1');
        keys.set(key.toString(), key);
        table.add(key, 0, key.length, 3);
      }
      const rows = [...keys.values()]
        .map((key) => ({ key, partition: partitionOf(key, 0, key.length, partitions) }))
        .sort((a, b) => a.partition - b.partition || Buffer.compare(a.key, b.key));
      const times = new Map<string, number>();
      for (const row of rowsOf(table, partitions)) times.set(row.split(' ')[1]!, Number(row.split(' ')[2]));
      expect([...times.keys()]).toEqual(rows.map(({ key }) => key.toString()));
    }
  });

  test('a count goes over 2^32, one by one and at once, and survives growth', () => {
    const table = new CountTable();
    const key = Buffer.from('key');
    const padded = Buffer.from('key         ');
    table.add(key, 0, 3, 2 ** 32 - 2);
    for (let i = 0; i < 4; i++) table.addRanges(padded, Int32Array.of(0, 3), 1);
    expect(table.count(key)).toBe(2 ** 32 + 2);
    table.add(key, 0, 3, 2 ** 52);
    for (let i = 0; i < 5000; i++) table.add(Buffer.from(`other ${i}`), 0, `other ${i}`.length, 1);
    expect(table.count(key)).toBe(2 ** 52 + 2 ** 32 + 2);
    expect(() => table.add(key, 0, 3, 2 ** 52)).toThrow('a count stays below 2^53');
  });

  test('is empty after clear, and keeps or releases its memory', () => {
    const table = new CountTable();
    const fill = () => {
      for (let i = 0; i < 10_000; i++)
        table.add(Buffer.from(`a long key ${i}`), 0, `a long key ${i}`.length, 1);
    };
    fill();
    const full = table.bytes;
    table.clear();
    expect(table.size).toBe(0);
    expect(table.count(Buffer.from('a long key 5'))).toBe(0);
    fill();
    expect(table.bytes).toBe(full);
    table.clear(true);
    expect(table.bytes).toBeLessThan(100_000);
    fill();
    expect(table.size).toBe(10_000);
  });
});

test('a key is in the part that FNV-1a says', () => {
  // The 32-bit FNV-1a of "a" and "foobar": e40c292c and bf9cf968 (the authors' test vectors).
  const of = (text: string) => partitionOf(Buffer.from(text), 0, text.length, 1000);
  expect(of('')).toBe((0x811c9dc5 & 0x7fffffff) % 1000);
  expect(of('a')).toBe((0xe40c292c & 0x7fffffff) % 1000);
  expect(of('foobar')).toBe((0xbf9cf968 & 0x7fffffff) % 1000);
});
