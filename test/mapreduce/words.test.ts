import { describe, expect, test } from 'vitest';
import { CountTable } from '../../src/mapreduce/count-table.ts';
import { CHUNK_BYTES } from '../../src/mapreduce/kernel-code.ts';
import { isLetter, runeAt } from '../../src/mapreduce/letters.ts';
import { openKernel } from '../../src/mapreduce/word-kernel.ts';
import { countWords, eachWord } from '../../src/mapreduce/words.ts';
import { SimRandom } from '../sim/random.ts';
import { naiveCounts, naiveWords, pick, randomText } from './texts.ts';

const CASES = Number(process.env.WORD_CASES ?? 3000);

/** One for all tables here, one after the other. */
const kernel = openKernel();

function wordsOf(bytes: Uint8Array, from = 0, to = bytes.length): string[] {
  const words: string[] = [];
  eachWord(bytes, from, to, (start, end) => words.push(Buffer.from(bytes.subarray(start, end)).toString()));
  return words;
}

function expectCounts(table: CountTable, words: readonly string[], hint: string): void {
  const counts = naiveCounts(words);
  expect(table.size, hint).toBe(counts.size);
  for (const [word, count] of counts) expect(table.count(Buffer.from(word)), `${hint}: ${word}`).toBe(count);
}

describe('letters', () => {
  test('are what \\p{L} says, for every code point', () => {
    const letter = /^\p{L}$/u;
    let different = 0;
    for (let codePoint = 0; codePoint <= 0x10ffff; codePoint++) {
      if (isLetter(codePoint) !== letter.test(String.fromCodePoint(codePoint))) different++;
    }
    expect(different).toBe(0);
  });

  test('a rune has its length, and nothing cut, overlong or surrogate is one', () => {
    for (const [text, rune] of [
      ['a', 1],
      ['1', -1],
      ['é', 2],
      ['×', -2],
      ['漢', 3],
      ['€', -3],
      ['𝒜', 4],
      ['😀', -4],
    ] as const) {
      const bytes = Buffer.from(text);
      expect(runeAt(bytes, 0, bytes.length), text).toBe(rune);
      if (bytes.length > 1) expect(runeAt(bytes, 0, bytes.length - 1), `${text} cut`).toBe(-1);
    }
    for (const hex of ['80', 'c1a1', 'e08080', 'eda080', 'f0808080', 'f4908080', 'f5808080', 'ff']) {
      expect(runeAt(Buffer.from(hex, 'hex'), 0, hex.length / 2), hex).toBe(-1);
    }
  });
});

