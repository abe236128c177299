/**
 * What bulk work sees of the world: files and threads.
 *
 * Bulk work (MapReduce over gigabytes) runs in threads of its own, so that the event loop on which a server lives never
 * touches its bytes. A thread that does nothing else may wait: its calls on files are synchronous, which is the fastest way
 * there is, and keeps the code that reads, sorts and merges free of promises.
 */

/** Errors are thrown as `BulkFileError`. Paths are absolute, or relative to the process. */
export interface BulkFiles {
  open(path: string): BulkReader;
  /** An existing file of this name is replaced. */
  create(path: string): BulkWriter;
  /** All or nothing; what was there is replaced. Directories too. */
  rename(from: string, to: string): void;
  /** No error when there is none. */
  remove(path: string): void;
  /** With its parents. */
  makeDirectory(path: string): void;
  /** With everything in it; no error when there is none. */
  removeDirectory(path: string): void;
  /** Undefined when there is no such thing. Follows links. */
  stat(path: string): BulkStat | undefined;
  /** Names (not paths) in the directory, in the order of their bytes. */
  list(path: string): string[];
}

export interface BulkStat {
  readonly kind: 'file' | 'directory' | 'other';
  readonly bytes: number;
  /** Changes when the content does, as far as the file system tells. */
  readonly modifiedMs: number;
}

export interface BulkReader {
  /** When it was opened. */
  readonly bytes: number;
  /** Reads up to `length` bytes from `position` on into `target` at `offset`; how many there were: fewer only at the end. */
  read(target: Uint8Array, offset: number, length: number, position: number): number;
  close(): void;
}

export interface BulkWriter {
  /** `chunk` may be changed afterwards. */
  write(chunk: Uint8Array): void;
  /** What is written is on the disk when it returns. */
  sync(): void;
  close(): void;
}

/** The file cannot be had or written; the message is for people, and names the file. */
export class BulkFileError extends Error {
  override readonly name = 'BulkFileError';
  readonly path: string;
  /** As the operating system calls it: ENOENT, EACCES, ENOSPC, ... */
  readonly code: string;

  constructor(path: string, code: string, message: string) {
    super(message);
    this.path = path;
    this.code = code;
  }
}

/** Threads that run this program's worker entry, each with a heap of its own. */
export interface Threads {
  /** As many as can work at the same time. */
  readonly cores: number;
  /** `name` tells the worker which part of the program it is, `data` (structured-cloneable) what for. */
  start(name: string, data: unknown, events: ThreadEvents): Thread;
}

export interface ThreadEvents {
  onMessage(message: unknown): void;
  /** Exactly once, last. Null: it ended by itself, or was terminated. */
  onExit(error: Error | null): void;
}

export interface Thread {
  /** Structured-cloneable; `transfer`: buffers that are handed over instead of copied. */
  post(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  /** Ends it, whatever it is doing. `onExit` follows. */
  terminate(): void;
}

/** What a worker sees of the thread that started it. */
export interface WorkerSide {
  readonly data: unknown;
  onMessage(handler: (message: unknown) => void): void;
  post(message: unknown, transfer?: readonly ArrayBuffer[]): void;
}
