/**
 * Tests of 6.824's lab 1, part I (test_test.go): `TestSequentialSingle`, `TestSequentialMany`, and what later years added about
 * files and reducers. Its job: each word of each file is a key, and comes out once for each key, in the order of strings.
 */
import { expect, test } from 'vitest';
import type { Job } from '../../src/mapreduce/job.ts';
import { moduleJob } from '../../src/mapreduce/jobs/module-job.ts';
import { moduleMeaning } from '../../src/mapreduce/jobs/module-meaning.ts';
import { builtin, type TestInput, viaSequential, viaTasks } from './run-tasks.ts';

const NUMBERS = 100_000;

const lab: Job<string> = {
  input: 'whole',
  map: ({ text }, emit) => {
    for (const word of text.split(/\s+/)) if (word !== '') emit(word, '');
  },
  reduce: (key, values, write) => {
    for (const _ of values) write(key);
  },
};

/** The numbers from 0 on, a line each, in so many files. */
function numbersIn(files: number): TestInput {
  const each = NUMBERS / files;
  const lines = (first: number) => Array.from({ length: each }, (_, i) => `${first + i}\n`).join('');
  return Object.fromEntries(
    Array.from({ length: files }, (_, i) => [`824-mrinput-${i}.txt`, lines(i * each)]),
  );
}

const SORTED = `${Array.from({ length: NUMBERS }, (_, i) => `${i}`)
  .sort()
  .join('\n')}\n`;

const cases = [
  { name: 'SequentialSingle', files: 1, reducers: 1 },
  { name: 'SequentialMany', files: 5, reducers: 3 },
  { name: 'Basic', files: 100, reducers: 50 },
];

test.each(cases)(
  '$name: 100,000 numbers of $files files come out in the order of strings',
  ({ files, reducers }) => {
    const job = { tasks: moduleJob(lab as Job, 'lab.js'), meaning: moduleMeaning(lab as Job, 'lab.js', {}) };
    const input = numbersIn(files);
    expect(viaTasks(job, input, { reducers }).text === SORTED).toBe(true);
    expect(viaSequential(job, input, { reducers }).text === SORTED).toBe(true);
  },
);

test('fewer files than reducers, and a single file, are no problem', () => {
  const input = { 'one.txt': 'a b c a' };
  expect(viaTasks(builtin('wc'), input, { reducers: 50 }).text).toBe('a: 2\nb: 1\nc: 1\n');
});

test('a file without words gives no key that is empty', () => {
  expect(viaTasks(builtin('wc'), { 'a.txt': '...', 'b.txt': '\n' }, { reducers: 3 }).text).toBe('');
});
