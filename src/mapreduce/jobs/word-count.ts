/** `wc`: how often each word occurs, as lines `word: count` in the order of the words' bytes. The job of the paper. */
import { Buffer } from 'node:buffer';
import { PrefixViews } from '../prefix-views.ts';
import type { CountingJob } from './byte-job.ts';

export const wordCount: CountingJob = {
  records: 'chunk',
  gather: 'counts',
  map({ bytes, from, to }, counts, context) {
    context.count('words', counts.addWords(bytes, from, to));
  },
  rows(key, count, write, context) {
    context.count('distinct words');
    write({ key, count, line: countLine(key, count) });
  },
};

const DIGITS_MAX = 16;
let line = Buffer.allocUnsafe(256);
const views = new PrefixViews();

/** `key: count`; valid until the next call. */
function countLine(key: Uint8Array, count: number): Uint8Array {
  if (key.length + 2 + DIGITS_MAX > line.length) line = Buffer.allocUnsafe(2 * key.length + 2 + DIGITS_MAX);
  for (let i = 0; i < key.length; i++) line[i] = key[i]!;
  line[key.length] = 0x3a;
  line[key.length + 1] = 0x20;
  let end = key.length + 2;
  for (let rest = count; rest >= 10; rest = Math.floor(rest / 10)) end++;
  const length = end + 1;
  for (let rest = count; end >= key.length + 2; rest = Math.floor(rest / 10))
    line[end--] = 0x30 + (rest % 10);
  return views.of(line, length);
}
