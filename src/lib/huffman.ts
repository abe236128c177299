/**
 * Canonical Huffman codes as Deflate has them (RFC 1951, 3.2.2), for decoding: codes up to FAST_BITS are looked up in a
 * table by the bits that come next; of longer ones, which are rare, the length is found bit by bit (after zlib's puff.c).
 */
import { MalformedError } from './bytes.ts';

export const FAST_BITS = 10;
export const CODE_BITS_MAX = 15;

export class HuffmanCode {
  /** By the next FAST_BITS bits: symbol << 4 | bits of its code; 0: a longer one. */
  readonly fast = new Uint16Array(1 << FAST_BITS);
  readonly #counts = new Uint16Array(CODE_BITS_MAX + 1);
  /** In the order of their codes. */
  readonly #symbols: Uint16Array;

  /** `lengths`: bits of each symbol's code, 0 for one that does not occur. Throws MalformedError. */
  constructor(lengths: Uint8Array) {
    this.#symbols = new Uint16Array(lengths.length);
    for (const bits of lengths) this.#counts[bits]!++;
    this.#counts[0] = 0;
    const nextCode = new Uint16Array(CODE_BITS_MAX + 2);
    const place = new Uint16Array(CODE_BITS_MAX + 2);
    let left = 1;
    for (let bits = 1; bits <= CODE_BITS_MAX; bits++) {
      const count = this.#counts[bits]!;
      left = left * 2 - count;
      if (left < 0) throw new MalformedError('a Huffman code has too many words');
      nextCode[bits + 1] = (nextCode[bits]! + count) << 1;
      place[bits + 1] = place[bits]! + count;
    }
    for (let symbol = 0; symbol < lengths.length; symbol++) {
      const bits = lengths[symbol]!;
      if (bits === 0) continue;
      this.#symbols[place[bits]!++] = symbol;
      const code = nextCode[bits]!++;
      if (bits > FAST_BITS) continue;
      // Codes come with their highest bit first, all else with the lowest.
      for (let at = reversed(code, bits); at < 1 << FAST_BITS; at += 1 << bits) {
        this.fast[at] = (symbol << 4) | bits;
      }
    }
  }

  /** As an entry of `fast`, for the code that `hold` begins with. Throws MalformedError when there is none. */
  slow(hold: number): number {
    let code = 0;
    let first = 0;
    let place = 0;
    for (let bits = 1; bits <= CODE_BITS_MAX; bits++) {
      code |= (hold >>> (bits - 1)) & 1;
      const count = this.#counts[bits]!;
      if (code - count < first) return (this.#symbols[place + code - first]! << 4) | bits;
      place += count;
      first = (first + count) << 1;
      code <<= 1;
    }
    throw new MalformedError('a Huffman code that means nothing');
  }
}

function reversed(code: number, bits: number): number {
  let result = 0;
  for (let i = 0; i < bits; i++) result |= ((code >>> i) & 1) << (bits - 1 - i);
  return result;
}
