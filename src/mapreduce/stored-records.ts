/**
 * Stored keys and their values in a file: what a map task reads where the input is keys. The server hands them over in
 * blocks of whole records (KeyBlockDone of server/service.ts), which are written down one behind the other:
 *
 *   record      key length u32 | value length u32 | key | value, little-endian
 *
 * The file lies where the attempt's output will, is read once, and removed. It keeps the engine's reading synchronous and
 * its memory small, although the blocks come from another thread in their own time.
 */
import { Buffer } from 'node:buffer';
import type { BulkReader } from '../lib/bulk.ts';
import { CorruptionError } from '../lib/errors.ts';
import { SLACK_BYTES } from './words.ts';

export interface StoredRecord {
  /** A view, valid during the call; so is `value`. */
  readonly key: Buffer;
  /** Bytes [0, valueBytes), and SLACK_BYTES of zeros behind. */
  readonly value: Buffer;
  readonly valueBytes: number;
  /** Of the file, up to the end of this record. */
  readonly done: number;
}

const HEADER_BYTES = 8;
const READ_BYTES = 256 << 10;

/** Throws CorruptionError where the file does not end with a record. */
export function eachStoredRecord(reader: BulkReader, visit: (record: StoredRecord) => void): void {
  const window = new Window(reader);
  let value = Buffer.alloc(READ_BYTES);
  for (let at = 0; at < reader.bytes; ) {
    const header = window.at(at, HEADER_BYTES);
    const [keyBytes, valueBytes] = [header.readUInt32LE(0), header.readUInt32LE(4)];
    const record = window.at(at + HEADER_BYTES, keyBytes + valueBytes);
    // What stands behind a value must not look like a part of it.
    if (valueBytes + SLACK_BYTES > value.length) value = Buffer.alloc(valueBytes + SLACK_BYTES);
    record.copy(value, 0, keyBytes);
    value.fill(0, valueBytes, valueBytes + SLACK_BYTES);
    at += HEADER_BYTES + keyBytes + valueBytes;
    visit({ key: record.subarray(0, keyBytes), value, valueBytes, done: at });
  }
}

/** A piece of the file in memory. */
class Window {
  readonly #reader: BulkReader;
  #bytes = Buffer.alloc(0);
  #from = 0;

  constructor(reader: BulkReader) {
    this.#reader = reader;
  }

  /** Valid until the next call. */
  at(position: number, length: number): Buffer {
    const isThere = position >= this.#from && position + length <= this.#from + this.#bytes.length;
    if (!isThere) this.#read(position, length);
    return this.#bytes.subarray(position - this.#from, position - this.#from + length);
  }

  #read(position: number, length: number): void {
    if (position + length > this.#reader.bytes) {
      throw new CorruptionError(`stored records are cut off at byte ${position}`);
    }
    const wanted = Math.min(Math.max(length, READ_BYTES), this.#reader.bytes - position);
    const bytes = Buffer.allocUnsafe(wanted);
    const read = this.#reader.read(bytes, 0, wanted, position);
    if (read < wanted) throw new CorruptionError(`stored records end at byte ${position + read}`);
    this.#bytes = bytes;
    this.#from = position;
  }
}
