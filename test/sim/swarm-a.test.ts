import { test } from 'vitest';
import { expectGood, TELLING_SEEDS, testSeeds } from './swarm-seeds.ts';

testSeeds(1, 121);

test('seeds that once found a bug find it no more', async () => {
  for (const seed of TELLING_SEEDS) await expectGood(seed);
});
