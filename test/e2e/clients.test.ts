/**
 * Any Redis client, any server: redis-cli, ioredis, node-redis and redis-benchmark against each of three real processes.
 */
import { spawnSync } from 'node:child_process';
import { Redis, Cluster as RedisCluster } from 'ioredis';
import { createClient, type RedisClientOptions } from 'redis';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { connect, info, ProcessCluster, redisCli } from './processes.ts';

let cluster: ProcessCluster;
beforeAll(async () => {
  cluster = await ProcessCluster.start(3);
}, 60_000);
afterAll(() => cluster.end());

/** ioredis, connected to a server until the test ends. */
function redisOf(i: number): Redis {
  const redis = connect(cluster.servers[i]!.port);
  onTestFinished(() => redis.disconnect());
  return redis;
}

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

describe('ioredis', () => {
  test('gets the replies of a pipeline each in its place, errors among them', async () => {
    const redis = redisOf(0);
    const replies = await redis
      .pipeline()
      .set('p', 'x')
      .incr('p')
      .get('p')
      .call('nonsense', 'a', 'b')
      .strlen('p')
      .expire('p', 100)
      .mget('p', 'missing')
      .exec();
    expect(replies!.map(([error, reply]) => error?.message ?? reply)).toEqual([
      'OK',
      'ERR value is not an integer or out of range',
      'x',
      "ERR unknown command 'nonsense', with args beginning with: 'a' 'b' ",
      1,
      1,
      ['x', null],
    ]);
  });

  test('streams a scan through one server of what was written through another, each key once', async () => {
    const [writer, reader] = [redisOf(1), redisOf(2)];
    const names = Array.from({ length: 1000 }, (_, n) => `stream:${n}`);
    await writer.mset(...names.flatMap((name) => [name, 'x']), 'other', 'x');
    const found: string[] = [];
    for await (const keys of reader.scanStream({ match: 'stream:*', count: 37 }))
      found.push(...(keys as string[]));
    expect(found.sort()).toEqual(names.sort());
  });

  test('is told that there are no scripts when it defines a command, and goes on', async () => {
    const redis = redisOf(0);
    redis.defineCommand('mine', { numberOfKeys: 1, lua: "return redis.call('get', KEYS[1])" });
    const { mine } = redis as unknown as { mine(key: string): Promise<unknown> };
    await expect(mine.call(redis, 'a')).rejects.toThrow(/^ERR unknown command 'eval(sha)?'/i);
    expect(await redis.ping()).toBe('PONG');
  });

  test('comes back by itself with its database and name when its connection is ended', async () => {
    const { port } = cluster.servers[0]!;
    const redis = new Redis(port, { db: 3, connectionName: 'lasting', retryStrategy: () => 50 });
    onTestFinished(() => redis.disconnect());
    await redis.set('kept', '1');
    const id = await redis.client('ID');
    const ready = new Promise((resolve) => void redis.once('close', () => redis.once('ready', resolve)));
    expect(await redisOf(0).client('KILL', 'ID', id)).toBe(1);
    await ready;
    expect(await redis.get('kept')).toBe('1');
    expect(await redis.client('GETNAME')).toBe('lasting');
    expect(await redis.client('ID')).toBeGreaterThan(id);
    const copy = redis.duplicate();
    onTestFinished(() => copy.disconnect());
    expect(await copy.get('kept')).toBe('1');
    expect(await redisOf(1).get('kept')).toBe(null);
  });
});

describe.each([2, 3, undefined] as const)('node-redis, RESP %s', (RESP) => {
  const nodeRedis = async (i: number, options: RedisClientOptions = {}) => {
    const url = `redis://127.0.0.1:${cluster.servers[i]!.port}`;
    const client = createClient({ url, ...(RESP === undefined ? {} : { RESP }), ...options });
    // A connection that ends is told of here; without a listener it would end the process.
    client.on('error', () => {});
    onTestFinished(() => client.destroy());
    await client.connect();
    return client;
  };

  test('connects as it likes, and is known by what it says of itself', async () => {
    const client = await nodeRedis(0, { name: 'me', database: 2 });
    const info = String(await client.sendCommand(['CLIENT', 'INFO']));
    expect(info).toMatch(/ name=me .* db=2 .* lib-name=node-redis\S* lib-ver=\d+\.\d+\.\d+/);
    expect(info).toContain(` resp=${RESP ?? 3} `);
  });

  test('reads and writes, alone and in one transaction', async () => {
    const client = await nodeRedis(1);
    expect(await client.set('n', '1', { expiration: { type: 'EX', value: 100 } })).toBe('OK');
    expect(await client.incr('n')).toBe(2);
    expect(await client.ttl('n')).toBeGreaterThan(90);
    expect(await client.get('missing')).toBe(null);
    expect(await client.mGet(['n', 'missing'])).toEqual(['2', null]);
    expect(await client.incrByFloat('n', 0.5)).toBe('2.5');
    expect(await client.configGet('timeout')).toEqual({ timeout: '0' });
    expect(await client.multi().set('n', 'x').append('n', 'y').get('n').exec()).toEqual(['OK', 2, 'xy']);
    expect(await Promise.all([client.set('n', '1'), client.incr('n'), client.get('n')])).toEqual([
      'OK',
      2,
      '2',
    ]);
  });

  test('iterates over all keys, each once', async () => {
    const client = await nodeRedis(2);
    const names = Array.from({ length: 300 }, (_, n) => `node:${n}`);
    await client.mSet(names.map((name) => [name, 'x'] as [string, string]));
    const found: string[] = [];
    for await (const keys of client.scanIterator({ MATCH: 'node:*', COUNT: 23 })) found.push(...keys);
    expect(found.sort()).toEqual(names.sort());
  });

  test('gets errors as errors, and goes on', async () => {
    const client = await nodeRedis(0);
    await client.set('n', 'text');
    await expect(client.incr('n')).rejects.toThrow('ERR value is not an integer or out of range');
    await expect(client.sendCommand(['NONSENSE', 'a'])).rejects.toThrow("ERR unknown command 'NONSENSE'");
    await expect(client.sendCommand(['GET'])).rejects.toThrow(
      "ERR wrong number of arguments for 'get' command",
    );
    await expect(client.eval('return 1')).rejects.toThrow("ERR unknown command 'EVAL'");
    expect(await client.get('n')).toBe('text');
  });

  test('has duplicates, and comes back by itself when its connection is ended', async () => {
    const client = await nodeRedis(0, { database: 4 });
    const copy = client.duplicate();
    onTestFinished(() => copy.destroy());
    await copy.connect();
    await client.set('kept', 'yes');
    expect(await copy.get('kept')).toBe('yes');
    const ready = new Promise((resolve) => void client.once('ready', resolve));
    const id = await client.sendCommand(['CLIENT', 'ID']);
    expect(await copy.sendCommand(['CLIENT', 'KILL', 'ID', String(id)])).toBe(1);
    await ready;
    expect(await client.get('kept')).toBe('yes');
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
