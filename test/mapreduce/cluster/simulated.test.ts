/** Jobs in a cluster in virtual time, while everything goes wrong that may: see sim-jobs.ts. */
import { expect, test } from 'vitest';
import { runJobsSeed } from './sim-jobs.ts';

const SEEDS = 12;
const BLOCK = 6;
const QUIET_SEEDS = 3;

for (let first = 1; first <= SEEDS; first += BLOCK) {
  const last = first + BLOCK - 1;
  test(`jobs survive the faults of seeds ${first} to ${last}`, { timeout: 60_000 }, async () => {
    for (let seed = first; seed <= last; seed++) {
      const { failure } = await runJobsSeed(seed);
      expect(failure, `replay: npm run sim -- --jobs --seed ${seed} --trace`).toBeUndefined();
    }
  });
}

test('jobs where nothing goes wrong are done, each task once, by one coordinator', async () => {
  for (let seed = 1; seed <= QUIET_SEEDS; seed++) {
    const { failure, counts } = await runJobsSeed(seed, { quiet: true });
    expect(failure).toBeUndefined();
    expect(counts).toMatchObject({ crashes: 0, misfortunes: 0, reigns: 1, mapsLost: 0, epochs: 0 });
  }
});

test('a seed with jobs always tells the same story', async () => {
  for (const seed of [4]) {
    const stories: string[][] = [[], []];
    for (const story of stories) await runJobsSeed(seed, { trace: (line) => story.push(line) });
    expect(stories[0]!.length).toBeGreaterThan(10);
    expect(stories[0]).toEqual(stories[1]);
  }
});
