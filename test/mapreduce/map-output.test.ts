import { describe, expect, test } from 'vitest';
import { zipfText } from '../../scripts/bench/zipf-text.ts';
import { SystemBulkFiles } from '../../src/io/bulk-files.ts';
import { BulkFileError } from '../../src/lib/bulk.ts';
import { CountOutput, type MapOutputDone, RecordOutput } from '../../src/mapreduce/map-output.ts';
import { mergePartition, type ValueCombiner } from '../../src/mapreduce/merge.ts';
import { partitionOf } from '../../src/mapreduce/partition.ts';
import { SLACK_BYTES } from '../../src/mapreduce/words.ts';
import { temporaryDirectory } from '../io/temporary.ts';
import { SimRandom } from '../sim/random.ts';
import { MemoryFiles } from './memory-files.ts';
import { countRows, valueRows } from './run-rows.ts';
import { naiveCounts, naiveWords, sortedByBytes } from './texts.ts';

const MEMORY_BYTES_MIN = 64 << 10;

/** As countRows gives them. */
function expectedRows(values: ReadonlyMap<string, string | number>, partitions: number): string[] {
  const keys = sortedByBytes(values.keys()).map((key) => {
    const bytes = Buffer.from(key);
    return { key, partition: partitionOf(bytes, 0, bytes.length, partitions) };
  });
  keys.sort((a, b) => a.partition - b.partition);
  return keys.map(({ key, partition }) => `${partition} ${key} ${values.get(key)}`);
}

class SmallDisk extends MemoryFiles {
  left = 0;

  override create(path: string) {
    const writer = super.create(path);
    return {
      ...writer,
      write: (chunk: Uint8Array) => {
        this.left -= chunk.length;
        if (this.left < 0) throw new BulkFileError(path, 'ENOSPC', `cannot write ${path}: the disk is full`);
        writer.write(chunk);
      },
    };
  }
}

