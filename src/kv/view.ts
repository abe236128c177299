/**
 * A view: all keys as they were at one place of the log, to be read in any order and as often as wanted while they go on
 * changing. It is the store's snapshot of the very moment when a checkpoint had been written, with what that checkpoint's
 * meta record says; so it costs no copy of the data, only the room of what has been overwritten since.
 *
 * What it gives depends on the log alone, never on the server: what has expired by the log's time of then is left out, and
 * the order is that of positions (position.ts), then of the keys.
 *
 *   block   record ...           record: key length u32 | value length u32 | key | value          little-endian
 *
 * A block is gathered from steps of the store, each a turn of its own, so that nobody is held up. Each value is verified
 * (records.ts) before it is given.
 */
import { assert } from '../lib/assert.ts';
import { asBuffer, latin1, MalformedError } from '../lib/bytes.ts';
import type { StoreSnapshot } from '../lib/env.ts';
import { CorruptionError, HstoreError } from '../lib/errors.ts';
import { globMatches } from '../lib/glob.ts';
import type { StateContents } from './checkpoint.ts';
import { hasExpired } from './databases.ts';
import { ORDERS } from './position.ts';
import { readStored } from './records.ts';
import { decoding } from './recovery.ts';
import { SLOTS } from './slot.ts';
import {
  decodeDataKey,
  familyOf,
  type KeyRange,
  localKey,
  portableKey,
  rangeAfter,
  StoredKeys,
} from './stored-keys.ts';

/** A block that has so many bytes is given. */
const BLOCK_BYTES = 256 << 10;
/** After so many bytes of the store a block is given, however small, unless it is empty. */
const SCANNED_BYTES = 1 << 20;
/** Asked of the store at once: what is done with it takes less than a millisecond. */
const STEP_ENTRIES = 256;
const STEP_BYTES = 64 << 10;
const RECORD_HEADER_BYTES = 8;
const NOTHING = new Uint8Array(0);

/** The view is not there any more: released, or the store had to be opened again. Another server may have it. */
export class ViewGoneError extends HstoreError {
  override readonly name = 'ViewGoneError';
  constructor(cause?: unknown) {
    super('VIEW_GONE', 'not-done', 'this server does not have the view of the keys any more', cause);
  }
}

/** Which keys of a view are wanted: of a database, in the slots [fromSlot, toSlot), that match the glob pattern. */
export interface ViewRange {
  readonly db: number;
  readonly pattern: Uint8Array;
  readonly fromSlot: number;
  readonly toSlot: number;
}

/** `block`: its memory is the callee's alone. `after`: where the next block begins; undefined: that was all. */
export type ViewBlockDone = (error: Error | null, block: Uint8Array, after: Uint8Array | undefined) => void;

export interface ViewParts extends StateContents {
  readonly snapshot: StoreSnapshot;
  /** Calls back in a later turn. */
  readonly later: (callback: () => void) => void;
  /** Somebody reads it. */
  readonly onUse: () => void;
  /** It cannot be read any more; after that it only waits to be closed. */
  readonly onBroken: (error: Error) => void;
}

/** One block on its way. */
interface Reading {
  /** Undefined: every key matches. */
  readonly pattern: string | undefined;
  readonly done: ViewBlockDone;
  readonly records: { readonly key: Uint8Array; readonly value: Uint8Array }[];
  blockBytes: number;
  scannedBytes: number;
}

export class View {
  readonly #parts: ViewParts;
  /** Steps whose answers are awaited: the snapshot cannot be closed before they have come. */
  #awaited = 0;
  #closed = false;

  constructor(parts: ViewParts) {
    this.#parts = parts;
  }

  /** The last entry of the log that it contains. */
  get index(): number {
    return this.#parts.meta.appliedIndex;
  }

  /** Keys of the database, expired ones included. */
  sizeOf(db: number): number {
    return this.#databaseOf(db).size;
  }

