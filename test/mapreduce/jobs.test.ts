import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import {
  builtin,
  type TestInput,
  type TestJob,
  type TestOptions,
  viaSequential,
  viaTasks,
} from './run-tasks.ts';

/** Through the tasks, which must be what sequential execution gives. */
function run(job: TestJob, input: TestInput, options: TestOptions = {}): string {
  const { text, left } = viaTasks(job, input, options);
  expect(viaSequential(job, input, options).text).toBe(text);
  expect(left).toEqual([]);
  return text;
}

describe('wc', () => {
  test('counts words, with their case, in the order of their bytes', () => {
    expect(run(builtin('wc'), { 'a.txt': 'the cat, The dog; the end\n' })).toBe(
      'The: 1\ncat: 1\ndog: 1\nend: 1\nthe: 2\n',
    );
  });

  test('takes letters of all scripts, and nothing else, for words', () => {
    const text = "l'été naïve Ωmega слово2слово 中文。日本 don't a_b x-y";
    expect(run(builtin('wc'), { 'a.txt': text }).split('\n')).toEqual(
      ['a: 1', 'b: 1', 'don: 1', 'l: 1', 'naïve: 1', 't: 1', 'x: 1', 'y: 1', 'été: 1', 'Ωmega: 1'].concat([
        'слово: 2',
        '中文: 1',
        '日本: 1',
        '',
      ]),
    );
  });

  test('separates words by bytes that are not UTF-8', () => {
    const bytes = Uint8Array.of(0x61, 0xff, 0x62, 0xc3, 0x63, 0x80, 0xed, 0xa0, 0x80, 0x64);
    expect(run(builtin('wc'), { 'a.txt': bytes })).toBe('a: 1\nb: 1\nc: 1\nd: 1\n');
  });

  test('orders by bytes, not by UTF-16 units', () => {
    // U+FB00 is before U+20000 in bytes, and behind its surrogates in UTF-16.
    expect(run(builtin('wc'), { 'a.txt': '\u{20000} \ufb00' })).toBe('\ufb00: 1\n\u{20000}: 1\n');
  });

  test('gives nothing for files without words, and for none', () => {
    expect(run(builtin('wc'), { 'a.txt': '1 2 3\n', 'b.txt': '' })).toBe('');
    expect(run(builtin('wc'), {})).toBe('');
  });

  test('counts what it has done', () => {
    const input = { 'a.txt': 'a b a', 'b.txt': 'c' };
    expect(viaTasks(builtin('wc'), input).counters).toEqual({ words: 4, 'distinct words': 3 });
    expect(viaSequential(builtin('wc'), input).counters).toEqual({ words: 4, 'distinct words': 3 });
  });

  test('reads what gzip has compressed, several members too', () => {
    const packed = Buffer.concat([gzipSync('a b '), gzipSync('b c')]);
    expect(run(builtin('wc'), { 'a.gz': packed, 'b.txt': 'c' })).toBe('a: 1\nb: 2\nc: 2\n');
  });
});

describe('ii', () => {
  test('lists the documents of each word once, in the order of their bytes', () => {
    const input = { 'b.txt': 'x y x', 'a.txt': 'x', 'B.txt': 'y z' };
    expect(run(builtin('ii'), input)).toBe('x: 2 a.txt,b.txt\ny: 2 B.txt,b.txt\nz: 1 B.txt\n');
  });

  test('lists a document once, in however many splits a word is', () => {
    const cuts = (bytes: number) => [bytes >> 2, bytes >> 1];
    expect(run(builtin('ii'), { 'a.txt': 'x y x y x y x y x y' }, { cuts })).toBe('x: 1 a.txt\ny: 1 a.txt\n');
  });
});

describe('grep', () => {
  test('gives the lines as they are, in the order of the input', () => {
    const input = { 'b.txt': 'one\ntwo\nthree\n', 'a.txt': 'four\ntwo' };
    const options = { reducers: 3, cuts: (bytes: number) => [bytes >> 1] };
    expect(run(builtin('grep', { pattern: 't.?o|^f' }), input, options)).toBe('two\nfour\ntwo\n');
  });

  test('puts the file in front when it is told to', () => {
    const args = { pattern: 'two', 'with-filename': 'yes' };
    const input = { 'b.txt': 'one\ntwo\n', 'a.txt': 'two x' };
    expect(run(builtin('grep', args), input, { args })).toBe('b.txt:two\na.txt:two x\n');
  });

  test('keeps bytes that are not UTF-8', () => {
    const line = Buffer.from([0x61, 0xff, 0x62]);
    const { bytes } = viaTasks(builtin('grep', { pattern: 'a.b' }), { 'a.txt': line });
    expect(bytes).toEqual(Buffer.concat([line, Buffer.from('\n')]));
  });

  test('finds a literal as it finds any pattern', () => {
    const text = 'xaab\n\naab\nab\naabaab\nno\naab';
    const lines = 'xaab\naab\naabaab\naab\n';
    expect(run(builtin('grep', { pattern: 'aab' }), { 'a.txt': text })).toBe(lines);
    expect(run(builtin('grep', { pattern: '(?:aab)' }), { 'a.txt': text })).toBe(lines);
  });

  test('knows letters in both cases, and code points', () => {
    expect(run(builtin('grep', { pattern: 'É', 'ignore-case': 'yes' }), { 'a.txt': 'été\nE\n' })).toBe(
      'été\n',
    );
    expect(run(builtin('grep', { pattern: '^.$' }), { 'a.txt': '\u{1f600}\nab\n' })).toBe('\u{1f600}\n');
  });

  test('has all lines of a file in one part, in order', () => {
    const text = Array.from({ length: 50 }, (_, i) => `line ${i}\n`).join('');
    const input = { 'a.txt': text, 'b.txt': text, 'c.txt': text };
    const options = { reducers: 4, cuts: (bytes: number) => [10, bytes >> 1] };
    const job = builtin('grep', { pattern: 'line' });
    const parts = viaTasks(job, input, options).parts.filter((part) => part !== '');
    for (const part of parts) expect(part.length % text.length).toBe(0);
    expect(viaSequential(job, input, options).parts.filter((part) => part !== '')).toEqual(parts);
  });

  test('refuses a pattern that is none', () => {
    expect(() => builtin('grep', { pattern: '(' })).toThrow('grep: Invalid regular expression');
    expect(() => builtin('grep')).toThrow('grep needs a pattern');
  });
});

describe('sort', () => {
  test('orders lines by their bytes, and keeps duplicates', () => {
    expect(run(builtin('sort'), { 'a.txt': 'b\n\na\nB\n', 'b.txt': 'é\nb' })).toBe('\nB\na\nb\nb\né\n');
  });

  test('keeps carriage returns and bytes of any kind', () => {
    const { bytes } = viaTasks(builtin('sort'), { 'a.txt': Uint8Array.of(0xff, 10, 0x61, 13, 10, 0, 10) });
    expect([...bytes]).toEqual([0, 10, 0x61, 13, 10, 0xff, 10]);
  });
});
