/**
 * The server's hold on its shuffle thread (shuffle-thread.ts): there from the first job that is active to when the last one
 * is over and its files are removed. A thread that dies is started again, on another port perhaps; reports tell which.
 */

import type { Thread, Threads } from '../../lib/bulk.ts';
import type { BulkTls } from '../../lib/bulk-network.ts';
import type { Clock, Log, Timer } from '../../lib/env.ts';
import {
  type FromShuffle,
  MAPREDUCE_SHUFFLE,
  type ShuffleMission,
  type ToShuffle,
} from '../shuffle-thread.ts';

export interface ShuffleSideOptions {
  readonly threads: Threads;
  readonly clock: Clock;
  readonly log: Log;
  /** The directories of the jobs are in it. */
  readonly root: string;
  readonly listen: { readonly host: string; readonly port: number };
  readonly tls: BulkTls | undefined;
  /** There may be directories of jobs from before. */
  readonly hasLeftovers: boolean;
}

const AGAIN_MS = 1000;

export class ShuffleSide {
  readonly #options: ShuffleSideOptions;
  #thread: Thread | undefined;
  #served: ReadonlyMap<string, Uint8Array> = new Map();
  /** 0: it does not listen. */
  #port = 0;
  #again: Timer | undefined;
  #bytesBefore = 0;
  #bytes = 0;
  #isSwept: boolean;
  #stopped = false;

  constructor(options: ShuffleSideOptions) {
    this.#options = options;
    this.#isSwept = !options.hasLeftovers;
  }

  /** Nothing is left of any job. */
  get isSwept(): boolean {
    return this.#isSwept;
  }

  get port(): number {
    return this.#port;
  }

  /** Sent to reduce tasks of other servers, since this one was started. */
  get servedBytes(): number {
    return this.#bytesBefore + this.#bytes;
  }

  /** These jobs, by the names of their directories, and no others: what is left of others is removed. */
  serve(jobs: ReadonlyMap<string, Uint8Array>): void {
    const isSame = jobs.size === this.#served.size && [...jobs.keys()].every((job) => this.#served.has(job));
    this.#served = jobs;
    if (jobs.size > 0) this.#isSwept = false;
    if (this.#stopped || this.#isSwept) return;
    if (this.#thread === undefined) {
      if (this.#again === undefined) this.#start();
    } else if (!isSame) {
      this.#tell();
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#again?.cancel();
    this.#end();
  }

  #start(): void {
    this.#again = undefined;
    const { threads, root, listen, tls } = this.#options;
    const mission: ShuffleMission = { root, listen, tls };
    const thread = threads.start(MAPREDUCE_SHUFFLE, mission, {
      onMessage: (message) => {
        if (this.#thread === thread) this.#heard(message as FromShuffle);
      },
      onExit: (error) => {
        if (this.#thread === thread) this.#died(error?.message ?? 'it ended by itself');
      },
    });
    this.#thread = thread;
    this.#tell();
  }

  #tell(): void {
    const message: ToShuffle = { kind: 'jobs', jobs: [...this.#served] };
    this.#thread?.post(message);
  }

  #heard(message: FromShuffle): void {
    switch (message.kind) {
      case 'listening':
        this.#port = message.port;
        return;
      case 'failed':
        return this.#died(message.message);
      case 'served':
        this.#bytes = message.bytes;
        return;
      case 'log':
        return this.#options.log[message.level](message.event, message.fields);
      case 'swept':
        // It may have been told of another meanwhile.
        if (message.jobs > 0 || this.#served.size > 0) return;
        this.#isSwept = true;
        return this.#end();
    }
  }

  #died(reason: string): void {
    const { clock, log } = this.#options;
    log.warning('the shuffle server has stopped', { reason });
    this.#end();
    if (this.#stopped) return;
    this.#again = clock.after(AGAIN_MS, () => {
      this.#start();
    });
  }

  #end(): void {
    const thread = this.#thread;
    this.#thread = undefined;
    this.#port = 0;
    this.#bytesBefore += this.#bytes;
    this.#bytes = 0;
    thread?.terminate();
  }
}
