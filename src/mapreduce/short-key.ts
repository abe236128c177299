/**
 * Keys of up to eight bytes as two numbers, which is how the table of counts holds, compares and hashes them; of a longer
 * key they are its beginning.
 */

export const INLINE_BYTES = 8;

/** `first` and `second`: what it begins with. */
export function hashKey(bytes: Uint8Array, from: number, to: number, first: number, second: number): number {
  return to - from <= INLINE_BYTES ? hashShort(first, second) : hashLong(bytes, from, to, first, second);
}

/** The kernel (kernel-code.ts) does the same with the same numbers. */
export const HASH_FIRST = 0x9e3779b1 | 0;
export const HASH_LAST = 0x85ebca6b | 0;
export const HASH_LONG = 0xc2b2ae35 | 0;

/** A hash's bits from here on choose the pile of a word that is put off: others than those that choose its slot. */
export const PILE_SHIFT = 5;

export function hashShort(first: number, second: number): number {
  const hash = Math.imul(first, HASH_FIRST);
  return Math.imul(hash ^ (hash >>> 15) ^ second, HASH_LAST);
}

/** Over eight bytes: the last eight, too, are taken at once, whichever of them were taken before. */
export function hashLong(bytes: Uint8Array, from: number, to: number, first: number, second: number): number {
  let hash = hashShort(first, second) ^ (to - from);
  for (let at = from + INLINE_BYTES; at + INLINE_BYTES < to; at += INLINE_BYTES) {
    hash = mixEight(hash, bytes, at, to);
  }
  return Math.imul(mixEight(hash, bytes, to - INLINE_BYTES, to), HASH_FIRST);
}

function mixEight(before: number, bytes: Uint8Array, at: number, to: number): number {
  let hash = Math.imul(before ^ readFour(bytes, at, to), HASH_LONG);
  hash = Math.imul(hash ^ (hash >>> 15) ^ readFour(bytes, at + 4, to), HASH_LONG);
  return hash ^ (hash >>> 15);
}

/** Four bytes from `at` on, the first the lowest; zeros from `to` on. */
export function readFour(bytes: Uint8Array, at: number, to: number): number {
  const count = to - at;
  if (count >= 4) return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
  let four = 0;
  for (let i = 0; i < count; i++) four |= bytes[at + i]! << (8 * i);
  return four;
}

/** The other order of bytes, so that numbers compare as the bytes do. */
export function swap(four: number): number {
  return (four << 24) | ((four & 0xff00) << 8) | ((four >>> 8) & 0xff00) | (four >>> 24);
}

/** The eight bytes of two numbers, the highest first. */
export function putEight(bytes: Uint8Array, high: number, low: number): void {
  bytes[0] = high >>> 24;
  bytes[1] = high >>> 16;
  bytes[2] = high >>> 8;
  bytes[3] = high;
  bytes[4] = low >>> 24;
  bytes[5] = low >>> 16;
  bytes[6] = low >>> 8;
  bytes[7] = low;
}
