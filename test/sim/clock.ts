/**
 * The clock of one life of one simulated server. Its monotonic clock runs a little fast or slow and begins at the
 * start of the process; its wall clock is off by a skew, which a fault may change at any time, either way.
 */
import type { Clock, Timer } from '../../src/lib/env.ts';
import type { SimRandom } from './random.ts';
import type { Life, Scheduler } from './scheduler.ts';

/** What makes a server's clock its own; survives restarts. */
export interface ClockFaults {
  /** Seconds of the server per second of the world, near 1. */
  rate: number;
  wallSkewMs: number;
}

const EPOCH_MS = 1_700_000_000_000;

export class SimClock implements Clock {
  readonly #scheduler: Scheduler;
  readonly #life: Life;
  readonly #faults: ClockFaults;
  readonly #random: SimRandom;
  readonly #bootMs: number;

  constructor(scheduler: Scheduler, life: Life, faults: ClockFaults, random: SimRandom) {
    this.#scheduler = scheduler;
    this.#life = life;
    this.#faults = faults;
    this.#random = random;
    this.#bootMs = scheduler.nowMs;
  }

  monotonicMs(): number {
    return (this.#scheduler.nowMs - this.#bootMs) * this.#faults.rate;
  }

  wallMs(): number {
    return Math.floor(EPOCH_MS + this.#scheduler.nowMs * this.#faults.rate + this.#faults.wallSkewMs);
  }

  after(delayMs: number, callback: () => void): Timer {
    let cancelled = false;
    const run = () => {
      if (!cancelled) callback();
    };
    // Timers are never early, and often a little late.
    const lateMs = this.#random.fraction();
    this.#scheduler.after(delayMs / this.#faults.rate + lateMs, this.#life, run, true);
    return {
      cancel: () => {
        cancelled = true;
      },
    };
  }

  endOfTurn(callback: () => void): void {
    // A turn of the event loop takes some time, in which more may arrive.
    this.#scheduler.after(this.#random.between(0.01, 0.2), this.#life, callback, true);
  }
}
