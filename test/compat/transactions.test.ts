/**
 * MULTI, EXEC, DISCARD, WATCH and UNWATCH on one connection: byte by byte as Redis 7.0. And the transactions of clients.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient, WatchError } from 'redis';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { connect, ProcessCluster } from '../e2e/processes.ts';
import { HELLO_FIELDS, type Normalise } from './normalise.ts';
import { Pair } from './pair.ts';
import { talk } from './talk.ts';
import type { Step } from './wire.ts';

/** Where Redis writes its dumps: not here. */
const directory = mkdtempSync(join(tmpdir(), 'hstore-compat-'));
let pair: Pair;
beforeAll(async () => {
  pair = await Pair.start({ redisFlags: ['--dir', directory] });
}, 60_000);
afterAll(async () => {
  await pair.end();
  rmSync(directory, { recursive: true });
});

const MULTI: Step = ['MULTI'];
const EXEC: Step = ['EXEC'];
/** Shows what came of it all, and whether the connection is still in a transaction. */
const AFTERWARDS: readonly Step[] = [['MGET', 'a', 'b', 'missing'], ['DBSIZE'], EXEC, ['PING']];

const CASES: Readonly<Record<string, readonly Step[]>> = {
  'commands outside their place': [
    EXEC,
    ['DISCARD'],
    ['UNWATCH'],
    MULTI,
    MULTI,
    ['WATCH', 'a'],
    ['UNWATCH'],
    ['SET', 'a', '1'],
    EXEC,
    EXEC,
    MULTI,
    EXEC,
    MULTI,
    ['DISCARD'],
    ['DISCARD'],
  ],
  'a wrong number of arguments breaks a transaction, and in EXEC ends it': [
    MULTI,
    ['SET', 'a', '1'],
    ['EXEC', 'x'],
    EXEC,
    ['EXEC', 'x'],
    ['WATCH', 'a'],
    ['EXEC', 'x', 'y'],
    MULTI,
    ['DISCARD', 'x'],
    EXEC,
    MULTI,
    ['MULTI', 'x'],
    ['SET', 'a', '1'],
    EXEC,
    MULTI,
    ['WATCH'],
    ['DISCARD'],
    ['MULTI', 'x'],
    EXEC,
  ],
  'what cannot be queued breaks a transaction, whatever comes before or behind it': [
    ...[
      ['NOSUCH', 'a', 'b'],
      ['GET'],
      ['SET', 'a'],
      ['CONFIG', 'NOSUCH'],
      ['CONFIG', 'GET'],
      ['CLIENT', 'SETNAME'],
      ['SAVE'],
      ['SHUTDOWN', 'NOSAVE'],
      ['DEBUG', 'SLEEP', '0'],
    ].flatMap((step) => [MULTI, ['SET', 'a', '1'], step, ['SET', 'b', '1'], EXEC, MULTI, step, ['DISCARD']]),
  ],
  'an error while it runs is a reply among the others': [
    MULTI,
    ['SET', 'a', 'x'],
    ['INCR', 'a'],
    ['SET', 'b', '1', 'NX', 'XX'],
    ['APPEND', 'b', 'y'],
    ['EXPIRE', 'b', 'x'],
    ['LCS', 'a', 'b', 'LEN', 'IDX'],
    ['RENAME', 'missing', 'c'],
    ['SELECT', '99'],
    ['CONFIG', 'SET', 'nosuch', '1'],
    ['OBJECT', 'NOSUCH'],
    ['GET', 'b'],
    EXEC,
  ],
  'commands on the connection and the server take their place among those on data': [
    MULTI,
    ['SET', 'a', '1'],
    ['PING'],
    ['INCR', 'a'],
    ['ECHO', 'x'],
    ['CLIENT', 'SETNAME', 'me'],
    ['CLIENT', 'GETNAME'],
    ['GET', 'a'],
    ['CONFIG', 'SET', 'timeout', '100'],
    ['CONFIG', 'GET', 'timeout'],
    ['CONFIG', 'SET', 'timeout', '0'],
    ['DBSIZE'],
    ['COMMAND', 'INFO', 'get'],
    ['INFO', 'modules'],
    ['SLOWLOG', 'RESET'],
    ['LATENCY', 'RESET'],
    ['OBJECT', 'ENCODING', 'a'],
    ['SCAN', '0'],
    ['KEYS', '*'],
    ['RANDOMKEY'],
    ['WAIT', '0', '0'],
    ['CLIENT', 'NO-EVICT', 'on'],
    ['CLIENT', 'PAUSE', '0'],
    ['CLIENT', 'UNPAUSE'],
    ['MEMORY', 'HELP'],
    ['FUNCTION', 'FLUSH'],
    ['BGSAVE', 'x'],
    ['BGSAVE'],
    ['BGREWRITEAOF'],
    ['DECR', 'a'],
    EXEC,
    ['CLIENT', 'GETNAME'],
  ],
  'SELECT counts for what is queued behind it, and stays': [
    MULTI,
    ['SET', 'a', '0'],
    ['SELECT', '1'],
    ['SET', 'a', '1'],
    ['SELECT', '99'],
    ['GET', 'a'],
    ['SELECT', 'x'],
    ['SWAPDB', '0', '1'],
    ['GET', 'a'],
    ['MOVE', 'a', '2'],
    ['SELECT', '2'],
    ['GET', 'a'],
    ['SELECT', '1'],
    EXEC,
    ['GET', 'a'],
    ['CLIENT', 'INFO'],
    ['SELECT', '0'],
  ],
  'FLUSHALL in the midst': [MULTI, ['SET', 'a', '1'], ['FLUSHALL'], ['SET', 'b', '2'], ['DBSIZE'], EXEC],
  'RESET ends it': [MULTI, ['SET', 'a', '1'], ['RESET'], EXEC, ['GET', 'a']],
  'QUIT ends it and the connection': [MULTI, ['SET', 'a', '1'], ['QUIT'], EXEC],
  'AUTH is queued like any other': [MULTI, ['AUTH', 'x'], ['SET', 'a', '1'], EXEC],
  'HELLO that changes nothing': [MULTI, ['HELLO'], ['HELLO', '4'], ['HELLO', 'x'], ['SET', 'a', '1'], EXEC],
  'WATCH of what does not change': [
    ['SET', 'a', '1'],
    ['WATCH', 'a', 'b', 'missing', 'a'],
    ['GET', 'a'],
    MULTI,
    ['INCR', 'a'],
    ['SET', 'missing', '1'],
    EXEC,
    MULTI,
    ['INCR', 'a'],
    EXEC,
  ],
  'WATCH of what the client itself changes': [
    ['WATCH', 'a'],
    ['SET', 'a', '1'],
    MULTI,
    ['SET', 'a', '2'],
    ['PING'],
    EXEC,
    MULTI,
    ['SET', 'a', '3'],
    EXEC,
    ['WATCH', 'a'],
    ['SET', 'a', '4'],
    ['UNWATCH'],
    MULTI,
    ['INCR', 'a'],
    EXEC,
    ['WATCH', 'a'],
    ['SET', 'a', '5'],
    MULTI,
    ['DISCARD'],
    MULTI,
    ['INCR', 'a'],
    EXEC,
    ['WATCH', 'a'],
    ['SET', 'a', '6'],
    EXEC,
    MULTI,
    EXEC,
    ['WATCH', 'a'],
    ['SET', 'a', '7'],
    MULTI,
    ['NOSUCH'],
    EXEC,
    MULTI,
    ['INCR', 'a'],
    EXEC,
    ['WATCH', 'a'],
    ['SET', 'a', '8'],
    MULTI,
    ['UNWATCH'],
    ['INCR', 'a'],
    EXEC,
  ],
  'WATCH is of a key in a database': [
    ['WATCH', 'a'],
    ['SELECT', '1'],
    ['SET', 'a', '1'],
    ['WATCH', 'b'],
    ['SELECT', '0'],
    ['SET', 'b', '1'],
    MULTI,
    ['SET', 'a', '2'],
    EXEC,
    ['WATCH', 'a'],
    ['SELECT', '1'],
    ['FLUSHDB'],
    MULTI,
    ['SET', 'a', '3'],
    EXEC,
    ['SELECT', '0'],
    ['WATCH', 'a'],
    ['SELECT', '1'],
    ['SET', 'a', '9'],
    ['SWAPDB', '0', '1'],
    ['SELECT', '0'],
    MULTI,
    ['SET', 'a', '3'],
    EXEC,
  ],
  'transactions follow each other': Array.from({ length: 20 }, (_, i): Step[] => [
    ['INCR', 'a'],
    MULTI,
    ['INCR', 'a'],
    ...(i % 3 === 0 ? [['PING', `${i}`]] : []),
    ['GET', 'a'],
    i % 5 === 4 ? ['DISCARD'] : EXEC,
    ['GET', 'a'],
    ...(i % 4 === 0 ? [['WATCH', 'a'], ['APPEND', 'b', 'x'], MULTI, ['INCR', 'a'], EXEC] : []),
  ]).flat(),
  'a transaction of thousands': [
    MULTI,
    ...Array.from({ length: 5000 }, (_, i) => [
      ['SET', `key${i % 700}`, `${i}`],
      ['INCR', 'a'],
      ['GET', `key${(i * 7) % 700}`],
    ]).flat(),
    EXEC,
  ],
  'a transaction of megabytes': [
    MULTI,
    ...Array.from({ length: 8 }, (_, i) => ['APPEND', 'a', `${i}`.repeat(400_000)]),
    ['STRLEN', 'a'],
    ['GETRANGE', 'a', '-5', '-1'],
    EXEC,
    ['DEL', 'a'],
  ],
};

