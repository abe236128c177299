/**
 * How long the leader of three servers keeps others waiting while one client asks for something large: `npm run stalls`,
 * option `--keys N`.
 *
 * A probe sends PING after PING meanwhile, from a process of its own: the longest of them is the stall that everybody saw.
 * On a machine where servers, clients and probe share two cores, some of it is only waiting for a core; redis-server, asked
 * the same, shows how much.
 */
import { spawn } from 'node:child_process';
import { createConnection } from 'node:net';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type Peer, pause, startHstore, startRedis } from './bench/peers.ts';

const { values } = parseArgs({
  options: {
    keys: { type: 'string', default: '1000000' },
    /** How this script calls itself. */
    probe: { type: 'string' },
  },
});
const keys = Number(values.keys);
const MB = 1024 * 1024;

/** Prints the longest PING, in ms, each time that it gets a line. */
function probe(port: number): void {
  const socket = createConnection({ port, host: '127.0.0.1' });
  let longestMs = 0;
  let sentMs = performance.now();
  const ping = (): void => {
    sentMs = performance.now();
    socket.write('PING\r\n');
  };
  socket.on('connect', ping);
  socket.on('data', () => {
    longestMs = Math.max(longestMs, performance.now() - sentMs);
    setTimeout(ping, 1);
  });
  process.stdin.on('data', () => {
    console.log(Math.max(longestMs, performance.now() - sentMs).toFixed(0));
    longestMs = 0;
  });
  process.stdin.on('end', () => process.exit());
}

function command(words: readonly (string | Buffer)[]): Buffer {
  const parts: Buffer[] = [Buffer.from(`*${words.length}\r\n`)];
  for (const word of words) {
    const bytes = Buffer.from(word);
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
  }
  return Buffer.concat(parts);
}

/** Sends, and resolves with the first line of the reply when nothing has come for a while. */
function ask(port: number, request: Buffer): Promise<string> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1' });
    let first = '';
    let quiet: NodeJS.Timeout | undefined;
    socket.on('data', (data: Buffer) => {
      if (first === '') first = data.subarray(0, 70).toString('latin1').split('\r\n')[0]!;
      clearTimeout(quiet);
      quiet = setTimeout(() => socket.destroy(), 300);
    });
    socket.on('error', (error) => {
      first ||= error.message;
    });
    socket.on('close', () => resolve(first));
    socket.write(request);
  });
}

const names = Array.from({ length: keys }, (_, i) => `key:${i}`);

async function load(port: number): Promise<string> {
  for (let i = 0; i < keys; i += 1000) {
    await ask1(port, command(['MSET', ...names.slice(i, i + 1000).flatMap((name) => [name, 'v'])]));
  }
  return `${keys} keys`;
}

/** One short reply, and no waiting for more. */
function ask1(port: number, request: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ port, host: '127.0.0.1' });
    socket.on('data', () => socket.destroy());
    socket.on('close', () => resolve());
    socket.on('error', reject);
    socket.write(request);
  });
}

async function expiring(port: number): Promise<string> {
  const count = Math.min(keys, 200_000);
  for (let i = 0; i < count; i += 1000) {
    const sets = names.slice(i, i + 1000).map((name) => command(['SET', `t:${name}`, 'v', 'PX', '2000']));
    await ask1(port, Buffer.concat(sets));
  }
  await pause(10_000);
  return ask(port, command(['DBSIZE']));
}

/** A client that asks for much and reads nothing of it. */
async function neverReads(port: number): Promise<string> {
  const socket = createConnection({ port, host: '127.0.0.1' });
  socket.pause();
  socket.write('GET big\r\n'.repeat(2000));
  await pause(2000);
  socket.destroy();
  return 'closed';
}

const QUESTIONS: readonly (readonly [name: string, ask: (port: number) => Promise<string>])[] = [
  ['a million keys are written, 1000 at a time', load],
  ['KEYS * over them', (port) => ask(port, command(['KEYS', '*']))],
  ['DEL of all of them in one command', (port) => ask(port, command(['DEL', ...names]))],
  ['SET of 32 MB', (port) => ask(port, command(['SET', 'big', Buffer.alloc(32 * MB - 100, 'x')]))],
  ['GET of 32 MB', (port) => ask(port, command(['GET', 'big']))],
  ['GET of 32 MB 2000 times by a client that never reads', neverReads],
  [
    'SETRANGE that makes a string of 60 MB',
    (port) => ask(port, command(['SETRANGE', 'long', `${60 * MB}`, 'x'])),
  ],
  [
    'a header that announces 512 MB',
    (port) => ask(port, Buffer.from('*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870913\r\n')),
  ],
  ['200 000 keys expire within the same seconds', expiring],
  ['FLUSHALL', (port) => ask(port, command(['FLUSHALL']))],
];

async function compare(): Promise<void> {
  for (const start of [() => startHstore(resolve('dist/hstore.js'), 7600), () => startRedis(7700)]) {
    const peer = await start();
    try {
      await measure(peer);
    } finally {
      await peer.stop();
    }
  }
}

async function measure({ name, ports }: Peer): Promise<void> {
  const port = ports[0]!;
  const child = spawn(process.execPath, ['scripts/run-ts.mjs', 'scripts/stalls.ts', '--probe', `${port}`], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const longest = (): Promise<number> =>
    new Promise((resolve) => {
      child.stdout.once('data', (data: Buffer) => resolve(Number(data.toString())));
      child.stdin.write('\n');
    });
  await pause(1500);
  console.log(`\n${name}`);
  for (const [question, askIt] of QUESTIONS) {
    // Redis would put 64 GB into memory for it.
    if (askIt === neverReads && name !== 'hstore') continue;
    await longest();
    const beganMs = performance.now();
    const reply = await askIt(port);
    const tookMs = performance.now() - beganMs;
    const stallMs = await longest();
    console.log(
      `${question.padEnd(56)} ${tookMs.toFixed(0).padStart(7)} ms, longest PING ${`${stallMs}`.padStart(5)} ms   ${reply}`,
    );
  }
  child.stdin.end();
}

if (values.probe === undefined) await compare();
else probe(Number(values.probe));
