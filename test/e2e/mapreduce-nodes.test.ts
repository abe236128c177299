/** `hstore mapreduce ... --nodes`: the command line against a cluster of processes, as people use it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { JobWorld, runProgram } from './jobs.ts';
import { PROGRAM, redisCli, until } from './processes.ts';

let world: JobWorld;
beforeAll(async () => {
  world = await JobWorld.start(3);
}, 60_000);
afterAll(() => world.end());

const nodes = () => ['--nodes', world.cluster.servers.map(({ port }) => `127.0.0.1:${port}`).join(',')];
const run = (...args: string[]) => runProgram(PROGRAM, args);

describe('the output is that of this machine, byte for byte,', () => {
  test.each([
    ['of wc', ['wc']],
    ['of wc by count', ['wc', '--sort', 'count', '--top', '7']],
    ['of ii', ['ii', '--reduces', '4']],
    ['of grep', ['grep', 'a.* z']],
    ['of sort', ['sort', '--split', '10kb']],
  ])('%s', async (_name, args) => {
    const here = await run(...args, world.inputs);
    expect(here.status).toBe(0);
    const there = await run(...args, world.inputs, ...nodes());
    expect(there.stderr).toMatch(/map task/);
    expect(there).toMatchObject({ status: 0, stdout: here.stdout });
  });
}, 60_000);

test('--out writes the parts and _SUCCESS', async () => {
  const out = join(world.directory, 'out');
  expect((await run('wc', world.inputs, '--reduces', '3', '--out', out, ...nodes())).status).toBe(0);
  expect(readdirSync(out).sort()).toEqual(['_SUCCESS', 'part-r-00000', 'part-r-00001', 'part-r-00002']);
  const again = await run('wc', world.inputs, '--out', out, ...nodes());
  expect(again).toMatchObject({ status: 2, stderr: expect.stringContaining('is not empty') });
  const here = join(world.directory, 'out-here');
  await run('wc', world.inputs, '--reduces', '3', '--out', here);
  for (const name of readdirSync(out)) {
    expect(readFileSync(join(out, name), 'utf8')).toBe(readFileSync(join(here, name), 'utf8'));
  }
}, 30_000);

test('without input all string values are read', async () => {
  const { port } = world.anyone;
  redisCli(port, 'mset', 'a', 'one two', 'b', 'two');
  expect(await run('wc', ...nodes())).toMatchObject({ status: 0, stdout: 'one: 1\ntwo: 2\n' });
  expect(await run('wc', 'keys:b', '--out', 'keys:n:', ...nodes())).toMatchObject({ status: 0, stdout: '' });
  expect(redisCli(port, 'get', 'n:two').output).toBe('1\n');
});

test('a job that fails says why and where, and ends with 1', async () => {
  const module = join(world.modules, 'fails.js');
  writeFileSync(
    module,
    'export function map({ text }) { if (text.includes("pause")) throw new Error("no pause"); }\n',
  );
  const { status, stderr } = await run(module, world.files[3]!, ...nodes());
  expect(stderr).toContain('no pause');
  expect(stderr).toContain(world.files[3]);
  expect(status).toBe(1);
});

test.each([
  [['wc', '/no/such/file'], 'there is no file /no/such/file'],
  [['wc', 'keys:*', 'file'], 'keys:'],
  [['wc', 'x', '--workers', '2'], '--workers'],
  [['wc', 'x', '--reduces', '10001'], 'reduces'],
])('%j is wrong usage', async (args, message) => {
  const { status, stderr } = await run(...args, ...nodes());
  expect(stderr).toContain(message);
  expect(status).toBe(2);
});

test('Ctrl-C cancels the job in the cluster, and leaves nothing of it', async () => {
  const slow = join(world.modules, 'slow.js');
  const args = [slow, world.inputs, '--arg', 'mapMs=2000', ...nodes()];
  const child = spawn(process.execPath, [PROGRAM, 'mapreduce', ...args], { stdio: 'ignore' });
  const { port } = world.anyone;
  await until(() => redisCli(port, 'mr.list', 'state', 'active').output.includes('slow.js'), 20_000);
  child.kill('SIGINT');
  const [status] = await once(child, 'exit');
  expect(status).toBe(130);
  expect(redisCli(port, 'mr.list', 'state', 'active').output).toBe('\n');
  await until(() => world.cluster.servers.every(({ directory }) => leftIn(directory).length === 0), 20_000);
}, 60_000);

test('the program goes on when the server that it talks to is killed, which leads', async () => {
  const leader = world.cluster.leader();
  const others = world.cluster.servers.filter((server) => server !== leader);
  const order = [leader, ...others].map(({ port }) => `127.0.0.1:${port}`).join(',');
  const slow = join(world.modules, 'slow.js');
  const running = run(slow, world.inputs, '--arg', 'mapMs=500', '--nodes', order);
  await until(
    () => redisCli(others[0]!.port, 'mr.list', 'state', 'active').output.includes('slow.js'),
    20_000,
  );
  await leader.kill();
  expect(await running).toMatchObject({ status: 0, stdout: world.expected });
  leader.start();
  await world.cluster.ready();
}, 90_000);

function leftIn(directory: string): string[] {
  return readdirSync(join(directory, 'mapreduce')).filter((name) => name.startsWith('job-'));
}
