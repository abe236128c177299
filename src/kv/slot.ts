/**
 * Which of the 16384 hash slots a key belongs to: CRC-16 (XMODEM: polynomial 0x1021, initial 0) of the key, or of what
 * stands between its first `{` and the next `}` when that is not empty, so that a client can keep keys together.
 *
 * Source: the Redis Cluster specification, "Hash tags".
 */
export const SLOTS = 16384;

const TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  return crc & 0xffff;
});

/** `name`: the key, one character per byte. */
export function slotOf(name: string): number {
  let from = 0;
  let to = name.length;
  const open = name.indexOf('{');
  if (open >= 0) {
    const close = name.indexOf('}', open + 1);
    if (close > open + 1) {
      from = open + 1;
      to = close;
    }
  }
  let crc = 0;
  for (let i = from; i < to; i++) crc = ((crc << 8) & 0xffff) ^ TABLE[(crc >> 8) ^ name.charCodeAt(i)]!;
  return crc % SLOTS;
}
