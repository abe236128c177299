/**
 * Reads a split in blocks that begin and end between records, be they words or lines.
 *
 * A record belongs to the split in which it begins. So a split that begins inside a record begins behind it, and goes on
 * behind its own end to the end of the last record: both by the same rule, asked of the file alone, so that neighbours agree
 * without knowing of each other. Inside a word: the rune that ends exactly at the place, or goes on over it, is a letter.
 * (Looking for the nearest byte that could begin a rune is not enough: a stray continuation byte behind a letter would make
 * both leave a word to the other.)
 */
import { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import type { BulkReader } from '../lib/bulk.ts';
import { HstoreError } from '../lib/errors.ts';
import { LETTERS_BELOW_800, runeAt } from './letters.ts';
import { SLACK_BYTES } from './words.ts';

export type RecordBoundary = 'word' | 'line';

export interface BlockOptions {
  readonly boundary: RecordBoundary;
  /** A block has about so many bytes; more when a record is longer. */
  readonly blockBytes?: number;
  /** A longer record is an error: it must fit the memory. */
  readonly recordBytesMax?: number;
}

export interface SplitOptions extends BlockOptions {
  /** Bytes [from, to) of the file, wherever they fall. */
  readonly from: number;
  readonly to: number;
}

/** Bytes [from, to) of `bytes`, which goes on for SLACK_BYTES; `offset` is where `from` is in the file. A view. */
export type VisitBlock = (bytes: Uint8Array, from: number, to: number, offset: number) => void;

export const BLOCK_BYTES = 1 << 20;
export const RECORD_BYTES_MAX = 64 << 20;
const NEWLINE = 0x0a;
const RUNE_BYTES_MAX = 4;
const LOOK_BYTES = 4 << 10;

export class RecordTooLongError extends HstoreError {
  override readonly name = 'RecordTooLongError';
  /** Where the record begins, or a place in it. */
  readonly offset: number;

  constructor(boundary: RecordBoundary, offset: number, bytesMax: number) {
    super('RECORD_TOO_LONG', 'not-done', `a ${boundary} of more than ${bytesMax} bytes at byte ${offset}`);
    this.offset = offset;
  }
}

/** The file has fewer bytes than when it was opened. */
export class InputChangedError extends HstoreError {
  override readonly name = 'InputChangedError';

  constructor(offset: number) {
    super(
      'INPUT_CHANGED',
      'not-done',
      `the input ends at byte ${offset}: it has become shorter while it was read`,
    );
  }
}

/** The records that begin in the split, in blocks, in order. None for a split without records. */
export function eachBlock(reader: BulkReader, options: SplitOptions, visit: VisitBlock): void {
  const { boundary, recordBytesMax = RECORD_BYTES_MAX } = options;
  assert(options.from <= options.to && options.to <= reader.bytes, 'a split lies in its file', options.to);
  const from = recordEnd(reader, options.from, boundary, recordBytesMax);
  const to = from < options.to ? recordEnd(reader, options.to, boundary, recordBytesMax) : from;
  let position = from;
  const next = (target: Uint8Array) => {
    const length = Math.min(target.length, to - position);
    const read = reader.read(target, 0, length, position);
    position += read;
    if (read < length) throw new InputChangedError(position);
    return read;
  };
  // With room to spare it ends in the first block, and a small file takes little memory.
  const blockBytes = Math.min(options.blockBytes ?? BLOCK_BYTES, to - from + 1);
  eachBlockOfStream(next, { ...options, blockBytes, offset: from }, visit);
}

/**
 * As `eachBlock`, of what `next` puts into its target: from its beginning, so many bytes as it returns, none at the end.
 * `offset`: of the first byte.
 */
export function eachBlockOfStream(
  next: (target: Uint8Array) => number,
  options: BlockOptions & { readonly offset?: number },
  visit: VisitBlock,
): void {
  const { boundary, blockBytes = BLOCK_BYTES, recordBytesMax = RECORD_BYTES_MAX } = options;
  assert(blockBytes >= 1, 'a block has bytes', blockBytes);
  let block = Buffer.allocUnsafeSlow(blockBytes + SLACK_BYTES);
  let offset = options.offset ?? 0;
  let length = 0;
  while (true) {
    const room = block.length - SLACK_BYTES;
    if (length === room) {
      // One record from end to end.
      if (room >= recordBytesMax) throw new RecordTooLongError(boundary, offset, recordBytesMax);
      const grown = Buffer.allocUnsafeSlow(Math.min(room * 2, recordBytesMax) + SLACK_BYTES);
      grown.set(block.subarray(0, length));
      block = grown;
      continue;
    }
    const read = next(block.subarray(length, room));
    if (read === 0) break;
    const before = length;
    length += read;
    if (length < room) continue;
    const end = boundary === 'word' ? lastWordEnd(block, length) : lastLineEnd(block, before, length);
    if (end === 0) continue;
    visit(block, 0, end, offset);
    block.copyWithin(0, end, length);
    length -= end;
    offset += end;
  }
  if (length > 0) visit(block, 0, length, offset);
}

/** The first place at or behind `position` that is not inside a record that began before. */
function recordEnd(reader: BulkReader, position: number, boundary: RecordBoundary, bytesMax: number): number {
  if (position === 0 || position >= reader.bytes) return Math.min(position, reader.bytes);
  return boundary === 'word' ? wordEnd(reader, position, bytesMax) : lineEnd(reader, position, bytesMax);
}

function lineEnd(reader: BulkReader, position: number, bytesMax: number): number {
  const bytes = Buffer.alloc(LOOK_BYTES);
  for (let at = position - 1; ; ) {
    const read = reader.read(bytes, 0, bytes.length, at);
    const found = bytes.subarray(0, read).indexOf(NEWLINE);
    if (found >= 0) return at + found + 1;
    at += read;
    if (at >= reader.bytes) return reader.bytes;
    if (read === 0) throw new InputChangedError(at);
    if (at - position > bytesMax) throw new RecordTooLongError('line', position, bytesMax);
  }
}

function wordEnd(reader: BulkReader, position: number, bytesMax: number): number {
  const bytes = Buffer.alloc(LOOK_BYTES);
  const start = Math.max(0, position - RUNE_BYTES_MAX);
  const read = reader.read(bytes, 0, bytes.length, start);
  const letterEnd = letterAcross(bytes, position - start, read);
  if (letterEnd === undefined) return position;
  let at = start + letterEnd;
  while (true) {
    const have = reader.read(bytes, 0, bytes.length, at);
    const atEnd = at + have >= reader.bytes;
    let i = 0;
    // A rune that may be cut is looked at with what is behind it.
    while (i < have && (atEnd || i + RUNE_BYTES_MAX <= have)) {
      const rune = runeAt(bytes, i, have);
      if (rune < 0) return at + i;
      i += rune;
    }
    at += i;
    if (atEnd) return at;
    if (i === 0) throw new InputChangedError(at);
    if (at - position > bytesMax) throw new RecordTooLongError('word', position, bytesMax);
  }
}

/** The end of the letter that ends at `at` or goes on over it; undefined if there is none. */
function letterAcross(bytes: Uint8Array, at: number, to: number): number | undefined {
  let first = at - 1;
  while (first > 0 && at - first < RUNE_BYTES_MAX && (bytes[first]! & 0xc0) === 0x80) first--;
  const rune = runeAt(bytes, first, to);
  return rune > 0 && first + rune >= at ? first + rune : undefined;
}

/** The last place up to `length` that is surely not inside a word; 0: none. */
function lastWordEnd(bytes: Uint8Array, length: number): number {
  let end = length;
  while (end > 0) {
    const byte = bytes[end - 1]!;
    if (byte < 0x80 && LETTERS_BELOW_800[byte] === 0) return end;
    end--;
  }
  // Text without any separator in ASCII: rune by rune.
  let last = 0;
  for (let at = 0; at + RUNE_BYTES_MAX <= length; ) {
    const rune = runeAt(bytes, at, length);
    at += rune > 0 ? rune : -rune;
    if (rune < 0) last = at;
  }
  return last;
}

/** Bytes below `before` were looked at. */
function lastLineEnd(bytes: Buffer, before: number, length: number): number {
  const found = bytes.subarray(before, length).lastIndexOf(NEWLINE);
  return found < 0 ? 0 : before + found + 1;
}
