/**
 * A Store in memory whose answers come when the test turns the crank, in the order of the questions. What is not yet
 * answered is lost in a `crash`, or was done and nobody heard of it: both happen.
 */
import { asBuffer } from '../../src/lib/bytes.ts';
import type { RangeDone, Store, StoreBatch, StoreRange, StoreSnapshot } from '../../src/lib/env.ts';

interface Step {
  readonly act: () => void;
  readonly tell: () => void;
}

export class MemoryStore implements Store {
  readonly #entries: Map<string, Uint8Array>;
  #steps: Step[] = [];
  /** The next so many writes or reads fail. */
  failWrites = 0;
  failReads = 0;
  /** Questions asked with `getMany`. */
  reads = 0;

  constructor(entries = new Map<string, Uint8Array>()) {
    this.#entries = entries;
  }

  get size(): number {
    return this.#entries.size;
  }

  get waiting(): number {
    return this.#steps.length;
  }

  /** Answers one question. False when there was none. */
  turn(): boolean {
    const step = this.#steps.shift();
    if (step === undefined) return false;
    step.act();
    step.tell();
    return true;
  }

  /** Answers until nobody asks any more. */
  drain(): void {
    while (this.turn());
  }

  /** The store as it is found after a crash; of what was under way the first `done` took effect unheard. */
  crash(done: number): MemoryStore {
    for (const step of this.#steps.slice(0, done)) step.act();
    this.#steps = [];
    return new MemoryStore(new Map(this.#entries));
  }

  getMany(
    keys: readonly Uint8Array[],
    done: (error: Error | null, values: readonly (Uint8Array | undefined)[]) => void,
  ): void {
    this.reads++;
    let values: (Uint8Array | undefined)[] = [];
    const failing = this.failReads > 0;
    if (failing) this.failReads--;
    this.#steps.push({
      act: () => {
        values = keys.map((key) => copyOf(this.#entries.get(hex(key))));
      },
      tell: () => (failing ? done(new Error('read failed'), []) : done(null, values)),
    });
  }

  batch(): StoreBatch {
    const changes: [string, Uint8Array | undefined][] = [];
    return {
      put: (key, value) => changes.push([hex(key), value]),
      delete: (key) => changes.push([hex(key), undefined]),
      write: (done) => {
        const failing = this.failWrites > 0;
        if (failing) this.failWrites--;
        this.#steps.push({
          act: () => {
            if (failing) return;
            for (const [key, value] of changes) {
              if (value === undefined) this.#entries.delete(key);
              else this.#entries.set(key, Uint8Array.from(value));
            }
          },
          tell: () => done(failing ? new Error('write failed') : null),
        });
      },
    };
  }

  range(range: StoreRange, done: RangeDone): void {
    let found: [Uint8Array, Uint8Array][] = [];
    const failing = this.failReads > 0;
    if (failing) this.failReads--;
    this.#steps.push({
      act: () => {
        found = this.#find(range);
      },
      tell: () => (failing ? done(new Error('read failed'), []) : done(null, found)),
    });
  }

  snapshot(): StoreSnapshot {
    const copy = new MemoryStore(new Map(this.#entries));
    return {
      range: (range, done) => {
        copy.range(range, done);
        this.#steps.push({ act: () => {}, tell: () => copy.drain() });
      },
      close: () => {},
    };
  }

  clear(range: { from: Uint8Array; to: Uint8Array }, done: (error: Error | null) => void): void {
    this.#steps.push({
      act: () => {
        for (const key of this.#between(range)) this.#entries.delete(key);
      },
      tell: () => done(null),
    });
  }

  close(): Promise<void> {
    this.drain();
    return Promise.resolve();
  }

  #find(range: StoreRange): [Uint8Array, Uint8Array][] {
    const found: [Uint8Array, Uint8Array][] = [];
    let bytesLeft = range.bytesMax ?? Number.POSITIVE_INFINITY;
    for (const key of this.#between(range)) {
      if (found.length >= range.limit || bytesLeft <= 0) break;
      const value = this.#entries.get(key)!.slice(0, range.valueBytes);
      found.push([Buffer.from(key, 'hex'), value]);
      bytesLeft -= key.length / 2 + value.length;
    }
    return found;
  }

  #between(range: { from: Uint8Array; to: Uint8Array }): string[] {
    const [from, to] = [hex(range.from), hex(range.to)];
    return [...this.#entries.keys()].filter((key) => from <= key && key < to).sort();
  }
}

function hex(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('hex');
}

function copyOf(bytes: Uint8Array | undefined): Uint8Array | undefined {
  return bytes === undefined ? undefined : Uint8Array.from(bytes);
}
