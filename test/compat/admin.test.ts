/**
 * Commands by which a server is administered and tested: as Redis 7.0, byte by byte where both have the same to tell.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ProcessCluster, redisCli, until } from '../e2e/processes.ts';
import { ANY_NUMBER, HELLO_FIELDS } from './normalise.ts';
import { Pair } from './pair.ts';
import { converse, parseReply, type Step, splitReplies } from './wire.ts';

/** Where Redis writes its dumps: not here. */
const directory = mkdtempSync(join(tmpdir(), 'hstore-compat-'));
let pair: Pair;
beforeAll(async () => {
  pair = await Pair.start({ flags: ['--enable-debug-command', 'yes'], redisFlags: ['--dir', directory] });
}, 60_000);
afterAll(async () => {
  await pair.end();
  rmSync(directory, { recursive: true });
});

const TYPES = [
  ...[
    'string',
    'integer',
    'double',
    'bignum',
    'null',
    'array',
    'set',
    'map',
    'attrib',
    'push',
    'verbatim',
    'true',
  ],
  ...['false', 'nosuch', 'STRING', ''],
];

const CASES: Readonly<Record<string, readonly Step[]>> = {
  ROLE: [['ROLE'].concat('x'), ['role', 'x', 'y']],
  WAIT: [
    ['SET', 'a', '1'],
    ['WAIT', '0', '0'],
    ['WAIT', '-1', '10'],
    ['WAIT', '1', '5'],
    ['WAIT', '1', '1'],
    ['WAIT', 'x', '1'],
    ['WAIT', '1', 'x'],
    ['WAIT', '1', '-1'],
    ['WAIT', '1', '1.5'],
    ['WAIT', '99999999999999999999', '1'],
    ['WAIT', '1', '99999999999999999999'],
    ['WAIT', '0', '9223372036854775807'],
    ['WAIT', '1'],
  ],
  'SAVE and BGSAVE': [
    ['SAVE', 'x'],
    ['BGSAVE', 'x'],
    ['BGSAVE', 'SCHEDULE', 'x'],
    ['LASTSAVE', 'x'],
    ['SAVE'],
    ['BGSAVE'],
  ],
  'SHUTDOWN with wrong arguments': [
    ['SHUTDOWN', 'x'],
    ['SHUTDOWN', 'SAVE', 'NOSAVE'],
    ['SHUTDOWN', 'ABORT', 'NOW'],
    ['SHUTDOWN', 'NOW', 'ABORT'],
    ['SHUTDOWN', 'now', 'now', 'x'],
    ['SHUTDOWN', 'ABORT'],
    ['shutdown', 'abort'],
  ],
  LOLWUT: [
    ['LOLWUT'],
    ['LOLWUT', 'VERSION'],
    ['lolwut', 'version', 'x'],
    ['LOLWUT', 'VERSION', '7'],
    ['LOLWUT', '1'],
  ],
  FUNCTION: [
    ['FUNCTION'],
    ['FUNCTION', 'NOSUCH'],
    ['FUNCTION', 'LIST'],
    ['FUNCTION', 'LIST', 'WITHCODE'],
    ['FUNCTION', 'LIST', 'WITHCODE', 'WITHCODE'],
    ['FUNCTION', 'LIST', 'LIBRARYNAME'],
    ['FUNCTION', 'LIST', 'LIBRARYNAME', 'x', 'withcode'],
    ['FUNCTION', 'LIST', 'LIBRARYNAME', 'x', 'libraryname', 'y'],
    ['FUNCTION', 'LIST', 'a\0b'],
    ['FUNCTION', 'FLUSH'],
    ['FUNCTION', 'FLUSH', 'ASYNC'],
    ['FUNCTION', 'FLUSH', 'x'],
    ['FUNCTION', 'flush', 'sync', 'async'],
  ],
  'CONFIG REWRITE without a file': [
    ['CONFIG', 'REWRITE'],
    ['CONFIG', 'REWRITE', 'x'],
    ['CONFIG', 'HELP'],
  ],
  'COMMAND GETKEYSANDFLAGS': [
    ...['COMMAND HELP', 'COMMAND GETKEYSANDFLAGS', 'COMMAND GETKEYSANDFLAGS get'],
    ...[
      ...[
        'get a',
        'mset a 1 b 2',
        'mset a 1 b',
        'set a 1',
        'set a 1 get',
        'set a get',
        'set a 1 EX 5 GeT',
        'del a b',
      ],
      ...[
        'ping x',
        'nosuch x',
        'memory usage a',
        'memory usage',
        'memory nosuch a',
        'debug object a',
        'set a',
      ],
      ...[
        'memory stats',
        'getdel a',
        'append a b',
        'exists a a',
        'expire a 1',
        'setrange a 0 x',
        'config get x',
      ],
    ].flatMap((command) => [`COMMAND GETKEYSANDFLAGS ${command}`, `COMMAND GETKEYS ${command}`]),
  ].map((line) => line.split(' ')),
  'DEBUG with wrong arguments': [
    ['DEBUG'],
    ['DEBUG', 'NOSUCH'],
    ['debug', 'NoSuch', 'x', 'y'],
    ['DEBUG', 'a\r\nb'],
    ['DEBUG', 'HELP', 'x'],
    ['DEBUG', 'SLEEP'],
    ['DEBUG', 'SLEEP', '0', '0'],
    ['DEBUG', 'OBJECT'],
    ['DEBUG', 'OBJECT', 'nosuch'],
    ['DEBUG', 'OBJECT', 'a', 'b'],
    ['DEBUG', 'LOG'],
    ['DEBUG', 'LOG', 'a', 'b'],
    ['DEBUG', 'PROTOCOL'],
    ['DEBUG', 'DIGEST', 'x'],
    ['DEBUG', 'DIGEST-VALUE'],
    ['DEBUG', 'DIGEST-VALUE', 'nosuch', 'nosuch'],
    ['DEBUG', 'RELOAD', 'x'],
    ['DEBUG', 'SET-ACTIVE-EXPIRE'],
    ['DEBUG', 'QUICKLIST-PACKED-THRESHOLD'],
    ['DEBUG', 'QUICKLIST-PACKED-THRESHOLD', 'x'],
    ['DEBUG', 'QUICKLIST-PACKED-THRESHOLD', '5gb'],
  ],
  DEBUG: [
    ['DEBUG', 'SLEEP', '0'],
    ['DEBUG', 'sleep', '0.01'],
    ['DEBUG', 'SLEEP', '-1'],
    ['DEBUG', 'SLEEP', 'x'],
    ['DEBUG', 'LOG', 'a b\r\n'],
    ['DEBUG', 'SET-ACTIVE-EXPIRE', '0'],
    ['DEBUG', 'SET-ACTIVE-EXPIRE', '1'],
    ['DEBUG', 'QUICKLIST-PACKED-THRESHOLD', '100b'],
    ['DEBUG', 'QUICKLIST-PACKED-THRESHOLD', '0'],
    ['DEBUG', 'RELOAD'],
  ],
  'DEBUG PROTOCOL': TYPES.flatMap((type) => [['DEBUG', 'PROTOCOL', type], ['PING']]),
};

