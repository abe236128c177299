import { expect, test } from 'vitest';
import { runSeed } from './swarm.ts';
import { testSeeds } from './swarm-seeds.ts';

testSeeds(121, 241);

test('a seed always tells the same story', async () => {
  for (const seed of [5, 8, 21]) {
    const stories: string[][] = [[], []];
    for (const story of stories) await runSeed(seed, (line) => story.push(line));
    expect(stories[0]!.length).toBeGreaterThan(10);
    expect(stories[0]).toEqual(stories[1]);
  }
});
