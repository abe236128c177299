/**
 * Reads of this server that no leader has answered yet (thesis 6.4, the asker's side).
 *
 * A question is put to whoever leads, again and again until it is answered: it changes nothing, so asking twice is
 * harmless. Its context is never used again, by this life of the server or another, so that a late answer to one
 * question cannot pass for the answer to a later one.
 */
import type { Random } from '../lib/env.ts';

export class PendingReads {
  /** Context, and when it was asked for last. */
  readonly #askedMs = new Map<number, number>();
  #nextContext: number;

  constructor(random: Random) {
    // From a random place on: an answer meant for an earlier life of this server finds nobody.
    this.#nextContext = random.below(2 ** 40) + 1;
  }

  get size(): number {
    return this.#askedMs.size;
  }

  get contexts(): Iterable<number> {
    return this.#askedMs.keys();
  }

  add(): number {
    const context = this.#nextContext++;
    this.#askedMs.set(context, Number.NEGATIVE_INFINITY);
    return context;
  }

  /** The questions not asked within `intervalMs`; they count as asked now. */
  takeDue(nowMs: number, intervalMs: number): number[] {
    const due = [...this.#askedMs].filter(([, askedMs]) => nowMs - askedMs >= intervalMs);
    for (const [context] of due) this.#askedMs.set(context, nowMs);
    return due.map(([context]) => context);
  }

  /** There is a new leader: all are to be asked again. */
  forgetAsked(): void {
    for (const context of this.#askedMs.keys()) this.#askedMs.set(context, Number.NEGATIVE_INFINITY);
  }

  /** Whether anybody was waiting for it. */
  answered(context: number): boolean {
    return this.#askedMs.delete(context);
  }
}
