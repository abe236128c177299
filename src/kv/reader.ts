/**
 * Runs read commands on what has been applied, fetching first what is not in memory.
 *
 * Expiry stays linearizable although servers' clocks differ: a key that is live by the log's time and over by the
 * reader's clock is not answered at all. The reader's server first moves the log's time, for everybody.
 *
 * While an operation is half carried out (see state-machine.ts) reads wait: nobody sees a part of it.
 */
import type { Reply } from '../resp/reply.ts';
import { type Database, keyIndexes, type ReadCommand, type ScanCommand } from './command.ts';
import { hasExpired, type Moment, readDatabases, type World } from './databases.ts';
import type { Fetcher, KeyPlace } from './fetch.ts';
import { Scan, type ScanWorld } from './scan.ts';

export interface ReadQuery {
  readonly db: number;
  readonly command: ReadCommand | ScanCommand;
  readonly argv: readonly Uint8Array[];
  /** By the clock of the server that was asked; 0 to read at the log's time. */
  readonly nowMs: number;
}

type ReadDone = (reply: Reply | undefined) => void;

export class Reader {
  readonly #world: World;
  readonly #fetcher: Fetcher;
  readonly #scanWorld: ScanWorld;
  /** Reads run at a moment of their own, beside the log's. */
  readonly #moment: Moment;
  readonly #databases: readonly Database[];
  /** Undefined: reads need not wait. */
  #held: { readonly query: ReadQuery; readonly done: ReadDone }[] | undefined;

  /** `world`: with the log's moment. */
  constructor(world: World, fetcher: Fetcher, scanWorld: ScanWorld) {
    this.#world = world;
    this.#fetcher = fetcher;
    this.#scanWorld = scanWorld;
    this.#moment = { ...world.moment };
    this.#databases = readDatabases({ ...world, moment: this.#moment });
  }

  /** From now on reads wait for `release`. */
  hold(): void {
    this.#held ??= [];
  }

  release(): void {
    const held = this.#held;
    this.#held = undefined;
    for (const { query, done } of held ?? []) this.read(query, done);
  }

  /** See `KvStateMachine.read`. */
  read(query: ReadQuery, done: ReadDone): void {
    if (this.#held !== undefined) {
      this.#held.push({ query, done });
      return;
    }
    const { command } = query;
    if (command.kind === 'scan') {
      command.run(new Scan(this.#scanWorld, query.db, query.nowMs), query.argv, done);
      return;
    }
    const { keyspace } = this.#world;
    const places = this.#placesOf(query);
    if (places.every(({ db, name }) => keyspace.has(db, name))) {
      const reply = this.#run(command, query, places);
      keyspace.evict(places.length);
      done(reply);
      return;
    }
    // Not only what is missing: what is in memory now may be evicted before the answer comes.
    this.#fetcher.fetch(places, () => this.read(query, done));
  }

  /** Whether a key in memory is live by the log's time and expired by `nowMs`. */
  expiredBetween(places: readonly KeyPlace[], nowMs: number): boolean {
    const { keyspace, moment } = this.#world;
    if (nowMs <= moment.nowMs) return false;
    return places.some(({ db, name }) => {
      const record = keyspace.has(db, name) ? keyspace.lookup(db, name) : undefined;
      if (record === undefined) return false;
      return !hasExpired(record.expireAtMs, moment.nowMs) && hasExpired(record.expireAtMs, nowMs);
    });
  }

  #run(command: ReadCommand, query: ReadQuery, places: readonly KeyPlace[]): Reply | undefined {
    if (this.expiredBetween(places, query.nowMs)) return undefined;
    this.#moment.nowMs = Math.max(this.#world.moment.nowMs, query.nowMs);
    return command.run(this.#databases[query.db]!, query.argv);
  }

  #placesOf(query: ReadQuery): KeyPlace[] {
    const places: KeyPlace[] = [];
    const { first, last, step } = keyIndexes(query.command.keys, query.argv.length);
    for (let i = first; i <= last; i += step) {
      places.push({ db: query.db, name: this.#world.keyspace.name(query.argv[i]!) });
    }
    return places;
  }
}
