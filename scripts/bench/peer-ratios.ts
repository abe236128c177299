/**
 * hstore (three servers, every write synced on a majority), redis-server with `appendfsync always` (one server) and etcd
 * (three members), all on this machine, one after the other in every round, so that what else the machine does hits all
 * alike; medians of the rounds, and the medians of each round's ratio.
 */
import { execFileSync } from 'node:child_process';
import { putsPerSecond } from './etcd-load.ts';
import { median } from './median.ts';
import { type Peer, startEtcd, startHstore, startRedis } from './peers.ts';

const VALUE_BYTES = 256;
const KEYS = 10_000;
const CLIENTS = 50;

type Cell = [name: string, measure: () => number | Promise<number>];

const RATIOS = [
  ['hstore SET c=50 P=1', 'redis SET c=50 P=1'],
  ['hstore SET c=50 P=16', 'redis SET c=50 P=16'],
  ['hstore SET c=1', 'redis SET c=1'],
  ['hstore SET c=50 P=1', 'etcd put c=50'],
  ['hstore SET c=1', 'etcd put c=1'],
  ['hstore GET c=50 P=1', 'redis GET c=50 P=1'],
  ['hstore SET c=50 P=1 via follower', 'hstore SET c=50 P=1'],
] as const;

export async function comparePeers(
  program: string,
  { rounds, requests }: { readonly rounds: number; readonly requests: number },
): Promise<void> {
  const hstore = await startHstore(program, 17_379);
  const redis = await startRedis(17_479);
  const etcd: Peer | undefined = isInstalled('etcd') ? await startEtcd(17_579) : undefined;
  const cells = cellsOf({ hstore, redis, etcd }, requests);
  const results = new Map<string, number[]>(cells.map(([name]) => [name, []]));
  for (let round = 1; round <= rounds; round++) {
    for (const [name, measure] of cells) {
      process.stderr.write(`\rround ${round} of ${rounds}: ${name.padEnd(40)}`);
      results.get(name)!.push(await measure());
    }
  }
  process.stderr.write('\r\x1b[K');
  console.log(`medians of ${rounds} rounds, values of ${VALUE_BYTES} bytes, ${KEYS} keys`);
  for (const [name, numbers] of results)
    console.log(`  ${name.padEnd(36)} ${median(numbers).toFixed(0).padStart(8)} /s`);
  console.log('ratios, round by round');
  for (const [a, b] of RATIOS) {
    console.log(`  ${`${a} / ${b}`.padEnd(60)} ${ratio(results.get(a), results.get(b))}`);
  }
  for (const peer of [hstore, redis, etcd]) await peer?.stop();
}

function cellsOf(
  { hstore, redis, etcd }: { hstore: Peer; redis: Peer; etcd: Peer | undefined },
  requests: number,
): Cell[] {
  const run = (port: number, test: string, pipeline: number, clients = CLIENTS) =>
    redisBenchmark(port, test, { requests, pipeline, clients });
  const cells: Cell[] = [
    ['hstore SET c=50 P=1', () => run(hstore.ports[0]!, 'set', 1)],
    ['redis SET c=50 P=1', () => run(redis.ports[0]!, 'set', 1)],
    ['hstore SET c=50 P=16', () => run(hstore.ports[0]!, 'set', 16)],
    ['redis SET c=50 P=16', () => run(redis.ports[0]!, 'set', 16)],
    ['hstore SET c=1', () => run(hstore.ports[0]!, 'set', 1, 1)],
    ['redis SET c=1', () => run(redis.ports[0]!, 'set', 1, 1)],
    ['hstore SET c=50 P=1 via follower', () => run(hstore.ports[1]!, 'set', 1)],
    ['hstore GET c=50 P=1', () => run(hstore.ports[0]!, 'get', 1)],
    ['redis GET c=50 P=1', () => run(redis.ports[0]!, 'get', 1)],
  ];
  if (etcd === undefined) return cells;
  const load = { url: `http://127.0.0.1:${etcd.ports[0]}`, valueBytes: VALUE_BYTES, keys: KEYS };
  const put = (clients: number) =>
    putsPerSecond({ ...load, clients, connections: Math.min(clients, 8), requests: Math.ceil(requests / 4) });
  return [...cells, ['etcd put c=50', () => put(CLIENTS)], ['etcd put c=1', () => put(1)]];
}

function redisBenchmark(
  port: number,
  test: string,
  { requests, pipeline, clients }: { requests: number; pipeline: number; clients: number },
): number {
  const count = pipeline > 1 ? requests * 4 : clients === 1 ? Math.ceil(requests / 10) : requests;
  const options = { p: port, t: test, c: clients, P: pipeline, n: count, d: VALUE_BYTES, r: KEYS };
  const args = Object.entries(options).flatMap(([name, value]) => [`-${name}`, `${value}`]);
  const output = execFileSync('redis-benchmark', [...args, '--csv']).toString();
  const line = output.split('\n').find((each) => each.toUpperCase().startsWith(`"${test.toUpperCase()}"`));
  return Number(line!.split(',')[1]!.replaceAll('"', ''));
}

function isInstalled(program: string): boolean {
  try {
    execFileSync('which', [program]);
    return true;
  } catch {
    return false;
  }
}

function ratio(x: readonly number[] | undefined, y: readonly number[] | undefined): string {
  if (x === undefined || y === undefined) return 'not measured';
  const ratios = x.map((value, i) => value / y[i]!);
  return `${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)})`;
}
