/**
 * A key and its value as memory holds them, and as the store does.
 *
 *   stored value   type u8 | expireAtMs u64 | version u64 | bytes          little-endian
 *   type           1 string; bit 7: changed in place (`raw`)
 */
import { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import { asBuffer, ByteReader, latin1, MalformedError } from '../lib/bytes.ts';
import { CorruptionError } from '../lib/errors.ts';
import { Hash64 } from '../lib/hash.ts';
import { NEVER, type Value } from './command.ts';

/** What of a stored value is not the value itself. */
export const VALUE_HEADER_BYTES = 17;
const STRING_TYPE = 1;
const RAW_FLAG = 0x80;

/** From this size on bytes are kept as bytes; below, as a string, see `KeyRecord.held`. */
const HELD_AS_BYTES_FROM = 16_384;
/** What a record costs beside its key and value: object, map entry, string headers. Measured with a million records. */
export const RECORD_OVERHEAD_BYTES = 320;
const NO_BYTES = asBuffer(new Uint8Array(0));

const hash = new Hash64();

/**
 * One key as memory knows it: its value, or that it has none. Never changes, but for `referenced` and `usedAtMs`; a
 * write puts a new record in its place, so whoever holds the old one (a checkpoint) holds the state of then.
 */
export class KeyRecord implements Value {
  readonly type = 'string';
  readonly expireAtMs: number;
  readonly raw: boolean;
  /** The count of operations at which it was written. */
  readonly version: number;
  /** See position.ts. */
  readonly position: number;
  /** The moment at which the store will call the key due, once all before this record is saved; else `NEVER`. */
  readonly storedDueMs: number;
  /** What the record adds to the hash of the data: zero for an absent key. */
  readonly hashA: number;
  readonly hashB: number;
  /** An estimate, for the bound on memory. */
  readonly memoryBytes: number;
  /** Tells whether it is in the store yet: see keyspace.ts. */
  readonly generation: number;
  /** Used since the clock hand last came by. */
  referenced = true;
  /** When it was last used on this server. */
  usedAtMs: number;
  /**
   * Undefined: the key is known to be absent. Small values are latin1 strings, because V8 makes one of 256 bytes in
   * 40 ns and moves it as it likes, where an array buffer of its own takes 700 ns, and a slice of a shared one would
   * pin what is long overwritten.
   */
  readonly held: string | Uint8Array | undefined;

  /** Two objects and not one put together of both: this runs for every write. */
  constructor(
    held: string | Uint8Array | undefined,
    fields: RecordFields,
    value: Pick<KeyRecord, 'expireAtMs' | 'raw' | 'hashA' | 'hashB' | 'memoryBytes'>,
  ) {
    this.held = held;
    this.expireAtMs = value.expireAtMs;
    this.raw = value.raw;
    this.version = fields.version;
    this.position = fields.position;
    this.storedDueMs = fields.storedDueMs;
    this.hashA = value.hashA;
    this.hashB = value.hashB;
    this.memoryBytes = value.memoryBytes;
    this.generation = fields.generation;
    this.usedAtMs = fields.usedAtMs;
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

/** What a record says beside the value. */
export type RecordFields = Pick<
  KeyRecord,
  'version' | 'generation' | 'position' | 'storedDueMs' | 'usedAtMs'
>;

/** A record of a value; copies its bytes, so they may be a view of something bigger. `name`: the key. */
export function presentRecord(name: string, value: Value, fields: RecordFields): KeyRecord {
  const { bytes, expireAtMs } = value;
  const raw = value.raw === true;
  hash.reset();
  hash.latin1(name);
  hash.u32(typeByte(raw));
  hash.u64(expireAtMs);
  hash.bytes(bytes);
  hash.finish();
  return new KeyRecord(hold(bytes), fields, {
    expireAtMs,
    raw,
    hashA: hash.a,
    hashB: hash.b,
    memoryBytes: RECORD_OVERHEAD_BYTES + name.length + bytes.length,
  });
}

/** A record that says that the key is absent. */
export function absentRecord(name: string, fields: RecordFields): KeyRecord {
  return new KeyRecord(undefined, fields, {
    expireAtMs: NEVER,
    raw: false,
    hashA: 0,
    hashB: 0,
    memoryBytes: RECORD_OVERHEAD_BYTES + name.length,
  });
}

function typeByte(raw: boolean): number {
  return raw ? STRING_TYPE | RAW_FLAG : STRING_TYPE;
}

function hold(bytes: Uint8Array): string | Uint8Array {
  if (bytes.length < HELD_AS_BYTES_FROM) return latin1(bytes);
  // A value that has its memory for itself was made by the command and is nobody else's.
  if (bytes.length === bytes.buffer.byteLength) return bytes;
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}

export function encodeStored(record: KeyRecord): Uint8Array {
  assert(record.present, 'only what is present is stored');
  const stored = Buffer.allocUnsafe(VALUE_HEADER_BYTES + record.length);
  stored[0] = typeByte(record.raw);
  writeU64(stored, record.expireAtMs, 1);
  writeU64(stored, record.version, 9);
  record.copyInto(stored, VALUE_HEADER_BYTES);
  return stored;
}

/** A stored value; its bytes are a view of what the store gave. */
export interface StoredValue extends Value {
  readonly version: number;
}

/** Throws CorruptionError. */
export function decodeStored(stored: Uint8Array): StoredValue {
  const type = stored[0];
  if (stored.length < VALUE_HEADER_BYTES || (type! & ~RAW_FLAG) !== STRING_TYPE) {
    throw new CorruptionError(`the store holds a value of ${stored.length} bytes that is no value`);
  }
  try {
    const reader = new ByteReader(stored, 1);
    const expireAtMs = reader.u64();
    const version = reader.u64();
    const bytes = reader.raw(reader.remaining);
    return { type: 'string', bytes, expireAtMs, version, raw: (type! & RAW_FLAG) !== 0 };
  } catch (error) {
    if (error instanceof MalformedError)
      throw new CorruptionError('the store holds a malformed value', error);
    throw error;
  }
}

function writeU64(target: Buffer, value: number, offset: number): void {
  target.writeUInt32LE(value % 0x1_0000_0000, offset);
  target.writeUInt32LE(Math.floor(value / 0x1_0000_0000), offset + 4);
}
