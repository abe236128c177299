/**
 * Jobs across real processes that are killed and stopped, in every phase: workers, servers that hold map outputs, and the
 * leader, which coordinates. Whatever happens, the result is that of a naive program, each word counted once.
 */
import { afterEach, expect, test } from 'vitest';
import { type JobState, JobWorld } from './jobs.ts';
import { info, pause, redisCli, type ServerProcess } from './processes.ts';

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
