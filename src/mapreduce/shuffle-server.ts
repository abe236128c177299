/**
 * Serves the map outputs of this server to the reduce tasks of others (shuffle-format.ts). It lives in a thread of its own,
 * on a port of its own, and reads files synchronously.
 *
 * Only jobs that it was told of are served. Of connections there are only so many: a new one takes the place of the oldest
 * that has not proved itself, or is told that the server is busy.
 */
import { assert } from '../lib/assert.ts';
import type { BulkFiles } from '../lib/bulk.ts';
import type { BulkNetwork } from '../lib/bulk-network.ts';
import type { Address, Connection, Listener, Log } from '../lib/env.ts';
import { encodeRefusal, KEY_BYTES } from './shuffle-format.ts';
import { ShuffleSession, type ShuffleSessionHost } from './shuffle-session.ts';

export const CONNECTIONS_MAX = 64;
/** Connections that were told so, and are about to go. */
const LEAVING_MAX = 64;
const LEAVING_MS_MAX = 5000;
/** Of its directory. */
export const JOB_NAME = /^job-\w+-\w+$/;

export interface ShuffleServerOptions {
  /** The directories of the jobs are in it. */
  readonly root: string;
  readonly files: BulkFiles;
  readonly bulk: BulkNetwork;
  readonly log: Log;
}

export class ShuffleServer {
  readonly #bulk: BulkNetwork;
  readonly #host: ShuffleSessionHost;
  /** By the name of the job. */
  readonly #keys = new Map<string, Uint8Array>();
  /** The oldest first. */
  readonly #sessions = new Set<ShuffleSession>();
  #leaving = 0;
  #listener: Listener | undefined;
  #servedBytes = 0;

  constructor({ root, files, bulk, log }: ShuffleServerOptions) {
    this.#bulk = bulk;
    this.#host = {
      ...{ files, bulk, log },
      keyOf: (job) => this.#keys.get(job),
      directoryOf: (job) => `${root}/${job}`,
      onServed: (bytes) => {
        this.#servedBytes += bytes;
      },
      onClose: (session) => void this.#sessions.delete(session),
    };
  }

  /** Since it began, frames and all. */
  get servedBytes(): number {
    return this.#servedBytes;
  }

  get connections(): number {
    return this.#sessions.size;
  }

  /** Once. The address that it has got. Throws InUseError and what else the operating system says. */
  async listen(address: Address): Promise<Address> {
    assert(this.#listener === undefined, 'a shuffle server listens once');
    this.#listener = await this.#bulk.network.listen(address, (connection) => this.#accept(connection));
    return this.#listener.address;
  }

  /**
   * These jobs, and no others: the files in the directory of each can be fetched by who has its key. Who is fetching from
   * a job that is not served any more is cut off.
   */
  serve(jobs: Iterable<readonly [job: string, key: Uint8Array]>): void {
    this.#keys.clear();
    for (const [job, key] of jobs) {
      assert(JOB_NAME.test(job), 'a job has a name of its form', job);
      assert(key.length === KEY_BYTES, 'the key of a job has its length', key.length);
      this.#keys.set(job, key);
    }
    for (const session of this.#sessions) {
      if (session.job !== undefined && !this.#keys.has(session.job)) session.destroy();
    }
  }

  close(): void {
    this.#listener?.close();
    for (const session of this.#sessions) session.destroy();
  }

  #accept(connection: Connection): void {
    if (this.#sessions.size >= CONNECTIONS_MAX && !this.#makeRoom()) return this.#turnAway(connection);
    this.#sessions.add(new ShuffleSession(connection, this.#host));
  }

  /** Whether a stranger had to go. */
  #makeRoom(): boolean {
    for (const session of this.#sessions) {
      if (session.job !== undefined) continue;
      this.#sessions.delete(session);
      session.destroy();
      return true;
    }
    return false;
  }

  #turnAway(connection: Connection): void {
    this.#leaving++;
    // Who does not go when told is thrown out: there is room for so many only.
    const timer = this.#bulk.clock.after(LEAVING_MS_MAX, () => connection.destroy());
    const onClose = (): void => {
      timer.cancel();
      this.#leaving--;
    };
    connection.handle({ onData: () => {}, onClose });
    if (this.#leaving > LEAVING_MAX) {
      connection.destroy();
    } else {
      connection.write(encodeRefusal('busy'));
      connection.end();
    }
  }
}
