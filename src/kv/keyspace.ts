/**
 * The data: a bounded layer of memory over an ordered store.
 *
 *            reads and writes
 *                  |
 *      records   all that memory knows, by database and key: values, and keys known to be absent
 *      dirty     of these, what changed since the last checkpoint began
 *      frozen    what the checkpoint under way is writing (held by the Checkpoint)
 *                  |
 *      store     the state at the last finished checkpoint
 *
 * Records never change, so what is frozen is exactly the state at the index where the checkpoint began, whatever is
 * written meanwhile. Each record carries the generation in which it was written, a number that grows with every
 * checkpoint: below `firstUnsaved` it is in the store (clean) and may be evicted, from `firstDirty` on it is in `dirty`.
 *
 * Commands run on memory alone: whoever runs one first asks `has` for its keys, and fetches from the store what is
 * missing (fetch.ts). While memory is `complete`, it holds every key there is, and a miss needs no store.
 *
 * What depends on memory (what is cached, when a checkpoint runs) differs between replicas, and must never show in what
 * is replicated: sizes, hash, versions.
 */
import { assert } from '../lib/assert.ts';
import { latin1 } from '../lib/bytes.ts';
import type { GroupId } from '../raft/types.ts';
import { DATABASES } from './batch.ts';
import { NEVER, type Value } from './command.ts';
import {
  absentRecord,
  decodeStored,
  type KeyRecord,
  type Meta,
  presentRecord,
  StoredKeys,
} from './records.ts';

/** Looked at per call of `evict`: more than one insertion needs, few enough that no call is slow. */
const EVICTION_STEPS_MAX = 16;
/** Absent records let go per call of `evict`, when memory is complete and does not need them. */
const FORGOTTEN_PER_CALL = 4;
/** A Map of V8 ends at 2^24 entries. */
const RECORDS_MAX = 12_000_000;
const FROM_STORE = 0;

export type Records = Map<string, KeyRecord>;

interface Table {
  records: Records;
  dirty: Records;
  /** Keys, expired ones that nobody has removed yet included. Replicated. */
  size: number;
  /** Of these, the ones with a time to live. Replicated. */
  expiring: number;
}

/** An absent record, and where it stands. */
export interface Tombstone {
  readonly db: number;
  readonly name: string;
  readonly record: KeyRecord;
}

/** What a checkpoint takes away to write, and gives back when it could not. */
export interface Frozen {
  /** One per database. */
  readonly tables: readonly Records[];
  readonly storedKeys: StoredKeys;
  readonly epoch: number;
  readonly bytes: number;
}

export class Keyspace {
  readonly #group: GroupId;
  readonly #memoryBytesMax: number;
  readonly #tables: readonly Table[] = Array.from({ length: DATABASES }, newTable);
  #storedKeys: StoredKeys;
  /** Grows with each FLUSHALL. Replicated. */
  #epoch: number;
  #hashA = 0;
  #hashB = 0;
  #expiredCount = 0;

  #complete: boolean;
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

  /** The key last turned into a string: a command asks for the same key up to three times. */
  #lastKey: Uint8Array | undefined;
  #lastName = '';

  constructor(group: GroupId, memoryBytesMax: number) {
    this.#group = group;
    this.#memoryBytesMax = memoryBytesMax;
    this.#epoch = 0;
    this.#storedKeys = new StoredKeys(group, 0);
    this.#complete = true;
  }

