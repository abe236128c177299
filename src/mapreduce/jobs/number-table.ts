/**
 * Keys (bytes), and one number for each, into which the numbers that come with a key are put at once: the combiners with a
 * name, in the memory of a map task. Keys come out in the order in which they came in first.
 *
 * Open addressing with linear probing over the numbers of entries; keys lie in an arena one behind the other.
 */
import { Buffer } from 'node:buffer';

const SLOTS_MIN = 1 << 10;
const LOAD_MAX = 0.5;
const ARENA_BYTES_MIN = 16 << 10;

export class NumberTable {
  readonly #step: (a: number, b: number) => number;
  /** Number of the entry + 1; 0: free. */
  #slots = new Int32Array(0);
  #hashes = new Int32Array(0);
  /** Where each key ends in the arena; it begins where the one before ends. */
  #ends = new Uint32Array(0);
  #numbers = new Float64Array(0);
  #arena = Buffer.alloc(0);
  #size = 0;

  /** `step` makes one number of two. */
  constructor(step: (a: number, b: number) => number) {
    this.#step = step;
    this.clear();
  }

  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    const entries = this.#hashes.byteLength + this.#ends.byteLength + this.#numbers.byteLength;
    return this.#slots.byteLength + entries + this.#arena.length;
  }

  /** True when the key is new: it takes memory. */
  add(source: Uint8Array, from: number, to: number, number: number): boolean {
    let hash = 0x811c9dc5 | 0;
    for (let i = from; i < to; i++) hash = Math.imul(hash ^ source[i]!, 0x01000193);
    hash ^= hash >>> 15;
    const mask = this.#slots.length - 1;
    let at = hash & mask;
    for (let entry = this.#slots[at]!; entry !== 0; entry = this.#slots[at]!) {
      if (this.#hashes[entry - 1] === hash && this.#isKey(entry - 1, source, from, to)) {
        this.#numbers[entry - 1] = this.#step(this.#numbers[entry - 1]!, number);
        return false;
      }
      at = (at + 1) & mask;
    }
    this.#insert(at, hash, source, from, to);
    this.#numbers[this.#size - 1] = number;
    if (this.#size === this.#hashes.length) this.#grow();
    return true;
  }

  /** The key is bytes [from, to) of `source`, valid during the call. */
  visit(each: (source: Uint8Array, from: number, to: number, number: number) => void): void {
    for (let i = 0, from = 0; i < this.#size; i++) {
      const to = this.#ends[i]!;
      each(this.#arena, from, to, this.#numbers[i]!);
      from = to;
    }
  }

  /** Forgets everything, and gives the memory back. */
  clear(): void {
    this.#size = 0;
    this.#slots = new Int32Array(SLOTS_MIN);
    this.#hashes = new Int32Array(SLOTS_MIN * LOAD_MAX);
    this.#ends = new Uint32Array(SLOTS_MIN * LOAD_MAX);
    this.#numbers = new Float64Array(SLOTS_MIN * LOAD_MAX);
    this.#arena = Buffer.allocUnsafeSlow(ARENA_BYTES_MIN);
  }

  #isKey(entry: number, source: Uint8Array, from: number, to: number): boolean {
    const start = entry === 0 ? 0 : this.#ends[entry - 1]!;
    if (this.#ends[entry]! - start !== to - from) return false;
    for (let i = from, at = start; i < to; i++, at++) if (this.#arena[at] !== source[i]) return false;
    return true;
  }

  #insert(slot: number, hash: number, source: Uint8Array, from: number, to: number): void {
    const start = this.#size === 0 ? 0 : this.#ends[this.#size - 1]!;
    const end = start + to - from;
    if (end > this.#arena.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(end, this.#arena.length * 2));
      grown.set(this.#arena.subarray(0, start));
      this.#arena = grown;
    }
    this.#arena.set(source.subarray(from, to), start);
    this.#ends[this.#size] = end;
    this.#hashes[this.#size] = hash;
    this.#slots[slot] = ++this.#size;
  }

  #grow(): void {
    const slots = new Int32Array(this.#slots.length * 2);
    const mask = slots.length - 1;
    for (let entry = 0; entry < this.#size; entry++) {
      let at = this.#hashes[entry]! & mask;
      while (slots[at] !== 0) at = (at + 1) & mask;
      slots[at] = entry + 1;
    }
    this.#slots = slots;
    const entries = slots.length * LOAD_MAX;
    this.#hashes = grownTo(new Int32Array(entries), this.#hashes);
    this.#ends = grownTo(new Uint32Array(entries), this.#ends);
    this.#numbers = grownTo(new Float64Array(entries), this.#numbers);
  }
}

function grownTo<T extends { set(from: ArrayLike<number>): void }>(target: T, from: ArrayLike<number>): T {
  target.set(from);
  return target;
}
