/**
 * What two servers say to each other when a reduce task fetches map outputs: the protocol of the shuffle, version 1.
 *
 *   server                                            client (a reduce task)
 *     hello    magic "HSSH" | version u8 | nonce 16  ->
 *              <-  proof    nonce 16 | seal 32 | job name
 *     welcome  seal 32  ->
 *              <-  fetch    partition u32 | count u32 | count times: map task u32, attempt u64
 *     for each of these, in their order:
 *     slice    map task u32 | status u8 | kind u8 | bytes u64 | entries u64 | crc32 u32  ->
 *     data     of a slice that is sent: its bytes, as they are in the run (run-format.ts), in as many frames as it takes  ->
 *     torn     status u8: no more of this slice will come  ->
 *     and then the next fetch; one at a time.         At any time, and then the end: refused   reason u8  ->
 *
 *   frame      length u32 | type u8 | payload         (length: of type and payload)
 *
 * Numbers are little-endian. Both sides prove that they have the key of the job: a seal is HMAC-SHA256 by it of the side's
 * name, both nonces and the job's name. What a file is called is made of numbers, so nothing but map outputs of the job
 * can be asked for. When one output of a fetch cannot be had the task has failed, so the rest of them is looked for but
 * not sent.
 */
import { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import { ByteReader, ByteWriter, MalformedError } from '../lib/bytes.ts';
import { HMAC_BYTES, hmacSha256 } from '../lib/hmac.ts';
import type { RunKind, RunSlice } from './run-format.ts';

export const NONCE_BYTES = 16;
export const KEY_BYTES = 32;
export const FETCH_OUTPUTS_MAX = 1024;
/** Of a frame, its length included. */
export const FRAME_BYTES_MAX = 256 << 10;
export const FRAME_HEADER_BYTES = 5;
const DATA_BODY_BYTES_MAX = FRAME_BYTES_MAX - 4;
/** Of type and payload, of all other frames: before the proof, and after it. */
export const GREETING_BODY_BYTES_MAX = 1 << 10;
export const FETCH_BODY_BYTES_MAX = 1 + 8 + FETCH_OUTPUTS_MAX * 12;

const MAGIC = Buffer.from('HSSH');
const VERSION = 1;
const JOB_BYTES_MAX = 256;

const FRAME_TYPES = ['hello', 'proof', 'welcome', 'refused', 'fetch', 'slice', 'data', 'torn'] as const;
export type ShuffleFrameType = (typeof FRAME_TYPES)[number];

/** `busy`: later perhaps. */
const REFUSALS = ['malformed', 'wrong key', 'unknown job', 'busy'] as const;
export type ShuffleRefusal = (typeof REFUSALS)[number];

/**
 * `held`: it is there, but not sent; another one is lost. `missing` and `damaged`: it cannot be had there any more.
 * `unreadable`: the operating system did not let the server read it this time.
 */
const STATUSES = ['sent', 'held', 'missing', 'damaged', 'unreadable'] as const;
export type SliceStatus = (typeof STATUSES)[number];

const KINDS = ['counts', 'values'] as const;

/** What a map task has left: by whose attempt. */
export interface MapOutput {
  readonly map: number;
  readonly attempt: number;
}

export interface FetchRequest {
  readonly partition: number;
  /** 1 to FETCH_OUTPUTS_MAX. */
  readonly outputs: readonly MapOutput[];
}

export interface SliceAnswer {
  readonly map: number;
  readonly status: SliceStatus;
  /** Without its place; of an output that is not sent all is zero. */
  readonly slice: Omit<RunSlice, 'offset'>;
}

export interface Greeting {
  readonly job: string;
  readonly serverNonce: Uint8Array;
  readonly clientNonce: Uint8Array;
}

export interface ShuffleFrame {
  readonly type: ShuffleFrameType;
  /** A view; valid until the next. Of `data` perhaps not all: the next goes on. */
  readonly payload: Uint8Array;
}

/** The file that an attempt of a map task leaves in the job's directory. */
export function mapOutputName({ map, attempt }: MapOutput): string {
  return `map-${map}-${attempt}`;
}

/** A whole frame, or with `payloadBytes` the beginning of one that the caller completes. */
export function encodeShuffleFrame(
  type: ShuffleFrameType,
  payload: Uint8Array = new Uint8Array(0),
  payloadBytes = payload.length,
): Buffer {
  const out = new ByteWriter(FRAME_HEADER_BYTES + payload.length);
  out.u32(1 + payloadBytes);
  out.u8(FRAME_TYPES.indexOf(type));
  out.raw(payload);
  return out.view();
}

export function sealOf(
  key: Uint8Array,
  side: 'server' | 'client',
  { job, serverNonce, clientNonce }: Greeting,
): Uint8Array {
  assert(key.length === KEY_BYTES, 'the key of a job has its length', key.length);
  return hmacSha256(key, Buffer.from(`hstore shuffle ${side}\0`), serverNonce, clientNonce, Buffer.from(job));
}

export function encodeHello(nonce: Uint8Array): Buffer {
  assert(nonce.length === NONCE_BYTES, 'a nonce has its length', nonce.length);
  return encodeShuffleFrame('hello', Buffer.concat([MAGIC, Buffer.of(VERSION), nonce]));
}

/** The nonce. This and all below: throws MalformedError. */
export function decodeHello(payload: Uint8Array): Uint8Array {
  const reader = new ByteReader(payload);
  if (!MAGIC.equals(reader.raw(MAGIC.length))) throw new MalformedError('this is no shuffle server');
  const version = reader.u8();
  if (version !== VERSION) throw new MalformedError(`version ${version} of the shuffle is not known here`);
  const nonce = Uint8Array.from(reader.raw(NONCE_BYTES));
  checkEnd(reader);
  return nonce;
}

export function encodeProof({ job, clientNonce }: Greeting, seal: Uint8Array): Buffer {
  return encodeShuffleFrame('proof', Buffer.concat([clientNonce, seal, Buffer.from(job)]));
}

export function decodeProof(payload: Uint8Array): { job: string; nonce: Uint8Array; seal: Uint8Array } {
  const reader = new ByteReader(payload);
  const nonce = Uint8Array.from(reader.raw(NONCE_BYTES));
  const seal = reader.raw(HMAC_BYTES);
  if (reader.remaining > JOB_BYTES_MAX) throw new MalformedError('a job with a name too long');
  return { job: reader.raw(reader.remaining).toString('utf8'), nonce, seal };
}

export function encodeRefusal(reason: ShuffleRefusal): Buffer {
  return encodeShuffleFrame('refused', Buffer.of(REFUSALS.indexOf(reason)));
}

export function decodeRefusal(payload: Uint8Array): ShuffleRefusal {
  return oneOf(REFUSALS, payload, 'reason');
}

export function encodeTorn(status: SliceStatus): Buffer {
  return encodeShuffleFrame('torn', Buffer.of(STATUSES.indexOf(status)));
}

export function decodeTorn(payload: Uint8Array): SliceStatus {
  return oneOf(STATUSES, payload, 'status');
}

export function encodeFetch({ partition, outputs }: FetchRequest): Buffer {
  assert(outputs.length >= 1 && outputs.length <= FETCH_OUTPUTS_MAX, 'a fetch is bounded', outputs.length);
  const out = new ByteWriter(8 + outputs.length * 12);
  out.u32(partition);
  out.u32(outputs.length);
  for (const { map, attempt } of outputs) {
    out.u32(map);
    out.u64(attempt);
  }
  return encodeShuffleFrame('fetch', out.view());
}

export function decodeFetch(payload: Uint8Array): FetchRequest {
  const reader = new ByteReader(payload);
  const partition = reader.u32();
  const count = reader.u32();
  if (count < 1 || count > FETCH_OUTPUTS_MAX) throw new MalformedError(`a fetch of ${count} map outputs`);
  const outputs = Array.from({ length: count }, () => ({ map: reader.u32(), attempt: reader.u64() }));
  checkEnd(reader);
  return { partition, outputs };
}

export function encodeSlice({ map, status, slice }: SliceAnswer): Buffer {
  const out = new ByteWriter(26);
  out.u32(map);
  out.u8(STATUSES.indexOf(status));
  out.u8(KINDS.indexOf(slice.kind));
  out.u64(slice.bytes);
  out.u64(slice.entries);
  out.u32(slice.crc32);
  return encodeShuffleFrame('slice', out.view());
}

export const SLICE_FRAME_BYTES = encodeSlice({
  ...{ map: 0, status: 'sent', slice: { kind: 'counts', bytes: 0, entries: 0, crc32: 0 } },
}).length;

export function decodeSlice(payload: Uint8Array): SliceAnswer {
  const reader = new ByteReader(payload);
  const map = reader.u32();
  const status = oneOf(STATUSES, reader.raw(1), 'status');
  const kind: RunKind = oneOf(KINDS, reader.raw(1), 'kind');
  const slice = { kind, bytes: reader.u64(), entries: reader.u64(), crc32: reader.u32() };
  checkEnd(reader);
  if (slice.bytes > 0 !== slice.entries > 0) throw new MalformedError('a slice with entries of no bytes');
  return { map, status, slice };
}

function oneOf<T>(all: readonly T[], payload: Uint8Array, what: string): T {
  const found = payload.length === 1 ? all[payload[0]!] : undefined;
  if (found === undefined) throw new MalformedError(`an unknown ${what}`);
  return found;
}

function checkEnd({ remaining }: ByteReader): void {
  if (remaining > 0) throw new MalformedError(`${remaining} bytes too many in a frame`);
}

/**
 * Cuts a stream into frames. Those of data are handed on as they come, whatever their size; of others so many bytes are
 * gathered as came, and never more than are allowed. Call `feed`, then `next` until it has no more.
 */
export class ShuffleFrameReader {
  /** Of type and payload of all frames but data. */
  bodyBytesMax: number;
  #chunk: Uint8Array = new Uint8Array(0);
  #at = 0;
  readonly #header = Buffer.alloc(FRAME_HEADER_BYTES);
  #headerBytes = 0;
  #type: ShuffleFrameType = 'hello';
  /** Of the payload that has begun: what is missing; and what was gathered. */
  #missing = 0;
  #gathered: Uint8Array[] = [];

  constructor(bodyBytesMax: number) {
    this.bodyBytesMax = bodyBytesMax;
  }

  /** Takes the chunk over: it must stay unchanged. */
  feed(chunk: Uint8Array): void {
    assert(this.#at === this.#chunk.length, 'the last chunk has been read', this.#at);
    this.#chunk = chunk;
    this.#at = 0;
  }

  /** Throws MalformedError: then the stream cannot be read on. */
  next(): ShuffleFrame | undefined {
    if (this.#headerBytes < FRAME_HEADER_BYTES && !this.#readHeader()) return undefined;
    const piece = this.#chunk.subarray(this.#at, this.#at + this.#missing);
    this.#at += piece.length;
    this.#missing -= piece.length;
    if (this.#missing === 0) this.#headerBytes = 0;
    if (this.#type === 'data') return piece.length === 0 ? undefined : { type: 'data', payload: piece };
    if (this.#missing > 0) {
      if (piece.length > 0) this.#gathered.push(piece);
      return undefined;
    }
    const payload = this.#gathered.length === 0 ? piece : Buffer.concat([...this.#gathered, piece]);
    this.#gathered = [];
    return { type: this.#type, payload };
  }

  /** Whether the header is whole. */
  #readHeader(): boolean {
    const piece = this.#chunk.subarray(this.#at, this.#at + FRAME_HEADER_BYTES - this.#headerBytes);
    this.#header.set(piece, this.#headerBytes);
    this.#headerBytes += piece.length;
    this.#at += piece.length;
    if (this.#headerBytes < FRAME_HEADER_BYTES) return false;
    const bodyBytes = this.#header.readUInt32LE(0);
    const type = FRAME_TYPES[this.#header[4]!];
    if (type === undefined) throw new MalformedError(`a frame of unknown type ${this.#header[4]}`);
    const isData = type === 'data';
    const bytesMax = isData ? DATA_BODY_BYTES_MAX : this.bodyBytesMax;
    if (bodyBytes < (isData ? 2 : 1) || bodyBytes > bytesMax) {
      throw new MalformedError(`a frame of ${bodyBytes} bytes, at most ${bytesMax} are taken`);
    }
    this.#type = type;
    this.#missing = bodyBytes - 1;
    return true;
  }
}
