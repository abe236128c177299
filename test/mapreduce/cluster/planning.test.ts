/** What a submitted job reads: the same files by the same names as on one machine, cut for many threads. */
import { Buffer } from 'node:buffer';
import { expect, test } from 'vitest';
import { type PlanMission, type PlanOutcome, runPlanner } from '../../../src/mapreduce/cluster/planning.ts';
import { MemoryFiles } from '../memory-files.ts';

const WC = { kind: 'builtin', name: 'wc' } as const;

function plan(files: MemoryFiles, mission: Partial<PlanMission>): Promise<PlanOutcome> {
  const data: PlanMission = {
    ...{ job: WC, args: {}, inputs: [], workingDirectory: undefined, splitBytes: undefined, threads: 6 },
    ...mission,
  };
  return new Promise((resolve) => {
    const post = (message: unknown) => resolve(message as PlanOutcome);
    runPlanner({ data, post, onMessage: () => {} }, files);
  });
}

function filesAt(directory: string): MemoryFiles {
  const files = new MemoryFiles();
  for (const name of ['b.txt', 'a.txt', 'sub/c.txt'])
    files.put(`${directory}/${name}`, Buffer.from(`in ${name}`));
  for (const each of [directory, `${directory}/sub`]) files.makeDirectory(each);
  return files;
}

test('relative names begin in the directory of the client, and records call files by them', async () => {
  // A directory that looks like a pattern.
  const files = filesAt('/home/[x]');
  const outcome = await plan(files, {
    inputs: ['b.txt', 'sub', 'sub/*.txt', 'a.txt'],
    workingDirectory: '/home/[x]',
  });
  if (outcome.outcome !== 'planned') throw new Error(outcome.message);
  expect(outcome.plan.splits.map((split) => split.kind === 'range' && [split.path, split.name])).toEqual([
    ['/home/[x]/b.txt', 'b.txt'],
    ['/home/[x]/sub/c.txt', 'sub/c.txt'],
    ['/home/[x]/sub/c.txt', 'sub/c.txt'],
    ['/home/[x]/a.txt', 'a.txt'],
  ]);
  expect(outcome.plan).toMatchObject({ files: 4, bytes: 2 * 8 + 2 * 12 });
});

test('absolute names stay what they are', async () => {
  const outcome = await plan(filesAt('/in'), { inputs: ['/in/a.txt'], workingDirectory: '/home/x' });
  if (outcome.outcome !== 'planned') throw new Error(outcome.message);
  expect(outcome.plan.splits).toMatchObject([{ path: '/in/a.txt' }]);
  expect(outcome.plan.splits[0]).not.toHaveProperty('name');
});

test('a large file is cut into some pieces for each thread, of 4 MiB at least', async () => {
  const files = new MemoryFiles();
  files.put('/in', Buffer.alloc(120 << 20, 'a b '));
  const outcome = await plan(files, { inputs: ['/in'] });
  if (outcome.outcome !== 'planned') throw new Error(outcome.message);
  expect(outcome.plan.splits).toHaveLength(24);
  files.put('/in', Buffer.alloc(9 << 20, 'a b '));
  const small = await plan(files, { inputs: ['/in'] });
  expect(small).toMatchObject({ plan: { splits: [{}, {}, {}] } });
});

test.each([
  [['/in/none.txt'], 'there is no file /in/none.txt'],
  [['/in/*.gz'], 'nothing matches /in/*.gz'],
])('what is not there is refused: %j', async (inputs, message) => {
  expect(await plan(filesAt('/in'), { inputs })).toEqual({ outcome: 'refused', message });
});

test('too many pieces are refused, with what to do', async () => {
  const files = new MemoryFiles();
  files.put('/in', Buffer.alloc(11 << 20));
  const outcome = await plan(files, { inputs: ['/in'], splitBytes: 1024 });
  expect(outcome).toMatchObject({
    outcome: 'refused',
    message: expect.stringContaining('over 10000: choose a larger split'),
  });
});
