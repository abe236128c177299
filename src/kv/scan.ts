/**
 * Goes through the keys of a database: what memory knows and has not saved, laid over what the store holds.
 *
 * A page is read in the order of positions (position.ts), from the store and from memory, and shows one state of the
 * data: that of the moment when the store has answered. If a checkpoint has finished meanwhile, keys may have moved from
 * the one place to the other unseen, so the page is read again. `each` goes through all keys of one state, by a snapshot
 * of the store, while the data go on changing.
 *
 * Both do their work in small pieces, each in a turn of its own, so that a million keys stall nobody.
 */
import type { Store } from '../lib/env.ts';
import { CorruptionError, SnapshotLostError } from '../lib/errors.ts';
import type { KeyPage, KeyScan } from './command.ts';
import { hasExpired, type Moment } from './databases.ts';
import type { Keyspace } from './keyspace.ts';
import { POSITIONS } from './position.ts';
import { decodeHeader, VALUE_HEADER_BYTES } from './records.ts';
import type { Records, Space } from './space.ts';
import { decodeDataKey, type KeyRange } from './stored-keys.ts';

type StoredEntry = readonly [Uint8Array, Uint8Array];

/** Entries asked of the store at once, by `each`. */
const STEP_ENTRIES = 256;
/** Of the values only their times to live matter here: a page of long ones would fill the memory. */
const HEADERS = { valueBytes: VALUE_HEADER_BYTES };
/** Of the keys that share the last position of a page none may be missing. */
const NO_LIMIT = 2 ** 31 - 1;

export interface ScanWorld {
  readonly store: Store;
  readonly keyspace: Keyspace;
  /** The log's time. */
  readonly log: Readonly<Moment>;
  readonly chance: () => number;
  readonly onFatal: (error: Error) => void;
}

interface Found {
  readonly name: string;
  readonly position: number;
  readonly expireAtMs: number;
}

export class Scan implements KeyScan {
  readonly #world: ScanWorld;
  readonly #db: number;
  readonly #nowMs: number;
  readonly #alone: boolean;

  /**
   * `nowMs`: by the clock of who asks; 0 to go by the log's time alone. In a transaction it sees what that has done so
   * far; alone it waits until nothing is half done.
   */
  constructor(world: ScanWorld, db: number, nowMs: number, where: 'alone' | 'in a transaction' = 'alone') {
    this.#world = world;
    this.#db = db;
    this.#nowMs = nowMs;
    this.#alone = where === 'alone';
  }

  get size(): number {
    return this.#world.keyspace.spaceOf(this.#db).size;
  }

  chance(): number {
    return this.#world.chance();
  }

  page(from: number, keysMax: number, done: (page: KeyPage | undefined) => void): void {
    const { keyspace, store } = this.#world;
    const space = keyspace.spaceOf(this.#db);
    const { era } = keyspace;
    // One more than wanted tells whether the last position is complete.
    store.range({ ...space.storedKeys.dataFrom(from), ...HEADERS, limit: keysMax + 1 }, (error, entries) => {
      if (error !== null) return this.#world.onFatal(error);
      if (this.#isStale(era)) return this.page(from, keysMax, done);
      const stored = this.#decode(() => entries.map(decodeEntry));
      if (stored === undefined) return;
      if (entries.length <= keysMax)
        return this.#finishPage({ space, stored, from, end: POSITIONS, keysMax }, done);
      const last = stored.at(-1)!.position;
      const before = stored.at(-2)!.position;
      if (before < last) {
        stored.pop();
        return this.#finishPage({ space, stored, from, end: before + 1, keysMax }, done);
      }
      this.#completePosition(space, last, era, (rest) => {
        if (rest === undefined) return this.page(from, keysMax, done);
        const whole = [...stored.filter(({ position }) => position < last), ...rest];
        this.#finishPage({ space, stored: whole, from, end: last + 1, keysMax }, done);
      });
    });
  }

  /** What was asked of the store in `era` does not fit what memory shows now. */
  #isStale(era: number): boolean {
    const { keyspace } = this.#world;
    return keyspace.era !== era || (this.#alone && keyspace.halfWritten);
  }

