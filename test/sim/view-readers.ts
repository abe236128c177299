/**
 * Has views of the keys made now and then, as MapReduce does, and reads them on every server, at once and again later: all
 * views of one id are of one place of the log, and show the same.
 */
import { createHash, type Hash } from 'node:crypto';
import { assert } from '../../src/lib/assert.ts';
import type { KeyView } from '../../src/server/service.ts';
import { SLOTS } from '../../src/server/service.ts';
import type { Cluster, SimServer } from './cluster.ts';
import type { SimRandom } from './random.ts';
import type { Life } from './scheduler.ts';

const DATABASES_READ = 2;
const EVERY_KEY = Uint8Array.of('*'.charCodeAt(0));
const LOOK_EVERY_MS = 50;
const FREEZE_EVERY_MS = 700;

/** What a whole view shows. Undefined when it ended meanwhile. */
export function digestOf(view: KeyView, done: (digest: string | undefined) => void): void {
  const hash = createHash('md5');
  readDatabase(view, 0, hash, (whole) => done(whole ? hash.digest('hex') : undefined));
}

function readDatabase(view: KeyView, db: number, hash: Hash, done: (whole: boolean) => void): void {
  if (db === DATABASES_READ) return done(true);
  hash.update(`${view.sizeOf(db)} keys in database ${db}`);
  const range = { db, pattern: EVERY_KEY, fromSlot: 0, toSlot: SLOTS };
  const next = (after: Uint8Array | undefined): void =>
    view.read(range, after, (error, block, rest) => {
      if (error !== null) return done(false);
      hash.update(block);
      if (rest !== undefined) next(rest);
      else readDatabase(view, db + 1, hash, done);
    });
  next(undefined);
}

export class ViewReaders {
  /** Readings that were compared with others. */
  compared = 0;
  readonly #cluster: Cluster;
  readonly #random: SimRandom;
  #count = 0;
  /** By id: index and digest. */
  readonly #known = new Map<string, string>();
  readonly #seen = new WeakSet<KeyView>();

  constructor(cluster: Cluster, random: SimRandom) {
    this.#cluster = cluster;
    this.#random = random;
  }

  start(untilMs: number): void {
    const { scheduler } = this.#cluster;
    const freeze = (): void => {
      if (scheduler.nowMs >= untilMs) return;
      this.freeze();
      scheduler.after(this.#random.exponential(FREEZE_EVERY_MS), undefined, freeze);
    };
    const look = (): void => {
      this.#look();
      scheduler.after(LOOK_EVERY_MS, undefined, look);
    };
    freeze();
    look();
  }

  /** Its id. */
  freeze(): string {
    const id = `view ${++this.#count}`;
    const server = this.#random.pick(this.#cluster.serving);
    server.replica?.views.freeze(id, () => {});
    return id;
  }

  #look(): void {
    for (const server of this.#cluster.servers) {
      const { replica, life } = server;
      if (replica === undefined || life?.alive !== true || life.paused) continue;
      for (const id of replica.views.views) {
        const view = replica.views.view(id)!;
        if (this.#seen.has(view)) continue;
        this.#seen.add(view);
        this.#read(server, life, id, view);
      }
    }
  }

  #read(server: SimServer, life: Life, id: string, view: KeyView): void {
    digestOf(view, (digest) => {
      if (digest === undefined) return;
      const shown = `${digest} at index ${view.index}`;
      const known = this.#known.get(id);
      const same = known === undefined || known === shown;
      assert(same, 'a view is equal on all servers', `${id} of ${server.id}`, known, shown);
      if (known !== undefined) this.compared++;
      this.#known.set(id, shown);
      const { scheduler } = this.#cluster;
      scheduler.after(this.#random.exponential(1000), life, () => {
        // Others have taken its place, mostly.
        if (server.replica?.views.view(id) !== view) return;
        if (this.#random.chance(0.2)) server.replica.views.release(id);
        else this.#read(server, life, id, view);
      });
    });
  }
}
