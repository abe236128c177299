/**
 * Notices that nothing was heard for too long. A thread that was busy itself, with a slow disk perhaps, first hears what has
 * arrived meanwhile, and only then believes that the other side is silent.
 */
import type { Clock, Timer } from '../lib/env.ts';

export class Silence {
  readonly #clock: Clock;
  readonly #onSilence: () => void;
  #limitMs: number;
  #heardMs: number;
  #timer: Timer | undefined;
  #stopped = false;

  /** `onSilence` is called at most once. */
  constructor(clock: Clock, limitMs: number, onSilence: () => void) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#onSilence = onSilence;
    this.#heardMs = clock.monotonicMs();
    this.#wait();
  }

  /** From now on so long, or as long as before. */
  heard(limitMs = this.#limitMs): void {
    this.#heardMs = this.#clock.monotonicMs();
    if (limitMs === this.#limitMs) return;
    this.#limitMs = limitMs;
    if (!this.#stopped) this.#wait();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #leftMs(): number {
    return this.#heardMs + this.#limitMs - this.#clock.monotonicMs();
  }

  #wait(): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.after(Math.max(0, this.#leftMs()), () => {
      if (this.#leftMs() > 0) this.#wait();
      else this.#clock.endOfTurn(() => this.#believe());
    });
  }

  #believe(): void {
    if (this.#stopped) return;
    if (this.#leftMs() > 0) {
      this.#wait();
    } else {
      this.#stopped = true;
      this.#onSilence();
    }
  }
}
