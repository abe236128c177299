/**
 * CLUSTER FAILOVER: this server has asked the leader for leadership, and waits to see whether it gets it. It may not: the
 * leader gives up after an election timeout, or the question was lost.
 */
import type { Clock, Timer } from '../lib/env.ts';

export class Takeover {
  readonly #clock: Clock;
  readonly #waitMs: number;
  #waiting: ((leads: boolean) => void)[] = [];
  #timer: Timer | undefined;

  constructor(clock: Clock, waitMs: number) {
    this.#clock = clock;
    this.#waitMs = waitMs;
  }

  /** Calls `done` once this server leads, or will not. */
  wait(done: (leads: boolean) => void): void {
    this.#waiting.push(done);
    this.#timer ??= this.#clock.after(this.#waitMs, () => this.settle(false));
  }

  settle(leads: boolean): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const done of waiting) done(leads);
  }
}
