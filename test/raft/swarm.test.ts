/** The swarm over many seeds: SEEDS=1000 for more, SEED=17 for one. */
import { expect, test } from 'vitest';
import { Swarm } from './swarm.ts';

const STEPS = 600;
const SEED = process.env.SEED;
const SEEDS = Number(process.env.SEEDS ?? 60);

test('groups that change keep the promises of figure 3, whatever happens, and come to rest', () => {
  const totals = new Map<string, number>();
  const seeds = SEED === undefined ? Array.from({ length: SEEDS }, (_, i) => i + 1) : [Number(SEED)];
  for (const seed of seeds) {
    const swarm = new Swarm(seed);
    try {
      for (let step = 0; step < STEPS; step++) swarm.step();
      swarm.rest();
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message} ${swarm.describe()}`, { cause: error });
    }
    for (const [name, count] of swarm.counts) totals.set(name, (totals.get(name) ?? 0) + count);
  }
  if (SEED !== undefined) return;
  // It is worth something only if the interesting things happen.
  for (const name of [
    'add',
    'remove',
    'snapshots',
    'installs',
    'restarts',
    'leaders',
    'pending',
    'not-ready',
  ]) {
    expect(totals.get(name) ?? 0, name).toBeGreaterThan(SEEDS / 10);
  }
}, 600_000);