describe('the counts of a map task', () => {
  function countText(text: Buffer, memoryBytes: number, partitions: number): [MemoryFiles, MapOutputDone] {
    const files = new MemoryFiles();
    const output = new CountOutput({ files, path: 'out', partitions, memoryBytes });
    output.addWords(text, 0, text.length);
    return [files, output.finish()];
  }

  test('are the same bytes with much memory and with little, and nothing else is left', () => {
    const text = Buffer.concat([...zipfText(3_000_000, { seed: 5, distinctWords: 50_000, accented: true })]);
    const counts = naiveCounts(naiveWords(text));
    for (const partitions of [1, 3, 50]) {
      const [files, done] = countText(text, 64 << 20, partitions);
      expect(done.spills).toBe(0);
      expect(countRows(files, ['out'], partitions)).toEqual(expectedRows(counts, partitions));
      const [small, spilled] = countText(text, MEMORY_BYTES_MIN, partitions);
      expect(spilled.spills).toBeGreaterThan(64);
      expect(Buffer.compare(files.content('out')!, small.content('out')!)).toBe(0);
      expect(small.paths).toEqual(['out']);
      expect(spilled.partitionBytes).toEqual(done.partitionBytes);
      expect(done.bytes).toBe(files.content('out')!.length);
    }
  });

  describe('where most words are new', () => {
    /** More different words than are counted at once, some longer than what is put off together. */
    function newWords(distinct: number, seed: number): Buffer {
      const random = new SimRandom(seed);
      const word = (i: number) => {
        const letters = [...i.toString(26)].map((digit) =>
          String.fromCharCode(0x61 + Number.parseInt(digit, 26)),
        );
        return i % 10_000 === 7 ? `${letters.join('')}é`.repeat(random.below(6000)) : letters.join('');
      };
      const words = Array.from({ length: distinct }, (_, i) => word((i * 7919) % distinct));
      return Buffer.from([...words, ...words.slice(0, distinct / 4).reverse()].join(' '));
    }

    test('they are put off, and the bytes are the same', () => {
      const text = newWords(300_000, 1);
      const counts = naiveCounts(naiveWords(text));
      for (const partitions of [1, 3]) {
        const [files, done] = countText(text, 16 << 20, partitions);
        expect(done.spills).toBeGreaterThan(1);
        expect(done.spilledBytes).toBeGreaterThan(text.length / 4);
        expect(files.paths).toEqual(['out']);
        expect(countRows(files, ['out'], partitions)).toEqual(expectedRows(counts, partitions));
      }
    });

    test('counts added one by one in between are counted too', () => {
      const text = newWords(300_000, 2);
      const files = new MemoryFiles();
      const output = new CountOutput({ files, path: 'out', partitions: 1, memoryBytes: 16 << 20 });
      output.addWords(text, 0, text.length);
      for (let i = 0; i < 2000; i++) output.add(Buffer.from(`${i % 10}!`), 0, 2, 1);
      output.add(Buffer.from('zzzz'), 0, 4, 5);
      output.addWords(text, 0, text.length);
      output.finish();
      const counts = naiveCounts([...naiveWords(text), ...naiveWords(text)]);
      counts.set('zzzz', (counts.get('zzzz') ?? 0) + 5);
      for (let i = 0; i < 10; i++) counts.set(`${i}!`, 200);
      expect(countRows(files, ['out'], 1)).toEqual(expectedRows(counts, 1));
    });

    test('nothing is left behind, wherever the disk was full', () => {
      const text = newWords(300_000, 3);
      let failed = 0;
      for (let room = 0; room < 5_000_000; room += 400_000) {
        const files = new SmallDisk();
        files.left = room;
        const output = new CountOutput({ files, path: 'out', partitions: 2, memoryBytes: 16 << 20 });
        try {
          output.addWords(text, 0, text.length);
          output.finish();
        } catch (error) {
          expect(error).toBeInstanceOf(BulkFileError);
          failed++;
          output.abandon();
          expect(files.paths).toEqual([]);
        }
      }
      expect(failed).toBeGreaterThan(3);
    });
  });

  test('may be added one by one, and parted as the job wishes', () => {
    const files = new MemoryFiles();
    const partitioner = (bytes: Uint8Array, from: number) => bytes[from]! % 2;
    const output = new CountOutput({
      files,
      path: 'out',
      partitions: 2,
      memoryBytes: MEMORY_BYTES_MIN,
      partitioner,
    });
    for (let i = 0; i < 20_000; i++) {
      const key = Buffer.from(`${i % 5000} times`);
      output.add(key, 0, key.length, 2);
    }
    expect(output.finish().spills).toBeGreaterThan(0);
    const rows = countRows(files, ['out'], 2);
    expect(rows.length).toBe(5000);
    expect(rows.every((row) => row.endsWith(' 8') && Number(row[0]) === row.charCodeAt(2) % 2)).toBe(true);
  });

  test('of nothing is an empty file that can be merged', () => {
    const [files, done] = countText(Buffer.from('123 456'), 1 << 20, 2);
    expect(done.partitionBytes).toEqual([0, 0]);
    expect(countRows(files, ['out', 'out'], 2)).toEqual([]);
  });
});

