/**
 * What a server counts: connections, bytes, commands, errors; INFO shows it, CONFIG RESETSTAT sets it back.
 *
 * A command is counted when its reply is known, by the counter of its name, so an error counts wherever it was found:
 * at the door, by the command, or by the log. `usec` is the time from the door to the reply. In Redis that is the
 * command's own work; here it holds the wait for a majority and for the disk as well, which is what a client waits for.
 * What was slow goes on to the slow log and to the latency monitor, but for commands that are asked to wait (BLPOP, WAIT):
 * that they do is no slowness.
 */
import type { Config } from '../config/config.ts';
import type { CommandRow } from '../kv/command.ts';
import type { Clock } from '../lib/env.ts';
import { ErrorReply } from '../resp/reply.ts';
import type { AnswerObserver, Request } from '../resp/request.ts';
import { Histogram } from './histogram.ts';
import { LatencyMonitor } from './latency-monitor.ts';
import { Slowlog } from './slowlog.ts';

/** Calls of one command. */
export class CallCounter implements AnswerObserver {
  /** That of the table: `config|get`. */
  readonly name: string;
  readonly row: CommandRow;
  calls = 0;
  usec = 0;
  /** Refused at the door: wrong number of arguments, no password given. */
  rejected = 0;
  /** Carried out, and answered with an error. */
  failed = 0;
  /** Once a call was counted while latency-tracking was on. */
  histogram: Histogram | undefined;
  readonly #stats: Stats;
  readonly #clock: Clock;

  constructor(stats: Stats, clock: Clock, known: { readonly name: string; readonly row: CommandRow }) {
    this.#stats = stats;
    this.#clock = clock;
    this.name = known.name;
    this.row = known.row;
  }

  begin(request: Request): void {
    this.#stats.commandsProcessed++;
    request.startedAtMs = this.#clock.monotonicMs();
    request.observer = this;
  }

  onAnswered(request: Request): void {
    const usec = (this.#clock.monotonicMs() - request.startedAtMs) * 1000;
    this.calls++;
    this.usec += usec;
    if (this.#stats.tracksLatency) {
      this.histogram ??= new Histogram();
      this.histogram.record(usec);
    }
    if (this.#stats.isSlow(usec)) this.#stats.slow(this, request, usec);
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
    this.histogram?.reset();
  }
}

/** Redis does not say so of WAIT's row. */
function isAskedToWait({ name, flags }: CommandRow): boolean {
  return name === 'wait' || (flags as readonly string[]).includes('blocking');
}

/** What is counted elsewhere, and only grows. */
export interface RunningTotals {
  /** Of the connections that are open. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly expiredKeys: number;
  readonly keyspaceHits: number;
  readonly keyspaceMisses: number;
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
  /** Of the process, when it had started, and the most since; as far as it was looked at. */
  memoryStartupBytes = 0;
  memoryPeakBytes = 0;
  readonly slowlog: Slowlog;
  readonly latency: LatencyMonitor;
  /** latency-tracking. */
  tracksLatency: boolean;
  readonly errorsByCode = new Map<string, number>();
  /** By name; a subcommand as `client|list`. */
  readonly commands = new Map<string, CallCounter>();
  rates: Rates = { commands: 0, bytesIn: 0, bytesOut: 0 };
  readonly #clock: Clock;
  /** Of closed connections, less what had been counted of open ones at the last reset. */
  #bytesIn = 0;
  #bytesOut = 0;
  #before = { expiredKeys: 0, keyspaceHits: 0, keyspaceMisses: 0 };
  #sample: Sample | undefined;

  constructor(clock: Clock, config: Config) {
    this.#clock = clock;
    const { slowlogLogSlowerThan, slowlogMaxLen, latencyMonitorThresholdMs } = config;
    this.slowlog = new Slowlog({ slowerThanUsec: slowlogLogSlowerThan, lengthMax: slowlogMaxLen });
    this.latency = new LatencyMonitor(clock, latencyMonitorThresholdMs);
    this.tracksLatency = config.latencyTracking;
    this.#follow(config);
  }

  /** Asked with every reply, so the values are kept at hand. */
  #follow(config: Config): void {
    config.onChange('slowlog-log-slower-than', () => {
      this.slowlog.slowerThanUsec = config.slowlogLogSlowerThan;
    });
    config.onChange('slowlog-max-len', () => {
      this.slowlog.lengthMax = config.slowlogMaxLen;
    });
    config.onChange('latency-monitor-threshold', () => {
      this.latency.thresholdMs = config.latencyMonitorThresholdMs;
    });
    config.onChange('latency-tracking', () => {
      this.tracksLatency = config.latencyTracking;
    });
  }

  counterOf(name: string, row: CommandRow): CallCounter {
    let counter = this.commands.get(name);
    if (counter === undefined) {
      counter = new CallCounter(this, this.#clock, { name, row });
      this.commands.set(name, counter);
    }
    return counter;
  }

  isSlow(usec: number): boolean {
    return this.slowlog.isSlow(usec) || this.latency.isLate(usec / 1000);
  }

  slow({ name, row }: CallCounter, { argv, client }: Request, usec: number): void {
    if (isAskedToWait(row)) return;
    const latencyMs = usec / 1000;
    if (this.latency.isLate(latencyMs)) {
      this.latency.add(row.flags.includes('fast') ? 'fast-command' : 'command', latencyMs);
    }
    if (this.slowlog.isSlow(usec) && !row.flags.includes('skip_slowlog')) {
      this.slowlog.add({ name, argv, client, usec }, this.#clock.wallMs());
    }
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
      expiredKeys: running.expiredKeys - this.#before.expiredKeys,
      keyspaceHits: running.keyspaceHits - this.#before.keyspaceHits,
      keyspaceMisses: running.keyspaceMisses - this.#before.keyspaceMisses,
    };
  }

  /** Now and then. */
  noteMemory(bytes: number): void {
    if (this.memoryStartupBytes === 0) this.memoryStartupBytes = bytes;
    this.memoryPeakBytes = Math.max(this.memoryPeakBytes, bytes);
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
    this.#before = running;
    this.#sample = undefined;
    this.rates = { commands: 0, bytesIn: 0, bytesOut: 0 };
  }
}
