import { Buffer } from 'node:buffer';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { dropBytes, SystemDisk } from '../../src/io/disk.ts';
import { diskConformance, read, write } from './disk-conformance.ts';
import { makeTemporaryDirectory, temporaryDirectory } from './temporary.ts';

diskConformance('The operating system', async () => {
  const directory = makeTemporaryDirectory();
  return {
    disk: new SystemDisk(),
    directory,
    until: (promise) => promise,
    end: async () => rmSync(directory, { recursive: true }),
  };
});

test('what a write cut short has left is written from the first missing byte', () => {
  const chunks = [Buffer.from('ab'), Buffer.from(''), Buffer.from('cde'), Buffer.from('f')];
  const whole = Buffer.concat(chunks).toString();
  for (let count = 0; count <= 6; count++) {
    expect(Buffer.concat(dropBytes(chunks, count)).toString()).toBe(whole.slice(count));
  }
  expect(dropBytes(chunks, 6)).toEqual([]);
  expect(dropBytes(chunks, 2)).toHaveLength(2);
});

test('a log file larger than one piece of zero fill is zero to its end', async () => {
  const path = join(temporaryDirectory(), 'log');
  const bytes = 3 * 1024 * 1024 + 17;
  const file = await new SystemDisk().createLogFile(path, bytes);
  expect(await read(file, bytes - 17, 17)).toBe('\0'.repeat(17));
  await write(file, bytes - 3, 'end');
  await file.close();
  expect((await new SystemDisk().readFile(path))?.length).toBe(bytes);
});

test('a failed replacement leaves the old file and no other', async () => {
  const directory = temporaryDirectory();
  const disk = new SystemDisk();
  await mkdir(join(directory, 'taken'));
  await expect(disk.replaceFile(join(directory, 'taken'), Buffer.from('x'))).rejects.toThrow();
  expect(readdirSync(directory)).toEqual(['taken']);
});

test('a directory below one that may not be listed can be made', async () => {
  const locked = join(temporaryDirectory(), 'locked');
  await mkdir(join(locked, 'open'), { recursive: true });
  await chmod(locked, 0o311);
  await new SystemDisk().makeDirectory(join(locked, 'open'));
  await chmod(locked, 0o755);
  expect(existsSync(join(locked, 'open'))).toBe(true);
});
