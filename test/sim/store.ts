/**
 * A simulated ordered store. A batch is durable as a whole or not at all; one under way when the power fails is either.
 */
import type { Store, StoreBatch } from '../../src/lib/env.ts';
import { DiskFullError } from '../../src/lib/errors.ts';
import type { DiskFaults } from './disk.ts';
import type { SimRandom } from './random.ts';
import type { Life, Scheduler } from './scheduler.ts';

type Change = readonly [key: string, value: Uint8Array | undefined];

const keyOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');
const entriesOf = (all: ReadonlyMap<string, Uint8Array>, keys: readonly string[], valueBytes?: number) =>
  keys.map((key) => [Buffer.from(key, 'latin1'), all.get(key)!.subarray(0, valueBytes)] as const);

export class SimStore {
  readonly #entries = new Map<string, Uint8Array>();
  readonly #scheduler: Scheduler;
  readonly #random: SimRandom;
  readonly #faults: DiskFaults;
  #underWay = new Set<readonly Change[]>();

  constructor(scheduler: Scheduler, random: SimRandom, faults: DiskFaults) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.#faults = faults;
  }

  get size(): number {
    return this.#entries.size;
  }

  crash(): void {
    for (const changes of this.#underWay) if (this.#random.chance(0.5)) this.#apply(changes);
    this.#underWay = new Set();
  }

  #apply(changes: readonly Change[]): void {
    for (const [key, value] of changes) {
      if (value === undefined) this.#entries.delete(key);
      else this.#entries.set(key, value);
    }
  }

  open(life: Life): Store {
    const later = (run: () => void) => {
      this.#scheduler.after(0.02 + this.#random.exponential(0.2) + this.#faults.stallMs, life, run, true);
    };
    const sorted = (from: Uint8Array, to: Uint8Array) =>
      [...this.#entries.keys()].filter((key) => key >= keyOf(from) && key < keyOf(to)).sort();
    return {
      getMany: (keys, done) => {
        // The answer is of now, and comes later: between the two the world goes on.
        const values = keys.map((key) => this.#entries.get(keyOf(key)));
        later(() => done(null, values));
      },
      batch: () => this.#batch(later),
      range: ({ from, to, limit, valueBytes }, done) => {
        const keys = sorted(from, to).slice(0, limit);
        const entries = entriesOf(this.#entries, keys, valueBytes);
        later(() => done(null, entries));
      },
      snapshot: () => {
        const entries = new Map(this.#entries);
        return {
          range: ({ from, to, limit, valueBytes }, done) => {
            const keys = [...entries.keys()].filter((key) => key >= keyOf(from) && key < keyOf(to)).sort();
            const found = entriesOf(entries, keys.slice(0, limit), valueBytes);
            later(() => done(null, found));
          },
          close: () => {},
        };
      },
      clear: ({ from, to }, done) =>
        later(() => {
          for (const key of sorted(from, to)) this.#entries.delete(key);
          done(null);
        }),
      close: async () => {},
    };
  }

  #batch(later: (run: () => void) => void): StoreBatch {
    const changes: Change[] = [];
    return {
      put: (key, value) => void changes.push([keyOf(key), value.slice()]),
      delete: (key) => void changes.push([keyOf(key), undefined]),
      write: (done) => {
        this.#underWay.add(changes);
        later(() => {
          this.#underWay.delete(changes);
          if (this.#faults.full) return done(new DiskFullError('no room for the batch'));
          this.#apply(changes);
          done(null);
        });
      },
    };
  }
}