  /**
   * The next block: at least one record unless it is the last, about 256 KiB, more where a value alone has more. `after`:
   * undefined at first, then what came with the last block. The error is a ViewGoneError, a CorruptionError, or a
   * MalformedError for an `after` that this range never gave; after the first two the view is of no use any more.
   */
  read(range: ViewRange, after: Uint8Array | undefined, done: ViewBlockDone): void {
    const { later, onUse } = this.#parts;
    assert(range.fromSlot >= 0 && range.fromSlot <= range.toSlot, 'slots are given in order', range.fromSlot);
    assert(range.toSlot <= SLOTS, 'there are so many slots', range.toSlot);
    const failed = (error: Error): void => later(() => done(error, NOTHING, undefined));
    if (this.#closed) return failed(new ViewGoneError());
    onUse();
    const glob = latin1(range.pattern);
    const pattern = glob === '*' ? undefined : glob;
    const reading: Reading = { pattern, done, records: [], blockBytes: 0, scannedBytes: 0 };
    decoding(
      failed,
      () => this.#storedRange(range, after),
      (stored) => this.#step(stored, reading),
    );
  }

  /** What is read now ends with an error. Once. */
  close(): void {
    assert(!this.#closed, 'a view is closed once');
    this.#closed = true;
    if (this.#awaited === 0) this.#parts.snapshot.close();
  }

  #databaseOf(db: number) {
    const database = this.#parts.meta.databases[db];
    assert(database !== undefined, 'a view has all databases', db);
    return database;
  }

  /** Throws MalformedError. */
  #storedRange({ db, fromSlot, toSlot }: ViewRange, after: Uint8Array | undefined): KeyRange {
    const { space } = this.#databaseOf(db);
    const keys = new StoredKeys(this.#parts.region, space);
    const { from } = keys.dataFrom(fromSlot * ORDERS);
    const { from: to } = keys.dataFrom(toSlot * ORDERS);
    if (after === undefined) return { from, to };
    const stored = localKey(after, this.#parts.region);
    const isInside = stored !== undefined && stored.compare(from) >= 0 && stored.compare(to) < 0;
    if (!isInside || familyOf(stored) !== 'data') {
      throw new MalformedError('a place in a view of the keys that is not in the range');
    }
    return rangeAfter({ from, to }, stored);
  }

  #step(range: KeyRange, reading: Reading): void {
    const { snapshot, onUse, onBroken } = this.#parts;
    const failed = (error: Error): void => {
      if (!this.#closed) onBroken(error);
      const told = error instanceof CorruptionError ? error : new ViewGoneError(error);
      reading.done(told, NOTHING, undefined);
    };
    this.#awaited++;
    snapshot.range({ ...range, limit: STEP_ENTRIES, bytesMax: STEP_BYTES }, (error, entries) => {
      this.#awaited--;
      if (this.#closed) {
        if (this.#awaited === 0) snapshot.close();
        return reading.done(new ViewGoneError(), NOTHING, undefined);
      }
      if (error !== null) return failed(error);
      onUse();
      decoding(
        failed,
        () => this.#take(entries, reading),
        (bytes) => {
          const last = entries.at(-1)?.[0];
          const more = last !== undefined && (entries.length >= STEP_ENTRIES || bytes >= STEP_BYTES);
          if (!more) return finish(reading, undefined);
          if (isEnough(reading)) return finish(reading, portableKey(last));
          this.#step(rangeAfter(range, last), reading);
        },
      );
    });
  }

  /** How many bytes the store has given. Throws CorruptionError. */
  #take(entries: readonly (readonly [Uint8Array, Uint8Array])[], reading: Reading): number {
    const { logTimeMs } = this.#parts.meta;
    let bytes = 0;
    for (const [stored, storedValue] of entries) {
      bytes += stored.length + storedValue.length;
      const { name } = decodeDataKey(stored);
      if (reading.pattern !== undefined && !globMatches(reading.pattern, name)) continue;
      const value = readStored(name, storedValue);
      if (hasExpired(value.expireAtMs, logTimeMs)) continue;
      reading.records.push({ key: stored.subarray(stored.length - name.length), value: value.bytes });
      reading.blockBytes += RECORD_HEADER_BYTES + name.length + value.bytes.length;
    }
    reading.scannedBytes += bytes;
    return bytes;
  }
}

function isEnough({ records, blockBytes, scannedBytes }: Reading): boolean {
  return records.length > 0 && (blockBytes >= BLOCK_BYTES || scannedBytes >= SCANNED_BYTES);
}

function finish({ records, blockBytes, done }: Reading, after: Uint8Array | undefined): void {
  // Memory of its own, never a piece of a pool: it may be handed over to a thread.
  const block = new Uint8Array(blockBytes);
  const target = asBuffer(block);
  let offset = 0;
  for (const { key, value } of records) {
    target.writeUInt32LE(key.length, offset);
    target.writeUInt32LE(value.length, offset + 4);
    block.set(key, offset + RECORD_HEADER_BYTES);
    block.set(value, offset + RECORD_HEADER_BYTES + key.length);
    offset += RECORD_HEADER_BYTES + key.length + value.length;
  }
  assert(offset === blockBytes, 'a block is filled', offset, blockBytes);
  done(null, block, after);
}
