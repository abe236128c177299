/**
 * How long a cluster is without a leader when the leader falls.
 */
import { expect, test } from 'vitest';
import { Cluster } from './cluster.ts';

const ELECTION_TIMEOUT_MS = 1000;

/** From the fall of the leader until another one has committed an entry of its own term. */
async function failoverMs(seed: number, servers: number): Promise<number> {
  const cluster = new Cluster({ seed, servers, limits: { electionTimeoutMs: ELECTION_TIMEOUT_MS } });
  cluster.startAll();
  const led = () => cluster.leader()?.replica?.raft.leader?.commitIsCurrent === true;
  expect(await cluster.until(led, 20_000)).toBe(true);
  await cluster.run(cluster.random.between(200, 1200));
  const fallMs = cluster.scheduler.nowMs;
  cluster.leader()!.crash();
  expect(await cluster.until(led, 20_000)).toBe(true);
  return cluster.scheduler.nowMs - fallMs;
}

test('a lost leader is replaced within two election timeouts in 99 % of seeds', {
  timeout: 60_000,
}, async () => {
  const times: number[] = [];
  for (let seed = 1; seed <= 150; seed++) {
    times.push(await failoverMs(seed, 3), await failoverMs(seed, 5));
  }
  times.sort((a, b) => a - b);
  expect(times[Math.ceil(times.length * 0.99) - 1]).toBeLessThan(2 * ELECTION_TIMEOUT_MS);
});
