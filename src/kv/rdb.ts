/**
 * A string in the format of Redis's RDB files, version 10, with the footer of DUMP:
 *
 *     0 | string | version u16 LE | crc64 u64 LE of all before
 *
 * A string is a length and its bytes, or a small integer, or LZF with both lengths before it. The first two bits of the
 * first byte say which, and how long a length is. Written uncompressed; all forms are read.
 *
 * After rdb.c and cluster.c of Redis 7.0: `rdbSaveRawString`, `rdbGenericLoadStringObject`, `verifyDumpPayload`.
 */
import { asBuffer, ByteReader, ByteWriter, fromLatin1, MalformedError } from '../lib/bytes.ts';
import { crc64 } from './crc64.ts';
import { parseInteger } from './integer.ts';
import { decompressLzf } from './lzf.ts';

const TYPE_STRING = 0;
const VERSION = 10;
const CHECKSUM_BYTES = 8;
const FOOTER_BYTES = 2 + CHECKSUM_BYTES;

const LENGTH_6_BITS = 0;
const LENGTH_14_BITS = 1;
const LENGTH_32_BITS = 0x80;
const LENGTH_64_BITS = 0x81;
const ENCODED = 3;
const INT8 = 0;
const INT16 = 1;
const INT32 = 2;
const LZF = 3;

export function encodeDump(value: Uint8Array): Uint8Array {
  const writer = new ByteWriter(value.length + 32);
  writer.u8(TYPE_STRING);
  encodeString(writer, value);
  writer.u16(VERSION);
  const footer = new Uint8Array(CHECKSUM_BYTES);
  asBuffer(footer).writeBigUInt64LE(crc64(writer.view()));
  writer.raw(footer);
  return writer.view();
}

function encodeString(writer: ByteWriter, value: Uint8Array): void {
  const integer = parseInteger(value);
  if (typeof integer === 'number' && integer >= -(2 ** 31) && integer < 2 ** 31) {
    encodeInteger(writer, integer);
  } else {
    encodeLength(writer, value.length);
    writer.raw(value);
  }
}

function encodeInteger(writer: ByteWriter, integer: number): void {
  const magnitude = integer < 0 ? ~integer : integer;
  if (magnitude < 2 ** 7) {
    writer.u8((ENCODED << 6) | INT8);
    writer.u8(integer & 0xff);
  } else if (magnitude < 2 ** 15) {
    writer.u8((ENCODED << 6) | INT16);
    writer.u16(integer & 0xffff);
  } else {
    writer.u8((ENCODED << 6) | INT32);
    writer.u32(integer >>> 0);
  }
}

/** The most significant byte first, unlike all other numbers. */
function encodeLength(writer: ByteWriter, length: number): void {
  if (length < 2 ** 6) {
    writer.u8(length);
  } else if (length < 2 ** 14) {
    writer.u8((LENGTH_14_BITS << 6) | (length >> 8));
    writer.u8(length & 0xff);
  } else {
    writer.u8(LENGTH_32_BITS);
    for (const shift of [24, 16, 8, 0]) writer.u8((length >>> shift) & 0xff);
  }
}

/** Whether the payload is of a version that we know, and whole. */
export function verifyDump(payload: Uint8Array): boolean {
  if (payload.length < FOOTER_BYTES) return false;
  const buffer = asBuffer(payload);
  if (buffer.readUInt16LE(payload.length - FOOTER_BYTES) > VERSION) return false;
  const checked = payload.subarray(0, payload.length - CHECKSUM_BYTES);
  return buffer.readBigUInt64LE(payload.length - CHECKSUM_BYTES) === crc64(checked);
}

/** The value of a verified payload, a view or a copy; undefined when it is no string, or one over the limit. */
export function decodeDump(payload: Uint8Array, bytesMax: number): Uint8Array | undefined {
  const reader = new ByteReader(payload, 0, payload.length - FOOTER_BYTES);
  try {
    if (reader.u8() !== TYPE_STRING) return undefined;
    const value = decodeString(reader, bytesMax);
    return value !== undefined && value.length <= bytesMax ? value : undefined;
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}

function decodeString(reader: ByteReader, bytesMax: number): Uint8Array | undefined {
  const first = reader.u8();
  if (first >> 6 !== ENCODED) return reader.raw(decodeLength(reader, first));
  const form = first & 0x3f;
  if (form === INT8) return fromLatin1(String(reader.raw(1).readInt8()));
  if (form === INT16) return fromLatin1(String(reader.raw(2).readInt16LE()));
  if (form === INT32) return fromLatin1(String(reader.raw(4).readInt32LE()));
  if (form !== LZF) return undefined;
  const compressedLength = decodeLength(reader, reader.u8());
  const length = decodeLength(reader, reader.u8());
  return length > bytesMax ? undefined : decompressLzf(reader.raw(compressedLength), length);
}

function decodeLength(reader: ByteReader, first: number): number {
  const form = first >> 6;
  if (form === LENGTH_6_BITS) return first & 0x3f;
  if (form === LENGTH_14_BITS) return ((first & 0x3f) << 8) | reader.u8();
  if (first === LENGTH_32_BITS) return reader.raw(4).readUInt32BE();
  if (first === LENGTH_64_BITS) return Number(reader.raw(8).readBigUInt64BE());
  throw new MalformedError(`a length that begins with ${first}`);
}
