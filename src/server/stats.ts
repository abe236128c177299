/**
 * What a server counts: connections, bytes, commands, errors; INFO shows it, CONFIG RESETSTAT sets it back.
 *
 * A command is counted when its reply is known, by the counter of its name, so an error counts wherever it was found:
 * at the door, by the command, or by the log. `usec` is the time from the door to the reply. In Redis that is the
 * command's own work; here it holds the wait for a majority and for the disk as well, which is what a client waits for.
 */
import type { Clock } from '../lib/env.ts';
import { ErrorReply } from '../resp/reply.ts';
import type { AnswerObserver, Request } from '../resp/request.ts';

/** Calls of one command. */
export class CallCounter implements AnswerObserver {
  calls = 0;
  usec = 0;
  /** Refused at the door: wrong number of arguments, no password given. */
  rejected = 0;
  /** Carried out, and answered with an error. */
  failed = 0;
  readonly #stats: Stats;
  readonly #clock: Clock;

  constructor(stats: Stats, clock: Clock) {
    this.#stats = stats;
    this.#clock = clock;
  }

  begin(request: Request): void {
    this.#stats.commandsProcessed++;
    request.startedAtMs = this.#clock.monotonicMs();
    request.observer = this;
  }

  onAnswered(request: Request): void {
    this.calls++;
    this.usec += (this.#clock.monotonicMs() - request.startedAtMs) * 1000;
    if (!(request.reply instanceof ErrorReply)) return;
    this.failed++;
    this.#stats.countError(request.reply);
  }

  reject(error: ErrorReply): void {
    this.rejected++;
    this.#stats.countError(error);
  }

  reset(): void {
    this.calls = 0;
    this.usec = 0;
    this.rejected = 0;
    this.failed = 0;
  }
}

/** What is counted elsewhere, and only grows. */
export interface RunningTotals {
  /** Of the connections that are open. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly expiredKeys: number;
}

/** Per second, in the last interval between two samples. */
export interface Rates {
  readonly commands: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

interface Sample extends Rates {
  readonly atMs: number;
}

/** Since the server started, or since CONFIG RESETSTAT. */
export class Stats {
  connectionsReceived = 0;
  connectionsRejected = 0;
  /** Those refused at the door not included. */
  commandsProcessed = 0;
  errorReplies = 0;
  readonly errorsByCode = new Map<string, number>();
  /** By name; a subcommand as `client|list`. */
  readonly commands = new Map<string, CallCounter>();
  rates: Rates = { commands: 0, bytesIn: 0, bytesOut: 0 };
  readonly #clock: Clock;
  /** Of closed connections, less what had been counted of open ones at the last reset. */
  #bytesIn = 0;
  #bytesOut = 0;
  #expiredKeysBefore = 0;
  #sample: Sample | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  counterOf(command: string): CallCounter {
    let counter = this.commands.get(command);
    if (counter === undefined) {
      counter = new CallCounter(this, this.#clock);
      this.commands.set(command, counter);
    }
    return counter;
  }

  countError(error: ErrorReply): void {
    this.errorReplies++;
    // Codes are ours, so their number is small.
    this.errorsByCode.set(error.code, (this.errorsByCode.get(error.code) ?? 0) + 1);
  }

  connectionClosed({ bytesIn, bytesOut }: { bytesIn: number; bytesOut: number }): void {
    this.#bytesIn += bytesIn;
    this.#bytesOut += bytesOut;
  }

  /** All of them since the last reset. */
  totals(running: RunningTotals): RunningTotals {
    return {
      bytesIn: this.#bytesIn + running.bytesIn,
      bytesOut: this.#bytesOut + running.bytesOut,
      expiredKeys: running.expiredKeys - this.#expiredKeysBefore,
    };
  }

  /** To be called about once a second. */
  sample(running: RunningTotals): void {
    const { bytesIn, bytesOut } = this.totals(running);
    const now = { atMs: this.#clock.monotonicMs(), commands: this.commandsProcessed, bytesIn, bytesOut };
    const before = this.#sample;
    this.#sample = now;
    if (before === undefined || now.atMs <= before.atMs) return;
    const seconds = (now.atMs - before.atMs) / 1000;
    this.rates = {
      commands: (now.commands - before.commands) / seconds,
      bytesIn: (now.bytesIn - before.bytesIn) / seconds,
      bytesOut: (now.bytesOut - before.bytesOut) / seconds,
    };
  }

  reset(running: RunningTotals): void {
    this.connectionsReceived = 0;
    this.connectionsRejected = 0;
    this.commandsProcessed = 0;
    this.errorReplies = 0;
    this.errorsByCode.clear();
    // Kept, and set back: the door holds on to them.
    for (const counter of this.commands.values()) counter.reset();
    this.#bytesIn = -running.bytesIn;
    this.#bytesOut = -running.bytesOut;
    this.#expiredKeysBefore = running.expiredKeys;
    this.#sample = undefined;
    this.rates = { commands: 0, bytesIn: 0, bytesOut: 0 };
  }
}
