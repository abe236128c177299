/**
 * MULTI, EXEC, DISCARD, WATCH and UNWATCH: byte by byte as Redis 7.0, with one client and with several.
 */
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { HELLO_FIELDS, type Normalise } from './normalise.ts';
import { Pair } from './pair.ts';
import { Talk } from './talk.ts';
import type { Step } from './wire.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await Pair.start();
}, 60_000);
afterAll(() => pair.end());

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

async function talk(port: number): Promise<Talk> {
  const one = await Talk.start(port);
  onTestFinished(() => one.destroy());
  return one;
}

/** Both servers give what `story` returns. */
async function expectSameStory(story: (port: number) => Promise<unknown>): Promise<void> {
  const [ours, theirs] = await Promise.all([story(pair.ports.hstore), story(pair.ports.redis)]);
  expect(ours).toEqual(theirs);
}

/** What another client does to the watched key `k`, which holds "abc", or nothing where the name says so. */
const MEANWHILE: Readonly<Record<string, readonly Step[]>> = {
  'reads it': [
    ['GET', 'k'],
    ['STRLEN', 'k'],
    ['TTL', 'k'],
    ['DUMP', 'k'],
    ['TOUCH', 'k'],
    ['COPY', 'k', 'l'],
  ],
  'sets it to the same': [['SET', 'k', 'abc']],
  'sets it': [['SET', 'k', 'x']],
  'fails to set it': [
    ['SET', 'k', 'x', 'NX'],
    ['SETNX', 'k', 'x'],
    ['MSETNX', 'k', 'x', 'l', 'x'],
  ],
  'fails to change it': [
    ['INCR', 'k'],
    ['EXPIRE', 'k', 'x'],
    ['SETRANGE', 'k', '-1', 'x'],
  ],
  'gets and sets it': [['GETSET', 'k', 'x']],
  'gets and removes it': [['GETDEL', 'k']],
  'gets it with an option': [['GETEX', 'k', 'EX', '1000']],
  'gets it without option': [['GETEX', 'k']],
  'persists what has no end': [
    ['GETEX', 'k', 'PERSIST'],
    ['PERSIST', 'k'],
  ],
  'gives it an end': [['EXPIRE', 'k', '1000']],
  'gives it an end on a condition that fails': [['EXPIRE', 'k', '1000', 'XX']],
  'gives it an end in the past': [['EXPIREAT', 'k', '1']],
  'appends to it': [['APPEND', 'k', 'x']],
  'appends nothing to it': [['APPEND', 'k', '']],
  'overwrites a part': [['SETRANGE', 'k', '0', 'x']],
  'overwrites no part': [['SETRANGE', 'k', '0', '']],
  'sets a bit': [['SETBIT', 'k', '0', '1']],
  'sets a bit as it is': [['SETBIT', 'k', '0', '0']],
  'reads a bit field': [['BITFIELD', 'k', 'GET', 'u8', '0']],
  'sets a bit field': [['BITFIELD', 'k', 'SET', 'u8', '0', '1']],
  'stores the result of an operation': [['BITOP', 'NOT', 'k', 'k']],
  'stores an empty result': [['BITOP', 'AND', 'k', 'missing']],
  'sorts into it': [['SORT', 'missing', 'STORE', 'k']],
  'removes it': [['DEL', 'k']],
  'removes it and sets it again': [
    ['DEL', 'k'],
    ['SET', 'k', 'abc'],
  ],
  'removes another': [
    ['SET', 'l', '1'],
    ['DEL', 'l'],
  ],
  'renames it': [['RENAME', 'k', 'l']],
  'renames it to itself': [['RENAME', 'k', 'k']],
  'renames another to it': [
    ['SET', 'l', '1'],
    ['RENAME', 'l', 'k'],
  ],
  'fails to rename another to it': [
    ['SET', 'l', '1'],
    ['RENAMENX', 'l', 'k'],
  ],
  'copies another to it': [
    ['SET', 'l', '1'],
    ['COPY', 'l', 'k', 'REPLACE'],
  ],
  'fails to copy another to it': [
    ['SET', 'l', '1'],
    ['COPY', 'l', 'k'],
  ],
  'restores it': [['RESTORE', 'k', '0', '\0\xc0\x05\x0a\x00\xc7\x90\xc3\x90\x32\x13\xe1\x1c', 'REPLACE']],
  'moves it': [['MOVE', 'k', '3']],
  'moves another to it': [
    ['DEL', 'k'],
    ['SELECT', '3'],
    ['SET', 'k', '1'],
    ['MOVE', 'k', '0'],
  ],
  'flushes its database': [['FLUSHDB']],
  'flushes another': [['SELECT', '3'], ['FLUSHDB']],
  'flushes all': [['FLUSHALL']],
  'swaps its database with an empty one': [['SWAPDB', '0', '3']],
  'swaps its database with one that has it too': [
    ['SELECT', '3'],
    ['SET', 'k', 'abc'],
    ['SWAPDB', '3', '0'],
  ],
  'swaps its database and back': [
    ['SWAPDB', '0', '3'],
    ['SWAPDB', '0', '3'],
  ],
  'swaps others': [['SWAPDB', '4', '3']],
  'writes it in a transaction': [MULTI, ['SET', 'k', 'x'], EXEC],
  'discards a transaction': [MULTI, ['SET', 'k', 'x'], ['DISCARD']],
};
/** The same, when it was missing. */
const MEANWHILE_MISSING: Readonly<Record<string, readonly Step[]>> = {
  'does nothing': [],
  'reads it': [
    ['GET', 'k'],
    ['EXISTS', 'k'],
    ['PERSIST', 'k'],
    ['EXPIRE', 'k', '100'],
  ],
  'removes it': [
    ['DEL', 'k'],
    ['GETDEL', 'k'],
  ],
  'sets it': [['SET', 'k', 'x']],
  'fails to set it': [['SET', 'k', 'x', 'XX']],
  'appends nothing to it': [['APPEND', 'k', '']],
  'sets it to nothing': [['SETRANGE', 'k', '0', '']],
  'stores an empty result': [['BITOP', 'AND', 'k', 'missing']],
  flushes: [['FLUSHALL']],
  'swaps its database with an empty one': [['SWAPDB', '0', '3']],
  'swaps its database with one that has it': [
    ['SELECT', '3'],
    ['SET', 'k', 'abc'],
    ['SWAPDB', '3', '0'],
  ],
  'moves another to it': [
    ['SELECT', '3'],
    ['SET', 'k', '1'],
    ['MOVE', 'k', '0'],
  ],
};

