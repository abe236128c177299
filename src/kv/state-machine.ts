/**
 * The replicated state machine: entries of the log go in, in order; replies come out.
 *
 * Everything that decides a reply is in the log or in the replicated state: time is the entry's (`logTimeMs`, which
 * never goes back), versions and session ids are counted from the operations (`opCount`). So every replica that has
 * applied the same entries has the same `stateHash`, whatever its memory holds and whenever it makes checkpoints.
 *
 * An entry is applied operation by operation. One whose keys are not all in memory stops the work; its keys and those
 * of the operations behind it, some hundred, are fetched in one question to the store, and the work goes on from there.
 * When all keys are in memory, which is the common case, `apply` does its work before it returns.
 */

import { assert } from '../lib/assert.ts';
import { fromLatin1 } from '../lib/bytes.ts';
import type { Store } from '../lib/env.ts';
import { Hash64 } from '../lib/hash.ts';
import type { Entry, GroupId, StateMachine } from '../raft/types.ts';
import { OK, type Reply } from '../resp/reply.ts';
import { ADVANCE, COMMAND, DATABASES, NO_SESSION, OPEN_SESSION } from './batch.ts';
import { Checkpoint } from './checkpoint.ts';
import { keyIndexes, type WriteCommand } from './command.ts';
import { type Moment, WriteDatabase } from './databases.ts';
import { EntryCursor } from './entry-cursor.ts';
import { Fetcher, type KeyPlace } from './fetch.ts';
import { Keyspace } from './keyspace.ts';
import { Reader, type ReadQuery } from './reader.ts';
import { decodeMeta, encodeMeta, type KeyRange, metaKey, rangeBefore } from './records.ts';
import { type Session, type SessionLimits, Sessions } from './sessions.ts';
import { dataCommands } from './table.ts';

/** Keys fetched ahead of the operation that waits for its own. */
const WINDOW_KEYS_MAX = 256;
/**
 * No string grows longer, by APPEND or SETRANGE. Not a directive: a limit that decides replies must be the same on every
 * server, or their states differ.
 */
const STRING_BYTES_MAX = 128 * 1024 * 1024;

/** Hears what became of each operation, on every replica, in the order of the log, while `apply` runs. */
export interface ApplyObserver {
  /** Operation `seq` of the session has been executed. The reply of what is no command (skip, advance) is OK. */
  applied(session: number, seq: number, reply: Reply): void;
  /** The run's rest was not executed, because `expectedSeq` has not been yet: send again from there. */
  gap(session: number, expectedSeq: number): void;
  /** Nothing of the run that begins at `seq` was executed: the session was dropped, or never was. */
  sessionUnknown(session: number, seq: number): void;
  sessionOpened(nonce: number, session: number): void;
}

export interface KvOptions {
  readonly group: GroupId;
  readonly observer: ApplyObserver;
  /** The store cannot be read: the state machine has stopped in the middle, and the server must. */
  readonly onFatal: (error: Error) => void;
  /** For records in memory, by estimate. What is not yet in the store stays, over this bound if need be. */
  readonly memoryBytesMax: number;
  /** For tests with a small limit. The same on every server, always. */
  readonly stringBytesMax?: number;
  /** The same on every server, always. */
  readonly sessionLimits?: SessionLimits;
}

interface WriteRow {
  readonly command: WriteCommand;
  readonly name: Uint8Array;
}

export class KvStateMachine implements StateMachine {
  readonly #group: GroupId;
  readonly #observer: ApplyObserver;
  readonly #keyspace: Keyspace;
  readonly #sessions: Sessions;
  readonly #fetcher: Fetcher;
  /** Its time is the log's: that of the newest entry. */
  readonly #moment: Moment;
  readonly #writers: readonly WriteDatabase[];
  readonly #reader: Reader;
  /** Rows by the name as typed: `SET`, `set`, `Set`. */
  readonly #rows = new Map<string, WriteRow>();

  #appliedIndex = 0;
  #appliedTerm = 0;
  /** Operations executed since the beginning of the log. Replicated. */
  #opCount = 0;
  #checkpoint: Checkpoint | undefined;
  /** The epoch of the last finished checkpoint; what is older is garbage. */
  #savedEpoch = 0;
  #clearedEpoch = 0;

