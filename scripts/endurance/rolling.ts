/**
 * A whole cluster restarted, server by server, under load: `no failed request to a client that reconnects, and no gap above
 * 500 ms`. Two kinds of clients, each asking without a pause on one connection, which move to the next server when theirs
 * closes:
 *
 *   plain     INCR and GET over a socket. A request that the server had not read when it closed the connection is asked
 *             again at the next one; it fails when it gets an error, or was done although it got no reply
 *   session   hstore/client: what was not answered is asked again elsewhere, and done once
 *
 * The gap of a client is the longest time between two of its replies.
 */
import { createConnection, type Socket } from 'node:net';
import { connect } from '../../src/client/connect.ts';
import { pause, type Server, startCluster } from './servers.ts';

interface Tally {
  readonly name: string;
  requests: number;
  failed: string[];
  longestMs: number;
}

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

async function plainClient(
  number: number,
  ports: readonly number[],
  state: { over: boolean },
): Promise<Tally> {
  const tally: Tally = { name: `plain ${number}`, requests: 0, failed: [], longestMs: 0 };
  let lastMs = performance.now();
  let counter = 0;
  for (let at = number; !state.over; at++) {
    const socket = await open(ports[at % ports.length]!);
    if (socket === undefined) {
      await pause(5);
      continue;
    }
    while (!state.over) {
      const isWrite = tally.requests % 2 === 0;
      const reply = await ask(socket, isWrite ? `INCR plain${number}\r\n` : `GET plain${number}\r\n`);
      if (reply === 'closed') break;
      tally.requests++;
      if (reply.startsWith('-')) {
        tally.failed.push(reply.trim());
        continue;
      }
      const value = Number(reply.split('\r\n')[isWrite ? 0 : 1]!.replace(':', ''));
      if (isWrite) counter++;
      if (value !== counter) tally.failed.push(`${value} instead of ${counter}`);
      counter = value;
      const nowMs = performance.now();
      tally.longestMs = Math.max(tally.longestMs, nowMs - lastMs);
      lastMs = nowMs;
    }
    socket.destroy();
  }
  return tally;
}

function open(port: number): Promise<Socket | undefined> {
  return new Promise((done) => {
    const socket = createConnection({ port, host: '127.0.0.1' }, () => done(socket));
    socket.on('error', () => done(undefined));
  });
}

/** The reply; `closed` when there is none. */
function ask(socket: Socket, request: string): Promise<string> {
  return new Promise((done) => {
    if (socket.readableEnded || socket.destroyed) return done('closed');
    let text = '';
    const finish = (reply: string): void => {
      socket.off('data', onData);
      socket.off('close', onClose);
      socket.off('end', onClose);
      done(reply);
    };
    const onData = (data: Buffer): void => {
      text += data.toString('latin1');
      const lines = text.split('\r\n').length - 1;
      if (lines >= (text.startsWith('$') && !text.startsWith('$-') ? 2 : 1)) finish(text);
    };
    const onClose = (): void => finish('closed');
    socket.on('data', onData);
    socket.on('close', onClose);
    socket.on('end', onClose);
    socket.write(request);
  });
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
