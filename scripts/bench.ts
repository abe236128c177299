/**
 * Performance as ratios against peers in the same run: `npm run bench`, options `--rounds N`, `--requests N`.
 *
 * hstore (three servers, every write synced on a majority), redis-server with `appendfsync always` (one server) and etcd
 * (three members), all on this machine, one after the other in every round, so that what else the machine does hits all
 * alike; medians of the rounds, and the medians of each round's ratio. Needs redis-server, redis-benchmark, and for the
 * last comparison etcd and etcdctl, in the PATH.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { putsPerSecond } from './bench/etcd-load.ts';
import { type Peer, startEtcd, startHstore, startRedis } from './bench/peers.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    requests: { type: 'string', default: '60000' },
  },
});
const rounds = Number(values.rounds);
const requests = Number(values.requests);
const VALUE_BYTES = 256;
const KEYS = 10_000;
const CLIENTS = 50;

function redisBenchmark(port: number, test: string, pipeline: number, clients = CLIENTS): number {
  const count = pipeline > 1 ? requests * 4 : clients === 1 ? Math.ceil(requests / 10) : requests;
  const args = [
    '-p',
    port,
    '-t',
    test,
    '-c',
    clients,
    '-P',
    pipeline,
    '-n',
    count,
    '-d',
    VALUE_BYTES,
    '-r',
    KEYS,
  ];
  const output = execFileSync('redis-benchmark', [...args.map(String), '--csv']).toString();
  const line = output.split('\n').find((each) => each.toUpperCase().startsWith(`"${test.toUpperCase()}"`));
  return Number(line!.split(',')[1]!.replaceAll('"', ''));
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

const installed = (program: string) => {
  try {
    execFileSync('which', [program]);
    return true;
  } catch {
    return false;
  }
};

const program = resolve('dist/hstore.js');
if (!existsSync(program)) throw new Error('dist/hstore.js is missing: npm run build');
const hstore = await startHstore(program, 17_379);
const redis = await startRedis(17_479);
const etcd: Peer | undefined = installed('etcd') ? await startEtcd(17_579) : undefined;

type Cell = [name: string, measure: () => number | Promise<number>];
const cells: Cell[] = [
  ['hstore SET c=50 P=1', () => redisBenchmark(hstore.ports[0]!, 'set', 1)],
  ['redis SET c=50 P=1', () => redisBenchmark(redis.ports[0]!, 'set', 1)],
  ['hstore SET c=50 P=16', () => redisBenchmark(hstore.ports[0]!, 'set', 16)],
  ['redis SET c=50 P=16', () => redisBenchmark(redis.ports[0]!, 'set', 16)],
  ['hstore SET c=1', () => redisBenchmark(hstore.ports[0]!, 'set', 1, 1)],
  ['redis SET c=1', () => redisBenchmark(redis.ports[0]!, 'set', 1, 1)],
  ['hstore SET c=50 P=1 via follower', () => redisBenchmark(hstore.ports[1]!, 'set', 1)],
  ['hstore GET c=50 P=1', () => redisBenchmark(hstore.ports[0]!, 'get', 1)],
  ['redis GET c=50 P=1', () => redisBenchmark(redis.ports[0]!, 'get', 1)],
];
if (etcd !== undefined) {
  const load = { url: `http://127.0.0.1:${etcd.ports[0]}`, valueBytes: VALUE_BYTES, keys: KEYS };
  const put = (clients: number) =>
    putsPerSecond({ ...load, clients, connections: Math.min(clients, 8), requests: Math.ceil(requests / 4) });
  cells.push(['etcd put c=50', () => put(CLIENTS)], ['etcd put c=1', () => put(1)]);
}

const results = new Map<string, number[]>(cells.map(([name]) => [name, []]));
for (let round = 1; round <= rounds; round++) {
  for (const [name, measure] of cells) {
    process.stderr.write(`\rround ${round} of ${rounds}: ${name.padEnd(40)}`);
    results.get(name)!.push(await measure());
  }
}
process.stderr.write('\r\x1b[K');

const ratio = (a: string, b: string) => {
  const [x, y] = [results.get(a), results.get(b)];
  if (x === undefined || y === undefined) return 'not measured';
  const ratios = x.map((value, i) => value / y[i]!);
  return `${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)})`;
};
console.log(`medians of ${rounds} rounds, values of ${VALUE_BYTES} bytes, ${KEYS} keys`);
for (const [name, numbers] of results)
  console.log(`  ${name.padEnd(36)} ${median(numbers).toFixed(0).padStart(8)} /s`);
console.log('ratios, round by round');
for (const [a, b] of [
  ['hstore SET c=50 P=1', 'redis SET c=50 P=1'],
  ['hstore SET c=50 P=16', 'redis SET c=50 P=16'],
  ['hstore SET c=1', 'redis SET c=1'],
  ['hstore SET c=50 P=1', 'etcd put c=50'],
  ['hstore SET c=1', 'etcd put c=1'],
  ['hstore GET c=50 P=1', 'redis GET c=50 P=1'],
  ['hstore SET c=50 P=1 via follower', 'hstore SET c=50 P=1'],
] as const) {
  console.log(`  ${`${a} / ${b}`.padEnd(60)} ${ratio(a, b)}`);
}
for (const peer of [hstore, redis, etcd]) await peer?.stop();
