/** All servers restarted one after the other, as for an upgrade, under load. */
import { afterEach, expect, test } from 'vitest';
import { plainClient } from '../../scripts/endurance/plain-client.ts';
import { ProcessCluster, pause, redisCli } from './processes.ts';

let cluster: ProcessCluster;
afterEach(() => cluster.end());

test('a client that asks again elsewhere what was not answered sees no error in a rolling restart, and its counter is exact', async () => {
  cluster = await ProcessCluster.start(3);
  const ports = cluster.servers.map(({ port }) => port);
  const state = { over: false };
  const clients = Array.from({ length: 6 }, (_, i) => plainClient(i, ports, state));
  await pause(500);
  // The leader too, and whoever leads after it.
  for (const server of cluster.servers) {
    server.signal('SIGTERM');
    expect(await server.exit()).toBe(0);
    server.start();
    await cluster.ready();
  }
  await pause(500);
  state.over = true;
  const tallies = await Promise.all(clients);
  expect(tallies.flatMap(({ failed }) => failed)).toEqual([]);
  for (const [i, { requests }] of tallies.entries()) {
    expect(requests).toBeGreaterThan(100);
    expect(redisCli(ports[0]!, 'get', `plain${i}`).output).toBe(`${Math.ceil(requests / 2)}\n`);
  }
  await cluster.agree();
}, 60_000);
