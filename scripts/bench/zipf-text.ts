/**
 * Text for measurements: words in Zipf's distribution (s = 1), the same bytes for the same options on any machine.
 *
 * Like English in what costs time: 4.4 letters a word, 5.6 bytes a word with what separates it, 5 % of the words longer
 * than 8 letters. `accented` puts an accented letter into 15 % of the vocabulary, writes 2 % of it in Cyrillic, and uses
 * typographic punctuation. `uniform` takes every word equally often: the worst case for a table of counts.
 */
import { Buffer } from 'node:buffer';
import { closeSync, openSync, writeSync } from 'node:fs';

export interface ZipfTextOptions {
  readonly seed?: number;
  /** In the vocabulary; a long text contains nearly all of them. 200,000 unless given, at most 10 million. */
  readonly distinctWords?: number;
  readonly accented?: boolean;
  readonly uniform?: boolean;
}

const CHUNK_BYTES = 1 << 20;
const SHORT_WORDS = 1000;
/** Of the words that are not short, so many of 100 have at most so many letters. */
const LENGTHS = [
  [22, 5],
  [48, 6],
  [70, 7],
  [88, 8],
  [94, 9],
  [97, 10],
  [99, 12],
  [100, 14],
] as const;
const STEM_LETTERS = 5;
const STEMS = 26 ** STEM_LETTERS;
/** Prime to 26, so that a rank times it, modulo STEMS, is another stem for each rank. */
const STEM_STRIDE = 4_871_309;
const ACCENTED = 'éèêàâäöüßñçåøšžłăő';
const CYRILLIC = 'абвгдежзийклмнопрстуфхцчшщ';
const ENDS = [', ', '. ', '; ', ': ', '\n', '.\n', ' - ', "'s "];
const TYPOGRAPHIC_ENDS = [', ', '. ', ' – ', '… ', '\n', '.\n', ' “', '” ', '’', ' « '];
const SPACE_PERCENT = 85;

/** A file of exactly `megabytes` million bytes. */
export function writeZipfText(path: string, megabytes: number, options: ZipfTextOptions = {}): void {
  const file = openSync(path, 'w');
  try {
    for (const chunk of zipfText(megabytes * 1_000_000, options)) writeSync(file, chunk);
  } finally {
    closeSync(file);
  }
}

/** Exactly `bytes` bytes, in chunks that are the caller's. The last word may be cut; a letter is not. */
export function* zipfText(bytes: number, options: ZipfTextOptions = {}): Generator<Buffer> {
  const random = generator(options.seed ?? 1);
  const words = new Vocabulary(options, random);
  const ends = (options.accented ? TYPOGRAPHIC_ENDS : ENDS).map((end) => Buffer.from(end));
  const rank = options.uniform ? () => random() % words.count : zipfRanks(words.count, random);
  for (let left = bytes; left > 0; ) {
    const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, left), ' ');
    let at = 0;
    while (true) {
      const word = rank();
      const from = words.offsets[word]!;
      const to = words.offsets[word + 1]!;
      if (at + to - from > chunk.length) break;
      for (let i = from; i < to; i++) chunk[at++] = words.bytes[i]!;
      const choice = random() % 100;
      const end = ends[choice % ends.length]!;
      if (choice < SPACE_PERCENT || at + end.length > chunk.length) at++;
      else for (let i = 0; i < end.length; i++) chunk[at++] = end[i]!;
    }
    left -= chunk.length;
    yield chunk;
  }
}

/** All words behind each other, by rank. */
class Vocabulary {
  readonly count: number;
  readonly bytes: Buffer;
  readonly offsets: Uint32Array;

  constructor({ distinctWords = 200_000, accented = false }: ZipfTextOptions, random: () => number) {
    this.count = distinctWords;
    this.offsets = new Uint32Array(distinctWords + 1);
    this.bytes = Buffer.alloc(distinctWords * 32);
    const short = new Set<string>();
    for (let rank = 0; rank < distinctWords; rank++) {
      let word = rank < SHORT_WORDS ? shortWord(rank, short, random) : longWord(rank, random);
      // Letters put in or traded one for one leave different words different.
      const kind = random() % 100;
      if (accented && kind < 15) {
        word = word.slice(0, 2) + ACCENTED[random() % ACCENTED.length]! + word.slice(2);
      } else if (accented && kind < 17) {
        word = [...word].map((letter) => CYRILLIC[letter.charCodeAt(0) - 97]!).join('');
      }
      const at = this.offsets[rank]!;
      this.offsets[rank + 1] = at + this.bytes.write(word, at);
    }
  }
}

function shortWord(rank: number, taken: Set<string>, random: () => number): string {
  const lettersMax = rank < 10 ? 2 : rank < 100 ? 3 : 4;
  while (true) {
    const letters = rank < 100 ? lettersMax - (random() % 4 === 0 ? 1 : 0) : lettersMax;
    const word = randomLetters(letters, random);
    if (taken.has(word)) continue;
    taken.add(word);
    return word;
  }
}

function longWord(rank: number, random: () => number): string {
  const percent = random() % 100;
  const letters = LENGTHS.find(([below]) => percent < below)![1];
  let stem = Number((BigInt(rank) * BigInt(STEM_STRIDE)) % BigInt(STEMS));
  let word = '';
  for (let i = 0; i < STEM_LETTERS; i++) {
    word += String.fromCharCode(97 + (stem % 26));
    stem = Math.floor(stem / 26);
  }
  return word + randomLetters(letters - STEM_LETTERS, random);
}

function randomLetters(count: number, random: () => number): string {
  let letters = '';
  for (let i = 0; i < count; i++) letters += String.fromCharCode(97 + (random() % 26));
  return letters;
}

/** Ranks from 0 on, rank r with a probability in proportion to 1 / (r + 1). */
function zipfRanks(count: number, random: () => number): () => number {
  const cumulative = new Float64Array(count);
  let sum = 0;
  for (let rank = 0; rank < count; rank++) {
    sum += 1 / (rank + 1);
    cumulative[rank] = sum;
  }
  // Where to begin the search: the first rank of each of a million equal parts of the probability.
  const guide = new Uint32Array(1 << 20);
  let first = 0;
  for (let part = 0; part < guide.length; part++) {
    while (cumulative[first]! < (part / guide.length) * sum) first++;
    guide[part] = first;
  }
  return () => {
    const point = (random() + random() / 2 ** 32) / 2 ** 32;
    let rank = guide[Math.floor(point * guide.length)]!;
    while (rank < count - 1 && cumulative[rank]! < point * sum) rank++;
    return rank;
  };
}

/** sfc32 (Doty-Humphrey, PractRand): 32 bits at a time. */
function generator(seed: number): () => number {
  let a = 0x9e3779b9;
  let b = seed | 0;
  let c = 0x243f6a88;
  let counter = 1;
  const next = () => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 16; i++) next();
  return next;
}
