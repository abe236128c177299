/**
 * Counting words in WebAssembly (kernel-code.ts), and the memory in which it does that: one for each table of counts, which
 * lies in it too, so that what JavaScript and the kernel do to the table is the same thing.
 *
 *   letters below U+0800 | state | chunk of the text | edges of its words | piles | arena of the table | slots of the table
 *
 * Text is copied in, a chunk at a time: it is in the processor's nearest cache then.
 */
import { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import {
  CHUNK_AT,
  CHUNK_BYTES,
  CHUNK_SLACK_BYTES,
  EDGES_AT,
  KERNEL_CODE,
  LETTERS_AT,
  PILE_BYTES,
  PILES,
  PILES_AT,
  STATE,
  STATE_AT,
  TABLE_AT,
} from './kernel-code.ts';
import { LETTERS_BELOW_800, runeAt } from './letters.ts';
import { assemble } from './wasm-assembler.ts';

/** What the table and the kernel tell each other. */
export interface KernelState {
  readonly size: number;
  readonly arenaUsed: number;
}

interface Memory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}
/** Of the runtime; its types are not among those of Node. */
declare const WebAssembly: {
  readonly Memory: new (options: { initial: number }) => Memory;
  readonly Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: unknown };
};

interface Exports {
  find(length: number): number;
  count(first: number, words: number): number;
}

const PAGE_BYTES = 1 << 16;
/** See count-table.ts. */
const SLOT_NUMBERS = 4;
const STATE_NUMBERS = STATE.piles + PILES;

/** Undefined before the first kernel; null where the runtime has no such instructions. */
let compiled: object | null | undefined;

/** Undefined where the runtime cannot: then it is done in JavaScript. */
export function openKernel(): WordKernel | undefined {
  if (compiled === null) return undefined;
  try {
    compiled ??= new WebAssembly.Module(assemble(KERNEL_CODE));
    return new WordKernel(compiled);
  } catch (error) {
    // A processor without these instructions, or a system that does not give the address space.
    if (!(error instanceof Error) || !REFUSALS.includes(error.name)) throw error;
    // Address space may be had again when memories of earlier tasks are collected.
    if (error.name !== 'RangeError') compiled = null;
    return undefined;
  }
}

const REFUSALS = ['CompileError', 'LinkError', 'RangeError', 'ReferenceError'];

export class WordKernel {
  /** Of the table; other arrays after `makeSlots`, `growSlots` and `growArena`. */
  slots!: Int32Array;
  arena!: Buffer;
  readonly #memory: Memory;
  readonly #exports: Exports;
  #bytes!: Uint8Array;
  #state!: Int32Array;
  #edges!: Int32Array;

  constructor(module: object) {
    this.#memory = new WebAssembly.Memory({ initial: TABLE_AT / PAGE_BYTES });
    const runeIn = (at: number, to: number) => runeAt(this.#bytes, at, to);
    const instance = new WebAssembly.Instance(module, { js: { memory: this.#memory, runeAt: runeIn } });
    this.#exports = instance.exports as Exports;
    this.#arrange(0, 1);
    this.#bytes.set(LETTERS_BELOW_800, LETTERS_AT);
  }

  /** So many slots, a power of two, all free. */
  makeSlots(slots: number): void {
    this.#arrange(this.arena.length, slots);
    this.slots.fill(0);
  }

  /** A multiple of what there were; those are the last then, and all others free. */
  growSlots(slots: number): void {
    const before = this.slots.length;
    this.#arrange(this.arena.length, slots);
    this.slots.copyWithin(this.slots.length - before, 0, before);
    this.slots.fill(0, 0, this.slots.length - before);
  }

  /** What is in the arena and in the slots is kept. */
  growArena(bytes: number): void {
    const [slotsFrom, slotsTo] = [this.slots.byteOffset, this.slots.byteOffset + this.slots.byteLength];
    this.#arrange(bytes, this.slots.length / SLOT_NUMBERS);
    this.#bytes.copyWithin(this.slots.byteOffset, slotsFrom, slotsTo);
  }

  #arrange(arenaBytes: number, slots: number): void {
    const arenaPages = Math.ceil(arenaBytes / PAGE_BYTES);
    const slotsAt = TABLE_AT + arenaPages * PAGE_BYTES;
    const pages = Math.ceil((slotsAt + slots * SLOT_NUMBERS * 4) / PAGE_BYTES);
    const grown = pages - this.#memory.buffer.byteLength / PAGE_BYTES;
    if (grown > 0) this.#memory.grow(grown);
    const { buffer } = this.#memory;
    this.#bytes = new Uint8Array(buffer);
    this.#state = new Int32Array(buffer, STATE_AT, STATE_NUMBERS);
    this.#edges = new Int32Array(buffer, EDGES_AT);
    this.arena = Buffer.from(buffer, TABLE_AT, arenaPages * PAGE_BYTES);
    this.slots = new Int32Array(buffer, slotsAt, slots * SLOT_NUMBERS);
    this.#state[STATE.slotsAt] = slotsAt;
    this.#state[STATE.slotsBytes] = this.slots.byteLength;
    this.#state[STATE.shift] = Math.clz32(slots) + 1;
    this.#state[STATE.arenaAt] = TABLE_AT;
    this.#state[STATE.arenaBytes] = this.arena.length;
  }

  /** How many words are in bytes [from, to), at most CHUNK_BYTES; the ends must lie between words. */
  find(bytes: Uint8Array, from: number, to: number): number {
    assert(to - from <= CHUNK_BYTES, 'text comes in chunks', to - from);
    this.#bytes.set(bytes.subarray(from, to), CHUNK_AT);
    const end = CHUNK_AT + to - from;
    this.#bytes.fill(0, end, end + CHUNK_SLACK_BYTES);
    return this.#exports.find(to - from);
  }

  /** Adds one for each of the words found, from `first` on, up to one that needs more than a free slot: its number. */
  count(first: number, words: number, capacity: number, { size, arenaUsed }: KernelState): number {
    const state = this.#state;
    state[STATE.capacity] = capacity;
    state[STATE.size] = size;
    state[STATE.arenaUsed] = arenaUsed;
    return this.#exports.count(first, words);
  }

  /** After `count`. */
  get size(): number {
    return this.#state[STATE.size]!;
  }

  get arenaUsed(): number {
    return this.#state[STATE.arenaUsed]!;
  }

  /** Whether new words for which there is no capacity are put off: into piles by their hash, as text. */
  set puttingOff(value: boolean) {
    this.#state[STATE.puttingOff] = value ? 1 : 0;
  }

  /** What was put off; a view, and the pile is empty. */
  takePile(pile: number): Uint8Array {
    const from = PILES_AT + pile * PILE_BYTES;
    const length = this.#state[STATE.piles + pile]!;
    this.#state[STATE.piles + pile] = 0;
    return this.#bytes.subarray(from, from + length);
  }

  /** A copy of a word that was found. */
  word(number: number): Uint8Array {
    return this.#bytes.slice(this.#edges[2 * number]!, this.#edges[2 * number + 1]!);
  }
}
