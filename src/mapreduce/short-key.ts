/**
 * Keys of up to eight bytes as two numbers, which is how the table of counts holds, compares and hashes them; of a longer
 * key they are its beginning.
 */

export const INLINE_BYTES = 8;

/** `first` and `second`: what it begins with. */
export function hashKey(bytes: Uint8Array, from: number, to: number, first: number, second: number): number {
  return to - from <= INLINE_BYTES ? hashShort(first, second) : hashLong(bytes, from, to, first, second);
}

export function hashShort(first: number, second: number): number {
  const hash = Math.imul(first, 0x9e3779b1);
  return Math.imul(hash ^ (hash >>> 15) ^ second, 0x85ebca6b);
}

export function hashLong(bytes: Uint8Array, from: number, to: number, first: number, second: number): number {
  let hash = hashShort(first, second) ^ (to - from);
  for (let i = from + INLINE_BYTES; i < to; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return Math.imul(hash ^ (hash >>> 15), 0x9e3779b1);
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
