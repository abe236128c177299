/**
 * Connections that end in every way, clients that do not read what they asked for and clients that say nothing: on a real
 * process, and nothing of them is left.
 */
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { Talk } from '../compat/talk.ts';
import { info, ProcessCluster, redisCli, until } from './processes.ts';

let cluster: ProcessCluster;
let port = 0;
beforeAll(async () => {
  cluster = await ProcessCluster.start(1);
  port = cluster.servers[0]!.port;
}, 60_000);
afterAll(() => cluster.end());

async function talk(): Promise<Talk> {
  const one = await Talk.start(port);
  onTestFinished(() => one.destroy());
  return one;
}

const list = () => redisCli(port, 'client', 'list').output;

test('a client that monitors and does not read is disconnected at the limit of its class', async () => {
  redisCli(port, 'config', 'set', 'client-output-buffer-limit', 'pubsub 4mb 0 0');
  const [reader, sleeper, writer] = [await talk(), await talk(), await talk()];
  await reader.ask('MONITOR');
  await sleeper.ask('MONITOR');
  sleeper.socket.pause();
  const value = 'x'.repeat(1 << 20);
  let sent = 0;
  while ((list().match(/ flags=O /g) ?? []).length === 2) {
    // Far more than the operating system takes between the two.
    expect(++sent).toBeLessThan(100);
    await writer.ask('ECHO', value);
    await reader.replies(1);
  }
  expect(list().match(/ flags=O /g)).toHaveLength(1);
  await writer.ask('ECHO', 'after');
  expect((await reader.replies(1))[0]).toMatch(/"ECHO" "after"\r\n$/);
  await until(() => cluster.servers[0]!.output.includes('output buffer limit'), 10_000);
}, 60_000);

test('a client that is idle for longer than timeout is disconnected, one that monitors is not', async () => {
  const [idle, monitor, busy] = [await talk(), await talk(), await talk()];
  await idle.ask('PING');
  await monitor.ask('MONITOR');
  redisCli(port, 'config', 'set', 'timeout', '1');
  const beat = setInterval(() => busy.send(['PING']), 100);
  await idle.end();
  clearInterval(beat);
  redisCli(port, 'config', 'set', 'timeout', '0');
  expect([monitor.closed, busy.closed]).toEqual([false, false]);
  expect(await busy.ask('ECHO', 'x')).toContain('PONG');
}, 30_000);

test('however connections end, nothing of them is left', async () => {
  const clients = await Promise.all(Array.from({ length: 60 }, () => talk()));
  for (const [i, client] of clients.entries()) {
    client.send(['CLIENT', 'SETNAME', 'temporary'], ['SET', 'k', `${i}`]);
    if (i % 6 === 0) client.send(['MONITOR']);
    if (i % 6 === 1) client.send('*1\r\n$4\r\nPI');
    if (i % 6 === 2) client.send('*x\r\n');
    if (i % 6 === 3) client.send(['QUIT']);
    if (i % 6 === 4) client.socket.end();
  }
  await until(() => list().match(/name=temporary flags=O |name=temporary /g)?.length === 30, 10_000);
  for (const [i, client] of clients.entries()) if (i % 12 === 0) client.socket.resetAndDestroy();
  await until(() => list().match(/ name=temporary /g)?.length === 25, 10_000);
  const { output } = redisCli(port, 'client', 'kill', 'type', 'normal', 'skipme', 'yes');
  expect(Number(output)).toBeGreaterThanOrEqual(25);
  await Promise.all(clients.filter(({ socket }) => !socket.destroyed).map((client) => client.end()));
  expect(info(port).connected_clients).toBe('1');
  expect(list()).not.toContain('temporary');
}, 30_000);
