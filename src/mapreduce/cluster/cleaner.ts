/**
 * Clears what jobs that are over have left in the store: chunks of attempts that do not count, and all of what was removed.
 * In the background, one job after the other: nobody else writes these keys, so only the last step, which says that it is
 * done, waits its turn among the writes of the coordinator. A coordinator that was replaced leaves it to the next one.
 */
import { CorruptionError } from '../../lib/errors.ts';
import { changed, clearChunks, forgetCommands, without } from './ending.ts';
import type { JobId, JobSummary } from './records.ts';
import type { Reign } from './reign.ts';

export interface CleanerOptions {
  readonly reign: Reign;
  /** In turn with what else is written; it does nothing when the office was left. */
  readonly serially: (write: () => Promise<void>) => Promise<unknown>;
  readonly failed: (error: unknown) => void;
}

export class Cleaner {
  readonly #options: CleanerOptions;
  #isClearing = false;
  readonly #broken = new Set<JobId>();

  constructor(options: CleanerOptions) {
    this.#options = options;
  }

  /** Something may be left. */
  look(): void {
    if (this.#isClearing) return;
    const left = this.#next();
    if (left === undefined) return;
    this.#isClearing = true;
    this.#clear(left).then(
      (isOver) => {
        this.#isClearing = false;
        if (!isOver) this.look();
      },
      (error: unknown) => {
        this.#isClearing = false;
        // The record of this one makes no sense: the others are not to suffer for it.
        if (error instanceof CorruptionError) this.#broken.add(left.id);
        else this.#options.failed(error);
      },
    );
  }

  #next(): JobSummary | undefined {
    const { jobs } = this.#options.reign.index;
    return jobs.find(
      ({ id, state, unclean }) =>
        !this.#broken.has(id) && (state === 'removed' || (unclean === true && state !== 'active')),
    );
  }

  /** True: the office was left meanwhile. */
  async #clear({ id, state }: JobSummary): Promise<boolean> {
    const { reign, serially } = this.#options;
    await clearChunks(reign, id, state);
    let isOver = true;
    await serially(async () => {
      isOver = false;
      const now = reign.index.jobs.find((job) => job.id === id);
      // It may have been removed meanwhile: then there is more to clear.
      if (now?.state !== state) return;
      if (state === 'removed') await reign.change(without(reign.index, id), forgetCommands(id));
      else await reign.change(changed(reign.index, id, { unclean: false }));
    });
    return isOver;
  }
}
