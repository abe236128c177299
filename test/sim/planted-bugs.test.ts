/**
 * The simulator is tested too: each planted bug must be found within a number of seeds. `npm run sim -- --plant all`
 * tells how many each one needs.
 */
import { expect, test } from 'vitest';
import { PLANTED_BUGS } from './planted-bugs.ts';
import { runSeed } from './swarm.ts';

const SEEDS_MAX = 150;

for (const bug of PLANTED_BUGS) {
  test(`the simulator finds a server that ${bug.name} (${bug.source})`, { timeout: 120_000 }, async () => {
    const takeOut = bug.plant();
    let foundBy: number | undefined;
    try {
      const from = bug.fromSeed ?? 1;
      for (let seed = from; seed < from + SEEDS_MAX && foundBy === undefined; seed++) {
        const { failure } = await runSeed(seed);
        if (failure !== undefined) foundBy = seed;
      }
    } finally {
      takeOut();
    }
    expect(foundBy, 'the seed that found it').toBeDefined();
  });
}