/** How long a line of CLIENT INFO is differs with what stands in it. */
const CLIENT_INFO: readonly Normalise[] = [
  {
    what: /[$=]\d+\r\n(?:txt:)?id=[^\n]* (db=\d+) [^\n]* (multi=-?\d+) [^\n]* (cmd=\S+) [^\n]*\n\r\n/g,
    as: '$1 $2 $3',
  },
];

describe.each(['RESP2', 'RESP3'] as const)('in %s', (protocol) => {
  const first: Step[] = [...(protocol === 'RESP3' ? [['HELLO', '3']] : []), ['FLUSHALL']];

  test.each(Object.entries(CASES))('%s', async (_, steps) => {
    await pair.expectSame([...first, ...steps, ...AFTERWARDS], [...HELLO_FIELDS, ...CLIENT_INFO]);
  });
});

test('others see in CLIENT LIST how far a transaction is', async () => {
  await pair.expectSameStory(async (port) => {
    const client = await talk(port);
    const other = await talk(port);
    const seen: unknown[] = [];
    const id = (await client.ask('CLIENT', 'ID')).slice(1, -2);
    const steps: Step[] = [
      MULTI,
      ['SET', 'a', '1'],
      ['CONFIG', 'GET', 'x'],
      ['CLIENT', 'INFO'],
      ['NOSUCH'],
      ['DISCARD'],
    ];
    for (const step of [...steps, MULTI, ['CLIENT', 'INFO'], EXEC]) {
      const [answer] = await client.send(step).replies(1);
      const line = await other.ask('CLIENT', 'LIST', 'ID', id);
      const fields = (text: string) => / (flags=\S+).* (multi=\S+).* (cmd=\S+) /.exec(text)?.slice(1) ?? text;
      seen.push(fields(answer!), fields(line));
    }
    return seen;
  });
});

