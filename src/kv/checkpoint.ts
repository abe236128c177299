/**
 * One checkpoint: all that changed since the last, and the meta record, in one atomic batch of the store.
 *
 * It takes what is dirty at one index of the log and is filled into a batch slice by slice, because putting a hundred
 * thousand entries at once would hold up everything else; the log goes on being applied meanwhile. This file knows
 * neither clock nor turns: a host calls `fill` once per turn until it returns false, writes the batch, and reports.
 */
import { assert } from '../lib/assert.ts';
import { fromLatin1 } from '../lib/bytes.ts';
import type { StoreBatch } from '../lib/env.ts';
import type { ClientSessions, SessionChanges } from './client-sessions.ts';
import { NEVER } from './command.ts';
import type { Frozen, Keyspace, Tombstone } from './keyspace.ts';
import type { Meta } from './meta.ts';
import { encodeStored, type KeyRecord } from './records.ts';
import { sealed } from './session-records.ts';
import { metaKey, type Region } from './stored-keys.ts';

const NOTHING = new Uint8Array(0);

/** Where a state is in the store, and what is in it. */
export interface StateContents {
  readonly region: Region;
  readonly meta: Meta;
}

export interface CheckpointEvents {
  finished(): void;
  failed(): void;
}

export class Checkpoint {
  /** The last entry whose effects it holds: once finished, the log may be cut off up to here. */
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  /** Of the state that it brings to the store. */
  readonly contents: StateContents;

  readonly #region: Region;
  readonly #keyspace: Keyspace;
  readonly #frozen: Frozen;
  #staleDue: readonly Uint8Array[];
  readonly #sessions: ClientSessions;
  readonly #sessionChanges: SessionChanges;
  readonly #meta: Uint8Array;
  readonly #events: CheckpointEvents;
  readonly #absent: Tombstone[] = [];
  #space = 0;
  #left: Iterator<[string, KeyRecord]>;
  readonly #sessionsLeft: Iterator<readonly [string, Uint8Array | undefined]>;
  #state: 'filling' | 'full' | 'over' = 'filling';

  /** Freezes the keyspace and the sessions. `contents.meta` is of this very moment, and so is its encoding. */
  constructor(
    place: {
      contents: StateContents;
      encodedMeta: Uint8Array;
      keyspace: Keyspace;
      sessions: ClientSessions;
    },
    events: CheckpointEvents,
  ) {
    const { contents } = place;
    this.appliedIndex = contents.meta.appliedIndex;
    this.appliedTerm = contents.meta.appliedTerm;
    this.contents = contents;
    this.#region = contents.region;
    this.#keyspace = place.keyspace;
    this.#meta = place.encodedMeta;
    this.#events = events;
    this.#frozen = place.keyspace.freeze();
    this.#staleDue = this.#frozen.staleDue;
    this.#sessions = place.sessions;
    this.#sessionChanges = place.sessions.freeze();
    this.#sessionsLeft = this.#sessionChanges.entries();
    this.#left = this.#frozen.spaces[0]!.records.entries();
  }

  /** Puts up to `entries` entries into the batch, always the same one. Whether there are more. */
  fill(batch: StoreBatch, entries: number): boolean {
    assert(this.#state === 'filling', 'a checkpoint is filled until it is full', this.#state);
    // First, since what was stale may be put again.
    for (const stored of this.#staleDue) batch.delete(stored);
    this.#staleDue = [];
    for (let left = entries; left > 0; ) {
      const next = this.#left.next();
      if (next.done !== true) {
        this.#put(batch, next.value[0], next.value[1]);
        left--;
      } else if (this.#space < this.#frozen.spaces.length - 1) {
        this.#space++;
        this.#left = this.#frozen.spaces[this.#space]!.records.entries();
      } else {
        return this.#putSessions(batch, left);
      }
    }
    return true;
  }

  /** The batch is durable. */
  finished(): void {
    assert(this.#state === 'full', 'a checkpoint is finished when it was full', this.#state);
    this.#state = 'over';
    this.#keyspace.saved(this.#frozen, this.#absent);
    this.#events.finished();
  }

  /** Nothing of the batch was written, or it was given up: everything is dirty again. */
  failed(): void {
    assert(this.#state !== 'over', 'a checkpoint ends once');
    this.#state = 'over';
    this.#keyspace.thaw(this.#frozen);
    this.#sessions.thaw(this.#sessionChanges);
    this.#events.failed();
  }

  #put(batch: StoreBatch, name: string, record: KeyRecord): void {
    const { space } = this.#frozen.spaces[this.#space]!;
    const { storedKeys } = space;
    const key = storedKeys.data(name, record.position);
    if (record.present) {
      batch.put(key, encodeStored(record));
    } else {
      batch.delete(key);
      this.#absent.push({ space, name, record });
    }
    const { expireAtMs, storedDueMs } = record;
    if (storedDueMs !== NEVER && storedDueMs !== expireAtMs) batch.delete(storedKeys.due(name, storedDueMs));
    // Also when it should be there already: the checkpoint that was to write it may have failed.
    if (expireAtMs !== NEVER) batch.put(storedKeys.due(name, expireAtMs), NOTHING);
  }

  #putSessions(batch: StoreBatch, entries: number): boolean {
    for (let left = entries; left > 0; left--) {
      const next = this.#sessionsLeft.next();
      if (next.done === true) {
        batch.put(metaKey(this.#region), this.#meta);
        this.#state = 'full';
        return false;
      }
      const key = fromLatin1(next.value[0]);
      const content = next.value[1];
      if (content === undefined) batch.delete(key);
      else batch.put(key, sealed(key, content));
    }
    return true;
  }
}
