/**
 * A snapshot on its way to another server: a header, and the records of the state as a stream of chunks.
 *
 *   header   format u8 | meta record (meta.ts)                                      little-endian
 *   chunk    format u8 | continues u8 | entry ...
 *   entry    key length u32 | value length u32 | key | value
 *
 * The entries are the data of all spaces that databases have, then the sessions, in the order of their keys: the stored
 * keys without group and generation, which are the receiver's own. The values are the stored ones, each with its check.
 * What is due (the family `due`) does not travel, the data tell it.
 *
 * A chunk holds whole entries, but for an entry that does not fit into one: it begins a chunk and is cut over as many as
 * it takes; those behind the first say that they continue it (1), and behind its end others may follow.
 *
 * A position in the stream is the key of an entry: what comes behind it can be asked for at any time.
 */
import { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import { asBuffer, MalformedError } from '../lib/bytes.ts';
import { ConfigError, CorruptionError } from '../lib/errors.ts';
import { decodeMeta, type Meta } from './meta.ts';

/** Of a whole chunk. */
export const SNAPSHOT_CHUNK_BYTES_MAX = 256 << 10;
const HEADER_FORMAT = 1;
const CHUNK_FORMAT = 1;
const CHUNK_HEADER_BYTES = 2;
const ENTRY_HEADER_BYTES = 8;
/** Of a key, and of a value: more than any can have. */
const PART_BYTES_MAX = 65 << 20;

export interface SnapshotEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Of a whole stream. */
export function entriesOf({ databases, clientSessions }: Meta): number {
  const keys = databases.reduce((sum, { size }) => sum + size, 0);
  return keys + clientSessions.sessions + clientSessions.replies;
}

export function encodeHeader(meta: Uint8Array): Uint8Array {
  const header = Buffer.allocUnsafe(1 + meta.length);
  header[0] = HEADER_FORMAT;
  header.set(meta, 1);
  return header;
}

/** The meta record, as bytes and as what it says. Throws MalformedError. */
export function decodeHeader(header: Uint8Array): { readonly bytes: Uint8Array; readonly meta: Meta } {
  if (header[0] !== HEADER_FORMAT) {
    throw new MalformedError(
      `a snapshot in format ${header[0]}, this server knows format ${HEADER_FORMAT} only`,
    );
  }
  const bytes = header.subarray(1);
  try {
    return { bytes, meta: decodeMeta(bytes) };
  } catch (error) {
    if (!(error instanceof CorruptionError || error instanceof ConfigError)) throw error;
    throw new MalformedError(`a snapshot with a meta record that cannot be read: ${error.message}`, {
      cause: error,
    });
  }
}

/** An entry on its way out; the value is not copied. */
interface Outgoing {
  readonly head: Buffer;
  readonly value: Uint8Array;
  readonly length: number;
}

/** Makes chunks of entries. */
export class ChunkEncoder {
  #waiting: Outgoing[] = [];
  /** Bytes of the first that have gone. */
  #gone = 0;
  /** What of all has not gone. */
  #bytes = 0;

  /** Whether what waits fills a chunk. */
  get full(): boolean {
    return this.#bytes >= SNAPSHOT_CHUNK_BYTES_MAX;
  }

  /** The value must stay unchanged until it has gone. */
  add({ key, value }: SnapshotEntry): void {
    const head = Buffer.allocUnsafe(ENTRY_HEADER_BYTES + key.length);
    head.writeUInt32LE(key.length, 0);
    head.writeUInt32LE(value.length, 4);
    head.set(key, ENTRY_HEADER_BYTES);
    const length = head.length + value.length;
    this.#waiting.push({ head, value, length });
    this.#bytes += length;
  }

  clear(): void {
    this.#waiting = [];
    this.#gone = 0;
    this.#bytes = 0;
  }

  /** Undefined when nothing waits. */
  take(): Uint8Array | undefined {
    if (this.#bytes === 0) return undefined;
    const pieces: Uint8Array[] = [Buffer.of(CHUNK_FORMAT, this.#gone > 0 ? 1 : 0)];
    let room = SNAPSHOT_CHUNK_BYTES_MAX - CHUNK_HEADER_BYTES;
    let complete = 0;
    for (const entry of this.#waiting) {
      const left = entry.length - this.#gone;
      if (left > room && pieces.length > 1) break;
      const bytes = Math.min(left, room);
      pieces.push(...slices(entry, this.#gone, this.#gone + bytes));
      room -= bytes;
      this.#bytes -= bytes;
      if (bytes < left) {
        this.#gone += bytes;
        break;
      }
      this.#gone = 0;
      complete++;
    }
    this.#waiting.splice(0, complete);
    return Buffer.concat(pieces);
  }
}

function slices({ head, value }: Outgoing, from: number, to: number): Uint8Array[] {
  return [
    head.subarray(from, to),
    value.subarray(Math.max(0, from - head.length), Math.max(0, to - head.length)),
  ];
}

/** Takes the chunks apart again. */
export class ChunkDecoder {
  /** An entry that was cut, as far as it has come. */
  #partial: { readonly entry: Buffer; came: number } | undefined;

  /** An entry has begun and not ended. */
  get inside(): boolean {
    return this.#partial !== undefined;
  }

  /** The entries that are complete with this chunk; copies of what is in it. Throws MalformedError. */
  take(chunk: Uint8Array): SnapshotEntry[] {
    if (chunk.length <= CHUNK_HEADER_BYTES || chunk.length > SNAPSHOT_CHUNK_BYTES_MAX) {
      throw new MalformedError(`a chunk of a snapshot has ${chunk.length} bytes`);
    }
    if (chunk[0] !== CHUNK_FORMAT) throw new MalformedError(`a chunk of a snapshot in format ${chunk[0]}`);
    if (chunk[1] !== (this.inside ? 1 : 0)) throw new MalformedError('a chunk of a snapshot is missing');
    const bytes = asBuffer(chunk);
    const entries: SnapshotEntry[] = [];
    let offset = CHUNK_HEADER_BYTES;
    while (offset < bytes.length) {
      this.#partial ??= begin(bytes, offset);
      const { entry, came } = this.#partial;
      const end = Math.min(bytes.length, offset + entry.length - came);
      bytes.copy(entry, came, offset, end);
      this.#partial.came += end - offset;
      offset = end;
      if (this.#partial.came < entry.length) break;
      this.#partial = undefined;
      entries.push(split(entry));
    }
    return entries;
  }
}

function begin(chunk: Buffer, offset: number): { entry: Buffer; came: number } {
  if (offset + ENTRY_HEADER_BYTES > chunk.length)
    throw new MalformedError('a chunk of a snapshot ends too soon');
  const [keyBytes, valueBytes] = [chunk.readUInt32LE(offset), chunk.readUInt32LE(offset + 4)];
  if (keyBytes > PART_BYTES_MAX || valueBytes > PART_BYTES_MAX) {
    throw new MalformedError(`an entry of a snapshot has ${keyBytes} and ${valueBytes} bytes`);
  }
  const length = ENTRY_HEADER_BYTES + keyBytes + valueBytes;
  const fits = CHUNK_HEADER_BYTES + length <= SNAPSHOT_CHUNK_BYTES_MAX;
  if (fits && offset + length > chunk.length) throw new MalformedError('an entry of a snapshot is cut');
  return { entry: Buffer.allocUnsafe(length), came: 0 };
}

function split(entry: Buffer): SnapshotEntry {
  const keyEnd = ENTRY_HEADER_BYTES + entry.readUInt32LE(0);
  assert(keyEnd + entry.readUInt32LE(4) === entry.length, 'an entry is as long as it says', entry.length);
  return { key: entry.subarray(ENTRY_HEADER_BYTES, keyEnd), value: entry.subarray(keyEnd) };
}
