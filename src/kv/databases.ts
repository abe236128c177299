/**
 * What a command sees of the keyspace: a database at a time. A write sees the time of the entry and removes what it
 * finds expired, which is the same on every replica because every replica runs it there; a read changes nothing.
 */
import { assert } from '../lib/assert.ts';
import { ALL_DATABASES, SYSTEM_DATABASE } from './batch.ts';
import type { ClientSessions } from './client-sessions.ts';
import type { Database, Value } from './command.ts';
import type { Keyspace } from './keyspace.ts';
import type { KeyRecord } from './records.ts';

/** The time and the version that operations run at; one for all databases. */
export interface Moment {
  nowMs: number;
  /** The count of operations, this one included. */
  version: number;
  readonly stringBytesMax: number;
  /** Whether expired keys are removed in the background. Replicated. */
  activeExpire: boolean;
}

/** As Redis has it: a key lives through the very millisecond at which it expires. */
export function hasExpired(expireAtMs: number, nowMs: number): boolean {
  return nowMs > expireAtMs;
}

/** All databases, as reads see them or as writes do. */
export interface World {
  readonly keyspace: Keyspace;
  readonly sessions: ClientSessions;
  readonly moment: Moment;
}

export function readDatabases(world: World): readonly Database[] {
  const all: ReadDatabase[] = [];
  for (let db = 0; db < ALL_DATABASES; db++) all.push(new ReadDatabase(world, db, all));
  return all;
}

export function writeDatabases(world: World): readonly Database[] {
  const all: WriteDatabase[] = [];
  for (let db = 0; db < ALL_DATABASES; db++) all.push(new WriteDatabase(world, db, all));
  return all;
}

/** What reading and writing have in common. */
abstract class DatabaseView {
  readonly index: number;
  readonly sessions: ClientSessions;
  readonly moment: Moment;
  protected readonly keyspace: Keyspace;
  readonly #all: readonly Database[];

  constructor(world: World, index: number, all: readonly Database[]) {
    this.keyspace = world.keyspace;
    this.sessions = world.sessions;
    this.moment = world.moment;
    this.index = index;
    this.#all = all;
  }

  protected abstract find(key: Uint8Array): KeyRecord | undefined;

  other(index: number): Database {
    return this.#all[index]!;
  }

  get nowMs(): number {
    return this.moment.nowMs;
  }

  get stringBytesMax(): number {
    return this.moment.stringBytesMax;
  }

  get size(): number {
    return this.keyspace.spaceOf(this.index).size;
  }

  get(key: Uint8Array): Value | undefined {
    const record = this.find(key);
    if (record !== undefined) record.usedAtMs = this.moment.nowMs;
    return record;
  }

  peek(key: Uint8Array): Value | undefined {
    return this.find(key);
  }

  usedAtMs(key: Uint8Array): number | undefined {
    return this.find(key)?.usedAtMs;
  }

  versionOf(key: Uint8Array): number {
    return this.find(key)?.version ?? 0;
  }
}

class ReadDatabase extends DatabaseView implements Database {
  override get(key: Uint8Array): Value | undefined {
    const value = super.get(key);
    // What no client asked for is not counted.
    if (this.index === SYSTEM_DATABASE) return value;
    if (value === undefined) this.keyspace.lookups.misses++;
    else this.keyspace.lookups.hits++;
    return value;
  }

  protected find(key: Uint8Array): KeyRecord | undefined {
    const record = this.keyspace.lookup(this.index, this.keyspace.name(key));
    return record === undefined || hasExpired(record.expireAtMs, this.nowMs) ? undefined : record;
  }

  set(): void {
    assert(false, 'a read command writes nothing');
  }

  delete(): boolean {
    assert(false, 'a read command deletes nothing');
  }

  setActiveExpire(): void {
    assert(false, 'a read command sets nothing');
  }

  flush(): void {
    assert(false, 'a read command removes nothing');
  }

  flushAll(): void {
    assert(false, 'a read command removes nothing');
  }

  swap(): void {
    assert(false, 'a read command swaps nothing');
  }
}

class WriteDatabase extends DatabaseView implements Database {
  protected find(key: Uint8Array): KeyRecord | undefined {
    const name = this.keyspace.name(key);
    const record = this.keyspace.lookup(this.index, name);
    if (record === undefined || !hasExpired(record.expireAtMs, this.nowMs)) return record;
    this.keyspace.expire(this.index, name, this.moment.version);
    return undefined;
  }

  set(key: Uint8Array, value: Value): void {
    this.keyspace.put(this.index, this.keyspace.name(key), value, this.moment);
  }

  delete(key: Uint8Array): boolean {
    const live = this.find(key) !== undefined;
    if (live) this.keyspace.remove(this.index, this.keyspace.name(key), this.moment.version);
    return live;
  }

  setActiveExpire(active: boolean): void {
    this.moment.activeExpire = active;
  }

  flush(): void {
    this.keyspace.flush(this.index);
  }

  flushAll(): void {
    this.keyspace.flushAll();
  }

  swap(a: number, b: number): void {
    if (a !== b) this.keyspace.swap(a, b);
  }
}
