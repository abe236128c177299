/**
 * A snapshot from another server, on its way into the store: written beside the state in use, as the next generation
 * (stored-keys.ts), until one batch makes it the state.
 *
 *   open     clears what is there of another snapshot, or goes on with what is there of this one
 *   write    one chunk: its records, what is due by them, and how far it has come, in one batch
 *   finish   compares all that came with the meta record, and puts that beside it
 *   flip     the pointer: from then on it is the state, and what was before is garbage
 *
 * So a crash at any moment leaves the old state or the new one, whole, and a snapshot that came in part is gone on with.
 * The state machine that is in use is not touched: who flips starts another one with `KvStateMachine.recover`.
 */
import { assert } from '../lib/assert.ts';
import { asBuffer, MalformedError } from '../lib/bytes.ts';
import { crc32 } from '../lib/checksum.ts';
import type { Store, StoreBatch } from '../lib/env.ts';
import { CorruptionError } from '../lib/errors.ts';
import type { GroupId } from '../raft/types.ts';
import { NEVER } from './command.ts';
import type { KeptConfiguration, Meta } from './meta.ts';
import { decodePointer, encodePointer } from './pointer.ts';
import { positionOf } from './position.ts';
import { readStored } from './records.ts';
import { decoding, forgetIncoming } from './recovery.ts';
import { readSession } from './session-records.ts';
import { ChunkDecoder, decodeHeader, entriesOf, type SnapshotEntry } from './snapshot-format.ts';
import {
  decodeProgress,
  encodeProgress,
  type Incoming,
  SNAPSHOT_ID_BYTES,
  sameIncoming,
} from './snapshot-progress.ts';
import { StateSum } from './state-sum.ts';
import {
  decodeDataKey,
  familyOf,
  localKey,
  metaKey,
  pointerKey,
  progressKey,
  type Region,
  StoredKeys,
} from './stored-keys.ts';

const NOTHING = new Uint8Array(0);

/** What a sender has to give. */
export interface SnapshotOffer {
  /** 16 bytes: names the view of the sender's store, so that no two snapshots are mixed. */
  readonly id: Uint8Array;
  readonly header: Uint8Array;
}

type Done = (error: Error | null) => void;

export class SnapshotWriter {
  readonly #store: Store;
  readonly #region: Region;
  readonly #incoming: Incoming;
  readonly #metaBytes: Uint8Array;
  readonly #meta: Meta;
  readonly #sum: StateSum;
  readonly #decoder = new ChunkDecoder();
  /** By space. */
  readonly #storedKeys: ReadonlyMap<number, StoredKeys>;
  #receivedBytes = 0;
  /** The key, as it came, of the last entry that came whole. */
  #position: Uint8Array | undefined;
  #state: 'ready' | 'busy' | 'verified' | 'over' = 'ready';

  private constructor(
    store: Store,
    group: GroupId,
    parts: { incoming: Incoming; metaBytes: Uint8Array; meta: Meta },
  ) {
    this.#store = store;
    this.#region = { group, generation: parts.incoming.generation };
    this.#incoming = parts.incoming;
    this.#metaBytes = parts.metaBytes;
    this.#meta = parts.meta;
    this.#sum = new StateSum(parts.meta);
    const spaces = parts.meta.databases.map(({ space }) => space);
    this.#storedKeys = new Map(spaces.map((space) => [space, new StoredKeys(this.#region, space)]));
  }

