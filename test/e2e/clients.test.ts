/**
 * Any Redis client, any server: redis-cli, ioredis and redis-benchmark against each of three real processes.
 */
import { spawnSync } from 'node:child_process';
import { Cluster as RedisCluster } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect, info, ProcessCluster, redisCli } from './processes.ts';

let cluster: ProcessCluster;
beforeAll(async () => {
  cluster = await ProcessCluster.start(3);
}, 60_000);
afterAll(() => cluster.end());

describe.each([0, 1, 2])('server %i', (i) => {
  test('redis-cli reads through it what was written through the others', () => {
    const { port } = cluster.servers[i]!;
    for (const other of cluster.servers) {
      expect(redisCli(other.port, 'set', `key${i}`, other.name).output).toBe('OK\n');
      expect(redisCli(port, 'get', `key${i}`).output).toBe(`${other.name}\n`);
    }
  });

  test.each([2, 3] as const)('ioredis speaks RESP%i with it', async (protocol) => {
    const redis = connect(cluster.servers[i]!.port, { protocol });
    await redis.set('a', '1', 'EX', 100);
    expect(await redis.incr('a')).toBe(2);
    expect(await redis.get('a')).toBe('2');
    expect(await redis.append('a', '\u{1F600}')).toBe(5);
    expect(await redis.mget('a', 'missing')).toEqual(['2\u{1F600}', null]);
    expect(await redis.del('a', 'a')).toBe(1);
    const replies = await redis.pipeline().set('b', 'x').get('b').set('b', 'y').get('b').exec();
    expect(replies!.map(([, reply]) => reply)).toEqual(['OK', 'x', 'OK', 'y']);
    await expect(redis.call('nonsense', 'a')).rejects.toThrow(
      "ERR unknown command 'nonsense', with args beginning with: 'a' ",
    );
    expect(await redis.quit()).toBe('OK');
  });

  test('redis-benchmark runs against it, PING_INLINE included', () => {
    const { port } = cluster.servers[i]!;
    const tests = 'ping_inline,ping_mbulk,set,get,incr,mset';
    const args = ['-p', `${port}`, '-t', tests, '-n', '2000', '-c', '20', '-P', '4', '-q'];
    const done = spawnSync('redis-benchmark', args);
    expect(done.status, done.stdout.toString() + done.stderr.toString()).toBe(0);
    const lines = done.stdout.toString().split(/[\r\n]+/);
    expect(lines.filter((line) => line.includes('requests per second')).length).toBe(6);
    expect(done.stdout.toString() + done.stderr.toString()).not.toContain('Error');
  });

  test('it knows the cluster, and says so in the words of Redis Cluster', () => {
    const { port, name } = cluster.servers[i]!;
    const mine = info(port);
    expect(mine).toMatchObject({
      raft_node_id: name,
      raft_voters: 'n1,n2,n3',
      raft_learners: '',
      loading: '0',
    });
    const id = redisCli(port, 'cluster', 'myid').output.trim();
    expect(id).toMatch(/^[0-9a-f]{40}$/);
    const nodes = redisCli(port, 'cluster', 'nodes').output.trim().split('\n');
    expect(nodes.length).toBe(3);
    expect(nodes.find((line) => line.startsWith(id))).toMatch(/myself,(master|slave)/);
    expect(nodes.filter((line) => line.endsWith(' 0-16383')).length).toBe(1);
    expect(redisCli(port, 'cluster', 'info').output).toContain('cluster_state:ok');
    expect(redisCli(port, 'cluster', 'keyslot', 'somekey').output).toBe('11058\n');
  });
});

test('ioredis in cluster mode finds the servers and is served', async () => {
  const redis = new RedisCluster([{ host: '127.0.0.1', port: cluster.servers[0]!.port }]);
  await redis.set('c', '1');
  expect(await redis.get('c')).toBe('1');
  redis.disconnect();
});

test('a value of many megabytes is kept, and one over the limit is refused before it is sent', async () => {
  const redis = connect(cluster.servers[1]!.port);
  const value = Buffer.alloc(30 << 20, 'v');
  expect(await redis.set('large', value)).toBe('OK');
  const other = connect(cluster.servers[2]!.port);
  expect((await other.getBuffer('large'))!.equals(value)).toBe(true);
  expect(await redis.del('large')).toBe(1);
  for (const each of [redis, other]) each.disconnect();
  const header = `*3\\r\\n$3\\r\\nSET\\r\\n$1\\r\\nk\\r\\n$${512 << 20}\\r\\n`;
  const sent = spawnSync('bash', [
    '-c',
    `exec 3<>/dev/tcp/127.0.0.1/${cluster.servers[0]!.port}; printf '${header}' >&3; cat <&3`,
  ]);
  expect(sent.stdout.toString()).toBe('-ERR Protocol error: invalid bulk length\r\n');
});

test('the states of all servers are equal at the end', async () => {
  await cluster.agree();
});
