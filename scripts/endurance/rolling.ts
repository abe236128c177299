/**
 * A whole cluster restarted, server by server, under load: `no failed request to a client that reconnects, and no gap above
 * 500 ms`. Two kinds of clients, each asking without a pause on one connection, which move to the next server when theirs
 * closes:
 *
 *   plain     INCR and GET over a socket (plain-client.ts)
 *   session   hstore/client: what was not answered is asked again elsewhere, and done once
 *
 * The gap of a client is the longest time between two of its replies.
 */
import { connect } from '../../src/client/connect.ts';
import { plainClient, type Tally } from './plain-client.ts';
import { pause, type Server, startCluster } from './servers.ts';

const PLAIN_CLIENTS = 12;
const SESSION_CLIENTS = 4;

export async function rolling(rounds: number, port: number, flags: readonly string[]): Promise<void> {
  const cluster = await startCluster(3, port, flags);
  const ports = cluster.servers.map((server) => server.port);
  const state = { over: false };
  const plain = Array.from({ length: PLAIN_CLIENTS }, (_, i) => plainClient(i, ports, state));
  const session = Array.from({ length: SESSION_CLIENTS }, (_, i) => sessionClient(i, ports, state));
  await pause(2000);
  for (let round = 0; round < rounds; round++) {
    for (const server of cluster.servers) await restart(server);
  }
  await pause(1000);
  state.over = true;
  const tallies = await Promise.all([...plain, ...session]);
  for (const kind of ['plain', 'session']) {
    const some = tallies.filter(({ name }) => name.startsWith(kind));
    const failed = some.flatMap((tally) => tally.failed);
    const requests = some.reduce((sum, tally) => sum + tally.requests, 0);
    const longestMs = Math.max(...some.map((tally) => tally.longestMs));
    console.log(
      `${kind}: ${requests} requests, ${failed.length} failed, longest gap ${longestMs.toFixed(0)} ms`,
    );
    for (const text of new Set(failed)) console.log(`   failed: ${text}`);
    if (failed.length > 0 || longestMs > 500) process.exitCode = 1;
  }
  await cluster.end();
}

async function restart(server: Server): Promise<void> {
  const { raft_role } = await server.info();
  const beganMs = performance.now();
  await server.end('SIGTERM');
  const stoppedMs = performance.now();
  server.start();
  await server.ready();
  const now = performance.now();
  console.log(
    `${server.name} (${raft_role}): stopped in ${(stoppedMs - beganMs).toFixed(0)} ms, back after ${(now - beganMs).toFixed(0)} ms`,
  );
  await pause(1000);
}

async function sessionClient(
  number: number,
  ports: readonly number[],
  state: { over: boolean },
): Promise<Tally> {
  const tally: Tally = { name: `session ${number}`, requests: 0, failed: [], longestMs: 0 };
  const db = await connect(ports.map((port) => `127.0.0.1:${port}`));
  let lastMs = performance.now();
  for (let expected = 1; !state.over; expected++) {
    tally.requests++;
    try {
      const value = await db.call('INCR', `session${number}`);
      if (value !== expected) tally.failed.push(`${value} instead of ${expected}`);
    } catch (error) {
      tally.failed.push(String(error));
    }
    const nowMs = performance.now();
    tally.longestMs = Math.max(tally.longestMs, nowMs - lastMs);
    lastMs = nowMs;
  }
  await db.close();
  return tally;
}
