/** What MR.SUBMIT takes, and what it says about the rest. */
import { Buffer } from 'node:buffer';
import { describe, expect, test } from 'vitest';
import { readSubmission } from '../../../src/mapreduce/cluster/submission.ts';

function read(...args: (string | Buffer)[]) {
  return readSubmission(
    args.map((arg) => Buffer.from(arg as string)),
    3,
  );
}

test('a job over files has what was given, and defaults for the rest', () => {
  expect(read('wc', 'files', '2', 'a.txt', 'FILES')).toEqual({
    ...{ job: { kind: 'builtin', name: 'wc' }, input: { kind: 'files', files: ['a.txt', 'FILES'] } },
    ...{
      reducers: undefined,
      out: { kind: 'store' },
      args: {},
      memoryBytes: 64 << 20,
      splitBytes: undefined,
    },
    ...{ name: '', token: '', workingDirectory: undefined },
  });
});

test('options come in any order, in upper or lower case', () => {
  const hash = 'a'.repeat(64);
  const options = ['token', 't1', 'NAME', 'my count', 'reduces', '7', 'CWD', '/home/x', 'SHA256', hash];
  expect(
    read('count.js', 'KEYS', 'doc:*', ...options, 'args', '1', 'lang', 'en', 'out', 'keys', 'n:'),
  ).toMatchObject({
    job: { kind: 'module', path: 'count.js', sha256: hash },
    input: { kind: 'keys', pattern: Buffer.from('doc:*') },
    ...{ reducers: 7, token: 't1', name: 'my count', workingDirectory: '/home/x', args: { lang: 'en' } },
    out: { kind: 'keys', db: 3, prefix: Buffer.from('n:').toString('base64') },
  });
});

const LONG = 'x'.repeat(40_000);

describe('refuses', () => {
  test.each([
    [['wcc', 'FILES', '1', 'a'], "unknown job 'wcc'"],
    [['../x.js', 'FILES', '1', 'a'], "unknown job '../x.js'"],
    [['wc'], 'FILES or KEYS is missing'],
    [['wc', 'a.txt'], "FILES or KEYS is expected behind the job, not 'A.TXT'"],
    [['wc', 'FILES', '0'], 'numfiles is a whole number from 1 to 100000'],
    [['wc', 'FILES', '2', 'a'], 'a file is missing'],
    [['wc', 'FILES', '1', 'a', 'b'], "unknown option 'B'"],
    [['wc', 'KEYS', '*', 'REDUCES', '0'], 'REDUCES is a whole number from 1 to 10000'],
    [['wc', 'KEYS', '*', 'REDUCES', '10001'], 'REDUCES is a whole number from 1 to 10000'],
    [['wc', 'KEYS', '*', 'MEMORY', '1'], 'MEMORY is a whole number from 65536'],
    [['wc', 'KEYS', '*', 'NAME', 'a', 'name', 'b'], 'NAME is given twice'],
    [['wc', 'KEYS', '*', 'OUT', 'file'], "STORE or KEYS is expected behind OUT, not 'FILE'"],
    [['grep', 'KEYS', '*'], 'grep needs a pattern'],
    [['grep', 'KEYS', '*', 'ARGS', '1', 'pattern', '('], 'grep: Invalid regular expression'],
    [['sort', 'KEYS', '*', 'OUT', 'KEYS', 'x'], 'OUT KEYS: the lines of sort have no keys'],
    [['wc', 'KEYS', '*', 'SHA256', 'ab'], 'SHA256 is 64 hexadecimal digits'],
    [['wc', 'KEYS', '*', 'SHA256', 'a'.repeat(64)], 'SHA256 is for a module of your own, not for wc'],
    [['wc', 'KEYS', '*', 'CWD', 'here'], 'CWD is an absolute path'],
    [['wc', 'KEYS', '*', 'TOKEN', LONG.slice(0, 257)], 'TOKEN is over 256 bytes'],
    [['wc', 'KEYS', '*', 'ARGS', '2', 'a', LONG, 'b', LONG], 'the arguments are too long'],
    [['wc', 'FILES', '1', Buffer.from([0xff])], 'a file is not valid UTF-8'],
  ] as const)('what is wrong: case %#', (args, message) => {
    expect(() => read(...args)).toThrow(message);
  });
});
