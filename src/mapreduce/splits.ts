/**
 * The splits of a job's input: pieces that map tasks read. A file is cut into byte ranges, wherever they may fall: a word
 * or line belongs to the range in which it begins (blocks.ts). What is compressed cannot be entered in the middle, and is
 * one split.
 *
 * Each split has a price: its task sorts and writes all the words that it has seen. Threads of one machine are equally fast
 * and seldom lost, so there is one split for each, up to a size at which doing one again would hurt. (The paper, with
 * machines that differ and fail, has many more map tasks than machines, of 16 to 64 MB; section 3.5.)
 */
import { assert } from '../lib/assert.ts';
import { ConfigError } from '../lib/errors.ts';
import type { InputFile } from './inputs.ts';
import type { Split } from './tasks.ts';

const SPLIT_BYTES_MIN = 4 << 20;
const SPLIT_BYTES_MAX = 512 << 20;

/** Each is a task that the master holds, and a file. */
export const SPLITS_MAX = 100_000;

/**
 * `splitBytes`: as the user wants it; else by the size of the input and the number of workers. Throws ConfigError when
 * there would be more than SPLITS_MAX.
 */
export function planSplits(
  files: readonly InputFile[],
  options: { workers: number; splitBytes?: number | undefined; wholeFiles?: boolean },
): Split[] {
  const totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const splitBytes = options.splitBytes ?? goodSplitBytes(totalBytes, options.workers);
  assert(splitBytes >= 1, 'a split has bytes', splitBytes);
  const wholeBytes = Number.MAX_SAFE_INTEGER;
  const bytesMax = options.wholeFiles ? wholeBytes : splitBytes;
  const count = files.reduce((sum, { bytes, gzip }) => sum + (gzip ? 1 : Math.ceil(bytes / bytesMax)), 0);
  if (count > SPLITS_MAX) {
    throw new ConfigError(
      `the input would be ${count} pieces, over ${SPLITS_MAX}: choose a larger --split, or fewer files at a time`,
    );
  }
  return files.flatMap((file) => splitsOf(file, bytesMax));
}

function goodSplitBytes(totalBytes: number, workers: number): number {
  const fair = Math.ceil(totalBytes / workers);
  return Math.min(Math.max(fair, SPLIT_BYTES_MIN), SPLIT_BYTES_MAX);
}

/** An empty file has no split. */
function splitsOf(input: InputFile, splitBytes: number): Split[] {
  const { path, bytes, modifiedMs, gzip } = input;
  const file = {
    path,
    fileBytes: bytes,
    modifiedMs,
    ...(input.name === undefined ? {} : { name: input.name }),
  };
  if (bytes === 0) return [];
  if (gzip) return [{ kind: 'gzip', ...file }];
  // Of one size each, rather than full ones and a rest.
  const count = Math.ceil(bytes / splitBytes);
  const end = (i: number) => Math.floor((bytes * i) / count);
  return Array.from({ length: count }, (_, i) => ({
    ...{ kind: 'range' as const, ...file, from: end(i), to: end(i + 1) },
  }));
}

export function splitBytesOf(split: Split): number {
  switch (split.kind) {
    case 'range':
      return split.to - split.from;
    case 'gzip':
    case 'records':
      return split.fileBytes;
    case 'bytes':
      return split.bytes.length;
  }
}
