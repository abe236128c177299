/** Stored values as input: each is a record, whatever it ends with, and documents are called by their keys. */
import { Buffer } from 'node:buffer';
import { describe, expect, test } from 'vitest';
import { moduleJob } from '../../src/mapreduce/jobs/module-job.ts';
import { eachStoredRecord } from '../../src/mapreduce/stored-records.ts';
import { MemoryFiles } from './memory-files.ts';
import { builtin, type TestJob, viaStored } from './run-tasks.ts';

function recordBytes(pairs: readonly (readonly [string | Buffer, string | Buffer])[]): Buffer {
  return Buffer.concat(
    pairs.flatMap(([key, value]) => {
      const [keyBytes, valueBytes] = [Buffer.from(key as string), Buffer.from(value as string)];
      const header = Buffer.alloc(8);
      header.writeUInt32LE(keyBytes.length, 0);
      header.writeUInt32LE(valueBytes.length, 4);
      return [header, keyBytes, valueBytes];
    }),
  );
}

function run(job: Pick<TestJob, 'tasks'>, ...pairs: (readonly [string | Buffer, string | Buffer])[]): string {
  return viaStored(job, recordBytes(pairs));
}

test('words do not go on from one value into the next', () => {
  // The length of the next key is 0x61, which is `a`.
  const long = 'k'.repeat(0x61);
  expect(run(builtin('wc'), ['x', 'end'], [long, 'end'], ['y', ''])).toBe('end: 2\n');
});

test('documents of an inverted index are keys, of any bytes', () => {
  const odd = Buffer.from([0x6b, 0xff]);
  const other = Buffer.from([0x6b, 0xfe]);
  const output = Buffer.from(
    run(builtin('ii'), [odd, 'word'], [other, 'word'], ['a', 'word word']),
    'latin1',
  );
  expect(output).toEqual(
    Buffer.concat([Buffer.from('word: 3 a,'), other, Buffer.from(','), odd, Buffer.from('\n')]),
  );
});

test('lines that grep finds are called by their keys', () => {
  const args = { pattern: 'b', 'with-filename': 'yes' };
  expect(run(builtin('grep', args), ['k1', 'abc\nxyz\nb'], ['k2', 'b'])).toBe('k1:abc\nk1:b\nk2:b\n');
});

test('lines of values are sorted as those of files are', () => {
  expect(run(builtin('sort'), ['k1', 'b\na'], ['k2', 'a\n'])).toBe('a\na\nb\n');
});

describe('a job of the user', () => {
  test.each([
    ['chunk', 'k1 keys 0 a\nb,k2 keys 0 c'],
    ['whole', 'k1 keys 0 a\nb,k2 keys 0 c'],
    ['lines', 'k1 keys 0 a,k1 keys 2 b,k2 keys 0 c'],
  ] as const)('gets a value as a record where its input is %s', (input, expected) => {
    const seen: string[] = [];
    const job = moduleJob(
      {
        input,
        map({ key, file, offset, text }) {
          seen.push(`${key} ${file} ${offset} ${text}`);
        },
      },
      'job.js',
    );
    run({ tasks: job }, ['k1', 'a\nb'], ['k2', 'c']);
    expect(seen.join(',')).toBe(expected);
  });
});

test('records that are larger than what is read at a time are whole', () => {
  const files = new MemoryFiles();
  const pairs = [1, 300_000, 0, 70_000, 262_144].map((bytes, i) => [`k${i}`, 'v'.repeat(bytes)] as const);
  files.put('records', recordBytes(pairs));
  const seen: [string, number, boolean][] = [];
  eachStoredRecord(files.open('records'), ({ key, value, valueBytes }) => {
    const isWhole = value.subarray(0, valueBytes).every((byte) => byte === 0x76);
    seen.push([
      key.toString(),
      valueBytes,
      isWhole && value.subarray(valueBytes, valueBytes + 8).every((b) => b === 0),
    ]);
  });
  expect(seen).toEqual(pairs.map(([key, value]) => [key, value.length, true]));
});

test('a file that is cut off is noticed', () => {
  const files = new MemoryFiles();
  files.put('records', recordBytes([['k', 'value']]).subarray(0, 12));
  expect(() => eachStoredRecord(files.open('records'), () => {})).toThrow('cut off at byte 8');
});
