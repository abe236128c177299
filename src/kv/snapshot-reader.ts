/**
 * A snapshot for another server, read from the store: the state of its last checkpoint, as it was when the reader was
 * opened, whatever is written meanwhile. It costs no copy of the data, on the disk or in memory: a chunk is made when it
 * is asked for, and what is read ahead for it is bounded by its bytes.
 *
 * Each record is verified before it leaves (records.ts, session-records.ts): what this server's disk has damaged does
 * not spread.
 */
import { assert } from '../lib/assert.ts';
import { MalformedError } from '../lib/bytes.ts';
import type { Store, StoreSnapshot } from '../lib/env.ts';
import { CorruptionError } from '../lib/errors.ts';
import type { GroupId } from '../raft/types.ts';
import { decodeMeta, type Meta } from './meta.ts';
import { decodePointer } from './pointer.ts';
import { readStored } from './records.ts';
import { decoding } from './recovery.ts';
import { readSession } from './session-records.ts';
import { ChunkEncoder, encodeHeader, entriesOf, SNAPSHOT_CHUNK_BYTES_MAX } from './snapshot-format.ts';
import {
  decodeDataKey,
  familyOf,
  type KeyRange,
  localKey,
  metaKey,
  only,
  pointerKey,
  portableKey,
  type Region,
  rangeAfter,
  StoredKeys,
  sessionsAfter,
} from './stored-keys.ts';

/** The bytes are the bound. */
const NO_LIMIT = 2 ** 31 - 1;

type StoredEntry = readonly [Uint8Array, Uint8Array];
type ChunkDone = (error: Error | null, chunk: Uint8Array | undefined) => void;

export class SnapshotReader {
  /** The last entry of the log that the snapshot contains. */
  readonly index: number;
  readonly term: number;
  /** For `SnapshotWriter.open`, which alone knows what is in it. */
  readonly header: Uint8Array;
  /** All that the whole stream has: keys, sessions, replies of sessions. */
  readonly totalEntries: number;

  readonly #snapshot: StoreSnapshot;
  readonly #region: Region;
  /** Of the spaces that databases have, in their order. */
  readonly #spaces: readonly number[];
  readonly #encoder = new ChunkEncoder();
  /** What has not been read, in the order of the stream. */
  #ranges: KeyRange[] = [];
  #busy = false;
  #closed = false;

  private constructor(snapshot: StoreSnapshot, region: Region, metaBytes: Uint8Array) {
    const meta = decodeMeta(metaBytes);
    this.index = meta.appliedIndex;
    this.term = meta.appliedTerm;
    this.header = encodeHeader(metaBytes);
    this.totalEntries = entriesOf(meta);
    this.#snapshot = snapshot;
    this.#region = region;
    this.#spaces = spacesOf(meta);
    this.seek(undefined);
  }

  /**
   * The state of the store's last checkpoint; `done(null, undefined)` when there never was one. The error may be a
   * SnapshotLostError, which means no more than that: try again.
   */
  static open(
    store: Store,
    group: GroupId,
    done: (error: Error | null, reader: SnapshotReader | undefined) => void,
  ): void {
    const snapshot = store.snapshot();
    const failed = (error: Error): void => {
      snapshot.close();
      done(error, undefined);
    };
    readOne(snapshot, pointerKey(group), failed, (pointer) => {
      decoding(
        failed,
        () => decodePointer(group, pointer),
        ({ generation }) => {
          const region = { group, generation };
          readOne(snapshot, metaKey(region), failed, (meta) => {
            if (meta === undefined) snapshot.close();
            const make = () => (meta === undefined ? undefined : new SnapshotReader(snapshot, region, meta));
            decoding(failed, make, (reader) => done(null, reader));
          });
        },
      );
    });
  }