  /**
   * One at a time in a store. With the same offer as before it goes on behind `resumeAfter`; else what came is cleared
   * first. The error is a MalformedError when the offer makes no sense.
   */
  static open(
    store: Store,
    group: GroupId,
    offer: SnapshotOffer,
    done: (error: Error | null, writer: SnapshotWriter | undefined) => void,
  ): void {
    const failed = (error: Error): void => done(error, undefined);
    store.getMany([pointerKey(group), progressKey(group)], (error, [pointer, progress]) => {
      if (error !== null) return failed(error);
      const make = (): SnapshotWriter => {
        const { generation } = decodePointer(group, pointer);
        return new SnapshotWriter(store, group, partsOf(offer, generation + 1));
      };
      decoding(failed, make, (writer) => {
        if (writer.#resume(progress)) return done(null, writer);
        const known = progress !== undefined;
        forgetIncoming(store, { group, generation: writer.#region.generation, known }, (failure) => {
          if (failure !== null) return failed(failure);
          writer.#writeBatch(store.batch(), (last) => done(last, last === null ? writer : undefined));
        });
      });
    });
  }

  /** The last entry of the log that it contains. */
  get index(): number {
    return this.#incoming.index;
  }
  get term(): number {
    return this.#incoming.term;
  }
  /** The newest configuration of the group that it contains. */
  get configuration(): KeptConfiguration {
    return this.#meta.configuration;
  }
  /** The position behind which the sender must go on; undefined: from the start. */
  get resumeAfter(): Uint8Array | undefined {
    return this.#position;
  }
  /** Of chunks, what came before a break included. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }
  get receivedEntries(): number {
    return this.#sum.entries;
  }
  /** What `receivedEntries` is in the end. */
  get totalEntries(): number {
    return entriesOf(this.#meta);
  }

  /** Goes on from where an earlier writer stopped. False when that had another snapshot, or there was none. */
  #resume(stored: Uint8Array | undefined): boolean {
    const progress = decodeProgress(this.#region.group, stored);
    if (progress === undefined || !sameIncoming(progress.incoming, this.#incoming)) return false;
    this.#position = progress.resume(this.#sum);
    this.#receivedBytes = progress.bytes;
    return true;
  }

  /**
   * Takes the next chunk and calls `done` when it is durable. The next one after that. The error is a MalformedError
   * when it makes no sense. After an error this writer is of no more use but to be closed: another one goes on behind
   * what is durable.
   */
  write(chunk: Uint8Array, done: Done): void {
    assert(this.#state === 'ready', 'chunks are written one at a time, before the end', this.#state);
    this.#state = 'busy';
    const batch = this.#store.batch();
    const take = (): void => {
      for (const entry of this.#decoder.take(chunk)) this.#put(batch, entry);
      // A copy: it would keep the value beside it in memory.
      if (this.#position !== undefined) this.#position = Uint8Array.from(this.#position);
      this.#receivedBytes += chunk.length;
    };
    const failed = (error: Error): void => {
      // The store is asked for nothing, so that the answer does not come before this returns.
      this.#store.getMany([], () => done(malformed(error)));
    };
    decoding(failed, take, () =>
      this.#writeBatch(batch, (error) => {
        if (error === null && this.#state === 'busy') this.#state = 'ready';
        done(error);
      }),
    );
  }

  /** With how far it has come. */
  #writeBatch(batch: StoreBatch, done: Done): void {
    const { group } = this.#region;
    const came = { bytes: this.#receivedBytes, sum: this.#sum, position: this.#position };
    batch.put(progressKey(group), encodeProgress(group, this.#incoming, came));
    batch.write(done);
  }

  /** Throws MalformedError, CorruptionError. */
  #put(batch: StoreBatch, { key, value }: SnapshotEntry): void {
    const stored = localKey(key, this.#region);
    if (stored === undefined) throw new MalformedError('a key in a snapshot that is none');
    if (this.#position !== undefined && asBuffer(key).compare(this.#position) <= 0) {
      throw new MalformedError('the keys of a snapshot are out of order');
    }
    if (familyOf(stored) === 'session') this.#sum.session(readSession(stored, value));
    else this.#putValue(batch, stored, value);
    batch.put(stored, value);
    this.#position = key;
  }

  #putValue(batch: StoreBatch, stored: Uint8Array, bytes: Uint8Array): void {
    const { space, name, position } = decodeDataKey(stored);
    if (position !== positionOf(name)) throw new MalformedError('a key in a snapshot is at another position');
    const value = readStored(name, bytes);
    this.#sum.value(space, value);
    if (value.expireAtMs === NEVER) return;
    batch.put(this.#storedKeys.get(space)!.due(name, value.expireAtMs), NOTHING);
  }

  /**
   * All chunks are written: `done` when they are known to be the whole state, and that is durable. A CorruptionError
   * means that they are not: that says nothing of this server's disk, and what came is void.
   */
  finish(done: Done): void {
    assert(this.#state === 'ready', 'a snapshot is finished when its last chunk is written', this.#state);
    this.#state = 'busy';
    const differences = this.#sum.differences(this.#meta);
    if (this.#decoder.inside) differences.push('its last entry is cut');
    if (differences.length > 0) {
      const { group, generation } = this.#region;
      const problem = new CorruptionError(`a snapshot is not what its sender has: ${differences.join(', ')}`);
      forgetIncoming(this.#store, { group, generation, known: true }, () => done(problem));
      return;
    }
    const batch = this.#store.batch();
    batch.put(metaKey(this.#region), this.#metaBytes);
    batch.write((error) => {
      if (error === null && this.#state === 'busy') this.#state = 'verified';
      done(error);
    });
  }

  /** After `finish`. Once it is durable, `KvStateMachine.recover` finds this state and no longer the one before. */
  flip(done: Done): void {
    assert(this.#state === 'verified', 'a snapshot becomes the state when it is verified', this.#state);
    this.#state = 'busy';
    const { group, generation } = this.#region;
    const { index, term } = this.#incoming;
    const batch = this.#store.batch();
    batch.put(pointerKey(group), encodePointer(group, { generation, index, term }));
    batch.delete(progressKey(group));
    batch.write(done);
  }

  /** What was written stays, to be gone on with. What is under way is still answered. */
  close(): void {
    this.#state = 'over';
  }
}

/** Throws MalformedError. */
function partsOf(
  { id, header }: SnapshotOffer,
  generation: number,
): { incoming: Incoming; metaBytes: Uint8Array; meta: Meta } {
  if (id.length !== SNAPSHOT_ID_BYTES)
    throw new MalformedError(`the id of a snapshot has ${id.length} bytes`);
  const { bytes, meta } = decodeHeader(header);
  const { appliedIndex: index, appliedTerm: term } = meta;
  const incoming = { generation, id: Uint8Array.from(id), headerCheck: crc32(header), index, term };
  return { incoming, metaBytes: Uint8Array.from(bytes), meta };
}

/** A record that is not whole came so, and was not found so on this server's disk. */
function malformed(error: Error): Error {
  return error instanceof CorruptionError
    ? new MalformedError(`a record of a snapshot is not whole: ${error.message}`, { cause: error })
    : error;
}
