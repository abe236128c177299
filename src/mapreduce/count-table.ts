/**
 * Keys (bytes) and how often each occurred: a hash table that is the combiner of every job that sums.
 *
 * Open addressing with linear probing. A slot is four numbers of 32 bits, so that a look-up touches one line of the cache:
 *
 *   first 8 bytes of the key, padded with zeros (2) | length + 1, or ~offset in the arena if over 8 bytes; 0: free | count
 *
 * Longer keys lie in the arena as length (4 bytes, aligned), bytes. The upper halves of counts over 2^32 - 1 are in an array
 * beside, made when there is one.
 */
import { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import { sortByKey } from './key-order.ts';
import { type Partitioner, partitionOf } from './partition.ts';
import type { RunWriter } from './run-writer.ts';
import { hashKey, hashLong, hashShort, INLINE_BYTES, putEight, readFour, swap } from './short-key.ts';

const SLOTS_MIN = 1 << 10;
const LOAD_MAX = 0.6;
const ARENA_BYTES_MIN = 1 << 14;
const BATCH = 1 << 13;
/** Its place, its prefix, its partition, its order twice. */
const SORT_BYTES_PER_KEY = 24;
const TWO_32 = 0x1_0000_0000;
/** By length: what of four bytes belongs to a key. */
const FIRST_MASK = Int32Array.of(0, 0xff, 0xffff, 0xffffff, -1, -1, -1, -1, -1);
const SECOND_MASK = Int32Array.of(0, 0, 0, 0, 0, 0xff, 0xffff, 0xffffff, -1);

/** Keys of a batch that are not where they belong, or not yet, or long: looked up one by one. */
const UNUSUAL = new Int32Array(BATCH);

/** What `writeTo` is about to write. */
const GATHERED = 4096;
const gatheredPlaces = new Uint32Array(GATHERED);
const gatheredKinds = new Int32Array(GATHERED);
const gatheredCounts = new Uint32Array(GATHERED);
const gatheredHigh = new Uint32Array(GATHERED);
const gatheredLow = new Uint32Array(GATHERED);
const gatheredKey = new Uint8Array(INLINE_BYTES);

interface Entries {
  readonly places: Uint32Array;
  readonly high: Uint32Array;
  readonly low: Uint32Array;
}

export class CountTable {
  #slots: Int32Array;
  #mask = 0;
  /** A hash's upper bits, which depend on all of the key, choose its slot. */
  #shift = 0;
  #size = 0;
  #high: Uint32Array | undefined;
  #arena = Buffer.alloc(0);
  #arenaUsed = 0;

  constructor() {
    this.#slots = this.#allocate(SLOTS_MIN);
  }

  /** Different keys. */
  get size(): number {
    return this.#size;
  }

  /** Memory that it takes, and `writeTo` besides. */
  get bytes(): number {
    const high = this.#high === undefined ? 0 : this.#high.byteLength;
    return this.#slots.byteLength + high + this.#arena.byteLength + this.#size * SORT_BYTES_PER_KEY;
  }

  /** How many keys it may have before it grows, to about twice its memory. */
  get capacity(): number {
    return Math.floor((this.#mask + 1) * LOAD_MAX);
  }

  /** Forgets everything, and keeps the memory unless `release`. */
  clear(release = false): void {
    this.#size = 0;
    this.#arenaUsed = 0;
    this.#high = undefined;
    if (release) {
      this.#arena = Buffer.alloc(0);
      this.#slots = this.#allocate(SLOTS_MIN);
    } else {
      this.#slots.fill(0);
    }
  }

  /** `count`: a whole number in [1, 2^53); the sum for a key must stay below 2^53 too. */
  add(bytes: Uint8Array, from: number, to: number, count: number): void {
    assert(Number.isSafeInteger(count) && count > 0, 'a count is a whole number from 1 on', count);
    const length = to - from;
    const first = readFour(bytes, from, to);
    const second = readFour(bytes, from + 4, to);
    const hash = hashKey(bytes, from, to, first, second);
    const at = this.#find(bytes, from, length, first, second, hash);
    const sum = this.#countAt(at) + count;
    assert(Number.isSafeInteger(sum), 'a count stays below 2^53', sum);
    this.#slots[at + 3] = sum | 0;
    if (sum >= TWO_32) this.#setHigh(at, Math.floor(sum / TWO_32));
  }

  /** How often the key occurred; 0 if never. */
  count(key: Uint8Array): number {
    const first = readFour(key, 0, key.length);
    const second = readFour(key, 4, key.length);
    const hash = hashKey(key, 0, key.length, first, second);
    const at = this.#probe(key, 0, key.length, first, second, hash);
    return this.#slots[at + 2] === 0 ? 0 : this.#countAt(at);
  }

  /**
   * Adds one for each of `count` keys: the i-th is bytes [ranges[2i], ranges[2i + 1]). Eight bytes must be readable behind
   * the beginning of each.
   */
  addRanges(bytes: Uint8Array, ranges: Int32Array, count: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let done = 0; done < count; done += BATCH) {
      const end = Math.min(done + BATCH, count);
      const unusual = countUsual(view, ranges, done, end, this.#slots, this.#shift, UNUSUAL);
      for (let i = 0; i < unusual; i++)
        this.#addOne(bytes, ranges[2 * UNUSUAL[i]!]!, ranges[2 * UNUSUAL[i]! + 1]!);
    }
  }

  /** Writes every key with its count, in the order of a run. */
  writeTo(run: RunWriter, partitioner: Partitioner = partitionOf): void {
    const { partitions } = run;
    const count = this.#size;
    const entries = this.#entries();
    const { places, high, low } = entries;
    const parts = this.#partsOf(entries, partitions, partitioner);
    const tie = (a: number, b: number) => this.#compare(places[a]!, places[b]!);
    const order = sortByKey({ count, partitions, parts, high, low, tie });
    for (let from = 0; from < count; from += GATHERED) {
      const some = order.subarray(from, from + GATHERED);
      gather(some, entries, this.#slots);
      for (let i = 0; i < some.length; i++) this.#writeEntry(run, i, partitions === 1 ? 0 : parts[some[i]!]!);
    }
  }

  /** The i-th of those gathered. */
  #writeEntry(run: RunWriter, i: number, partition: number): void {
    const at = gatheredPlaces[i]!;
    const kind = gatheredKinds[i]!;
    const count = this.#high === undefined ? gatheredCounts[i]! : this.#countAt(at);
    if (kind > 0) {
      putEight(gatheredKey, gatheredHigh[i]!, gatheredLow[i]!);
      run.count(partition, gatheredKey, 0, kind - 1, count);
    } else {
      const from = ~kind + 4;
      run.count(partition, this.#arena, from, from + this.#keyLength(at), count);
    }
  }

  /** Where the keys are, and what they begin with, so that numbers compare as the keys' bytes do. */
  #entries(): Entries {
    const entries = {
      places: new Uint32Array(this.#size),
      high: new Uint32Array(this.#size),
      low: new Uint32Array(this.#size),
    };
    const found = findEntries(this.#slots, entries);
    assert(found === this.#size, 'every key is in a slot', found, this.#size);
    return entries;
  }

  /** Of no length where there is one partition. */
  #partsOf({ places, high, low }: Entries, partitions: number, partitioner: Partitioner): Uint32Array {
    const parts = new Uint32Array(partitions === 1 ? 0 : this.#size);
    const key = new Uint8Array(INLINE_BYTES);
    for (let i = 0; i < parts.length; i++) {
      const at = places[i]!;
      const kind = this.#slots[at + 2]!;
      if (kind > 0) {
        putEight(key, high[i]!, low[i]!);
        parts[i] = partitioner(key, 0, kind - 1, partitions);
      } else {
        const from = ~kind + 4;
        parts[i] = partitioner(this.#arena, from, from + this.#keyLength(at), partitions);
      }
    }
    return parts;
  }

  #addOne(bytes: Uint8Array, from: number, to: number): void {
    const length = to - from;
    const first = readFour(bytes, from, to);
    const second = readFour(bytes, from + 4, to);
    const hash = hashKey(bytes, from, to, first, second);
    const at = this.#find(bytes, from, length, first, second, hash);
    const counted = (this.#slots[at + 3]! + 1) | 0;
    this.#slots[at + 3] = counted;
    if (counted === 0) this.#setHigh(at, (this.#high?.[at >> 2] ?? 0) + 1);
  }

  /** The slot of the key, made if there was none. */
  #find(
    bytes: Uint8Array,
    from: number,
    length: number,
    first: number,
    second: number,
    hash: number,
  ): number {
    const at = this.#probe(bytes, from, length, first, second, hash);
    return this.#slots[at + 2] === 0 ? this.#insert(at, bytes, from, length, first, second, hash) : at;
  }

  /** The slot of the key, or the free one where it belongs. */
  #probe(
    bytes: Uint8Array,
    from: number,
    length: number,
    first: number,
    second: number,
    hash: number,
  ): number {
    const slots = this.#slots;
    let at = (hash >>> this.#shift) << 2;
    while (true) {
      const kind = slots[at + 2]!;
      if (kind === 0) return at;
      if (slots[at] === first && slots[at + 1] === second) {
        if (
          length <= INLINE_BYTES ? kind === length + 1 : kind < 0 && this.#equals(~kind, bytes, from, length)
        )
          return at;
      }
      at = (at + 4) & (slots.length - 1);
    }
  }

  #equals(offset: number, bytes: Uint8Array, from: number, length: number): boolean {
    const arena = this.#arena;
    if (arena.readInt32LE(offset) !== length) return false;
    for (let i = INLINE_BYTES; i < length; i++) if (arena[offset + 4 + i] !== bytes[from + i]) return false;
    return true;
  }

  #insert(
    at: number,
    bytes: Uint8Array,
    from: number,
    length: number,
    first: number,
    second: number,
    hash: number,
  ): number {
    if (this.#size >= this.capacity) {
      this.#grow();
      return this.#find(bytes, from, length, first, second, hash);
    }
    this.#size++;
    this.#slots[at] = first;
    this.#slots[at + 1] = second;
    this.#slots[at + 2] = length <= INLINE_BYTES ? length + 1 : ~this.#keep(bytes, from, length);
    this.#slots[at + 3] = 0;
    return at;
  }

  /** Puts a long key into the arena. */
  #keep(bytes: Uint8Array, from: number, length: number): number {
    const offset = this.#arenaUsed;
    const needed = offset + 4 + length;
    if (needed > this.#arena.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, ARENA_BYTES_MIN, this.#arena.length * 2));
      grown.set(this.#arena.subarray(0, offset));
      this.#arena = grown;
    }
    this.#arena.writeInt32LE(length, offset);
    for (let i = 0; i < length; i++) this.#arena[offset + 4 + i] = bytes[from + i]!;
    this.#arenaUsed = (needed + 3) & ~3;
    return offset;
  }

  #allocate(slots: number): Int32Array {
    this.#mask = slots - 1;
    this.#shift = Math.clz32(slots) + 1;
    return new Int32Array(slots * 4);
  }

  #grow(): void {
    const old = this.#slots;
    const oldHigh = this.#high;
    this.#high = undefined;
    // A small table grows faster: it will not stay small, and is cheap.
    this.#slots = this.#allocate((this.#mask + 1) * (this.#mask < 1 << 16 ? 4 : 2));
    const slots = this.#slots;
    for (let from = 0; from < old.length; from += 4) {
      const kind = old[from + 2]!;
      if (kind === 0) continue;
      const first = old[from]!;
      const second = old[from + 1]!;
      const offset = ~kind + 4;
      const hash =
        kind > 0
          ? hashShort(first, second)
          : hashLong(this.#arena, offset, offset + this.#arena.readInt32LE(offset - 4), first, second);
      let to = (hash >>> this.#shift) << 2;
      while (slots[to + 2] !== 0) to = (to + 4) & (slots.length - 1);
      slots[to] = first;
      slots[to + 1] = second;
      slots[to + 2] = kind;
      slots[to + 3] = old[from + 3]!;
      if (oldHigh !== undefined && oldHigh[from >> 2] !== 0) this.#setHigh(to, oldHigh[from >> 2]!);
    }
  }

  #countAt(at: number): number {
    const low = this.#slots[at + 3]! >>> 0;
    return this.#high === undefined ? low : this.#high[at >> 2]! * TWO_32 + low;
  }

  #setHigh(at: number, value: number): void {
    this.#high ??= new Uint32Array(this.#mask + 1);
    this.#high[at >> 2] = value;
  }

  #keyLength(at: number): number {
    const kind = this.#slots[at + 2]!;
    return kind > 0 ? kind - 1 : this.#arena.readInt32LE(~kind);
  }

  /** Of keys whose first eight bytes, padded with zeros, are equal. */
  #compare(a: number, b: number): number {
    const lengthA = this.#keyLength(a);
    const lengthB = this.#keyLength(b);
    if (lengthA <= INLINE_BYTES || lengthB <= INLINE_BYTES) return lengthA - lengthB;
    const fromA = ~this.#slots[a + 2]! + 4;
    const fromB = ~this.#slots[b + 2]! + 4;
    return this.#arena.compare(this.#arena, fromB, fromB + lengthB, fromA, fromA + lengthA);
  }
}

/**
 * Adds one for each key that is short, and found where it belongs; which are not, and how many. One loop without calls, for
 * which the compiler checks once what the arrays are.
 */
function countUsual(
  view: DataView,
  ranges: Int32Array,
  start: number,
  end: number,
  slots: Int32Array,
  shift: number,
  unusual: Int32Array,
): number {
  const firstMask = FIRST_MASK;
  const secondMask = SECOND_MASK;
  let found = 0;
  for (let i = start; i < end; i++) {
    // `| 0`, and `|` in place of `+`, spare a check for numbers over 2^31.
    const from = ranges[i << 1]!;
    const length = (ranges[(i << 1) | 1]! - from) | 0;
    if (length <= 8) {
      const first = view.getInt32(from, true) & firstMask[length]!;
      const second = view.getInt32((from + 4) | 0, true) & secondMask[length]!;
      // hashShort, by hand.
      const mixed = Math.imul(first, 0x9e3779b1);
      const at = (Math.imul(mixed ^ (mixed >>> 15) ^ second, 0x85ebca6b) >>> shift) << 2;
      const count = slots[at | 3]!;
      if (
        slots[at] === first &&
        slots[at | 1] === second &&
        slots[at | 2] === ((length + 1) | 0) &&
        count !== -1
      ) {
        slots[at | 3] = (count + 1) | 0;
        continue;
      }
    }
    unusual[found++] = i;
  }
  return found;
}

function findEntries(slots: Int32Array, { places, high, low }: Entries): number {
  let found = 0;
  for (let at = 0; at < slots.length; at += 4) {
    if (slots[at + 2] === 0) continue;
    places[found] = at;
    high[found] = swap(slots[at]!);
    low[found] = swap(slots[at + 1]!);
    found++;
  }
  return found;
}

/** A short loop, so that the processor waits for many lines of the table at once. */
function gather(order: Uint32Array, { places, high, low }: Entries, slots: Int32Array): void {
  for (let i = 0; i < order.length; i++) {
    const entry = order[i]!;
    const at = places[entry]!;
    gatheredPlaces[i] = at;
    gatheredKinds[i] = slots[at + 2]!;
    gatheredCounts[i] = slots[at + 3]!;
    gatheredHigh[i] = high[entry]!;
    gatheredLow[i] = low[entry]!;
  }
}