describe.each(['RESP2', 'RESP3'] as const)('in %s', (protocol) => {
  const first: Step[] = protocol === 'RESP3' ? [['HELLO', '3']] : [];
  test.each(Object.entries(CASES))('%s', async (_, steps) => {
    await pair.expectSame([...first, ...steps], HELLO_FIELDS);
  });
});

async function ask(port: number, ...steps: readonly Step[]): Promise<unknown[]> {
  return splitReplies(await converse(port, steps))
    .slice(0, steps.length)
    .map(parseReply);
}

test('LASTSAVE is a time, and grows with SAVE', async () => {
  await pair.expectSame([['LASTSAVE']], ANY_NUMBER);
  const [before] = (await ask(pair.ports.hstore, ['LASTSAVE'])) as number[];
  await until(async () => {
    const [, , after] = (await ask(pair.ports.hstore, ['INCR', 'n'], ['SAVE'], ['LASTSAVE'])) as number[];
    return after! > before!;
  }, 10_000);
});

test('DEBUG OBJECT tells what Redis tells', async () => {
  const line =
    /^Value at:0x[0-9a-f]+ refcount:\d+ encoding:(int|embstr|raw) serializedlength:\d+ lru:\d+ lru_seconds_idle:\d+$/;
  for (const port of [pair.ports.hstore, pair.ports.redis]) {
    const [, , int, embstr] = await ask(
      port,
      ...[
        ['MSET', 'i', '12', 's', 'abc'],
        ['GET', 'i'],
        ['DEBUG', 'OBJECT', 'i'],
        ['DEBUG', 'OBJECT', 's'],
      ],
    );
    expect(int).toMatch(line);
    expect(int).toMatch(/ refcount:2147483647 encoding:int /);
    expect(embstr).toMatch(/ refcount:1 encoding:embstr /);
  }
});

