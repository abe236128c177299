/**
 * What a server refuses, clearly and without losing anything: a directory in use or of another cluster, a damaged log,
 * a full disk, bytes that make no sense, clients that never read.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, statSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { damageLog } from './damage.ts';
import { connect, info, ProcessCluster, pause, redisCli, ServerProcess, until } from './processes.ts';

let cluster: ProcessCluster;
afterEach(() => cluster.end());

test('a second process on the same directory is refused, and the first goes on', async () => {
  cluster = await ProcessCluster.start(1);
  const [first] = cluster.servers;
  const args = ['--id', 'n1', '--port', `${first!.port + 1}`];
  const second = new ServerProcess({
    ...first!,
    port: 0,
    peerPort: 0,
    name: 'n1',
    directory: first!.directory,
    args,
  });
  second.start();
  expect(await second.exit()).toBe(1);
  expect(second.output).toContain('in use');
  expect(second.output).toContain(first!.directory);
  expect(redisCli(first!.port, 'set', 'a', 'b').output).toBe('OK\n');
}, 30_000);

test('a directory of another cluster is refused and left as it is', async () => {
  cluster = await ProcessCluster.start(1);
  const [server] = cluster.servers;
  redisCli(server!.port, 'set', 'a', 'b');
  await server!.kill();
  const args = ['--id', 'n1', '--cluster', 'n1=127.0.0.1:7801,n2=127.0.0.1:7802,n3=127.0.0.1:7803'];
  const stranger = new ServerProcess({
    name: 'n1',
    port: 7801,
    peerPort: 17801,
    directory: server!.directory,
    args,
  });
  stranger.start();
  expect(await stranger.exit()).toBe(1);
  expect(stranger.output).toContain('belongs to the cluster');
  server!.start();
  await cluster.ready();
  expect(redisCli(server!.port, 'get', 'a').output).toBe('b\n');
}, 30_000);

test('a server whose log is damaged does not start, says where and what to do, and the others go on', async () => {
  cluster = await ProcessCluster.start(3);
  const [first, second] = cluster.servers;
  for (let i = 0; i < 20; i++) redisCli(first!.port, 'set', `key${i}`, `a-value-to-be-found-${i}`);
  await cluster.agree();
  await second!.kill();
  damageLog(second!.directory, 'a-value-to-be-found-3');
  second!.start();
  expect(await second!.exit()).toBe(1);
  expect(second!.output).toMatch(/damaged at byte \d+/);
  await until(() => redisCli(first!.port, 'get', 'key3').output === 'a-value-to-be-found-3\n', 10_000);
  // Not a fall, a refusal.
  second!.signal('SIGKILL');
}, 60_000);

test('a full disk refuses writes, serves reads, and is left behind when there is room again', async () => {
  cluster = await ProcessCluster.make(1, ['--wal-segment-size', '1mb']);
  const [server] = cluster.servers;
  const asRoot = process.getuid!() === 0 ? ['unshare', '-m'] : ['unshare', '-rm'];
  const mount = `mkdir -p "$0" && mount -t tmpfs -o size=24m tmpfs "$0" && exec "$@"`;
  server!.start([...asRoot, 'sh', '-c', mount, server!.directory]);
  await cluster.ready();
  expect(redisCli(server!.port, 'set', 'a', 'kept').output).toBe('OK\n');
  const filler = `/proc/${server!.pid}/root${server!.directory}/filler`;
  spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=64k']);
  const redis = connect(server!.port);
  const value = 'v'.repeat(10_000);
  await expect(
    (async () => {
      for (let i = 0; i < 1000; i++) await redis.set(`fill${i}`, value);
    })(),
  ).rejects.toThrow(/^MISCONF .*No space left on device/);
  expect(await redis.get('a')).toBe('kept');
  rmSync(filler);
  await until(async () => (await redis.set('b', 'again').catch(() => '')) === 'OK', 15_000);
  redis.disconnect();
}, 60_000);

function send(port: number, bytes: Uint8Array): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1' }, () => {
      socket.write(bytes);
      resolve(socket);
    });
    socket.on('error', () => {});
  });
}

test('streams of garbage on the client port and on the peer port harm nobody', async () => {
  cluster = await ProcessCluster.start(3);
  const sockets: Socket[] = [];
  for (const server of cluster.servers) {
    for (const port of [server.port, server.peerPort]) {
      for (let i = 0; i < 20; i++) {
        const garbage = Buffer.from(Array.from({ length: 5000 }, (_, j) => (i * 7919 + j * j * 31) % 256));
        sockets.push(await send(port, garbage));
      }
      sockets.push(await send(port, Buffer.from('*1\r\n'.repeat(20_000))));
      sockets.push(await send(port, Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')));
      sockets.push(await send(port, Buffer.alloc(1 << 20, 0xff)));
    }
  }
  await pause(500);
  for (const server of cluster.servers) expect(redisCli(server.port, 'incr', 'n').output).toMatch(/^\d\n$/);
  for (const socket of sockets) socket.destroy();
  await cluster.agree();
}, 60_000);

test('a client that never reads its replies costs bounded memory', async () => {
  cluster = await ProcessCluster.start(1);
  const { port, pid } = cluster.servers[0]!;
  const redis = connect(port);
  await redis.set('large', Buffer.alloc(1 << 20, 'v'));
  const residentBytes = () =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) << 10;
  const before = residentBytes();
  const sockets: Socket[] = [];
  for (let i = 0; i < 5; i++) {
    const socket = await send(port, Buffer.from('GET large\r\n'.repeat(20_000)));
    socket.pause();
    sockets.push(socket);
  }
  await pause(2000);
  // They asked for 100 GB.
  expect(residentBytes() - before).toBeLessThan(300 << 20);
  expect(await redis.ping()).toBe('PONG');
  for (const socket of sockets) socket.destroy();
  redis.disconnect();
}, 60_000);

test('data larger than the memory for them are all there, also after a restart', async () => {
  cluster = await ProcessCluster.start(1, ['--maxmemory', '2mb']);
  const [server] = cluster.servers;
  const redis = connect(server!.port);
  const value = (i: number) => `${i}:`.repeat(Math.ceil(2000 / `${i}:`.length));
  for (let i = 0; i < 8000; i += 200) {
    const pairs = Array.from({ length: 200 }, (_, j) => [`key${i + j}`, value(i + j)]).flat();
    await redis.mset(...pairs);
  }
  const check = async (client: typeof redis) => {
    expect(await client.dbsize()).toBe(8000);
    for (let i = 0; i < 8000; i += 97) expect(await client.get(`key${i}`)).toBe(value(i));
    expect(await client.strlen('key7')).toBe(value(7).length);
    expect(await client.append('key8', '!')).toBe(value(8).length + 1);
    await client.set('key8', value(8));
  };
  await check(redis);
  redis.disconnect();
  const before = info(server!.port).raft_state_hash;
  server!.signal('SIGTERM');
  expect(await server!.exit()).toBe(0);
  expect(statSync(join(server!.directory, 'store')).isDirectory()).toBe(true);
  server!.start();
  await cluster.ready();
  const again = connect(server!.port);
  await check(again);
  again.disconnect();
  expect(before).toMatch(/^[0-9a-f]{16}$/);
}, 60_000);

test('with a password, who does not know it is asked for it', async () => {
  cluster = await ProcessCluster.make(1, ['--requirepass', 'secret']);
  const [server] = cluster.servers;
  server!.start();
  const cli = (...args: string[]) => redisCli(server!.port, ...args).output;
  await until(() => cli('get', 'a').startsWith('NOAUTH Authentication required.'), 20_000);
  const known = ['-a', 'secret', '--no-auth-warning'];
  await until(() => cli(...known, 'set', 'a', 'b') === 'OK\n', 20_000);
  expect(cli('-a', 'wrong', '--no-auth-warning', 'get', 'a')).toContain('NOAUTH');
  expect(cli(...known, 'get', 'a')).toBe('b\n');
}, 60_000);
