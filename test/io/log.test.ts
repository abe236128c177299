import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createLog, LOG_LEVELS } from '../../src/io/log.ts';
import { temporaryDirectory } from './temporary.ts';

function lines(path: string): Record<string, unknown>[] {
  return readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

test('an event is one line of JSON with level, ISO time, text and fields', () => {
  const file = join(temporaryDirectory(), 'log');
  const log = createLog({ level: 'notice', file });
  log.notice('Ready to accept connections', { port: 6379, leader: null, tls: false });
  log.warning('a "quoted"\nline');
  const [first, second] = lines(file);
  expect(first).toMatchObject({
    level: 'notice',
    msg: 'Ready to accept connections',
    port: 6379,
    leader: null,
    tls: false,
  });
  expect(new Date(first?.time as string).toISOString()).toBe(first?.time);
  expect(second).toMatchObject({ level: 'warning', msg: 'a "quoted"\nline' });
});

test('events below the level are left out, and the level can be changed', () => {
  const file = join(temporaryDirectory(), 'log');
  const log = createLog({ level: 'warning', file });
  for (const level of LOG_LEVELS) log[level](`${level} at first`);
  log.level = 'debug';
  expect(log.level).toBe('debug');
  for (const level of LOG_LEVELS) log[level](`${level} later`);
  expect(lines(file).map((line) => line.msg)).toEqual([
    'warning at first',
    'debug later',
    'verbose later',
    'notice later',
    'warning later',
  ]);
});

test('a log file that exists is appended to', () => {
  const file = join(temporaryDirectory(), 'log');
  writeFileSync(file, '{"msg":"before"}\n');
  createLog({ level: 'notice', file }).notice('after');
  expect(lines(file).map((line) => line.msg)).toEqual(['before', 'after']);
});

test('a log file that cannot be opened is an error', () => {
  const file = join(temporaryDirectory(), 'missing', 'log');
  expect(() => createLog({ level: 'notice', file })).toThrow('ENOENT');
});

test('a log whose disk is full costs the line and not the server', () => {
  const log = createLog({ level: 'notice', file: '/dev/full' });
  log.notice('one');
  log.notice('two');
});
