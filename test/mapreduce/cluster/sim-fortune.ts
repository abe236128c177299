/** How threads do: by the seed, but no task is hit so often that its job must fail for that alone. */
import type { TaskFailure } from '../../../src/mapreduce/tasks.ts';
import type { SimRandom } from '../../sim/random.ts';
import type { ThreadFaults } from './sim-job-options.ts';

/** What comes of an attempt that is begun now. */
export type AttemptFate =
  | { readonly kind: 'works'; readonly forMs: number }
  | { readonly kind: 'dies'; readonly afterMs: number }
  | { readonly kind: 'hangs' }
  | { readonly kind: 'fails'; readonly afterMs: number; readonly failure: TaskFailure };

export interface Fortune {
  /** `task`: what the attempt is one of, by a name that is its alone. */
  attempt(node: number, task: string): AttemptFate;
  /** Of a thread of the shuffle server: how long it lives; undefined: as long as it is wanted. */
  shuffleLivesMs(node: number): number | undefined;
}

/** One less than the attempts that a task has, and one more for what else may happen to it. */
const MISFORTUNES_MAX = 2;
const SHUFFLE_LIVES_MEAN_MS = 2000;

export class SeededFortune implements Fortune {
  readonly #random: SimRandom;
  readonly #faults: ThreadFaults;
  readonly #misfortunes = new Map<string, number>();
  /** All goes well from now on. */
  mended = false;
  counts = { attempts: 0, misfortunes: 0 };

  constructor(random: SimRandom, faults: ThreadFaults) {
    this.#random = random;
    this.#faults = faults;
  }

  attempt(node: number, task: string): AttemptFate {
    const { dies, hangs, fails, workMs, slowMs, slowNode } = this.#faults;
    this.counts.attempts++;
    const forMs = this.#random.exponential(node === slowNode && !this.mended ? slowMs : workMs);
    const afterMs = this.#random.fraction() * forMs;
    const chosen = this.#random.fraction();
    const before = this.#misfortunes.get(task) ?? 0;
    if (this.mended || before >= MISFORTUNES_MAX || chosen >= dies + hangs + fails) {
      return { kind: 'works', forMs };
    }
    this.#misfortunes.set(task, before + 1);
    this.counts.misfortunes++;
    if (chosen < dies) return { kind: 'dies', afterMs };
    if (chosen < dies + hangs) return { kind: 'hangs' };
    const deterministic = this.#random.chance(0.3);
    // What would fail again is so on this server only.
    const failure = { message: 'by chance', deterministic, ...(deterministic ? { local: true } : {}) };
    return { kind: 'fails', afterMs, failure };
  }

  shuffleLivesMs(): number | undefined {
    if (this.mended || !this.#random.chance(this.#faults.shuffleDies)) return undefined;
    return this.#random.exponential(SHUFFLE_LIVES_MEAN_MS);
  }
}
