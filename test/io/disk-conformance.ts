/**
 * What every `Disk` and `LogFile` must do, whoever implements it: the operating system's and the simulated
 * one.
 */
import { Buffer } from 'node:buffer';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Disk, LogFile } from '../../src/lib/env.ts';

export interface DiskWorld {
  readonly disk: Disk;
  /** A directory that exists and is empty, new in each world. */
  readonly directory: string;
  /**
   * Lets the world go on until the promise settles: nothing to do in the real one, turns to run in a
   * simulated one.
   */
  until<T>(promise: Promise<T>): Promise<T>;
  end(): Promise<void>;
}

export function write(file: LogFile, offset: number, ...chunks: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const content = chunks.map((chunk) => Buffer.from(chunk, 'latin1'));
    file.write(offset, content, (error) => (error === null ? resolve() : reject(error)));
  });
}

export function read(file: LogFile, offset: number, length: number): Promise<string> {
  return new Promise((resolve, reject) => {
    file.read(offset, length, (error, content) => {
      if (error === null) resolve(Buffer.from(content).toString('latin1'));
      else reject(error);
    });
  });
}

export function diskConformance(name: string, makeWorld: () => Promise<DiskWorld>): void {
  let world: DiskWorld;
  let disk: Disk;
  let path: string;

  const begin = async () => {
    world = await makeWorld();
    disk = world.disk;
    path = `${world.directory}/file`;
  };
  const end = () => world.end();
  const until = <T>(promise: Promise<T>) => world.until(promise);
  const content = async (at: string) => {
    const bytes = await until(disk.readFile(at));
    return bytes === undefined ? undefined : Buffer.from(bytes).toString('latin1');
  };
  const put = (at: string, text: string) => until(disk.replaceFile(at, Buffer.from(text, 'latin1')));

  describe(`${name} is a Disk`, () => {
    beforeEach(begin);
    afterEach(end);

    test('a missing file is undefined, a missing directory is empty', async () => {
      expect(await content(path)).toBeUndefined();
      expect(await until(disk.list(`${world.directory}/missing`))).toEqual([]);
      expect(await until(disk.list(world.directory))).toEqual([]);
    });

    test('makeDirectory makes parents, and does not mind a directory that is there', async () => {
      const deep = `${world.directory}/a/b/c`;
      await until(disk.makeDirectory(deep));
      await until(disk.makeDirectory(deep));
      await put(`${deep}/file`, 'x');
      expect(await until(disk.list(deep))).toEqual(['file']);
      expect(await until(disk.list(`${world.directory}/a`))).toEqual(['b']);
    });

    test('replaceFile makes a file and replaces it whole, and leaves nothing else in the directory', async () => {
      await put(path, 'a long first content');
      expect(await content(path)).toBe('a long first content');
      await put(path, 'short');
      expect(await content(path)).toBe('short');
      await put(path, '');
      expect(await content(path)).toBe('');
      expect(await until(disk.list(world.directory))).toEqual(['file']);
    });

    test('replaceFile in a missing directory fails', async () => {
      await expect(put(`${world.directory}/missing/file`, 'x')).rejects.toThrow();
    });

    test('list is sorted by name', async () => {
      for (const file of ['b', 'a', 'C', '10', '9']) await put(`${world.directory}/${file}`, file);
      expect(await until(disk.list(world.directory))).toEqual(['10', '9', 'C', 'a', 'b']);
    });

    test('removeFile removes, and does not mind a missing file', async () => {
      await put(path, 'x');
      await until(disk.removeFile(path));
      await until(disk.removeFile(path));
      expect(await content(path)).toBeUndefined();
    });
  });

  describe(`${name} has LogFiles`, () => {
    let file: LogFile;
    beforeEach(async () => {
      await begin();
      file = await until(disk.createLogFile(path, 4096));
    });
    afterEach(async () => {
      await until(file.close());
      await end();
    });

    test('a new log file is zero bytes throughout, and alone in its directory', async () => {
      expect(file.bytes).toBe(4096);
      expect(await until(read(file, 0, 4096))).toBe('\0'.repeat(4096));
      expect(await until(disk.list(world.directory))).toEqual(['file']);
    });

    test('a write puts its chunks one after the other', async () => {
      await until(write(file, 10, 'ab', '', 'cde'));
      expect(await until(read(file, 9, 7))).toBe('\0abcde\0');
    });

    test('a write may be empty, and may fill the file to its last byte', async () => {
      await until(write(file, 4096));
      await until(write(file, 4090, 'abc', 'def'));
      expect(await until(read(file, 4088, 8))).toBe('\0\0abcdef');
      expect(await until(read(file, 4096, 0))).toBe('');
    });

    test('a write of very many chunks arrives whole', async () => {
      const chunks = Array.from({ length: 3000 }, (_, i) => String.fromCharCode(97 + (i % 26)));
      await until(write(file, 0, ...chunks));
      expect(await until(read(file, 0, 3000))).toBe(chunks.join(''));
    });

    test('a write or read outside the file is a bug of the caller', () => {
      const chunk = Buffer.alloc(10);
      expect(() => file.write(4090, [chunk], () => {})).toThrow('inside the file');
      expect(() => file.read(4090, 10, () => {})).toThrow('inside the file');
      expect(() => file.write(-1, [chunk], () => {})).toThrow('inside the file');
    });

    test('a second write before the first is done is a bug of the caller', async () => {
      const first = write(file, 0, 'first');
      expect(() => file.write(100, [Buffer.from('second')], () => {})).toThrow('one write at a time');
      await until(first);
      expect(await until(read(file, 0, 5))).toBe('first');
    });

    test('callbacks never come before the call has returned', async () => {
      let returned = false;
      const early: string[] = [];
      const note = (what: string, resolve: () => void) => () => {
        if (!returned) early.push(what);
        resolve();
      };
      const calls = [
        new Promise<void>((resolve) => file.write(0, [], note('write', resolve))),
        new Promise<void>((resolve) => file.read(0, 0, note('read', resolve))),
      ];
      returned = true;
      await until(Promise.all(calls));
      expect(early).toEqual([]);
    });

    test('what was written is there after close and open, and so is the size', async () => {
      await until(write(file, 100, 'kept'));
      await until(file.close());
      file = await until(disk.openLogFile(path));
      expect(file.bytes).toBe(4096);
      expect(await until(read(file, 99, 6))).toBe('\0kept\0');
      await until(write(file, 102, 'PT'));
      expect(await until(read(file, 99, 6))).toBe('\0kePT\0');
    });

    test('the whole file can be read by name', async () => {
      await until(write(file, 0, 'head'));
      const bytes = await content(path);
      expect(bytes?.length).toBe(4096);
      expect(bytes?.slice(0, 5)).toBe('head\0');
    });

    test('close waits for the write under way', async () => {
      const written = write(file, 0, 'last');
      await until(Promise.all([written, file.close()]));
      file = await until(disk.openLogFile(path));
      expect(await until(read(file, 0, 4))).toBe('last');
    });

    test('createLogFile replaces a file of that name', async () => {
      await until(write(file, 0, 'old'));
      await until(file.close());
      file = await until(disk.createLogFile(path, 100));
      expect(file.bytes).toBe(100);
      expect(await until(read(file, 0, 100))).toBe('\0'.repeat(100));
    });

    test('opening a missing log file fails', async () => {
      await expect(until(disk.openLogFile(`${path}2`))).rejects.toThrow();
    });
  });
}
