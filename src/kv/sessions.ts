/**
 * The sessions of servers: why a write that a server sends twice is executed once.
 *
 * A server opens a session through the log and numbers its writes 1, 2, 3, ...  A session is a first-in first-out line:
 * the state machine executes exactly the next number. A number it has seen is a duplicate and passed over; a number too
 * far ahead is a gap (an entry in between was lost with its leader), and is passed over too, and the server sends again
 * from the gap on. So no write overtakes an earlier one, and none happens twice.
 *
 * The table is replicated state: it changes only by the log, is bounded by count (the least recently used in the order
 * of the log makes room) and by age in log time, and travels in every checkpoint. A session's id is the replicated
 * count of operations at its opening and never comes back, so a session that was dropped is unknown for ever.
 *
 * After RIFL (Lee et al., SOSP 2015) and Ongaro's thesis, 6.3; ids from the log as in TigerBeetle's client_sessions.
 */
import { assert } from '../lib/assert.ts';
import type { ByteReader, ByteWriter } from '../lib/bytes.ts';
import type { Hash64 } from '../lib/hash.ts';

export const SESSIONS_MAX = 65_536;
export const SESSION_IDLE_MS_MAX = 3_600_000;
/** Idle sessions dropped per entry: bounds the work, the next entries drop the rest. */
const DROPPED_PER_ENTRY_MAX = 16;

export interface Session {
  readonly id: number;
  /** The last number executed; 0 before the first. */
  lastSeq: number;
  /** Log time of the last run that came from it. */
  lastRunMs: number;
}

export interface SessionLimits {
  readonly countMax: number;
  readonly idleMsMax: number;
}

export class Sessions {
  readonly #limits: SessionLimits;
  /** By id, the least recently used first; `lastRunMs` never falls along this order. */
  readonly #byId = new Map<number, Session>();
  /** At most the oldest `lastRunMs`: spares the look at the first session of the map in nearly every entry. */
  #oldestRunMs = 0;

  /** The limits are part of what is replicated: all servers must have the same. */
  constructor(limits: SessionLimits = { countMax: SESSIONS_MAX, idleMsMax: SESSION_IDLE_MS_MAX }) {
    this.#limits = limits;
  }

  get count(): number {
    return this.#byId.size;
  }

  /** The last number executed; undefined when there is no such session (any more). */
  lastSeqOf(id: number): number | undefined {
    return this.#byId.get(id)?.lastSeq;
  }

  open(id: number, nowMs: number): void {
    assert(!this.#byId.has(id), 'a session id is never used twice', id);
    this.#byId.set(id, { id, lastSeq: 0, lastRunMs: nowMs });
    if (this.#byId.size > this.#limits.countMax) this.#byId.delete(this.#oldest()!.id);
  }

  /** The session that a run came from, now the most recently used; undefined when it is not known (any more). */
  use(id: number, nowMs: number): Session | undefined {
    const session = this.#byId.get(id);
    if (session === undefined) return undefined;
    assert(nowMs >= session.lastRunMs, 'log time never goes back', nowMs, session.lastRunMs);
    session.lastRunMs = nowMs;
    this.#byId.delete(id);
    this.#byId.set(id, session);
    return session;
  }

  /** Drops sessions that have been idle too long at `nowMs`, a bounded number of them. Once per entry. */
  expire(nowMs: number): void {
    if (nowMs - this.#oldestRunMs <= this.#limits.idleMsMax) return;
    for (let dropped = 0; dropped < DROPPED_PER_ENTRY_MAX; dropped++) {
      const oldest = this.#oldest();
      this.#oldestRunMs = oldest === undefined ? nowMs : oldest.lastRunMs;
      if (oldest === undefined || nowMs - oldest.lastRunMs <= this.#limits.idleMsMax) return;
      this.#byId.delete(oldest.id);
    }
  }

  encode(writer: ByteWriter): void {
    writer.u32(this.#byId.size);
    for (const session of this.#byId.values()) {
      writer.u64(session.id);
      writer.u64(session.lastSeq);
      writer.u64(session.lastRunMs);
    }
  }

  /** Takes over what `encode` wrote, into an empty table. */
  decode(reader: ByteReader): void {
    assert(this.#byId.size === 0, 'sessions are read into an empty table');
    const count = reader.u32();
    for (let i = 0; i < count; i++) {
      const session = { id: reader.u64(), lastSeq: reader.u64(), lastRunMs: reader.u64() };
      this.#byId.set(session.id, session);
    }
  }

  hashInto(hash: Hash64): void {
    hash.u32(this.#byId.size);
    for (const session of this.#byId.values()) {
      hash.u64(session.id);
      hash.u64(session.lastSeq);
      hash.u64(session.lastRunMs);
    }
  }

  #oldest(): Session | undefined {
    return this.#byId.values().next().value;
  }
}
