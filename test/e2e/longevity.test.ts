/**
 * What a cluster is after a long time, with everything small so that it comes soon: logs that are cut, and servers that were
 * away so long that only a snapshot brings them back. Names of RedisRaft's tests, where these are alike, stand in brackets.
 */
import { afterEach, expect, test } from 'vitest';
import { Bulk, bytesIn } from './bulk.ts';
import { CounterLoad, ListLoad } from './load.ts';
import { connect, info, ProcessCluster, pause, redisCli, type ServerProcess, until } from './processes.ts';

const MB = 1 << 20;
const KEEP_BYTES = 4 * MB;
const SMALL = ['--wal-segment-size', '1mb', '--wal-keep-size', `${KEEP_BYTES}`];
/** A quarter by chance; the segment that is written, the one made in advance, and one that is needed in part. */
const LOG_BYTES_MAX = 1.25 * KEEP_BYTES + 3 * MB;

let cluster: ProcessCluster;
afterEach(() => cluster.end());

const tookOver = (server: ServerProcess) => server.output.split('took over a snapshot').length - 1;
const receivedBytes = (server: ServerProcess) =>
  Number(/bytes=(\d+)/.exec(info(server.port).raft_snapshot_received ?? '')?.[1] ?? 0);

function setRate(rate: string): void {
  for (const { port, running } of cluster.servers) {
    if (running) redisCli(port, 'config', 'set', 'snapshot-rate-limit', rate);
  }
}

/** A follower has missed so much that the leader's log no longer has all of it. */
async function writtenWhileAway(bulk: Bulk, megabytes: number): Promise<ServerProcess> {
  const leader = cluster.leader();
  const away = cluster.servers.find((server) => server !== leader)!;
  const { raft_last_log_index: last } = info(away.port);
  await away.kill();
  await bulk.write(leader.port, megabytes * 10);
  redisCli(leader.port, 'save');
  await until(() => Number(info(leader.port).raft_first_log_index) > Number(last) + 1, 10_000);
  return away;
}

/** Ten are a megabyte; 40 MB stay. */
const large = () => new Bulk({ keys: 400, valueBytes: 100 * 1024 });

test('the same keys written again and again: the data directories stay small, and a restart finds the last values [snapshot_automatic]', async () => {
  cluster = await ProcessCluster.start(3, SMALL);
  const bulk = new Bulk({ keys: 1000, valueBytes: 100 });
  const liveBytes = 1000 * 250;
  for (let round = 1; round <= 3; round++) {
    await bulk.write(cluster.leader().port, 100_000);
    for (const { port } of cluster.servers) expect(redisCli(port, 'save').output).toBe('OK\n');
    for (const server of cluster.servers) {
      await until(() => bytesIn(server, 'wal') <= LOG_BYTES_MAX, 10_000);
      // LevelDB's own log has every checkpoint until it is full: there were a few by time, and one a round by SAVE.
      expect(bytesIn(server, 'store')).toBeLessThan(20 * liveBytes);
    }
  }
  const [stopped, killed] = cluster.servers as [ServerProcess, ServerProcess, ServerProcess];
  stopped.signal('SIGTERM');
  expect(await stopped.exit()).toBe(0);
  await killed.kill();
  stopped.start();
  killed.start();
  await cluster.ready();
  await cluster.agree();
  await bulk.check(stopped.port);
  expect(redisCli(killed.port, 'dbsize').output).toBe('1000\n');
}, 60_000);

test('a follower that was away while 40 MB were written comes back by a snapshot [snapshot_delivery]', async () => {
  cluster = await ProcessCluster.start(3, SMALL);
  const bulk = large();
  const away = await writtenWhileAway(bulk, 40);
  away.start();
  await cluster.ready();
  await until(() => tookOver(away) === 1, 20_000);
  await cluster.agree();
  await bulk.check(away.port);
}, 60_000);

