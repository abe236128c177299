/**
 * Frames: how the byte stream between two servers is cut into what they say.
 *
 *   length u32 | crc32 u32 | type u8 | payload          (length and checksum are those of type and payload)
 *
 * The reader gathers the chunks of a frame and joins them once, when the last has come: the work is linear in the bytes,
 * however they were cut, and memory is taken for bytes that came, never for a length that was only announced. A frame
 * that lies whole in one chunk is not copied.
 */

import { assert } from '../lib/assert.ts';
import { asBuffer, ByteWriter, MalformedError } from '../lib/bytes.ts';
import { crc32 } from '../lib/checksum.ts';
import { encodePeerMessage, type PeerMessage } from './peer-message.ts';

const FRAME_TYPES = [
  ...(['hello', 'challenge', 'proof', 'welcome', 'refused'] as const),
  ...(['messages', 'ping', 'pong', 'stream', 'end', 'card', 'invitation', 'answer'] as const),
];
export type FrameType = (typeof FRAME_TYPES)[number];

export interface Frame {
  readonly type: FrameType;
  /** A view, perhaps of a larger chunk, which it keeps alive. */
  readonly payload: Uint8Array;
}

const HEADER_BYTES = 8;
/** The messages of a turn are cut into frames of about this size, so that the other side can begin before all is there. */
const FRAME_BYTES_GOOD = 256 << 10;
/** Of every frame that is none of the following, and so of all that a stranger may send. */
export const SMALL_FRAME_BYTES_MAX = 1 << 10;
/** The payload of a frame of a stream, and of one of a visit. With the type before it, a frame is one byte longer. */
export const STREAM_PAYLOAD_BYTES_MAX = 512 << 10;
export const VISIT_PAYLOAD_BYTES_MAX = 64 << 10;

/** Of one unit of a string. */
const UTF8_BYTES_MAX = 3;

const NO_BYTES = new Uint8Array(0);

export function encodeFrame(type: FrameType, payload: Uint8Array = NO_BYTES): Uint8Array {
  assert(
    payload.length <= payloadBytesMax(type),
    'a payload is within the bounds of its type',
    type,
    payload.length,
  );
  const out = new ByteWriter(HEADER_BYTES + 1 + payload.length);
  const start = beginFrame(out, type);
  out.raw(payload);
  endFrame(out, start);
  return out.view();
}

function payloadBytesMax(type: FrameType): number {
  if (type === 'stream') return STREAM_PAYLOAD_BYTES_MAX;
  if (type === 'card' || type === 'invitation' || type === 'answer') return VISIT_PAYLOAD_BYTES_MAX;
  return SMALL_FRAME_BYTES_MAX - 1;
}

function beginFrame(out: ByteWriter, type: FrameType): number {
  const start = out.length;
  out.u32(0);
  out.u32(0);
  out.u8(FRAME_TYPES.indexOf(type));
  return start;
}

function endFrame(out: ByteWriter, start: number): void {
  const body = out.view(start + HEADER_BYTES);
  out.patchU32(start, body.length);
  out.patchU32(start + 4, crc32(body));
}

/** An upper bound of the bytes that `m` takes in a frame, and near it for a large one. */
export function messageBytes(m: PeerMessage): number {
  let bytes = 128;
  if (m.kind === 'writes') bytes += m.run.length;
  else if (m.kind === 'call' || m.kind === 'answer') bytes += m.payload.length;
  else if (m.kind === 'raft' && m.message.type === 'AppendEntries') {
    for (const entry of m.message.entries) bytes += 16 + entry.data.length;
  } else if (m.kind === 'change' && 'description' in m.change) {
    bytes += UTF8_BYTES_MAX * m.change.description.length;
  }
  return bytes;
}

/** The messages of one turn to one peer, as frames in one piece of memory, for one write. */
export class MessageFrames {
  #out: ByteWriter | undefined;
  #frameStart = -1;

  get bytes(): number {
    return this.#out?.length ?? 0;
  }

