/**
 * Which code points are letters: Unicode's category L (`\p{L}`) as this runtime knows it, and UTF-8 as RFC 3629 has it.
 *
 * Servers of one cluster whose runtimes have different versions of Unicode differ in letters assigned in between, and in
 * nothing else. A bitmap of 256 code points is made when one of them is first asked for: all of them take 170 ms.
 */

const LETTER = /^\p{L}$/u;
const PAGE_BITS = 8;
const PAGE_WORDS = (1 << PAGE_BITS) / 32;

const pages: (Int32Array | undefined)[] = [];

/** One byte for each code point of one or two bytes in UTF-8, 1 for a letter: the fast way for Latin, Greek, Cyrillic. */
export const LETTERS_BELOW_800 = new Uint8Array(0x800).map((_, codePoint) => (isLetter(codePoint) ? 1 : 0));

export function isLetter(codePoint: number): boolean {
  const page = pages[codePoint >> PAGE_BITS] ?? makePage(codePoint >> PAGE_BITS);
  const inPage = codePoint & ((1 << PAGE_BITS) - 1);
  return ((page[inPage >> 5]! >>> (inPage & 31)) & 1) === 1;
}

function makePage(number: number): Int32Array {
  const page = new Int32Array(PAGE_WORDS);
  for (let i = 0; i < 1 << PAGE_BITS; i++) {
    if (LETTER.test(String.fromCodePoint((number << PAGE_BITS) | i))) page[i >> 5]! |= 1 << (i & 31);
  }
  pages[number] = page;
  return page;
}

/**
 * The rune at `at`, whose bytes must end at or before `to`: its length in bytes, negative if it is no letter. What is not
 * valid UTF-8 (a stray continuation, an overlong form, a surrogate, a cut sequence) is one byte that is no letter.
 */
export function runeAt(bytes: Uint8Array, at: number, to: number): number {
  const lead = bytes[at]!;
  if (lead < 0x80) return LETTERS_BELOW_800[lead] === 1 ? 1 : -1;
  if (lead < 0xc2 || lead > 0xf4) return -1;
  if (at + 1 >= to) return -1;
  const second = bytes[at + 1]!;
  if ((second & 0xc0) !== 0x80) return -1;
  if (lead < 0xe0) return LETTERS_BELOW_800[((lead & 0x1f) << 6) | (second & 0x3f)] === 1 ? 2 : -2;
  if (at + 2 >= to || (bytes[at + 2]! & 0xc0) !== 0x80) return -1;
  const high = ((second & 0x3f) << 6) | (bytes[at + 2]! & 0x3f);
  if (lead < 0xf0) {
    const codePoint = ((lead & 0x0f) << 12) | high;
    if (codePoint < 0x800 || (codePoint >= 0xd800 && codePoint < 0xe000)) return -1;
    return isLetter(codePoint) ? 3 : -3;
  }
  if (at + 3 >= to || (bytes[at + 3]! & 0xc0) !== 0x80) return -1;
  const codePoint = ((lead & 0x07) << 18) | (high << 6) | (bytes[at + 3]! & 0x3f);
  if (codePoint < 0x1_0000 || codePoint > 0x10_ffff) return -1;
  return isLetter(codePoint) ? 4 : -4;
}
