/**
 * The replicated state machine: entries of the log go in, in order; replies come out.
 *
 * Everything that decides a reply is in the log or in the replicated state: time is the entry's (`logTimeMs`, which
 * never goes back), versions and session ids are counted from the operations (`opCount`). So every replica that has
 * applied the same entries has the same `stateHash`, whatever its memory holds and whenever it makes checkpoints.
 *
 *   applier.ts    carries out the operations of the entries
 *   reader.ts     runs reads on what has been applied, scan.ts those over all keys
 *   keyspace.ts   the keys, in memory and in the store; sessions.ts, client-sessions.ts: who has asked for what
 *   checkpoint.ts brings what has changed to the store; view.ts reads the state of one checkpoint, for as long as wanted
 */

import type { Store } from '../lib/env.ts';
import { Hash64 } from '../lib/hash.ts';
import type { Entry, GroupId, StateMachine } from '../raft/types.ts';
import type { Reply } from '../resp/reply.ts';
import { Applier, type ApplyObserver } from './applier.ts';
import { Checkpoint } from './checkpoint.ts';
import { type ClientSessionLimits, ClientSessions } from './client-sessions.ts';
import type { Moment, World } from './databases.ts';
import { DueKeys } from './due.ts';
import { Fetcher, type KeyPlace } from './fetch.ts';
import { Keyspace } from './keyspace.ts';
import { decodeMeta, encodeMeta, type KeptConfiguration, type Meta } from './meta.ts';
import { type Origin, OWN } from './pointer.ts';
import { Reader, type ReadQuery } from './reader.ts';
import { clearAbandoned, decoding, findState } from './recovery.ts';
import { type SessionLimits, Sessions } from './sessions.ts';
import { generationRanges, type KeyRange, type Region, sessionsAfter } from './stored-keys.ts';
import type { Watcher } from './watchers.ts';

/**
 * No string grows longer, by APPEND or SETRANGE: what changes a part of a value makes a new one, and copying more would
 * hold up everybody else. Not a directive: a limit that decides replies must be the same on every server, or their
 * states differ. No request can bring a longer one.
 */
const STRING_BYTES_MAX = 64 * 1024 * 1024;
/** Records of sessions read at once, at recovery. */
const SESSIONS_PER_STEP = 1000;

export interface KvOptions {
  readonly group: GroupId;
  readonly observer: ApplyObserver;
  /** The store cannot be read: the state machine has stopped in the middle, and the server must. */
  readonly onFatal: (error: Error) => void;
  /** Calls back in a later turn: what takes long goes on there. */
  readonly later: (callback: () => void) => void;
  /** A number in [0, 1); for what is only read, and differs between servers anyway. */
  readonly chance: () => number;
  /** For records in memory, by estimate. What is not yet in the store stays, over this bound if need be. */
  readonly memoryBytesMax: number;
  /** For tests with a small limit. The same on every server, always. */
  readonly stringBytesMax?: number;
  /** The same on every server, always. */
  readonly sessionLimits?: SessionLimits;
  readonly clientSessionLimits?: ClientSessionLimits;
}

export class KvStateMachine implements StateMachine {
  readonly #region: Region;
  /** The last entry of the snapshot from another server with which this state began, if it did. */
  readonly installed: Origin['installed'];
  readonly #keyspace: Keyspace;
  readonly #sessions: Sessions;
  readonly #clientSessions: ClientSessions;
  /** Its time is the log's: that of the newest entry. */
  readonly #moment: Moment;
  readonly #reader: Reader;
  readonly #applier: Applier;
  readonly #due: DueKeys;

  #checkpoint: Checkpoint | undefined;
  /** Of the last finished checkpoint; spaces that it does not have are garbage. */
  #savedMeta: Meta | undefined;
  #clearedMeta: Meta | undefined;
  /** What has a lower generation has been reported as garbage. */
  #formerCleared = false;
  /** Of the keyspace's count of changes. */
  #savedChanges = 0;

