/**
 * The sessions of clients: why a write that a client sends twice runs once, and gives the first reply again.
 *
 * A client opens a session through the log and numbers its writes from 1 on. `HSTORE.DO session seq ack command` is
 * decided when it is applied, on every replica alike:
 *
 *   the session is not known (any more)       SESSIONEXPIRED, nothing runs
 *   seq is at or below an acknowledged one    STALESEQ, nothing runs: its reply was given, and is forgotten
 *   seq has run                               its first reply again
 *   too many replies wait for their ack       SESSIONFULL, nothing runs
 *   else                                      it runs, and its reply is kept
 *
 * `ack` says that the client has all replies up to there, and they are dropped. Unlike a server's session (sessions.ts)
 * numbers may come in any order, since a client may have several connections.
 *
 * The table is replicated state. It is bounded by the number of sessions and the bytes of their replies (the least
 * recently used in the order of the log makes room) and by idle time in log time. A session's id is the count of
 * operations at its opening and never comes back. In the store a session is one record and each kept reply another, so a
 * checkpoint writes only what has changed (session-records.ts).
 *
 * After RIFL (Lee et al., SOSP 2015) and Ongaro's thesis, 6.3.
 */
import { assert } from '../lib/assert.ts';
import { CorruptionError } from '../lib/errors.ts';
import type { Hash64 } from '../lib/hash.ts';
import { decodeReply } from '../resp/decode.ts';
import { encodeReply } from '../resp/encode.ts';
import { ErrorReply, NullArrayReply, type Reply } from '../resp/reply.ts';
import { ReplyWriter } from '../resp/reply-writer.ts';
import type { OnceNumber } from './batch.ts';
import {
  encodeSession,
  readSession,
  type SessionRecord,
  SessionSum,
  type SessionTotals,
  sameSessions,
} from './session-records.ts';
import { type Region, sessionKey } from './stored-keys.ts';

export interface ClientSessionLimits {
  readonly countMax: number;
  readonly idleMsMax: number;
  /** Replies that wait for their acknowledgement, per session. */
  readonly repliesMax: number;
  readonly sessionBytesMax: number;
  /** Of all sessions. */
  readonly bytesMax: number;
  /** A longer reply is not kept: asked again, the client learns that the command has run. */
  readonly replyBytesMax: number;
}

/** Part of what is replicated: all servers must have the same. */
export const CLIENT_SESSION_LIMITS: ClientSessionLimits = {
  countMax: 65_536,
  idleMsMax: 3_600_000,
  repliesMax: 512,
  sessionBytesMax: 1 << 20,
  bytesMax: 64 << 20,
  replyBytesMax: 256 << 10,
};

/** Idle sessions dropped per entry: bounds the work, the next entries drop the rest. */
const DROPPED_PER_ENTRY_MAX = 16;
const REPLY_OVERHEAD_BYTES = 100;

interface KeptReply {
  /** In RESP3. */
  readonly bytes: Uint8Array;
  /** The checkpoint before which it came: tells whether the store can have it. */
  readonly generation: number;
}

interface ClientSession extends SessionRecord {
  ack: number;
  lastUsedMs: number;
  lastUsedOp: number;
  bytes: number;
  readonly replies: Map<number, KeptReply>;
}

/** Puts and deletes for the store, by the stored key in latin1; what is put has to be `sealed`. */
export type SessionChanges = Map<string, Uint8Array | undefined>;

/** The moment at which a session is used. */
export interface SessionMoment {
  readonly nowMs: number;
  /** The count of operations, this one included. */
  readonly version: number;
}

export class ClientSessions {
  readonly #region: Region;
  readonly #limits: ClientSessionLimits;
  /** The least recently used first. */
  readonly #byId = new Map<number, ClientSession>();
  #bytes = 0;
  readonly #sum = new SessionSum();
  #generation = 1;
  #changes: SessionChanges = new Map();
  /** Sessions whose own record is to be written. */
  #dirty = new Set<ClientSession>();

  constructor(region: Region, limits: ClientSessionLimits = CLIENT_SESSION_LIMITS) {
    this.#region = region;
    this.#limits = limits;
  }

