/**
 * Removes expired keys in the background, by the log, so that it happens everywhere at the same place.
 *
 * An expired key is invisible at once (see reads.ts); this is about the room that it takes. The leader looks for keys
 * that are due and proposes to remove them, a bounded number at a time, and the next only when these are gone. So when a
 * million keys expire in the same second, they go at some ten thousand a second, beside everything else.
 *
 * The proposal says only where to look: each replica removes those of its keys that have expired by the entry's time.
 */
import { REMOVE_EXPIRED } from '../kv/internal-commands.ts';
import type { KvStateMachine } from '../kv/state-machine.ts';
import { fromLatin1 } from '../lib/bytes.ts';
import type { Clock, Timer } from '../lib/env.ts';
import type { Waiter } from './writes.ts';

export interface ExpirerOptions {
  readonly clock: Clock;
  readonly stateMachine: KvStateMachine;
  /** Whether this server leads, and has room on its disk. */
  readonly mayWrite: () => boolean;
  readonly write: (db: number, argv: readonly Uint8Array[], waiter: Waiter) => void;
}

/** How often due keys are looked for; they are gone so much later. */
const LOOK_EVERY_MS = 100;
/** The pause between two batches when there is more to do. */
const BUSY_MS = 20;
const KEYS_PER_BATCH_MAX = 500;

const COMMAND = fromLatin1(REMOVE_EXPIRED);

export class Expirer {
  readonly #options: ExpirerOptions;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: ExpirerOptions) {
    this.#options = options;
    this.#after(LOOK_EVERY_MS);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #after(delayMs: number): void {
    if (!this.#stopped) this.#timer = this.#options.clock.after(delayMs, () => this.#look());
  }

  #look(): void {
    const { clock, stateMachine, mayWrite, write } = this.#options;
    const idle =
      !mayWrite() || !stateMachine.activeExpire || stateMachine.expiring.every((count) => count === 0);
    if (idle) return this.#after(LOOK_EVERY_MS);
    stateMachine.findDue(Math.max(clock.wallMs(), stateMachine.logTimeMs), KEYS_PER_BATCH_MAX, (places) => {
      const [first] = places;
      if (this.#stopped) return;
      if (first === undefined) return this.#after(LOOK_EVERY_MS);
      const argv = [COMMAND, ...places.map(({ name }) => fromLatin1(name))];
      const pauseMs = places.length === KEYS_PER_BATCH_MAX ? BUSY_MS : LOOK_EVERY_MS;
      // If it is lost with the leadership, the next leader finds the keys, or this one again after a checkpoint.
      write(first.db, argv, { resolve: () => this.#after(pauseMs) });
    });
  }
}