  /** All that the store has at one position; undefined when the world has changed meanwhile. */
  #completePosition(
    space: Space,
    position: number,
    era: number,
    done: (stored: Found[] | undefined) => void,
  ): void {
    const { store, onFatal } = this.#world;
    store.range({ ...space.storedKeys.dataAt(position), ...HEADERS, limit: NO_LIMIT }, (error, entries) => {
      if (error !== null) return onFatal(error);
      const stored = this.#decode(() => entries.map(decodeEntry));
      if (stored !== undefined) done(this.#isStale(era) ? undefined : stored);
    });
  }

  /** Lays what is unsaved over what is stored, both from `from` up to `end`. */
  #finishPage(
    window: { space: Space; stored: readonly Found[]; from: number; end: number; keysMax: number },
    done: (page: KeyPage | undefined) => void,
  ): void {
    const { space, from, keysMax } = window;
    const unsaved = lowest(space, from, window.end, keysMax);
    const { end } = unsaved;
    const found: Found[] = unsaved.found;
    for (const key of window.stored) {
      if (key.position < end && !isUnsaved(space, key.name)) found.push(key);
    }
    found.sort((a, b) => a.position - b.position);
    const live: string[] = [];
    for (const { name, expireAtMs } of found) {
      const state = this.#stateAt(expireAtMs);
      if (state === 'between') return done(undefined);
      if (state === 'live') live.push(name);
    }
    done({ names: live, next: end >= POSITIONS ? undefined : end });
  }

  /** `between`: expired by the reader's clock, and not yet by the log. */
  #stateAt(expireAtMs: number): 'live' | 'expired' | 'between' {
    if (hasExpired(expireAtMs, this.#world.log.nowMs)) return 'expired';
    return hasExpired(expireAtMs, this.#nowMs) ? 'between' : 'live';
  }

  each(visit: (name: string) => void, done: (outcome: 'complete' | 'expired' | 'lost') => void): void {
    const { keyspace, store } = this.#world;
    const space = keyspace.spaceOf(this.#db);
    const unsaved: Records = new Map(space.unsaved());
    const logTimeMs = this.#world.log.nowMs;
    const snapshot = store.snapshot();
    const finish = (outcome: 'complete' | 'expired' | 'lost'): void => {
      snapshot.close();
      done(outcome);
    };
    /** False: it must not be answered at this time. */
    const take = (name: string, expireAtMs: number): boolean => {
      if (hasExpired(expireAtMs, logTimeMs)) return true;
      if (hasExpired(expireAtMs, this.#nowMs)) return false;
      visit(name);
      return true;
    };
    const step = (range: KeyRange): void => {
      snapshot.range({ ...range, ...HEADERS, limit: STEP_ENTRIES }, (error, entries) => {
        if (error instanceof SnapshotLostError) return finish('lost');
        if (error !== null) return this.#world.onFatal(error);
        const keys = this.#decode(() => entries.map(decodeEntry));
        if (keys === undefined) return;
        for (const { name, expireAtMs } of keys) {
          if (!unsaved.has(name) && !take(name, expireAtMs)) return finish('expired');
        }
        if (entries.length === STEP_ENTRIES) return step(space.storedKeys.dataAfter(entries.at(-1)![0]));
        for (const [name, record] of unsaved) {
          if (record.present && !take(name, record.expireAtMs)) return finish('expired');
        }
        finish('complete');
      });
    };
    step(space.storedKeys.dataFrom(0));
  }

  /** Undefined when the store's entries make no sense: that has been reported. */
  #decode<T>(decode: () => T): T | undefined {
    try {
      return decode();
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      this.#world.onFatal(error);
      return undefined;
    }
  }
}

function decodeEntry([key, value]: StoredEntry): Found {
  const { name, position } = decodeDataKey(key);
  return { name, position, expireAtMs: decodeHeader(value).expireAtMs };
}

function isUnsaved(space: Space, name: string): boolean {
  return space.dirty.has(name) || space.frozen?.has(name) === true;
}

/**
 * The unsaved keys from `from` up to `end`, the first `keysMax` of them and those that share a position with the last;
 * `end` comes down to behind these.
 */
function lowest(space: Space, from: number, end: number, keysMax: number): { found: Found[]; end: number } {
  let found: Found[] = [];
  let limit = end;
  const cut = (): void => {
    if (found.length <= keysMax) return;
    found.sort((a, b) => a.position - b.position);
    limit = found[keysMax - 1]!.position + 1;
    found = found.filter(({ position }) => position < limit);
  };
  for (const [name, record] of space.unsaved()) {
    const { position, expireAtMs } = record;
    if (position < from || position >= limit || !record.present) continue;
    found.push({ name, position, expireAtMs });
    if (found.length >= 4 * keysMax + 64) cut();
  }
  cut();
  return { found, end: limit };
}
