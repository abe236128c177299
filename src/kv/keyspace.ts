/**
 * The data: a bounded layer of memory over an ordered store. There is a space per database (space.ts).
 *
 * Records never change, so what a checkpoint has frozen is exactly the state at the index where it began, whatever is
 * written meanwhile. Each record carries the generation in which it was written, a number that grows with every
 * checkpoint: below `firstUnsaved` it is in the store (clean) and may be evicted, from `firstDirty` on it is in `dirty`.
 *
 * Commands run on memory alone: whoever runs one first asks `has` for its keys, and fetches from the store what is
 * missing (fetch.ts).
 *
 * What depends on memory (what is cached, when a checkpoint runs) differs between replicas, and must never show in what
 * is replicated: sizes, hash, versions.
 */
import { assert } from '../lib/assert.ts';
import { latin1 } from '../lib/bytes.ts';
import type { Hash64 } from '../lib/hash.ts';
import { ALL_DATABASES, DATABASES, SYSTEM_DATABASE } from './batch.ts';
import { NEVER, type Value } from './command.ts';
import type { Meta } from './meta.ts';
import { positionOf } from './position.ts';
import { absentRecord, type KeyRecord, presentRecord, type RecordFields, storedRecord } from './records.ts';
import { type Records, Space } from './space.ts';
import { garbageRanges, type KeyRange, type Region } from './stored-keys.ts';
import { Watchers } from './watchers.ts';

/** Looked at per call of `evict`, and for each key of the operation: more than an insertion needs. */
const EVICTION_STEPS_MIN = 16;
const EVICTION_STEPS_PER_KEY = 4;
/**
 * Absent records let go per call of `evict`, when memory is complete and does not need them, beside one for each key of
 * the operation: no more can have come with it.
 */
const FORGOTTEN_PER_CALL = 4;
/** A Map of V8 ends at 2^24 entries. */
const RECORDS_MAX = 12_000_000;
const FROM_STORE = 0;
/** Remembered until the next checkpoint; what is beyond is found again. */
const STALE_DUE_MAX = 10_000;

/** An absent record, and where it stands. */
export interface Tombstone {
  readonly space: Space;
  readonly name: string;
  readonly record: KeyRecord;
}

/** What a checkpoint takes away to write, and gives back when it could not. */
export interface Frozen {
  readonly spaces: readonly { readonly space: Space; readonly records: Records }[];
  /** Stored keys of the family `due` that are out of date. */
  readonly staleDue: readonly Uint8Array[];
}

export class Keyspace {
  readonly #region: Region;
  /** Of records that the store has too, by estimate; more are let go in the course of the next operations. */
  memoryBytesMax: number;
  #spaces: Space[];
  /** Replicated. */
  #nextSpace = ALL_DATABASES;
  #expiredCount = 0;
  #changeCount = 0;
  readonly watchers = new Watchers();
  /** Keys that reads have found, and not found. Not replicated. */
  readonly lookups = { hits: 0, misses: 0 };
  /** An operation has been carried out in part: what is read now is no state of the data. */
  halfWritten = false;

  #bytes = 0;
  #dirtyBytes = 0;
  #count = 0;
  #generation = FROM_STORE + 1;
  #firstDirty = FROM_STORE + 1;
  #firstUnsaved = FROM_STORE + 1;
  /** See `era`. */
  #era = 0;

  /** The clock hand: the database it is in and where it stands there. */
  #handDb = 0;
  #hand: Iterator<[string, KeyRecord]> | undefined;
  /** Absent records that the last checkpoint has saved and nobody has let go yet. */
  #savedAbsent: readonly Tombstone[] = [];
  #savedAbsentLeft = 0;
  #staleDue: Uint8Array[] = [];

  /** The key last turned into a string: a command asks for the same key up to three times. */
  #lastKey: Uint8Array | undefined;
  #lastName = '';

  constructor(region: Region, memoryBytesMax: number) {
    this.#region = region;
    this.memoryBytesMax = memoryBytesMax;
    this.#spaces = Array.from({ length: ALL_DATABASES }, (_, db) => new Space(region, db));
  }