describe('the pairs of a map task', () => {
  const joined: ValueCombiner = (_key, values) =>
    Buffer.from(Array.from(values, (value) => Buffer.from(value).toString()).join(','));

  test.each([
    ['as they are', undefined],
    ['combined', joined],
  ])('are the same with much memory and with little, %s', (_, combine) => {
    const random = new SimRandom(3);
    const pairs = Array.from({ length: 30_000 }, (_, i) => [`key ${random.below(3000)}`, `v${i}`] as const);
    const expected = new Map<string, string>();
    for (const [key, value] of pairs) {
      const before = expected.get(key);
      expected.set(key, before === undefined ? value : `${before},${value}`);
    }
    for (const memoryBytes of [MEMORY_BYTES_MIN, 64 << 20]) {
      const files = new MemoryFiles();
      const output = new RecordOutput({ files, path: 'out', partitions: 4, memoryBytes, combine });
      for (const [key, value] of pairs) {
        output.add(Buffer.from(key), 0, key.length, Buffer.from(value));
      }
      const { spills } = output.finish();
      expect(spills > 0).toBe(memoryBytes === MEMORY_BYTES_MIN);
      expect(valueRows(files, ['out'], 4)).toEqual(expectedRows(expected, 4));
      expect(files.paths).toEqual(['out']);
    }
  });

  test('may be larger than the memory', () => {
    const files = new MemoryFiles();
    const output = new RecordOutput({ files, path: 'out', partitions: 1, memoryBytes: MEMORY_BYTES_MIN });
    const value = Buffer.alloc(300_000, 'v');
    for (const key of ['b', 'a', 'c']) output.add(Buffer.from(key), 0, 1, value);
    for (let i = 0; i < 100; i++) output.add(Buffer.from('z'), 0, 1, Buffer.from('w'));
    expect(output.finish().spills).toBe(4);
    const rows = ['a', 'b', 'c'].map((key) => `0 ${key} ${value}`);
    expect(valueRows(files, ['out'], 1)).toEqual([...rows, `0 z ${Array(100).fill('w').join(',')}`]);
  });
});

describe('a map task that fails', () => {
  /** The disk is full after so many bytes. */
  test('leaves nothing behind, wherever the disk was full', () => {
    const text = Buffer.concat([...zipfText(400_000, { distinctWords: 20_000 })]);
    let failed = 0;
    for (let room = 0; room < 1_500_000; room += 31_000) {
      const files = new SmallDisk();
      files.left = room;
      const output = new CountOutput({ files, path: 'out', partitions: 2, memoryBytes: MEMORY_BYTES_MIN });
      try {
        output.addWords(text, 0, text.length);
        output.finish();
        expect(files.paths).toEqual(['out']);
      } catch (error) {
        expect(error).toBeInstanceOf(BulkFileError);
        failed++;
        output.abandon();
        expect(files.paths).toEqual([]);
      }
    }
    expect(failed).toBeGreaterThan(5);
  });
});

test('4 million different words in 16 MiB are counted in bounded memory', { timeout: 60_000 }, () => {
  const distinct = 4_000_000;
  const directory = temporaryDirectory();
  const files = new SystemBulkFiles();
  const path = `${directory}/out`;
  const output = new CountOutput({ files, path, partitions: 2, memoryBytes: 16 << 20 });
  const text = Buffer.alloc(1 << 20, ' ');
  // With the memory of the kernel.
  const before = process.memoryUsage().external;
  let bytesMax = 0;
  // Every word twice, in two orders, each of them far from sorted.
  for (const stride of [1_000_003, 2_750_159]) {
    let length = 0;
    for (let i = 0; i < distinct; i++) {
      let number = (i * stride) % distinct;
      for (let letter = 0; letter < 5; letter++) {
        text[length++] = 97 + (number % 26);
        number = Math.floor(number / 26);
      }
      length++;
      if (length + 6 > text.length - SLACK_BYTES || i === distinct - 1) {
        output.addWords(text, 0, length);
        length = 0;
        bytesMax = Math.max(bytesMax, process.memoryUsage().external - before);
      }
    }
  }
  const { spills } = output.finish();
  expect(spills).toBeGreaterThan(10);
  let keys = 0;
  let wrong = 0;
  for (const partition of [0, 1]) {
    mergePartition([path], partition, { files, temporary: `${directory}/merge` }, (merge) => {
      while (merge.nextKey()) {
        keys++;
        if (merge.sum() !== 2) wrong++;
      }
    });
  }
  expect({ keys, wrong }).toEqual({ keys: distinct, wrong: 0 });
  expect(files.list(directory)).toEqual(['out']);
  // What was spilled is garbage before it is collected.
  expect(bytesMax).toBeLessThan(4 * (16 << 20));
});
