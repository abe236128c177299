/**
 * Data directories that are damaged, or of another version: the server refuses to start, says what is wrong and what to do,
 * and the rest of the cluster goes on; `--check-dir` says the same; and who does what they say has a whole cluster again.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { damageLog, setLogVersion, setStoreFormat } from './damage.ts';
import { info, PROGRAM, ProcessCluster, redisCli, type ServerProcess, until } from './processes.ts';

let cluster: ProcessCluster;
afterEach(() => cluster.end());

function checkDir(directory: string, ...more: string[]): { output: string; status: number | null } {
  const args = [PROGRAM, 'server', '--check-dir', directory, ...more];
  const done = spawnSync(process.execPath, args, { timeout: 20_000 });
  return { output: done.stdout.toString() + done.stderr.toString(), status: done.status };
}

/** It does not start, with this text, and that is no fall but a refusal. */
async function refuses(server: ServerProcess, text: RegExp): Promise<void> {
  const { length } = server.output;
  server.start();
  expect(await server.exit()).toBe(1);
  expect(server.output.slice(length)).toMatch(text);
  server.forgetEnd();
}

test('--check-dir tells a whole directory from a damaged one, and from one that it cannot check', async () => {
  cluster = await ProcessCluster.start(1);
  const [server] = cluster.servers as [ServerProcess];
  const { directory } = server;
  for (let i = 0; i < 20; i++) redisCli(server.port, 'set', `key${i}`, `a-value-to-be-found-${i}`);
  expect(redisCli(server.port, 'save').output).toBe('OK\n');
  expect(checkDir(directory)).toEqual({
    output: `hstore: the data directory ${directory} is in use by a running server: stop it first\n`,
    status: 2,
  });
  await server.kill();
  const whole = checkDir(directory);
  expect(whole.output).toMatch(/^data directory .*\nidentity +server n1, [\s\S]*\n +20 keys, [\s\S]*\nok\n$/);
  expect(whole.status).toBe(0);
  damageLog(directory, 'a-value-to-be-found-7');
  const damaged = checkDir(directory);
  expect(damaged.output).toMatch(/\n1 problem:\n .*\.wal is damaged at byte \d+: .*\n +what to do: .*\n$/);
  expect(damaged.status).toBe(1);
  expect(checkDir(directory, '--port', '1').status).toBe(2);
  expect(checkDir(`${directory}-not`)).toEqual({
    output: `hstore: there is no directory ${directory}-not\n`,
    status: 2,
  });
}, 60_000);

test('log, store and identity of another version are refused, each with its own text, and are not harmed', async () => {
  cluster = await ProcessCluster.start(1);
  const [server] = cluster.servers as [ServerProcess];
  const { directory, port } = server;
  redisCli(port, 'set', 'k', 'v');
  expect(redisCli(port, 'save').output).toBe('OK\n');
  await server.kill();
  const [, wal] = /format (\d+), \d+ segments/.exec(checkDir(directory).output)!;
  setLogVersion(directory, 99);
  await refuses(
    server,
    new RegExp(`000000000001\\.wal is of log format 99, this program reads format ${wal}`),
  );
  setLogVersion(directory, Number(wal));
  const [, store] = /store +format (\d+)/.exec(checkDir(directory).output)!;
  await setStoreFormat(directory, 99);
  await refuses(
    server,
    new RegExp(`the store was written in format 99, this server knows format ${store} only`),
  );
  await setStoreFormat(directory, Number(store));
  const identity = join(directory, 'identity');
  const text = readFileSync(identity, 'utf8');
  writeFileSync(identity, text.replace(/format \d+/, 'format 99'));
  await refuses(server, /identity has format 99, and this hstore knows formats up to \d+/);
  writeFileSync(identity, text);
  server.start();
  await cluster.ready();
  expect(redisCli(port, 'get', 'k').output).toBe('v\n');
}, 60_000);

test('a server with a damaged log is replaced as it advises, and the cluster is whole again [corrupt_log]', async () => {
  cluster = await ProcessCluster.start(3);
  const leader = cluster.leader();
  const victim = cluster.servers.find((server) => server !== leader)!;
  const id = redisCli(victim.port, 'cluster', 'myid').output.trim();
  for (let i = 0; i < 20; i++) redisCli(leader.port, 'set', `key${i}`, `a-value-to-be-found-${i}`);
  await cluster.agree();
  await victim.kill();
  damageLog(victim.directory, 'a-value-to-be-found-3');
  await refuses(victim, /\.wal is damaged at byte \d+: .*CLUSTER FORGET .*empty its directory.*--join/);
  expect(checkDir(victim.directory)).toMatchObject({ status: 1 });
  expect(redisCli(leader.port, 'set', 'the rest', 'goes on').output).toBe('OK\n');
  expect(redisCli(leader.port, 'cluster', 'forget', victim.name).output).toBe('OK\n');
  rmSync(victim.directory, { recursive: true });
  cluster.drop(victim);
  const again = await cluster.add(victim.name, ['--join', `127.0.0.1:${leader.port}`]);
  await until(() => info(leader.port).raft_voters!.split(',').sort().join() === 'n1,n2,n3', 20_000);
  expect(redisCli(again.port, 'cluster', 'myid').output.trim()).not.toBe(id);
  expect(redisCli(again.port, 'get', 'key3').output).toBe('a-value-to-be-found-3\n');
  await cluster.agree();
}, 60_000);
