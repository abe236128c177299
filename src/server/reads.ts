/**
 * The reads of this server's clients, linearizable on whichever server they arrive.
 *
 * All reads of a turn wait for one answer of the leader ("you may read at this index") and run on this server's own
 * replica once it has applied so far. With `--reads local` they run at once, on what this replica has.
 *
 * Time needs care. Whether a key has expired is decided by the log's time, the same everywhere. A key whose time has
 * come by the clock, but not yet by the log, would still be shown, and with no writes for ever. So such a read first
 * moves the log's time, by asking for its expired keys to be removed: from then on they are gone for everybody.
 */

import type { ReadCommand, ScanCommand } from '../kv/command.ts';
import type { Clock } from '../lib/env.ts';
import { ErrorReply, type Reply } from '../resp/reply.ts';
import type { Waiter } from './writes.ts';

export interface ReadQuery {
  readonly db: number;
  readonly command: ReadCommand | ScanCommand;
  readonly argv: readonly Uint8Array[];
}

export interface ReadsOptions {
  readonly clock: Clock;
  readonly commandTimeoutMs: number;
  readonly mode: 'linearizable' | 'local';
  /** Calls back when what was acknowledged before this call can be read here. */
  readonly whenReadable: (done: () => void) => void;
  /** `done` is not wanted any more. */
  readonly cancel: (done: () => void) => void;
  readonly read: (query: ReadQuery & { nowMs: number }, done: (reply: Reply | undefined) => void) => void;
  /** Moves the log's time, and removes those of the query's keys that have expired. */
  readonly removeExpired: (query: ReadQuery, waiter: Waiter) => void;
}

interface PendingRead extends ReadQuery {
  readonly waiter: Waiter;
}

interface Batch {
  reads: PendingRead[];
  readonly deadlineMs: number;
  readonly readable: () => void;
}

export class Reads {
  readonly #options: ReadsOptions;
  /** Those that came in this turn, and those that wait for the leader; in order, so their deadlines are too. */
  #gathering: Batch | undefined;
  #asked: Batch[] = [];

  constructor(options: ReadsOptions) {
    this.#options = options;
  }

  /** Nothing is waiting for anything. */
  get idle(): boolean {
    return this.#asked.length === 0 && this.#gathering === undefined;
  }

  submit(query: ReadQuery, waiter: Waiter): void {
    const read = { ...query, waiter };
    if (this.#options.mode === 'local') {
      this.#run(read);
      return;
    }
    this.#gathering ??= this.#begin();
    this.#gathering.reads.push(read);
  }

  #begin(): Batch {
    const deadlineMs = this.#options.clock.monotonicMs() + this.#options.commandTimeoutMs;
    const batch: Batch = { reads: [], deadlineMs, readable: () => this.#readable(batch) };
    this.#options.clock.endOfTurn(() => {
      this.#gathering = undefined;
      this.#asked.push(batch);
      this.#options.whenReadable(batch.readable);
    });
    return batch;
  }

  #readable(batch: Batch): void {
    const { reads } = batch;
    batch.reads = [];
    const at = this.#asked.indexOf(batch);
    if (at >= 0) this.#asked.splice(at, 1);
    for (const read of reads) this.#run(read);
  }

  #run(read: PendingRead): void {
    this.#options.read({ ...read, nowMs: this.#options.clock.wallMs() }, (reply) => {
      if (reply !== undefined) {
        read.waiter.resolve(reply);
        return;
      }
      const resolve = (outcome: Reply) => this.#runAtLogTime(read, outcome);
      this.#options.removeExpired(read, { resolve });
    });
  }

  /** When it has: what the log's time says now, holds. The leader's clock may be behind ours. */
  #runAtLogTime(read: PendingRead, outcome: Reply): void {
    if (outcome instanceof ErrorReply) {
      read.waiter.resolve(this.#timedOut());
      return;
    }
    this.#options.read({ ...read, nowMs: 0 }, (reply) => read.waiter.resolve(reply!));
  }

  /** Now and then: what is overdue gets its error. A read changes nothing, so it was certainly not executed. */
  tick(): void {
    this.#expire(this.#options.clock.monotonicMs());
  }

  /** Nothing will be answered any more: whoever waits is told so. */
  giveUp(): void {
    this.#expire(Number.POSITIVE_INFINITY);
  }

  #expire(nowMs: number): void {
    while (this.#asked.length > 0 && this.#asked[0]!.deadlineMs <= nowMs) {
      const batch = this.#asked.shift()!;
      this.#options.cancel(batch.readable);
      const { reads } = batch;
      batch.reads = [];
      for (const read of reads) read.waiter.resolve(this.#timedOut());
    }
  }

  #timedOut(): ErrorReply {
    const { commandTimeoutMs } = this.#options;
    return new ErrorReply(
      'CLUSTERDOWN',
      `No leader within ${commandTimeoutMs} ms. The command was not executed`,
    );
  }
}
