/**
 * A simulated disk. What was reported as durable survives everything; what is under way when the power fails leaves what
 * the real one could: of a write any subset of its sectors, some of them torn; a file that is made, replaced or removed
 * is so or is not, and half of a new one lies under its temporary name at most. Directories and files by name live as
 * long as the world, across the lives of their server.
 *
 * It may also return what is not there: a flipped bit, or the bytes of another place. That is of the moment, and who
 * asks again within two seconds gets the truth; what has rotted (`rot`) stays so.
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
  /** How often a read returns one bit that is not as it was written. */
  flipReadChance: number;
  /** How often a read returns the bytes of another place, of this file or of another one. */
  misdirectReadChance: number;
}

export const GOOD_DISK: DiskFaults = {
  ...{ writeMeanMs: 0.5, full: false, failNextWrite: false, stallMs: 0 },
  ...{ flipReadChance: 0, misdirectReadChance: 0 },
};

/** After a bad read of a file the next ones are good for so long: twice in a row would be rot. */
const GOOD_AFTER_BAD_MS = 2000;

interface PendingWrite {
  readonly content: Uint8Array;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Something under way. */
interface Operation {
  /** The power fails in the middle of it. */
  readonly tear: () => void;
}

export class SimDisk {
  readonly files = new Map<string, Uint8Array>();
  readonly #directories = new Set<string>();
  readonly faults: DiskFaults;
  /** Reads that were bad, for tests that want some. */
  badReads = 0;
  readonly #scheduler: Scheduler;
  readonly #random: SimRandom;
  readonly #goodUntilMs = new WeakMap<Uint8Array, number>();
  #underWay = new Set<Operation>();

  constructor(scheduler: Scheduler, random: SimRandom, faults: DiskFaults = { ...GOOD_DISK }) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.faults = faults;
  }

  /** The power fails: what is under way has happened, or not, or in part. */
  crash(): void {
    for (const operation of this.#underWay) operation.tear();
    this.#underWay = new Set();
  }

  /** A bit of what is durably stored, of the file or of any, flips for good; most often one in use. What was hit. */
  rot(path?: string): { readonly path: string; readonly offset: number } | undefined {
    const paths = [...this.files.keys()].filter((each) => this.files.get(each)!.length > 0);
    if (paths.length === 0) return undefined;
    const hit = path ?? this.#random.pick(paths.sort());
    const content = this.files.get(hit);
    assert(content !== undefined, 'the file exists', hit);
    let offset = this.#random.below(content.length);
    // Most of a log file is zeros for later.
    for (let tries = 0; tries < 50 && content[offset] === 0; tries++) {
      offset = this.#random.below(content.length);
    }
    content[offset]! ^= 1 << this.#random.below(8);
    return { path: hit, offset };
  }

  /** Each sector of it with the given chance, or the beginning of one. */
  #writeSome({ content, offset, bytes }: PendingWrite, chance: number): void {
    for (let at = 0; at < bytes.length; ) {
      const sectorEnd = (Math.floor((offset + at) / SECTOR_BYTES) + 1) * SECTOR_BYTES - offset;
      const end = Math.min(sectorEnd, bytes.length);
      if (this.#random.chance(chance)) {
        const torn = this.#random.chance(0.1) ? at + this.#random.below(end - at) : end;
        content.set(bytes.subarray(at, torn), offset + at);
      }
      at = end;
    }
  }

  /** What a read of these bytes returns. */
  #returned(content: Uint8Array, offset: number, length: number): Uint8Array {
    const { flipReadChance, misdirectReadChance } = this.faults;
    const bytes = content.slice(offset, offset + length);
    if (length === 0 || flipReadChance + misdirectReadChance === 0) return bytes;
    if (this.#scheduler.nowMs < (this.#goodUntilMs.get(content) ?? 0)) return bytes;
    const misdirected = this.#random.chance(misdirectReadChance);
    if (!misdirected && !this.#random.chance(flipReadChance)) return bytes;
    this.#goodUntilMs.set(content, this.#scheduler.nowMs + GOOD_AFTER_BAD_MS);
    this.badReads++;
    if (misdirected) return this.#elsewhere(content, offset, length);
    bytes[this.#random.below(length)]! ^= 1 << this.#random.below(8);
    return bytes;
  }

  /** As many bytes from another sector of this file, or from the same place in another; zeros behind the end. */
  #elsewhere(content: Uint8Array, offset: number, length: number): Uint8Array {
    const others = [...this.files.values()].filter((other) => other !== content);
    const other = others.length > 0 && this.#random.chance(0.5) ? this.#random.pick(others) : content;
    const sectors = Math.max(1, Math.floor(other.length / SECTOR_BYTES));
    const from = other === content ? this.#random.below(sectors) * SECTOR_BYTES : offset;
    const bytes = new Uint8Array(length);
    bytes.set(other.subarray(from, from + length));
    return bytes;
  }

  #latencyMs(): number {
    const slow = this.#random.chance(0.01) ? 20 : 1;
    return 0.05 + this.#random.exponential(this.faults.writeMeanMs) * slow + this.faults.stallMs;
  }

