/**
 * Reads sorted runs (run-format.ts), or slices of them: one partition at a time, a block at a time, each entry in place.
 *
 * The checksum of a partition is known to hold when its last entry was read. What came before an error is not to be used.
 */
import { Buffer } from 'node:buffer';
import type { BulkFiles, BulkReader } from '../lib/bulk.ts';
import { crc32 } from '../lib/checksum.ts';
import {
  checkHeader,
  decodeRow,
  decodeTrailer,
  HEADER_BYTES,
  ROW_BYTES,
  RunDamagedError,
  type RunKind,
  type RunSlice,
  type RunTrailer,
  TRAILER_BYTES,
  VARINT_BYTES_MAX,
} from './run-format.ts';

const READ_BYTES = 64 << 10;

/** An open file with slices in it: a run, or where slices of runs were gathered. */
export interface SliceFile {
  readonly path: string;
  readonly reader: BulkReader;
}

/** An open run. */
export class RunFile implements SliceFile {
  readonly path: string;
  readonly kind: RunKind;
  readonly partitions: number;
  readonly reader: BulkReader;
  readonly #trailer: RunTrailer;

  /** Throws RunDamagedError for what is not a whole run, BulkFileError. */
  constructor(path: string, files: BulkFiles) {
    this.path = path;
    this.reader = files.open(path);
    try {
      const bytes = this.reader.bytes;
      const trailer = this.#read(TRAILER_BYTES, Math.max(0, bytes - TRAILER_BYTES));
      this.#trailer = decodeTrailer(trailer, bytes, path);
      checkHeader(this.#read(HEADER_BYTES, 0), this.#trailer.kind, path);
    } catch (error) {
      this.reader.close();
      throw error;
    }
    this.kind = this.#trailer.kind;
    this.partitions = this.#trailer.partitions;
  }

  /** Throws RunDamagedError, also when there is no such partition. */
  slice(partition: number): RunSlice {
    if (partition >= this.partitions) {
      throw new RunDamagedError(this.path, `${this.path} has no partition ${partition}`);
    }
    const row = this.#read(ROW_BYTES, this.#trailer.indexOffset + partition * ROW_BYTES);
    return decodeRow(row, partition, this.#trailer, this.path);
  }

  close(): void {
    this.reader.close();
  }

  #read(bytes: number, position: number): Buffer {
    const target = Buffer.alloc(bytes);
    return target.subarray(0, this.reader.read(target, 0, bytes, position));
  }
}

/** Stands on one entry of a slice after the other. */
export class RunCursor {
  /** The entry's key is the first `keyLength` bytes. */
  key: Buffer = Buffer.alloc(256);
  keyLength = 0;
  /**
   * The first four bytes of the key, and the next four, as numbers that compare as the bytes do; zeros behind the key.
   * Signed, because V8 keeps these in place, and would allocate larger ones.
   */
  high = 0;
  low = 0;
  /** In a run of counts. */
  count = 0;
  /** In a run of values: bytes [valueFrom, valueTo) of `block`, until the next entry. */
  valueFrom = 0;
  valueTo = 0;
  block: Buffer;
  #at = 0;
  #end = 0;
  /** What is left: entries, and bytes that are not in the block. */
  #entries = 0;
  #position = 0;
  #unread = 0;
  #sum = 0;
  readonly #blockBytes: number;
  readonly #file: SliceFile;
  #slice: RunSlice = { kind: 'counts', offset: 0, bytes: 0, entries: 0, crc32: 0 };

  constructor(file: SliceFile, blockBytes = READ_BYTES) {
    this.#file = file;
    this.#blockBytes = blockBytes;
    this.block = Buffer.alloc(0);
  }

