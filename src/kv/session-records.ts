/**
 * The sessions of clients as the store holds them: a record for each session and one for each reply that it keeps.
 *
 *   session   ack u64 | lastUsedMs u64 | lastUsedOp u64 | crc32 u32
 *   reply     in RESP3 | crc32 u32
 *
 * The checksum is that of the key, as it travels to other servers (`portableKey`), and of what stands before it: a
 * record that lies under another's key is found out.
 *
 * What a record adds to the hash of all of them depends on what it says alone: the hash is a sum, and can be made of the
 * table in memory and of the records in the store alike.
 */
import { Buffer } from 'node:buffer';
import { ByteReader, ByteWriter, MalformedError } from '../lib/bytes.ts';
import { crc32 } from '../lib/checksum.ts';
import { CorruptionError } from '../lib/errors.ts';
import { Hash64 } from '../lib/hash.ts';
import { decodeSessionKey, portableKey } from './stored-keys.ts';

const CHECK_BYTES = 4;

/** The record of a session; its replies have their own. */
export interface SessionRecord {
  readonly id: number;
  readonly ack: number;
  readonly lastUsedMs: number;
  /** The count of operations then: orders the sessions, also after a restart. */
  readonly lastUsedOp: number;
}

export function encodeSession(session: SessionRecord): Uint8Array {
  const writer = new ByteWriter(32);
  writer.u64(session.ack);
  writer.u64(session.lastUsedMs);
  writer.u64(session.lastUsedOp);
  return writer.copy();
}

/** With its checksum: as it is stored under `key`. */
export function sealed(key: Uint8Array, content: Uint8Array): Uint8Array {
  const stored = Buffer.allocUnsafe(content.length + CHECK_BYTES);
  stored.set(content, 0);
  stored.writeUInt32LE(checkOf(key, content), content.length);
  return stored;
}

export type StoredSession =
  | { readonly kind: 'session'; readonly session: SessionRecord }
  | {
      readonly kind: 'reply';
      readonly id: number;
      readonly seq: number;
      /** A view of what the store gave. */
      readonly bytes: Uint8Array;
    };

/** Throws CorruptionError when the record is not whole, or not that of the key. */
export function readSession(key: Uint8Array, stored: Uint8Array): StoredSession {
  const { session: id, seq } = decodeSessionKey(key);
  const content = stored.subarray(0, Math.max(0, stored.length - CHECK_BYTES));
  try {
    if (new ByteReader(stored, content.length).u32() !== checkOf(key, content)) {
      throw new MalformedError('wrong checksum');
    }
    if (seq !== undefined) return { kind: 'reply', id, seq, bytes: content };
    const reader = new ByteReader(content);
    const [ack, lastUsedMs, lastUsedOp] = [reader.u64(), reader.u64(), reader.u64()];
    if (reader.remaining !== 0) throw new MalformedError(`${reader.remaining} bytes too many`);
    return { kind: 'session', session: { id, ack, lastUsedMs, lastUsedOp } };
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    const what = seq === undefined ? 'the record' : `reply ${seq}`;
    throw new CorruptionError(
      `the store is damaged: ${what} of session ${id} is not what was written for it`,
      error,
    );
  }
}

function checkOf(key: Uint8Array, content: Uint8Array): number {
  return crc32(content, crc32(portableKey(key)));
}

/** How many sessions and replies there are, and the sum of their hashes. */
export interface SessionTotals {
  readonly sessions: number;
  readonly replies: number;
  readonly hashA: number;
  readonly hashB: number;
}

export function sameSessions(a: SessionTotals, b: SessionTotals): boolean {
  return a.sessions === b.sessions && a.replies === b.replies && a.hashA === b.hashA && a.hashB === b.hashB;
}

const hash = new Hash64();

export class SessionSum implements SessionTotals {
  sessions = 0;
  replies = 0;
  hashA = 0;
  hashB = 0;

  get totals(): SessionTotals {
    const { sessions, replies, hashA, hashB } = this;
    return { sessions, replies, hashA, hashB };
  }

  /** Takes one in, or out again. */
  session(session: SessionRecord, sign: 1 | -1): void {
    this.sessions += sign;
    hash.reset();
    hash.u64(session.id);
    hash.u64(session.ack);
    hash.u64(session.lastUsedMs);
    hash.u64(session.lastUsedOp);
    this.#sum(sign);
  }

  reply(id: number, seq: number, bytes: Uint8Array, sign: 1 | -1): void {
    this.replies += sign;
    hash.reset();
    hash.u64(id);
    hash.u64(seq);
    hash.bytes(bytes);
    this.#sum(sign);
  }

  stored(record: StoredSession): void {
    if (record.kind === 'session') this.session(record.session, 1);
    else this.reply(record.id, record.seq, record.bytes, 1);
  }

  #sum(sign: 1 | -1): void {
    hash.finish();
    this.hashA = (this.hashA + sign * hash.a) | 0;
    this.hashB = (this.hashB + sign * hash.b) | 0;
  }
}
