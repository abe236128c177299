/**
 * CLUSTER: in the form of a Redis Cluster of one server that has all slots. Ids, ports, epochs and times differ.
 */
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../e2e/processes.ts';
import { HELLO_FIELDS, type Normalise } from './normalise.ts';
import { Pair } from './pair.ts';
import { converse, type Parsed, parseReply, type Step, splitReplies } from './wire.ts';

const NODES_FILE = join(tmpdir(), `hstore-compat-nodes-${process.pid}.conf`);

let pair: Pair;
let rules: readonly Normalise[];
beforeAll(async () => {
  const file = ['--cluster-config-file', NODES_FILE, '--cluster-announce-ip', '127.0.0.1'];
  pair = await Pair.start({ redisFlags: ['--cluster-enabled', 'yes', ...file] });
  await converse(pair.ports.redis, [['CLUSTER', 'ADDSLOTSRANGE', '0', '16383']]);
  await until(
    async () => (await converse(pair.ports.redis, [['CLUSTER', 'INFO']])).includes('state:ok'),
    20_000,
  );
  const { hstore, redis } = pair.ports;
  rules = [
    ...HELLO_FIELDS,
    // hstore is for every client, not for those of Redis Cluster alone.
    { what: /\$4\r\nmode\r\n\$\d+\r\n(cluster|standalone)/g, as: 'mode' },
    { what: /[0-9a-f]{40}/g, as: 'ID' },
    { what: new RegExp(`:(${hstore}|${redis})\\b(@\\d+)?`, 'g'), as: ':PORT' },
    { what: /(epoch:)\d+/g, as: '$1N' },
    { what: /(replication-offset\r\n:)\d+/g, as: '$1N' },
    // Ping, pong and epoch.
    { what: / \d+ \d+ \d+ connected/g, as: ' TIMES connected' },
    // Counts of Redis's cluster bus.
    { what: /(cluster_stats_messages_\w+|total_cluster_links_buffer_limit_exceeded):\d+\r\n/g, as: '' },
    { what: /[$=]\d+\r\n(?=(txt:)?(cluster_state|ID ))/g, as: 'LENGTH ' },
  ];
}, 60_000);
afterAll(async () => {
  await pair.end();
  rmSync(NODES_FILE, { force: true });
});

const KEYS = [
  '',
  'a',
  'somekey',
  '{a}b',
  'b{a}',
  '{}a',
  '{',
  '}',
  'a{b',
  'a}b{c}d',
  '{{a}}',
  '\0',
  '\xff\xfe',
  'x'.repeat(1000),
];

const CASES: Readonly<Record<string, readonly Step[]>> = {
  'INFO, NODES, SLOTS, SHARDS and MYID': ['INFO', 'NODES', 'SLOTS', 'SHARDS', 'MYID', 'info', 'nodes'].map(
    (name) => ['CLUSTER', name],
  ),
  KEYSLOT: KEYS.map((key) => ['CLUSTER', 'KEYSLOT', key]),
  'what is no such command': [
    ['CLUSTER'],
    ['CLUSTER', 'NOSUCH'],
    ['cluster', 'nosuch', 'x'],
    ['CLUSTER', 'a\r\nb'],
    ['CLUSTER', 'KEYSLOT'],
    ['CLUSTER', 'KEYSLOT', 'a', 'b'],
    ['CLUSTER', 'INFO', 'x'],
    ['CLUSTER', 'MYID', 'x'],
    ['CLUSTER', 'SLOTS', 'x'],
    ['CLUSTER', 'SHARDS', 'x'],
    ['CLUSTER', 'NODES', 'x'],
  ],
  'READONLY and READWRITE': [['READONLY'], ['READWRITE'], ['readonly', 'x'], ['READWRITE', 'x']],
};

describe.each(['RESP2', 'RESP3'] as const)('in %s', (protocol) => {
  const first: Step[] = protocol === 'RESP3' ? [['HELLO', '3']] : [];
  test.each(Object.entries(CASES))('%s', async (_, steps) => {
    await pair.expectSame([...first, ...steps], rules);
  });
});

test('the id is the same wherever it is told, and the address is that of the server', async () => {
  const steps = [
    ['CLUSTER', 'MYID'],
    ['CLUSTER', 'NODES'],
    ['CLUSTER', 'SLOTS'],
    ['CLUSTER', 'SHARDS'],
  ];
  const replies = splitReplies(await converse(pair.ports.hstore, steps)).map(parseReply);
  const [id, nodes, slots, shards] = replies as [string, string, Parsed[][], Parsed[][]];
  expect(nodes).toContain(`${id} 127.0.0.1:${pair.ports.hstore}@`);
  expect(slots[0]![2]).toEqual(['127.0.0.1', pair.ports.hstore, id, []]);
  expect((shards[0]![3] as Parsed[][])[0]).toContain(id);
});

describe.each(['CLIENT', 'CLUSTER', 'COMMAND', 'CONFIG'])('%s HELP', (container) => {
  test('has the form of Redis, for the subcommands that there are', async () => {
    const [ours, theirs] = await Promise.all(
      [pair.ports.hstore, pair.ports.redis].map(async (port) => {
        const reply = splitReplies(await converse(port, [[container, 'HELP']]))[0]!;
        expect(reply).toMatch(/^\*\d+\r\n(\+[^\r\n]*\r\n)*$/);
        return parseReply(reply) as string[];
      }),
    );
    expect(ours![0]).toBe(theirs![0]);
    expect(ours!.slice(-2)).toEqual(theirs!.slice(-2));
    const usages = (lines: string[]) => lines.slice(1).filter((line) => !line.startsWith(' '));
    expect(usages(theirs!)).toEqual(
      expect.arrayContaining(usages(ours!).filter((line) => !line.startsWith('SETINFO'))),
    );
    const first = ['COUNT', 'GET', 'GETNAME', 'INFO'].find((name) =>
      usages(ours!).some((line) => line.split(' ')[0] === name),
    )!;
    const meaning = (lines: string[]) => lines[lines.findIndex((line) => line.split(' ')[0] === first) + 1];
    expect(meaning(ours!)).toBe(meaning(theirs!));
  });
});