  /** Stands before the first entry of the slice, which lies in the file. `next` throws RunDamagedError. */
  begin(slice: RunSlice): void {
    this.#slice = slice;
    // Small slices take little memory, however many files there are.
    const wanted = Math.min(slice.bytes, this.#blockBytes);
    if (this.block.length < wanted) {
      this.block = Buffer.allocUnsafeSlow(Math.min(2 * wanted, this.#blockBytes));
    }
    this.#entries = slice.entries;
    this.#position = slice.offset;
    this.#unread = slice.bytes;
    this.#sum = 0;
    this.#at = 0;
    this.#end = 0;
    this.keyLength = 0;
  }

  /** False at the end, where the checksum was found to hold. */
  next(): boolean {
    if (this.#entries === 0) {
      this.#checkEnd();
      return false;
    }
    this.#entries--;
    if (this.#end - this.#at < 3 * VARINT_BYTES_MAX) this.#load(3 * VARINT_BYTES_MAX);
    const shared = this.#varint();
    const suffix = this.#varint();
    if (shared > this.keyLength) throw this.#damaged();
    if (this.#end - this.#at < suffix + VARINT_BYTES_MAX) this.#load(suffix + VARINT_BYTES_MAX);
    if (this.#end - this.#at < suffix) throw this.#damaged();
    this.#takeKey(shared, suffix);
    if (this.#slice.kind === 'counts') {
      this.count = this.#varint();
      return true;
    }
    const length = this.#varint();
    if (this.#end - this.#at < length) this.#load(length);
    if (this.#end - this.#at < length) throw this.#damaged();
    this.valueFrom = this.#at;
    this.#at += length;
    this.valueTo = this.#at;
    return true;
  }

  #takeKey(shared: number, suffix: number): void {
    const length = shared + suffix;
    if (length > this.key.length) {
      const grown = Buffer.alloc(length * 2);
      grown.set(this.key.subarray(0, shared));
      this.key = grown;
    }
    const { key, block } = this;
    let at = this.#at;
    for (let i = shared; i < length; i++) key[i] = block[at++]!;
    this.#at = at;
    this.keyLength = length;
    if (shared < 8) {
      this.high = fourFrom(key, 0, length);
      this.low = fourFrom(key, 4, length);
    }
  }

  #varint(): number {
    let value = 0;
    let factor = 1;
    for (let i = 0; i < VARINT_BYTES_MAX; i++) {
      if (this.#at >= this.#end) throw this.#damaged();
      const byte = this.block[this.#at++]!;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) throw this.#damaged();
        return value;
      }
      factor *= 0x80;
    }
    throw this.#damaged();
  }

  /** Has `bytes` in the block from #at on, or as many as there are. */
  #load(bytes: number): void {
    const left = this.#end - this.#at;
    const wanted = Math.min(bytes, left + this.#unread);
    if (wanted <= left) return;
    if (wanted > this.block.length) {
      const grown = Buffer.allocUnsafeSlow(wanted + this.#blockBytes);
      grown.set(this.block.subarray(this.#at, this.#end));
      this.block = grown;
    } else {
      this.block.copyWithin(0, this.#at, this.#end);
    }
    this.#at = 0;
    this.#end = left;
    const length = Math.min(this.block.length - left, this.#unread);
    const read = this.#file.reader.read(this.block, left, length, this.#position);
    if (read < length) throw new RunDamagedError(this.#file.path, `${this.#file.path} ends early`);
    this.#sum = crc32(this.block.subarray(left, left + read), this.#sum);
    this.#position += read;
    this.#unread -= read;
    this.#end += read;
  }

  #checkEnd(): void {
    if (this.#at < this.#end || this.#unread > 0 || this.#sum !== this.#slice.crc32) throw this.#damaged();
  }

  #damaged(): RunDamagedError {
    const { path } = this.#file;
    const { offset, bytes } = this.#slice;
    return new RunDamagedError(path, `${path} is damaged between bytes ${offset} and ${offset + bytes}`);
  }
}

function fourFrom(key: Buffer, at: number, length: number): number {
  let four = 0;
  for (let i = at; i < at + 4; i++) four = (four << 8) | (i < length ? key[i]! : 0);
  return four ^ 0x80000000;
}

/** As the bytes of the keys compare, unsigned, where `high` and `low` are equal; negative: `a` is before `b`. */
export function compareRest(a: RunCursor, b: RunCursor): number {
  if (a.keyLength <= 8 || b.keyLength <= 8) return a.keyLength - b.keyLength;
  return a.key.compare(b.key, 0, b.keyLength, 0, a.keyLength);
}
