/**
 * The keys under which the store holds things; all numbers big-endian, so that ranges are ranges.
 *
 *   data      'd' | group u32 | generation u32 | space u48 | slot u16 | order u32 | key
 *   due       'e' | group u32 | generation u32 | space u48 | expireAtMs u64 | key    no value: which keys expire, by time
 *   session   's' | group u32 | generation u32 | session u64 [| seq u64]             see client-sessions.ts
 *   meta      'm' | group u32 | generation u32                                       see meta.ts
 *   pointer   'g' | group u32                                                        see pointer.ts
 *   progress  'p' | group u32                                                        see snapshot-progress.ts
 *
 * A space is what a database's keys live in. Each of the 16 databases has one, the meta record says which; its number is
 * never used twice. So FLUSHDB is one step (the database gets a new, empty space, and the old one is garbage that is
 * cleared in the background), and so is SWAPDB (two databases trade their spaces). The slot stands in the key so that a
 * slot is a range and can be moved to another group; slot and order are the key's position, see position.ts.
 *
 * A generation is one whole state of a group. A snapshot from another server is written under the next number, beside
 * the state in use, and the pointer then says that it is the state; what has a lower number is garbage.
 */
import { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import { asBuffer } from '../lib/bytes.ts';
import { CorruptionError } from '../lib/errors.ts';
import type { GroupId } from '../raft/types.ts';
import { ORDERS, POSITIONS } from './position.ts';

const DATA_FAMILY = 0x64;
const DUE_FAMILY = 0x65;
const META_FAMILY = 0x6d;
const POINTER_FAMILY = 0x67;
const PROGRESS_FAMILY = 0x70;
const SESSION_FAMILY = 0x73;
const FAMILIES: ReadonlyMap<number, Family> = new Map([
  [DATA_FAMILY, 'data'],
  [DUE_FAMILY, 'due'],
  [META_FAMILY, 'meta'],
  [SESSION_FAMILY, 'session'],
  [POINTER_FAMILY, 'pointer'],
  [PROGRESS_FAMILY, 'progress'],
]);
/** Of a state, in the order of their keys. */
const STATE_FAMILIES = [DATA_FAMILY, DUE_FAMILY, META_FAMILY, SESSION_FAMILY];
/** Family, group, generation. */
const REGION_PREFIX_BYTES = 9;
const SPACE_PREFIX_BYTES = REGION_PREFIX_BYTES + 6;
const DATA_HEADER_BYTES = SPACE_PREFIX_BYTES + 6;
const DUE_HEADER_BYTES = SPACE_PREFIX_BYTES + 8;
const SESSION_KEY_BYTES = REGION_PREFIX_BYTES + 8;
const SPACE_END = 2 ** 48;
const GENERATION_END = 2 ** 32;

/** Where in the store one state of a group lives. */
export interface Region {
  readonly group: GroupId;
  readonly generation: number;
}

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

  constructor(region: Region, space: number) {
    this.#data = spacePrefix(DATA_FAMILY, region, space);
    this.#due = spacePrefix(DUE_FAMILY, region, space);
    this.#dataEnd = spacePrefix(DATA_FAMILY, region, space + 1);
    this.#dueEnd = spacePrefix(DUE_FAMILY, region, space + 1);
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
export function decodeDataKey(stored: Uint8Array): {
  readonly space: number;
  readonly name: string;
  readonly position: number;
} {
  const key = viewOf(stored, DATA_HEADER_BYTES, DATA_FAMILY);
  const slot = key.readUInt16BE(SPACE_PREFIX_BYTES);
  const order = key.readUInt32BE(SPACE_PREFIX_BYTES + 2);
  return {
    space: key.readUIntBE(REGION_PREFIX_BYTES, 6),
    name: key.toString('latin1', DATA_HEADER_BYTES),
    position: slot * ORDERS + order,
  };
}

/** Throws CorruptionError. */
export function decodeDueKey(stored: Uint8Array): {
  readonly space: number;
  readonly name: string;
  readonly expireAtMs: number;
} {
  const key = viewOf(stored, DUE_HEADER_BYTES, DUE_FAMILY);
  return {
    space: key.readUIntBE(REGION_PREFIX_BYTES, 6),
    name: key.toString('latin1', DUE_HEADER_BYTES),
    expireAtMs: readU64(key, SPACE_PREFIX_BYTES),
  };
}

function viewOf(stored: Uint8Array, bytesMin: number, family: number): Buffer {
  if (stored.length < bytesMin || stored[0] !== family) {
    throw new CorruptionError(`the store holds a key of ${stored.length} bytes that is no key`);
  }
  return asBuffer(stored);
}

/**
 * What the store holds of spaces that no database has any more: everything below `nextSpace` but `live`, as ranges
 * between the live ones.
 */
export function garbageRanges(region: Region, live: readonly number[], nextSpace: number): KeyRange[] {
  const ranges: KeyRange[] = [];
  let from = 0;
  for (const space of [...live].sort((a, b) => a - b).concat(nextSpace)) {
    if (space > from) {
      for (const family of [DATA_FAMILY, DUE_FAMILY]) {
        ranges.push({ from: spacePrefix(family, region, from), to: spacePrefix(family, region, space) });
      }
    }
    from = space + 1;
  }
  return ranges;
}

/** All that the store holds of the generations from <= generation < to of a group. */
export function generationRanges(group: GroupId, from: number, to: number): KeyRange[] {
  return STATE_FAMILIES.map((family) => ({
    from: regionPrefix(family, { group, generation: from }),
    to: regionPrefix(family, { group, generation: to }),
  }));
}

/** The same of all generations from `from` on. */
export function generationRangesFrom(group: GroupId, from: number): KeyRange[] {
  return STATE_FAMILIES.map((family) => ({
    from: regionPrefix(family, { group, generation: from }),
    to: groupKey(family, group + 1),
  }));
}

function spacePrefix(family: number, region: Region, space: number): Buffer {
  assert(space >= 0 && space < SPACE_END, 'the number of a space fits in 48 bits', space);
  const prefix = Buffer.alloc(SPACE_PREFIX_BYTES);
  writeRegion(prefix, family, region);
  prefix.writeUIntBE(space, REGION_PREFIX_BYTES, 6);
  return prefix;
}

function regionPrefix(family: number, region: Region): Buffer {
  const prefix = Buffer.alloc(REGION_PREFIX_BYTES);
  writeRegion(prefix, family, region);
  return prefix;
}

function writeRegion(key: Buffer, family: number, { group, generation }: Region): void {
  assert(generation >= 0 && generation < GENERATION_END, 'a generation fits in 32 bits', generation);
  key[0] = family;
  key.writeUInt32BE(group, 1);
  key.writeUInt32BE(generation, 5);
}

function groupKey(family: number, group: GroupId): Buffer {
  const key = Buffer.alloc(5);
  key[0] = family;
  key.writeUInt32BE(group, 1);
  return key;
}

export function metaKey(region: Region): Uint8Array {
  return regionPrefix(META_FAMILY, region);
}

/** Where versions before generations had their meta record. */
export function formerMetaKey(group: GroupId): Uint8Array {
  return groupKey(META_FAMILY, group);
}

export function pointerKey(group: GroupId): Uint8Array {
  return groupKey(POINTER_FAMILY, group);
}

export function progressKey(group: GroupId): Uint8Array {
  return groupKey(PROGRESS_FAMILY, group);
}

export type Family = 'data' | 'due' | 'meta' | 'session' | 'pointer' | 'progress';

/** What a stored key is by its first byte. */
export function familyOf(stored: Uint8Array): Family | undefined {
  return FAMILIES.get(stored[0]!);
}

/** Where a key of a state lives. Throws CorruptionError. */
export function regionOf(stored: Uint8Array): Region {
  const key = viewOf(stored, REGION_PREFIX_BYTES, stored[0]!);
  return { group: key.readUInt32BE(1), generation: key.readUInt32BE(5) };
}

/** What of the range is behind a key. */
export function rangeAfter({ to }: KeyRange, stored: Uint8Array): KeyRange {
  return { from: successor(stored), to };
}

/** The range that holds this key alone. */
export function only(key: Uint8Array): KeyRange {
  return { from: key, to: successor(key) };
}

/** The record of a session, or with `seq` that of a reply. */
export function sessionKey(region: Region, session: number, seq?: number): Buffer {
  const key = Buffer.alloc(seq === undefined ? SESSION_KEY_BYTES : SESSION_KEY_BYTES + 8);
  writeRegion(key, SESSION_FAMILY, region);
  writeU64(key, session, REGION_PREFIX_BYTES);
  if (seq !== undefined) writeU64(key, seq, SESSION_KEY_BYTES);
  return key;
}

/** Throws CorruptionError. */
export function decodeSessionKey(stored: Uint8Array): {
  readonly session: number;
  readonly seq: number | undefined;
} {
  const key = viewOf(stored, SESSION_KEY_BYTES, SESSION_FAMILY);
  const session = readU64(key, REGION_PREFIX_BYTES);
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

/** All sessions of a state, behind the stored key `after` if that is given. */
export function sessionsAfter(region: Region, after: Uint8Array | undefined): KeyRange {
  const { group, generation } = region;
  return {
    from: after === undefined ? sessionKey(region, 0) : successor(after),
    to: regionPrefix(SESSION_FAMILY, { group, generation: generation + 1 }),
  };
}

/** The smallest key behind this one. */
function successor(key: Uint8Array): Uint8Array {
  const next = Buffer.alloc(key.length + 1);
  next.set(key, 0);
  return next;
}

// Keys on their way to another server: without the place they have in the store of this one

/** The stored key without group and generation. */
export function portableKey(stored: Uint8Array): Buffer {
  const key = Buffer.allocUnsafe(stored.length - REGION_PREFIX_BYTES + 1);
  key[0] = stored[0]!;
  key.set(stored.subarray(REGION_PREFIX_BYTES), 1);
  return key;
}

/** The other way round; undefined when it is neither a data key nor a session's. */
export function localKey(portable: Uint8Array, region: Region): Buffer | undefined {
  const family = portable[0];
  if (family !== DATA_FAMILY && family !== SESSION_FAMILY) return undefined;
  const key = Buffer.allocUnsafe(portable.length + REGION_PREFIX_BYTES - 1);
  writeRegion(key, family, region);
  key.set(portable.subarray(1), REGION_PREFIX_BYTES);
  return key;
}
