/**
 * CRC-32 (IEEE 802.3, as in zlib and gzip) by the runtime's own native code. It tells a torn or rotten record from a
 * whole one; against an adversary it proves nothing, that is what the peers' handshake is for.
 */
import { crc32 as zlibCrc32 } from 'node:zlib';

/** The checksum of `bytes`, going on from `seed`, the checksum of what came before them. An unsigned 32-bit number. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return zlibCrc32(bytes, seed);
}
