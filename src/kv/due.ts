/**
 * Finds keys that have expired, so that they can be removed by the log. See expirer.ts in `server` for who asks.
 *
 * Two places know which keys are due, both in the order of time: for what is saved the store (family `due` of
 * stored-keys.ts), for what is not the heap of the space. What is found is looked at once more in memory, because either
 * may be out of date: the answer is a hint, and the log decides.
 */
import type { Store } from '../lib/env.ts';
import { CorruptionError } from '../lib/errors.ts';
import { hasExpired } from './databases.ts';
import type { Fetcher, KeyPlace } from './fetch.ts';
import type { Keyspace } from './keyspace.ts';
import type { Space } from './space.ts';
import { decodeDueKey } from './stored-keys.ts';

/** Keys fetched before it is known how long their values are, and what may be fetched of them then. */
const PROBED_KEYS = 16;
const FETCHED_BYTES_MAX = 8 << 20;

/** How far the store has been read since the last checkpoint. */
interface Cursor {
  readonly era: number;
  after: Uint8Array | undefined;
  /** Behind `after` nothing is due before. */
  nextMs: number;
}

/** What the store calls due. */
interface StoredDue {
  readonly name: string;
  readonly atMs: number;
  readonly stored: Uint8Array;
}

export interface DueWorld {
  readonly store: Store;
  readonly keyspace: Keyspace;
  readonly fetcher: Fetcher;
  readonly onFatal: (error: Error) => void;
}

export class DueKeys {
  readonly #world: DueWorld;
  readonly #cursors = new WeakMap<Space, Cursor>();

  constructor(world: DueWorld) {
    this.#world = world;
  }

  /** Up to `limit` keys of one database that have expired by `nowMs`; none when none is found, or not yet. */
  find(nowMs: number, limit: number, done: (places: readonly KeyPlace[]) => void): void {
    const { keyspace } = this.#world;
    for (const db of keyspace.expiring.keys()) {
      const space = keyspace.spaceOf(db);
      if (space.expiring === 0) continue;
      const places = fromHeap(space, db, nowMs, limit);
      if (places.length > 0) return done(places);
      const cursor = this.#cursorOf(space);
      if (nowMs > cursor.nextMs) return this.#fromStore(space, cursor, { db, nowMs, limit }, done);
    }
    done([]);
  }

  #cursorOf(space: Space): Cursor {
    const known = this.#cursors.get(space);
    if (known?.era === this.#world.keyspace.era) return known;
    const cursor = { era: this.#world.keyspace.era, after: undefined, nextMs: 0 };
    this.#cursors.set(space, cursor);
    return cursor;
  }

  #fromStore(
    space: Space,
    cursor: Cursor,
    wanted: { readonly db: number; readonly nowMs: number; readonly limit: number },
    done: (places: readonly KeyPlace[]) => void,
  ): void {
    const { store, onFatal } = this.#world;
    const { db, nowMs, limit } = wanted;
    store.range({ ...space.storedKeys.dueAfter(cursor.after), limit }, (error, entries) => {
      if (error !== null) return onFatal(error);
      cursor.nextMs = Number.POSITIVE_INFINITY;
      const due: StoredDue[] = [];
      try {
        for (const [stored] of entries) {
          const { name, expireAtMs } = decodeDueKey(stored);
          cursor.nextMs = expireAtMs;
          if (!hasExpired(expireAtMs, nowMs)) break;
          due.push({ name, atMs: expireAtMs, stored });
        }
      } catch (cause) {
        if (!(cause instanceof CorruptionError)) throw cause;
        return onFatal(cause);
      }
      if (due.length === entries.length && entries.length < limit) cursor.nextMs = Number.POSITIVE_INFINITY;
      this.#fetch(space, db, due, (fetched) => {
        cursor.after = fetched.at(-1)?.stored ?? cursor.after;
        // What was left out comes next.
        if (fetched.length < due.length) cursor.nextMs = due[fetched.length]!.atMs;
        done(fetched.filter((key) => this.#isDue(space, key, nowMs)).map(({ name }) => ({ db, name })));
      });
    });
  }

  /** Brings the first of the keys into memory: so many that long values do not fill it. */
  #fetch(
    space: Space,
    db: number,
    due: readonly StoredDue[],
    done: (fetched: readonly StoredDue[]) => void,
  ): void {
    const { fetcher } = this.#world;
    if (due.length === 0) return done(due);
    const placesOf = (keys: readonly StoredDue[]) => keys.map(({ name }) => ({ db, name }));
    const probed = due.slice(0, PROBED_KEYS);
    fetcher.fetch(placesOf(probed), () => {
      let bytes = 0;
      for (const { name } of probed) bytes += space.records.get(name)?.memoryBytes ?? 0;
      const room = Math.floor((FETCHED_BYTES_MAX * probed.length) / Math.max(1, bytes));
      const all = due.slice(0, Math.max(probed.length, room));
      if (all.length === probed.length) return done(probed);
      fetcher.fetch(placesOf(all.slice(probed.length)), () => done(all));
    });
  }

  /** Whether the key itself says so too. */
  #isDue(space: Space, key: StoredDue, nowMs: number): boolean {
    const { keyspace } = this.#world;
    if (keyspace.dbOf(space) === undefined) return false;
    const record = space.records.get(key.name);
    if (record?.present === true && hasExpired(record.expireAtMs, nowMs)) return true;
    const unsaved = space.dirty.has(key.name) || space.frozen?.has(key.name) === true;
    // Left by a checkpoint that failed.
    if ((record !== undefined || space.complete) && !unsaved) keyspace.noteStaleDue(key.stored);
    return false;
  }
}

function fromHeap(space: Space, db: number, nowMs: number, limit: number): KeyPlace[] {
  const places: KeyPlace[] = [];
  while (places.length < limit && space.due.first !== undefined && hasExpired(space.due.first.atMs, nowMs)) {
    const { name, atMs } = space.due.pop()!;
    const record = space.records.get(name);
    if (record?.present === true && record.expireAtMs === atMs) places.push({ db, name });
  }
  return places;
}
