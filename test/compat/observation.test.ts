/**
 * SLOWLOG, LATENCY and MEMORY: as Redis 7.0, byte by byte where nothing is measured, and in form where something is.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../e2e/processes.ts';
import { HELLO_FIELDS, type Normalise } from './normalise.ts';
import { Pair } from './pair.ts';
import { converse, type Parsed, parseReply, type Step, splitReplies } from './wire.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await Pair.start({ flags: ['--enable-debug-command', 'yes'] });
}, 60_000);
afterAll(() => pair.end());

const LONG = 'y'.repeat(200);

/** Numbers of entries, times, durations, addresses. */
const ENTRY: readonly Normalise[] = [
  { what: /\*6\r\n:\d+\r\n:\d{10}\r\n:\d+\r\n/g, as: 'ENTRY ' },
  { what: /\$\d+\r\n127\.0\.0\.1:\d+\r\n/g, as: 'ADDRESS ' },
];

/**
 * Everything is slow, and only what comes between is in the log, in the order of the answers: what needs no data is
 * answered at once, so it comes first.
 */
function logged(...steps: readonly Step[]): Step[] {
  return [
    ['CONFIG', 'SET', 'slowlog-log-slower-than', '0', 'slowlog-max-len', '128'],
    ['SLOWLOG', 'RESET'],
    ...steps,
    ['SLOWLOG', 'LEN'],
    ['SLOWLOG', 'GET', '-1'],
    ['CONFIG', 'SET', 'slowlog-log-slower-than', '-1'],
  ];
}

const CASES: Readonly<Record<string, readonly Step[]>> = {
  'SLOWLOG with wrong arguments': [
    ['SLOWLOG'],
    ['SLOWLOG', 'GET', 'x'],
    ['SLOWLOG', 'get', '-2'],
    ['SLOWLOG', 'GET', '1.5'],
    ['SLOWLOG', 'GET', ''],
    ['SLOWLOG', 'GeT', '1', '2'],
    ['SLOWLOG', 'LEN', 'x'],
    ['SLOWLOG', 'RESET', 'x'],
    ['SLOWLOG', 'NOSUCH'],
    ['SLOWLOG', 'HELP'],
    ['SLOWLOG', 'HELP', 'x'],
  ],
  'SLOWLOG of commands': logged(
    ['CONFIG', 'GET', 'nosuch'],
    ['GET', 'a'],
    ['set', 'a', '1'],
    ['GET'],
    ['NOSUCH'],
  ),
  'SLOWLOG GET of some': [
    ...logged(['PING'], ['ECHO', 'a'], ['ECHO', 'b']),
    ['SLOWLOG', 'GET', '2'],
    ['SLOWLOG', 'GET', '0'],
    ['SLOWLOG', 'GET', '1000'],
    ['SLOWLOG', 'RESET'],
    ['SLOWLOG', 'GET'],
  ],
  'SLOWLOG of the commands of a client with a name': logged(['CLIENT', 'SETNAME', 'bob'], ['PING']),
  'SLOWLOG of long arguments': logged(
    ['ECHO', LONG],
    ['ECHO', LONG.slice(0, 128)],
    ['ECHO', LONG.slice(0, 129)],
    ['ECHO', '\0\xff\r\n'],
    ['DEL', ...'abcdefghijklmnopqrstuvwxyzabcde'],
    ['DEL', ...'abcdefghijklmnopqrstuvwxyzabcdef'],
    ['DEL', ...'abcdefghijklmnopqrstuvwxyzabcdefg', LONG],
  ),
  'SLOWLOG without passwords': [
    ...logged(
      ['AUTH', 'secret'],
      ['AUTH', 'default', 'secret'],
      ['CONFIG', 'SET', 'masterauth', 'secret'].map((word) => word.replace('masterauth', 'requirepass')),
      ['AUTH', 'secret'],
      ['CONFIG', 'SET', 'timeout', '0', 'requirepass', ''],
    ),
  ],
  'SLOWLOG with a bound': [
    ...logged(['PING'], ['PING']),
    ['CONFIG', 'SET', 'slowlog-log-slower-than', '0', 'slowlog-max-len', '2'],
    ['ECHO', 'a'],
    ['ECHO', 'b'],
    ['SLOWLOG', 'GET'],
    ['CONFIG', 'SET', 'slowlog-max-len', '0'],
    ['CONFIG', 'SET', 'slowlog-log-slower-than', '-1', 'slowlog-max-len', '128'],
  ],
  'LATENCY while nothing is monitored': [
    ['LATENCY'],
    ['LATENCY', 'LATEST'],
    ['LATENCY', 'LATEST', 'x'],
    ['LATENCY', 'HISTORY'],
    ['LATENCY', 'HISTORY', 'command'],
    ['LATENCY', 'GRAPH', 'command'],
    ['LATENCY', 'GRAPH', 'a\r\nb'],
    ['LATENCY', 'RESET'],
    ['LATENCY', 'RESET', 'command', 'nosuch'],
    ['LATENCY', 'NOSUCH'],
    ['LATENCY', 'DOCTOR', 'x'],
    ['LATENCY', 'HELP'],
  ],
  'LATENCY HISTOGRAM of what was not called': [
    ['CONFIG', 'RESETSTAT'],
    ['LATENCY', 'HISTOGRAM', 'nosuch'],
    ['LATENCY', 'HISTOGRAM', 'lolwut', 'acl', ''],
  ],
  'MEMORY with wrong arguments': [
    ['MEMORY'],
    ['MEMORY', 'NOSUCH'],
    ['MEMORY', 'USAGE'],
    ['MEMORY', 'USAGE', 'nosuch'],
    ['MEMORY', 'USAGE', 'nosuch', 'SAMPLES'],
    ['MEMORY', 'USAGE', 'nosuch', 'SAMPLES', 'x'],
    ['MEMORY', 'USAGE', 'nosuch', 'SAMPLES', '-1'],
    ['MEMORY', 'USAGE', 'nosuch', 'samples', '0', 'SAMPLES', '9'],
    ['MEMORY', 'USAGE', 'nosuch', 'x', '1'],
    ['MEMORY', 'USAGE', 'nosuch', 'SAMPLES', '1', 'x'],
    ['MEMORY', 'STATS', 'x'],
    ['MEMORY', 'PURGE'],
    ['MEMORY', 'PURGE', 'x'],
    ['MEMORY', 'HELP'],
  ],
};