test('digests are equal for equal data, and only then', async () => {
  for (const port of [pair.ports.hstore, pair.ports.redis]) {
    const replies = await ask(
      port,
      ...[
        ['MSET', 'a', 'same', 'b', 'same', 'c', 'other'],
        ['DEBUG', 'DIGEST-VALUE', 'a', 'b', 'c'],
        ['DEBUG', 'DIGEST'],
        ['DEBUG', 'RELOAD'],
        ['GET', 'a'],
        ['DEBUG', 'DIGEST'],
        ['SET', 'c', 'same'],
        ['DEBUG', 'DIGEST'],
        ['DEBUG', 'DIGEST-VALUE', 'c'],
      ],
    );
    const [values, digest, reloaded, changed, value] = [1, 2, 5, 7, 8].map((i) => replies[i]);
    const [a, b, c] = values as string[];
    for (const each of [a, c, digest]) expect(each).toMatch(/^[0-9a-f]{40}$/);
    expect([b, reloaded, value]).toEqual([a, digest, [a]]);
    expect(a).not.toBe(c);
    expect(changed).not.toBe(digest);
  }
});

test('DEBUG SLEEP delays only the connection that asks', async () => {
  const asleep = converse(pair.ports.hstore, [['DEBUG', 'SLEEP', '3'], ['PING']]);
  const order: string[] = [];
  const [slow] = await Promise.all([
    asleep.then((output) => {
      order.push('asleep');
      return output;
    }),
    converse(pair.ports.hstore, [['SET', 'awake', '1']]).then(() => order.push('awake')),
  ]);
  expect(slow).toBe('+OK\r\n+PONG\r\n+OK\r\n');
  expect(order).toEqual(['awake', 'asleep']);
}, 20_000);

describe('enable-debug-command', () => {
  test('no: DEBUG is refused, with the text of Redis', async () => {
    const closed = await Pair.start();
    try {
      await closed.expectSame([['DEBUG', 'SLEEP', '0'], ['DEBUG', 'HELP'], ['DEBUG', 'NOSUCH'], ['DEBUG']]);
    } finally {
      await closed.end();
    }
  }, 60_000);

  test('local: a client on this machine may', async () => {
    const local = await Pair.start({ flags: ['--enable-debug-command', 'local'] });
    try {
      await local.expectSame([['DEBUG', 'SLEEP', '0']]);
    } finally {
      await local.end();
    }
  }, 60_000);
});

