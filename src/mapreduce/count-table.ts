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
import { countUsual } from './count-usual.ts';
import { PILES } from './kernel-code.ts';
import { sortByKey } from './key-order.ts';
import { type Partitioner, partitionOf } from './partition.ts';
import type { RunWriter } from './run-writer.ts';
import { hashKey, hashLong, hashShort, INLINE_BYTES, PILE_SHIFT, putEight, readFour } from './short-key.ts';
import { type Entries, findEntries, GATHERED_MAX, gather, gathered } from './table-entries.ts';
import { openKernel, type WordKernel } from './word-kernel.ts';

const SLOTS_MIN = 1 << 10;
const LOAD_MAX = 0.6;
const ARENA_BYTES_MIN = 1 << 14;
const BATCH = 1 << 13;
/** Its place, its prefix, its partition, its order twice. */
const SORT_BYTES_PER_KEY = 24;
const TWO_32 = 0x1_0000_0000;
/** Keys of a batch that are not where they belong, or not yet, or long: looked up one by one. */
const UNUSUAL = new Int32Array(BATCH);

const gatheredKey = new Uint8Array(INLINE_BYTES);
const BLANK = Buffer.from(' ');

/** `text`: words with something between them. */
export type PutOff = (pile: number, text: Uint8Array) => void;

export class CountTable {
  #slots: Int32Array;
  #mask = 0;
  /** A hash's upper bits, which depend on all of the key, choose its slot. */
  #shift = 0;
  #size = 0;
  #high: Uint32Array | undefined;
  #arena: Buffer = Buffer.alloc(0);
  #arenaUsed = 0;
  #kernel: WordKernel | undefined;
  #putOff: PutOff | undefined;

  /** `kernel`: it lies in its memory, which is nobody else's. */
  constructor(kernel?: WordKernel) {
    this.#kernel = kernel;
    this.#slots = this.#allocate(SLOTS_MIN);
  }