describe.each(['RESP2', 'RESP3'] as const)('in %s', (protocol) => {
  const first: Step[] = protocol === 'RESP3' ? [['HELLO', '3']] : [];
  test.each(Object.entries(CASES))('%s', async (_, steps) => {
    await pair.expectSame([...first, ...steps], [...HELLO_FIELDS, ...ENTRY]);
  });
});

/** The replies of both, parsed, to the steps in RESP3. */
async function askBoth(...steps: readonly Step[]): Promise<Parsed[][]> {
  return Promise.all([ask(pair.ports.hstore, ...steps), ask(pair.ports.redis, ...steps)]);
}

async function ask(port: number, ...steps: readonly Step[]): Promise<Parsed[]> {
  return splitReplies(await converse(port, steps))
    .slice(0, steps.length)
    .map(parseReply);
}

test('a command that takes longer than the threshold is an event', async () => {
  const steps: Step[] = [
    ['LATENCY', 'RESET'],
    ['CONFIG', 'SET', 'latency-monitor-threshold', '40'],
    ['PING'],
    ['DEBUG', 'SLEEP', '0.05'],
    ['LATENCY', 'LATEST'],
    ['LATENCY', 'HISTORY', 'command'],
    ['LATENCY', 'HISTORY', 'fast-command'],
    ['LATENCY', 'GRAPH', 'command'],
    ['LATENCY', 'DOCTOR'],
    ['LATENCY', 'RESET', 'command'],
    ['LATENCY', 'HISTORY', 'command'],
    ['CONFIG', 'SET', 'latency-monitor-threshold', '0'],
  ];
  for (const replies of await askBoth(...steps)) {
    const [latest, history, fast, graph, doctor, reset, after] = replies.slice(4) as Parsed[];
    const command = (latest as Parsed[][]).find(([name]) => name === 'command')!;
    const [, atSeconds, latencyMs, maxMs] = command as number[];
    expect(latencyMs).toBeGreaterThanOrEqual(50);
    expect(maxMs).toBe(latencyMs);
    expect(history).toEqual([[atSeconds, latencyMs]]);
    expect(fast).toEqual([]);
    expect(graph).toMatch(/^command - high (\d+) ms, low \1 ms \(all time high \1 ms\)\n-{80}\n/);
    expect(doctor).toContain('command: ');
    expect([reset, after]).toEqual([1, []]);
  }
});

test('a process that stands still is an event of the event loop', async () => {
  const [server] = pair.hstore.servers;
  await ask(pair.ports.hstore, ['CONFIG', 'SET', 'latency-monitor-threshold', '300'], ['LATENCY', 'RESET']);
  const latest = async () => (await ask(pair.ports.hstore, ['LATENCY', 'LATEST']))[0] as Parsed[][];
  expect(await latest()).toEqual([]);
  server!.signal('SIGSTOP');
  await new Promise((resolve) => void setTimeout(resolve, 500));
  server!.signal('SIGCONT');
  await until(async () => (await latest()).some(([name]) => name === 'event-loop'), 5000);
  await ask(pair.ports.hstore, ['CONFIG', 'SET', 'latency-monitor-threshold', '0'], ['LATENCY', 'RESET']);
});