  /**
   * Goes on behind `position`, which a receiver has named; undefined: from the start. Throws MalformedError when it is
   * no position. Not while a chunk is awaited.
   */
  seek(position: Uint8Array | undefined): void {
    assert(!this.#busy, 'nothing is awaited when a reader is moved');
    this.#encoder.clear();
    this.#ranges = position === undefined ? this.#spacesFrom(-1) : this.#behind(position);
  }

  #spacesFrom(after: number): KeyRange[] {
    const spaces = this.#spaces.filter((space) => space > after);
    const data = spaces.map((space) => new StoredKeys(this.#region, space).dataFrom(0));
    return [...data, sessionsAfter(this.#region, undefined)];
  }

  #behind(position: Uint8Array): KeyRange[] {
    const stored = localKey(position, this.#region);
    if (stored === undefined) throw new MalformedError('a position in a snapshot that is none');
    if (familyOf(stored) === 'session') return [sessionsAfter(this.#region, stored)];
    try {
      const { space } = decodeDataKey(stored);
      if (!this.#spaces.includes(space))
        throw new MalformedError(`a position in space ${space} of a snapshot`);
      return [new StoredKeys(this.#region, space).dataAfter(stored), ...this.#spacesFrom(space)];
    } catch (cause) {
      if (!(cause instanceof CorruptionError)) throw cause;
      throw new MalformedError('a position in a snapshot that is none', { cause });
    }
  }

  /**
   * The next chunk, of at most SNAPSHOT_CHUNK_BYTES_MAX bytes; undefined when all was given. One at a time. The error may
   * be a SnapshotLostError: the rest can be had from no reader, what follows is another snapshot. After an error there
   * is nothing more to be had from this one.
   */
  next(done: ChunkDone): void {
    assert(!this.#closed, 'a reader is read before it is closed');
    assert(!this.#busy, 'chunks are asked for one at a time');
    this.#busy = true;
    const finish = (error: Error | null): void => {
      this.#busy = false;
      if (this.#closed) this.#snapshot.close();
      done(error, error === null ? this.#encoder.take() : undefined);
    };
    // Without anything to read the store is asked all the same: the answer must not come before this returns.
    const range = this.#encoder.full ? undefined : this.#ranges[0];
    if (range !== undefined) return this.#read(range, finish);
    const nothing = metaKey(this.#region);
    this.#snapshot.range({ from: nothing, to: nothing, limit: 1 }, finish);
  }

  /** Reads on until there is enough for a chunk, or nothing more. */
  #read(range: KeyRange, done: (error: Error | null) => void): void {
    const bytesMax = SNAPSHOT_CHUNK_BYTES_MAX;
    this.#snapshot.range({ ...range, limit: NO_LIMIT, bytesMax }, (error, entries) => {
      if (error !== null) return done(error);
      decoding(
        done,
        () => this.#take(entries),
        (bytes) => {
          if (bytes < bytesMax) this.#ranges.shift();
          else this.#ranges[0] = rangeAfter(range, entries.at(-1)![0]);
          const next = this.#encoder.full ? undefined : this.#ranges[0];
          if (next === undefined) done(null);
          else this.#read(next, done);
        },
      );
    });
  }

  /** How many bytes the store has given. Throws CorruptionError. */
  #take(entries: readonly StoredEntry[]): number {
    let bytes = 0;
    for (const [stored, value] of entries) {
      bytes += stored.length + value.length;
      verify(stored, value);
      this.#encoder.add({ key: portableKey(stored), value });
    }
    return bytes;
  }

  /** Once. A chunk that is awaited still comes. */
  close(): void {
    assert(!this.#closed, 'a reader is closed once');
    this.#closed = true;
    if (!this.#busy) this.#snapshot.close();
  }
}

/** Throws CorruptionError. */
function verify(stored: Uint8Array, value: Uint8Array): void {
  if (familyOf(stored) === 'session') readSession(stored, value);
  else readStored(decodeDataKey(stored).name, value);
}

function spacesOf({ databases }: Meta): number[] {
  return databases.map(({ space }) => space).sort((a, b) => a - b);
}

function readOne(
  snapshot: StoreSnapshot,
  key: Uint8Array,
  failed: (error: Error) => void,
  then: (value: Uint8Array | undefined) => void,
): void {
  snapshot.range({ ...only(key), limit: 1 }, (error, entries) => {
    if (error === null) then(entries[0]?.[1]);
    else failed(error);
  });
}
