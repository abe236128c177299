import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/lib/errors.ts';
import { type MergeSource, mergePartition, mergeRuns, writeRun } from '../../src/mapreduce/merge.ts';
import { RunFile } from '../../src/mapreduce/run-reader.ts';
import { SimRandom } from '../sim/random.ts';
import { MemoryFiles } from './memory-files.ts';
import { countRows, valueRows } from './run-rows.ts';
import { pick, sortedByBytes } from './texts.ts';

type Rows = readonly (readonly [key: string, value: string])[];

function putCounts(files: MemoryFiles, path: string, partitions: readonly Rows[]): void {
  writeRun(path, 'counts', partitions.length, files, (run) => {
    partitions.forEach((rows, partition) => {
      for (const [key, count] of rows) {
        run.count(partition, Buffer.from(key), 0, Buffer.byteLength(key), Number(count));
      }
    });
  });
}

function putValues(files: MemoryFiles, path: string, partitions: readonly Rows[]): void {
  writeRun(path, 'values', partitions.length, files, (run) => {
    partitions.forEach((rows, partition) => {
      for (const [key, value] of rows) {
        const bytes = Buffer.from(value);
        run.value(partition, Buffer.from(key), 0, Buffer.byteLength(key), bytes, 0, bytes.length);
      }
    });
  });
}

function randomKeys(random: SimRandom): string[] {
  const keys = new Set<string>();
  const count = random.below(60);
  for (let i = 0; i < count; i++) {
    const length = random.below(random.chance(0.2) ? 300 : 12);
    keys.add(Array.from({ length }, () => pick(['a', 'b', '\0', 'é', '𝒜', '\uffee'], random)).join(''));
  }
  return sortedByBytes(keys);
}

const EXAMPLE: readonly Rows[] = [
  [
    ['apple', '1'],
    ['applesauce', '300'],
    ['b', '9007199254740991'],
  ],
  [],
  [['', '7']],
];

describe('a run', () => {
  test('gives back what was written, by partition', () => {
    const files = new MemoryFiles();
    putCounts(files, 'run', EXAMPLE);
    expect(countRows(files, ['run'], 3)).toEqual([
      '0 apple 1',
      '0 applesauce 300',
      '0 b 9007199254740991',
      '2  7',
    ]);
  });

  test('holds keys and values longer than its blocks', () => {
    const files = new MemoryFiles();
    const long = 'k'.repeat(400_000);
    putValues(files, 'run', [
      [
        [long, 'v'.repeat(300_000)],
        [`${long}l`, ''],
        [`${long}l`, 'w'],
      ],
    ]);
    const [first, second] = valueRows(files, ['run'], 1);
    expect(first).toBe(`0 ${long} ${'v'.repeat(300_000)}`);
    expect(second).toBe(`0 ${long}l ,w`);
  });

  test('refuses to be written out of order', () => {
    const files = new MemoryFiles();
    expect(() =>
      putCounts(files, 'run', [
        [
          ['b', '1'],
          ['a', '1'],
        ],
      ]),
    ).toThrow('keys come in order');
    expect(() =>
      putCounts(files, 'run', [
        [
          ['ab', '1'],
          ['a', '1'],
        ],
      ]),
    ).toThrow('keys come in order');
    expect(() =>
      putCounts(files, 'run', [
        [
          ['a', '1'],
          ['a', '1'],
        ],
      ]),
    ).toThrow('keys come in order');
    expect(files.paths).toEqual([]);
  });

  test.each(['counts', 'values'] as const)('of %s is refused wherever it is cut', (kind) => {
    const files = new MemoryFiles();
    if (kind === 'counts') putCounts(files, 'run', EXAMPLE);
    else putValues(files, 'run', EXAMPLE);
    const whole = files.content('run')!;
    for (let bytes = 0; bytes < whole.length; bytes++) {
      files.put('run', whole.subarray(0, bytes));
      expect(() => valueRows(files, ['run'], 3), `${bytes} bytes`).toThrow(CorruptionError);
    }
  });

  test.each(['counts', 'values'] as const)('of %s is refused whatever bit is flipped', (kind) => {
    const files = new MemoryFiles();
    if (kind === 'counts') putCounts(files, 'run', EXAMPLE);
    else putValues(files, 'run', EXAMPLE);
    const whole = files.content('run')!;
    const read = kind === 'counts' ? countRows : valueRows;
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const damaged = Uint8Array.from(whole);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      files.put('run', damaged);
      expect(() => read(files, ['run'], 3), `bit ${bit}`).toThrow(CorruptionError);
    }
  });

  test('that lies in rows swapped within the index is refused', () => {
    const files = new MemoryFiles();
    putCounts(files, 'run', EXAMPLE);
    const damaged = Buffer.from(files.content('run')!);
    const index = damaged.length - 24 - 3 * 32;
    const first = Buffer.from(damaged.subarray(index, index + 32));
    damaged.copyWithin(index, index + 32, index + 64);
    damaged.set(first, index + 32);
    files.put('run', damaged);
    expect(() => countRows(files, ['run'], 3)).toThrow(CorruptionError);
  });
});

