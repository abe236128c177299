/**
 * Brings keys from the store into memory, for the commands that need them.
 */

import type { Store } from '../lib/env.ts';
import { CorruptionError } from '../lib/errors.ts';
import type { Keyspace } from './keyspace.ts';

export interface KeyPlace {
  readonly db: number;
  /** One character per byte. */
  readonly name: string;
}

export class Fetcher {
  readonly #store: Store;
  readonly #keyspace: Keyspace;
  readonly #onFatal: (error: Error) => void;
  readonly #logTimeMs: () => number;

  constructor(
    store: Store,
    keyspace: Keyspace,
    world: { readonly onFatal: (error: Error) => void; readonly logTimeMs: () => number },
  ) {
    this.#store = store;
    this.#keyspace = keyspace;
    this.#onFatal = world.onFatal;
    this.#logTimeMs = world.logTimeMs;
  }

  /**
   * Asks the store for `places` and calls `done` when memory knows them, unless it became out of date on the way: then
   * some may still be missing, and the caller looks and asks again. All that one command needs must be asked for
   * together, what memory knows already included: it may be evicted before the answer comes. Never calls `done` after
   * an error.
   */
  fetch(places: readonly KeyPlace[], done: () => void): void {
    const era = this.#keyspace.era;
    const keys = places.map(({ db, name }) => this.#keyspace.storedKey(db, name));
    this.#store.getMany(keys, (error, values) => {
      if (error !== null) {
        this.#onFatal(error);
        return;
      }
      try {
        const nowMs = this.#logTimeMs();
        for (const [i, { db, name }] of places.entries()) {
          this.#keyspace.fetched({ db, name, era, nowMs }, values[i]);
        }
      } catch (cause) {
        if (!(cause instanceof CorruptionError)) throw cause;
        this.#onFatal(cause);
        return;
      }
      done();
    });
  }
}
