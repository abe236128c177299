/**
 * The pointer: which generation of the store is the state of a group (stored-keys.ts). It is written when a snapshot
 * from another server takes the place of what was there, in the batch that makes the snapshot the state. Without a
 * pointer it is generation 0, and no snapshot ever came.
 *
 *   format u8 | generation u32 | installed index u64 | installed term u64 | crc32 u32 of the key and all before
 *
 * The installed entry is the last that the snapshot contained. The log must begin behind it, or lead up to it: where it
 * does neither, a crash has come between the store and the log, and the log is the one that is behind.
 */
import { ByteReader, ByteWriter, MalformedError } from '../lib/bytes.ts';
import { crc32 } from '../lib/checksum.ts';
import { ConfigError, CorruptionError } from '../lib/errors.ts';
import type { GroupId } from '../raft/types.ts';
import { pointerKey } from './stored-keys.ts';

const POINTER_FORMAT = 1;

/** Where the state came from. */
export interface Origin {
  readonly generation: number;
  /** The last entry of the snapshot from which it began; undefined: it began empty. */
  readonly installed: { readonly index: number; readonly term: number } | undefined;
}

/** Of a group that has received no snapshot. */
export const OWN: Origin = { generation: 0, installed: undefined };

export function encodePointer(
  group: GroupId,
  pointer: { readonly generation: number; readonly index: number; readonly term: number },
): Uint8Array {
  const writer = new ByteWriter(32);
  writer.u8(POINTER_FORMAT);
  writer.u32(pointer.generation);
  writer.u64(pointer.index);
  writer.u64(pointer.term);
  writer.u32(crc32(writer.view(), crc32(pointerKey(group))));
  return writer.copy();
}

/** Of what the store has under `pointerKey`. Throws CorruptionError, ConfigError. */
export function decodePointer(group: GroupId, bytes: Uint8Array | undefined): Origin {
  if (bytes === undefined) return OWN;
  if (bytes.length > 0 && bytes[0] !== POINTER_FORMAT) {
    throw new ConfigError(
      `the store has a pointer of format ${bytes[0]}, this server knows format ${POINTER_FORMAT} only: use the version of hstore that wrote it`,
    );
  }
  try {
    const reader = new ByteReader(bytes, 1);
    const [generation, index, term] = [reader.u32(), reader.u64(), reader.u64()];
    const checked = bytes.subarray(0, reader.offset);
    if (reader.u32() !== crc32(checked, crc32(pointerKey(group)))) throw new MalformedError('wrong checksum');
    if (reader.remaining !== 0) throw new MalformedError(`${reader.remaining} bytes too many`);
    return { generation, installed: { index, term } };
  } catch (error) {
    if (error instanceof MalformedError)
      throw new CorruptionError('the store is damaged: its pointer is malformed', error);
    throw error;
  }
}
