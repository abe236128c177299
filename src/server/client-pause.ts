/**
 * CLIENT PAUSE: for a while the clients of this server are not served, all their commands or those that may write. What
 * they send waits in their connections, in order and within the bounds of these; what was started goes on.
 *
 * It holds back clients of this server only: writes through other servers go on, as do the log and the peers. A pause of
 * all commands holds back CLIENT UNPAUSE too, as in Redis: it ends by its time.
 */
import type { CommandRow } from '../kv/command.ts';
import type { Clock, Timer } from '../lib/env.ts';

export type PauseMode = 'write' | 'all';

export class ClientPause {
  readonly #clock: Clock;
  /** Those who wait may go on. */
  readonly #onEnd: () => void;
  #mode: PauseMode | undefined;
  #untilMs = 0;
  #timer: Timer | undefined;

  constructor(clock: Clock, onEnd: () => void) {
    this.#clock = clock;
    this.#onEnd = onEnd;
  }

  get active(): boolean {
    return this.#mode !== undefined;
  }

  /** A second pause can make the first longer and stricter, never shorter or milder. */
  begin(mode: PauseMode, forMs: number): void {
    const nowMs = this.#clock.monotonicMs();
    this.#mode = this.#mode === 'all' ? 'all' : mode;
    this.#untilMs = Math.max(this.#untilMs, nowMs + forMs);
    this.#timer?.cancel();
    this.#timer = this.#clock.after(this.#untilMs - nowMs, () => this.end());
  }

  end(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#untilMs = 0;
    if (this.#mode === undefined) return;
    this.#mode = undefined;
    this.#onEnd();
  }

  /** Whether a command waits; `writes` tells that it may write, whatever its row says (EXEC). */
  holds(row: CommandRow, writes: boolean): boolean {
    if (this.#mode !== 'write') return this.#mode === 'all';
    return writes || row.flags.some((flag) => flag === 'write' || flag === 'may_replicate');
  }
}