  get count(): number {
    return this.#byId.size;
  }
  /** Of the replies that are kept. */
  get bytes(): number {
    return this.#bytes;
  }
  get totals(): SessionTotals {
    return this.#sum.totals;
  }

  /** The new session's id. */
  open({ nowMs, version }: SessionMoment): number {
    assert(!this.#byId.has(version), 'a session id is never used twice', version);
    const session = {
      id: version,
      ack: 0,
      lastUsedMs: nowMs,
      lastUsedOp: version,
      bytes: 0,
      replies: new Map(),
    };
    this.#byId.set(version, session);
    this.#dirty.add(session);
    this.#sum.session(session, 1);
    if (this.#byId.size > this.#limits.countMax) this.#drop(this.#oldest()!);
    return version;
  }

  /** Whether there was such a session. */
  close(id: number): boolean {
    const session = this.#byId.get(id);
    if (session === undefined) return false;
    this.#drop(session);
    return true;
  }

  /** Runs `execute` unless it ran before under this number. See above. */
  once(number: OnceNumber, moment: SessionMoment, execute: () => Reply): Reply {
    const reply = this.begin(number, moment);
    if (reply !== undefined) return reply;
    const first = execute();
    this.keep(number, first);
    return first;
  }

  /** The reply when nothing is to run; undefined: it runs now, and `keep` follows in the same operation. */
  begin({ session: id, seq, ack }: OnceNumber, moment: SessionMoment): Reply | undefined {
    const session = this.#byId.get(id);
    if (session === undefined) return expired(id);
    this.#use(session, ack, moment);
    if (seq <= session.ack) return stale(seq, session.ack);
    const kept = session.replies.get(seq);
    if (kept !== undefined) return decodeReply(kept.bytes);
    const { repliesMax, sessionBytesMax } = this.#limits;
    const isFull = session.replies.size >= repliesMax || session.bytes >= sessionBytesMax;
    return isFull ? full(session) : undefined;
  }

  #use(session: ClientSession, ack: number, { nowMs, version }: SessionMoment): void {
    this.#sum.session(session, -1);
    session.lastUsedMs = nowMs;
    session.lastUsedOp = version;
    this.#byId.delete(session.id);
    this.#byId.set(session.id, session);
    if (ack > session.ack) {
      for (const seq of session.replies.keys()) if (seq <= ack) this.#forget(session, seq);
      session.ack = ack;
    }
    this.#sum.session(session, 1);
    this.#dirty.add(session);
  }

  /**
   * The first reply. A transaction may hold commands of its own session: if they have closed it or acknowledged this
   * number, nobody will ask for the reply; if they had the same number, theirs gives way.
   */
  keep({ session: id, seq }: OnceNumber, reply: Reply): void {
    const session = this.#byId.get(id);
    if (session === undefined || seq <= session.ack) return;
    if (session.replies.has(seq)) this.#forget(session, seq);
    let bytes = encoded(reply);
    if (bytes.length > this.#limits.replyBytesMax) bytes = encoded(notKept(bytes.length));
    const kept = { bytes, generation: this.#generation };
    session.replies.set(seq, kept);
    this.#count(session, bytes.length + REPLY_OVERHEAD_BYTES);
    this.#sum.reply(session.id, seq, kept.bytes, 1);
    this.#changes.set(this.#storedKey(session.id, seq), bytes);
    while (this.#bytes > this.#limits.bytesMax && this.#byId.size > 1) this.#drop(this.#oldest()!);
  }

  #forget(session: ClientSession, seq: number): void {
    const kept = session.replies.get(seq)!;
    session.replies.delete(seq);
    this.#count(session, -(kept.bytes.length + REPLY_OVERHEAD_BYTES));
    this.#sum.reply(session.id, seq, kept.bytes, -1);
    const key = this.#storedKey(session.id, seq);
    if (kept.generation === this.#generation) this.#changes.delete(key);
    else this.#changes.set(key, undefined);
  }

  #drop(session: ClientSession): void {
    for (const seq of session.replies.keys()) this.#forget(session, seq);
    this.#sum.session(session, -1);
    this.#byId.delete(session.id);
    this.#dirty.delete(session);
    this.#changes.set(this.#storedKey(session.id), undefined);
  }

  #count(session: ClientSession, bytes: number): void {
    session.bytes += bytes;
    this.#bytes += bytes;
  }

  /** Drops sessions that have been idle too long at `nowMs`, a bounded number of them. Once per entry. */
  expire(nowMs: number): void {
    for (let dropped = 0; dropped < DROPPED_PER_ENTRY_MAX; dropped++) {
      const oldest = this.#oldest();
      if (oldest === undefined || nowMs - oldest.lastUsedMs <= this.#limits.idleMsMax) return;
      this.#drop(oldest);
    }
  }

  #oldest(): ClientSession | undefined {
    return this.#byId.values().next().value;
  }

  hashInto(target: Hash64): void {
    target.u32(this.#byId.size);
    target.u32(this.#sum.hashA);
    target.u32(this.#sum.hashB);
  }

  // The store

  #storedKey(id: number, seq?: number): string {
    return sessionKey(this.#region, id, seq).toString('latin1');
  }

  /** What has changed since the last call; to be given back with `thaw` if it could not be saved. */
  freeze(): SessionChanges {
    for (const session of this.#dirty) {
      this.#changes.set(this.#storedKey(session.id), encodeSession(session));
    }
    const changes = this.#changes;
    this.#changes = new Map();
    this.#dirty = new Set();
    this.#generation++;
    return changes;
  }

  thaw(frozen: SessionChanges): void {
    for (const [key, value] of this.#changes) frozen.set(key, value);
    this.#changes = frozen;
  }

  /**
   * Takes over what the store holds, in the order of its keys, into an empty table; `restored` follows. Throws
   * CorruptionError.
   */
  restore(entries: readonly (readonly [Uint8Array, Uint8Array])[]): void {
    for (const [key, value] of entries) {
      const record = readSession(key, value);
      if (record.kind === 'session') {
        this.#byId.set(record.session.id, { ...record.session, bytes: 0, replies: new Map() });
        continue;
      }
      const session = this.#byId.get(record.id);
      if (session === undefined)
        throw new CorruptionError(`the store holds a reply without its session ${record.id}`);
      session.replies.set(record.seq, { bytes: Uint8Array.from(record.bytes), generation: 0 });
      this.#count(session, record.bytes.length + REPLY_OVERHEAD_BYTES);
    }
  }

  /** All has been taken over. Throws CorruptionError unless it adds up to `expected`. */
  restored(expected: SessionTotals): void {
    const sessions = [...this.#byId.values()].sort((a, b) => a.lastUsedOp - b.lastUsedOp);
    this.#byId.clear();
    for (const session of sessions) {
      this.#byId.set(session.id, session);
      this.#sum.session(session, 1);
      for (const [seq, kept] of session.replies) this.#sum.reply(session.id, seq, kept.bytes, 1);
    }
    if (sameSessions(this.#sum, expected)) return;
    throw new CorruptionError('the store is damaged: the sessions in it are not those of its meta record');
  }
}

function encoded(reply: Reply): Uint8Array {
  const writer = new ReplyWriter();
  // RESP3 has one nil for both, and a client of RESP2 must get the same again.
  encodeReply(reply, reply instanceof NullArrayReply ? 2 : 3, writer);
  const chunks = writer.take();
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

function expired(id: number): ErrorReply {
  return new ErrorReply('SESSIONEXPIRED', `There is no session ${id}. The command was not executed`);
}

function stale(seq: number, ack: number): ErrorReply {
  return new ErrorReply(
    'STALESEQ',
    `The client has acknowledged the replies up to ${ack}, that to ${seq} included. Nothing was executed now`,
  );
}

function full({ replies, bytes }: ClientSession): ErrorReply {
  return new ErrorReply(
    'SESSIONFULL',
    `${replies.size} replies of ${bytes} bytes wait to be acknowledged. The command was not executed`,
  );
}

function notKept(bytes: number): ErrorReply {
  return new ErrorReply(
    'REPLYNOTKEPT',
    `The command was executed once. Its reply of ${bytes} bytes was too long to be kept`,
  );
}
