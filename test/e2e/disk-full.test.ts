/**
 * Disks that fill up, and have room again: the limit of a running server's files is lowered below the size of a log segment,
 * so that it can make no more of them, and its store finds no room either.
 */
import { spawnSync } from 'node:child_process';
import { afterEach, expect, test } from 'vitest';
import { Bulk } from './bulk.ts';
import { connect, info, ProcessCluster, redisCli, type ServerProcess, until } from './processes.ts';

const MB = 1 << 20;
const SMALL = ['--wal-segment-size', '1mb', '--wal-keep-size', '4mb'];
const REFUSAL = /^MISCONF .*No space left on device/;

let cluster: ProcessCluster;
afterEach(() => cluster.end());

/** As if the disk were full; what a segment that is there has room for can still be written. */
function fill(server: ServerProcess): void {
  limitFiles(server, `${MB - 1}`);
}

function makeRoom(server: ServerProcess): void {
  limitFiles(server, 'unlimited');
}

function limitFiles({ pid }: ServerProcess, bytes: string): void {
  const done = spawnSync('prlimit', ['--pid', `${pid}`, `--fsize=${bytes}:unlimited`]);
  expect(done.stderr.toString()).toBe('');
}

/** Writes until one is refused; what was acknowledged before is in `keys`. */
async function writeUntilRefused(port: number, keys: Map<string, string>): Promise<string> {
  const redis = connect(port);
  try {
    for (let i = 0; i < 2000; i++) {
      const [key, value] = [`k${keys.size}`, `${keys.size}:`.padEnd(10_000, 'v')];
      await redis.set(key, value);
      keys.set(key, value);
    }
    return 'all were taken';
  } catch (error) {
    return error instanceof Error ? error.message : `${error}`;
  } finally {
    redis.disconnect();
  }
}

async function check(port: number, keys: ReadonlyMap<string, string>): Promise<void> {
  const redis = connect(port);
  for (const [key, value] of keys) {
    const found = await redis.get(key);
    if (found !== value) expect(`${key} ${found?.slice(0, 20)}`).toBe(`${key} ${value.slice(0, 20)}`);
  }
  redis.disconnect();
}

test('a leader whose disk is full refuses writes, its own and those of others, and takes them again when there is room', async () => {
  cluster = await ProcessCluster.start(3, SMALL);
  const leader = cluster.leader();
  const [follower] = cluster.servers.filter((server) => server !== leader);
  const { raft_term: term } = info(leader.port);
  const keys = new Map<string, string>();
  for (let round = 0; round < 2; round++) {
    fill(leader);
    expect(await writeUntilRefused(leader.port, keys)).toMatch(REFUSAL);
    await until(() => REFUSAL.test(redisCli(follower!.port, 'set', 'a', 'b').output), 10_000);
    // Reads are served, by all.
    for (const { port } of cluster.servers) expect(redisCli(port, 'get', 'k0').output).toMatch(/^0:vvv/);
    expect(info(leader.port)).toMatchObject({ raft_role: 'leader', raft_term: term });
    makeRoom(leader);
    await until(() => redisCli(leader.port, 'set', `round${round}`, 'after').output === 'OK\n', 15_000);
    await until(() => redisCli(follower!.port, 'set', `round${round}`, 'after').output === 'OK\n', 15_000);
  }
  await cluster.agree();
  await check(follower!.port, keys);
}, 60_000);

test('a follower whose disk is full disturbs nobody, and catches up when there is room', async () => {
  cluster = await ProcessCluster.start(3, SMALL);
  const leader = cluster.leader();
  const follower = cluster.servers.find((server) => server !== leader)!;
  const { raft_term: term } = info(leader.port);
  const bulk = new Bulk({ keys: 200, valueBytes: 10_000 });
  fill(follower);
  // Ten times what the follower has room for: none is refused.
  await bulk.write(leader.port, 2000);
  expect(info(leader.port)).toMatchObject({ raft_role: 'leader', raft_term: term });
  expect(redisCli(follower.port, 'ping').output).toBe('PONG\n');
  const behind = () =>
    Number(info(leader.port).raft_applied_index) - Number(info(follower.port).raft_applied_index);
  expect(behind()).toBeGreaterThan(0);
  makeRoom(follower);
  await until(() => behind() === 0, 20_000);
  await cluster.agree();
  await bulk.check(follower.port);
}, 60_000);

test('a snapshot for which there is no room is not taken, and comes again when there is', async () => {
  cluster = await ProcessCluster.start(3, [...SMALL, '--snapshot-rate-limit', '8mb']);
  const leader = cluster.leader();
  const follower = cluster.servers.find((server) => server !== leader)!;
  await follower.kill();
  const bulk = new Bulk({ keys: 400, valueBytes: 100 * 1024 });
  await bulk.write(leader.port, 400);
  redisCli(leader.port, 'save');
  follower.start();
  await until(() => /bytes=\d{7}/.test(info(follower.port).raft_snapshot_received ?? ''), 20_000);
  fill(follower);
  await until(() => /"reason":"no room[^"]*","msg":"a snapshot is not taken"/.test(follower.output), 20_000);
  expect(redisCli(leader.port, 'set', 'others', 'go on').output).toBe('OK\n');
  expect(redisCli(follower.port, 'ping').output).toBe('PONG\n');
  makeRoom(follower);
  await until(() => follower.output.includes('took over a snapshot'), 20_000);
  await cluster.agree();
  await bulk.check(follower.port);
}, 60_000);
