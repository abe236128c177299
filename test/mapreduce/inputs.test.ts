import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../src/lib/errors.ts';
import { findInputs } from '../../src/mapreduce/inputs.ts';
import { MemoryFiles } from './memory-files.ts';

function filesOf(...paths: string[]): MemoryFiles {
  const files = new MemoryFiles();
  for (const path of paths) files.put(path, Buffer.from(path));
  return files;
}

const TREE = filesOf(
  ...['d/b.txt', 'd/a.txt', 'd/sub/c.txt', 'd/.hidden', 'd/_SUCCESS', 'd/sub/.git/config'],
  ...['e/part-1', 'e/part-2', 'e/part-10', '/abs/x.log', 'a[1].txt', 'z.gz'],
);

describe.each<[string[], string[]]>([
  [['d/b.txt'], ['d/b.txt']],
  [
    ['e/part-2', 'd/a.txt'],
    ['e/part-2', 'd/a.txt'],
  ],
  [['d'], ['d/a.txt', 'd/b.txt', 'd/sub/c.txt']],
  [['e/part-*'], ['e/part-1', 'e/part-10', 'e/part-2']],
  [['e/part-?'], ['e/part-1', 'e/part-2']],
  [['d/s*'], ['d/sub/c.txt']],
  [['d/*/c.txt'], ['d/sub/c.txt']],
  [['/abs/*.log'], ['/abs/x.log']],
  [['d/.h*'], ['d/.hidden']],
  [['a[1].txt'], ['a[1].txt']],
  [
    ['d/a.txt', 'd/a.txt'],
    ['d/a.txt', 'd/a.txt'],
  ],
])('%j', (args, paths) => {
  test(`is ${paths.join(' ')}`, () => {
    expect(findInputs(args, TREE).map(({ path }) => path)).toEqual(paths);
  });
});

test('a file whose name ends in .gz is unpacked, others are not', () => {
  expect(findInputs(['z.gz', 'd/a.txt'], TREE).map(({ gzip }) => gzip)).toEqual([true, false]);
});

test.each([
  ['nope', 'there is no file nope'],
  ['d/nope.txt', 'there is no file d/nope.txt'],
  ['*.nope', 'nothing matches *.nope'],
  ['nope/*', 'nothing matches nope/*'],
])('%s is refused', (arg, message) => {
  expect(() => findInputs(['d/a.txt', arg], TREE)).toThrow(new ConfigError(message));
});
