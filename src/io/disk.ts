/**
 * Files behind `Disk` and `LogFile`, with what POSIX asks for before a change survives a power loss: the
 * content is synced through the file, the name through its directory.
 *
 * A new file is made under the name `PATH.tmp` and renamed when it is whole, so a crash never leaves half a
 * file under its real name; a `.tmp` that a crash left behind is overwritten by the next attempt.
 *
 * A log file is opened with O_DSYNC: one system call then writes and syncs, which saves a trip through the
 * thread pool per commit. macOS has the flag, but there only F_FULLFSYNC reaches the medium, and that is what
 * libuv's fdatasync does; there, and where the flag is missing, a write is followed by fdatasync.
 */
import { Buffer } from 'node:buffer';
import * as fs from 'node:fs';
import * as fsp from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { assert } from '../lib/assert.ts';
import type { Disk, LogFile } from '../lib/env.ts';
import { DiskFullError } from '../lib/errors.ts';

const ZERO_FILL_BYTES = 1 << 20;

/**
 * More chunks than this (IOV_MAX of POSIX systems) would be more than one system call: they are joined first.
 */
const CHUNKS_PER_WRITE_MAX = 1024;

/** The disk, the user's quota, or the process's limit for one file (`ulimit -f`) is used up. */
const NO_ROOM_CODES = ['ENOSPC', 'EDQUOT', 'EFBIG'];
/** The same as Deno says it: the errors of its writes have no code, but the system's number in their text. */
const NO_ROOM_TEXT = /\(os error (28|122|27)\)/;

const SYNCS_BY_FLAG = process.platform !== 'darwin' && fs.constants.O_DSYNC !== undefined;
const LOG_FILE_FLAGS = fs.constants.O_RDWR | (SYNCS_BY_FLAG ? fs.constants.O_DSYNC : 0);

export class SystemDisk implements Disk {
  async makeDirectory(path: string): Promise<void> {
    const target = resolve(path);
    const firstMade = await fsp.mkdir(target, { recursive: true });
    // A name is durable once the directory that holds it is synced: from the innermost up to the first that
    // was there.
    const last = dirname(firstMade ?? target);
    for (let at = dirname(target); ; at = dirname(at)) {
      await syncDirectory(at);
      if (at === last) return;
    }
  }

  async list(path: string): Promise<string[]> {
    try {
      return (await fsp.readdir(path)).sort();
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return [];
      throw error;
    }
  }

  async readFile(path: string): Promise<Uint8Array | undefined> {
    try {
      return await fsp.readFile(path);
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  async replaceFile(path: string, content: Uint8Array): Promise<void> {
    await makeFile(path, (file) => file.writeFile(content));
  }

  async removeFile(path: string): Promise<void> {
    await fsp.rm(path, { force: true });
    await syncDirectory(dirname(path));
  }

  async createLogFile(path: string, bytes: number): Promise<LogFile> {
    await makeFile(path, (file) => zeroFill(file, bytes));
    return this.openLogFile(path);
  }

  async openLogFile(path: string): Promise<LogFile> {
    const fd = await open(path, LOG_FILE_FLAGS);
    const { size } = fs.fstatSync(fd);
    return new SystemLogFile(fd, size);
  }
}

/** A bare descriptor, for the calls with callbacks: a FileHandle knows promises only. */
function open(path: string, flags: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.open(path, flags, (error, fd) => (error === null ? resolve(fd) : reject(error)));
  });
}

