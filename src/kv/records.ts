/**
 * What the store holds, byte by byte, and what memory holds of it.
 *
 *   key    'd' | group u32 | epoch u48 | db u8 | slot u16 | key         all big-endian, so that ranges are ranges
 *          'm' | group u32                                              the meta record, one per group
 *   value  format and type u8 | expireAtMs u64 | version u64 | bytes    little-endian
 *   meta   version u8 | appliedIndex u64 | appliedTerm u64 | logTimeMs u64 | opCount u64 | epoch u64 |
 *          databases u8 | size u64 of each | of these with a time to live u64 of each | data hash 2 * u32 | sessions |
 *          crc32 u32 of all before
 *
 * The slot stands in the key so that a slot is a range and can be moved to another group; the epoch, so that FLUSHALL
 * is one step: it begins a new epoch, and the old one's keys are garbage that is cleared in the background.
 */
import { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import { asBuffer, ByteReader, ByteWriter, latin1, MalformedError } from '../lib/bytes.ts';
import { crc32 } from '../lib/checksum.ts';
import { ConfigError, CorruptionError } from '../lib/errors.ts';
import { Hash64 } from '../lib/hash.ts';
import type { GroupId } from '../raft/types.ts';
import { DATABASES } from './batch.ts';
import { NEVER, type Value } from './command.ts';
import { slotOf } from './slot.ts';

const DATA_FAMILY = 0x64;
const META_FAMILY = 0x6d;
const DATA_KEY_HEADER_BYTES = 14;
const VALUE_HEADER_BYTES = 17;
const STRING_FORMAT = 1;
const META_FORMAT = 1;
const EPOCH_END = 2 ** 48;

/** From this size on bytes are kept as bytes; below, as a string, see `KeyRecord.held`. */
const HELD_AS_BYTES_FROM = 16_384;
/** What a record costs beside its key and value: object, map entry, string headers. Measured with a million records. */
const RECORD_OVERHEAD_BYTES = 250;
const NO_BYTES = asBuffer(new Uint8Array(0));

const hash = new Hash64();

/**
 * One key as memory knows it: its value, or that it has none. Never changes, but for `referenced`; a write puts a new
 * record in its place, so whoever holds the old one (a checkpoint) holds the state of then.
 */
export class KeyRecord implements Value {
  readonly type = 'string';
  readonly expireAtMs: number;
  /** The count of operations at which it was written. */
  readonly version: number;
  /** What the record adds to the hash of the data: zero for an absent key. */
  readonly hashA: number;
  readonly hashB: number;
  /** An estimate, for the bound on memory. */
  readonly memoryBytes: number;
  /** Tells whether it is in the store yet: see keyspace.ts. */
  readonly generation: number;
  /** Used since the clock hand last came by. */
  referenced = true;
  /**
   * Undefined: the key is known to be absent. Small values are latin1 strings, because V8 makes one of 256 bytes in
   * 40 ns and moves it as it likes, where an array buffer of its own takes 700 ns, and a slice of a shared one would
   * pin what is long overwritten.
   */
  readonly held: string | Uint8Array | undefined;

  constructor(
    held: string | Uint8Array | undefined,
    fields: Pick<KeyRecord, 'expireAtMs' | 'version' | 'hashA' | 'hashB' | 'memoryBytes' | 'generation'>,
  ) {
    this.held = held;
    this.expireAtMs = fields.expireAtMs;
    this.version = fields.version;
    this.hashA = fields.hashA;
    this.hashB = fields.hashB;
    this.memoryBytes = fields.memoryBytes;
    this.generation = fields.generation;
  }

  get present(): boolean {
    return this.held !== undefined;
  }

  get length(): number {
    return this.held === undefined ? 0 : this.held.length;
  }

  /** Not to be changed. */
  get bytes(): Uint8Array {
    const held = this.held;
    if (typeof held === 'string') return Buffer.from(held, 'latin1');
    return held ?? NO_BYTES;
  }

  /** Writes the value at `offset`. */
  copyInto(target: Buffer, offset: number): void {
    const held = this.held;
    if (typeof held === 'string') target.write(held, offset, 'latin1');
    else if (held !== undefined) target.set(held, offset);
  }
}

/** A record of a value; copies its bytes, so they may be a view of something bigger. */
export function presentRecord(
  place: { readonly db: number; readonly key: string },
  value: Value,
  stamp: { readonly version: number; readonly generation: number },
): KeyRecord {
  const { bytes, expireAtMs } = value;
  hash.reset();
  hash.u32(place.db);
  hash.latin1(place.key);
  hash.u32(STRING_FORMAT);
  hash.u64(expireAtMs);
  hash.bytes(bytes);
  hash.finish();
  return new KeyRecord(hold(bytes), {
    expireAtMs,
    version: stamp.version,
    generation: stamp.generation,
    hashA: hash.a,
    hashB: hash.b,
    memoryBytes: RECORD_OVERHEAD_BYTES + place.key.length + bytes.length,
  });
}

/** A record that says that the key is absent. */
export function absentRecord(key: string, stamp: { version: number; generation: number }): KeyRecord {
  return new KeyRecord(undefined, {
    expireAtMs: NEVER,
    version: stamp.version,
    generation: stamp.generation,
    hashA: 0,
    hashB: 0,
    memoryBytes: RECORD_OVERHEAD_BYTES + key.length,
  });
}

function hold(bytes: Uint8Array): string | Uint8Array {
  if (bytes.length < HELD_AS_BYTES_FROM) return latin1(bytes);
  // A value that has its memory for itself was made by the command and is nobody else's.
  if (bytes.length === bytes.buffer.byteLength) return bytes;
  const copy = new Uint8Array(bytes.length);
  copy.set(bytes);
  return copy;
}

export function encodeStored(record: KeyRecord): Uint8Array {
  assert(record.present, 'only what is present is stored');
  const stored = Buffer.allocUnsafe(VALUE_HEADER_BYTES + record.length);
  stored[0] = STRING_FORMAT;
  writeU64(stored, record.expireAtMs, 1);
  writeU64(stored, record.version, 9);
  record.copyInto(stored, VALUE_HEADER_BYTES);
  return stored;
}

/** Throws CorruptionError. */
export function decodeStored(
  place: { readonly db: number; readonly key: string },
  stored: Uint8Array,
  generation: number,
): KeyRecord {
  if (stored.length < VALUE_HEADER_BYTES || stored[0] !== STRING_FORMAT) {
    throw new CorruptionError(`the store holds a value of ${stored.length} bytes that is no value`);
  }
  try {
    const reader = new ByteReader(stored, 1);
    const expireAtMs = reader.u64();
    const version = reader.u64();
    const bytes = reader.raw(reader.remaining);
    return presentRecord(place, { type: 'string', bytes, expireAtMs }, { version, generation });
  } catch (error) {
    if (error instanceof MalformedError)
      throw new CorruptionError('the store holds a malformed value', error);
    throw error;
  }
}

/** Where the records of one group and epoch lie in the store. */
export class StoredKeys {
  readonly #prefix: Buffer;

  constructor(group: GroupId, epoch: number) {
    this.#prefix = epochPrefix(group, epoch);
  }

  of(db: number, key: string): Uint8Array {
    const stored = Buffer.allocUnsafe(DATA_KEY_HEADER_BYTES + key.length);
    stored.set(this.#prefix, 0);
    stored[11] = db;
    stored.write(key, DATA_KEY_HEADER_BYTES, 'latin1');
    stored.writeUInt16BE(slotOf(stored.subarray(DATA_KEY_HEADER_BYTES)), 12);
    return stored;
  }
}

/** Entries with from <= key < to. */
export interface KeyRange {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

/** The data of all epochs before `epoch`. */
export function rangeBefore(group: GroupId, epoch: number): KeyRange {
  return { from: epochPrefix(group, 0), to: epochPrefix(group, epoch) };
}

function epochPrefix(group: GroupId, epoch: number): Buffer {
  assert(epoch >= 0 && epoch < EPOCH_END, 'an epoch fits in 48 bits', epoch);
  const prefix = Buffer.alloc(11);
  prefix[0] = DATA_FAMILY;
  prefix.writeUInt32BE(group, 1);
  prefix.writeUIntBE(epoch, 5, 6);
  return prefix;
}

export function metaKey(group: GroupId): Uint8Array {
  const key = Buffer.alloc(5);
  key[0] = META_FAMILY;
  key.writeUInt32BE(group, 1);
  return key;
}

/** All of the replicated state but the records; what a checkpoint writes beside them. */
export interface Meta {
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  readonly logTimeMs: number;
  readonly opCount: number;
  readonly epoch: number;
  /** Keys per database. */
  readonly sizes: readonly number[];
  /** Of these, the ones with a time to live. */
  readonly expiring: readonly number[];
  readonly hashA: number;
  readonly hashB: number;
}

export function encodeMeta(meta: Meta, sessions: { encode(writer: ByteWriter): void }): Uint8Array {
  const writer = new ByteWriter();
  writer.u8(META_FORMAT);
  writer.u64(meta.appliedIndex);
  writer.u64(meta.appliedTerm);
  writer.u64(meta.logTimeMs);
  writer.u64(meta.opCount);
  writer.u64(meta.epoch);
  writer.u8(meta.sizes.length);
  for (const size of meta.sizes) writer.u64(size);
  for (const expiring of meta.expiring) writer.u64(expiring);
  writer.u32(meta.hashA >>> 0);
  writer.u32(meta.hashB >>> 0);
  sessions.encode(writer);
  writer.u32(crc32(writer.view()));
  return writer.copy();
}

/** Throws CorruptionError, and ConfigError for a format of another version. */
export function decodeMeta(bytes: Uint8Array, sessions: { decode(reader: ByteReader): void }): Meta {
  if (bytes.length < 5) throw new CorruptionError(`the store holds a meta record of ${bytes.length} bytes`);
  if (bytes[0] !== META_FORMAT) {
    throw new ConfigError(
      `the store was written in format ${bytes[0]}, this server knows format ${META_FORMAT} only: use the version of hstore that wrote it`,
    );
  }
  try {
    const reader = new ByteReader(bytes, 1, bytes.length - 4);
    const checksum = new ByteReader(bytes, bytes.length - 4).u32();
    if (crc32(bytes.subarray(0, bytes.length - 4)) !== checksum) throw new MalformedError('wrong checksum');
    const [appliedIndex, appliedTerm, logTimeMs] = [reader.u64(), reader.u64(), reader.u64()];
    const [opCount, epoch, databases] = [reader.u64(), reader.u64(), reader.u8()];
    if (databases !== DATABASES) throw new MalformedError(`${databases} databases`);
    const sizes = Array.from({ length: databases }, () => reader.u64());
    const expiring = Array.from({ length: databases }, () => reader.u64());
    const [hashA, hashB] = [reader.u32() | 0, reader.u32() | 0];
    sessions.decode(reader);
    if (reader.remaining !== 0) throw new MalformedError(`${reader.remaining} bytes too many`);
    return { appliedIndex, appliedTerm, logTimeMs, opCount, epoch, sizes, expiring, hashA, hashB };
  } catch (error) {
    if (error instanceof MalformedError) {
      throw new CorruptionError('the store holds a malformed meta record', error);
    }
    throw error;
  }
}

function writeU64(target: Buffer, value: number, offset: number): void {
  target.writeUInt32LE(value % 0x1_0000_0000, offset);
  target.writeUInt32LE(Math.floor(value / 0x1_0000_0000), offset + 4);
}