test('LATENCY HISTOGRAM has the form of Redis, and counts every call', async () => {
  const steps: Step[] = [
    ['HELLO', '3'],
    ['CONFIG', 'RESETSTAT'],
    ['SET', 'a', '1'],
    ['GET', 'a'],
    ['get', 'a'],
    ['CONFIG', 'GET', 'nosuch'],
    ['CONFIG', 'GET'],
    ['LATENCY', 'HISTOGRAM', 'get', 'CONFIG|GET', 'config', 'nosuch'],
    ['LATENCY', 'HISTOGRAM'],
  ];
  for (const replies of await askBoth(...steps)) {
    const [some, all] = replies.slice(-2) as Parsed[][];
    const names = (found: Parsed[]) => found.filter((_, i) => i % 2 === 0).sort();
    expect(names(some!)).toEqual(['config|get', 'config|get', 'config|resetstat', 'get']);
    expect(names(all!)).toEqual(['config|get', 'config|resetstat', 'get', 'latency|histogram', 'set']);
    const get = some![some!.indexOf('get') + 1] as Parsed[];
    expect(get.slice(0, 3)).toEqual(['calls', 2, 'histogram_usec']);
    const buckets = get[3] as number[];
    expect(buckets.at(-1)).toBe(2);
    // Redis's names of the powers of two.
    const shown = Array.from({ length: 28 }, (_, i) =>
      Math.floor((2 ** (i + 10) * (1 + 1 / 128) - 1) / 1000),
    );
    expect(buckets.filter((_, i) => i % 2 === 0).every((usec) => shown.includes(usec))).toBe(true);
  }
});

test('INFO latencystats has the percentiles that are asked for', async () => {
  const steps: Step[] = [
    ['CONFIG', 'RESETSTAT'],
    ['CONFIG', 'SET', 'latency-tracking-info-percentiles', '50 99.5 100'],
    ['GET', 'a'],
    ['INFO', 'latencystats'],
    ['CONFIG', 'SET', 'latency-tracking-info-percentiles', ''],
    ['INFO', 'latencystats'],
    ['CONFIG', 'SET', 'latency-tracking', 'no', 'latency-tracking-info-percentiles', '50 99 99.9'],
    ['INFO', 'latencystats'],
    ['CONFIG', 'SET', 'latency-tracking', 'yes'],
  ];
  for (const replies of await askBoth(...steps)) {
    expect(replies[3]).toMatch(
      /\r\nlatency_percentiles_usec_get:p50=\d+\.\d{3},p99\.5=\d+\.\d{3},p100=\d+\.\d{3}\r\n/,
    );
    expect(replies[5]).toContain('\r\nlatency_percentiles_usec_get:\r\n');
    expect(replies[7]).toBe('# Latencystats\r\n');
  }
});

test('MEMORY USAGE grows with the value', async () => {
  const steps: Step[] = [
    ['SET', 'small', 'x'],
    ['SET', 'large', 'x'.repeat(10_000)],
    ['MEMORY', 'USAGE', 'small'],
    ['MEMORY', 'USAGE', 'large', 'SAMPLES', '0'],
    ['DEL', 'small'],
    ['MEMORY', 'USAGE', 'small'],
  ];
  for (const replies of await askBoth(...steps)) {
    const [small, large] = replies.slice(2, 4) as number[];
    expect(large! - small!).toBeGreaterThanOrEqual(9_000);
    expect(large! - small!).toBeLessThan(12_000);
    expect(replies[5]).toBe(null);
  }
});

test('MEMORY STATS has fields of Redis, in the order of Redis', async () => {
  const [ours, theirs] = (await askBoth(['MEMORY', 'STATS'])).map(([stats]) => stats as Parsed[]);
  const names = (stats: Parsed[]) => stats.filter((_, i) => i % 2 === 0);
  const shared = names(theirs!).filter((name) => names(ours!).includes(name));
  expect(names(ours!)).toEqual(shared);
  expect(shared).toContain('total.allocated');
  expect(shared).toContain('keys.count');
});

test('texts for people are of their own kind in RESP3', async () => {
  for (const words of [
    ['MEMORY', 'DOCTOR'],
    ['MEMORY', 'MALLOC-STATS'],
    ['LATENCY', 'DOCTOR'],
  ]) {
    for (const port of [pair.ports.hstore, pair.ports.redis]) {
      expect(splitReplies(await converse(port, [['HELLO', '3'], words]))[1]).toMatch(/^=\d+\r\ntxt:/);
    }
  }
});
