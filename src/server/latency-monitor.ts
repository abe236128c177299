/**
 * What took longer than latency-monitor-threshold, by kind of event, for LATENCY. After Redis 7.0's latency.c.
 *
 *   command        a command whose row does not say `fast`, from its arrival to its reply (see slowlog.ts)
 *   fast-command   one whose row does
 *   event-loop     how late a timer came: for so long the process did nothing else, or did not run
 *
 * Per event the longest delay of each second is kept, for the last 160 seconds that had one.
 */
import type { Clock, Timer } from '../lib/env.ts';

const SAMPLES_MAX = 160;
/** While the monitor is on, the event loop is looked at so often. */
const BEAT_MS = 50;

export type LatencyEventName = 'command' | 'fast-command' | 'event-loop';

export interface LatencySample {
  readonly atSeconds: number;
  readonly latencyMs: number;
}

export interface LatencyEvent {
  /** The oldest first; at least one. */
  readonly samples: readonly LatencySample[];
  /** Since the last reset. */
  readonly maxMs: number;
}

export class LatencyMonitor {
  readonly #clock: Clock;
  readonly #events = new Map<string, { samples: LatencySample[]; maxMs: number }>();
  #thresholdMs = 0;
  #beat: Timer | undefined;

  constructor(clock: Clock, thresholdMs: number) {
    this.#clock = clock;
    this.thresholdMs = thresholdMs;
  }

  /** 0: off. */
  get thresholdMs(): number {
    return this.#thresholdMs;
  }

  set thresholdMs(thresholdMs: number) {
    this.#thresholdMs = thresholdMs;
    if (thresholdMs === 0) this.stop();
    else if (this.#beat === undefined) this.#watchLoop();
  }

  get events(): ReadonlyMap<string, LatencyEvent> {
    return this.#events;
  }

  isLate(latencyMs: number): boolean {
    return this.#thresholdMs > 0 && latencyMs >= this.#thresholdMs;
  }

  add(name: LatencyEventName, exactMs: number): void {
    const latencyMs = Math.floor(exactMs);
    const atSeconds = Math.floor(this.#clock.wallMs() / 1000);
    let event = this.#events.get(name);
    if (event === undefined) {
      event = { samples: [], maxMs: 0 };
      this.#events.set(name, event);
    }
    event.maxMs = Math.max(event.maxMs, latencyMs);
    const last = event.samples.at(-1);
    if (last?.atSeconds === atSeconds) {
      if (latencyMs > last.latencyMs) event.samples[event.samples.length - 1] = { atSeconds, latencyMs };
      return;
    }
    event.samples.push({ atSeconds, latencyMs });
    if (event.samples.length > SAMPLES_MAX) event.samples.shift();
  }

  /** Whether there was something to forget. */
  reset(name: string): boolean {
    return this.#events.delete(name);
  }

  /** No timer is left behind. */
  stop(): void {
    this.#beat?.cancel();
    this.#beat = undefined;
  }

  #watchLoop(): void {
    const dueMs = this.#clock.monotonicMs() + BEAT_MS;
    this.#beat = this.#clock.after(BEAT_MS, () => {
      const lateMs = this.#clock.monotonicMs() - dueMs;
      if (this.isLate(lateMs)) this.add('event-loop', lateMs);
      this.#watchLoop();
    });
  }
}
