/** `BulkFiles` with the operating system's files: synchronous calls, for threads that may wait. */
import * as fs from 'node:fs';
import { join } from 'node:path';
import {
  BulkFileError,
  type BulkFiles,
  type BulkReader,
  type BulkStat,
  type BulkWriter,
} from '../lib/bulk.ts';

/** What the operating system's codes mean to people. */
const MEANINGS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or directory',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EISDIR: 'it is a directory',
  ENOTDIR: 'a part of the path is no directory',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file would be larger than may be',
  EMFILE: 'too many files are open',
  EIO: 'the disk failed',
};

export class SystemBulkFiles implements BulkFiles {
  open(path: string): BulkReader {
    return attempt(path, 'read', () => new FileReader(path));
  }

  create(path: string): BulkWriter {
    return attempt(path, 'write', () => new FileWriter(path));
  }

  rename(from: string, to: string): void {
    attempt(to, 'write', () => fs.renameSync(from, to));
  }

  remove(path: string): void {
    attempt(path, 'remove', () => fs.rmSync(path, { force: true }));
  }

  makeDirectory(path: string): void {
    attempt(path, 'make', () => fs.mkdirSync(path, { recursive: true }));
  }

  removeDirectory(path: string): void {
    attempt(path, 'remove', () => fs.rmSync(path, { recursive: true, force: true }));
  }

  stat(path: string): BulkStat | undefined {
    const found = attempt(path, 'look at', () => fs.statSync(path, { throwIfNoEntry: false }));
    if (found === undefined) return undefined;
    const kind = found.isFile() ? 'file' : found.isDirectory() ? 'directory' : 'other';
    return { kind, bytes: found.size, modifiedMs: found.mtimeMs };
  }

  list(path: string): string[] {
    const names = attempt(path, 'list', () => fs.readdirSync(path, { encoding: 'buffer' }));
    return names.sort(Buffer.compare).map((name) => name.toString());
  }

  /** A path for a new directory of its own, below the system's for temporary files. */
  temporaryDirectory(parent: string, prefix: string): string {
    return attempt(parent, 'write', () => fs.mkdtempSync(join(parent, prefix)));
  }
}

class FileReader implements BulkReader {
  readonly bytes: number;
  readonly #path: string;
  readonly #descriptor: number;

  constructor(path: string) {
    this.#path = path;
    this.#descriptor = fs.openSync(path, 'r');
    this.bytes = fs.fstatSync(this.#descriptor).size;
  }

  read(target: Uint8Array, offset: number, length: number, position: number): number {
    return attempt(this.#path, 'read', () => {
      let done = 0;
      while (done < length) {
        const read = fs.readSync(this.#descriptor, target, offset + done, length - done, position + done);
        if (read === 0) break;
        done += read;
      }
      return done;
    });
  }

  close(): void {
    fs.closeSync(this.#descriptor);
  }
}

class FileWriter implements BulkWriter {
  readonly #path: string;
  readonly #descriptor: number;

  constructor(path: string) {
    this.#path = path;
    this.#descriptor = fs.openSync(path, 'w');
  }

  write(chunk: Uint8Array): void {
    attempt(this.#path, 'write', () => {
      for (let done = 0; done < chunk.length; ) {
        done += fs.writeSync(this.#descriptor, chunk, done, chunk.length - done);
      }
    });
  }

  sync(): void {
    attempt(this.#path, 'write', () => fs.fdatasyncSync(this.#descriptor));
  }

  close(): void {
    fs.closeSync(this.#descriptor);
  }
}

function attempt<T>(path: string, what: string, operation: () => T): T {
  try {
    return operation();
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error)) throw error;
    const code = String(error.code);
    throw new BulkFileError(path, code, `cannot ${what} ${path}: ${MEANINGS[code] ?? error.message}`);
  }
}
