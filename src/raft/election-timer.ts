/** When a server without news of a leader asks for an election (§5.2): at a random time, so that few ask at once. */
import type { Random } from '../lib/env.ts';

export class ElectionTimer {
  dueMs = 0;
  readonly #timeoutMs: number;
  readonly #random: Random;

  constructor(timeoutMs: number, random: Random) {
    this.#timeoutMs = timeoutMs;
    this.#random = random;
  }

  /** Between one and two election timeouts from now. */
  reset(nowMs: number): void {
    this.dueMs = nowMs + this.#timeoutMs + this.#random.below(this.#timeoutMs);
  }

  /** An election that nobody wins is tried again sooner than a leader is suspected: nobody is leading meanwhile. */
  retrySoon(nowMs: number): void {
    const half = Math.ceil(this.#timeoutMs / 2);
    this.dueMs = nowMs + half + this.#random.below(half);
  }
}
