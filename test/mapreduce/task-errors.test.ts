import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { BulkFileError } from '../../src/lib/bulk.ts';
import { builtinJob } from '../../src/mapreduce/jobs/builtin.ts';
import { TaskError } from '../../src/mapreduce/task-error.ts';
import type { Split, TaskFailure } from '../../src/mapreduce/tasks.ts';
import { runTask } from '../../src/mapreduce/worker-task.ts';
import type { MemoryFiles } from './memory-files.ts';
import { filesOf, specOf, splitsOf } from './run-tasks.ts';

function map(files: MemoryFiles, split: Split, report = (_: number) => {}) {
  const situation = { spec: specOf({}), job: builtinJob('wc', {}), files, report };
  return runTask(situation, { phase: 'map', task: 0, attempt: 1, split });
}

function failure(run: () => unknown): TaskFailure {
  try {
    run();
  } catch (error) {
    if (error instanceof TaskError) return error.failure;
    throw error;
  }
  throw new Error('the task did not fail');
}

function prepared(path: string, content: string | Uint8Array): { files: MemoryFiles; split: Split } {
  const { files, inputs } = filesOf({ [path]: content });
  return { files, split: splitsOf(inputs[0]!)[0]! };
}

test('a file that has changed since the job began is not read, and never will be', () => {
  const { files, split } = prepared('a.txt', 'one two');
  files.put('a.txt', Buffer.from('one 222'));
  expect(failure(() => map(files, split))).toEqual({
    message: 'a.txt has changed since the job began',
    ...{ file: 'a.txt', deterministic: true, local: true },
  });
  files.remove('a.txt');
  expect(failure(() => map(files, split)).message).toBe('a.txt is gone since the job began');
});

test('a file that changes while it is read fails the task', () => {
  const { files, split } = prepared('a.txt', 'one two');
  const change = () => files.put('a.txt', Buffer.from('one two'));
  expect(failure(() => map(files, split, change)).message).toContain('has changed');
  expect(files.paths).toEqual(['a.txt']);
});

test('a file that is not gzip, or is damaged, fails the task for good', () => {
  const plain = prepared('a.gz', 'plain text');
  expect(failure(() => map(plain.files, plain.split))).toMatchObject({
    message: 'a.gz: not in the format of gzip',
    ...{ file: 'a.gz', deterministic: true },
  });
  const cut = prepared('a.gz', gzipSync('some text').subarray(0, -4));
  expect(failure(() => map(cut.files, cut.split)).message).toContain('a.gz: damaged');
});

test('an intermediate file that is missing or damaged is an error of the reduce task, which leaves no part', () => {
  const { files, split } = prepared('a.txt', 'one two');
  const { file } = map(files, split);
  const situation = { spec: specOf({}), job: builtinJob('wc', {}), files, report: () => {} };
  const reduce = () => runTask(situation, { phase: 'reduce', task: 0, attempt: 2, files: [file] });
  const damaged = Buffer.from(files.content(file)!);
  damaged[10]! ^= 1;
  files.put(file, damaged);
  expect(reduce).toThrow(/damaged|checksum|valid/);
  files.remove(file);
  expect(reduce).toThrow(BulkFileError);
  expect(files.paths).toEqual(['a.txt']);
});

test('a map task reports how much of its split is done', () => {
  const { files, split } = prepared('a.txt', 'word '.repeat(200_000));
  const reports: number[] = [];
  map(files, split, (bytes) => reports.push(bytes));
  expect(reports.length).toBeGreaterThan(2);
  expect(reports).toEqual([...reports].sort((a, b) => a - b));
  expect(reports.at(-1)).toBe(1_000_000);
});
