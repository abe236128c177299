/**
 * CRC-64 as Redis signs its DUMP payloads with it: the Jones polynomial, reflected, beginning with 0. Two halves of 32
 * bits, eight bytes a step, by eight tables ("slicing by 8", Kounavis and Berry 2005).
 */

const SLICES = 8;
/** The polynomial ad93d235 94c935a9, its bits in reverse order. */
const POLYNOMIAL_HIGH = 0x95ac9329;
const POLYNOMIAL_LOW = 0xac4bc9b5;
const LOW = new Uint32Array(SLICES * 256);
const HIGH = new Uint32Array(SLICES * 256);

for (let byte = 0; byte < 256; byte++) {
  let low = byte;
  let high = 0;
  for (let bit = 0; bit < 8; bit++) {
    const carry = low & 1;
    low = (low >>> 1) | (high << 31);
    high >>>= 1;
    if (carry === 1) {
      low ^= POLYNOMIAL_LOW;
      high ^= POLYNOMIAL_HIGH;
    }
  }
  LOW[byte] = low;
  HIGH[byte] = high;
}
// What a byte does when zero bytes, one more for each table, come behind it.
for (let i = 256; i < SLICES * 256; i++) {
  const low = LOW[i - 256]!;
  const high = HIGH[i - 256]!;
  LOW[i] = ((low >>> 8) | (high << 24)) ^ LOW[low & 0xff]!;
  HIGH[i] = (high >>> 8) ^ HIGH[low & 0xff]!;
}

export function crc64(bytes: Uint8Array): bigint {
  let low = 0;
  let high = 0;
  let i = 0;
  for (; i + SLICES <= bytes.length; i += SLICES) {
    low ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    high ^= bytes[i + 4]! | (bytes[i + 5]! << 8) | (bytes[i + 6]! << 16) | (bytes[i + 7]! << 24);
    const a = 1792 + (low & 0xff);
    const b = 1536 + ((low >>> 8) & 0xff);
    const c = 1280 + ((low >>> 16) & 0xff);
    const d = 1024 + (low >>> 24);
    const e = 768 + (high & 0xff);
    const f = 512 + ((high >>> 8) & 0xff);
    const g = 256 + ((high >>> 16) & 0xff);
    const h = high >>> 24;
    low = LOW[a]! ^ LOW[b]! ^ LOW[c]! ^ LOW[d]! ^ LOW[e]! ^ LOW[f]! ^ LOW[g]! ^ LOW[h]!;
    high = HIGH[a]! ^ HIGH[b]! ^ HIGH[c]! ^ HIGH[d]! ^ HIGH[e]! ^ HIGH[f]! ^ HIGH[g]! ^ HIGH[h]!;
  }
  for (; i < bytes.length; i++) {
    const byte = (low ^ bytes[i]!) & 0xff;
    low = ((low >>> 8) | (high << 24)) ^ LOW[byte]!;
    high = (high >>> 8) ^ HIGH[byte]!;
  }
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}