  /** Takes over what the store's meta record says; the records are fetched when they are needed. Before all else. */
  restore(meta: Pick<Meta, 'nextSpace' | 'databases'>): void {
    assert(this.#count === 0 && this.#generation === FROM_STORE + 1, 'a keyspace is restored when it is new');
    this.#nextSpace = meta.nextSpace;
    this.#spaces = meta.databases.map((database) => Space.restored(this.#region, database));
  }

  get meta(): Pick<Meta, 'nextSpace' | 'databases'> {
    return { nextSpace: this.#nextSpace, databases: this.#spaces.map((space) => space.meta) };
  }
  /** Of the databases that SELECT knows. */
  get sizes(): number[] {
    return this.#spaces.slice(0, DATABASES).map((space) => space.size);
  }
  get expiring(): number[] {
    return this.#spaces.slice(0, DATABASES).map((space) => space.expiring);
  }
  /** Keys removed because their time was over, since this object was made. Not replicated. */
  get expiredCount(): number {
    return this.#expiredCount;
  }
  /** Keys written or removed since this object was made. Not replicated. */
  get changeCount(): number {
    return this.#changeCount;
  }
  /** What the records cost, by estimate. */
  get bytes(): number {
    return this.#bytes;
  }
  /** Of these, what no checkpoint has begun to write. */
  get dirtyBytes(): number {
    return this.#dirtyBytes;
  }
  /**
   * Changes whenever a value read from the store before may be out of date: a key can have been written, saved and
   * evicted between the question and the answer.
   */
  get era(): number {
    return this.#era;
  }

  spaceOf(db: number): Space {
    return this.#spaces[db]!;
  }

  /** The database whose keys are in this space; undefined when they have been flushed away. */
  dbOf(space: Space): number | undefined {
    const db = this.#spaces.indexOf(space);
    return db < 0 ? undefined : db;
  }

  /** Of all that clients can see, equal on all replicas that hold the same; 0 and 0 when there is nothing. */
  get dataHash(): readonly [number, number] {
    let [a, b] = [0, 0];
    for (const [db, { hashA, hashB }] of this.#spaces.slice(0, DATABASES).entries()) {
      a = (a + Math.imul(hashA, 2 * db + 1)) | 0;
      b = (b + Math.imul(hashB, 2 * db + 1)) | 0;
    }
    return [a, b];
  }

  /** Equal on all replicas at the same index. */
  hashInto(hash: Hash64): void {
    hash.u64(this.#nextSpace);
    for (const space of this.#spaces) {
      hash.u64(space.number);
      hash.u64(space.size);
      hash.u32(space.hashA);
      hash.u32(space.hashB);
    }
  }

  /** The key as the keyspace names it: one character per byte. */
  name(key: Uint8Array): string {
    if (key !== this.#lastKey) {
      this.#lastName = latin1(key);
      this.#lastKey = key;
    }
    return this.#lastName;
  }

  /** Lets go of the entry that the last key is a view of. */
  forgetName(): void {
    this.#lastKey = undefined;
  }

  /** Whether memory knows the key, be it that it is absent. */
  has(db: number, name: string): boolean {
    const space = this.#spaces[db]!;
    return space.complete || space.records.has(name);
  }

  /** The record, expired or not; undefined when there is no such key. Memory must know it. */
  lookup(db: number, name: string): KeyRecord | undefined {
    const space = this.#spaces[db]!;
    const record = space.records.get(name);
    if (record === undefined) {
      assert(space.complete, 'the keys of a command are in memory before it runs', db);
      return undefined;
    }
    record.referenced = true;
    return record.present ? record : undefined;
  }

  storedKey(db: number, name: string): Uint8Array {
    return this.#spaces[db]!.storedKeys.data(name, positionOf(name));
  }

  /**
   * Takes in what the store answered when asked in `era`; undefined: it has no such key. What memory knows by now is
   * newer, and what comes from another era is let go: ask again. Throws CorruptionError.
   */
  fetched(
    place: { db: number; name: string; era: number; nowMs: number },
    stored: Uint8Array | undefined,
  ): void {
    const { db, name, era, nowMs } = place;
    if (era !== this.#era || this.has(db, name)) return;
    const fields = { generation: FROM_STORE, position: positionOf(name), usedAtMs: nowMs };
    const record =
      stored === undefined
        ? absentRecord(name, { ...fields, version: 0, storedDueMs: NEVER })
        : storedRecord(name, stored, fields);
    const space = this.#spaces[db]!;
    space.records.set(name, record);
    space.bytes += record.memoryBytes;
    this.#bytes += record.memoryBytes;
    this.#count++;
  }

  /** Copies the bytes of `value`. Memory must know the key. */
  put(db: number, name: string, value: Value, moment: { version: number; nowMs: number }): void {
    assert(db !== SYSTEM_DATABASE || value.expireAtMs === NEVER, 'no key of the system database expires', db);
    const space = this.#spaces[db]!;
    const old = space.records.get(name);
    const usedAtMs = value.usedAtMs ?? moment.nowMs;
    this.#replace(
      space,
      name,
      old,
      presentRecord(name, value, this.#fields(name, old, moment.version, usedAtMs)),
    );
    if (value.expireAtMs !== NEVER) space.noteDue(name, value.expireAtMs);
  }

  /** Whether there was such a key, expired or not. Memory must know it. */
  remove(db: number, name: string, version: number): boolean {
    const old = this.lookup(db, name);
    if (old === undefined) return false;
    const record = absentRecord(name, this.#fields(name, old, version, old.usedAtMs));
    this.#replace(this.#spaces[db]!, name, old, record);
    return true;
  }

  /** Removes a key whose time is over. */
  expire(db: number, name: string, version: number): void {
    if (this.remove(db, name, version)) this.#expiredCount++;
  }

  /** Removes everything of a database, in one step. */
  flush(db: number): void {
    const old = this.#spaces[db]!;
    this.#changeCount += old.size;
    this.#bytes -= old.bytes;
    this.#dirtyBytes -= old.dirtyBytes;
    this.#count -= old.records.size;
    this.#spaces[db] = new Space(this.#region, this.#nextSpace++);
    this.#era++;
    this.#hand = undefined;
  }

  /** Removes everything but what servers keep for themselves. */
  flushAll(): void {
    for (let db = 0; db < DATABASES; db++) this.flush(db);
  }

  swap(a: number, b: number): void {
    assert(a < DATABASES && b < DATABASES, 'databases that SELECT knows are swapped', a, b);
    const spaces = this.#spaces;
    [spaces[a], spaces[b]] = [spaces[b]!, spaces[a]!];
    // What was asked of the store was asked for another space.
    this.#era++;
    this.#hand = undefined;
  }

  /** The store calls a key due that no longer is: the next checkpoint removes the entry. */
  noteStaleDue(stored: Uint8Array): void {
    if (this.#staleDue.length < STALE_DUE_MAX) this.#staleDue.push(stored);
  }

  /** What the store holds of spaces that were flushed away before `meta` was saved. */
  garbage(meta: Pick<Meta, 'nextSpace' | 'databases'>): KeyRange[] {
    return garbageRanges(
      this.#region,
      meta.databases.map(({ space }) => space),
      meta.nextSpace,
    );
  }

  /** Hands over what is dirty: the state of now against the last checkpoint. `thaw` or `saved` must follow. */
  freeze(): Frozen {
    assert(this.#firstUnsaved === this.#firstDirty, 'one checkpoint at a time');
    this.#generation++;
    this.#firstDirty = this.#generation;
    this.#dirtyBytes = 0;
    const spaces = this.#spaces.map((space) => {
      const records = space.dirty;
      space.frozen = records;
      space.dirty = new Map();
      space.dirtyBytes = 0;
      return { space, records };
    });
    const staleDue = this.#staleDue;
    this.#staleDue = [];
    return { spaces, staleDue };
  }

  /** The store has what was frozen; `absent` is what of it was deleted there. */
  saved(frozen: Frozen, absent: readonly Tombstone[]): void {
    this.#firstUnsaved = this.#firstDirty;
    this.#era++;
    for (const { space } of frozen.spaces) {
      space.frozen = undefined;
      space.renewDue();
    }
    const left = this.#savedAbsent.slice(0, this.#savedAbsentLeft);
    this.#savedAbsent = left.length === 0 ? absent : [...left, ...absent];
    this.#savedAbsentLeft = this.#savedAbsent.length;
  }

  /** The store has nothing of what was frozen: it is dirty again, unless it has been written anew or flushed. */
  thaw(frozen: Frozen): void {
    this.#firstDirty = this.#firstUnsaved;
    for (const { space, records } of frozen.spaces) {
      space.frozen = undefined;
      for (const [name, record] of space.dirty) records.set(name, record);
      space.dirty = records;
      space.dirtyBytes = 0;
      for (const record of records.values()) space.dirtyBytes += record.memoryBytes;
    }
    // Some may have been flushed meanwhile, and others have taken their place.
    this.#dirtyBytes = this.#spaces.reduce((sum, { dirtyBytes }) => sum + dirtyBytes, 0);
  }

  /** A bounded step towards the bound on memory. After each operation, with the number of its keys. */
  evict(keysUsed: number): void {
    if (this.#savedAbsentLeft > 0) this.#forgetAbsent(FORGOTTEN_PER_CALL + keysUsed);
    if (this.#bytes <= this.memoryBytesMax && this.#count <= RECORDS_MAX) return;
    const steps = EVICTION_STEPS_MIN + EVICTION_STEPS_PER_KEY * keysUsed;
    for (let step = 0; step < steps; step++) {
      if (this.#bytes <= this.memoryBytesMax && this.#count <= RECORDS_MAX) return;
      this.#moveHand();
    }
  }

  /** Second chance: a record used since the hand last came by stays for another round. */
  #moveHand(): void {
    const space = this.#spaces[this.#handDb]!;
    this.#hand ??= space.records.entries();
    const next = this.#hand.next();
    if (next.done === true) {
      this.#handDb = (this.#handDb + 1) % ALL_DATABASES;
      this.#hand = undefined;
      return;
    }
    const [name, record] = next.value;
    if (record.generation >= this.#firstUnsaved) return;
    if (record.referenced) {
      record.referenced = false;
      return;
    }
    // An absent key that complete memory forgets is still absent.
    if (record.present) space.complete = false;
    this.#drop(space, name, record);
  }

  /** Complete memory need not remember what is absent, once the store has no such key either. */
  #forgetAbsent(steps: number): void {
    for (let step = 0; step < steps && this.#savedAbsentLeft > 0; step++) {
      const { space, name, record } = this.#savedAbsent[--this.#savedAbsentLeft]!;
      const known = this.dbOf(space) !== undefined && space.records.get(name) === record;
      if (known && space.complete) this.#drop(space, name, record);
    }
    if (this.#savedAbsentLeft === 0) this.#savedAbsent = [];
  }

  #drop(space: Space, name: string, record: KeyRecord): void {
    assert(record.generation < this.#firstUnsaved, 'only what the store has is let go');
    space.records.delete(name);
    space.bytes -= record.memoryBytes;
    this.#bytes -= record.memoryBytes;
    this.#count--;
  }

  #fields(name: string, old: KeyRecord | undefined, version: number, usedAtMs: number): RecordFields {
    return {
      version,
      usedAtMs,
      generation: this.#generation,
      position: old === undefined ? positionOf(name) : old.position,
      storedDueMs: old === undefined ? NEVER : this.#dueAfterSaving(old),
    };
  }

  /** When the store will call the key due once it has `record`. */
  #dueAfterSaving(record: KeyRecord): number {
    // A frozen record counts as saved. If the checkpoint fails, an entry may stay that is out of date: see due.ts.
    return record.generation < this.#firstDirty ? record.expireAtMs : record.storedDueMs;
  }

  #replace(space: Space, name: string, old: KeyRecord | undefined, record: KeyRecord): void {
    let bytes = record.memoryBytes;
    let dirtyBytes = bytes;
    if (old === undefined) {
      assert(space.complete, 'what is written over is in memory', space.number);
      this.#count++;
    } else {
      bytes -= old.memoryBytes;
      if (old.generation >= this.#firstDirty) dirtyBytes -= old.memoryBytes;
    }
    if (record.present && !this.watchers.none) this.watchers.written(this.#spaces.indexOf(space), name);
    space.count(old, record);
    space.bytes += bytes;
    this.#bytes += bytes;
    space.dirtyBytes += dirtyBytes;
    this.#dirtyBytes += dirtyBytes;
    this.#changeCount++;
    space.records.set(name, record);
    space.dirty.set(name, record);
  }
}
