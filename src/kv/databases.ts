/**
 * What a command sees of the keyspace: a database at a time. A write sees the time of the entry and removes what it
 * finds expired, which is the same on every replica because every replica runs it there; a read changes nothing.
 */
import { assert } from '../lib/assert.ts';
import type { Database, Value } from './command.ts';
import type { Keyspace } from './keyspace.ts';

/** The time and the version that operations run at; one for all databases. */
export interface Moment {
  nowMs: number;
  /** The count of operations, this one included. */
  version: number;
  readonly stringBytesMax: number;
}

/** As Redis has it: a key lives through the very millisecond at which it expires. */
export function hasExpired(expireAtMs: number, nowMs: number): boolean {
  return nowMs > expireAtMs;
}

/** What reading and writing have in common. */
class DatabaseView {
  protected readonly keyspace: Keyspace;
  protected readonly db: number;
  protected readonly moment: Moment;

  constructor(keyspace: Keyspace, db: number, moment: Moment) {
    this.keyspace = keyspace;
    this.db = db;
    this.moment = moment;
  }

  get nowMs(): number {
    return this.moment.nowMs;
  }

  get stringBytesMax(): number {
    return this.moment.stringBytesMax;
  }

  get size(): number {
    return this.keyspace.sizeOf(this.db);
  }
}

export class ReadDatabase extends DatabaseView implements Database {
  get(key: Uint8Array): Value | undefined {
    const record = this.keyspace.lookup(this.db, this.keyspace.name(key));
    return record === undefined || hasExpired(record.expireAtMs, this.nowMs) ? undefined : record;
  }

  set(): void {
    assert(false, 'a read command writes nothing');
  }

  delete(): boolean {
    assert(false, 'a read command deletes nothing');
  }

  flushAll(): void {
    assert(false, 'a read command removes nothing');
  }
}

export class WriteDatabase extends DatabaseView implements Database {
  get(key: Uint8Array): Value | undefined {
    const name = this.keyspace.name(key);
    const record = this.keyspace.lookup(this.db, name);
    if (record === undefined || !hasExpired(record.expireAtMs, this.nowMs)) return record;
    this.keyspace.expire(this.db, name, this.moment.version);
    return undefined;
  }

  set(key: Uint8Array, value: Value): void {
    this.keyspace.put(this.db, this.keyspace.name(key), value, this.moment.version);
  }

  delete(key: Uint8Array): boolean {
    const live = this.get(key) !== undefined;
    if (live) this.keyspace.remove(this.db, this.keyspace.name(key), this.moment.version);
    return live;
  }

  flushAll(): void {
    this.keyspace.flush();
  }
}
