/**
 * The keys under which the store holds things; all numbers big-endian, so that ranges are ranges.
 *
 *   data      'd' | group u32 | space u48 | slot u16 | order u32 | key
 *   due       'e' | group u32 | space u48 | expireAtMs u64 | key           no value: which keys expire, by time
 *   session   's' | group u32 | session u64 [| seq u64]                    see client-sessions.ts
 *   meta      'm' | group u32
 *
 * A space is what a database's keys live in. Each of the 16 databases has one, the meta record says which; its number is
 * never used twice. So FLUSHDB is one step (the database gets a new, empty space, and the old one is garbage that is
 * cleared in the background), and so is SWAPDB (two databases trade their spaces). The slot stands in the key so that a
 * slot is a range and can be moved to another group; slot and order are the key's position, see position.ts.
 */
import { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import { CorruptionError } from '../lib/errors.ts';
import type { GroupId } from '../raft/types.ts';
import { ORDERS, POSITIONS } from './position.ts';

const DATA_FAMILY = 0x64;
const DUE_FAMILY = 0x65;
const META_FAMILY = 0x6d;
const SESSION_FAMILY = 0x73;
const SPACE_PREFIX_BYTES = 11;
const DATA_HEADER_BYTES = SPACE_PREFIX_BYTES + 6;
const DUE_HEADER_BYTES = SPACE_PREFIX_BYTES + 8;
const SESSION_KEY_BYTES = 13;
const SPACE_END = 2 ** 48;

/** Entries with from <= key < to. */
export interface KeyRange {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

/** The stored keys of one space. */
export class StoredKeys {
  readonly #data: Buffer;
  readonly #due: Buffer;
  readonly #dataEnd: Buffer;
  readonly #dueEnd: Buffer;

  constructor(group: GroupId, space: number) {
    this.#data = spacePrefix(DATA_FAMILY, group, space);
    this.#due = spacePrefix(DUE_FAMILY, group, space);
    this.#dataEnd = spacePrefix(DATA_FAMILY, group, space + 1);
    this.#dueEnd = spacePrefix(DUE_FAMILY, group, space + 1);
  }

  /** `position`: that of the key (position.ts). */
  data(name: string, position: number): Uint8Array {
    const stored = Buffer.allocUnsafe(DATA_HEADER_BYTES + name.length);
    this.#writePosition(stored, position);
    stored.write(name, DATA_HEADER_BYTES, 'latin1');
    return stored;
  }

  due(name: string, expireAtMs: number): Uint8Array {
    const stored = Buffer.allocUnsafe(DUE_HEADER_BYTES + name.length);
    this.#writeMoment(stored, expireAtMs);
    stored.write(name, DUE_HEADER_BYTES, 'latin1');
    return stored;
  }

  /** All data from a position on. */
  dataFrom(position: number): KeyRange {
    return { from: this.#atPosition(position), to: this.#dataEnd };
  }

  /** All data behind a stored key. */
  dataAfter(stored: Uint8Array): KeyRange {
    return { from: successor(stored), to: this.#dataEnd };
  }

  /** The data of one position. */
  dataAt(position: number): KeyRange {
    return { from: this.#atPosition(position), to: this.#atPosition(position + 1) };
  }

  /** What is due before `beforeMs`, behind the stored key `after` if that is given. */
  dueBefore(beforeMs: number, after: Uint8Array | undefined): KeyRange {
    const to = Buffer.allocUnsafe(DUE_HEADER_BYTES);
    this.#writeMoment(to, beforeMs);
    return { from: after === undefined ? this.#due : successor(after), to };
  }

  /** All that is due, whenever, behind the stored key `after` if that is given. */
  dueAfter(after: Uint8Array | undefined): KeyRange {
    return { from: after === undefined ? this.#due : successor(after), to: this.#dueEnd };
  }

  #atPosition(position: number): Uint8Array {
    if (position >= POSITIONS) return this.#dataEnd;
    const stored = Buffer.allocUnsafe(DATA_HEADER_BYTES);
    this.#writePosition(stored, position);
    return stored;
  }

  #writePosition(stored: Buffer, position: number): void {
    stored.set(this.#data, 0);
    stored.writeUInt16BE(Math.floor(position / ORDERS), SPACE_PREFIX_BYTES);
    stored.writeUInt32BE(position % ORDERS, SPACE_PREFIX_BYTES + 2);
  }

  #writeMoment(stored: Buffer, atMs: number): void {
    stored.set(this.#due, 0);
    writeU64(stored, atMs, SPACE_PREFIX_BYTES);
  }
}

/** Throws CorruptionError. */
export function decodeDataKey(stored: Uint8Array): { readonly name: string; readonly position: number } {
  const key = viewOf(stored, DATA_HEADER_BYTES, DATA_FAMILY);
  const slot = key.readUInt16BE(SPACE_PREFIX_BYTES);
  const order = key.readUInt32BE(SPACE_PREFIX_BYTES + 2);
  return { name: key.toString('latin1', DATA_HEADER_BYTES), position: slot * ORDERS + order };
}

/** Throws CorruptionError. */
export function decodeDueKey(stored: Uint8Array): { readonly name: string; readonly expireAtMs: number } {
  const key = viewOf(stored, DUE_HEADER_BYTES, DUE_FAMILY);
  return { name: key.toString('latin1', DUE_HEADER_BYTES), expireAtMs: readU64(key, SPACE_PREFIX_BYTES) };
}

function viewOf(stored: Uint8Array, bytesMin: number, family: number): Buffer {
  if (stored.length < bytesMin || stored[0] !== family) {
    throw new CorruptionError(`the store holds a key of ${stored.length} bytes that is no key`);
  }
  return Buffer.from(stored.buffer, stored.byteOffset, stored.length);
}

/**
 * What the store holds of spaces that no database has any more: everything below `nextSpace` but `live`, as ranges
 * between the live ones.
 */
export function garbageRanges(group: GroupId, live: readonly number[], nextSpace: number): KeyRange[] {
  const ranges: KeyRange[] = [];
  let from = 0;
  for (const space of [...live].sort((a, b) => a - b).concat(nextSpace)) {
    if (space > from) {
      for (const family of [DATA_FAMILY, DUE_FAMILY]) {
        ranges.push({ from: spacePrefix(family, group, from), to: spacePrefix(family, group, space) });
      }
    }
    from = space + 1;
  }
  return ranges;
}

function spacePrefix(family: number, group: GroupId, space: number): Buffer {
  assert(space >= 0 && space < SPACE_END, 'the number of a space fits in 48 bits', space);
  const prefix = Buffer.alloc(SPACE_PREFIX_BYTES);
  prefix[0] = family;
  prefix.writeUInt32BE(group, 1);
  prefix.writeUIntBE(space, 5, 6);
  return prefix;
}

export function metaKey(group: GroupId): Uint8Array {
  const key = Buffer.alloc(5);
  key[0] = META_FAMILY;
  key.writeUInt32BE(group, 1);
  return key;
}

/** The record of a session, or with `seq` that of a reply. */
export function sessionKey(group: GroupId, session: number, seq?: number): Buffer {
  const key = Buffer.alloc(seq === undefined ? SESSION_KEY_BYTES : SESSION_KEY_BYTES + 8);
  key[0] = SESSION_FAMILY;
  key.writeUInt32BE(group, 1);
  writeU64(key, session, 5);
  if (seq !== undefined) writeU64(key, seq, SESSION_KEY_BYTES);
  return key;
}

/** Throws CorruptionError. */
export function decodeSessionKey(stored: Uint8Array): {
  readonly session: number;
  readonly seq: number | undefined;
} {
  const key = viewOf(stored, SESSION_KEY_BYTES, SESSION_FAMILY);
  const session = readU64(key, 5);
  if (key.length === SESSION_KEY_BYTES) return { session, seq: undefined };
  if (key.length !== SESSION_KEY_BYTES + 8) {
    throw new CorruptionError(`the store holds a key of ${stored.length} bytes that is no session's`);
  }
  return { session, seq: readU64(key, SESSION_KEY_BYTES) };
}

function writeU64(target: Buffer, value: number, offset: number): void {
  target.writeUInt32BE(Math.floor(value / ORDERS), offset);
  target.writeUInt32BE(value % ORDERS, offset + 4);
}

function readU64(source: Buffer, offset: number): number {
  return source.readUInt32BE(offset) * ORDERS + source.readUInt32BE(offset + 4);
}

/** All sessions of a group, behind the stored key `after` if that is given. */
export function sessionsAfter(group: GroupId, after: Uint8Array | undefined): KeyRange {
  const to = Buffer.alloc(5);
  to[0] = SESSION_FAMILY;
  to.writeUInt32BE(group + 1, 1);
  return { from: after === undefined ? sessionKey(group, 0) : successor(after), to };
}

/** The smallest key behind this one. */
function successor(key: Uint8Array): Uint8Array {
  const next = Buffer.alloc(key.length + 1);
  next.set(key, 0);
  return next;
}
