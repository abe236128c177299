/**
 * A simulated disk. What was reported as durable survives everything; a write under way when the power fails leaves any
 * subset of its sectors. Directories and files by name live as long as the world, across the lives of their server.
 */
import { assert } from '../../src/lib/assert.ts';
import type { Disk, LogFile } from '../../src/lib/env.ts';
import { DiskFullError } from '../../src/lib/errors.ts';
import type { SimRandom } from './random.ts';
import type { Life, Scheduler } from './scheduler.ts';

const SECTOR_BYTES = 512;

export interface DiskFaults {
  /** Mean time a write takes; a few take much longer. */
  writeMeanMs: number;
  full: boolean;
  /** The next write fails, once. */
  failNextWrite: boolean;
  /** Writes take this much longer: a disk that hangs. */
  stallMs: number;
}

export const GOOD_DISK: DiskFaults = { writeMeanMs: 0.5, full: false, failNextWrite: false, stallMs: 0 };

interface PendingWrite {
  readonly content: Uint8Array;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export class SimDisk {
  readonly files = new Map<string, Uint8Array>();
  readonly faults: DiskFaults;
  readonly #scheduler: Scheduler;
  readonly #random: SimRandom;
  #underWay = new Set<PendingWrite>();

  constructor(scheduler: Scheduler, random: SimRandom, faults: DiskFaults = { ...GOOD_DISK }) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.faults = faults;
  }

  /** The power fails: of what is being written, any sectors may have reached the disk. */
  crash(): void {
    for (const write of this.#underWay) this.#writeSome(write, this.#random.pick([0, 0.5, 1]));
    this.#underWay = new Set();
  }

  /** Each sector of it with the given chance. */
  #writeSome({ content, offset, bytes }: PendingWrite, chance: number): void {
    for (let at = 0; at < bytes.length; ) {
      const sectorEnd = (Math.floor((offset + at) / SECTOR_BYTES) + 1) * SECTOR_BYTES - offset;
      const end = Math.min(sectorEnd, bytes.length);
      if (this.#random.chance(chance)) content.set(bytes.subarray(at, end), offset + at);
      at = end;
    }
  }

  #latencyMs(): number {
    const slow = this.#random.chance(0.01) ? 20 : 1;
    return 0.05 + this.#random.exponential(this.faults.writeMeanMs) * slow + this.faults.stallMs;
  }

  /** The disk as one life of its server sees it. */
  open(life: Life): Disk {
    const later = <T>(result: () => T): Promise<T> =>
      new Promise((resolve, reject) => {
        const run = () => {
          try {
            resolve(result());
          } catch (error) {
            reject(error);
          }
        };
        this.#scheduler.after(this.#latencyMs(), life, run, true);
      });
    const logFile = (content: Uint8Array) => this.#logFile(content, life);
    const file = (path: string) => {
      const content = this.files.get(path);
      assert(content !== undefined, 'the file exists', path);
      return content;
    };
    return {
      makeDirectory: () => later(() => {}),
      list: (path) => later(() => this.#list(path)),
      readFile: (path) => later(() => this.files.get(path)?.slice()),
      replaceFile: (path, content) => later(() => void this.files.set(path, content.slice())),
      removeFile: (path) => later(() => void this.files.delete(path)),
      createLogFile: (path, bytes) =>
        later(() => {
          if (this.faults.full) throw new DiskFullError(`no room for ${path}`);
          const content = new Uint8Array(bytes);
          this.files.set(path, content);
          return logFile(content);
        }),
      openLogFile: (path) => later(() => logFile(file(path))),
    };
  }

  #list(path: string): string[] {
    const names = [...this.files.keys()].filter((name) => name.startsWith(`${path}/`));
    return names.map((name) => name.slice(path.length + 1)).sort();
  }

  #logFile(content: Uint8Array, life: Life): LogFile {
    return {
      bytes: content.length,
      write: (offset, chunks, done) => {
        const bytes = new Uint8Array(Buffer.concat(chunks));
        assert(offset + bytes.length <= content.length, 'a write fits the file', offset, bytes.length);
        const write = { content, offset, bytes };
        this.#underWay.add(write);
        // Who reads meanwhile may see some of it.
        if (this.#random.chance(0.3)) this.#writeSome(write, 0.5);
        const finish = () => {
          this.#underWay.delete(write);
          if (this.faults.failNextWrite) {
            this.faults.failNextWrite = false;
            return done(new Error('input/output error'));
          }
          content.set(bytes, offset);
          done(null);
        };
        this.#scheduler.after(this.#latencyMs(), life, finish, true);
      },
      read: (offset, length, done) => {
        assert(offset + length <= content.length, 'a read lies in the file', offset, length);
        const run = () => done(null, content.slice(offset, offset + length));
        this.#scheduler.after(this.#latencyMs() / 4, life, run, true);
      },
      close: async () => {},
    };
  }
}