  /** The disk as one life of its server sees it. */
  open(life: Life): Disk {
    const later = <T>(result: () => T, tear?: () => void): Promise<T> =>
      new Promise((resolve, reject) => {
        const operation = { tear: tear ?? (() => {}) };
        this.#underWay.add(operation);
        const run = () => {
          this.#underWay.delete(operation);
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
    const maybe = (act: () => void) => () => {
      if (this.#random.chance(0.5)) act();
    };
    return {
      makeDirectory: (path) =>
        later(
          () => this.#makeDirectory(path),
          maybe(() => this.#makeDirectory(path)),
        ),
      list: (path) => later(() => this.#list(path)),
      readFile: (path) =>
        later(() => {
          const content = this.files.get(path);
          return content && this.#returned(content, 0, content.length);
        }),
      replaceFile: (path, content) =>
        later(
          () => this.#make(path, Uint8Array.from(content)),
          () => this.#makeSome(path, Uint8Array.from(content)),
        ),
      removeFile: (path) =>
        later(
          () => void this.files.delete(path),
          maybe(() => this.files.delete(path)),
        ),
      createLogFile: (path, bytes) =>
        later(
          () => {
            if (this.faults.full) throw new DiskFullError(`no room for ${path}`);
            const content = new Uint8Array(bytes);
            this.#make(path, content);
            return logFile(content);
          },
          () => this.#makeSome(path, new Uint8Array(bytes)),
        ),
      openLogFile: (path) => later(() => logFile(file(path))),
    };
  }

  /** With its parents. */
  #makeDirectory(path: string): void {
    for (let at = path; at !== ''; at = parentOf(at)) this.#directories.add(at);
  }

  #hasParent(path: string): boolean {
    return parentOf(path) === '' || this.#directories.has(parentOf(path));
  }

  #make(path: string, content: Uint8Array): void {
    if (!this.#hasParent(path)) throw new Error(`no such directory: ${parentOf(path)}`);
    this.files.set(path, content);
    this.files.delete(`${path}.tmp`);
  }

  /** A file is written under a temporary name, and is whole before it is given its own. */
  #makeSome(path: string, content: Uint8Array): void {
    if (!this.#hasParent(path)) return;
    const outcome = this.#random.pick(['whole', 'whole', 'some', 'none']);
    if (outcome === 'whole' && !this.faults.full) this.#make(path, content);
    if (outcome === 'some') {
      this.files.set(`${path}.tmp`, content.slice(0, this.#random.below(content.length + 1)));
    }
  }

  #list(path: string): string[] {
    const all = [...this.files.keys(), ...this.#directories];
    const below = all.filter((each) => parentOf(each) === path);
    return below.map((each) => each.slice(path.length + 1)).sort();
  }

  #logFile(content: Uint8Array, life: Life): LogFile {
    let [writing, closed, underWay] = [false, false, 0];
    let onIdle: (() => void) | undefined;
    const isInside = (offset: number, length: number) => offset >= 0 && offset + length <= content.length;
    const begin = () => {
      assert(!closed, 'the file is open');
      underWay++;
    };
    const end = () => {
      underWay--;
      if (underWay === 0) onIdle?.();
    };
    return {
      bytes: content.length,
      write: (offset, chunks, done) => {
        assert(!writing, 'one write at a time');
        const bytes = new Uint8Array(Buffer.concat(chunks));
        assert(isInside(offset, bytes.length), 'a write lies inside the file', offset, bytes.length);
        begin();
        writing = true;
        const write = { content, offset, bytes };
        const operation = { tear: () => this.#writeSome(write, this.#random.pick([0, 0.5, 1])) };
        this.#underWay.add(operation);
        // Who reads meanwhile may see some of it.
        if (this.#random.chance(0.3)) this.#writeSome(write, 0.5);
        const finish = () => {
          this.#underWay.delete(operation);
          writing = false;
          end();
          if (this.faults.failNextWrite) {
            this.faults.failNextWrite = false;
            // Nobody knows what is there now.
            operation.tear();
            return done(new Error('input/output error'));
          }
          content.set(bytes, offset);
          done(null);
        };
        this.#scheduler.after(this.#latencyMs(), life, finish, true);
      },
      read: (offset, length, done) => {
        assert(isInside(offset, length), 'a read lies inside the file', offset, length);
        begin();
        const run = () => {
          end();
          done(null, this.#returned(content, offset, length));
        };
        this.#scheduler.after(this.#latencyMs() / 4, life, run, true);
      },
      close: () => {
        assert(!closed, 'a file is closed once');
        closed = true;
        return new Promise((resolve) => {
          onIdle = resolve;
          if (underWay === 0) resolve();
        });
      },
    };
  }
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}
