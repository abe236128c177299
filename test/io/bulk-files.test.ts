import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { SystemBulkFiles } from '../../src/io/bulk-files.ts';
import { BulkFileError } from '../../src/lib/bulk.ts';
import { temporaryDirectory } from './temporary.ts';

const files = new SystemBulkFiles();

test('what is written is read back, from any position, and no more than there is', () => {
  const path = join(temporaryDirectory(), 'file');
  const writer = files.create(path);
  const chunk = Buffer.from('hello ');
  writer.write(chunk);
  chunk.fill(0);
  writer.write(Buffer.from('world'));
  writer.sync();
  writer.close();
  const reader = files.open(path);
  const target = Buffer.alloc(20, '.');
  expect(reader.bytes).toBe(11);
  expect(reader.read(target, 2, 10, 6)).toBe(5);
  expect(target.toString()).toBe(`..world${'.'.repeat(13)}`);
  expect(reader.read(target, 0, 5, 100)).toBe(0);
  reader.close();
  files.create(path).close();
  expect(files.stat(path)?.bytes, 'it is replaced').toBe(0);
});

test('a directory is made with its parents, listed in the order of bytes, and removed with all in it', () => {
  const root = temporaryDirectory();
  const path = join(root, 'a', 'b');
  files.makeDirectory(path);
  files.makeDirectory(path);
  for (const name of ['ä', 'b', 'B', '10', '9']) files.create(join(path, name)).close();
  expect(files.list(path)).toEqual(['10', '9', 'B', 'b', 'ä']);
  files.removeDirectory(join(root, 'a'));
  files.removeDirectory(join(root, 'a'));
  expect(files.list(root)).toEqual([]);
});

test('a file or directory is renamed, and a file that was there is replaced', () => {
  const root = temporaryDirectory();
  writeFileSync(join(root, 'a'), 'new');
  writeFileSync(join(root, 'b'), 'old');
  files.rename(join(root, 'a'), join(root, 'b'));
  expect(readFileSync(join(root, 'b'), 'utf8')).toBe('new');
  mkdirSync(join(root, 'd'));
  files.rename(join(root, 'd'), join(root, 'e'));
  expect(files.list(root)).toEqual(['b', 'e']);
  files.remove(join(root, 'b'));
  files.remove(join(root, 'b'));
  expect(files.list(root)).toEqual(['e']);
});

test('stat says what there is, through links, with or without a slash behind a directory', () => {
  const root = temporaryDirectory();
  writeFileSync(join(root, 'file'), 'abc');
  symlinkSync(join(root, 'file'), join(root, 'link'));
  symlinkSync(join(root, 'gone'), join(root, 'dangling'));
  expect(files.stat(join(root, 'file'))).toMatchObject({ kind: 'file', bytes: 3 });
  expect(files.stat(join(root, 'link'))).toEqual(files.stat(join(root, 'file')));
  expect(files.stat(join(root, 'dangling'))).toBeUndefined();
  expect(files.stat(root)?.kind).toBe('directory');
  expect(files.stat(`${root}/`)?.kind).toBe('directory');
  expect(files.stat('/dev/null')?.kind).toBe('other');
});

test('a temporary directory is new every time', () => {
  const root = temporaryDirectory();
  const [a, b] = [1, 2].map(() => files.temporaryDirectory(root, 'x-'));
  expect(a).not.toBe(b);
  expect(files.list(root)).toHaveLength(2);
});

describe('an error names the file and what is wrong', () => {
  const missing = '/nowhere/at/all';
  test.each<[string, () => unknown, string]>([
    ['open', () => files.open(missing), `cannot read ${missing}: there is no such file or directory`],
    ['create', () => files.create(missing), `cannot write ${missing}: there is no such file or directory`],
    ['list', () => files.list(missing), `cannot list ${missing}: there is no such file or directory`],
    [
      'rename',
      () => files.rename(missing, '/tmp/x'),
      'cannot write /tmp/x: there is no such file or directory',
    ],
  ])('%s', (_, operation, message) => {
    expect(operation).toThrow(BulkFileError);
    expect(operation).toThrow(message);
  });

  test('reading a directory', () => {
    const path = temporaryDirectory();
    const read = () => files.open(path).read(Buffer.alloc(1), 0, 1, 0);
    expect(read).toThrow(`cannot read ${path}: it is a directory`);
  });

  test.skipIf(process.platform !== 'linux')('a disk that is full', () => {
    const write = () => files.create('/dev/full').write(Buffer.from('x'));
    expect(write).toThrow('cannot write /dev/full: the disk is full');
  });
});