describe('words', () => {
  test('are maximal runs of letters, case kept, and invalid UTF-8 separates', () => {
    expect(wordsOf(Buffer.from("The the THE, don't x2y über-Größe 漢字 a_b"))).toEqual([
      'The',
      'the',
      'THE',
      'don',
      't',
      'x',
      'y',
      'über',
      'Größe',
      '漢字',
      'a',
      'b',
    ]);
    expect(wordsOf(Buffer.from('6162ff6364c3a9a965', 'hex'))).toEqual(['ab', 'cdé', 'e']);
  });

  test(`${CASES} random texts give what a regular expression finds, at any place in memory`, () => {
    for (let seed = 0; seed < CASES; seed++) {
      const random = new SimRandom(seed);
      const text = randomText(random, seed % 10 === 0 ? 2000 : 100);
      const words = naiveWords(text);
      const before = random.below(40);
      // What lies around the text would be letters, and the rest of runes.
      const around = Buffer.alloc(before + text.length + random.below(12), random.chance(0.5) ? 0x61 : 0xa9);
      around.set(text, before);
      const bytes = around.subarray(random.below(before + 1));
      const from = before - (around.length - bytes.length);
      expect(wordsOf(bytes, from, from + text.length), `seed ${seed}`).toEqual(words);
      for (const table of [new CountTable(), new CountTable(kernel)]) {
        expect(countWords(bytes, from, from + text.length, table), `seed ${seed}`).toBe(words.length);
        expectCounts(table, words, `seed ${seed}`);
      }
    }
  });

  test('a text of many passes is one: words and runes across them are whole', () => {
    for (let shift = 0; shift < 40; shift++) {
      const text = Buffer.from(' '.repeat(shift) + `${'é漢𝒜'.repeat(20)} Straße `.repeat(600));
      for (const table of [new CountTable(), new CountTable(kernel)]) {
        expect(countWords(text, 0, text.length, table)).toBe(1200);
        expect(table.count(Buffer.from('Straße'))).toBe(600);
        expect(table.count(Buffer.from('é漢𝒜'.repeat(20)))).toBe(600);
      }
    }
  });

  test('a word is as long as it is', () => {
    const text = Buffer.alloc(300_000, 'x');
    expect(wordsOf(text)).toEqual([text.toString()]);
    for (const table of [new CountTable(), new CountTable(kernel)]) {
      countWords(text, 1, text.length - 1, table);
      expect(table.count(text.subarray(2))).toBe(1);
    }
  });

  test('a visit may look for words itself', () => {
    const text = Buffer.from('one two three');
    const seen: string[] = [];
    eachWord(text, 0, text.length, (from, to) => seen.push(`${from}:${wordsOf(text, from, to)}`));
    expect(seen).toEqual(['0:one', '4:two', '8:three']);
  });

  test('a word ends where a chunk does, or the text, and nothing behind it counts', () => {
    for (const length of [CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES]) {
      for (const last of [1, 8, 9, 64, 500]) {
        const text = Buffer.alloc(length + 100, 'ab cdefghijk ');
        text.fill(0x20, length - last - 1, length - last);
        text.fill(0x7a, length - last);
        const words = naiveWords(text.subarray(0, length));
        const table = new CountTable(kernel);
        expect(countWords(text, 0, length, table)).toBe(words.length);
        expectCounts(table, words, `${length} ${last}`);
      }
    }
  });

  test('text without a separator in ASCII for more than a chunk is counted all the same', () => {
    const text = Buffer.from(
      `one ${'漢字。'.repeat(CHUNK_BYTES / 4)} two ${'x'.repeat(CHUNK_BYTES * 2)} two`,
    );
    const table = new CountTable(kernel);
    expect(countWords(text, 0, text.length, table)).toBe(naiveWords(text).length);
    expectCounts(table, naiveWords(text), 'without separators');
  });

  test('many different words, long ones too, make the table grow in the middle of a chunk', () => {
    const random = new SimRandom(3);
    const letters = (length: number) =>
      Array.from({ length }, () => String.fromCharCode(0x61 + random.below(26))).join('');
    const vocabulary = Array.from({ length: 40_000 }, () => letters(1 + random.below(24)));
    const words = Array.from({ length: 120_000 }, () => pick(vocabulary, random));
    const text = Buffer.from(words.join(' '));
    const table = new CountTable(kernel);
    expect(countWords(text, 0, text.length, table)).toBe(words.length);
    expectCounts(table, words, 'many words');
    table.clear();
    expect(countWords(text, 0, 1000, table)).toBe(naiveWords(text.subarray(0, 1000)).length);
    expectCounts(table, naiveWords(text.subarray(0, 1000)), 'after clear');
    table.clear(true);
    expect(table.kernel).not.toBe(kernel);
    expect(countWords(text, 0, text.length, table)).toBe(words.length);
    expectCounts(table, words, 'after release');
  });

  test('the kernel is there, and counts over 2^32', () => {
    const table = new CountTable(kernel);
    expect(table.kernel).toBeDefined();
    const word = Buffer.from('word longerWord');
    table.add(word, 0, 4, 2 ** 32 - 2);
    table.add(word, 5, 15, 2 ** 32 - 2);
    for (let i = 0; i < 4; i++) countWords(word, 0, word.length, table);
    expect(table.count(word.subarray(0, 4))).toBe(2 ** 32 + 2);
    expect(table.count(word.subarray(5))).toBe(2 ** 32 + 2);
    for (let i = 0; i < 5000; i++) table.add(Buffer.from(`other ${i}`), 0, `other ${i}`.length, 1);
    expect(table.count(word.subarray(0, 4))).toBe(2 ** 32 + 2);
    expect(table.count(word.subarray(5))).toBe(2 ** 32 + 2);
  });
});