test('a follower that is killed while a snapshot comes in gets the rest of it, or another', async () => {
  cluster = await ProcessCluster.start(3, [...SMALL, '--snapshot-rate-limit', '4mb']);
  const bulk = large();
  const away = await writtenWhileAway(bulk, 40);
  for (const megabytes of [2, 6]) {
    away.start();
    await until(() => away.running && receivedBytes(away) > megabytes * MB, 20_000);
    await away.kill();
  }
  expect(tookOver(away)).toBe(0);
  expect(away.output).toContain('"resumed":true');
  setRate('1gb');
  away.start();
  await until(() => tookOver(away) === 1, 20_000);
  await cluster.agree();
  await bulk.check(away.port);
}, 60_000);

test('a leader that is killed while it sends a snapshot is replaced, and its follower gets one from the next', async () => {
  cluster = await ProcessCluster.start(3, [...SMALL, '--snapshot-rate-limit', '4mb']);
  const bulk = large();
  const leader = cluster.leader();
  const away = await writtenWhileAway(bulk, 40);
  const third = cluster.servers.find((server) => server !== leader && server !== away)!;
  redisCli(third.port, 'save');
  away.start();
  await until(() => receivedBytes(away) > 2 * MB, 20_000);
  await leader.kill();
  setRate('1gb');
  await until(() => tookOver(away) === 1, 20_000);
  expect(redisCli(away.port, 'set', 'two', 'are enough').output).toBe('OK\n');
  leader.start();
  await cluster.ready();
  await cluster.agree();
  await bulk.check(away.port);
}, 60_000);

test('servers killed at any instant, one, two or all, while logs are cut and snapshots are sent: nothing acknowledged is lost [fuzzing_with_restarts_and_compaction]', async () => {
  // Elections and transfers take so long that what comes at random hits some of them in the middle.
  const flags = ['--election-timeout', '500', '--snapshot-rate-limit', '2mb'];
  cluster = await ProcessCluster.start(3, [...SMALL, ...flags]);
  const { servers } = cluster;
  const counter = new CounterLoad(servers.map(({ port }) => port));
  const lists = new ListLoad(servers.map(({ port }) => port));
  const noise = { over: false };
  const noisy = servers.map(({ port }) => makeNoise(port, noise));
  const endMs = Date.now() + 18_000;
  for (let round = 0; Date.now() < endMs; round++) {
    await pause(Math.random() * 1500);
    if (round % 3 === 0) await leaveBehind(servers[Math.floor(Math.random() * 3)]!);
    else {
      const which = 1 + Math.floor(Math.random() * 7);
      const chosen = servers.filter((_, i) => (which >> i) & 1);
      await Promise.all(chosen.map((server) => server.kill()));
      await pause(Math.random() * 500);
      for (const server of chosen) server.start();
    }
  }
  await cluster.ready();
  await pause(1000);
  noise.over = true;
  await Promise.all(noisy);
  await counter.stop();
  await lists.stop();
  counter.check(Number(redisCli(servers[0]!.port, 'get', 'counter').output));
  for (const server of servers) lists.check(server.port);
  await cluster.agree();
  expect(servers.reduce((sum, server) => sum + tookOver(server), 0)).toBeGreaterThan(0);
}, 90_000);

/** Killed, and started again when the others have cut their logs in front of what it lacks, or after some seconds. */
async function leaveBehind(server: ServerProcess): Promise<void> {
  const last = Number(info(server.port).raft_last_log_index ?? 0);
  await server.kill();
  const isBehind = () =>
    cluster.servers.some(
      ({ running, port }) => running && Number(info(port).raft_first_log_index) > last + 1,
    );
  await until(isBehind, 5000).catch(() => undefined);
  server.start();
}

/** Overwrites, for as long as it is told to, which fill the log. */
async function makeNoise(port: number, state: { over: boolean }): Promise<void> {
  while (!state.over) {
    const noise = new Bulk({ keys: 150, valueBytes: 20_000 });
    await noise.write(port, 20).catch(() => pause(100));
    // The log can be cut where the store has come.
    const redis = connect(port);
    await redis.bgsave().catch(() => undefined);
    redis.disconnect();
    await pause(20);
  }
}
