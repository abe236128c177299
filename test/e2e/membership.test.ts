/**
 * Members that come and go, on real processes. Names of RedisRaft's tests, where these are alike, stand in brackets.
 */
import { rmSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { CounterLoad, ListLoad } from './load.ts';
import { info, ProcessCluster, pause, redisCli, type ServerProcess, until } from './processes.ts';

let cluster: ProcessCluster;
afterEach(() => cluster.end());

const voters = (server: ServerProcess) => (info(server.port).raft_voters ?? '').split(',').sort().join();

/** All of them say that these vote. */
async function vote(names: string, servers: readonly ServerProcess[] = cluster.servers): Promise<void> {
  await until(() => servers.every((server) => voters(server) === names), 20_000);
}

const nodeLine = (at: ServerProcess, port: number) =>
  redisCli(at.port, 'cluster', 'nodes')
    .output.split('\n')
    .find((line) => line.includes(`:${port}@`));

async function leave(name: string, through: ServerProcess): Promise<void> {
  expect(redisCli(through.port, 'cluster', 'forget', name).output).toBe('OK\n');
  await cluster.remove(name);
}

test('a cluster grows from 1 to 3 to 5 servers and shrinks to 3 under load, its leaders leaving: nothing is lost [add_node, remove_node]', async () => {
  cluster = await ProcessCluster.start(1);
  const first = cluster.servers[0]!;
  expect(redisCli(first.port, 'set', 'before', 'it grew').output).toBe('OK\n');
  const counter = new CounterLoad([first.port, first.port]);
  const n2 = await cluster.add('n2', ['--join', `127.0.0.1:${first.port}`]);
  const n3 = await cluster.add('n3', ['--join', `127.0.0.1:${first.port}`]);
  await vote('n1,n2,n3');
  const lists = new ListLoad([n2.port, n3.port]);
  // Two that were started alone, and are asked in by any member.
  const n4 = await cluster.add('n4');
  expect(redisCli(n3.port, 'cluster', 'meet', '127.0.0.1', `${n4.port}`).output).toBe('OK\n');
  await vote('n1,n2,n3,n4');
  const n5 = await cluster.add('n5');
  expect(redisCli(n2.port, 'cluster', 'meet', '127.0.0.1', `${n5.port}`).output).toBe('OK\n');
  await vote('n1,n2,n3,n4,n5');
  expect(redisCli(n5.port, 'get', 'before').output).toBe('it grew\n');
  await pause(300);
  // The clients of n2 and n3 stay; n1, where counters are raised, goes last.
  await leave('n4', n2);
  await vote('n1,n2,n3,n5');
  await counter.stop();
  const leader = cluster.leader();
  const other = cluster.servers.find((server) => server !== leader && server !== first)!;
  if (leader !== first) redisCli(first.port, 'cluster', 'failover');
  await until(() => info(first.port).raft_role === 'leader', 10_000);
  expect(redisCli(other.port, 'cluster', 'forget', 'n1').output).toBe('OK\n');
  const left = cluster.servers.filter((server) => server !== first);
  await vote('n2,n3,n5', left);
  await pause(500);
  await lists.stop();
  counter.check(Number(redisCli(n5.port, 'get', 'counter').output));
  await cluster.remove('n1');
  for (const server of cluster.servers) lists.check(server.port);
  await cluster.agree();
}, 120_000);

test('MEET, FORGET and FAILOVER that make no sense are refused, each with its own error, and change nothing', async () => {
  cluster = await ProcessCluster.start(2);
  const [a, b] = cluster.servers as [ServerProcess, ServerProcess];
  const configuration = () => redisCli(a.port, 'cluster', 'nodes').output.replace(/ \d+ \d+ connected/g, '');
  const before = configuration();
  const refused = (at: ServerProcess, ...words: string[]) =>
    redisCli(at.port, 'cluster', ...words).output.trim();
  const meet = (port: number, ...more: string[]) => refused(a, 'meet', '127.0.0.1', `${port}`, ...more);
  expect(meet(cluster.freePort)).toMatch(
    /^ERR 127\.0\.0\.1:\d+ cannot be reached at its port for servers, \d+: .*ECONNREFUSED/,
  );
  expect(meet(b.port)).toBe(`ERR 127.0.0.1:${b.port} is a member already: n2`);
  expect(refused(a, 'meet', 'localhost', `${a.port}`)).toBe(`ERR localhost:${a.port} is this server itself`);
  expect(refused(a, 'meet', 'localhost', `${b.port}`)).toBe(
    `ERR localhost:${b.port} is a member already: n2`,
  );
  expect(meet(99_999)).toBe('ERR Invalid base port specified: 99999');
  expect(meet(a.port, 'x')).toBe('ERR Invalid bus port specified: x');
  expect(refused(a, 'meet', 'a b', '1')).toBe('ERR Invalid node address specified: a b:1');
  const alone = await cluster.add('n3');
  redisCli(alone.port, 'set', 'mine', '1');
  expect(meet(alone.port)).toBe(
    `ERR 127.0.0.1:${alone.port} has data of its own, which would be lost: only an empty server can be let in`,
  );
  expect(redisCli(alone.port, 'get', 'mine').output).toBe('1\n');
  // It is the only voter of its own cluster.
  expect(refused(alone, 'forget', 'n3')).toBe(
    'ERR n3 is the last voter of its cluster, and cannot be removed',
  );
  const namesake = await cluster.add('n2');
  expect(meet(namesake.port)).toMatch(/^ERR there is a member n2 already: give the new server another name/);
  const friend = await cluster.add('n4', ['--join', `127.0.0.1:${alone.port}`]);
  await until(() => voters(alone) === 'n3,n4', 10_000);
  expect(meet(friend.port)).toMatch(/^ERR 127\.0\.0\.1:\d+ is a member of another cluster \([0-9a-f]{40}\)$/);
  expect(refused(a, 'forget', 'nobody')).toBe('ERR Unknown node nobody');
  expect(refused(a, 'forget', '0'.repeat(40))).toBe(`ERR Unknown node ${'0'.repeat(40)}`);
  const leader = [a, b].find((server) => info(server.port).raft_role === 'leader')!;
  expect(refused(leader, 'failover')).toBe('ERR You should send CLUSTER FAILOVER to a replica');
  expect(refused(a, 'failover', 'takeover')).toMatch(/^ERR TAKEOVER is not supported/);
  expect(refused(a, 'failover', 'now')).toBe('ERR syntax error');
  expect(configuration()).toBe(before);
  await cluster.remove('n3');
  await cluster.remove('n4');
  await cluster.remove(namesake);
}, 90_000);

test('a server that has moved to another address is found again, by servers and by clients', async () => {
  cluster = await ProcessCluster.start(3);
  const [a, , c] = cluster.servers as [ServerProcess, ServerProcess, ServerProcess];
  const oldPort = c.port;
  redisCli(a.port, 'set', 'k', 'v');
  c.signal('SIGTERM');
  await c.exit();
  redisCli(a.port, 'set', 'k', 'w');
  const moved = cluster.move(c);
  moved.start();
  await until(() => redisCli(moved.port, 'get', 'k').output === 'w\n', 20_000);
  await until(() => nodeLine(a, moved.port)?.includes(' connected') === true, 20_000);
  expect(nodeLine(a, oldPort)).toBeUndefined();
  expect(redisCli(a.port, 'cluster', 'slots').output).toContain(`\n${moved.port}\n`);
  // Nobody needs to be told a second time.
  moved.signal('SIGTERM');
  await moved.exit();
  moved.start();
  await cluster.ready();
  await cluster.agree();
}, 90_000);

test('a removed server says so, disturbs nobody, and is refused until it is emptied [removed_node_remains_dead, remove_and_rejoin_same_id_fails]', async () => {
  cluster = await ProcessCluster.start(3);
  const leader = cluster.leader();
  const victim = cluster.servers.find((server) => server !== leader)!;
  const others = cluster.servers.filter((server) => server !== victim);
  const { raft_term: termBefore } = info(leader.port);
  const id = redisCli(victim.port, 'cluster', 'myid').output.trim();
  // It is away when it is removed, and learns of it when it comes back.
  await victim.kill();
  expect(redisCli(leader.port, 'cluster', 'forget', id).output).toBe('OK\n');
  victim.start();
  await until(
    () => redisCli(victim.port, 'get', 'x').output.startsWith('CLUSTERDOWN This server was removed'),
    20_000,
  );
  expect(redisCli(victim.port, 'ping').output).toBe('PONG\n');
  await pause(4000);
  expect(info(leader.port)).toMatchObject({ raft_term: termBefore, raft_role: 'leader' });
  victim.signal('SIGTERM');
  expect(await victim.exit()).toBe(0);
  victim.start();
  expect(await victim.exit()).toBe(1);
  expect(victim.output).toContain('was removed from its cluster, and its id is never used again');
  rmSync(victim.directory, { recursive: true });
  const again = await cluster.add(victim.name, ['--join', `127.0.0.1:${leader.port}`]);
  await vote('n1,n2,n3', [...others, again]);
  expect(redisCli(again.port, 'cluster', 'myid').output.trim()).not.toBe(id);
  victim.forgetEnd();
  cluster.drop(victim);
  await cluster.agree();
}, 90_000);

test('a founder whose directory was emptied is taken for nobody, and comes back under a new id [same id, wiped disk]', async () => {
  cluster = await ProcessCluster.start(3);
  const leader = cluster.leader();
  const victim = cluster.servers.find((server) => server !== leader)!;
  redisCli(leader.port, 'set', 'k', 'v');
  await victim.kill();
  rmSync(victim.directory, { recursive: true });
  // With the flags that founded it: its id would be the same.
  victim.start();
  await until(() => victim.output.includes('its data are lost'), 20_000);
  expect(info(leader.port).raft_role).toBe('leader');
  await victim.kill();
  rmSync(victim.directory, { recursive: true });
  expect(redisCli(leader.port, 'cluster', 'forget', victim.name).output).toBe('OK\n');
  const again = await cluster.add(victim.name, ['--join', `127.0.0.1:${leader.port}`]);
  cluster.drop(victim);
  await vote('n1,n2,n3');
  expect(redisCli(again.port, 'get', 'k').output).toBe('v\n');
  await cluster.agree();
}, 90_000);

test('FAILOVER makes the server that is asked the leader, and commands under way wait for it', async () => {
  cluster = await ProcessCluster.start(3);
  const counter = new CounterLoad(cluster.servers.map(({ port }) => port));
  for (let round = 0; round < 4; round++) {
    const leader = cluster.leader();
    const next = cluster.servers.find((server) => server !== leader)!;
    expect(redisCli(next.port, 'cluster', 'failover', ...(round === 3 ? ['force'] : [])).output).toBe('OK\n');
    expect(info(next.port).raft_role).toBe('leader');
    await pause(300);
  }
  await counter.stop();
  counter.check(Number(redisCli(cluster.servers[0]!.port, 'get', 'counter').output));
  await cluster.agree();
}, 60_000);

test('from a copy of one directory a new cluster is founded, and others join it', async () => {
  cluster = await ProcessCluster.start(3);
  const [a, b] = cluster.servers as [ServerProcess, ServerProcess, ServerProcess];
  for (let i = 0; i < 100; i++) redisCli(a.port, 'set', `k${i}`, `v${i}`);
  await cluster.agree();
  b.signal('SIGTERM');
  await b.exit();
  const restored = cluster.restore(b, ['--force-new-cluster', 'yes']);
  restored.start();
  await until(() => redisCli(restored.port, 'get', 'k99').output === 'v99\n', 20_000);
  expect(voters(restored)).toBe(b.name);
  // The old cluster does not know it, and goes on.
  expect(redisCli(a.port, 'set', 'k1', 'old cluster').output).toBe('OK\n');
  expect(redisCli(restored.port, 'set', 'k1', 'new cluster').output).toBe('OK\n');
  const joined = await cluster.add('m2', ['--join', `127.0.0.1:${restored.port}`]);
  await until(() => redisCli(joined.port, 'get', 'k1').output === 'new cluster\n', 20_000);
  b.start();
  await until(() => redisCli(b.port, 'get', 'k1').output === 'old cluster\n', 20_000);
}, 90_000);
