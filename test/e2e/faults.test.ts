/**
 * Real processes that are killed, stopped and continued under load. What was acknowledged must be there afterwards, each
 * write once, on every server.
 */
import { afterEach, expect, test } from 'vitest';
import { CounterLoad, ListLoad } from './load.ts';
import { ELECTION_TIMEOUT_MS, info, ProcessCluster, pause, redisCli, until } from './processes.ts';

let cluster: ProcessCluster;
afterEach(() => cluster.end());

test.each([3, 5])(
  'of %i servers the leader is killed under load, three times: nothing acknowledged is lost',
  { timeout: 90_000 },
  async (count) => {
    cluster = await ProcessCluster.start(count);
    const counter = new CounterLoad(cluster.servers.map(({ port }) => port));
    const lists = new ListLoad(cluster.servers.map(({ port }) => port));
    const pausesMs: number[] = [];
    for (let kill = 0; kill < 3; kill++) {
      await pause(1000);
      const leader = cluster.leader();
      counter.takeLongestWaitMs();
      const killedMs = performance.now();
      await leader.kill();
      await until(() => counter.lastAcknowledgedMs > killedMs + 50, 20_000);
      // Commands wait while there is no leader: the longest wait is the pause that clients saw.
      pausesMs.push(counter.takeLongestWaitMs());
      leader.start();
      await cluster.ready();
    }
    await counter.stop();
    await lists.stop();
    counter.check(Number(redisCli(cluster.servers[0]!.port, 'get', 'counter').output));
    for (const server of cluster.servers) lists.check(server.port);
    await cluster.agree();
    // Chance draws the timeouts, so one pause may be longer (test/sim/failover.test.ts counts how seldom); not two of three.
    pausesMs.sort((a, b) => a - b);
    expect(pausesMs[1]).toBeLessThan(2 * ELECTION_TIMEOUT_MS);
  },
);

test('all servers are killed at once, and have everything when they are back', async () => {
  cluster = await ProcessCluster.start(3);
  const counter = new CounterLoad(cluster.servers.map(({ port }) => port));
  const lists = new ListLoad(cluster.servers.map(({ port }) => port));
  for (let round = 0; round < 2; round++) {
    await pause(1200);
    await Promise.all(cluster.servers.map((server) => server.kill()));
    for (const server of cluster.servers) server.start();
    await cluster.ready();
  }
  await pause(500);
  await counter.stop();
  await lists.stop();
  counter.check(Number(redisCli(cluster.servers[1]!.port, 'get', 'counter').output));
  for (const server of cluster.servers) lists.check(server.port);
  await cluster.agree();
}, 60_000);

test('a leader that is stopped is replaced, and shows nothing old when it is continued', async () => {
  cluster = await ProcessCluster.start(3);
  const old = cluster.leader();
  const others = cluster.servers.filter((server) => server !== old);
  redisCli(old.port, 'set', 'x', 'before');
  old.signal('SIGSTOP');
  await until(() => others.some(({ port }) => info(port).raft_role === 'leader'), 20_000);
  expect(redisCli(others[0]!.port, 'set', 'x', 'after').output).toBe('OK\n');
  old.signal('SIGCONT');
  expect(redisCli(old.port, 'get', 'x').output).toBe('after\n');
  expect(info(old.port).raft_role).toBe('follower');
  await cluster.agree();
}, 60_000);

test('without a majority nothing is acknowledged, and the client learns which of the two it is', async () => {
  cluster = await ProcessCluster.start(3, ['--command-timeout', '1500']);
  const leader = cluster.leader();
  const others = cluster.servers.filter((server) => server !== leader);
  expect(redisCli(leader.port, 'set', 'x', '1').output).toBe('OK\n');
  for (const server of others) await server.kill();
  // It still leads: the command is in its log, and who knows who will lead next.
  expect(redisCli(leader.port, 'set', 'x', '2').output).toMatch(/^TIMEOUT /);
  await until(() => info(leader.port).raft_leader_id === '', 10_000);
  expect(redisCli(leader.port, 'set', 'x', '3').output).toMatch(/^CLUSTERDOWN /);
  expect(redisCli(leader.port, 'get', 'x').output).toMatch(/^CLUSTERDOWN /);
  expect(redisCli(leader.port, 'ping').output).toBe('PONG\n');
  for (const server of others) server.start();
  await cluster.ready();
  expect(['1\n', '2\n']).toContain(redisCli(leader.port, 'get', 'x').output);
}, 60_000);

test('SIGTERM hands leadership over and ends with status 0, and clients of the others notice next to nothing', async () => {
  cluster = await ProcessCluster.start(3);
  const leader = cluster.leader();
  const others = cluster.servers.filter((server) => server !== leader);
  const counter = new CounterLoad(others.map(({ port }) => port));
  await pause(500);
  leader.signal('SIGTERM');
  expect(await leader.exit()).toBe(0);
  await pause(500);
  expect(counter.longestWaitMs).toBeLessThan(ELECTION_TIMEOUT_MS);
  await counter.stop();
  counter.check(Number(redisCli(others[0]!.port, 'get', 'counter').output));
  leader.start();
  await cluster.ready();
  await cluster.agree();
}, 60_000);