  /** What is being applied: undefined between `done` and the next `apply`. */
  #work: { readonly entries: readonly Entry[]; readonly done: () => void } | undefined;
  #position = 0;
  /** An entry is open at `#cursor`, partly applied. */
  #entryOpen = false;
  /** The cursor's present operation waits for its keys. */
  #waiting = false;
  readonly #cursor = new EntryCursor();
  readonly #ahead = new EntryCursor();
  #session: Session | undefined;

  /** A new, empty state machine over an empty store; `recover` is for all others. */
  constructor(store: Store, options: KvOptions) {
    this.#group = options.group;
    this.#observer = options.observer;
    const keyspace = new Keyspace(options.group, options.memoryBytesMax);
    this.#keyspace = keyspace;
    this.#sessions = new Sessions(options.sessionLimits);
    this.#fetcher = new Fetcher(store, keyspace, options.onFatal);
    const stringBytesMax = options.stringBytesMax ?? STRING_BYTES_MAX;
    const moment: Moment = { nowMs: 0, version: 0, stringBytesMax };
    this.#moment = moment;
    this.#writers = Array.from({ length: DATABASES }, (_, db) => new WriteDatabase(keyspace, db, moment));
    this.#reader = new Reader(keyspace, this.#fetcher, moment);
  }

  /**
   * The state at the store's last checkpoint, or the empty one. Entries follow from `appliedIndex` + 1. Rejects with
   * CorruptionError, or ConfigError when another version wrote the store.
   */
  static recover(store: Store, options: KvOptions): Promise<KvStateMachine> {
    return new Promise((resolve, reject) => {
      store.getMany([metaKey(options.group)], (error, values) => {
        if (error !== null) {
          reject(error);
          return;
        }
        try {
          const machine = new KvStateMachine(store, options);
          if (values[0] !== undefined) machine.#restore(values[0]);
          resolve(machine);
        } catch (cause) {
          reject(cause);
        }
      });
    });
  }

  get appliedIndex(): number {
    return this.#appliedIndex;
  }
  get appliedTerm(): number {
    return this.#appliedTerm;
  }
  /** The time of the newest entry applied. */
  get logTimeMs(): number {
    return this.#moment.nowMs;
  }
  /** Keys per database, expired ones not yet removed included. */
  get sizes(): number[] {
    return this.#keyspace.sizes;
  }
  /** Of these, the ones with a time to live. */
  get expiring(): number[] {
    return this.#keyspace.expiring;
  }
  /** Keys that this process has removed because their time was over. */
  get expiredCount(): number {
    return this.#keyspace.expiredCount;
  }
  get sessionCount(): number {
    return this.#sessions.count;
  }
  get memoryBytes(): number {
    return this.#keyspace.bytes;
  }
  /** What the next checkpoint would write, roughly; without what a checkpoint under way is writing. */
  get dirtyBytes(): number {
    return this.#keyspace.dirtyBytes;
  }

  /** No entry is half applied and waiting for the store. */
  get atRest(): boolean {
    return !this.#entryOpen;
  }

