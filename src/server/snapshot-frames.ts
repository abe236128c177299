/**
 * What the two ends of a snapshot's transfer say to each other, over a stream of its own (peer-stream.ts).
 *
 *   sender     offer     0 | version u8 | group u32 | term u64 | id (16 bytes) | index u64 | last term u64 | header
 *   receiver   resume    1 | position, if it has a part already: the key behind which to go on
 *   sender     chunk     2 | a piece of the stream of kv/snapshot-format.ts        as many as there are
 *   sender     end       3
 *   receiver   installed 4 | index u64
 *   receiver   refused   5 | why, as text                                          instead of resume or installed
 *
 * A frame may be long (a position is as long as a key), and is cut into pieces: more u8 (1: more will follow) | bytes.
 *
 * `term` is the sender's, `id` names its view of the store: a receiver that was cut off goes on where it was if the view
 * is still the same. Header and chunks are the state machine's business.
 */
import { Buffer } from 'node:buffer';
import { ByteReader, ByteWriter, MalformedError } from '../lib/bytes.ts';
import type { GroupId } from '../raft/types.ts';
import type { PeerStream } from './peer-stream.ts';

export const SNAPSHOT_PROTOCOL_VERSION = 1;
export const SNAPSHOT_ID_BYTES = 16;

export interface SnapshotOffer {
  readonly group: GroupId;
  readonly term: number;
  readonly id: Uint8Array;
  /** The last entry that it holds. */
  readonly index: number;
  readonly lastTerm: number;
  readonly header: Uint8Array;
}

export type SnapshotFrame =
  | ({ readonly type: 'offer' } & SnapshotOffer)
  | { readonly type: 'resume'; readonly position: Uint8Array | undefined }
  | { readonly type: 'chunk'; readonly bytes: Uint8Array }
  | { readonly type: 'end' }
  | { readonly type: 'installed'; readonly index: number }
  | { readonly type: 'refused'; readonly reason: string };

const PIECE_BYTES_MAX = 300 << 10;
/** Above the longest key, and the longest header. */
const FRAME_BYTES_MAX = 80 << 20;

export function sendSnapshotFrame(stream: Pick<PeerStream, 'send'>, frame: SnapshotFrame): void {
  const bytes = encodeSnapshotFrame(frame);
  for (let at = 0; at === 0 || at < bytes.length; at += PIECE_BYTES_MAX) {
    const part = bytes.subarray(at, at + PIECE_BYTES_MAX);
    const piece = new Uint8Array(part.length + 1);
    piece[0] = at + part.length < bytes.length ? 1 : 0;
    piece.set(part, 1);
    stream.send(piece);
  }
}

/** Joins the pieces of one stream. */
export class SnapshotFrames {
  #parts: Uint8Array[] = [];
  #bytes = 0;

  /** The frame that this piece completes; undefined when more will follow. Throws MalformedError. */
  take(piece: Uint8Array): SnapshotFrame | undefined {
    if (piece.length === 0) throw new MalformedError('a piece of no bytes in the transfer of a snapshot');
    const part = piece.subarray(1);
    this.#parts.push(part);
    this.#bytes += part.length;
    if (this.#bytes > FRAME_BYTES_MAX) {
      throw new MalformedError(`a frame of more than ${FRAME_BYTES_MAX} bytes in the transfer of a snapshot`);
    }
    if (piece[0] === 1) return undefined;
    const bytes = this.#parts.length === 1 ? part : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#bytes = 0;
    return decodeSnapshotFrame(bytes);
  }
}

function encodeSnapshotFrame(frame: SnapshotFrame): Uint8Array {
  const out = new ByteWriter(frame.type === 'chunk' ? frame.bytes.length + 1 : 256);
  switch (frame.type) {
    case 'offer':
      out.u8(0);
      out.u8(SNAPSHOT_PROTOCOL_VERSION);
      out.u32(frame.group);
      out.u64(frame.term);
      out.raw(frame.id);
      out.u64(frame.index);
      out.u64(frame.lastTerm);
      out.raw(frame.header);
      break;
    case 'resume':
      out.u8(1);
      if (frame.position !== undefined) out.raw(frame.position);
      break;
    case 'chunk':
      out.u8(2);
      out.raw(frame.bytes);
      break;
    case 'end':
      out.u8(3);
      break;
    case 'installed':
      out.u8(4);
      out.u64(frame.index);
      break;
    case 'refused':
      out.u8(5);
      out.text(frame.reason);
      break;
  }
  return out.view();
}

/** Throws MalformedError. Bytes are views of `payload`. */
function decodeSnapshotFrame(payload: Uint8Array): SnapshotFrame {
  const reader = new ByteReader(payload);
  const type = reader.u8();
  switch (type) {
    case 0:
      return decodeOffer(reader);
    case 1:
      return { type: 'resume', position: reader.remaining === 0 ? undefined : reader.raw(reader.remaining) };
    case 2:
      return { type: 'chunk', bytes: reader.raw(reader.remaining) };
    case 3:
      return { type: 'end' };
    case 4:
      return { type: 'installed', index: reader.u64() };
    case 5:
      return { type: 'refused', reason: reader.text() };
    default:
      throw new MalformedError(`a frame of unknown type ${type} in the transfer of a snapshot`);
  }
}

function decodeOffer(reader: ByteReader): SnapshotFrame {
  const version = reader.u8();
  if (version !== SNAPSHOT_PROTOCOL_VERSION) {
    throw new MalformedError(
      `a snapshot of version ${version}, this server knows ${SNAPSHOT_PROTOCOL_VERSION}`,
    );
  }
  return {
    type: 'offer',
    group: reader.u32(),
    term: reader.u64(),
    id: reader.raw(SNAPSHOT_ID_BYTES),
    index: reader.u64(),
    lastTerm: reader.u64(),
    header: reader.raw(reader.remaining),
  };
}
