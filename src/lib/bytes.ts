/**
 * Bytes out and bytes in: the writer and reader under every format of hstore (log entries, log records, peer frames,
 * stored values). Little-endian; a number up to 2^53 takes eight bytes, so that the formats outlive JavaScript's limit.
 *
 * The reader trusts nobody: what it reads may come from a broken disk or a stranger on the network, so a length that
 * does not fit is a `MalformedError`, never a read past the end.
 */
import { Buffer } from 'node:buffer';
import { assert } from './assert.ts';

export class MalformedError extends Error {
  override readonly name = 'MalformedError';
}

const HIGH = 0x1_0000_0000;
const LARGE_BYTES = 4 << 20;

export class ByteWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(initialBytes = 256) {
    this.#buffer = Buffer.allocUnsafeSlow(initialBytes);
  }

  get length(): number {
    return this.#length;
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#buffer[this.#length++] = value;
  }

  u16(value: number): void {
    this.#reserve(2);
    this.#buffer.writeUInt16LE(value, this.#length);
    this.#length += 2;
  }

  u32(value: number): void {
    this.#reserve(4);
    this.#buffer.writeUInt32LE(value, this.#length);
    this.#length += 4;
  }

  /** A whole number in [0, 2^53). */
  u64(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, 'a u64 is a safe whole number', value);
    this.#reserve(8);
    this.#buffer.writeUInt32LE(value % HIGH, this.#length);
    this.#buffer.writeUInt32LE(Math.floor(value / HIGH), this.#length + 4);
    this.#length += 8;
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** A length (u32), then the bytes. */
  bytes(bytes: Uint8Array): void {
    this.u32(bytes.length);
    this.raw(bytes);
  }

  /** UTF-8, with its length in bytes (u32) before it. */
  text(text: string): void {
    this.bytes(Buffer.from(text, 'utf8'));
  }

  /** Overwrites four bytes written before, for a length or checksum known only now. */
  patchU32(offset: number, value: number): void {
    assert(offset + 4 <= this.#length, 'a patch lies inside what was written', offset, this.#length);
    this.#buffer.writeUInt32LE(value, offset);
  }

  /** A view, valid until the next write or `reset`. */
  view(from = 0): Buffer {
    return this.#buffer.subarray(from, this.#length);
  }

  /** A copy that is the caller's. */
  copy(): Buffer {
    const copy = Buffer.allocUnsafeSlow(this.#length);
    this.#buffer.copy(copy, 0, 0, this.#length);
    return copy;
  }

  /** What was written, without a copy; the writer begins anew in other memory. */
  take(): Buffer {
    const taken = this.view();
    this.#buffer = Buffer.allocUnsafeSlow(256);
    this.#length = 0;
    return taken;
  }

  /** Forgets what was written, and keeps the memory unless it is over `keepBytesMax`. */
  reset(keepBytesMax = 1 << 20): void {
    this.#length = 0;
    if (this.#buffer.length > keepBytesMax) this.#buffer = Buffer.allocUnsafeSlow(256);
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#buffer.length) return;
    // Something large comes with little else: twice as much room would be three times the cost.
    const roomy = needed > LARGE_BYTES ? needed + (needed >> 3) : this.#buffer.length * 2;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, roomy));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}

export class ByteReader {
  readonly #buffer: Buffer;
  #offset: number;
  readonly #end: number;

  constructor(bytes: Uint8Array, offset = 0, end = bytes.length) {
    this.#buffer = asBuffer(bytes);
    this.#offset = offset;
    this.#end = end;
  }

  get offset(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.#end - this.#offset;
  }

  u8(): number {
    this.#need(1);
    return this.#buffer[this.#offset++]!;
  }

  u16(): number {
    this.#need(2);
    const value = this.#buffer.readUInt16LE(this.#offset);
    this.#offset += 2;
    return value;
  }

  u32(): number {
    this.#need(4);
    const value = this.#buffer.readUInt32LE(this.#offset);
    this.#offset += 4;
    return value;
  }

  u64(): number {
    this.#need(8);
    const high = this.#buffer.readUInt32LE(this.#offset + 4);
    if (high >= 0x20_0000) throw new MalformedError(`a number over 2^53 at byte ${this.#offset}`);
    const value = high * HIGH + this.#buffer.readUInt32LE(this.#offset);
    this.#offset += 8;
    return value;
  }

  /** A view of the next `length` bytes, not a copy. */
  raw(length: number): Buffer {
    this.#need(length);
    const view = this.#buffer.subarray(this.#offset, this.#offset + length);
    this.#offset += length;
    return view;
  }

  /** A view of bytes written by `ByteWriter.bytes`. */
  bytes(): Buffer {
    return this.raw(this.u32());
  }

  text(): string {
    return this.bytes().toString('utf8');
  }

  #need(bytes: number): void {
    if (this.#offset + bytes > this.#end) {
      throw new MalformedError(`${bytes} bytes wanted at byte ${this.#offset}, the end is at ${this.#end}`);
    }
  }
}

/** The same memory with Buffer's methods. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function bytesEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && asBuffer(a).equals(b);
}

/** One byte, one character: how commands, options and map keys are held as strings without losing a byte. */
export function latin1(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('latin1');
}

export function fromLatin1(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}
