/**
 * How far a snapshot from another server has come in: written with every chunk, in the same batch, so that after a crash
 * it goes on where it was, and what is there adds up.
 *
 *   format u8 | generation u32 | id 16 bytes | crc32 of the header u32 | index u64 | term u64 | bytes u64 |
 *   sums (state-sum.ts) | position: length u32 and bytes | crc32 u32 of the key and all before
 *
 * The position is the key, as it came, of the last entry that came whole; empty before the first.
 */
import { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import { ByteReader, ByteWriter, bytesEqual, MalformedError } from '../lib/bytes.ts';
import { crc32 } from '../lib/checksum.ts';
import type { GroupId } from '../raft/types.ts';
import type { StateSum } from './state-sum.ts';
import { progressKey } from './stored-keys.ts';

const PROGRESS_FORMAT = 1;
export const SNAPSHOT_ID_BYTES = 16;

/** Which snapshot is coming in, and where it is put. */
export interface Incoming {
  readonly generation: number;
  readonly id: Uint8Array;
  readonly headerCheck: number;
  /** The last entry that it contains. */
  readonly index: number;
  readonly term: number;
}

export function sameIncoming(a: Incoming, b: Incoming): boolean {
  return (
    a.generation === b.generation &&
    a.headerCheck === b.headerCheck &&
    a.index === b.index &&
    a.term === b.term &&
    bytesEqual(a.id, b.id)
  );
}

export function encodeProgress(
  group: GroupId,
  incoming: Incoming,
  came: { readonly bytes: number; readonly sum: StateSum; readonly position: Uint8Array | undefined },
): Uint8Array {
  assert(incoming.id.length === SNAPSHOT_ID_BYTES, 'an id has 16 bytes', incoming.id.length);
  const writer = new ByteWriter(1024);
  writer.u8(PROGRESS_FORMAT);
  writer.u32(incoming.generation);
  writer.raw(incoming.id);
  writer.u32(incoming.headerCheck);
  writer.u64(incoming.index);
  writer.u64(incoming.term);
  writer.u64(came.bytes);
  came.sum.encode(writer);
  writer.bytes(came.position ?? new Uint8Array(0));
  writer.u32(crc32(writer.view(), crc32(progressKey(group))));
  return writer.copy();
}

export interface Progress {
  readonly incoming: Incoming;
  readonly bytes: number;
  /** Brings the sums into `sum`, which must be of the same snapshot, and gives the position. */
  resume(sum: StateSum): Uint8Array | undefined;
}

/** Undefined when there is none that this server can make use of: then what came in is begun anew. */
export function decodeProgress(group: GroupId, stored: Uint8Array | undefined): Progress | undefined {
  if (stored === undefined || stored.length < 4 || stored[0] !== PROGRESS_FORMAT) return undefined;
  const checked = stored.subarray(0, stored.length - 4);
  if (new ByteReader(stored, checked.length).u32() !== crc32(checked, crc32(progressKey(group)))) {
    return undefined;
  }
  try {
    const reader = new ByteReader(checked, 1);
    const generation = reader.u32();
    const id = Buffer.from(reader.raw(SNAPSHOT_ID_BYTES));
    const [headerCheck, index, term, bytes] = [reader.u32(), reader.u64(), reader.u64(), reader.u64()];
    return {
      incoming: { generation, id, headerCheck, index, term },
      bytes,
      resume: (sum) => {
        sum.decode(reader);
        const position = reader.bytes();
        return position.length === 0 ? undefined : Uint8Array.from(position);
      },
    };
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}
