/**
 * A simulated ordered store. A batch is durable as a whole or not at all; one under way when the power fails is either.
 */
import type { Store, StoreBatch, StoreRange } from '../../src/lib/env.ts';
import { DiskFullError } from '../../src/lib/errors.ts';
import type { DiskFaults } from './disk.ts';
import type { SimRandom } from './random.ts';
import type { Life, Scheduler } from './scheduler.ts';

type Change = readonly [key: string, value: Uint8Array | undefined];

const keyOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');

function keysIn(all: ReadonlyMap<string, Uint8Array>, from: Uint8Array, to: Uint8Array): string[] {
  const [first, end] = [keyOf(from), keyOf(to)];
  return [...all.keys()].filter((key) => key >= first && key < end).sort();
}

function find(all: ReadonlyMap<string, Uint8Array>, range: StoreRange): [Uint8Array, Uint8Array][] {
  const found: [Uint8Array, Uint8Array][] = [];
  let bytesLeft = range.bytesMax ?? Number.POSITIVE_INFINITY;
  for (const key of keysIn(all, range.from, range.to)) {
    if (found.length >= range.limit || bytesLeft <= 0) break;
    const value = all.get(key)!.subarray(0, range.valueBytes);
    found.push([Buffer.from(key, 'latin1'), value]);
    bytesLeft -= key.length + value.length;
  }
  return found;
}

/** What is written, in the order in which it was asked for: one at a time, as classic-level does. */
interface Write {
  readonly act: () => Error | null;
  readonly done: (error: Error | null) => void;
  /** What of it the disk may have when the power fails. */
  readonly tear: () => void;
}

/** Besides those of the disk below it. */
export interface StoreFaults {
  /** The next batch fails, once, and nothing of it is written. */
  failNextBatch: boolean;
  /** It alone is that much slower; the log on the same disk is not. */
  stallMs: number;
}

export class SimStore {
  readonly faults: StoreFaults = { failNextBatch: false, stallMs: 0 };
  /** Written so far, over all lives. */
  batches = 0;
  readonly #entries = new Map<string, Uint8Array>();
  readonly #scheduler: Scheduler;
  readonly #random: SimRandom;
  readonly #diskFaults: DiskFaults;
  /** The first is under way. */
  #writes: Write[] = [];
  #onIdle: (() => void)[] = [];

  constructor(scheduler: Scheduler, random: SimRandom, faults: DiskFaults) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.#diskFaults = faults;
  }

  get size(): number {
    return this.#entries.size;
  }

  crash(): void {
    this.#writes[0]?.tear();
    this.#writes = [];
    this.#onIdle = [];
  }

  /** A bit of a value that is durably stored flips for good. Its key; undefined when there is none. */
  rot(): string | undefined {
    const keys = [...this.#entries].filter(([, value]) => value.length > 0).map(([key]) => key);
    if (keys.length === 0) return undefined;
    const key = this.#random.pick(keys.sort());
    const value = this.#entries.get(key)!.slice();
    value[this.#random.below(value.length)]! ^= 1 << this.#random.below(8);
    this.#entries.set(key, value);
    return key;
  }

  #apply(changes: readonly Change[]): void {
    for (const [key, value] of changes) {
      if (value === undefined) this.#entries.delete(key);
      else this.#entries.set(key, value);
    }
  }

  open(life: Life): Store {
    const later = (run: () => void) => {
      const stallMs = this.#diskFaults.stallMs + this.faults.stallMs;
      this.#scheduler.after(0.02 + this.#random.exponential(0.2) + stallMs, life, run, true);
    };
    const next = () => {
      const write = this.#writes[0];
      if (write === undefined) return;
      later(() => {
        const error = write.act();
        this.#writes.shift();
        next();
        write.done(error);
        if (this.#writes.length === 0) for (const resolve of this.#onIdle.splice(0)) resolve();
      });
    };
    const submit = (write: Write) => {
      this.#writes.push(write);
      if (this.#writes.length === 1) next();
    };
    return {
      getMany: (keys, done) => {
        // The answer is of now, and comes later: between the two the world goes on.
        const values = keys.map((key) => this.#entries.get(keyOf(key)));
        later(() => done(null, values));
      },
      batch: () => this.#batch(submit),
      range: (range, done) => {
        const entries = find(this.#entries, range);
        later(() => done(null, entries));
      },
      snapshot: () => {
        const entries = new Map(this.#entries);
        return {
          range: (range, done) => {
            const found = find(entries, range);
            later(() => done(null, found));
          },
          close: () => {},
        };
      },
      clear: (range, done) => submit({ ...this.#clearing(range), done }),
      close: () => this.#idle(),
    };
  }

  /** Resolves when nothing is being written. */
  #idle(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#writes.length === 0) resolve();
      else this.#onIdle.push(resolve);
    });
  }

  #clearing({ from, to }: { from: Uint8Array; to: Uint8Array }): Pick<Write, 'act' | 'tear'> {
    const clear = (chance: number) => {
      for (const key of keysIn(this.#entries, from, to)) {
        if (chance === 1 || this.#random.chance(chance)) this.#entries.delete(key);
      }
    };
    return {
      act: () => {
        clear(1);
        return null;
      },
      tear: () => clear(0.5),
    };
  }

  #batch(submit: (write: Write) => void): StoreBatch {
    const changes: Change[] = [];
    return {
      put: (key, value) => void changes.push([keyOf(key), value.slice()]),
      delete: (key) => void changes.push([keyOf(key), undefined]),
      write: (done) =>
        submit({
          done,
          act: () => {
            if (this.#diskFaults.full) return new DiskFullError('no room for the batch');
            if (this.faults.failNextBatch) {
              this.faults.failNextBatch = false;
              return new Error('input/output error');
            }
            this.#apply(changes);
            this.batches++;
            return null;
          },
          tear: () => {
            if (this.#random.chance(0.5)) this.#apply(changes);
          },
        }),
    };
  }
}