  /** 16 hexadecimal digits, equal on all replicas at the same `appliedIndex`. Means something only `atRest`. */
  stateHash(): string {
    const hash = new Hash64();
    hash.reset();
    hash.u32(this.#keyspace.hashA);
    hash.u32(this.#keyspace.hashB);
    hash.u64(this.#moment.nowMs);
    hash.u64(this.#opCount);
    hash.u64(this.#keyspace.epoch);
    for (const size of this.#keyspace.sizes) hash.u64(size);
    this.#sessions.hashInto(hash);
    hash.finish();
    return hash.hex();
  }

  apply(entries: readonly Entry[], done: () => void): void {
    assert(this.#work === undefined, 'one apply at a time');
    this.#work = { entries, done };
    this.#position = 0;
    this.#continue();
  }

  /**
   * Runs a read command and calls `done` with its reply: before it returns when its keys are in memory. The read sees
   * the log's time, or `nowMs` when that is later. `done(undefined)`: one of its keys is live by the log's time and has
   * expired by `nowMs`. Then the log must say so first, or another server could still show the key: propose an
   * `advance` and read again once it is applied.
   */
  read(query: ReadQuery, done: (reply: Reply | undefined) => void): void {
    this.#reader.read(query, done);
  }

  /** Whether a key in memory is live by the log's time and expired by `nowMs`. */
  expiredBetween(places: readonly KeyPlace[], nowMs: number): boolean {
    return this.#reader.expiredBetween(places, nowMs);
  }

  /**
   * Begins a checkpoint at `appliedIndex`. Undefined when that cannot be now: one is under way, or an entry is half
   * applied and waits for the store (then `done` of `apply` is the next good moment).
   */
  beginCheckpoint(): Checkpoint | undefined {
    if (this.#checkpoint !== undefined || this.#entryOpen) return undefined;
    const meta = {
      appliedIndex: this.#appliedIndex,
      appliedTerm: this.#appliedTerm,
      logTimeMs: this.#moment.nowMs,
      opCount: this.#opCount,
      epoch: this.#keyspace.epoch,
      sizes: this.#keyspace.sizes,
      expiring: this.#keyspace.expiring,
      hashA: this.#keyspace.hashA,
      hashB: this.#keyspace.hashB,
    };
    const over = (): void => {
      this.#checkpoint = undefined;
    };
    this.#checkpoint = new Checkpoint(
      {
        group: this.#group,
        keyspace: this.#keyspace,
        appliedIndex: this.#appliedIndex,
        appliedTerm: this.#appliedTerm,
        meta: encodeMeta(meta, this.#sessions),
      },
      {
        finished: () => {
          over();
          this.#savedEpoch = meta.epoch;
        },
        failed: over,
      },
    );
    return this.#checkpoint;
  }

  /**
   * A range of the store that holds nothing but what FLUSHALL has removed, to be cleared in the background; undefined
   * when there is none. Reported once after each checkpoint that moved it, and once after recovery, since a clear may
   * have been cut short.
   */
  takeGarbage(): KeyRange | undefined {
    if (this.#savedEpoch === this.#clearedEpoch) return undefined;
    this.#clearedEpoch = this.#savedEpoch;
    return rangeBefore(this.#group, this.#savedEpoch);
  }

  #restore(bytes: Uint8Array): void {
    const meta = decodeMeta(bytes, this.#sessions);
    this.#keyspace.restore(meta);
    this.#appliedIndex = meta.appliedIndex;
    this.#appliedTerm = meta.appliedTerm;
    this.#moment.nowMs = meta.logTimeMs;
    this.#opCount = meta.opCount;
    this.#savedEpoch = meta.epoch;
  }

  /** Applies until all is done or the store must be asked. */
  #continue(): void {
    const { entries, done } = this.#work!;
    while (this.#position < entries.length) {
      const entry = entries[this.#position]!;
      if (!this.#entryOpen) this.#openEntry(entry);
      if (entry.type === 'data' && !this.#applyOps()) {
        this.#fetchAhead();
        return;
      }
      this.#entryOpen = false;
      this.#appliedIndex = entry.index;
      this.#appliedTerm = entry.term;
      this.#position++;
    }
    this.#cursor.close();
    this.#ahead.close();
    this.#keyspace.forgetName();
    this.#work = undefined;
    done();
  }

  #openEntry(entry: Entry): void {
    assert(
      entry.index === this.#appliedIndex + 1,
      'entries are applied in order, each once',
      entry.index,
      this.#appliedIndex,
    );
    assert(entry.term >= this.#appliedTerm, 'terms do not fall along the log', entry.term, this.#appliedTerm);
    this.#entryOpen = true;
    if (entry.type === 'noop') return;
    this.#cursor.open(entry.data);
    // A new leader's clock may be behind the old one's.
    this.#moment.nowMs = Math.max(this.#moment.nowMs, this.#cursor.atMs);
    this.#sessions.expire(this.#moment.nowMs);
  }

  /** Applies what is left of the open entry. False when an operation waits for its keys. */
  #applyOps(): boolean {
    const cursor = this.#cursor;
    for (;;) {
      if (!this.#waiting && !cursor.nextOp()) {
        if (!cursor.nextRun()) return true;
        this.#beginRun();
        continue;
      }
      if (cursor.session === NO_SESSION) {
        this.#applyUnnumbered();
      } else if (!this.#applyNumbered(this.#session!)) {
        this.#waiting = true;
        return false;
      }
      this.#waiting = false;
    }
  }

  #beginRun(): void {
    const { session, firstSeq } = this.#cursor;
    if (session === NO_SESSION) return;
    this.#session = this.#sessions.use(session, this.#moment.nowMs);
    if (this.#session !== undefined) return;
    this.#cursor.skipRun();
    this.#observer.sessionUnknown(session, firstSeq);
  }

  #applyUnnumbered(): void {
    const { kind, nonce } = this.#cursor;
    assert(kind === OPEN_SESSION || kind === ADVANCE, 'a command belongs to a session', kind);
    this.#opCount++;
    if (kind !== OPEN_SESSION) return;
    this.#sessions.open(this.#opCount, this.#moment.nowMs);
    this.#observer.sessionOpened(nonce, this.#opCount);
  }

  /** False when it waits for its keys. */
  #applyNumbered(session: Session): boolean {
    const { kind, seq } = this.#cursor;
    if (seq <= session.lastSeq) return true;
    if (seq > session.lastSeq + 1) {
      this.#cursor.skipRun();
      this.#observer.gap(session.id, session.lastSeq + 1);
      return true;
    }
    const row = kind === COMMAND ? this.#rowOf(this.#cursor) : undefined;
    if (row !== undefined && !this.#inMemory(row)) return false;
    session.lastSeq = seq;
    this.#opCount++;
    const reply = row === undefined ? OK : this.#run(row);
    this.#observer.applied(session.id, seq, reply);
    return true;
  }

  #run(row: WriteRow): Reply {
    const cursor = this.#cursor;
    const argv: Uint8Array[] = [row.name];
    for (let i = 1; i < cursor.argc; i++) argv.push(cursor.arg(i));
    this.#moment.version = this.#opCount;
    const reply = row.command.run(this.#writers[cursor.db]!, argv);
    this.#keyspace.evict();
    return reply;
  }

  #inMemory(row: WriteRow): boolean {
    if (this.#keyspace.complete) return true;
    const { db, argc } = this.#cursor;
    const { first, last, step } = keyIndexes(row.command.keys, argc);
    for (let i = first; i <= last; i += step) {
      if (!this.#keyspace.has(db, this.#cursor.argLatin1(i))) return false;
    }
    return true;
  }

  /** Fetches what the waiting operation needs, and what those behind it will need, then goes on. */
  #fetchAhead(): void {
    const places: KeyPlace[] = [];
    this.#addKeys(places, this.#cursor, false);
    const ahead = this.#ahead;
    ahead.follow(this.#cursor);
    let position = this.#position;
    const { entries } = this.#work!;
    while (places.length < WINDOW_KEYS_MAX) {
      if (ahead.nextOp()) {
        if (ahead.kind === COMMAND) this.#addKeys(places, ahead, true);
      } else if (!ahead.nextRun()) {
        position++;
        const entry = entries[position];
        if (entry === undefined) break;
        if (entry.type === 'data') ahead.open(entry.data);
      }
    }
    this.#fetcher.fetch(places, () => this.#continue());
  }

  #addKeys(places: KeyPlace[], cursor: EntryCursor, onlyMissing: boolean): void {
    const { db, argc } = cursor;
    const { first, last, step } = keyIndexes(this.#rowOf(cursor).command.keys, argc);
    for (let i = first; i <= last; i += step) {
      const name = cursor.argLatin1(i);
      if (!onlyMissing || !this.#keyspace.has(db, name)) places.push({ db, name });
    }
  }

  #rowOf(cursor: EntryCursor): WriteRow {
    const typed = cursor.argLatin1(0);
    const known = this.#rows.get(typed);
    if (known !== undefined) return known;
    const command = dataCommands.get(typed.toLowerCase());
    assert(
      command !== undefined && command.kind === 'write',
      'the log holds write commands that exist',
      typed,
    );
    const row = { command, name: fromLatin1(command.name) };
    this.#rows.set(typed, row);
    return row;
  }
}
