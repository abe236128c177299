/** Runs that end in virtual time. */
import { expect } from 'vitest';
import type { Scheduler } from '../sim/scheduler.ts';

/** What comes of the run, when it has ended; throws what it throws. */
export async function settled<T>(scheduler: Scheduler, run: Promise<T>): Promise<T> {
  let outcome: (() => T) | undefined;
  run.then(
    (value) => {
      outcome = () => value;
    },
    (error: unknown) => {
      outcome = () => {
        throw error;
      };
    },
  );
  for (let i = 0; i < 1000 && outcome === undefined; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    await scheduler.run(scheduler.nowMs + 1000, () => outcome !== undefined);
  }
  expect(outcome, 'the run ends').toBeDefined();
  return outcome!();
}
