/**
 * Words: maximal runs of letters (Unicode category L), in UTF-8; what is not valid UTF-8 separates.
 *
 * The bytes are looked at 32 at a time: arithmetic on four bytes in one number tells which of them are ASCII letters, eight
 * such make a bitmap, and a word begins or ends where neighbouring bits differ. A branch is taken per 32 bytes, not
 * per byte. A rune that is not ASCII sets the bits of its bytes by itself. Finding the edges of many words first, then
 * hashing them all, then looking all of them up (count-table.ts) lets the processor wait for many lines of the table at
 * once; one word after the other was half as fast (see "SIMD within a register", Lamport 1975; the passes after simdjson).
 */
import type { CountTable } from './count-table.ts';
import { CHUNK_BYTES } from './kernel-code.ts';
import { LETTERS_BELOW_800, runeAt } from './letters.ts';

const GROUP_BYTES = 32;
const GROUPS_PER_PASS = 512;
/** Two per word, and a word takes two bytes at least; the edge left over from before, and what the tail may add. */
const EDGES_MAX = GROUPS_PER_PASS * GROUP_BYTES + 2 * GROUP_BYTES + 2;
/** So much room behind a block keeps it from being copied. */
export const SLACK_BYTES = 8;

/**
 * Adds one to the count of every word in bytes [from, to), whose ends must lie between words. Returns how many there were.
 * Faster where the array goes on for SLACK_BYTES behind `to`: of any content, which counts for nothing. `counted` is told
 * every some thousand words how many there were since the last time, and may empty the table.
 */
export function countWords(
  bytes: Uint8Array,
  from: number,
  to: number,
  table: CountTable,
  counted?: (words: number) => void,
): number {
  let words = 0;
  for (let at = from, end = at; at < to; at = end) {
    const { kernel } = table;
    end = kernel === undefined ? to : chunkEnd(bytes, at, to);
    if (kernel === undefined || end - at > CHUNK_BYTES) {
      words += countPasses(bytes, at, end, table, counted);
    } else {
      const found = kernel.find(bytes, at, end);
      table.addFound(found);
      words += found;
      counted?.(found);
    }
  }
  return words;
}

/** Behind the last separator in ASCII of the next chunk; or the first that follows, if the chunk has none; or the end. */
function chunkEnd(bytes: Uint8Array, at: number, to: number): number {
  if (to - at <= CHUNK_BYTES) return to;
  for (let end = at + CHUNK_BYTES; end > at; end--) if (isAsciiSeparator(bytes[end - 1]!)) return end;
  for (let end = at + CHUNK_BYTES; end < to; end++) if (isAsciiSeparator(bytes[end]!)) return end;
  return to;
}

function isAsciiSeparator(byte: number): boolean {
  return byte < 0x80 && LETTERS_BELOW_800[byte] === 0;
}

/** In JavaScript. */
function countPasses(
  bytes: Uint8Array,
  from: number,
  to: number,
  table: CountTable,
  counted?: (words: number) => void,
): number {
  if (to + SLACK_BYTES > bytes.length) {
    const copy = new Uint8Array(to - from + SLACK_BYTES);
    copy.set(bytes.subarray(from, to));
    return countPasses(copy, 0, to - from, table, counted);
  }
  const finder = spareFinder ?? new EdgeFinder();
  spareFinder = undefined;
  finder.begin(bytes, from, to);
  let words = 0;
  while (finder.next()) {
    table.addRanges(bytes, finder.edges, finder.words);
    words += finder.words;
    counted?.(finder.words);
  }
  spareFinder = finder;
  return words;
}

/** Calls `visit` with the ends of each word in bytes [from, to), in order. It may itself look for words. */
export function eachWord(
  bytes: Uint8Array,
  from: number,
  to: number,
  visit: (from: number, to: number) => void,
): void {
  const finder = spareFinder ?? new EdgeFinder();
  spareFinder = undefined;
  finder.begin(bytes, from, to);
  while (finder.next()) {
    for (let i = 0; i < finder.words; i++) visit(finder.edges[2 * i]!, finder.edges[2 * i + 1]!);
  }
  spareFinder = finder;
}

