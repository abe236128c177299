/**
 * The bytes of the write-ahead log.
 *
 * A segment is a preallocated file of zeros. It begins with a header, and records follow, each at a multiple of eight:
 *
 *   header   magic u32 | 0 u32 | version u32 | crc u32 | segment number u64 | seed u32 | 0 u32 | first sequence u64
 *   record   magic u32 | crc u32 | length u32 | 0 u32 | sequence u64 | items (length bytes) | zeros to 8
 *
 * One record is one write: everything that all groups gathered for one fsync, under one checksum, so it is there whole
 * or not at all. Records are numbered through all segments. The checksum starts from the segment's random seed, so
 * neither the remains of an earlier file nor bytes that a client stored can pass for a record.
 *
 *   items    entries    1 | group u32 | first index u64 | count u32 | count x (term u64 | type u8 | data length u32 | data)
 *            hardState  2 | group u32 | term u64 | votedFor u64
 *            logEnd     3 | group u32 | last index u64 | last term u64      in the first record of a segment, see wal.ts
 *            snapshot   4 | group u32 | index u64 | term u64
 *
 * Entries replace whatever the log held from their first index on. A snapshot has taken the place of the group's whole
 * log, which begins anew behind the entry it names. Little-endian throughout.
 */
import { assert } from '../lib/assert.ts';
import { ByteReader, type ByteWriter, MalformedError } from '../lib/bytes.ts';
import { crc32 } from '../lib/checksum.ts';
import type { Entry, EntryType, GroupId, HardState } from './types.ts';

export const WAL_VERSION = 2;
export const SEGMENT_HEADER_BYTES = 40;
export const RECORD_HEADER_BYTES = 24;
const SEGMENT_MAGIC = 0x57_4c_48_53;
const RECORD_MAGIC = 0x63_52_53_48;
/** Magic, checksum, and where the checksum begins to count. */
const RECORD_CHECKED_FROM = 8;

export interface SegmentHeader {
  readonly number: number;
  readonly seed: number;
  readonly firstSequence: number;
}

export type WalItem =
  | {
      readonly type: 'entries';
      readonly group: GroupId;
      readonly from: number;
      readonly entries: readonly Entry[];
    }
  | { readonly type: 'hardState'; readonly group: GroupId; readonly hardState: HardState }
  | {
      readonly type: 'logEnd';
      readonly group: GroupId;
      readonly lastIndex: number;
      readonly lastTerm: number;
    }
  | { readonly type: 'snapshot'; readonly group: GroupId; readonly index: number; readonly term: number };

export interface WalRecord {
  readonly sequence: number;
  readonly items: readonly WalItem[];
  /** Offset of the byte behind the record, padding included. */
  readonly end: number;
}

