/**
 * The databases as dumb as can be, for commands to run on: a Map for each, and nothing is ever removed because it expired.
 */
import { ClientSessions } from '../../src/kv/client-sessions.ts';
import type { Database, Value } from '../../src/kv/command.ts';
import { findDataCommand } from '../../src/kv/table.ts';
import { fromLatin1, latin1 } from '../../src/lib/bytes.ts';
import type { Reply } from '../../src/resp/reply.ts';

export type TwinValues = readonly ReadonlyMap<string, Value>[];

/** What all databases of one server have in common. */
export class Twin {
  nowMs = 0;
  readonly stringBytesMax: number;
  readonly sessions = new ClientSessions({ group: 1, generation: 0 });
  maps: Map<string, Value>[];
  /** Of writes: the version of what is written. */
  version = 0;

  constructor(values: TwinValues = [], stringBytesMax = 1 << 29) {
    this.stringBytesMax = stringBytesMax;
    this.maps = Array.from({ length: 16 }, (_, index) => new Map(values[index]));
  }

  /** What is there now; later writes do not change it. */
  get values(): TwinValues {
    return this.maps.map((map) => new Map(map));
  }

  /** A command on data, of a client in database `db`. */
  run(argv: readonly string[], db = 0): Reply {
    const bytes = argv.map(fromLatin1);
    const row = findDataCommand(bytes);
    if (row === undefined || row.kind === 'scan') throw new Error(`${argv[0]} is no read or write`);
    return row.run(new TwinDatabase(this, db), bytes);
  }
}

export class TwinDatabase implements Database {
  readonly #twin: Twin;
  readonly index: number;

  constructor(twin: Twin, index: number) {
    this.#twin = twin;
    this.index = index;
  }

  get nowMs(): number {
    return this.#twin.nowMs;
  }

  get stringBytesMax(): number {
    return this.#twin.stringBytesMax;
  }

  get sessions(): ClientSessions {
    return this.#twin.sessions;
  }

  get moment(): { nowMs: number; version: number } {
    return this.#twin;
  }

  get #map(): Map<string, Value> {
    return this.#twin.maps[this.index]!;
  }

  get size(): number {
    return this.#map.size;
  }

  other(index: number): Database {
    return new TwinDatabase(this.#twin, index);
  }

  get(key: Uint8Array): Value | undefined {
    const value = this.peek(key);
    if (value !== undefined) this.#map.set(latin1(key), { ...value, usedAtMs: this.nowMs });
    return value;
  }

  peek(key: Uint8Array): Value | undefined {
    const value = this.#map.get(latin1(key));
    return value === undefined || this.nowMs > value.expireAtMs ? undefined : value;
  }

  usedAtMs(key: Uint8Array): number | undefined {
    return this.peek(key)?.usedAtMs;
  }

  versionOf(key: Uint8Array): number {
    return this.peek(key) === undefined ? 0 : this.#twin.version;
  }

  set(key: Uint8Array, value: Value): void {
    this.#twin.version++;
    const bytes = Uint8Array.from(value.bytes);
    this.#map.set(latin1(key), { usedAtMs: this.nowMs, ...value, bytes });
  }

  delete(key: Uint8Array): boolean {
    const live = this.peek(key) !== undefined;
    this.#map.delete(latin1(key));
    return live;
  }

  setActiveExpire(): void {
    // It makes no difference: what has expired is not seen.
  }

  flush(): void {
    this.#map.clear();
  }

  flushAll(): void {
    for (const map of this.#twin.maps) map.clear();
  }

  swap(a: number, b: number): void {
    const { maps } = this.#twin;
    const map = maps[a]!;
    maps[a] = maps[b]!;
    maps[b] = map;
  }
}
