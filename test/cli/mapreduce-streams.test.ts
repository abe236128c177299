import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { BlockStream, spoolInput } from '../../src/cli/mapreduce-streams.ts';
import { SystemBulkFiles } from '../../src/io/bulk-files.ts';
import { temporaryDirectory } from '../io/temporary.ts';

function failing(code: string): Writable {
  return new Writable({ write: (_chunk, _encoding, done) => done(Object.assign(new Error(code), { code })) });
}

test('all of the input is in the file', async () => {
  const path = join(temporaryDirectory(), 'input');
  async function* input(): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < 100; i++) yield Buffer.from(`${i},`);
  }
  await spoolInput(path, new SystemBulkFiles(), input());
  expect(readFileSync(path, 'utf8')).toBe(Array.from({ length: 100 }, (_, i) => `${i},`).join(''));
});

test('a block is written when it was handed over, one after the other', async () => {
  const seen: string[] = [];
  const slow = new Writable({
    highWaterMark: 1,
    write: (chunk, _encoding, done) => {
      seen.push(`${chunk}`);
      setImmediate(done);
    },
  });
  const stream = new BlockStream(slow);
  expect([await stream.write(Buffer.from('a')), await stream.write(Buffer.from('b'))]).toEqual([true, true]);
  expect([seen, stream.broken]).toEqual([['a', 'b'], false]);
});

test('a reader that has gone is no error', async () => {
  const stream = new BlockStream(failing('EPIPE'));
  expect(await stream.write(Buffer.from('a'))).toBe(false);
  expect(await stream.write(Buffer.from('b'))).toBe(false);
  expect(stream.broken).toBe(true);
});

test('a disk that is full is one', async () => {
  const stream = new BlockStream(failing('ENOSPC'));
  await expect(stream.write(Buffer.from('a'))).rejects.toThrow('cannot write standard output: ENOSPC');
  await expect(stream.write(Buffer.from('b'))).rejects.toThrow('ENOSPC');
});
