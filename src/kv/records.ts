/**
 * A key and its value as memory holds them, and as the store does.
 *
 *   stored value   type u8 | expireAtMs u64 | version u64 | check u32 | bytes          little-endian
 *   type           1 string; bit 7: changed in place (`raw`)
 *   check          of all the others and of the key: LevelDB does not verify what it reads from a table, so a bit that the
 *                  disk has flipped, or the value of another key, is found here. It is made from the record's hash, which
 *                  is needed anyway, and costs no second look at the bytes.
 */
import { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import { asBuffer, ByteReader, latin1, MalformedError } from '../lib/bytes.ts';
import { CorruptionError } from '../lib/errors.ts';
import { Hash64 } from '../lib/hash.ts';
import { NEVER, type Value } from './command.ts';

/** What of a stored value is not the value itself. */
export const VALUE_HEADER_BYTES = 21;
const STRING_TYPE = 1;
const RAW_FLAG = 0x80;
/** Of a key in an error. */
const NAME_SHOWN_MAX = 64;

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
  hashRecord(name, typeByte(raw), expireAtMs, bytes);
  return recordOf(name, value, fields, { hashA: hash.a, hashB: hash.b });
}

/** The record of a stored value. Throws CorruptionError when it is not whole, or not that of the key. */
export function storedRecord(
  name: string,
  stored: Uint8Array,
  fields: Omit<RecordFields, 'version' | 'storedDueMs'>,
): KeyRecord {
  const value = readStored(name, stored);
  const { version, expireAtMs } = value;
  return recordOf(name, value, { ...fields, version, storedDueMs: expireAtMs }, value);
}

function recordOf(
  name: string,
  { bytes, expireAtMs, raw }: Value,
  fields: RecordFields,
  { hashA, hashB }: Pick<KeyRecord, 'hashA' | 'hashB'>,
): KeyRecord {
  return new KeyRecord(hold(bytes), fields, {
    expireAtMs,
    raw: raw === true,
    hashA,
    hashB,
    memoryBytes: RECORD_OVERHEAD_BYTES + name.length + bytes.length,
  });
}

/** Leaves what a value adds to the hash of the data in `hash`. */
function hashRecord(name: string, type: number, expireAtMs: number, bytes: Uint8Array): void {
  hash.reset();
  hash.latin1(name);
  hash.u32(type);
  hash.u64(expireAtMs);
  hash.bytes(bytes);
  hash.finish();
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
  stored.writeUInt32LE(checkOf(record.hashA, record.hashB, record.version), 17);
  record.copyInto(stored, VALUE_HEADER_BYTES);
  return stored;
}

function checkOf(hashA: number, hashB: number, version: number): number {
  hash.reset();
  hash.u32(hashA);
  hash.u32(hashB);
  hash.u64(version);
  hash.finish();
  return hash.a >>> 0;
}

/** What stands before the bytes of a stored value. */
export interface StoredHeader {
  readonly expireAtMs: number;
  readonly version: number;
  readonly raw: boolean;
  readonly check: number;
}

/** A whole stored value; its bytes are a view of what the store gave. */
export interface StoredValue extends Value {
  readonly version: number;
  /** What it adds to the hash of the data. */
  readonly hashA: number;
  readonly hashB: number;
}

/** Throws CorruptionError when it makes no sense. Whether it is whole only `readStored` can tell. */
export function decodeHeader(stored: Uint8Array): StoredHeader {
  const type = stored[0];
  if (stored.length < VALUE_HEADER_BYTES || (type! & ~RAW_FLAG) !== STRING_TYPE) {
    throw new CorruptionError(`the store holds a value of ${stored.length} bytes that is no value`);
  }
  try {
    const reader = new ByteReader(stored, 1);
    const [expireAtMs, version, check] = [reader.u64(), reader.u64(), reader.u32()];
    return { expireAtMs, version, check, raw: (type! & RAW_FLAG) !== 0 };
  } catch (error) {
    if (error instanceof MalformedError)
      throw new CorruptionError('the store holds a malformed value', error);
    throw error;
  }
}

/** The value of the key `name`. Throws CorruptionError when it is not whole, or that of another key. */
export function readStored(name: string, stored: Uint8Array): StoredValue {
  const { expireAtMs, version, raw, check } = headerOf(name, stored);
  const bytes = stored.subarray(VALUE_HEADER_BYTES);
  hashRecord(name, typeByte(raw), expireAtMs, bytes);
  const { a: hashA, b: hashB } = hash;
  if (checkOf(hashA, hashB, version) !== check) throw damaged(name);
  return { type: 'string', bytes, expireAtMs, version, raw, hashA, hashB };
}

function headerOf(name: string, stored: Uint8Array): StoredHeader {
  try {
    return decodeHeader(stored);
  } catch (error) {
    throw error instanceof CorruptionError ? damaged(name, error) : error;
  }
}

function damaged(name: string, cause?: unknown): CorruptionError {
  return new CorruptionError(
    `the store is damaged: the value of the key ${printable(name)} is not what was written for it`,
    cause,
  );
}

/** The key for people, in quotes, with what does not print as hexadecimal; at most 64 of its characters. */
export function printable(name: string): string {
  const shown = name.slice(0, NAME_SHOWN_MAX);
  const escaped = shown.replace(/["\\]|[^ -~]/g, (character) =>
    character === '"' || character === '\\'
      ? `\\${character}`
      : `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
  return `"${escaped}"${name.length > NAME_SHOWN_MAX ? '...' : ''}`;
}

function writeU64(target: Buffer, value: number, offset: number): void {
  target.writeUInt32LE(value % 0x1_0000_0000, offset);
  target.writeUInt32LE(Math.floor(value / 0x1_0000_0000), offset + 4);
}
