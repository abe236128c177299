/**
 * A scenario in virtual time: an async function that sleeps, waits and checks as the labs' Go tests do, while the
 * simulated world goes on. Between two events of the world the scenario runs as far as it can, so the seed alone decides
 * the order of everything.
 */
import { assert } from '../../src/lib/assert.ts';
import type { Scheduler } from '../sim/scheduler.ts';

/** "Per-test wall cap 120 s": here of virtual time. */
export const TEST_MS_MAX = 120_000;

export function sleep(scheduler: Scheduler, ms: number): Promise<void> {
  return new Promise((resolve) => scheduler.after(ms, undefined, resolve, true));
}

/** Runs `scenario` to its end, for at most `msMax` of virtual time. */
export async function runScenario(
  scheduler: Scheduler,
  scenario: () => Promise<void>,
  msMax = TEST_MS_MAX,
): Promise<void> {
  let ended = false;
  const end = scenario().finally(() => {
    ended = true;
  });
  // Whoever awaits `end` below learns of its failure; until then it must not count as unhandled.
  end.catch(() => {});
  await scheduler.run(scheduler.nowMs + msMax, () => ended);
  assert(ended, `the test takes at most ${msMax / 1000} s`);
  await end;
}
