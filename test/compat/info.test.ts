/**
 * INFO: in the form of Redis 7.0, and with numbers that are true.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../e2e/processes.ts';
import { Pair } from './pair.ts';
import { converse, parseReply, type Step, splitReplies } from './wire.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await Pair.start();
}, 60_000);
afterAll(() => pair.end());

async function ask(port: number, ...steps: Step[]): Promise<string> {
  return parseReply(splitReplies(await converse(port, steps)).at(-2)!) as string;
}

/** hstore's INFO by fields. */
async function fields(...sections: string[]): Promise<Record<string, string>> {
  const text = await ask(pair.ports.hstore, ['INFO', ...sections]);
  const lines = text.split('\r\n').filter((line) => line.includes(':'));
  return Object.fromEntries(lines.map((line) => line.split(/:(.*)/, 2) as [string, string]));
}

/** The lines without what stands behind the colons. Sections that are empty in one may be filled in the other. */
function form(text: string): string[] {
  const headers = text.split('\r\n').filter((line) => line.startsWith('#'));
  return headers.filter((header) => header !== '# Raft' && header !== '# MapReduce');
}

describe.each([
  [[]],
  [['default']],
  [['all']],
  [['everything']],
  [['ALL']],
  [['server']],
  [['SeRvEr', 'CLIENTS']],
  [['clients', 'server']],
  [['server', 'server']],
  [['server', 'nosuch', 'memory']],
  [['default', 'commandstats']],
  [['commandstats']],
  [['latencystats', 'latencystats', 'commandstats']],
  [['errorstats', 'cluster']],
  [['modules']],
  [['keyspace']],
  [['nosuch']],
])('INFO %j', (sections) => {
  test('has the sections of Redis in the order of Redis', async () => {
    const steps = [['NOSUCH'], ['GET', 'a'], ['INFO', ...sections]];
    const [ours, theirs] = await Promise.all(
      [pair.ports.hstore, pair.ports.redis].map((port) => ask(port, ...steps)),
    );
    expect(form(ours!)).toEqual(form(theirs!));
  });

  test('is lines that end in CRLF, sections set apart by an empty one', async () => {
    for (const port of [pair.ports.hstore, pair.ports.redis]) {
      const text = await ask(port, ['INFO', ...sections]);
      expect(text).toMatch(/^((# \w+\r\n([\w|]+:[^\r\n]*\r\n)*)(\r\n(?=#))?)*$/);
      expect(text.split('\r\n# ').length - 1).toBe(Math.max(0, text.split('# ').length - 2));
    }
  });

  test('is text of its own kind in RESP3, and a bulk string in RESP2', async () => {
    for (const port of [pair.ports.hstore, pair.ports.redis]) {
      expect(
        splitReplies(
          await converse(port, [
            ['HELLO', '3'],
            ['INFO', ...sections],
          ]),
        )[1],
      ).toMatch(/^=\d+\r\ntxt:/);
      expect(splitReplies(await converse(port, [['INFO', ...sections]]))[0]).toMatch(/^\$\d+\r\n/);
    }
  });
});

/** What clients, tools and Redis's own tests read. */
const READ_BY_TOOLS = [
  ...[
    'redis_version',
    'redis_mode',
    'os',
    'arch_bits',
    'process_id',
    'run_id',
    'tcp_port',
    'uptime_in_seconds',
    'uptime_in_days',
  ],
  ...[
    'connected_clients',
    'maxclients',
    'blocked_clients',
    'used_memory',
    'used_memory_human',
    'used_memory_rss',
    'maxmemory',
  ],
  ...[
    'maxmemory_policy',
    'mem_allocator',
    'loading',
    'async_loading',
    'rdb_changes_since_last_save',
    'rdb_bgsave_in_progress',
  ],
  ...[
    'aof_enabled',
    'aof_rewrite_in_progress',
    'total_connections_received',
    'total_commands_processed',
    'expired_keys',
    'evicted_keys',
  ],
  ...[
    'instantaneous_ops_per_sec',
    'total_net_input_bytes',
    'total_net_output_bytes',
    'rejected_connections',
    'total_error_replies',
  ],
  ...[
    'pubsub_channels',
    'pubsub_patterns',
    'role',
    'connected_slaves',
    'master_repl_offset',
    'used_cpu_sys',
    'used_cpu_user',
    'cluster_enabled',
  ],
];

test('INFO has the fields that tools read, each once', async () => {
  const text = await ask(pair.ports.hstore, ['INFO']);
  for (const name of READ_BY_TOOLS) expect(text.split(`\r\n${name}:`).length, name).toBe(2);
  const shared = (await ask(pair.ports.redis, ['INFO'])).split('\r\n').map((line) => line.split(':')[0]);
  for (const name of READ_BY_TOOLS) expect(shared).toContain(name);
});

test('INFO has no field twice, and Redis has all fields of the sections that mean the same', async () => {
  const names = (text: string) => text.split('\r\n').flatMap((line) => /^(\w+):/.exec(line)?.[1] ?? []);
  const sections = ['clients', 'memory', 'persistence', 'stats'];
  const [ours, theirs] = await Promise.all(
    [pair.ports.hstore, pair.ports.redis].map(async (port) => names(await ask(port, ['INFO', ...sections]))),
  );
  expect(new Set(ours).size).toBe(ours!.length);
  // In the order of Redis, too: people compare them.
  expect(ours).toEqual(theirs!.filter((name) => ours!.includes(name)));
  expect(ours!.length).toBeGreaterThan(100);
});

test('commands, connections, errors and bytes are counted as Redis counts them', async () => {
  const steps: Step[] = [
    ['CONFIG', 'RESETSTAT'],
    ...[
      ['SET', 'a', 'x'],
      ['INCR', 'a'],
      ['GET', 'a'],
      ['get', 'a'],
      ['GET'],
      ['NOSUCH'],
      ['CONFIG', 'NOSUCH'],
      ['CLIENT', 'ID', 'x'],
    ],
    ...[
      ['SELECT', '99'],
      ['SET', 'a', 'b', 'NX', 'XX'],
      ['HELLO', '9'],
      ['DEL', 'a'],
      ['MSET', 'a'],
      ['CONFIG', 'SET', 'nosuch', '1'],
    ],
    ['INFO', 'stats', 'commandstats', 'errorstats'],
  ];
  const [ours, theirs] = await Promise.all(
    [pair.ports.hstore, pair.ports.redis].map((port) => ask(port, ...steps)),
  );
  const counted =
    /^(total_commands_processed|total_connections_received|rejected_connections|total_error_replies|expired_keys|errorstat_\w+|cmdstat_[\w|]+):/;
  const lines = (text: string) =>
    text
      .split('\r\n')
      .filter((line) => counted.test(line))
      .map((line) => line.replace(/usec=\d+,usec_per_call=[\d.]+/, 'usec=N'))
      .sort();
  expect(lines(ours!)).toEqual(lines(theirs!));
});

test('bytes of connections that are still open count', async () => {
  const request = ['ECHO', 'x'.repeat(5000)];
  const text = await ask(pair.ports.hstore, ['CONFIG', 'RESETSTAT'], request, request, ['INFO', 'stats']);
  const bytesIn = Number(/total_net_input_bytes:(-?\d+)/.exec(text)![1]);
  // All of it came in one read, before the reset.
  expect(bytesIn).toBe(0);
  const before = await fields('stats');
  await converse(pair.ports.hstore, [request]);
  const after = await fields('stats');
  const difference = (name: string) => Number(after[name]) - Number(before[name]);
  expect(difference('total_net_input_bytes')).toBeGreaterThan(5000);
  expect(difference('total_net_input_bytes')).toBeLessThan(5300);
  expect(difference('total_net_output_bytes')).toBeGreaterThan(5000);
});

test('the keyspace line counts keys and those with a time to live, as in Redis', async () => {
  const steps: Step[] = [
    ['FLUSHALL'],
    ...[
      ['MSET', 'a', '1', 'b', '2', 'c', '3'],
      ['SET', 'd', '4', 'EX', '1000'],
      ['SET', 'e', '5', 'PX', '1000000'],
      ['EXPIRE', 'a', '1000'],
    ],
    ...[
      ['PERSIST', 'e'],
      ['SET', 'd', 'again', 'KEEPTTL'],
      ['SET', 'f', '1', 'EX', '1000'],
      ['DEL', 'f'],
      ['SET', 'g', '1', 'EX', '9'],
      ['SET', 'g', '2'],
    ],
  ];
  const line = async (port: number, more: Step[]) =>
    (await ask(port, ...more, ['INFO', 'keyspace'])).replace(/avg_ttl=\d+/, 'avg_ttl=N');
  expect(await line(pair.ports.hstore, steps)).toBe('# Keyspace\r\ndb0:keys=6,expires=2,avg_ttl=N\r\n');
  expect(await line(pair.ports.redis, steps)).toBe('# Keyspace\r\ndb0:keys=6,expires=2,avg_ttl=N\r\n');
  expect(await line(pair.ports.hstore, [['FLUSHALL']])).toBe('# Keyspace\r\n');
  expect(await line(pair.ports.redis, [['FLUSHALL']])).toBe('# Keyspace\r\n');
});

test('a key that a write finds expired is counted', async () => {
  await converse(pair.ports.hstore, [
    ['CONFIG', 'RESETSTAT'],
    ['SET', 'x', '1', 'PX', '1'],
  ]);
  await until(async () => ((await ask(pair.ports.hstore, ['EXISTS', 'x'])) as unknown) === 0, 5000);
  expect(splitReplies(await converse(pair.ports.hstore, [['SETNX', 'x', '2']]))[0]).toBe(':1\r\n');
  expect((await fields('stats')).expired_keys).toBe('1');
});

test('the keyspace line is the same after a restart from the checkpoint', async () => {
  await converse(pair.ports.hstore, [['FLUSHALL'], ['MSET', 'a', '1', 'b', '2'], ['EXPIRE', 'b', '1000']]);
  const [server] = pair.hstore.servers;
  server!.signal('SIGTERM');
  expect(await server!.exit()).toBe(0);
  server!.start();
  await until(() => converse(pair.ports.hstore, [['PING']]).then(Boolean, () => false), 20_000);
  // Behind a GET the log is applied.
  const line = async () => ask(pair.ports.hstore, ['GET', 'a'], ['INFO', 'keyspace']);
  expect(await line()).toBe('# Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=0\r\n');
  await converse(pair.ports.hstore, [
    ['PERSIST', 'b'],
    ['SET', 'a', '3', 'EX', '1000'],
    ['SET', 'c', '3', 'EX', '1000'],
  ]);
  expect(await line()).toBe('# Keyspace\r\ndb0:keys=3,expires=2,avg_ttl=0\r\n');
}, 40_000);

test('operations per second follow the load', async () => {
  expect((await fields('stats')).instantaneous_ops_per_sec).toMatch(/^\d+$/);
  await until(async () => {
    await converse(
      pair.ports.hstore,
      Array.from({ length: 200 }, () => ['PING']),
    );
    return Number((await fields('stats')).instantaneous_ops_per_sec) > 100;
  }, 10_000);
});
