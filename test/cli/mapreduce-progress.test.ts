import { expect, test } from 'vitest';
import { failureText } from '../../src/cli/mapreduce-mode.ts';
import { type Progress, progressLine, summaryText } from '../../src/cli/mapreduce-progress.ts';

const HALF: Progress = {
  ...{ phase: 'map', maps: { done: 3, of: 8 }, reduces: { done: 0, of: 2 } },
  bytes: { done: 50e6, of: 100e6 },
};

test('the line shows tasks, rate and the time left', () => {
  expect(progressLine(HALF, 2000, 80)).toBe(
    '[##########..............]  map 3/8  reduce 0/2  25 MB/s  3 s left',
  );
  const end: Progress = {
    ...{ phase: 'reduce', maps: { done: 8, of: 8 }, reduces: { done: 2, of: 2 } },
    bytes: { done: 100e6, of: 100e6 },
  };
  expect(progressLine(end, 4000, 80)).toBe(
    '[########################]  map 8/8  reduce 2/2  25 MB/s  0 s left',
  );
});

test('the line says nothing of the time left before it can know, and minutes where seconds are many', () => {
  expect(progressLine(HALF, 100, 80)).not.toContain('left');
  expect(progressLine({ ...HALF, bytes: { done: 0, of: 9 } }, 9000, 80)).not.toContain('left');
  expect(progressLine(HALF, 100_000, 80)).toContain('2 min 3 s left');
  expect(progressLine(HALF, 10_000_000, 80)).toContain('3 h 23 min left');
});

test('the line fits the terminal, and no input at all is no division by nothing', () => {
  expect(progressLine(HALF, 2000, 30).length).toBe(29);
  const none = { done: 0, of: 0 };
  expect(progressLine({ ...HALF, maps: none, bytes: none }, 0, 80)).toBe(
    '[#####################...]  map 0/0  reduce 0/2',
  );
});

test('the line of a job that waits says so, and one that reads stored keys goes by its tasks', () => {
  expect(progressLine({ ...HALF, phase: 'queued' }, 2000, 80)).toBe(
    '[........................]  waits for other jobs  25 MB/s',
  );
  const keys = { ...HALF, bytes: { done: 0, of: 0 }, maps: { done: 4, of: 8 } };
  expect(progressLine(keys, 100, 80)).toBe('[##########..............]  map 4/8  reduce 0/2');
});

test('the counters are shown at the end, in a column', () => {
  const summary = { maps: 1, reduces: 2, bytes: 10e6, counters: { words: 12, keys: 3 } };
  expect(summaryText(summary, 500)).toBe(
    '10.0 MB in 0.5 s, 20 MB/s: 1 map task, 2 reduce tasks\n  keys   3\n  words  12\n',
  );
});

test('a failure says what, where, and how often it was tried', () => {
  expect(failureText({ message: 'no memory' })).toBe('no memory');
  const failure = { message: 'map threw: x is undefined', file: 'a.txt', offset: 7 };
  expect(failureText({ phase: 'map', task: 3, attempts: 4, failure })).toBe(
    'map threw: x is undefined\n  in a.txt at byte 7\n  map task 3, 4 attempts',
  );
  expect(failureText({ message: 'cannot read a.txt: it is gone', file: 'a.txt' })).toBe(
    'cannot read a.txt: it is gone',
  );
});
