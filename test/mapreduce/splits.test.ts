import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../src/lib/errors.ts';
import type { InputFile } from '../../src/mapreduce/inputs.ts';
import { planSplits, SPLITS_MAX, splitBytesOf } from '../../src/mapreduce/splits.ts';
import { SimRandom } from '../sim/random.ts';

const MB = 1 << 20;

function file(path: string, bytes: number, more: Partial<InputFile> = {}): InputFile {
  return { path, bytes, modifiedMs: 7, gzip: false, ...more };
}

test('splits cover every byte of every file once, in order, and are nearly of one size (random inputs)', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = new SimRandom(seed);
    const files = Array.from({ length: random.below(6) }, (_, i) => file(`f${i}`, random.below(1000)));
    const splitBytes = 1 + random.below(100);
    const splits = planSplits(files, { workers: 1 + random.below(4), splitBytes });
    for (const { path, bytes } of files) {
      const ranges = splits.flatMap((split) =>
        split.kind === 'range' && split.path === path ? [split] : [],
      );
      let at = 0;
      for (const { from, to, fileBytes } of ranges) {
        expect([from, fileBytes]).toEqual([at, bytes]);
        at = to;
      }
      expect(at).toBe(bytes);
      const sizes = ranges.map(splitBytesOf);
      if (sizes.length > 0) expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      expect(Math.max(0, ...sizes)).toBeLessThanOrEqual(splitBytes);
    }
  }
});

describe('the size of splits', () => {
  test.each([
    [1 * MB, 2, 1],
    [16 * MB, 2, 2],
    [100 * MB, 2, 2],
    [100 * MB, 1, 1],
    [1024 * MB, 2, 2],
    [1024 * MB, 8, 8],
    [10_240 * MB, 2, 20],
  ])('of %i bytes for %i workers: there are %i', (bytes, workers, count) => {
    expect(planSplits([file('f', bytes)], { workers })).toHaveLength(count);
  });
});

test('a compressed file is one split, and so is every file of a job that wants whole files', () => {
  const files = [file('a.gz', 100 * MB, { gzip: true }), file('b', 100 * MB)];
  expect(planSplits(files, { workers: 2, splitBytes: MB, wholeFiles: true })).toMatchObject([
    { kind: 'gzip', path: 'a.gz' },
    { kind: 'range', path: 'b', from: 0, to: 100 * MB },
  ]);
});

test('a split says what the file was, and what records call it', () => {
  const planned = planSplits([file('tmp/input', 5, { name: '-' }), file('b', 5)], { workers: 1 });
  expect(planned).toEqual([
    { kind: 'range', path: 'tmp/input', name: '-', from: 0, to: 5, fileBytes: 5, modifiedMs: 7 },
    { kind: 'range', path: 'b', from: 0, to: 5, fileBytes: 5, modifiedMs: 7 },
  ]);
});

test('splits too many to be held are refused before they are made', () => {
  const plan = () => planSplits([file('a', 1e12)], { workers: 1, splitBytes: 1000 });
  expect(plan).toThrow(ConfigError);
  expect(plan).toThrow(`1000000000 pieces, over ${SPLITS_MAX}`);
});
