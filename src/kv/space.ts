/**
 * A space: the keys of one database, as far as memory knows them, and what is replicated about all of them.
 *
 *      records   all that memory knows: values, and keys known to be absent
 *      dirty     of these, what changed since the last checkpoint began
 *      frozen    what the checkpoint under way is writing; undefined when there is none
 *
 * While memory is `complete`, it holds every key there is, and a miss needs no store.
 */
import { NEVER } from './command.ts';
import { DueHeap } from './due-heap.ts';
import type { DatabaseMeta } from './meta.ts';
import type { KeyRecord } from './records.ts';
import { type Region, StoredKeys } from './stored-keys.ts';

export type Records = Map<string, KeyRecord>;

/** The heap may hold so many keys more than twice what is unsaved before it is made anew. */
const DUE_SLACK = 1024;

export class Space {
  /** Never used twice. */
  readonly number: number;
  readonly storedKeys: StoredKeys;
  readonly records: Records = new Map();
  dirty: Records = new Map();
  frozen: Records | undefined;
  complete = true;
  /** What the records cost, by estimate; and of these, what no checkpoint has begun to write. */
  bytes = 0;
  dirtyBytes = 0;

  // Replicated

  /** Keys, expired ones that nobody has removed yet included. */
  size = 0;
  /** Of these, the ones with a time to live. */
  expiring = 0;
  hashA = 0;
  hashB = 0;

  /** Keys with a time to live of which the store does not know yet. */
  readonly due = new DueHeap();

  constructor(region: Region, number: number) {
    this.number = number;
    this.storedKeys = new StoredKeys(region, number);
  }

  static restored(region: Region, meta: DatabaseMeta): Space {
    const space = new Space(region, meta.space);
    space.size = meta.size;
    space.expiring = meta.expiring;
    space.hashA = meta.hashA;
    space.hashB = meta.hashB;
    space.complete = meta.size === 0;
    return space;
  }

  get meta(): DatabaseMeta {
    const { number, size, expiring, hashA, hashB } = this;
    return { space: number, size, expiring, hashA, hashB };
  }

  /** The replicated side of a key's change from `old` to `record`. */
  count(old: KeyRecord | undefined, record: KeyRecord): void {
    if (old !== undefined) {
      this.hashA = (this.hashA - old.hashA) | 0;
      this.hashB = (this.hashB - old.hashB) | 0;
      if (old.present) this.#countOne(old, -1);
    }
    this.hashA = (this.hashA + record.hashA) | 0;
    this.hashB = (this.hashB + record.hashB) | 0;
    if (record.present) this.#countOne(record, 1);
  }

  #countOne(record: KeyRecord, step: 1 | -1): void {
    this.size += step;
    if (record.expireAtMs !== NEVER) this.expiring += step;
  }

  /** A dirty key has got a time to live. */
  noteDue(name: string, atMs: number): void {
    this.due.push({ name, atMs });
    const unsaved = this.dirty.size + (this.frozen?.size ?? 0);
    if (this.due.size > 2 * unsaved + DUE_SLACK) this.renewDue();
  }

  /** Forgets what the store knows by now, or what is long out of date. */
  renewDue(): void {
    this.due.clear();
    for (const [name, record] of this.unsaved()) {
      if (record.expireAtMs !== NEVER) this.due.push({ name, atMs: record.expireAtMs });
    }
  }

  /** The newest records that are not in the store, absent ones included. */
  *unsaved(): IterableIterator<readonly [string, KeyRecord]> {
    yield* this.dirty;
    if (this.frozen === undefined) return;
    for (const entry of this.frozen) if (!this.dirty.has(entry[0])) yield entry;
  }
}
