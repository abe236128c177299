/**
 * A sorted run: keys with counts or values, by partition, in each in the order of the keys' bytes. What a map task spills,
 * and what it leaves behind for the reduce tasks: one file, whatever the number of partitions.
 *
 *   header     magic "HSRN" | version u8 | kind u8 (1 counts, 2 values) | 0 u16
 *   entry ...  shared varint | suffix length varint | suffix | then   counts: count varint
 *                                                                     values: length varint | value
 *              (shared: so many bytes it has in common with the key before it; the first of a partition has none)
 *   index      for each partition   offset u64 | bytes u64 | entries u64 | crc32 of its entries u32 | crc32 of this u32
 *   trailer    offset of the index u64 | partitions u32 | kind u8 | 0 u8 u16 | crc32 of this u32 | magic "HSRE"
 *
 * Numbers are little-endian; a varint has seven bits a byte, the lowest first. A reduce task reads the trailer, one row of
 * the index and one partition, and each has a checksum of its own. (Front coding as in LevelDB's tables.)
 */
import { Buffer } from 'node:buffer';
import { ByteReader, ByteWriter } from '../lib/bytes.ts';
import { crc32 } from '../lib/checksum.ts';
import { CorruptionError } from '../lib/errors.ts';

export type RunKind = 'counts' | 'values';

/** Where one partition lies in a file, and what is in it. */
export interface RunSlice {
  readonly kind: RunKind;
  readonly offset: number;
  readonly bytes: number;
  readonly entries: number;
  readonly crc32: number;
}

export interface RunTrailer {
  readonly kind: RunKind;
  readonly partitions: number;
  readonly indexOffset: number;
}

/** What is in the file is not what was written there. */
export class RunDamagedError extends CorruptionError {
  readonly path: string;
  constructor(path: string, message: string) {
    super(message);
    this.path = path;
  }
}

export const HEADER_BYTES = 8;
export const ROW_BYTES = 32;
export const TRAILER_BYTES = 24;
/** Of a number below 2^53. */
export const VARINT_BYTES_MAX = 8;

const HEADER_MAGIC = Buffer.from('HSRN');
const TRAILER_MAGIC = Buffer.from('HSRE');
const VERSION = 1;
const KIND_CODES: Readonly<Record<RunKind, number>> = { counts: 1, values: 2 };

export function encodeHeader(kind: RunKind): Buffer {
  const writer = new ByteWriter(HEADER_BYTES);
  writer.raw(HEADER_MAGIC);
  writer.u8(VERSION);
  writer.u8(KIND_CODES[kind]);
  writer.u16(0);
  return writer.take();
}

/** Throws RunDamagedError. */
export function checkHeader(bytes: Uint8Array, kind: RunKind, path: string): void {
  if (bytes.length < HEADER_BYTES || !encodeHeader(kind).equals(bytes)) {
    throw new RunDamagedError(path, `${path} does not begin as a sorted run does`);
  }
}

export function encodeRow(partition: number, slice: Omit<RunSlice, 'kind'>): Buffer {
  const writer = new ByteWriter(ROW_BYTES);
  writer.u64(slice.offset);
  writer.u64(slice.bytes);
  writer.u64(slice.entries);
  writer.u32(slice.crc32);
  writer.u32(crc32(writer.view(), partition));
  return writer.take();
}

/** Throws RunDamagedError. */
export function decodeRow(
  bytes: Uint8Array,
  partition: number,
  { kind, indexOffset }: RunTrailer,
  path: string,
): RunSlice {
  const damaged = new RunDamagedError(path, `the index of ${path} is damaged at partition ${partition}`);
  if (bytes.length < ROW_BYTES) throw damaged;
  const reader = new ByteReader(bytes, ROW_BYTES - 4);
  if (reader.u32() !== crc32(bytes.subarray(0, ROW_BYTES - 4), partition)) throw damaged;
  const row = new ByteReader(bytes);
  const slice = { kind, offset: row.u64(), bytes: row.u64(), entries: row.u64(), crc32: row.u32() };
  if (slice.offset < HEADER_BYTES || slice.offset + slice.bytes > indexOffset) throw damaged;
  return slice;
}

export function encodeTrailer({ kind, partitions, indexOffset }: RunTrailer): Buffer {
  const writer = new ByteWriter(TRAILER_BYTES);
  writer.u64(indexOffset);
  writer.u32(partitions);
  writer.u8(KIND_CODES[kind]);
  writer.u8(0);
  writer.u16(0);
  writer.u32(crc32(writer.view()));
  writer.raw(TRAILER_MAGIC);
  return writer.take();
}

/** `bytes`: the last of a file of `fileBytes`. Throws RunDamagedError. */
export function decodeTrailer(bytes: Uint8Array, fileBytes: number, path: string): RunTrailer {
  const cut = new RunDamagedError(path, `${path} is no whole sorted run: it has no valid end`);
  if (bytes.length < TRAILER_BYTES) throw cut;
  const magic = bytes.subarray(TRAILER_BYTES - TRAILER_MAGIC.length);
  const sum = new ByteReader(bytes, TRAILER_BYTES - 8).u32();
  if (!TRAILER_MAGIC.equals(magic) || sum !== crc32(bytes.subarray(0, TRAILER_BYTES - 8))) throw cut;
  const reader = new ByteReader(bytes);
  const indexOffset = reader.u64();
  const partitions = reader.u32();
  const code = reader.u8();
  const kind = code === KIND_CODES.counts ? 'counts' : code === KIND_CODES.values ? 'values' : undefined;
  if (kind === undefined || indexOffset + partitions * ROW_BYTES + TRAILER_BYTES !== fileBytes) throw cut;
  return { kind, partitions, indexOffset };
}