describe.each([
  ['a watched key', [['SET', 'k', 'abc']], MEANWHILE],
  ['a watched key that is missing', [], MEANWHILE_MISSING],
] as const)('%s', (_, before, table) => {
  test.each(Object.entries(table))('when another client %s', async (_name, meanwhile) => {
    await expectSameStory(async (port) => {
      const watcher = await talk(port);
      const other = await talk(port);
      watcher.send(['FLUSHALL'], ...before, ['WATCH', 'k'], MULTI, ['PING'], ['SET', 'done', '1']);
      await watcher.replies(before.length + 5);
      const told = await other.send(...meanwhile).replies(meanwhile.length);
      watcher.send(EXEC, MULTI, ['GET', 'done'], EXEC);
      return [told, await watcher.replies(4)];
    });
  });
});

test('a watched key whose time comes before EXEC counts as changed, one whose time had come before WATCH does not', async () => {
  await expectSameStory(async (port) => {
    const watcher = await talk(port);
    watcher.send(['FLUSHALL'], ['SET', 'k', 'x', 'PX', '60'], ['WATCH', 'k'], MULTI, ['PING']);
    const other = await talk(port);
    const answers = await watcher.replies(5);
    while ((await other.ask('EXISTS', 'k')) !== ':0\r\n');
    answers.push(await watcher.ask('EXEC'));
    watcher.send(['WATCH', 'k'], MULTI, ['PING'], EXEC);
    answers.push(...(await watcher.replies(4)));
    return answers;
  });
});

test('others see in CLIENT LIST how far a transaction is', async () => {
  await expectSameStory(async (port) => {
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
  await expectSameStory(async (port) => {
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
