import { describe, expect, test } from 'vitest';
import {
  eachBlock,
  eachBlockOfStream,
  InputChangedError,
  type RecordBoundary,
  RecordTooLongError,
} from '../../src/mapreduce/blocks.ts';
import { eachWord } from '../../src/mapreduce/words.ts';
import { SimRandom } from '../sim/random.ts';
import { MemoryFiles } from './memory-files.ts';
import { naiveWords, pick, randomText } from './texts.ts';

const CASES = Number(process.env.WORD_CASES ?? 3000);

function fileOf(content: Uint8Array) {
  const files = new MemoryFiles();
  files.put('input', content);
  return files.open('input');
}

/** `count` ranges that cover [0, bytes): some may be empty. */
function randomSplits(bytes: number, count: number, random: SimRandom): [number, number][] {
  const ends = Array.from({ length: count - 1 }, () => random.below(bytes + 1)).sort((a, b) => a - b);
  return [0, ...ends].map((from, i) => [from, ends[i] ?? bytes]);
}

function wordsIn(bytes: Uint8Array, from: number, to: number): string[] {
  const words: string[] = [];
  eachWord(bytes, from, to, (start, end) => words.push(Buffer.from(bytes.subarray(start, end)).toString()));
  return words;
}

function splitWords(text: Buffer, [from, to]: [number, number], blockBytes: number): string[] {
  const words: string[] = [];
  eachBlock(fileOf(text), { from, to, boundary: 'word', blockBytes }, (bytes, start, end, offset) => {
    expect(Buffer.from(bytes.subarray(start, end)).equals(text.subarray(offset, offset + end - start))).toBe(
      true,
    );
    eachWord(bytes, start, end, (wordFrom, wordTo) => {
      const at = offset + wordFrom - start;
      expect(at >= from && at < to, `a word at ${at} is in the split from ${from} to ${to}`).toBe(true);
      words.push(text.toString('utf8', at, at + wordTo - wordFrom));
    });
  });
  return words;
}

describe('the words of splits', () => {
  test(`${CASES} random texts, split anywhere, have each word once, whole, in the split where it begins`, () => {
    for (let seed = 0; seed < CASES; seed++) {
      const random = new SimRandom(seed);
      const text = randomText(random, 120);
      const blockBytes = 1 + random.below(70);
      const splits = randomSplits(text.length, 1 + random.below(6), random);
      const words = splits.flatMap((split) => splitWords(text, split, blockBytes));
      expect(words, `seed ${seed}`).toEqual(naiveWords(text));
    }
  });

  test('every split point and every block size of a difficult text gives the same words', () => {
    const text = Buffer.concat([
      Buffer.from('é漢a𝒜b–“über”漢。字 x'),
      Buffer.from('61c3a9a962c3', 'hex'),
      Buffer.from('z a'),
    ]);
    const words = naiveWords(text);
    for (let at = 0; at <= text.length; at++) {
      for (let blockBytes = 1; blockBytes <= 70; blockBytes++) {
        const found = [
          ...splitWords(text, [0, at], blockBytes),
          ...splitWords(text, [at, text.length], blockBytes),
        ];
        expect(found, `split at ${at}, blocks of ${blockBytes}`).toEqual(words);
      }
    }
  });

  test('a word longer than splits and blocks belongs to the first', () => {
    const text = Buffer.from(`a ${'é漢x'.repeat(5000)} b`);
    const splits = Array.from({ length: 10 }, (_, i): [number, number] => [
      Math.floor((text.length * i) / 10),
      Math.floor((text.length * (i + 1)) / 10),
    ]);
    const counts = splits.map((split) => splitWords(text, split, 100).length);
    expect(counts).toEqual([2, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
  });
});

describe('the lines of splits', () => {
  function lines(text: Buffer, [from, to]: [number, number], blockBytes: number): string {
    let found = '';
    eachBlock(fileOf(text), { from, to, boundary: 'line', blockBytes }, (bytes, start, end) => {
      const block = Buffer.from(bytes.subarray(start, end)).toString('latin1');
      expect(block.endsWith('\n') || text.toString('latin1').endsWith(block)).toBe(true);
      found += block;
    });
    return found;
  }

  test('are whole, and each is in the split where it begins', () => {
    for (let seed = 0; seed < 1000; seed++) {
      const random = new SimRandom(seed);
      const length = random.below(300);
      const text = Buffer.from(Array.from({ length }, () => pick('ab\r\n\n'.split(''), random)).join(''));
      for (const [from, to] of randomSplits(text.length, 4, random)) {
        const expected = text
          .toString()
          .split(/(?<=\n)/)
          .reduce<{ at: number; found: string }>(
            ({ at, found }, line) => ({
              at: at + line.length,
              found: at >= from && at < to ? found + line : found,
            }),
            { at: 0, found: '' },
          ).found;
        expect(lines(text, [from, to], 1 + random.below(30)), `seed ${seed}`).toBe(expected);
      }
    }
  });
});

describe('a stream', () => {
  test('gives the blocks of a file, however its bytes arrive', () => {
    for (let seed = 0; seed < 500; seed++) {
      const random = new SimRandom(seed);
      const text = randomText(random, 200);
      const words: string[] = [];
      let at = 0;
      const next = (target: Uint8Array) => {
        const length = Math.min(target.length, 1 + random.below(20), text.length - at);
        target.set(text.subarray(at, at + length));
        at += length;
        return length;
      };
      eachBlockOfStream(next, { boundary: 'word', blockBytes: 1 + random.below(70) }, (bytes, from, to) => {
        words.push(...wordsIn(bytes, from, to));
      });
      expect(words, `seed ${seed}`).toEqual(naiveWords(text));
    }
  });
});

describe('what cannot be read', () => {
  test.each<RecordBoundary>(['word', 'line'])(
    'a %s over the bound is an error that says where',
    (boundary) => {
      const text = Buffer.from(`ab\n${'x'.repeat(50_000)}`);
      const read = (from: number, to: number) =>
        eachBlock(
          fileOf(text),
          { from, to, boundary, blockBytes: 100, recordBytesMax: 10_000 },
          () => undefined,
        );
      expect(() => read(0, text.length)).toThrow(RecordTooLongError);
      expect(() => read(0, text.length)).toThrow(`a ${boundary} of more than 10000 bytes at byte 3`);
      expect(() => read(0, 10)).toThrow(RecordTooLongError);
    },
  );

  test('a file that has become shorter is an error', () => {
    const reader = fileOf(Buffer.from('one two three'));
    const longer = { ...reader, bytes: 100 };
    const read = (from: number, to: number) =>
      eachBlock(longer, { from, to, boundary: 'word' }, () => undefined);
    expect(() => read(0, 100)).toThrow(InputChangedError);
    expect(() => read(5, 50)).toThrow(InputChangedError);
  });
});
