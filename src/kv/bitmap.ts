/**
 * Bits of a string, the highest bit of the first byte being bit 0: counting, searching and combining them, a word of 32
 * at a time, since a string may have a thousand million of them.
 *
 * A word array must begin at a multiple of four in its buffer, which the bytes of a view need not do: what lies before
 * the first such place, and behind the last whole word, is done byte by byte.
 */

export type BitOperation = 'and' | 'or' | 'xor' | 'not';

const WORD_BYTES = 4;
const NO_WORDS = new Uint32Array(0);

interface Words {
  /** Bytes before them. */
  readonly head: number;
  readonly words: Uint32Array;
}

function wordsIn(bytes: Uint8Array): Words {
  const head = (WORD_BYTES - (bytes.byteOffset % WORD_BYTES)) % WORD_BYTES;
  if (head >= bytes.length) return { head: bytes.length, words: NO_WORDS };
  const count = Math.floor((bytes.length - head) / WORD_BYTES);
  return { head, words: new Uint32Array(bytes.buffer, bytes.byteOffset + head, count) };
}

/** In a word of 32 bits: sums of 2, 4, 8 bits, then of all by one multiplication. */
export function bitCount(word: number): number {
  const pairs = word - ((word >>> 1) & 0x5555_5555);
  const fours = (pairs & 0x3333_3333) + ((pairs >>> 2) & 0x3333_3333);
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}

export function countBits(bytes: Uint8Array): number {
  const { head, words } = wordsIn(bytes);
  let count = 0;
  for (let i = 0; i < words.length; i++) count += bitCount(words[i]!);
  for (let i = 0; i < head; i++) count += bitCount(bytes[i]!);
  for (let i = head + words.length * WORD_BYTES; i < bytes.length; i++) count += bitCount(bytes[i]!);
  return count;
}

/** The first place in [from, to) with a byte other than `skipped`, which is 0 or 255; `to` if there is none. */
export function findOtherByte(bytes: Uint8Array, skipped: number, from: number, to: number): number {
  const part = bytes.subarray(from, to);
  const { head, words } = wordsIn(part);
  const word = skipped === 0 ? 0 : 0xffff_ffff;
  let at = 0;
  while (at < head && part[at] === skipped) at++;
  if (at === head) {
    let i = 0;
    while (i < words.length && words[i] === word) i++;
    at += i * WORD_BYTES;
  }
  while (at < part.length && part[at] === skipped) at++;
  return from + at;
}

/** As long as the longest of the strings; the shorter ones count as filled up with zeros. `not` takes one alone. */
export function combine(operation: BitOperation, sources: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(sources.reduce((length, source) => Math.max(length, source.length), 0));
  result.set(sources[0]!);
  if (operation === 'not') {
    invert(result);
    return result;
  }
  for (const source of sources.slice(1)) {
    // A copy is aligned.
    const aligned = source.byteOffset % WORD_BYTES === 0 ? source : new Uint8Array(source);
    const count = Math.floor(aligned.length / WORD_BYTES);
    const words = new Uint32Array(aligned.buffer, aligned.byteOffset, count);
    merge(operation, new Uint32Array(result.buffer, 0, count), words);
    merge(operation, result.subarray(count * WORD_BYTES), aligned.subarray(count * WORD_BYTES));
    if (operation === 'and') result.fill(0, aligned.length);
  }
  return result;
}

function invert(bytes: Uint8Array): void {
  const { words } = wordsIn(bytes);
  for (let i = 0; i < words.length; i++) words[i] = ~words[i]!;
  for (let i = words.length * WORD_BYTES; i < bytes.length; i++) bytes[i] = ~bytes[i]!;
}

/** A loop for each operation: a choice inside of one loop would be made at each word. */
function merge<A extends Uint8Array | Uint32Array>(operation: BitOperation, into: A, from: A): void {
  const count = from.length;
  if (operation === 'and') for (let i = 0; i < count; i++) into[i]! &= from[i]!;
  else if (operation === 'or') for (let i = 0; i < count; i++) into[i]! |= from[i]!;
  else for (let i = 0; i < count; i++) into[i]! ^= from[i]!;
}
