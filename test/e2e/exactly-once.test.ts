/**
 * The client library against real processes that are killed under it: every write happens once, and gives its first reply.
 */
import { afterEach, expect, test } from 'vitest';
import { connect, DeadlineError } from '../../src/client/connect.ts';
import { ProcessCluster, pause, redisCli } from './processes.ts';

let cluster: ProcessCluster;
afterEach(() => cluster.end());

function addresses(): string[] {
  return cluster.servers.map(({ port }) => `127.0.0.1:${port}`);
}

test('a counter has been raised exactly as often as was asked, whoever was killed meanwhile', async () => {
  cluster = await ProcessCluster.start(3);
  const clients = await Promise.all([0, 1, 2].map(() => connect({ nodes: addresses(), deadlineMs: 30_000 })));
  let going = true;
  const replies: number[] = [];
  const raise = async (client: (typeof clients)[number]): Promise<void> => {
    while (going) replies.push((await client.call('INCR', 'counter')) as number);
  };
  const load = Promise.all(clients.flatMap((client) => [raise(client), raise(client), raise(client)]));
  for (let kill = 0; kill < 4; kill++) {
    await pause(600);
    const victim = kill % 2 === 0 ? cluster.leader() : cluster.servers[kill % 3]!;
    await victim.kill();
    await pause(300);
    victim.start();
    await cluster.ready();
  }
  going = false;
  await load;
  // The first reply to each, and each only once: 1, 2, 3 ... without a gap.
  expect(replies.sort((a, b) => a - b)).toEqual(Array.from({ length: replies.length }, (_, i) => i + 1));
  expect(redisCli(cluster.servers[0]!.port, 'get', 'counter').output).toBe(`${replies.length}\n`);
  await Promise.all(clients.map((client) => client.close()));
  await cluster.agree();
}, 90_000);

test('a transaction that moves money happens whole and once, whoever was killed meanwhile', async () => {
  cluster = await ProcessCluster.start(3);
  const client = await connect({ nodes: addresses(), deadlineMs: 30_000 });
  let going = true;
  let moved = 0;
  const move = async (): Promise<void> => {
    while (going) {
      const [left, right] = (await client.transaction([
        ['DECRBY', 'left', 3],
        ['INCRBY', 'right', 3],
      ])) as number[];
      expect(left! + right!).toBe(0);
      moved += 3;
    }
  };
  const load = Promise.all([move(), move(), move(), move()]);
  for (let kill = 0; kill < 2; kill++) {
    await pause(600);
    const leader = cluster.leader();
    await leader.kill();
    await pause(300);
    leader.start();
    await cluster.ready();
  }
  going = false;
  await load;
  expect(redisCli(cluster.servers[0]!.port, 'mget', 'left', 'right').output).toBe(`${-moved}\n${moved}\n`);
  await expect(client.transaction([['KEYS', '*']])).rejects.toThrow('no reply that could be given again');
  await client.close();
  await cluster.agree();
}, 60_000);

test('a write sent again by hand, to another server and after a restart of all, gives the first reply', async () => {
  cluster = await ProcessCluster.start(3);
  const ports = cluster.servers.map(({ port }) => port);
  const session = redisCli(ports[0]!, 'hstore.session', 'open').output.trim();
  const again = (port: number) =>
    redisCli(port, 'hstore.do', session, '1', '0', 'append', 'list', 'x').output.trim();
  expect(again(ports[0]!)).toBe('1');
  expect(again(ports[1]!)).toBe('1');
  await Promise.all(cluster.servers.map((server) => server.kill()));
  for (const server of cluster.servers) server.start();
  await cluster.ready();
  expect(again(ports[2]!)).toBe('1');
  expect(redisCli(ports[0]!, 'get', 'list').output).toBe('x\n');
  expect(redisCli(ports[0]!, 'hstore.do', session, '2', '1', 'append', 'list', 'y').output).toBe('2\n');
  expect(redisCli(ports[1]!, 'hstore.do', session, '1', '0', 'append', 'list', 'x').output).toMatch(
    /^STALESEQ /,
  );
  expect(redisCli(ports[1]!, 'hstore.session', 'close', session).output).toBe('1\n');
  expect(again(ports[0]!)).toMatch(/^SESSIONEXPIRED /);
}, 60_000);

test('without a majority a write fails at its deadline and says what is known', async () => {
  cluster = await ProcessCluster.start(3);
  const client = await connect({ nodes: addresses(), deadlineMs: 1500 });
  await client.set('k', 'v');
  const [first, second] = cluster.servers;
  await Promise.all([first!.kill(), second!.kill()]);
  const failed = await client.call('INCR', 'n').catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(DeadlineError);
  expect(['not-done', 'unknown']).toContain((failed as DeadlineError).outcome);
  const read = await client.call('GET', 'k').catch((error: unknown) => error);
  expect((read as DeadlineError).outcome).toBe('not-done');
  first!.start();
  await cluster.ready();
  expect(await client.get('k')).toBe('v');
  await client.close();
}, 60_000);

test('commands of one connection are refused, and mistakes come back as Redis says them', async () => {
  cluster = await ProcessCluster.start(1);
  const client = await connect({ nodes: addresses(), db: 3 });
  await expect(client.call('MULTI')).rejects.toThrow('belongs to one connection');
  await expect(client.call('INCR', 'a', 'b')).rejects.toThrow("wrong number of arguments for 'incr' command");
  await client.set('bytes', Buffer.from([0, 255]));
  expect(await client.callBuffer('GET', 'bytes')).toEqual(Buffer.from([0, 255]));
  expect(await client.del('bytes')).toBe(1);
  expect(await client.incrBy('n', 5)).toBe(5);
  expect(redisCli(cluster.servers[0]!.port, '-n', '3', 'get', 'n').output).toBe('5\n');
  await client.close();
  await expect(client.get('n')).rejects.toThrow('the client is closed');
}, 30_000);
