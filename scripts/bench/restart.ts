/**
 * How long one server of three is away when it is started again: from the start of its process to the first GET that it
 * answers, with a million keys, after a stop in order and after kill -9 under write load, which goes on meanwhile.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { type Cluster, pause, type Server, startCluster } from '../endurance/servers.ts';
import { median } from './median.ts';

const PORT = 17_779;
const VALUE = 'v'.repeat(100);
const GOAL_STOPPED_MS = 2000;
const GOAL_KILLED_MS = 5000;
/** Longer than the time between two checkpoints, by whatever part of it. */
const LOAD_BEFORE_KILL_MS = [7000, 12_000, 16_000];
const TRY_AGAIN_MS = 2;

export async function measureRestarts(options: {
  readonly keys: number;
  readonly rounds: number;
}): Promise<void> {
  const { keys, rounds } = options;
  const cluster = await startCluster(3, PORT, ['--loglevel', 'warning']);
  try {
    const leader = await cluster.leader();
    await fill(leader.port, keys);
    await applied(cluster);
    const server = cluster.servers.find((each) => each !== leader)!;
    const stopped: number[] = [];
    const killed: number[] = [];
    for (let round = 0; round < rounds; round++) {
      await server.end('SIGTERM');
      stopped.push(await startedMs(server));
      await applied(cluster);
    }
    for (let round = 0; round < rounds; round++) {
      const load = writeLoad(leader.port, keys);
      await pause(LOAD_BEFORE_KILL_MS[round % LOAD_BEFORE_KILL_MS.length]!);
      await server.end('SIGKILL');
      killed.push(await startedMs(server));
      load.kill();
      await once(load, 'exit');
      await applied(cluster);
    }
    console.log(
      `restart of one server of three with ${keys} keys of ${VALUE.length} bytes, to its first GET`,
    );
    print('after a stop in order', stopped, GOAL_STOPPED_MS);
    print('after kill -9 under write load', killed, GOAL_KILLED_MS);
  } finally {
    await cluster.end();
  }
}

function print(what: string, timesMs: readonly number[], goalMs: number): void {
  const medianMs = median(timesMs);
  const verdict = medianMs <= goalMs ? 'met' : 'MISSED';
  const all = timesMs.map((timeMs) => `${timeMs.toFixed(0)}`).join(', ');
  console.log(
    `  ${what.padEnd(32)} ${medianMs.toFixed(0).padStart(6)} ms (${all}); goal ${goalMs} ms: ${verdict}`,
  );
}

function keyOf(number: number): string {
  return `key:${String(number).padStart(12, '0')}`;
}

/** As redis-benchmark names its keys. */
async function fill(port: number, keys: number): Promise<void> {
  const child = spawn('redis-cli', ['-p', `${port}`, '--pipe'], { stdio: ['pipe', 'ignore', 'inherit'] });
  const exit = once(child, 'exit');
  for (let i = 0; i < keys; i += 1000) {
    const sets = Array.from({ length: Math.min(1000, keys - i) }, (_, j) => {
      return `*3\r\n$3\r\nSET\r\n$16\r\n${keyOf(i + j)}\r\n$${VALUE.length}\r\n${VALUE}\r\n`;
    });
    if (!child.stdin.write(sets.join(''))) await once(child.stdin, 'drain');
  }
  child.stdin.end();
  const [status] = await exit;
  if (status !== 0) throw new Error(`redis-cli --pipe ended with ${status}`);
}

function writeLoad(port: number, keys: number): ChildProcess {
  const args = ['-p', port, '-t', 'set', '-n', 1_000_000_000, '-r', keys, '-d', VALUE.length, '-c', 50];
  return spawn('redis-benchmark', args.map(String), { stdio: 'ignore' });
}

/** All servers have applied the same. */
async function applied({ servers }: Cluster): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    const indexes = new Set<string>();
    for (const server of servers) indexes.add((await server.info()).raft_applied_index ?? '');
    if (indexes.size === 1) return;
    await pause(100);
  }
  throw new Error('the servers do not come to the same entry');
}

/** Starts it, and asks until it answers. */
async function startedMs(server: Server): Promise<number> {
  const beganMs = performance.now();
  server.start();
  for (;;) {
    const reply = await get(server.port, keyOf(7));
    if (reply.startsWith(`$${VALUE.length}\r\n`)) return performance.now() - beganMs;
    if (reply !== '') throw new Error(`${server.name} answers ${reply}`);
    await pause(TRY_AGAIN_MS);
  }
}

/** The beginning of the reply; nothing if there is nobody. */
function get(port: number, key: string): Promise<string> {
  return new Promise((done) => {
    let text = '';
    const socket = createConnection({ port, host: '127.0.0.1' }, () => socket.write(`GET ${key}\r\n`));
    socket.on('data', (data) => {
      text += data.toString();
      if (text.endsWith('\r\n')) socket.destroy();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => done(text));
  });
}