describe('a merge', () => {
  test('adds counts as a Map does, in one pass and in many', () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = new SimRandom(seed);
      const files = new MemoryFiles();
      const expected = new Map<string, number>();
      const paths = Array.from({ length: random.below(20) }, (_, i) => `run-${i}`);
      for (const path of paths) {
        const rows = randomKeys(random).map((key) => [key, String(1 + random.below(1000))] as const);
        for (const [key, count] of rows) expected.set(key, (expected.get(key) ?? 0) + Number(count));
        putCounts(files, path, [rows]);
      }
      const before = files.paths;
      const rows = sortedByBytes(expected.keys()).map((key) => `0 ${key} ${expected.get(key)}`);
      for (const fanIn of [2, 3, 64]) expect(countRows(files, paths, 1, fanIn), `seed ${seed}`).toEqual(rows);
      expect(files.paths).toEqual(before);
    }
  });

  test('has the values of a key in the order of the runs, and in each as they were written', () => {
    for (let seed = 0; seed < 300; seed++) {
      const random = new SimRandom(seed);
      const files = new MemoryFiles();
      const expected = new Map<string, string[]>();
      const paths = Array.from({ length: 1 + random.below(20) }, (_, i) => `run-${i}`);
      for (const path of paths) {
        const rows = randomKeys(random).flatMap((key) =>
          Array.from({ length: 1 + random.below(3) }, (_, i) => [key, `${path}.${i}`] as const),
        );
        for (const [key, value] of rows) expected.set(key, [...(expected.get(key) ?? []), value]);
        putValues(files, path, [rows]);
      }
      const rows = sortedByBytes(expected.keys()).map((key) => `0 ${key} ${expected.get(key)}`);
      for (const fanIn of [2, 3, 64]) expect(valueRows(files, paths, 1, fanIn), `seed ${seed}`).toEqual(rows);
    }
  });

  test('goes over values that nobody asked for', () => {
    const files = new MemoryFiles();
    putValues(files, 'a', [
      [
        ['x', '1'],
        ['x', '2'],
        ['y', '3'],
      ],
    ]);
    putValues(files, 'b', [
      [
        ['x', '4'],
        ['z', '5'],
      ],
    ]);
    const keys = mergePartition(['a', 'b'], 0, { files, temporary: 't' }, (merge) => {
      const found: string[] = [];
      while (merge.nextKey()) {
        found.push(merge.key.toString('utf8', 0, merge.keyLength));
        if (found.length === 1) merge.nextValue();
      }
      return found;
    });
    expect(keys).toEqual(['x', 'y', 'z']);
  });

  test('of nothing has no key', () => {
    const files = new MemoryFiles();
    expect(countRows(files, [], 1)).toEqual([]);
    putCounts(files, 'run', [[], []]);
    expect(countRows(files, ['run', 'run'], 2)).toEqual([]);
  });

  test('makes whole runs one, each partition by itself, and combines values', () => {
    const files = new MemoryFiles();
    putValues(files, 'a', [
      [['x', '1']],
      [
        ['p', '2'],
        ['q', '3'],
      ],
    ]);
    putValues(files, 'b', [[['x', '4']], [['p', '5']]]);
    const combine = (_key: Uint8Array, values: Iterable<Uint8Array>) =>
      Buffer.from(Array.from(values, (value) => Buffer.from(value).toString()).join('+'));
    writeRun('c', 'values', 2, files, (run) =>
      mergeRuns(['a', 'b'], run, { files, temporary: 't', combine }),
    );
    expect(valueRows(files, ['c'], 2)).toEqual(['0 x 1+4', '1 p 2+5', '1 q 3']);
  });

  test('of runs that do not belong together is refused', () => {
    const files = new MemoryFiles();
    putValues(files, 'values', [[['x', '1']]]);
    putCounts(files, 'counts', [[['x', '1']]]);
    putCounts(files, 'two', [[['x', '1']], []]);
    const options = { files, temporary: 't' };
    expect(() => countRows(files, ['counts', 'values'], 1)).toThrow('values is a run of values');
    expect(() => mergePartition(['counts'], 1, options, () => 0)).toThrow('counts has no partition 1');
    expect(() =>
      writeRun('out', 'counts', 1, files, (run) => mergeRuns(['counts', 'two'], run, options)),
    ).toThrow('two has 2 partitions');
    expect(files.paths).not.toContain('out');
  });
});

