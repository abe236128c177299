/** Random texts, cut at random places, with little memory: the tasks, sequential execution, and the naive way agree. */
import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { builtin, type TestInput, type TestJob, viaSequential, viaTasks } from './run-tasks.ts';

const RUNS = Number(process.env.MAPREDUCE_RUNS ?? 80);

/** Pieces of text that are hard to cut right. */
const piece = fc
  .oneof(
    fc.constantFrom(
      'a',
      'b',
      'ab',
      'the ',
      ' ',
      '\n',
      '\r\n',
      '1',
      "'",
      'é',
      'Ω',
      'слово',
      '中',
      '\u{20000}',
      '\u{1f600}',
    ),
    fc.constantFrom('\u0301', '\ufeff', '\ufffd', '\u2028', '\ue000', '\0'),
    fc.string({ unit: 'binary', maxLength: 6 }),
  )
  .map((text) => Buffer.from(text));
const rubbish = fc.constantFrom(
  [0xff],
  [0x80],
  [0xc3],
  [0xe4, 0xb8],
  [0xed, 0xa0, 0x80],
  [0xf0, 0xa0],
  [0xc0, 0x80],
);
const content = fc
  .array(fc.oneof({ weight: 8, arbitrary: piece }, { weight: 1, arbitrary: rubbish.map(Buffer.from) }), {
    maxLength: 60,
  })
  .map((pieces) => Buffer.concat(pieces));
const scenario = fc.record({
  contents: fc.array(content, { minLength: 1, maxLength: 4 }),
  places: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
  reducers: fc.integer({ min: 1, max: 7 }),
});

function check(begin: () => TestJob, naive?: (input: TestInput) => string): void {
  fc.assert(
    fc.property(scenario, ({ contents, places, reducers }) => {
      const input = Object.fromEntries(contents.map((bytes, i) => [`/in/${9 - i}.txt`, bytes]));
      const cuts = (bytes: number) =>
        [...new Set(places.map((each) => Math.floor(each * bytes)))].sort((a, b) => a - b);
      const job = begin();
      const sequential = viaSequential(job, input, { reducers });
      const tasks = viaTasks(job, input, { reducers, cuts, memoryBytes: 1 });
      expect(tasks.bytes.equals(sequential.bytes)).toBe(true);
      expect(tasks.parts).toEqual(sequential.parts);
      expect(tasks.left).toEqual([]);
      if (naive !== undefined) expect(tasks.text).toBe(naive(input));
    }),
    { numRuns: RUNS },
  );
}

function wordsOf(content: string | Uint8Array): string[] {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(content as Uint8Array).match(/\p{L}+/gu) ?? [];
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

test('wc of any bytes, cut anywhere, is what a regular expression finds', () => {
  check(
    () => builtin('wc'),
    (input) => {
      const counts = new Map<string, number>();
      for (const word of Object.values(input).flatMap(wordsOf)) counts.set(word, (counts.get(word) ?? 0) + 1);
      return [...counts.keys()]
        .sort(byBytes)
        .map((word) => `${word}: ${counts.get(word)}\n`)
        .join('');
    },
  );
});

test('ii of any bytes, cut anywhere, is what a regular expression finds', () => {
  check(
    () => builtin('ii'),
    (input) => {
      const words = new Set(Object.values(input).flatMap(wordsOf));
      const lines = [...words].sort(byBytes).map((word) => {
        const documents = Object.keys(input)
          .filter((path) => wordsOf(input[path]!).includes(word))
          .sort();
        return `${word}: ${documents.length} ${documents.join(',')}\n`;
      });
      return lines.join('');
    },
  );
});

test('sort of any bytes, cut anywhere, is what sequential execution gives', () => {
  check(() => builtin('sort'));
});

test('grep of any bytes, cut anywhere, is what sequential execution gives', () => {
  check(() => builtin('grep', { pattern: '[aé].' }));
  check(() => builtin('grep', { pattern: 'ab' }));
});

test('spills do not show: little memory, much text, the same bytes', () => {
  const words = Array.from({ length: 60_000 }, (_, i) =>
    `w${(i * 7919) % 9973}x`.replace(/\d/g, (d) => 'abcdefghij'[+d]!),
  );
  const input = { 'a.txt': words.slice(0, 30_000).join(' '), 'b.txt': words.slice(30_000).join('\n') };
  const cuts = (bytes: number) => [bytes >> 2, bytes >> 1];
  for (const name of ['wc', 'ii', 'sort'] as const) {
    const tasks = viaTasks(builtin(name), input, { reducers: 3, memoryBytes: 128 << 10, cuts });
    expect(tasks.counters['spilled bytes']).toBeGreaterThan(0);
    expect(tasks.bytes.equals(viaSequential(builtin(name), input).bytes)).toBe(true);
  }
});
