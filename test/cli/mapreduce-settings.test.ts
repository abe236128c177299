import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type JobOrder, readJobOrder } from '../../src/cli/mapreduce-settings.ts';
import { readServerSettings } from '../../src/cli/settings.ts';
import { ConfigError } from '../../src/lib/errors.ts';
import { temporaryDirectory } from '../io/temporary.ts';

const MB = 1024 ** 2;
const WC: JobOrder = {
  ...{ job: { kind: 'builtin', name: 'wc' }, args: {}, inputs: ['a'] },
  ...{
    reducers: undefined,
    workers: undefined,
    memoryBytes: 64 * MB,
    splitBytes: undefined,
    sequential: false,
  },
  output: { kind: 'stream', by: 'key', top: undefined },
};

describe('the arguments', () => {
  test.each<[string[], Partial<JobOrder>]>([
    [['wc', 'a'], {}],
    [['wc'], { inputs: [] }],
    [['wc', 'a', '-', 'b'], { inputs: ['a', '-', 'b'] }],
    [['wc', '--reduces', '3', 'a', '--workers=2'], { reducers: 3, workers: 2 }],
    [['--reduces', '10000', 'wc', 'a'], { reducers: 10_000 }],
    [['wc', 'a', '--memory', '16mb', '--split', '1mb'], { memoryBytes: 16 * MB, splitBytes: MB }],
    [['wc', 'a', '--top', '7', '--sort', 'count'], { output: { kind: 'stream', by: 'count', top: 7 } }],
    [['wc', '--sequential', 'a'], { sequential: true }],
    [
      ['wc', 'a', '--out', 'd', '--force'],
      { output: { kind: 'directory', path: resolve('d'), force: true } },
    ],
    [
      ['grep', 'a+', 'b', '--arg', 'x=1', '--arg', 'y=a=b'],
      {
        ...{ job: { kind: 'builtin', name: 'grep' }, inputs: ['b'] },
        args: { pattern: 'a+', x: '1', y: 'a=b' },
      },
    ],
    [
      ['grep', '--', '--help', '-x'],
      { job: { kind: 'builtin', name: 'grep' }, inputs: ['-x'], args: { pattern: '--help' } },
    ],
  ])('%j are understood', (args, order) => {
    expect(readJobOrder(args, {})).toEqual({ ...WC, ...order });
  });

  test.each([
    [['wd', 'a'], "unknown job 'wd': did you mean 'wc'?"],
    [['book.txt'], "unknown job 'book.txt': jobs are wc, ii, grep, sort, or a path such as ./job.js"],
    [['./nope.js', 'a'], 'there is no job ./nope.js'],
    [
      ['wc', '--reduces', '0', 'a'],
      "invalid value '0' for --reduces: argument must be between 1 and 10000 inclusive",
    ],
    [
      ['wc', '--reduces', '10001', 'a'],
      "invalid value '10001' for --reduces: argument must be between 1 and 10000 inclusive",
    ],
    [['wc', '--memory', 'lots', 'a'], "invalid value 'lots' for --memory: argument must be a memory value"],
    [['wc', '--reduce', '2'], 'unknown flag --reduce: did you mean --reduces?'],
    [['wc', '-x', 'a'], "unexpected argument '-x'"],
    [['wc', 'a', '--top'], '--top needs a value'],
    [['wc', 'a', '--force'], '--force is for the directory that --out names'],
    [['wc', 'a', '--arg', 'x'], "--arg takes NAME=VALUE, not 'x'"],
    [['wc', '-', '-'], 'standard input (-) can be read once only'],
    [['sort', 'a', '--sort', 'count'], '--sort count: sort counts nothing'],
    [
      ['wc', 'a', '--out', 'd', '--top', '3'],
      '--top is for standard output: each part in --out is in the order of its keys',
    ],
    [
      ['wc', 'a', '--nodes', 'h:1'],
      '--nodes: jobs across the servers of a cluster are not there yet; without it a job runs here',
    ],
    [['wc', 'keys:*'], 'keys:*: stored keys as input are not there yet (a file of this name is ./keys:*)'],
  ])('%j are refused', (args, message) => {
    expect(() => readJobOrder(args, {})).toThrow(new ConfigError(message));
  });

  test('without a job, or without a pattern, are answered with examples', () => {
    for (const args of [[], ['grep']]) {
      expect(() => readJobOrder(args, {})).toThrow(/for example:\n {2}hstore .*\n {2}.*hstore /);
    }
  });

  test('with a pattern that is no regular expression are refused before any work', () => {
    expect(() => readJobOrder(['grep', '(', 'a'], {})).toThrow(
      /^grep cannot use the pattern: .*Unterminated group/,
    );
  });
});

test("a job of the user's own is known by its absolute path and its content", () => {
  const path = join(temporaryDirectory(), 'job.mjs');
  writeFileSync(path, 'export function map() {}');
  const sha256 = createHash('sha256').update('export function map() {}').digest('hex');
  expect(readJobOrder([path, 'a'], {}).job).toEqual({ kind: 'module', path, sha256 });
});

test('flags win over the environment, and that over the file', () => {
  const file = join(temporaryDirectory(), 'job.conf');
  writeFileSync(file, 'reduces 5\nworkers 5\nsplit 5mb\n');
  const args = ['wc', 'a', '--config', file, '--reduces', '7'];
  const order = readJobOrder(args, { HSTORE_REDUCES: '6', HSTORE_WORKERS: '6' });
  expect([order.reducers, order.workers, order.splitBytes]).toEqual([7, 6, 5 * MB]);
});

test('what servers are told through the environment is nothing to a job, and the other way round', () => {
  const servers = {
    HSTORE_PORT: '7000',
    HSTORE_CLUSTER: 'n1=a:1',
    HSTORE_CONFIG: '/etc/hstore.conf',
    HSTORE_DIR: 'x',
  };
  expect(readJobOrder(['wc', 'a'], servers)).toEqual(WC);
  const jobs = {
    HSTORE_SORT: 'count',
    HSTORE_OUT: 'x',
    HSTORE_TOP: '1',
    HSTORE_REDUCES: '2',
    HSTORE_SPLIT: '1mb',
  };
  expect(() => readServerSettings([], jobs)).not.toThrow();
  expect(() => readJobOrder(['wc', 'a'], { HSTORE_REDUCE: '2' })).toThrow('did you mean HSTORE_REDUCES?');
});
