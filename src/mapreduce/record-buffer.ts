/**
 * Pairs of key and value, as bytes, in the order in which they were emitted, until they are sorted and written to a run:
 * what a map task of any job gathers that is not a count.
 *
 * Keys and values lie in an arena one behind the other; three numbers for each pair say where. Values of one key stay in
 * their order.
 */
import { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import { sortByKey } from './key-order.ts';
import type { ValueCombiner } from './merge.ts';
import { type Partitioner, partitionOf } from './partition.ts';
import type { RunWriter } from './run-writer.ts';

const ARENA_BYTES_MIN = 8 << 10;
const PAIRS_MIN = 1 << 8;
const PAIR_NUMBERS = 3;
/** Of a pair while it is sorted: its order twice, its prefix, its partition. */
const SORT_BYTES_PER_PAIR = 20;

export class RecordBuffer {
  #arena = Buffer.allocUnsafeSlow(ARENA_BYTES_MIN);
  #used = 0;
  /** Of each pair: offset, length of the key, length of the value. */
  #pairs = new Uint32Array(PAIRS_MIN * PAIR_NUMBERS);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Memory that it takes, and what `writeTo` takes besides. */
  get bytes(): number {
    return this.#arena.length + this.#pairs.byteLength + this.#size * SORT_BYTES_PER_PAIR;
  }

  /** So many bytes it would be with one more pair of `bytes` bytes: growing doubles it. */
  bytesWith(bytes: number): number {
    const arena = this.#used + bytes > this.#arena.length ? this.#grownArena(this.#used + bytes) : 0;
    const pairs = this.#size * PAIR_NUMBERS === this.#pairs.length ? this.#pairs.byteLength * 2 : 0;
    return this.bytes + arena + pairs;
  }

  /** The key is bytes [from, to) of `source`. Both are copied. */
  add(source: Uint8Array, from: number, to: number, value: Uint8Array): void {
    const keyLength = to - from;
    const end = this.#used + keyLength + value.length;
    assert(end < 2 ** 32, 'a buffer of pairs is below 4 GiB', end);
    if (end > this.#arena.length) {
      const grown = Buffer.allocUnsafeSlow(this.#grownArena(end));
      grown.set(this.#arena.subarray(0, this.#used));
      this.#arena = grown;
    }
    const at = this.#size * PAIR_NUMBERS;
    if (at === this.#pairs.length) {
      const grown = new Uint32Array(at * 2);
      grown.set(this.#pairs);
      this.#pairs = grown;
    }
    this.#pairs[at] = this.#used;
    this.#pairs[at + 1] = keyLength;
    this.#pairs[at + 2] = value.length;
    if (keyLength < 32) for (let i = 0; i < keyLength; i++) this.#arena[this.#used + i] = source[from + i]!;
    else this.#arena.set(source.subarray(from, to), this.#used);
    this.#arena.set(value, this.#used + keyLength);
    this.#used = end;
    this.#size++;
  }

  /** Forgets everything, and keeps the memory unless `release`. */
  clear(release = false): void {
    this.#used = 0;
    this.#size = 0;
    if (!release) return;
    this.#arena = Buffer.allocUnsafeSlow(ARENA_BYTES_MIN);
    this.#pairs = new Uint32Array(PAIRS_MIN * PAIR_NUMBERS);
  }

  /** Writes all pairs, in the order of a run; with `combine`, one value for each key. */
  writeTo(run: RunWriter, partitioner: Partitioner = partitionOf, combine?: ValueCombiner): void {
    const { partitions } = run;
    const parts = new Uint32Array(this.#size);
    const order = this.#sorted(parts, partitions, partitioner);
    const pairs = this.#pairs;
    const arena = this.#arena;
    for (let first = 0, end = 1; first < order.length; first = end, end++) {
      const pair = order[first]! * PAIR_NUMBERS;
      const from = pairs[pair]!;
      const to = from + pairs[pair + 1]!;
      const partition = parts[order[first]!]!;
      if (combine === undefined) {
        run.value(partition, arena, from, to, arena, to, to + pairs[pair + 2]!);
        continue;
      }
      while (end < order.length && this.#compare(order[end]!, order[first]!) === 0) end++;
      const value = combine(arena.subarray(from, to), this.#values(order, first, end));
      run.value(partition, arena, from, to, value, 0, value.length);
    }
  }

  #sorted(parts: Uint32Array, partitions: number, partitioner: Partitioner): Uint32Array {
    const count = this.#size;
    const high = new Uint32Array(count);
    const low = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const from = this.#pairs[i * PAIR_NUMBERS]!;
      const to = from + this.#pairs[i * PAIR_NUMBERS + 1]!;
      high[i] = fourFrom(this.#arena, from, to);
      low[i] = fourFrom(this.#arena, from + 4, to);
      if (partitions > 1) parts[i] = partitioner(this.#arena, from, to, partitions);
    }
    return sortByKey({ count, partitions, parts, high, low, tie: (a, b) => this.#compare(a, b) });
  }

  #compare(a: number, b: number): number {
    const fromA = this.#pairs[a * PAIR_NUMBERS]!;
    const fromB = this.#pairs[b * PAIR_NUMBERS]!;
    const toA = fromA + this.#pairs[a * PAIR_NUMBERS + 1]!;
    const toB = fromB + this.#pairs[b * PAIR_NUMBERS + 1]!;
    return this.#arena.compare(this.#arena, fromB, toB, fromA, toA);
  }

  *#values(order: Uint32Array, first: number, end: number): Generator<Uint8Array> {
    for (let i = first; i < end; i++) {
      const pair = order[i]! * PAIR_NUMBERS;
      const from = this.#pairs[pair]! + this.#pairs[pair + 1]!;
      yield this.#arena.subarray(from, from + this.#pairs[pair + 2]!);
    }
  }

  #grownArena(needed: number): number {
    return Math.max(needed, this.#arena.length * 2);
  }
}

/** The first byte the highest, zeros from `to` on. */
function fourFrom(bytes: Uint8Array, at: number, to: number): number {
  let four = 0;
  for (let i = at; i < at + 4; i++) four = (four << 8) | (i < to ? bytes[i]! : 0);
  return four >>> 0;
}