/** All or nothing: `fill` writes a temporary file, which takes the place of `path` once it is on the disk. */
async function makeFile(path: string, fill: (file: fsp.FileHandle) => Promise<void>): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    const file = await fsp.open(temporary, 'w');
    try {
      await fill(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await fsp.rename(temporary, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await fsp.rm(temporary, { force: true });
    throw diskError(error, path);
  }
}

async function zeroFill(file: fsp.FileHandle, bytes: number): Promise<void> {
  const zeros = Buffer.alloc(Math.min(bytes, ZERO_FILL_BYTES));
  for (let offset = 0; offset < bytes; ) {
    const { bytesWritten } = await file.write(zeros, 0, Math.min(zeros.length, bytes - offset), offset);
    offset += bytesWritten;
  }
}

async function syncDirectory(path: string): Promise<void> {
  // Windows cannot open a directory, and its file system journals names by itself.
  if (process.platform === 'win32') return;
  let directory: fsp.FileHandle;
  try {
    directory = await fsp.open(path, 'r');
  } catch (error) {
    // A directory may be ours to pass through and not to read (/home, say): its names are the administrator's
    // care.
    if (errorCode(error) === 'EACCES') return;
    throw error;
  }
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** The error as the interface names it; `path` tells which file it was about. */
function diskError(error: unknown, path: string): unknown {
  const text = error instanceof Error ? error.message : '';
  const full = NO_ROOM_CODES.includes(errorCode(error) ?? '') || NO_ROOM_TEXT.test(text);
  return full ? new DiskFullError(`no room on the disk for ${path}`, error) : error;
}

function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

class SystemLogFile implements LogFile {
  readonly bytes: number;
  readonly #fd: number;
  #writing = false;
  #underWay = 0;
  #closing: (() => void) | null = null;

  constructor(fd: number, bytes: number) {
    this.#fd = fd;
    this.bytes = bytes;
  }

  write(offset: number, chunks: readonly Uint8Array[], done: (error: Error | null) => void): void {
    assert(!this.#writing, 'one write at a time');
    assert(this.#closing === null, 'the file is open');
    const length = totalBytes(chunks);
    assert(offset >= 0 && offset + length <= this.bytes, 'a write lies inside the file', offset, length);
    this.#writing = true;
    this.#underWay++;
    const finish = (error: Error | null): void => {
      this.#writing = false;
      this.#release();
      done(error === null ? null : (diskError(error, 'the log') as Error));
    };
    const written = chunks.length > CHUNKS_PER_WRITE_MAX ? [Buffer.concat(chunks)] : chunks;
    this.#writeOn(offset, written, length, (error) => {
      if (error !== null || SYNCS_BY_FLAG) finish(error);
      else fs.fdatasync(this.#fd, finish);
    });
  }

  read(offset: number, length: number, done: (error: Error | null, content: Uint8Array) => void): void {
    assert(this.#closing === null, 'the file is open');
    assert(offset >= 0 && offset + length <= this.bytes, 'a read lies inside the file', offset, length);
    const content = Buffer.allocUnsafeSlow(length);
    this.#underWay++;
    this.#readOn(offset, content, 0, (error) => {
      this.#release();
      done(error, content);
    });
  }

  close(): Promise<void> {
    assert(this.#closing === null, 'a file is closed once');
    // The descriptor must outlive what is under way: its number could be another file's by then.
    return new Promise((resolve, reject) => {
      this.#closing = () => fs.close(this.#fd, (error) => (error == null ? resolve() : reject(error)));
      if (this.#underWay === 0) this.#closing();
    });
  }

  #release(): void {
    this.#underWay--;
    if (this.#underWay === 0) this.#closing?.();
  }

  #writeOn(
    offset: number,
    chunks: readonly Uint8Array[],
    length: number,
    done: (error: Error | null) => void,
  ): void {
    const onWritten = (error: Error | null, written: number): void => {
      if (error !== null) done(error);
      else if (written === length) done(null);
      else if (written === 0) done(new Error(`the disk took none of ${length} bytes`));
      else this.#writeOn(offset + written, dropBytes(chunks, written), length - written, done);
    };
    const only = chunks[0];
    if (only !== undefined && chunks.length === 1) fs.write(this.#fd, only, 0, length, offset, onWritten);
    else fs.writev(this.#fd, chunks, offset, onWritten);
  }

  #readOn(offset: number, content: Buffer, filled: number, done: (error: Error | null) => void): void {
    const missing = content.length - filled;
    fs.read(this.#fd, content, filled, missing, offset + filled, (error, count) => {
      if (error !== null) done(error);
      else if (count === missing) done(null);
      else if (count === 0) done(new Error(`the file ends at byte ${offset + filled}, it had ${this.bytes}`));
      else this.#readOn(offset, content, filled + count, done);
    });
  }
}

function totalBytes(chunks: readonly Uint8Array[]): number {
  let bytes = 0;
  for (const chunk of chunks) bytes += chunk.length;
  return bytes;
}

/** What is left of `chunks` when the first `count` bytes are gone. */
export function dropBytes(chunks: readonly Uint8Array[], count: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let dropped = 0;
  for (const chunk of chunks) {
    const skip = Math.min(count - dropped, chunk.length);
    dropped += skip;
    if (skip < chunk.length) rest.push(chunk.subarray(skip));
  }
  return rest;
}
