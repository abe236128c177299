/**
 * The world of jobs is tested too: each planted bug must be found within a number of seeds. `npm run sim -- --jobs --plant
 * all` tells how many each one needs.
 */
import { expect, test } from 'vitest';
import { runJobsSeed } from './sim-jobs.ts';
import { JOB_BUGS } from './sim-planted-bugs.ts';

const SEEDS_MAX = 100;

for (const bug of JOB_BUGS) {
  test(`the world of jobs finds a server that ${bug.name} (${bug.source})`, {
    timeout: 120_000,
  }, async () => {
    const takeOut = bug.plant();
    let foundBy: number | undefined;
    try {
      const from = bug.fromSeed ?? 1;
      for (let seed = from; seed < from + SEEDS_MAX && foundBy === undefined; seed++) {
        const { failure } = await runJobsSeed(seed);
        if (failure !== undefined) foundBy = seed;
      }
    } finally {
      takeOut();
    }
    expect(foundBy, 'the seed that found it').toBeDefined();
  });
}
