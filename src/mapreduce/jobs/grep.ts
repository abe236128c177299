/**
 * `grep PATTERN`: the lines in which the pattern is found, as they are, in the order of the input. With several files each
 * line begins with its file: `path:line`.
 *
 * The pattern is a regular expression of JavaScript with the flag u, matched against the line as UTF-8, in which U+FFFD
 * stands for what is not valid. Keys put the lines in order:
 *
 *   map task u32 | number of the line among those found u48 | hash of the file's name u32, by which they are parted
 *
 * so all lines of a file are in one part, however the file was split.
 */
import { Buffer } from 'node:buffer';
import { ConfigError } from '../../lib/errors.ts';
import { type Partitioner, partitionOf } from '../partition.ts';
import type { Block, Collect, GatheringJob, Mapper, TaskContext } from './byte-job.ts';
import { eachLine } from './lines.ts';

const COLON = Buffer.from(':');
const KEY_BYTES = 14;
const FILE_HASH_AT = 10;
const HASHES = 2 ** 31;
/** Without a meaning in a regular expression, and the same bytes in it and in the text. */
const LITERAL = /^[\w "#%&',:;<=>@`~-]+$/;

/** By which the lines of a file are in one part. */
export function fileHash(file: string): number {
  const name = Buffer.from(file);
  return partitionOf(name, 0, name.length, HASHES);
}

/** Arguments of the job: `pattern`; `ignore-case` and `with-filename`, which are `yes` or not given. */
type Args = Readonly<Record<string, string>>;

/** Throws ConfigError. */
export function grepPattern(args: Args): RegExp {
  const { pattern } = args;
  if (pattern === undefined) throw new ConfigError('grep needs a pattern');
  try {
    return new RegExp(pattern, args['ignore-case'] === 'yes' ? 'ui' : 'u');
  } catch (error) {
    throw new ConfigError(`grep: ${error instanceof Error ? error.message : String(error)}`, error);
  }
}

/** What a line that was found begins with. */
export function grepPrefix(args: Args, file: string | Uint8Array): Buffer {
  return args['with-filename'] === 'yes' ? Buffer.concat([Buffer.from(file), COLON]) : Buffer.alloc(0);
}

export function grep(args: Args): GatheringJob {
  const pattern = grepPattern(args);
  return {
    records: 'lines',
    gather: 'values',
    partitioner: byFile,
    mapper: (collect, { context }) => new LineFinder(args, pattern, { collect, context }),
    reduce(key, values, write) {
      for (const line of values) write({ key, count: 0, line });
    },
  };
}

const byFile: Partitioner = (bytes, from, _to, partitions) => {
  const at = from + FILE_HASH_AT;
  const hash = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
  return hash % partitions;
};

class LineFinder implements Mapper {
  readonly #args: Args;
  readonly #pattern: RegExp;
  readonly #collect: Collect;
  readonly #context: TaskContext;
  /** If the pattern is found where its bytes are: no line need be looked at that has them not. */
  readonly #literal: Buffer | undefined;
  readonly #key = Buffer.alloc(KEY_BYTES);
  #file: string | undefined;
  #prefix: Buffer = Buffer.alloc(0);
  #found = 0;

  constructor(args: Args, pattern: RegExp, to: { collect: Collect; context: TaskContext }) {
    this.#args = args;
    this.#pattern = pattern;
    this.#collect = to.collect;
    this.#context = to.context;
    const isLiteral = LITERAL.test(pattern.source) && !pattern.flags.includes('i');
    this.#literal = isLiteral ? Buffer.from(pattern.source) : undefined;
    this.#key.writeUInt32BE(to.context.task, 0);
  }

  block({ bytes, from, to, file, key }: Block): void {
    if (file !== this.#file || key !== undefined) this.#begin(file, key);
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (this.#literal !== undefined) {
      this.#findLiteral(text, from, to, this.#literal);
      return;
    }
    let lines = 0;
    eachLine(text, from, to, (lineFrom, lineTo) => {
      if (this.#pattern.test(text.toString('utf8', lineFrom, lineTo))) this.#take(text, lineFrom, lineTo);
      if ((++lines & 0xfff) === 0) this.#context.alive();
    });
  }

  end(): void {}

  #begin(file: string, key: Uint8Array | undefined): void {
    this.#file = file;
    this.#prefix = grepPrefix(this.#args, key ?? file);
    this.#key.writeUInt32BE(fileHash(file), FILE_HASH_AT);
  }

  #findLiteral(text: Buffer, from: number, to: number, literal: Buffer): void {
    for (let at = from; at < to; ) {
      const found = text.indexOf(literal, at);
      if (found === -1 || found + literal.length > to) return;
      const lineFrom = Math.max(from, text.lastIndexOf(0x0a, found) + 1);
      const newline = text.indexOf(0x0a, found);
      const lineTo = newline === -1 || newline > to ? to : newline;
      this.#take(text, lineFrom, lineTo);
      at = lineTo + 1;
    }
  }

  #take(text: Buffer, from: number, to: number): void {
    const line = text.subarray(from, to);
    this.#key.writeUIntBE(this.#found++, 4, 6);
    const value = this.#prefix.length === 0 ? line : Buffer.concat([this.#prefix, line]);
    this.#collect(this.#key, 0, KEY_BYTES, value);
    this.#context.count('matching lines');
  }
}
