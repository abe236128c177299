/**
 * The input of a map task, in blocks that begin and end between records. A file that is not what it was when the job was
 * planned is an error: the tasks of a job must all have read the same.
 */
import { Buffer } from 'node:buffer';
import type { BulkFiles, BulkReader } from '../lib/bulk.ts';
import { GunzipError, GunzipReader } from '../lib/gunzip.ts';
import {
  BLOCK_BYTES,
  eachBlock,
  eachBlockOfStream,
  InputChangedError,
  RecordTooLongError,
} from './blocks.ts';
import type { Block, RecordKind } from './jobs/byte-job.ts';
import { eachStoredRecord } from './stored-records.ts';
import { TaskError } from './task-error.ts';
import type { Split } from './tasks.ts';
import { SLACK_BYTES } from './words.ts';

type FileSplit = Exclude<Split, { readonly kind: 'bytes' | 'records' }>;

/** A whole file that is one record must fit the memory, and a string. */
const WHOLE_BYTES_MAX = 256 << 20;
const DECODED_BYTES = 64 << 10;

export interface SplitOptions {
  readonly records: RecordKind;
  /** Smaller ones tell more often how far the work is. */
  readonly blockBytes?: number;
}

/** `done`: so many bytes of the split are behind this block, roughly; of a compressed file, of the compressed ones. */
export type VisitInput = (block: Block, done: number) => void;

/** Throws TaskError, BulkFileError. */
export function readSplit(split: Split, files: BulkFiles, options: SplitOptions, visit: VisitInput): void {
  if (split.kind === 'bytes') {
    const { bytes, name, offset } = split;
    const padded = new Uint8Array(bytes.length + SLACK_BYTES);
    padded.set(bytes);
    visit({ bytes: padded, from: 0, to: bytes.length, file: name, offset }, bytes.length);
    return;
  }
  if (split.kind === 'records') return readRecords(split.path, files, visit);
  checkUnchanged(split, files);
  const reader = files.open(split.path);
  try {
    readFile(split, reader, options, visit);
  } catch (error) {
    throw inputError(error, split.path);
  } finally {
    reader.close();
  }
  checkUnchanged(split, files);
}

/** Each value is a block of its own, called by its key. */
function readRecords(path: string, files: BulkFiles, visit: VisitInput): void {
  const reader = files.open(path);
  try {
    eachStoredRecord(reader, ({ key, value, valueBytes, done }) => {
      const file = key.toString('utf8');
      visit({ bytes: value, from: 0, to: valueBytes, file, key, offset: 0 }, done);
    });
  } finally {
    reader.close();
  }
}

function readFile(split: FileSplit, reader: BulkReader, options: SplitOptions, visit: VisitInput): void {
  const file = split.name ?? split.path;
  const { records, blockBytes = BLOCK_BYTES } = options;
  if (reader.bytes < split.fileBytes) throw new InputChangedError(reader.bytes);
  if (records === 'whole') return readWhole(split, reader, visit);
  const boundary = records === 'lines' ? 'line' : 'word';
  if (split.kind === 'range') {
    const { from, to } = split;
    eachBlock(reader, { boundary, blockBytes, from, to }, (bytes, start, end, offset) => {
      visit({ bytes, from: start, to: end, file, offset }, offset + end - start - from);
    });
    return;
  }
  const unpacked = new GunzipReader(reader);
  const next = (target: Uint8Array) => unpacked.read(target);
  eachBlockOfStream(next, { boundary, blockBytes }, (bytes, start, end, offset) => {
    visit({ bytes, from: start, to: end, file, offset }, unpacked.position);
  });
}

function readWhole(split: FileSplit, reader: BulkReader, visit: VisitInput): void {
  const bytes = split.kind === 'gzip' ? unpackWhole(split.path, reader) : readPlain(split.path, reader);
  const to = bytes.length - SLACK_BYTES;
  const block = { bytes, from: 0, to, file: split.name ?? split.path, offset: 0 };
  visit(block, split.fileBytes);
}

/** With SLACK_BYTES behind. */
function readPlain(path: string, reader: BulkReader): Buffer {
  if (reader.bytes > WHOLE_BYTES_MAX) throw tooLarge(path);
  const bytes = Buffer.alloc(reader.bytes + SLACK_BYTES);
  if (reader.read(bytes, 0, reader.bytes, 0) < reader.bytes) throw new InputChangedError(reader.bytes);
  return bytes;
}

function unpackWhole(path: string, reader: BulkReader): Buffer {
  const unpacked = new GunzipReader(reader);
  const pieces: Buffer[] = [];
  let length = 0;
  while (true) {
    const piece = Buffer.alloc(DECODED_BYTES);
    const read = unpacked.read(piece);
    if (read === 0) break;
    length += read;
    if (length > WHOLE_BYTES_MAX) throw tooLarge(path);
    pieces.push(piece.subarray(0, read));
  }
  return Buffer.concat([...pieces, Buffer.alloc(SLACK_BYTES)]);
}

function tooLarge(file: string): TaskError {
  const message = `${file}: a file over ${WHOLE_BYTES_MAX >> 20} MiB cannot be one record`;
  return new TaskError({ message, file, deterministic: true });
}

function checkUnchanged({ path, fileBytes, modifiedMs }: FileSplit, files: BulkFiles): void {
  const found = files.stat(path);
  if (found?.bytes === fileBytes && found.modifiedMs === modifiedMs) return;
  const what = found === undefined ? 'is gone' : 'has changed';
  throw new TaskError({
    message: `${path} ${what} since the job began`,
    ...{ file: path, deterministic: true, local: true },
  });
}

/** What is wrong with the content of the file, as a failure of the task; other errors as they are. */
export function inputError(error: unknown, file: string): unknown {
  if (error instanceof RecordTooLongError) {
    const message = `${file}: ${error.message}`;
    return new TaskError({ message, file, offset: error.offset, deterministic: true }, error);
  }
  if (error instanceof InputChangedError || error instanceof GunzipError) {
    const failure = { message: `${file}: ${error.message}`, file, deterministic: true };
    return new TaskError(error instanceof InputChangedError ? { ...failure, local: true } : failure, error);
  }
  return error;
}