/** It has 64 KiB of memory, too much to be made for every line of a text. */
let spareFinder: EdgeFinder | undefined;

/** Finds the words of a block, some thousands at a time. */
class EdgeFinder {
  /** Where a word begins, where it ends, where the next begins, ... */
  readonly edges = new Int32Array(EDGES_MAX);
  words = 0;
  /** Which bytes of each group belong to letters. */
  readonly #bitmaps = new Int32Array(GROUPS_PER_PASS);
  /** The groups with bytes that are not ASCII. */
  readonly #unusual = new Int32Array(GROUPS_PER_PASS);
  #bytes: Uint8Array = new Uint8Array(0);
  #view: Int32Array = new Int32Array(0);
  /** Where the view begins in `#bytes`: the first byte whose place in memory is a multiple of four. */
  #skew = 0;
  #at = 0;
  #to = 0;
  /** What of `edges` is used: odd inside a word. */
  #count = 0;
  /** Bytes at the beginning of what comes next that belong to a rune looked at before, and whether it is a letter. */
  #decided = 0;
  #decidedLetter = false;

  begin(bytes: Uint8Array, from: number, to: number): void {
    this.#bytes = bytes;
    this.#at = from;
    this.#to = to;
    this.#count = 0;
    this.words = 0;
    this.#decided = 0;
    this.#skew = Math.min(-bytes.byteOffset & 3, bytes.length);
    const aligned = bytes.byteOffset + this.#skew;
    const fours = (bytes.length - this.#skew) >> 2;
    this.#view = fours === 0 ? new Int32Array(0) : new Int32Array(bytes.buffer, aligned, fours);
  }

  /** False at the end; else `edges` has `words` more words. */
  next(): boolean {
    if (this.#at >= this.#to) return false;
    // A word that goes on from the last pass: its beginning is the last edge of it.
    if (this.#count % 2 === 1) this.edges[0] = this.edges[this.#count - 1]!;
    this.#count %= 2;
    const first = Math.ceil((this.#at - this.#skew) / GROUP_BYTES);
    const end = Math.min(Math.floor((this.#to - this.#skew) / GROUP_BYTES), first + GROUPS_PER_PASS);
    if (first >= end) {
      this.#singly(this.#to);
    } else {
      if (this.#at < this.#skew + first * GROUP_BYTES) this.#singly(this.#skew + first * GROUP_BYTES);
      this.#groups(first, end);
      this.#at = this.#skew + end * GROUP_BYTES;
    }
    if (this.#at === this.#to && this.#count % 2 === 1) this.edges[this.#count++] = this.#to;
    this.words = this.#count >> 1;
    return true;
  }

  /** Rune by rune, for the ends that are no whole group. */
  #singly(to: number): void {
    const bytes = this.#bytes;
    let at = this.#at;
    while (at < to) {
      let length = 0;
      let letter = this.#decidedLetter;
      if (this.#decided > 0) {
        length = this.#decided;
        this.#decided = 0;
      } else {
        const rune = runeAt(bytes, at, this.#to);
        letter = rune > 0;
        length = letter ? rune : -rune;
      }
      if (letter !== (this.#count % 2 === 1)) this.edges[this.#count++] = at;
      at += length;
    }
    if (at > to) {
      this.#decided = at - to;
      this.#decidedLetter = this.#count % 2 === 1;
    }
    this.#at = to;
  }

  /**
   * Three passes, each of one loop without calls: such a loop the compiler frees of nearly all checks of what the arrays
   * are (measured: a third of the instructions).
   */
  #groups(first: number, end: number): void {
    const runes = findAsciiLetters(this.#view, first, end, this.#bitmaps, this.#unusual);
    for (let i = 0; i < runes; i++) {
      const group = this.#unusual[i]!;
      this.#bitmaps[group - first]! |= this.#runes(this.#skew + group * GROUP_BYTES, group * 8);
    }
    const base = this.#skew + first * GROUP_BYTES;
    this.#count = findEdges(this.#bitmaps, end - first, base, this.edges, this.#count);
  }

  /** Which of the 32 bytes at `base` belong to letters that are not ASCII; they are eight numbers in the view. */
  #runes(base: number, inView: number): number {
    const bytes = this.#bytes;
    const letters800 = LETTERS_BELOW_800;
    let letters = 0;
    let left = 0;
    for (let i = 0; i < 8; i++) left |= highBits(this.#view[inView + i]!) << (4 * i);
    if (this.#decided > 0) {
      const mask = (1 << this.#decided) - 1;
      left &= ~mask;
      if (this.#decidedLetter) letters = mask;
      this.#decided = 0;
    }
    while (left !== 0) {
      const offset = 31 - Math.clz32(left & -left);
      const at = base + offset;
      const lead = bytes[at]!;
      let letter = false;
      let length = 1;
      if ((lead & 0xe0) === 0xc0 && lead >= 0xc2 && at + 1 < this.#to && (bytes[at + 1]! & 0xc0) === 0x80) {
        letter = letters800[((lead & 0x1f) << 6) | (bytes[at + 1]! & 0x3f)] === 1;
        length = 2;
      } else {
        const rune = runeAt(bytes, at, this.#to);
        letter = rune > 0;
        length = letter ? rune : -rune;
      }
      const mask = ((1 << length) - 1) << offset;
      left &= ~mask;
      if (letter) letters |= mask;
      if (offset + length > GROUP_BYTES) {
        this.#decided = offset + length - GROUP_BYTES;
        this.#decidedLetter = letter;
      }
    }
    return letters;
  }
}

/** The bitmaps of groups [first, end); how many of them are not all ASCII, and these in `unusual`. */
function findAsciiLetters(
  view: Int32Array,
  first: number,
  end: number,
  bitmaps: Int32Array,
  unusual: Int32Array,
): number {
  let found = 0;
  for (let group = first; group < end; group++) {
    const i = group << 3;
    const a = view[i]!;
    const b = view[i | 1]!;
    const c = view[i | 2]!;
    const d = view[i | 3]!;
    const e = view[i | 4]!;
    const f = view[i | 5]!;
    const g = view[i | 6]!;
    const h = view[i | 7]!;
    bitmaps[(group - first) | 0] =
      asciiLetters(a) |
      (asciiLetters(b) << 4) |
      (asciiLetters(c) << 8) |
      (asciiLetters(d) << 12) |
      (asciiLetters(e) << 16) |
      (asciiLetters(f) << 20) |
      (asciiLetters(g) << 24) |
      (asciiLetters(h) << 28);
    if (((a | b | c | d | e | f | g | h) & 0x80808080) !== 0) unusual[found++] = group;
  }
  return found;
}

/** Adds the edges in the bitmaps of bytes from `base` on; `count` and the result: how many edges there are. */
function findEdges(
  bitmaps: Int32Array,
  groups: number,
  base: number,
  edges: Int32Array,
  count: number,
): number {
  let found = count;
  let inWord = count & 1;
  let changes = 0;
  // Of the last byte of a group: clz32 counts from it.
  let at = base - 1;
  for (let group = 0; ; ) {
    if (changes !== 0) {
      edges[found] = (at - Math.clz32(changes & -changes)) | 0;
      found = (found + 1) | 0;
      changes &= (changes - 1) | 0;
    } else {
      if (group === groups) return found;
      const letters = bitmaps[group++]!;
      at = (at + 32) | 0;
      changes = letters ^ ((letters << 1) | inWord);
      inWord = letters >>> 31;
    }
  }
}

/** Four bits, the lowest for the first byte: which of the four bytes are ASCII letters. */
function asciiLetters(four: number): number {
  const low = (four | 0x20202020) & 0x7f7f7f7f;
  // Bit 7 of each byte: at least 'a', and not over 'z'. No carry leaves a byte, for the bytes are below 128.
  const found = (low + 0x1f1f1f1f) & ~(low + 0x05050505) & ~four & 0x80808080;
  return Math.imul(found >>> 7, 0x10204080) >>> 28;
}

function highBits(four: number): number {
  return Math.imul((four & 0x80808080) >>> 7, 0x10204080) >>> 28;
}