describe('a merge of slices', () => {
  /** Their bytes in one file, with something else between them. */
  function gather(
    files: MemoryFiles,
    runs: readonly string[],
    partition: number,
    path: string,
  ): MergeSource[] {
    const chunks: Uint8Array[] = [];
    let offset = 0;
    const sources = runs.map((run) => {
      const file = new RunFile(run, files);
      const slice = file.slice(partition);
      file.close();
      chunks.push(
        Buffer.from('torn'),
        files.content(run)!.subarray(slice.offset, slice.offset + slice.bytes),
      );
      const source = { path, slice: { ...slice, offset: offset + 4 } };
      offset += 4 + slice.bytes;
      return source;
    });
    files.put(path, Buffer.concat(chunks));
    return sources;
  }

  function rows(files: MemoryFiles, sources: readonly MergeSource[], fanInMax: number): string[] {
    return mergePartition(sources, 0, { files, temporary: 'rows', fanInMax }, (merge) => {
      const found: string[] = [];
      while (merge.nextKey()) {
        const key = merge.key.toString('utf8', 0, merge.keyLength);
        const values = Array.from(merge.values(), (value) => Buffer.from(value).toString());
        found.push(`0 ${key} ${values.join(',')}`);
      }
      return found;
    });
  }

  test('gives what a merge of the runs gives, in one pass and in many', () => {
    for (let seed = 0; seed < 100; seed++) {
      const random = new SimRandom(seed);
      const files = new MemoryFiles();
      const paths = Array.from({ length: 2 + random.below(20) }, (_, i) => `run-${i}`);
      for (const path of paths) {
        const partition = random.chance(0.3) ? [] : randomKeys(random).map((key) => [key, path] as const);
        putValues(files, path, [partition]);
      }
      const half = 1 + random.below(paths.length - 1);
      const sources = [
        ...gather(files, paths.slice(0, half), 0, 'fetched'),
        ...paths.slice(half).map((path) => ({ path, partition: 0 })),
      ];
      const expected = valueRows(files, paths, 1);
      for (const fanIn of [2, 3, 64]) expect(rows(files, sources, fanIn), `seed ${seed}`).toEqual(expected);
    }
  });

  test('opens a file once, however many slices are in it', () => {
    const files = new MemoryFiles();
    const paths = Array.from({ length: 50 }, (_, i) => `run-${i}`);
    for (const path of paths) putValues(files, path, [[['x', path]]]);
    const sources = gather(files, paths, 0, 'fetched');
    files.openMax = 0;
    expect(rows(files, sources, 64)).toEqual([`0 x ${paths.join(',')}`]);
    expect(files.openMax).toBe(1);
  });

  test('is refused when one is damaged, cut off, or of another kind', () => {
    const files = new MemoryFiles();
    putValues(files, 'a', [[['x', '1']]]);
    putCounts(files, 'b', [[['x', '1']]]);
    const sources = gather(files, ['a'], 0, 'fetched');
    const bytes = Buffer.from(files.content('fetched')!);
    expect(() => rows(files, [...sources, ...gather(files, ['b'], 0, 'other')], 64)).toThrow('run of counts');
    for (let at = 4; at < bytes.length; at++) {
      const damaged = Buffer.from(bytes);
      damaged[at]! ^= 1;
      files.put('fetched', damaged);
      expect(() => rows(files, sources, 64), `byte ${at}`).toThrow(CorruptionError);
      files.put('fetched', bytes.subarray(0, at));
      expect(() => rows(files, sources, 64), `${at} bytes`).toThrow(CorruptionError);
    }
  });
});