test('SHUTDOWN closes the connection without a reply, and ends the process with status 0', async () => {
  const cluster = await ProcessCluster.start(1);
  try {
    const [server] = cluster.servers;
    await converse(server!.port, [['SET', 'a', '1']]);
    expect(await converse(server!.port, [['SHUTDOWN', 'NOSAVE']])).toBe('');
    expect(await server!.exit()).toBe(0);
    expect(server!.output).toContain('stopped');
    server!.start();
    await cluster.ready();
    expect(redisCli(server!.port, 'get', 'a').output).toBe('1\n');
  } finally {
    for (const server of cluster.servers) if (server.running) server.signal('SIGTERM');
    await cluster.servers[0]!.exit();
    await cluster.end();
  }
}, 60_000);

test('CONFIG REWRITE changes the file, which holds at the next start', async () => {
  const cluster = await ProcessCluster.make(1);
  const path = join(cluster.directory, 'hstore.conf');
  writeFileSync(path, '# Ours.\nmaxclients 100\nslowlog-max-len 5\n');
  const flags = ['--config', path];
  const withFile = await ProcessCluster.make(1, flags);
  try {
    const [server] = withFile.servers;
    server!.start();
    await withFile.ready();
    await converse(server!.port, [
      ['CONFIG', 'SET', 'maxclients', '200', 'timeout', '9'],
      ['CONFIG', 'REWRITE'],
      ['CONFIG', 'REWRITE'],
    ]);
    expect(readFileSync(path, 'utf8')).toBe(
      '# Ours.\nmaxclients 200\nslowlog-max-len 5\n# Generated by CONFIG REWRITE\ntimeout 9\n',
    );
    await server!.kill();
    server!.start();
    await withFile.ready();
    expect(await ask(server!.port, ['CONFIG', 'GET', 'timeout'])).toEqual([['timeout', '9']]);
  } finally {
    await withFile.end();
    await cluster.end();
  }
}, 60_000);

describe('in a cluster of three', () => {
  let cluster: ProcessCluster;
  beforeAll(async () => {
    cluster = await ProcessCluster.start(3);
  }, 60_000);
  afterAll(() => cluster.end());

  test('the leader is the master of two replicas, the others are its replicas', async () => {
    const leader = cluster.leader();
    const followers = cluster.servers.filter((server) => server !== leader);
    const [[role, offset, replicas]] = (await ask(leader.port, ['ROLE'])) as [[string, number, string[][]]];
    expect([role, typeof offset]).toEqual(['master', 'number']);
    expect(replicas.map(([host, port]) => `${host} ${port}`).sort()).toEqual(
      followers.map(({ port }) => `127.0.0.1 ${port}`).sort(),
    );
    for (const { port } of followers) {
      const [[name, host, leaderPort, state]] = (await ask(port, ['ROLE'])) as [unknown[]];
      expect([name, host, leaderPort, state]).toEqual(['slave', '127.0.0.1', leader.port, 'connected']);
    }
  });

  test('WAIT answers with the majority at once, and waits for more as long as it may', async () => {
    const leader = cluster.leader();
    const followers = cluster.servers.filter((server) => server !== leader);
    expect(await ask(leader.port, ['SET', 'a', '1'], ['WAIT', '2', '10000'])).toEqual(['OK', 2]);
    for (const { port } of followers) {
      expect(await ask(port, ['SET', 'a', '1'], ['WAIT', '1', '10000'])).toEqual(['OK', 1]);
    }
    followers[0]!.signal('SIGSTOP');
    try {
      // A signal takes its time.
      const twoWrites = () => ask(leader.port, ['SET', 'a', '1'], ['WAIT', '2', '100'], ['WAIT', '1', '0']);
      await until(async () => `${await twoWrites()}` === 'OK,1,1', 10_000);
      const waiting = ask(leader.port, ['SET', 'a', '1'], ['WAIT', '2', '0']);
      await until(
        () => redisCli(leader.port, 'info', 'clients').output.includes('blocked_clients:1'),
        10_000,
      );
      followers[0]!.signal('SIGCONT');
      expect(await waiting).toEqual(['OK', 2]);
    } finally {
      followers[0]!.signal('SIGCONT');
    }
  }, 30_000);
});
