/** `wc`: how often each word occurs, as lines `word: count` in the order of the words' bytes. The job of the paper. */
import { Buffer } from 'node:buffer';
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

let line = Buffer.allocUnsafe(256);

/** `key: count`; valid until the next call. */
function countLine(key: Uint8Array, count: number): Uint8Array {
  if (key.length + 24 > line.length) line = Buffer.allocUnsafe(2 * key.length + 24);
  line.set(key, 0);
  line[key.length] = 0x3a;
  line[key.length + 1] = 0x20;
  const digits = line.write(String(count), key.length + 2, 'latin1');
  return line.subarray(0, key.length + 2 + digits);
}