  /** Takes over what the store's meta record says; the records are fetched when they are needed. Before all else. */
  restore(meta: Pick<Meta, 'epoch' | 'sizes' | 'expiring' | 'hashA' | 'hashB'>): void {
    assert(this.#count === 0 && this.#generation === FROM_STORE + 1, 'a keyspace is restored when it is new');
    this.#epoch = meta.epoch;
    this.#storedKeys = new StoredKeys(this.#group, meta.epoch);
    this.#hashA = meta.hashA;
    this.#hashB = meta.hashB;
    for (const [db, size] of meta.sizes.entries()) this.#tables[db]!.size = size;
    for (const [db, expiring] of meta.expiring.entries()) this.#tables[db]!.expiring = expiring;
    this.#complete = meta.sizes.every((size) => size === 0);
  }

  get epoch(): number {
    return this.#epoch;
  }
  get sizes(): number[] {
    return this.#tables.map((table) => table.size);
  }
  get expiring(): number[] {
    return this.#tables.map((table) => table.expiring);
  }
  /** Keys removed because their time was over, since this object was made. Not replicated. */
  get expiredCount(): number {
    return this.#expiredCount;
  }
  get hashA(): number {
    return this.#hashA;
  }
  get hashB(): number {
    return this.#hashB;
  }
  /** Whether memory holds every key there is. */
  get complete(): boolean {
    return this.#complete;
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

  sizeOf(db: number): number {
    return this.#tables[db]!.size;
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
    return this.#complete || this.#tables[db]!.records.has(name);
  }

  /** The record, expired or not; undefined when there is no such key. Memory must know it. */
  lookup(db: number, name: string): KeyRecord | undefined {
    const record = this.#tables[db]!.records.get(name);
    if (record === undefined) {
      assert(this.#complete, 'the keys of a command are in memory before it runs', db);
      return undefined;
    }
    record.referenced = true;
    return record.present ? record : undefined;
  }

  storedKey(db: number, name: string): Uint8Array {
    return this.#storedKeys.of(db, name);
  }

  /**
   * Takes in what the store answered when asked in `era`; undefined: it has no such key. What memory knows by now is
   * newer, and what comes from another era is let go: ask again. Throws CorruptionError.
   */
  fetched(place: { db: number; name: string; era: number }, stored: Uint8Array | undefined): void {
    const { db, name, era } = place;
    if (era !== this.#era || this.has(db, name)) return;
    const record =
      stored === undefined
        ? absentRecord(name, { version: 0, generation: FROM_STORE })
        : decodeStored({ db, key: name }, stored, FROM_STORE);
    this.#tables[db]!.records.set(name, record);
    this.#bytes += record.memoryBytes;
    this.#count++;
  }

  /** Copies the bytes of `value`. Memory must know the key. */
  put(db: number, name: string, value: Value, version: number): void {
    const record = presentRecord({ db, key: name }, value, { version, generation: this.#generation });
    this.#replace(db, name, record);
  }

  /** Whether there was such a key, expired or not. Memory must know it. */
  remove(db: number, name: string, version: number): boolean {
    if (this.lookup(db, name) === undefined) return false;
    this.#replace(db, name, absentRecord(name, { version, generation: this.#generation }));
    return true;
  }

  /** Removes a key whose time is over. */
  expire(db: number, name: string, version: number): void {
    if (this.remove(db, name, version)) this.#expiredCount++;
  }

  /** Removes everything, in one step: the next epoch begins. */
  flush(): void {
    for (const table of this.#tables) Object.assign(table, newTable());
    this.#epoch++;
    this.#storedKeys = new StoredKeys(this.#group, this.#epoch);
    this.#hashA = 0;
    this.#hashB = 0;
    this.#complete = true;
    this.#bytes = 0;
    this.#dirtyBytes = 0;
    this.#count = 0;
    this.#era++;
    this.#hand = undefined;
    this.#savedAbsent = [];
    this.#savedAbsentLeft = 0;
  }

  /** Hands over what is dirty: the state of now against the last checkpoint. `thaw` or `saved` must follow. */
  freeze(): Frozen {
    assert(this.#firstUnsaved === this.#firstDirty, 'one checkpoint at a time');
    this.#generation++;
    this.#firstDirty = this.#generation;
    const tables = this.#tables.map((table) => table.dirty);
    for (const table of this.#tables) table.dirty = new Map();
    const bytes = this.#dirtyBytes;
    this.#dirtyBytes = 0;
    return { tables, storedKeys: this.#storedKeys, epoch: this.#epoch, bytes };
  }

  /** The store has what was frozen; `absent` is what of it was deleted there. */
  saved(frozen: Frozen, absent: readonly Tombstone[]): void {
    this.#firstUnsaved = this.#firstDirty;
    this.#era++;
    if (frozen.epoch !== this.#epoch) return;
    const left = this.#savedAbsent.slice(0, this.#savedAbsentLeft);
    this.#savedAbsent = left.length === 0 ? absent : [...left, ...absent];
    this.#savedAbsentLeft = this.#savedAbsent.length;
  }

  /** The store has nothing of what was frozen: it is dirty again, unless it has been written anew or flushed. */
  thaw(frozen: Frozen): void {
    this.#firstDirty = this.#firstUnsaved;
    if (frozen.epoch !== this.#epoch) return;
    this.#dirtyBytes = 0;
    for (const [db, table] of this.#tables.entries()) {
      const thawed = frozen.tables[db]!;
      for (const [name, record] of table.dirty) thawed.set(name, record);
      table.dirty = thawed;
      for (const record of thawed.values()) this.#dirtyBytes += record.memoryBytes;
    }
  }

  /** A bounded step towards the bound on memory. After each operation. */
  evict(): void {
    if (this.#savedAbsentLeft > 0) this.#forgetAbsent();
    if (this.#bytes <= this.#memoryBytesMax && this.#count <= RECORDS_MAX) return;
    for (let step = 0; step < EVICTION_STEPS_MAX; step++) {
      if (this.#bytes <= this.#memoryBytesMax && this.#count <= RECORDS_MAX) return;
      this.#moveHand();
    }
  }

  /** Second chance: a record used since the hand last came by stays for another round. */
  #moveHand(): void {
    this.#hand ??= this.#tables[this.#handDb]!.records.entries();
    const next = this.#hand.next();
    if (next.done === true) {
      this.#handDb = (this.#handDb + 1) % DATABASES;
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
    if (record.present) this.#complete = false;
    this.#drop(this.#handDb, name, record);
  }

  /** Complete memory need not remember what is absent, once the store has no such key either. */
  #forgetAbsent(): void {
    for (let step = 0; step < FORGOTTEN_PER_CALL && this.#savedAbsentLeft > 0; step++) {
      const { db, name, record } = this.#savedAbsent[--this.#savedAbsentLeft]!;
      if (this.#complete && this.#tables[db]!.records.get(name) === record) this.#drop(db, name, record);
    }
    if (this.#savedAbsentLeft === 0) this.#savedAbsent = [];
  }

  #drop(db: number, name: string, record: KeyRecord): void {
    assert(record.generation < this.#firstUnsaved, 'only what the store has is let go');
    this.#tables[db]!.records.delete(name);
    this.#bytes -= record.memoryBytes;
    this.#count--;
  }

  #replace(db: number, name: string, record: KeyRecord): void {
    const table = this.#tables[db]!;
    const old = table.records.get(name);
    if (old === undefined) {
      assert(this.#complete, 'what is written over is in memory', db);
      this.#count++;
    } else {
      this.#hashA = (this.#hashA - old.hashA) | 0;
      this.#hashB = (this.#hashB - old.hashB) | 0;
      this.#bytes -= old.memoryBytes;
      if (old.generation >= this.#firstDirty) this.#dirtyBytes -= old.memoryBytes;
      if (old.present) count(table, old, -1);
    }
    if (record.present) count(table, record, 1);
    this.#hashA = (this.#hashA + record.hashA) | 0;
    this.#hashB = (this.#hashB + record.hashB) | 0;
    this.#bytes += record.memoryBytes;
    this.#dirtyBytes += record.memoryBytes;
    table.records.set(name, record);
    table.dirty.set(name, record);
  }
}

function count(table: Table, record: KeyRecord, step: 1 | -1): void {
  table.size += step;
  if (record.expireAtMs !== NEVER) table.expiring += step;
}

function newTable(): Table {
  return { records: new Map(), dirty: new Map(), size: 0, expiring: 0 };
}