  /** The message is encoded here and now. `bytes` is its `messageBytes`. */
  add(message: PeerMessage, bytes: number): void {
    this.#out ??= new ByteWriter(Math.max(1024, bytes + HEADER_BYTES + 1));
    const out = this.#out;
    const started = this.#frameStart >= 0;
    if (started && out.length - this.#frameStart + bytes > FRAME_BYTES_GOOD) this.#endFrame(out);
    if (this.#frameStart < 0) this.#frameStart = beginFrame(out, 'messages');
    const before = out.length;
    encodePeerMessage(out, message);
    assert(out.length - before <= bytes, 'a message is not larger than it was taken to be', message.kind);
  }

  /** Everything added since the last time; the memory is the caller's. */
  take(): Uint8Array {
    const out = this.#out;
    if (out === undefined) return NO_BYTES;
    this.#endFrame(out);
    this.#out = undefined;
    return out.view();
  }

  clear(): void {
    this.#out = undefined;
    this.#frameStart = -1;
  }

  #endFrame(out: ByteWriter): void {
    assert(this.#frameStart >= 0, 'a frame has begun');
    endFrame(out, this.#frameStart);
    this.#frameStart = -1;
  }
}

/** Call `feed`, then `next` until it has no more. After a MalformedError the stream cannot be read on. */
export class FrameReader {
  /** Of type and payload. A longer frame is refused by its length alone. */
  bodyBytesMax: number;
  /** The beginning of a frame whose end has not come. */
  #gathered: Uint8Array[] = [];
  #gatheredBytes = 0;
  /** How many bytes to gather: a header, then the frame that it announces. */
  #wantedBytes = HEADER_BYTES;
  #chunk: Uint8Array = NO_BYTES;
  #offset = 0;

  constructor(bodyBytesMax: number) {
    this.bodyBytesMax = bodyBytesMax;
  }

  /** Takes the chunk over: it must stay unchanged. */
  feed(chunk: Uint8Array): void {
    assert(this.#offset === this.#chunk.length, 'the last chunk has been read', this.#offset);
    this.#chunk = chunk;
    this.#offset = 0;
  }

  next(): Frame | undefined {
    for (;;) {
      const left = this.#chunk.length - this.#offset;
      if (left === 0) {
        this.#chunk = NO_BYTES;
        this.#offset = 0;
        return undefined;
      }
      if (this.#gatheredBytes === 0 && left >= HEADER_BYTES) {
        this.#wantedBytes = this.#frameBytes(this.#chunk, this.#offset);
        if (left >= this.#wantedBytes) return this.#frameOfChunk();
      }
      this.#gather(Math.min(left, this.#wantedBytes - this.#gatheredBytes));
      if (this.#gatheredBytes < this.#wantedBytes) continue;
      const joined = this.#join();
      if (this.#wantedBytes > HEADER_BYTES) {
        this.#forget();
        return parseFrame(joined, 0, joined.length);
      }
      this.#wantedBytes = this.#frameBytes(joined, 0);
      this.#gathered = [joined];
    }
  }

  #frameOfChunk(): Frame {
    const start = this.#offset;
    this.#offset += this.#wantedBytes;
    this.#forget();
    return parseFrame(this.#chunk, start, this.#offset);
  }

  #gather(bytes: number): void {
    this.#gathered.push(this.#chunk.subarray(this.#offset, this.#offset + bytes));
    this.#gatheredBytes += bytes;
    this.#offset += bytes;
  }

  #join(): Uint8Array {
    return this.#gathered.length === 1
      ? this.#gathered[0]!
      : Buffer.concat(this.#gathered, this.#gatheredBytes);
  }

  #forget(): void {
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#wantedBytes = HEADER_BYTES;
  }

  /** Header included. */
  #frameBytes(bytes: Uint8Array, offset: number): number {
    const bodyBytes = asBuffer(bytes).readUInt32LE(offset);
    if (bodyBytes === 0) throw new MalformedError('a frame of no bytes');
    if (bodyBytes > this.bodyBytesMax) {
      throw new MalformedError(`a frame of ${bodyBytes} bytes, at most ${this.bodyBytesMax} are taken`);
    }
    return HEADER_BYTES + bodyBytes;
  }
}

function parseFrame(bytes: Uint8Array, start: number, end: number): Frame {
  const body = bytes.subarray(start + HEADER_BYTES, end);
  const crc = asBuffer(bytes).readUInt32LE(start + 4);
  if (crc32(body) !== crc) throw new MalformedError('a frame whose checksum does not hold');
  const type = FRAME_TYPES[body[0]!];
  if (type === undefined) throw new MalformedError(`a frame of unknown type ${body[0]}`);
  return { type, payload: body.subarray(1) };
}

/**
 * `bytes` for keeping. What is a small part of a larger piece of memory is copied: Raft holds its entries for long, and
 * each would keep alive the whole chunk that it came in.
 */
export function forKeeping(bytes: Uint8Array): Uint8Array {
  return bytes.buffer.byteLength <= 2 * bytes.length ? bytes : new Uint8Array(bytes);
}