export function align(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

export function encodeSegmentHeader(out: ByteWriter, header: SegmentHeader): void {
  const start = out.length;
  out.u32(SEGMENT_MAGIC);
  out.u32(0);
  out.u32(WAL_VERSION);
  out.u32(0);
  out.u64(header.number);
  out.u32(header.seed);
  out.u32(0);
  out.u64(header.firstSequence);
  assert(out.length - start === SEGMENT_HEADER_BYTES, 'a segment header has its size', out.length - start);
  out.patchU32(start + 12, crc32(out.view(start + 16)));
}

/** Undefined when these bytes are no header: a segment not yet used, or torn while it was put into use. */
export function decodeSegmentHeader(bytes: Uint8Array): (SegmentHeader & { version: number }) | undefined {
  if (bytes.length < SEGMENT_HEADER_BYTES) return undefined;
  const reader = new ByteReader(bytes);
  if (reader.u32() !== SEGMENT_MAGIC || reader.u32() !== 0) return undefined;
  const version = reader.u32();
  const crc = reader.u32();
  if (crc !== crc32(bytes.subarray(16, SEGMENT_HEADER_BYTES))) return undefined;
  const number = reader.u64();
  const seed = reader.u32();
  reader.u32();
  return { version, number, seed, firstSequence: reader.u64() };
}

/** Appends one record to `out`, which must stand at a multiple of eight. */
export function encodeRecord(
  out: ByteWriter,
  record: { seed: number; sequence: number; items: readonly WalItem[] },
): void {
  const start = out.length;
  assert(start % 8 === 0, 'a record begins at a multiple of eight', start);
  out.u32(RECORD_MAGIC);
  out.u32(0);
  out.u32(0);
  out.u32(0);
  out.u64(record.sequence);
  for (const item of record.items) encodeItem(out, item);
  const length = out.length - start - RECORD_HEADER_BYTES;
  out.patchU32(start + 8, length);
  out.patchU32(start + 4, crc32(out.view(start + RECORD_CHECKED_FROM), record.seed));
  while (out.length % 8 !== 0) out.u8(0);
}

const ENTRY_TYPES: readonly EntryType[] = ['noop', 'data', 'configuration'];

function encodeItem(out: ByteWriter, item: WalItem): void {
  switch (item.type) {
    case 'entries':
      out.u8(1);
      out.u32(item.group);
      out.u64(item.from);
      out.u32(item.entries.length);
      for (const entry of item.entries) encodeEntry(out, entry);
      return;
    case 'hardState':
      out.u8(2);
      out.u32(item.group);
      out.u64(item.hardState.term);
      out.u64(item.hardState.votedFor);
      return;
    case 'logEnd':
      out.u8(3);
      out.u32(item.group);
      out.u64(item.lastIndex);
      out.u64(item.lastTerm);
      return;
    case 'snapshot':
      out.u8(4);
      out.u32(item.group);
      out.u64(item.index);
      out.u64(item.term);
      return;
  }
}

export function encodeEntry(out: ByteWriter, entry: Entry): void {
  out.u64(entry.term);
  out.u8(ENTRY_TYPES.indexOf(entry.type));
  out.bytes(entry.data);
}

/** The entry's data is a view of what the reader reads. */
export function decodeEntry(reader: ByteReader, index: number): Entry {
  const term = reader.u64();
  const type = ENTRY_TYPES[reader.u8()];
  if (type === undefined) throw new MalformedError(`entry ${index} is of no known type`);
  return { index, term, type, data: reader.bytes() };
}

/** Whether a record may begin at `offset`: for a segment whose seed is not known, so that no checksum can tell. */
export function mayBeRecord(segment: Uint8Array, offset: number): boolean {
  return offset + 4 <= segment.length && new ByteReader(segment, offset).u32() === RECORD_MAGIC;
}

/** What stands at `offset`: a record, nothing (zeros as preallocated), or something else. */
export function decodeRecord(segment: Uint8Array, offset: number, seed: number): WalRecord | 'empty' | 'bad' {
  if (offset + RECORD_HEADER_BYTES > segment.length) return isZero(segment, offset) ? 'empty' : 'bad';
  const reader = new ByteReader(segment, offset);
  const magic = reader.u32();
  if (magic === 0 && isZero(segment, offset, offset + RECORD_HEADER_BYTES)) return 'empty';
  if (magic !== RECORD_MAGIC) return 'bad';
  const crc = reader.u32();
  const length = reader.u32();
  if (reader.u32() !== 0) return 'bad';
  const contentEnd = offset + RECORD_HEADER_BYTES + length;
  if (contentEnd > segment.length) return 'bad';
  if (crc32(segment.subarray(offset + RECORD_CHECKED_FROM, contentEnd), seed) !== crc) return 'bad';
  const sequence = reader.u64();
  const items = decodeItems(new ByteReader(segment, reader.offset, contentEnd));
  return { sequence, items, end: align(contentEnd) };
}

function decodeItems(reader: ByteReader): WalItem[] {
  const items: WalItem[] = [];
  while (reader.remaining > 0) {
    const type = reader.u8();
    const group = reader.u32();
    if (type === 1) {
      const from = reader.u64();
      const count = reader.u32();
      const entries: Entry[] = [];
      for (let i = 0; i < count; i++) entries.push(decodeEntry(reader, from + i));
      items.push({ type: 'entries', group, from, entries });
    } else if (type === 2) {
      items.push({ type: 'hardState', group, hardState: { term: reader.u64(), votedFor: reader.u64() } });
    } else if (type === 3) {
      items.push({ type: 'logEnd', group, lastIndex: reader.u64(), lastTerm: reader.u64() });
    } else if (type === 4) {
      items.push({ type: 'snapshot', group, index: reader.u64(), term: reader.u64() });
    } else {
      throw new MalformedError(`a log item is of unknown type ${type}`);
    }
  }
  return items;
}

export function isZero(bytes: Uint8Array, from = 0, to = bytes.length): boolean {
  for (let i = from; i < to; i++) if (bytes[i] !== 0) return false;
  return true;
}