test('who monitors sees the commands of a transaction when it runs, and not what was refused', async () => {
  await pair.expectSameStory(async (port) => {
    const monitor = await talk(port);
    const client = await talk(port);
    await monitor.ask('MONITOR');
    client.send(
      MULTI,
      ['SET', 'a', '1'],
      ['PING'],
      ['SELECT', '2'],
      ['GET', 'a'],
      EXEC,
      MULTI,
      ['GET'],
      EXEC,
    );
    client.send(MULTI, ['SET', 'a', '2'], ['EXEC', 'x'], MULTI, ['GET', 'a'], ['DISCARD'], ['ECHO', 'end']);
    await client.replies(16);
    const lines: string[] = [];
    while (!lines.at(-1)?.includes('"end"')) {
      const [line] = await monitor.replies(1);
      lines.push(line!.replace(/^\S+ \[(\d+) \S+\]/, '[$1]'));
    }
    return lines;
  });
});

describe('in a cluster', () => {
  let cluster: ProcessCluster;
  beforeAll(async () => {
    cluster = await ProcessCluster.start(3);
  }, 60_000);
  afterAll(() => cluster.end());

  test('ioredis runs transactions, in one write and step by step', async () => {
    const [redis, other] = [connect(cluster.servers[0]!.port), connect(cluster.servers[1]!.port)];
    onTestFinished(() => {
      redis.disconnect();
      other.disconnect();
    });
    await redis.del('io');
    const replies = await redis.multi().set('io', '1').incr('io').select(0).get('io').exec();
    expect(replies!.map(([, reply]) => reply)).toEqual(['OK', 2, 'OK', '2']);
    await redis.watch('io');
    await other.set('io', '5');
    expect(await redis.multi().incr('io').exec()).toBe(null);
    await redis.watch('io');
    await other.set('elsewhere', '5');
    expect(await redis.multi().incr('io').exec()).toEqual([[null, 6]]);
    await expect(redis.multi().incr('io').call('nonsense').exec()).rejects.toThrow(
      'EXECABORT Transaction discarded because of previous errors.',
    );
    expect(await redis.multi({ pipeline: false })).toBe('OK');
    expect(await redis.incr('io')).toBe('QUEUED');
    expect(await redis.get('io')).toBe('QUEUED');
    expect(await redis.exec()).toEqual([
      [null, 7],
      [null, '7'],
    ]);
    await redis.watch('io');
    await other.set('io', '8');
    await redis.multi({ pipeline: false });
    await redis.incr('io');
    expect(await redis.exec()).toBe(null);
    expect(await other.get('io')).toBe('8');
  });

  test.each([2, 3] as const)('node-redis runs transactions, RESP%i', async (RESP) => {
    const [client, other] = await Promise.all(
      [0, 2].map((i) =>
        createClient({ url: `redis://127.0.0.1:${cluster.servers[i]!.port}`, RESP }).connect(),
      ),
    );
    onTestFinished(() => {
      client!.destroy();
      other!.destroy();
    });
    await client!.del('node');
    expect(await client!.multi().set('node', '1').incr('node').get('node').exec()).toEqual(['OK', 2, '2']);
    await client!.watch('node');
    await other!.set('node', '5');
    await expect(client!.multi().incr('node').exec()).rejects.toThrow(WatchError);
    await client!.watch('node');
    await other!.set('elsewhere', '5');
    expect(await client!.multi().incr('node').exec()).toEqual([6]);
    const refused = client!.multi().incr('node').addCommand(['nonsense']).exec();
    await expect(refused).rejects.toThrow("ERR unknown command 'nonsense'");
    expect(await other!.get('node')).toBe('6');
  });
});
