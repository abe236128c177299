/**
 * Runs a range of seeds as one test each block, so that two workers share them. A failure prints its replay command.
 */
import { expect, test } from 'vitest';
import { runSeed } from './swarm.ts';

/** Seeds that once found a bug; each stays for ever. */
export const TELLING_SEEDS: readonly number[] = [];

const BLOCK = 20;

export function testSeeds(from: number, to: number): void {
  for (let first = from; first < to; first += BLOCK) {
    const last = Math.min(first + BLOCK, to) - 1;
    test(`clusters survive the faults of seeds ${first} to ${last}`, { timeout: 120_000 }, async () => {
      for (let seed = first; seed <= last; seed++) await expectGood(seed);
    });
  }
}

export async function expectGood(seed: number): Promise<void> {
  const { failure } = await runSeed(seed);
  expect(failure, `replay: npm run sim -- --seed ${seed} --trace`).toBeUndefined();
}