  /** Another one after `clear`. */
  get kernel(): WordKernel | undefined {
    return this.#kernel;
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
      // Such memory does not shrink.
      if (this.#kernel !== undefined) this.#kernel = openKernel();
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

  /** Adds one for each of the first `words` words that the kernel has found. */
  addFound(words: number): void {
    for (let next = 0; next < words; ) {
      const kernel = this.#kernel;
      assert(kernel !== undefined, 'a kernel has found the words');
      const capacity = this.#putOff === undefined ? this.capacity : this.#size;
      next = kernel.count(next, words, capacity, { size: this.#size, arenaUsed: this.#arenaUsed });
      this.#size = kernel.size;
      this.#arenaUsed = kernel.arenaUsed;
      if (next === words) return;
      const word = kernel.word(next++);
      if (this.#putOff === undefined || this.count(word) > 0) this.#addOne(word, 0, word.length);
      else this.#putOffOne(kernel, word);
    }
  }

  /**
   * From now on, words that are new are not added but put off: `putOff` is given text with them, a view, by the pile that
   * their hash says, one of PILES. Until the end of `settle`; needs a kernel.
   */
  freeze(putOff: PutOff): void {
    assert(this.#kernel !== undefined && this.#putOff === undefined, 'a table freezes once');
    this.#putOff = putOff;
    this.#kernel.puttingOff = true;
  }

  get frozen(): boolean {
    return this.#putOff !== undefined;
  }

  /** Gives the rest of what was put off. */
  settle(): void {
    const [kernel, putOff] = [this.#kernel, this.#putOff];
    if (kernel === undefined || putOff === undefined) return;
    for (let pile = 0; pile < PILES; pile++) putOff(pile, kernel.takePile(pile));
    this.#putOff = undefined;
    kernel.puttingOff = false;
  }

  /** Its pile is full, or it is too long for any. */
  #putOffOne(kernel: WordKernel, word: Uint8Array): void {
    const [first, second] = [readFour(word, 0, word.length), readFour(word, 4, word.length)];
    const hash = hashKey(word, 0, word.length, first, second);
    const pile = (hash >>> PILE_SHIFT) & (PILES - 1);
    this.#putOff?.(pile, kernel.takePile(pile));
    this.#putOff?.(pile, Buffer.concat([word, BLANK]));
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
    for (let from = 0; from < count; from += GATHERED_MAX) {
      const some = order.subarray(from, from + GATHERED_MAX);
      gather(some, entries, this.#slots);
      for (let i = 0; i < some.length; i++) this.#writeEntry(run, i, partitions === 1 ? 0 : parts[some[i]!]!);
    }
  }

  /** The i-th of those gathered. */
  #writeEntry(run: RunWriter, i: number, partition: number): void {
    const at = gathered.places[i]!;
    const kind = gathered.kinds[i]!;
    const count = this.#high === undefined ? gathered.counts[i]! : this.#countAt(at);
    if (kind > 0) {
      putEight(gatheredKey, gathered.high[i]!, gathered.low[i]!);
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
    // Before anything is in the slot: with the arena the slots may move.
    const kind = length <= INLINE_BYTES ? length + 1 : ~this.#keep(bytes, from, length);
    this.#size++;
    this.#slots[at] = first;
    this.#slots[at + 1] = second;
    this.#slots[at + 2] = kind;
    this.#slots[at + 3] = 0;
    return at;
  }

  /** Puts a long key into the arena. */
  #keep(bytes: Uint8Array, from: number, length: number): number {
    const offset = this.#arenaUsed;
    const needed = offset + 4 + length;
    if (needed > this.#arena.length) {
      this.#growArena(Math.max(needed, ARENA_BYTES_MIN, this.#arena.length * 2));
    }
    this.#arena.writeInt32LE(length, offset);
    for (let i = 0; i < length; i++) this.#arena[offset + 4 + i] = bytes[from + i]!;
    this.#arenaUsed = (needed + 3) & ~3;
    return offset;
  }

  #growArena(bytes: number): void {
    if (this.#kernel !== undefined) {
      this.#kernel.growArena(bytes);
      this.#slots = this.#kernel.slots;
      this.#arena = this.#kernel.arena;
      return;
    }
    const grown = Buffer.allocUnsafeSlow(bytes);
    grown.set(this.#arena.subarray(0, this.#arenaUsed));
    this.#arena = grown;
  }

  /** All free, or in a kernel's memory the `old` ones last. */
  #allocate(slots: number, old?: Int32Array): Int32Array {
    this.#mask = slots - 1;
    this.#shift = Math.clz32(slots) + 1;
    if (this.#kernel === undefined) return new Int32Array(slots * 4);
    if (old === undefined) this.#kernel.makeSlots(slots);
    else this.#kernel.growSlots(slots);
    this.#arena = this.#kernel.arena;
    return this.#kernel.slots;
  }

  /**
   * A kernel's memory does not shrink, so the table grows in place: the old slots move to the end of the new ones, and are
   * emptied from there, the first first. Where a key belongs lies before what is not empty yet, but for a few near the end:
   * they wait. (The slot is the upper bits of the hash, so the order of the slots hardly changes.)
   */
  #grow(): void {
    const old = this.#slots;
    // It may be detached when the memory grows.
    const oldLength = old.length;
    const oldHigh = this.#high;
    this.#high = undefined;
    // A small table grows faster: it will not stay small, and is cheap.
    this.#slots = this.#allocate((this.#mask + 1) * (this.#mask < 1 << 16 ? 4 : 2), old);
    const inPlace = this.#kernel !== undefined;
    const source = inPlace ? this.#slots : old;
    const start = source.length - oldLength;
    const waiting: number[] = [];
    for (let from = start; from < source.length; from += 4) {
      const kind = source[from + 2]!;
      if (kind === 0) continue;
      const [first, second, count] = [source[from]!, source[from + 1]!, source[from + 3]!];
      source[from + 2] = 0;
      const high = oldHigh === undefined ? 0 : oldHigh[(from - start) >> 2]!;
      const end = inPlace ? from : this.#slots.length;
      if (!this.#place(end, first, second, kind, count, high)) waiting.push(first, second, kind, count, high);
    }
    for (let i = 0; i < waiting.length; i += 5) {
      const [first, second, kind, count, high] = waiting.slice(i, i + 5) as [
        number,
        number,
        number,
        number,
        number,
      ];
      this.#place(this.#slots.length, first, second, kind, count, high);
    }
  }

  /** Puts a key where it belongs after growth, unless that is behind `end`. */
  #place(end: number, first: number, second: number, kind: number, count: number, high: number): boolean {
    const slots = this.#slots;
    const offset = ~kind + 4;
    const hash =
      kind > 0
        ? hashShort(first, second)
        : hashLong(this.#arena, offset, offset + this.#arena.readInt32LE(offset - 4), first, second);
    let to = (hash >>> this.#shift) << 2;
    while (to <= end && slots[to + 2] !== 0) to = (to + 4) & (slots.length - 1);
    if (to > end) return false;
    slots[to] = first;
    slots[to + 1] = second;
    slots[to + 2] = kind;
    slots[to + 3] = count;
    if (high !== 0) this.#setHigh(to, high);
    return true;
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
