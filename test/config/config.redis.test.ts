/** CONFIG beside a real Redis: the same pairs must get the same error, patterns the same names. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeCommand } from '../../src/cli/probe.ts';
import { Config } from '../../src/config/config.ts';
import { DIRECTIVES } from '../../src/config/table.ts';
import { decodeReply } from '../../src/resp/decode.ts';
import { ErrorReply, type Reply } from '../../src/resp/reply.ts';
import { RedisServer, redisServerExpected } from '../resp/redis-server.ts';

describe.runIf(redisServerExpected)('beside Redis', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(() => redis.stop());

  async function ask(...words: string[]): Promise<Reply> {
    const { output } = await redis.exchange([Buffer.from(encodeCommand(words))]);
    return decodeReply(Buffer.from(output, 'latin1'));
  }

  test.each([
    [['foo', '1']],
    [['maxclients', '10', 'foo', '2', 'bar', '3']],
    [['maxclients', 'abc']],
    [['MAXCLIENTS', 'abc']],
    [['maxclients', '010']],
    [['maxclients', '+10']],
    [['maxclients', ' 10']],
    [['maxclients', '0']],
    [['maxclients', '4294967296']],
    [['timeout', '-1']],
    [['timeout', '99999999999999']],
    [['timeout', '5', 'TIMEOUT', '6']],
    [['timeout', '8', 'maxclients', '0']],
    [['tcp-keepalive', '99999999999']],
    [['databases', '3']],
    [['DATABASES', '16']],
    [['logfile', 'x']],
    [['loglevel', 'x']],
    [['protected-mode', 'x']],
    [['appendonly', 'maybe']],
    [['appendfsync', 'x']],
    [['maxmemory-policy', 'x']],
    [['client-query-buffer-limit', '1x']],
    [['client-query-buffer-limit', '1.5mb']],
    [['client-query-buffer-limit', '-1']],
    [['client-query-buffer-limit', ' 1mb']],
    [['hz', 'x']],
    [['databases', '3', 'foo', '1']],
    [['foo', '1', 'databases', '3']],
    [['maxclients', '0', 'databases', '3']],
    [['save', '900']],
    [['save', '900 x']],
    [['save', '0 1']],
    [['save', '1 -1']],
    [['save', '900  1']],
    [['notify-keyspace-events', 'KEQ']],
    [['client-output-buffer-limit', 'normal 1mb 2mb']],
    [['client-output-buffer-limit', 'normal 1mb 2mb 60 ']],
    [['client-output-buffer-limit', 'master 1mb 2mb 60']],
    [['client-output-buffer-limit', 'normal 1x 2mb 60']],
    [['client-output-buffer-limit', 'normal 1mb -2 60']],
    [['client-output-buffer-limit', 'normal 1mb 2mb -1']],
    [['client-output-buffer-limit', 'normal 1mb 2mb 60 nosuch 1 2 3']],
    [['latency-tracking-info-percentiles', 'x']],
    [['latency-tracking-info-percentiles', '50  99']],
    [['latency-tracking-info-percentiles', '50 99 ']],
    [['latency-tracking-info-percentiles', '-1']],
    [['latency-tracking-info-percentiles', '50 100.1']],
    [['slowlog-log-slower-than', '-2']],
    [['slowlog-log-slower-than', '9223372036854775808']],
    [['slowlog-max-len', '-1']],
    [['latency-monitor-threshold', 'x']],
    [['enable-debug-command', 'yes']],
    [['latency-tracking', '1']],
    [['hash-max-ziplist-entries', 'x']],
    [['hash-max-listpack-entries', '-1']],
    [['min-slaves-to-write', 'x']],
    [['lua-time-limit', '-1']],
    [['maxmemory', '-1']],
    [['maxmemory', '10%']],
    [['maxmemory-clients', '101%']],
    [['maxmemory-clients', '1.5%']],
    [['maxmemory-clients', 'x']],
    [['replicaof', 'x']],
    [['slaveof', 'x']],
    [['repl-backlog-size', '0k']],
  ])('CONFIG SET %j gets the same error', async (words) => {
    const theirs = await ask('CONFIG', 'SET', ...words);
    if (!(theirs instanceof ErrorReply)) throw new Error('Redis accepts it');
    const pairs: [string, string][] = [];
    for (let i = 0; i < words.length; i += 2) pairs.push([words[i]!, words[i + 1]!]);
    expect(new Config({ flags: [], environment: {} }).set(pairs)).toBe(theirs.message);
  });

  test.each([
    ['save', '900 1 60 010000'],
    ['save', '0900 1'],
    ['save', ''],
    ['notify-keyspace-events', 'KEA'],
    ['notify-keyspace-events', 'mEK$gn'],
    ['notify-keyspace-events', 'Ag$lshzxeKEtmdn'],
    ['notify-keyspace-events', 'K'],
    ['notify-keyspace-events', ''],
    ['client-output-buffer-limit', 'normal 1mb 2mb 60'],
    ['client-output-buffer-limit', 'replica 1gb 2 3 PUBSUB 5 6 7 replica 0 0 0'],
    ['client-output-buffer-limit', ''],
    ['latency-tracking-info-percentiles', '50.123456789 0 100 +5 .5 1e1'],
    ['latency-tracking-info-percentiles', ''],
    ['slowlog-log-slower-than', '9223372036854775807'],
    ['slowlog-max-len', '0'],
    ['maxmemory', '100k'],
    ['maxmemory', '0'],
    ['maxmemory-clients', '10%'],
    ['maxmemory-clients', '0%'],
    ['maxmemory-clients', '1mb'],
    ['hash-max-ziplist-value', '7'],
    ['LUA-TIME-LIMIT', '6000'],
  ])('%s %j is shown in the same form', async (name, value) => {
    const ours = new Config({ flags: [], environment: {} });
    // Each has the defaults of its own for the classes that are not named.
    const start = 'normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60';
    if (name === 'client-output-buffer-limit') await ask('CONFIG', 'SET', name, start);
    expect(await ask('CONFIG', 'SET', name, value)).toBe('OK');
    expect(ours.set([[name, value]])).toBeUndefined();
    const theirs = (await ask('CONFIG', 'GET', name)) as Uint8Array[];
    expect(ours.get(name).flat()).toEqual(theirs.map((word) => Buffer.from(word).toString()));
  });

  test.each([
    ...[
      '*',
      'max*',
      'MAX*',
      '*memory*',
      'm?xclients',
      'tim[a-f]out',
      'tim[f-a]out',
      'tim[^a-d]out',
      'tim[^e]out',
    ],
    ...[
      'time\\out',
      '*[',
      '[tm]*',
      'timeout[',
      '*-*-*',
      '[^a-z]*',
      '?',
      'h*[-]*s',
      'maxclient[s',
      'max[\\c]lients',
    ],
  ])('the pattern %s finds the same names', async (pattern) => {
    const known = DIRECTIVES.filter(({ secret }) => !secret).map(({ name }) => name);
    const theirs = (await ask('CONFIG', 'GET', pattern)) as Uint8Array[];
    const theirNames = theirs.filter((_, i) => i % 2 === 0).map((name) => Buffer.from(name).toString());
    const all = (await ask('CONFIG', 'GET', '*')) as Uint8Array[];
    const theirKnown = new Set(all.map((name) => Buffer.from(name).toString()));
    const ours = new Config({ flags: [], environment: {} }).get(pattern).map(([name]) => name);
    expect(ours.filter((name) => theirKnown.has(name.toLowerCase())).sort()).toEqual(
      theirNames.filter((name) => known.includes(name.toLowerCase())).sort(),
    );
  });
});
