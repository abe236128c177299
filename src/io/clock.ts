/**
 * The operating system's clocks and timers behind `Clock`.
 *
 * Node's timers are not quite what the interface promises: they count in whole milliseconds from the start of
 * the loop's turn, so they may fire a fraction early, and a delay over 2^31 - 1 ms fires at once. Both are
 * mended here: a timer looks at the monotonic clock when it fires, and sleeps again for what is missing.
 */
import { performance } from 'node:perf_hooks';
import type { Clock, Timer } from '../lib/env.ts';

const SLEEP_MS_MAX = 2 ** 31 - 1;

class SystemTimer implements Timer {
  #callback: (() => void) | null;
  readonly #deadlineMs: number;
  #handle: NodeJS.Timeout;

  constructor(delayMs: number, callback: () => void) {
    this.#callback = callback;
    this.#deadlineMs = performance.now() + delayMs;
    this.#handle = this.#sleep(delayMs);
  }

  cancel(): void {
    this.#callback = null;
    clearTimeout(this.#handle);
  }

  #sleep(delayMs: number): NodeJS.Timeout {
    return setTimeout(this.#wake, Math.min(Math.ceil(delayMs), SLEEP_MS_MAX));
  }

  readonly #wake = (): void => {
    const callback = this.#callback;
    if (callback === null) return;
    const missingMs = this.#deadlineMs - performance.now();
    if (missingMs > 0) {
      this.#handle = this.#sleep(missingMs);
      return;
    }
    this.#callback = null;
    callback();
  };
}

export class SystemClock implements Clock {
  #turnCallbacks: (() => void)[] = [];

  monotonicMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return Date.now();
  }

  after(delayMs: number, callback: () => void): Timer {
    return new SystemTimer(delayMs, callback);
  }

  /**
   * The event loop polls the sockets, hands out what all of them brought, and then runs its immediates: that
   * is the end of the turn. All callbacks of one turn share one immediate; what they ask for in their turn
   * comes one turn later, so that new input is heard in between.
   */
  endOfTurn(callback: () => void): void {
    if (this.#turnCallbacks.length === 0) setImmediate(this.#finishTurn);
    this.#turnCallbacks.push(callback);
  }

  readonly #finishTurn = (): void => {
    const callbacks = this.#turnCallbacks;
    this.#turnCallbacks = [];
    for (const callback of callbacks) callback();
  };
}