  /** A new, empty state machine over an empty store; `recover` is for all others. */
  constructor(store: Store, options: KvOptions, { generation, installed }: Origin = OWN) {
    const { group, onFatal } = options;
    const region = { group, generation };
    this.#region = region;
    this.installed = installed;
    const keyspace = new Keyspace(region, options.memoryBytesMax);
    this.#keyspace = keyspace;
    this.#sessions = new Sessions(options.sessionLimits);
    this.#clientSessions = new ClientSessions(region, options.clientSessionLimits);
    const stringBytesMax = options.stringBytesMax ?? STRING_BYTES_MAX;
    this.#moment = { nowMs: 0, version: 0, stringBytesMax, activeExpire: true };
    const world: World = { keyspace, sessions: this.#clientSessions, moment: this.#moment };
    const fetcher = new Fetcher(store, keyspace, { onFatal, logTimeMs: () => this.#moment.nowMs });
    const scanWorld = { store, keyspace, log: this.#moment, chance: options.chance, onFatal };
    this.#reader = new Reader(world, fetcher, scanWorld);
    this.#applier = new Applier({
      ...{ world, fetcher, scanWorld, reader: this.#reader, sessions: this.#sessions },
      ...{ observer: options.observer, later: options.later },
    });
    this.#due = new DueKeys({ store, keyspace, fetcher, onFatal });
  }

  /**
   * The state at the store's last checkpoint, or the empty one. Entries follow from `appliedIndex` + 1. Rejects with
   * CorruptionError, or ConfigError when another version wrote the store.
   */
  static recover(store: Store, options: KvOptions): Promise<KvStateMachine> {
    return new Promise((resolve, reject) => {
      findState(store, options.group, (error, state) => {
        if (state === undefined) return reject(error);
        const machine = new KvStateMachine(store, options, state.origin);
        machine.#recover(store, state.meta, (failure) => {
          if (failure === null) resolve(machine);
          else reject(failure);
        });
      });
    });
  }

  get appliedIndex(): number {
    return this.#applier.appliedIndex;
  }
  get appliedTerm(): number {
    return this.#applier.appliedTerm;
  }
  /** Under which number the store has this state: one more for each snapshot that came from another server. */
  get generation(): number {
    return this.#region.generation;
  }
  /** The newest configuration of the group that was applied; index 0 and no bytes before the first. */
  get configuration(): KeptConfiguration {
    return this.#applier.configuration;
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
  /** Keys written or removed that the last checkpoint does not have. */
  get unsavedChanges(): number {
    return this.#keyspace.changeCount - this.#savedChanges;
  }
  /** Whether expired keys are to be removed in the background. */
  get activeExpire(): boolean {
    return this.#moment.activeExpire;
  }
  /** Of servers. */
  get sessionCount(): number {
    return this.#sessions.count;
  }
  get clientSessionCount(): number {
    return this.#clientSessions.count;
  }
  get memoryBytes(): number {
    return this.#keyspace.bytes + this.#clientSessions.bytes;
  }
  /** For records in memory, by estimate. */
  set memoryBytesMax(bytes: number) {
    this.#keyspace.memoryBytesMax = bytes;
  }
  /** Keys that reads have found, and not found, in this process. */
  get lookups(): { readonly hits: number; readonly misses: number } {
    return this.#keyspace.lookups;
  }
  /** Hexadecimal, equal wherever the data are; zeros when there are none. Unlike `stateHash` it knows nothing else. */
  get dataHash(): string {
    return this.#keyspace.dataHash.map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
  }
  /** What the next checkpoint would write, roughly; without what a checkpoint under way is writing. */
  get dirtyBytes(): number {
    return this.#keyspace.dirtyBytes;
  }

  /** No entry is half applied and waiting for the store. */
  get atRest(): boolean {
    return this.#applier.atRest;
  }

  /** 16 hexadecimal digits, equal on all replicas at the same `appliedIndex`. Means something only `atRest`. */
  stateHash(): string {
    const hash = new Hash64();
    hash.reset();
    this.#keyspace.hashInto(hash);
    hash.u64(this.#moment.nowMs);
    hash.u32(this.#moment.activeExpire ? 1 : 0);
    hash.u64(this.#applier.opCount);
    hash.u64(this.configuration.index);
    hash.bytes(this.configuration.data);
    this.#sessions.hashInto(hash);
    this.#clientSessions.hashInto(hash);
    hash.finish();
    return hash.hex();
  }

  apply(entries: readonly Entry[], done: () => void): void {
    this.#applier.apply(entries, done);
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

  /** Tells the watcher, once, that the key has been written. The returned function ends it. */
  watch(db: number, name: string, watcher: Watcher): () => void {
    return this.#keyspace.watchers.watch(db, name, watcher);
  }

  /** Of a server's session: the last number executed; undefined when there is no such session (any more). */
  lastSeqOf(session: number): number | undefined {
    return this.#sessions.lastSeqOf(session);
  }

  /** Another state machine, of a later state, has taken its place: every key that is watched may have been written. */
  replaced(): void {
    this.#keyspace.watchers.allWritten();
  }

  /** See `DueKeys.find`. */
  findDue(nowMs: number, limit: number, done: (places: readonly KeyPlace[]) => void): void {
    this.#due.find(nowMs, limit, done);
  }

  /**
   * Begins a checkpoint at `appliedIndex`. Undefined when that cannot be now: one is under way, or an entry is half
   * applied and waits for the store (then `done` of `apply` is the next good moment).
   */
  beginCheckpoint(): Checkpoint | undefined {
    if (this.#checkpoint !== undefined || !this.atRest) return undefined;
    const meta: Meta = {
      appliedIndex: this.appliedIndex,
      appliedTerm: this.appliedTerm,
      logTimeMs: this.#moment.nowMs,
      opCount: this.#applier.opCount,
      activeExpire: this.#moment.activeExpire,
      configuration: this.configuration,
      clientSessions: this.#clientSessions.totals,
      ...this.#keyspace.meta,
    };
    const { changeCount } = this.#keyspace;
    const over = (): void => {
      this.#checkpoint = undefined;
    };
    this.#checkpoint = new Checkpoint(
      {
        contents: { region: this.#region, meta },
        encodedMeta: encodeMeta(meta, this.#sessions),
        keyspace: this.#keyspace,
        sessions: this.#clientSessions,
      },
      {
        finished: () => {
          over();
          this.#savedMeta = meta;
          this.#savedChanges = changeCount;
        },
        failed: over,
      },
    );
    return this.#checkpoint;
  }

  /**
   * Ranges of the store that hold nothing but what FLUSHALL or FLUSHDB has removed, or a state whose place a snapshot
   * has taken, to be cleared in the background. Reported once after each checkpoint that moved them, and once after
   * recovery, since a clear may have been cut short.
   */
  takeGarbage(): readonly KeyRange[] {
    const { group, generation } = this.#region;
    const former = this.#formerCleared || generation === 0 ? [] : generationRanges(group, 0, generation);
    this.#formerCleared = true;
    const saved = this.#savedMeta;
    if (saved === undefined || saved.nextSpace === this.#clearedMeta?.nextSpace) return former;
    this.#clearedMeta = saved;
    return [...former, ...this.#keyspace.garbage(saved)];
  }

  #recover(store: Store, stored: Uint8Array | undefined, done: (error: Error | null) => void): void {
    const decode = (): Meta | undefined => (stored === undefined ? undefined : this.#restore(stored));
    decoding(done, decode, (meta) => {
      clearAbandoned(store, { ...this.#region, appliedIndex: this.appliedIndex }, (error) => {
        if (error !== null || meta === undefined) return done(error);
        this.#restoreSessions(store, undefined, meta, done);
      });
    });
  }

  #restore(bytes: Uint8Array): Meta {
    const meta = decodeMeta(bytes, this.#sessions);
    this.#keyspace.restore(meta);
    this.#applier.restore(meta);
    this.#moment.nowMs = meta.logTimeMs;
    this.#moment.activeExpire = meta.activeExpire;
    this.#savedMeta = meta;
    return meta;
  }

  #restoreSessions(
    store: Store,
    after: Uint8Array | undefined,
    meta: Meta,
    done: (error: Error | null) => void,
  ): void {
    const range = sessionsAfter(this.#region, after);
    store.range({ ...range, limit: SESSIONS_PER_STEP }, (error, entries) => {
      if (error !== null) return done(error);
      const complete = entries.length < SESSIONS_PER_STEP;
      const restore = (): void => {
        this.#clientSessions.restore(entries);
        if (complete) this.#clientSessions.restored(meta.clientSessions);
      };
      decoding(done, restore, () => {
        if (complete) done(null);
        else this.#restoreSessions(store, entries.at(-1)![0], meta, done);
      });
    });
  }
}
