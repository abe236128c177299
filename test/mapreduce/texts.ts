/** Random text that tries word-finding hard, and the plain way to find the words in it. */
import { Buffer } from 'node:buffer';
import type { SimRandom } from '../sim/random.ts';

const text = (characters: string) => [...characters].map((each) => Buffer.from(each));

const LETTERS = text('abzAZké');
const OTHER_LETTERS = text('éßñÿıЖяΩאع漢語ความ한ªº𝒜𐐷𠀋ʰ');
const SEPARATORS = text(' \n\t.,0_\'"@[`{\0\x7f');
const OTHER_SEPARATORS = text('–“”…×÷٠́\u200d\u00a0€😀\ufffd\ufeff۔');
/** Not valid UTF-8, whatever follows. */
const INVALID = ['80', 'bf', 'c0', 'c1af', 'c3', 'e2', 'e282', 'e08080', 'eda080', 'edbfbf', 'f0', 'f09f98']
  .concat(['f0808080', 'f4908080', 'f5', 'f8', 'fe', 'ff'])
  .map((hex) => Buffer.from(hex, 'hex'));

export function randomText(random: SimRandom, piecesMax: number): Buffer {
  const asciiShare = random.fraction();
  const letterShare = random.fraction();
  const invalidShare = random.chance(0.5) ? 0 : random.fraction() * 0.3;
  const pieces: Buffer[] = [];
  const count = random.below(piecesMax + 1);
  for (let i = 0; i < count; i++) {
    if (random.chance(invalidShare)) pieces.push(pick(INVALID, random));
    else if (random.chance(asciiShare)) {
      pieces.push(pick(random.chance(letterShare) ? LETTERS : SEPARATORS, random));
    } else pieces.push(pick(random.chance(letterShare) ? OTHER_LETTERS : OTHER_SEPARATORS, random));
  }
  return Buffer.concat(pieces);
}

export function naiveWords(bytes: Uint8Array): string[] {
  return new TextDecoder().decode(bytes).match(/\p{L}+/gu) ?? [];
}

export function naiveCounts(words: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
}

export function pick<T>(from: readonly T[], random: SimRandom): T {
  return from[random.below(from.length)]!;
}

/** In the order of their bytes. */
export function sortedByBytes(keys: Iterable<string>): string[] {
  return [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}
