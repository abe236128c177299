/**
 * A fast 64-bit hash, kept as two lanes of 32 bits, because JavaScript multiplies 32 bits natively and 64 only with
 * BigInt. It tells replicas that differ apart; it is no defence against somebody who looks for collisions.
 *
 * Each word is mixed into both lanes with different multipliers and rotations, as MurmurHash3 does, and `finish` lets
 * every input bit reach every output bit. Long byte strings go through the native CRC-32 first, which is faster from
 * some hundred bytes on (measured: 530 ns for 1 KiB by this loop, 270 ns by crc32).
 */
import { crc32 } from './checksum.ts';

const NATIVE_FROM_BYTES = 512;

export class Hash64 {
  /** The two lanes, signed 32-bit numbers (small integers to V8, where unsigned ones would be boxed). */
  a = 0;
  b = 0;

  reset(): void {
    this.a = 0x9e3779b9 | 0;
    this.b = 0x7f4a7c15 | 0;
  }

  u32(word: number): void {
    this.a = rotate(Math.imul(this.a ^ word, 0x85ebca6b), 15);
    this.b = rotate(Math.imul((this.b + word) | 0, 0xc2b2ae35), 13) ^ this.a;
  }

  /** A whole number in [0, 2^53). */
  u64(value: number): void {
    this.u32(value | 0);
    this.u32((value / 0x1_0000_0000) | 0);
  }

  /** Length included, so that two strings in a row cannot trade characters. Characters are below 256. */
  latin1(text: string): void {
    const length = text.length;
    this.u32(length);
    let offset = 0;
    for (; offset + 4 <= length; offset += 4) {
      this.u32(
        text.charCodeAt(offset) |
          (text.charCodeAt(offset + 1) << 8) |
          (text.charCodeAt(offset + 2) << 16) |
          (text.charCodeAt(offset + 3) << 24),
      );
    }
    let rest = 0;
    for (; offset < length; offset++) rest = (rest << 8) | text.charCodeAt(offset);
    this.u32(rest);
  }

  /** Length included. */
  bytes(bytes: Uint8Array): void {
    const length = bytes.length;
    this.u32(length);
    if (length >= NATIVE_FROM_BYTES) {
      this.u32(crc32(bytes) | 0);
      return;
    }
    let offset = 0;
    for (; offset + 4 <= length; offset += 4) {
      this.u32(
        bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16) | (bytes[offset + 3]! << 24),
      );
    }
    let rest = 0;
    for (; offset < length; offset++) rest = (rest << 8) | bytes[offset]!;
    this.u32(rest);
  }

  finish(): void {
    const a = mix(this.a ^ Math.imul(this.b, 0x27d4eb2f));
    this.b = mix((this.b + Math.imul(a, 0x165667b1)) | 0);
    this.a = a;
  }

  /** 16 hexadecimal digits. */
  hex(): string {
    return hex32(this.a) + hex32(this.b);
  }
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

/** The finalizer of MurmurHash3. */
function mix(word: number): number {
  let mixed = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}

function hex32(word: number): string {
  return (word >>> 0).toString(16).padStart(8, '0');
}
