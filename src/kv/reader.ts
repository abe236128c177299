/**
 * Runs read commands on what has been applied, fetching first what is not in memory.
 *
 * Expiry stays linearizable although servers' clocks differ: a key that is live by the log's time and over by the
 * reader's clock is not answered at all. The reader's server first moves the log's time, for everybody.
 */
import type { Reply } from '../resp/reply.ts';
import { DATABASES } from './batch.ts';
import { keyIndexes, type ReadCommand } from './command.ts';
import { hasExpired, type Moment, ReadDatabase } from './databases.ts';
import type { Fetcher, KeyPlace } from './fetch.ts';
import type { Keyspace } from './keyspace.ts';

export interface ReadQuery {
  readonly db: number;
  readonly command: ReadCommand;
  readonly argv: readonly Uint8Array[];
  /** By the clock of the server that was asked; 0 to read at the log's time. */
  readonly nowMs: number;
}

export class Reader {
  readonly #keyspace: Keyspace;
  readonly #fetcher: Fetcher;
  /** The write side's moment: its time is the log's. */
  readonly #log: Readonly<Moment>;
  readonly #moment: Moment;
  readonly #databases: readonly ReadDatabase[];

  constructor(keyspace: Keyspace, fetcher: Fetcher, log: Readonly<Moment>) {
    this.#keyspace = keyspace;
    this.#fetcher = fetcher;
    this.#log = log;
    const moment: Moment = { nowMs: 0, version: 0, stringBytesMax: log.stringBytesMax };
    this.#moment = moment;
    this.#databases = Array.from({ length: DATABASES }, (_, db) => new ReadDatabase(keyspace, db, moment));
  }

  /** See `KvStateMachine.read`. */
  read(query: ReadQuery, done: (reply: Reply | undefined) => void): void {
    const places = this.#placesOf(query);
    if (places.every(({ db, name }) => this.#keyspace.has(db, name))) {
      const reply = this.#run(query, places);
      this.#keyspace.evict();
      done(reply);
      return;
    }
    // Not only what is missing: what is in memory now may be evicted before the answer comes.
    this.#fetcher.fetch(places, () => this.read(query, done));
  }

  /** Whether a key in memory is live by the log's time and expired by `nowMs`. */
  expiredBetween(places: readonly KeyPlace[], nowMs: number): boolean {
    if (nowMs <= this.#log.nowMs) return false;
    return places.some(({ db, name }) => {
      const record = this.#keyspace.has(db, name) ? this.#keyspace.lookup(db, name) : undefined;
      if (record === undefined) return false;
      return !hasExpired(record.expireAtMs, this.#log.nowMs) && hasExpired(record.expireAtMs, nowMs);
    });
  }

  #run(query: ReadQuery, places: readonly KeyPlace[]): Reply | undefined {
    if (this.expiredBetween(places, query.nowMs)) return undefined;
    this.#moment.nowMs = Math.max(this.#log.nowMs, query.nowMs);
    return query.command.run(this.#databases[query.db]!, query.argv);
  }

  #placesOf(query: ReadQuery): KeyPlace[] {
    const places: KeyPlace[] = [];
    const { first, last, step } = keyIndexes(query.command.keys, query.argv.length);
    for (let i = first; i <= last; i += step) {
      places.push({ db: query.db, name: this.#keyspace.name(query.argv[i]!) });
    }
    return places;
  }
}
