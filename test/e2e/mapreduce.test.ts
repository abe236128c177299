/**
 * Jobs across real processes that are killed and stopped, in every phase: workers, servers that hold map outputs, and the
 * leader, which coordinates. Whatever happens, the result is that of a naive program, each word counted once.
 */
import { afterEach, expect, test } from 'vitest';
import { type JobState, JobWorld } from './jobs.ts';
import { connect, info, pause, redisCli, type ServerProcess } from './processes.ts';

let world: JobWorld;
afterEach(() => world.end());

const isMapping = ({ 'maps-done': done }: JobState) => Number(done) >= 3;
const isReducing = ({ phase, 'reduces-running': running }: JobState) =>
  phase === 'reduce' && Number(running) > 0;

function followers(): ServerProcess[] {
  const leader = world.cluster.leader();
  return world.cluster.servers.filter((server) => server !== leader);
}

async function expectDone(job: number): Promise<void> {
  const state = await world.ends(job);
  expect(state, JSON.stringify(state)).toMatchObject({ state: 'done' });
  expect(world.result(job)).toBe(world.expected);
}

/** Each server has what the others have, and no server keeps anything of a job that is over. */
async function expectClean(job: number): Promise<void> {
  await world.cluster.ready();
  expect(redisCli(world.anyone.port, 'mr.purge', `${job}`).output).toBe('1\n');
  await world.cluster.agree();
}

test('a job counts what a naive program counts, whichever server is asked', async () => {
  world = await JobWorld.start(3);
  for (const server of world.cluster.servers) {
    const job = world.submitSlow({ mapMs: 0, reduceMs: 0 }, server);
    expect((await world.ends(job)).state).toBe('done');
    for (const other of world.cluster.servers) expect(world.result(job, other)).toBe(world.expected);
    await expectClean(job);
  }
}, 60_000);

test.each([
  ['while it maps', isMapping],
  ['that holds outputs of map tasks, while others reduce', isReducing],
] as const)(
  'a worker that is killed %s is done without',
  async (_name, when) => {
    world = await JobWorld.start(3);
    const job = world.submitSlow({ mapMs: 400, reduceMs: 1000 });
    await world.reaches(job, when);
    const [worker] = followers();
    await worker!.kill();
    await expectDone(job);
    worker!.start();
    await expectClean(job);
  },
  60_000,
);

test.each([
  ['while servers map', isMapping],
  ['while servers reduce', isReducing],
] as const)(
  'the leader that is killed %s is replaced as the coordinator',
  async (_name, when) => {
    world = await JobWorld.start(3);
    const job = world.submitSlow({ mapMs: 400, reduceMs: 1000 });
    await world.reaches(job, when);
    const leader = world.cluster.leader();
    await leader.kill();
    await expectDone(job);
    leader.start();
    await expectClean(job);
  },
  90_000,
);

test('all servers are killed in the middle of a job, and go on with it when they are back', async () => {
  world = await JobWorld.start(3);
  const job = world.submitSlow({ mapMs: 400, reduceMs: 500 });
  await world.reaches(job, isMapping);
  await Promise.all(world.cluster.servers.map((server) => server.kill()));
  for (const server of world.cluster.servers) server.start();
  await world.cluster.ready();
  await expectDone(job);
  await expectClean(job);
}, 90_000);

test('a worker that is stopped for long holds nobody up, and what it brings late counts for nothing', async () => {
  world = await JobWorld.start(3);
  const job = world.submitSlow({ mapMs: 400, reduceMs: 500 });
  await world.reaches(job, isMapping);
  const [worker] = followers();
  worker!.signal('SIGSTOP');
  world.stopped = worker;
  await expectDone(job);
  worker!.signal('SIGCONT');
  world.stopped = undefined;
  await pause(1000);
  expect(world.result(job, worker)).toBe(world.expected);
  await expectClean(job);
}, 90_000);

test('servers keep their leader while a job has all their threads busy', async () => {
  world = await JobWorld.start(3);
  const term = info(world.anyone.port).raft_term;
  const job = world.submit([
    'wc',
    'FILES',
    '40',
    ...Array.from({ length: 40 }, (_, i) => world.files[i % 12]!),
  ]);
  for (let i = 0; i < 20; i++) expect(redisCli(world.anyone.port, 'set', `k${i}`, 'v').output).toBe('OK\n');
  expect((await world.ends(job)).state).toBe('done');
  expect(info(world.anyone.port).raft_term).toBe(term);
}, 60_000);

test('stored keys are read as they were at one moment, while they change', async () => {
  world = await JobWorld.start(3);
  const [accounts, coins] = [50, 2000];
  const port = world.cluster.leader().port;
  // A connection that waits does nothing else.
  const [client, waiting] = [connect(port), connect(port)];
  const held = Array.from({ length: accounts }, () => coins / accounts);
  const set = (i: number) => ['set', `account:${i}`, 'coin '.repeat(held[i]!)] as const;
  await client.multi(held.map((_, i) => [...set(i)])).exec();
  let isOver = false;
  let transfers = 0;
  const transferring = (async () => {
    for (let i = 0; !isOver; i = (i + 7) % accounts, transfers++) {
      const to = (i * 3 + transfers) % accounts;
      if (held[i] === 0 || to === i) continue;
      held[i]!--;
      held[to]!++;
      await client.multi([[...set(i)], [...set(to)]]).exec();
    }
  })();
  for (let round = 0; round < 5; round++) {
    const job = world.submit(['wc', 'KEYS', 'account:*', 'REDUCES', '2']);
    while ((await waiting.call('mr.wait', `${job}`, '1000')) === null);
    expect(world.result(job)).toBe(`coin: ${coins}\n`);
  }
  isOver = true;
  await transferring;
  for (const each of [client, waiting]) each.disconnect();
  expect(transfers).toBeGreaterThan(50);
}, 60_000);

test('a result becomes keys, all at once', async () => {
  world = await JobWorld.start(3);
  const job = world.submit(['wc', 'FILES', '1', world.files[0]!, 'OUT', 'KEYS', 'count:']);
  expect((await world.ends(job)).state).toBe('done');
  const { port } = world.anyone;
  expect(redisCli(port, 'get', 'count:pause').output).toBe('1\n');
  const keys = redisCli(port, 'keys', 'count:*').output.trim().split('\n');
  expect(redisCli(port, 'dbsize').output).toBe(`${keys.length}\n`);
  expect(redisCli(port, 'mr.result', `${job}`).output).toContain('has become keys');
}, 30_000);

test('code of the user runs where the operator has put it, and nowhere else', async () => {
  world = await JobWorld.start(3);
  const { port } = world.anyone;
  const [file] = world.files;
  expect(redisCli(port, 'mr.submit', 'none.js', 'FILES', '1', file!).output).toContain('there is no');
  const other = ['SHA256', 'a'.repeat(64)];
  expect(redisCli(port, 'mr.submit', 'slow.js', 'FILES', '1', file!, ...other).output).toContain(
    'is not the job that you have',
  );
  await world.end();
  world = await JobWorld.start(1, ['--mr-modules', '']);
  expect(redisCli(world.anyone.port, 'mr.submit', 'slow.js', 'FILES', '1', file!).output).toContain(
    'start it with --mr-modules DIR',
  );
}, 30_000);
