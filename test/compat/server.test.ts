/**
 * Commands on a server, and commands that do not exist or have the wrong number of arguments: as Redis 7.0, byte by byte.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ANY_NUMBER, HELLO_FIELDS } from './normalise.ts';
import { Pair } from './pair.ts';
import { converse, parseReply, type Step, splitReplies } from './wire.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await Pair.start();
}, 60_000);
afterAll(() => pair.end());

const LONG = 'y'.repeat(200);
const BINARY = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte)).join('');

const CASES: Readonly<Record<string, readonly Step[]>> = {
  'unknown commands': [
    ['NOSUCH'],
    ['nosuch', 'a'],
    ['NoSuch', 'a', 'b', 'c'],
    ['nosuch', ''],
    [''],
    ['', 'a'],
    [LONG],
    [LONG, LONG],
    [LONG.slice(0, 127)],
    [LONG.slice(0, 128)],
    [LONG.slice(0, 129), 'a'],
    ['nosuch', LONG],
    ['nosuch', LONG.slice(0, 60), LONG.slice(0, 60), LONG.slice(0, 60)],
    ['nosuch', ...'abcdefghijklmnopqrstuvwxyz'.repeat(3)],
    ['nosuch', LONG.slice(0, 121), 'b'],
    ['nosuch', LONG.slice(0, 124), 'b', 'c'],
    ['nosuch', LONG.slice(0, 125), 'b', 'c'],
    ['nosuch', LONG.slice(0, 126), 'b'],
    ['no\r\nsuch', 'a\r\nb', '\n'],
    ['no\0such', 'a\0b', 'c'],
    ['\0', '\0'],
    [BINARY, BINARY],
    ['\xff\xfe', '\xe9'],
    ["a'b", 'c"d'],
    ['get\0', 'a'],
    [' get', 'a'],
    ['get ', 'a'],
    ['nosuch|get'],
    ['config|get', 'a'],
    ['client|id'],
    'nosuch a b\r\n',
    "nosuch \"a b\" 'c\\'d'\r\n",
    '"" a\r\n',
    'nosuch \xff\r\n',
    'n"o"such\r\n',
  ],
  'unknown subcommands': ['CLIENT', 'CONFIG', 'COMMAND', 'client', 'cOnfiG'].flatMap((name) => [
    [name, 'NOSUCH'],
    [name, 'nosuch', 'a'],
    [name, ''],
    [name, LONG],
    [name, `${LONG}${LONG}`, 'b'],
    [name, 'a\r\nb'],
    [name, 'a\0b'],
    [name, '\0'],
    [name, BINARY],
    [name, 'get|x'],
    [name, `${name}|get`],
  ]),
  'CONFIG GET': [
    ['CONFIG', 'GET', 'appendfsync'.replace('append', 'nosuch')],
    ['config', 'get', 'maxclients'],
    ['CONFIG', 'GET', 'MaxClients'],
    ['CONFIG', 'GET', 'maxclients', 'maxclients'],
    ['CONFIG', 'GET', 'maxclien*', 'maxclients'],
    ['CONFIG', 'GET', 'maxclients', 'MAXCLIENTS'],
    ['CONFIG', 'GET', '[tT]imeout'],
    ['CONFIG', 'GET', 'time?ut'],
    ['CONFIG', 'GET', 'TIME?UT'],
    ['CONFIG', 'GET', ''],
    ['CONFIG', 'GET', 'a\0b'],
    ['CONFIG', 'GET', 'nosuch', 'timeout', 'nosuch*'],
    ['CONFIG', 'GET'],
    ['CONFIG'],
    ['CONFIG', 'GET', 'hash-max-listpack-valu[a-f]'],
    ['CONFIG', 'GET', 'save'],
    ['CONFIG', 'GET', 'databases'],
    ['CONFIG', 'GET', 'tcp-keepalive'],
    ['CONFIG', 'GET', 'requirepass'],
    ['CONFIG', 'GET', 'notify-keyspace-events'],
    ['CONFIG', 'GET', 'tls-por?'],
    ['CONFIG', 'GET', 'slowlog-max-len'],
    ['CONFIG', 'GET', 'hz'],
    ['CONFIG', 'GET', 'set-max-*'],
    ['CONFIG', 'GET', 'hll*'],
    ['CONFIG', 'GET', 'maxmemory-policy'],
  ],
  'CONFIG SET': [
    ['CONFIG', 'SET'],
    ['CONFIG', 'SET', 'timeout'],
    ['CONFIG', 'SET', 'timeout', '1', 'maxclients'],
    ['CONFIG', 'SET', 'nosuch', '1'],
    ['CONFIG', 'SET', 'timeout', 'abc'],
    ['CONFIG', 'SET', 'timeout', '-1'],
    ['CONFIG', 'SET', 'timeout', ''],
    ['CONFIG', 'SET', 'timeout', '1.5'],
    ['CONFIG', 'SET', 'timeout', '99999999999'],
    ['CONFIG', 'SET', 'timeout', '99999999999999999999999'],
    ['CONFIG', 'SET', 'timeout', ' 1'],
    ['CONFIG', 'SET', 'timeout', '01'],
    ['CONFIG', 'GET', 'timeout'],
    ['CONFIG', 'SET', 'timeout', '17'],
    ['CONFIG', 'GET', 'timeout'],
    ['config', 'set', 'TIMEOUT', '18'],
    ['CONFIG', 'GET', 'timeout'],
    ['CONFIG', 'SET', 'timeout', '19', 'nosuch', '1'],
    ['CONFIG', 'GET', 'timeout'],
    ['CONFIG', 'SET', 'timeout', '20', 'hz', 'x'],
    ['CONFIG', 'GET', 'timeout'],
    ['CONFIG', 'SET', 'timeout', '20', 'timeout', '21'],
    ['CONFIG', 'GET', 'timeout'],
    ['CONFIG', 'SET', 'timeout', '0', 'slowlog-max-len', '100'],
    ['CONFIG', 'GET', 'timeout'],
    ['CONFIG', 'GET', 'slowlog-max-len'],
    ['CONFIG', 'SET', 'slowlog-max-len', '128'],
    ['CONFIG', 'SET', 'databases', '3', 'nosuch', 'x'],
    ['CONFIG', 'SET', 'nosuch', 'x', 'databases', '3'],
    ['CONFIG', 'SET', 'databases', '3', 'databases', '4'],
    ['CONFIG', 'SET', 'databases', '16'],
    ['CONFIG', 'SET', 'Databases', '3'],
    ['CONFIG', 'SET', 'activerehashing', 'maybe'],
    ['CONFIG', 'SET', 'activerehashing', 'YES'],
    ['CONFIG', 'GET', 'activerehashing'],
    ['CONFIG', 'SET', 'loglevel', 'loud'],
    ['CONFIG', 'SET', 'loglevel', 'NOTICE'],
    ['CONFIG', 'GET', 'loglevel'],
    ['CONFIG', 'SET', 'hll-sparse-max-bytes', '1kb'],
    ['CONFIG', 'GET', 'hll-sparse-max-bytes'],
    ['CONFIG', 'SET', 'hll-sparse-max-bytes', '1x'],
    ['CONFIG', 'SET', 'hll-sparse-max-bytes', '3000'],
    ['CONFIG', 'SET', 'no\r\nsuch', '1'],
    ['CONFIG', 'SET', 'no\0such', '1'],
    ['CONFIG', 'SET', LONG, '1'],
    ['CONFIG', 'SET', '', ''],
    ['CONFIG', 'SET', 'maxclien*', '5'],
  ],
  'CONFIG RESETSTAT': [
    ['CONFIG', 'RESETSTAT'],
    ['config', 'resetstat'],
    ['CONFIG', 'RESETSTAT', 'x'],
  ],
  COMMAND: [
    ['COMMAND', 'COUNT', 'x'],
    ['COMMAND', 'INFO', 'nosuch'],
    ['COMMAND', 'INFO', 'get|key', 'config|get|key', 'config|', '|', ''],
    ['COMMAND', 'INFO', 'get', 'nosuch', 'GET'],
    ['command', 'info', 'get|x', 'config|nosuch', '', '|', 'get|'],
    ['COMMAND', 'DOCS', 'nosuch'],
    ['COMMAND', 'DOCS', 'get', 'nosuch', 'GET'],
    ['COMMAND', 'DOCS', ''],
    ['COMMAND', 'LIST', 'x'],
    ['COMMAND', 'LIST', 'FILTERBY'],
    ['COMMAND', 'LIST', 'FILTERBY', 'PATTERN'],
    ['COMMAND', 'LIST', 'FILTERBY', 'PATTERN', 'ge[t]'],
    ['COMMAND', 'LIST', 'filterby', 'pattern', 'GET'],
    ['COMMAND', 'LIST', 'FILTERBY', 'PATTERN', 'h?llo'],
    ['COMMAND', 'LIST', 'FILTERBY', 'PATTERN', 'nosuch*'],
    ['COMMAND', 'LIST', 'FILTERBY', 'MODULE', 'x'],
    ['COMMAND', 'LIST', 'FILTERBY', 'ACLCAT', 'nosuch'],
    ['COMMAND', 'LIST', 'FILTERBY', 'x', 'y'],
    ['COMMAND', 'LIST', 'FILTERBY', 'PATTERN', 'get', 'x'],
    ['COMMAND', 'LIST', 'FILTERBY', 'PATTERN', 'ec\\ho'],
    ['COMMAND', 'LIST', 'FILTERBY', 'PATTERN', '[^a-d]cho'],
    ['COMMAND', 'LIST', 'FILTERBY', 'PATTERN', 'config|ge*'],
    ['COMMAND', 'LIST', 'FILTERBY', 'PATTERN', 'client|i[d]*'],
    ['COMMAND', 'GETKEYS'],
    ['COMMAND', 'GETKEYS', 'get'],
    ['COMMAND', 'GETKEYS', 'get', 'a'],
    ['COMMAND', 'GETKEYS', 'GET', 'a', 'b'],
    ['COMMAND', 'GETKEYS', 'nosuch', 'a'],
    ['COMMAND', 'GETKEYS', 'ping', 'a'],
    ['COMMAND', 'GETKEYS', 'mget', 'a', 'b', 'c'],
    ['COMMAND', 'GETKEYS', 'mset', 'a', '1', 'b', '2'],
    ['COMMAND', 'GETKEYS', 'MSET', 'a', '1', 'b'],
    ['COMMAND', 'GETKEYS', 'MSETNX', 'a', '1', 'b', '2', 'c'],
    ['COMMAND', 'GETKEYS', 'set', 'a', '1', 'EX', '1'],
    ['COMMAND', 'GETKEYS', 'set', 'a', '1', 'GET'],
    ['COMMAND', 'GETKEYS', 'set', 'a'],
    ['COMMAND', 'GETKEYS', 'mget', 'a'],
    ['COMMAND', 'GETKEYS', 'del', 'a', 'b'],
    ['COMMAND', 'GETKEYS', 'config', 'get', 'x'],
    ['COMMAND', 'GETKEYS', 'config', 'x'],
    ['COMMAND', 'GETKEYS', 'config|get', 'x', 'y'],
    ['COMMAND', 'GETKEYS', 'client', 'id', 'x'],
    ['COMMAND', 'GETKEYS', 'cluster', 'keyslot', 'x'],
    ['COMMAND', 'GETKEYS', 'dbsize', 'x', 'y'],
  ],
  'INFO of unknown sections': [
    ['INFO', 'nosuch'],
    ['info', ''],
    ['INFO', 'a\0b'],
    ['INFO', 'no', 'such'],
  ],
  TIME: [['TIME', 'x']],
};

describe.each(['RESP2', 'RESP3'] as const)('in %s', (protocol) => {
  const first: Step[] = protocol === 'RESP3' ? [['HELLO', '3']] : [];
  test.each(Object.entries(CASES))('%s', async (_, steps) => {
    await pair.expectSame([...first, ...steps], HELLO_FIELDS);
  });
});

test.each([
  'timeout maxclients',
  'MAXclients maxc* nosuch timeou*',
  'hash-max-*',
  'lazyfree*',
  'list-*',
  '[z]set-*',
  'stream-*',
  '*-M?x-*-[et-z]*',
])('CONFIG GET %s finds the same, in whatever order', async (pattern) => {
  const [ours, theirs] = await Promise.all(
    [pair.ports.hstore, pair.ports.redis].map(async (port) => {
      const reply = splitReplies(await converse(port, [['CONFIG', 'GET', ...pattern.split(' ')]]))[0]!;
      const words = parseReply(reply) as string[];
      return words.flatMap((word, i) => (i % 2 === 0 ? [`${word} ${words[i + 1]}`] : [])).sort();
    }),
  );
  expect(ours).toEqual(theirs);
});

interface Row {
  readonly name: string;
  readonly arity: number;
  readonly subcommands: readonly Row[];
}

async function commandTable(): Promise<Row[]> {
  const rowOf = (row: unknown): Row => {
    const fields = row as [string, number, ...unknown[]];
    return { name: fields[0], arity: fields[1], subcommands: (fields[9] as unknown[]).map(rowOf) };
  };
  const reply = splitReplies(await converse(pair.ports.hstore, [['COMMAND']]))[0]!;
  return (parseReply(reply) as unknown[]).map(rowOf);
}

/** Redis would carry these out, or refuse them for a reason that is not there in hstore. */
const isInRedis = (name: string) => name !== 'client|setinfo' && !/^(hstore|mr)\./.test(name);

test('every command and subcommand with too few and with too many arguments', async () => {
  const rows = (await commandTable()).flatMap((row) => [row, ...row.subcommands]);
  expect(rows.length).toBeGreaterThan(60);
  const steps: Step[] = [];
  for (const { name, arity } of rows.filter((row) => isInRedis(row.name))) {
    const words = name.split('|');
    for (let argc = words.length; argc < Math.abs(arity); argc++) {
      const args = Array.from({ length: argc - words.length }, () => 'x');
      steps.push([...words, ...args], [...words.map((word) => word.toUpperCase()), ...args]);
    }
    if (arity > 0) {
      for (const more of [1, 2, 30]) {
        steps.push([...words, ...Array.from({ length: arity - words.length + more }, () => 'x')]);
      }
    }
  }
  await pair.expectSame(steps.filter((step) => step[0]!.toLowerCase() !== 'quit'));
});

test('COMMAND INFO and COMMAND DOCS tell the same of every command that both have', async () => {
  const names = (await commandTable()).flatMap((row) => [
    row.name,
    ...row.subcommands.map(({ name }) => name),
  ]);
  for (const name of names.filter(isInRedis)) {
    const [ours, theirs] = await Promise.all(
      [pair.ports.hstore, pair.ports.redis].map(async (port) => {
        const steps = [
          ['HELLO', '3'],
          ['COMMAND', 'INFO', name],
          ['COMMAND', 'DOCS', name],
        ];
        return splitReplies(await converse(port, steps))
          .slice(1, 3)
          .map((reply) => parseReply(reply));
      }),
    );
    expect.soft(withoutSubcommands(ours!), name).toEqual(withoutSubcommands(theirs!));
  }
});

/** A container has fewer subcommands in hstore; each is compared by itself. */
function withoutSubcommands(replies: readonly unknown[]): unknown {
  const [[info], [name, docs]] = replies as [[unknown[]], [string, unknown[]]];
  const at = docs.indexOf('subcommands');
  return { info: info!.slice(0, 9), name, docs: at < 0 ? docs : docs.toSpliced(at, 2) };
}

test.each(['object', 'slowlog', 'latency', 'memory', 'config', 'command', 'get'])(
  'COMMAND INFO %s has the subcommands, in whatever order',
  async (name) => {
    const [ours, theirs] = await Promise.all(
      [pair.ports.hstore, pair.ports.redis].map(async (port) => {
        const [, reply] = splitReplies(
          await converse(port, [
            ['HELLO', '3'],
            ['COMMAND', 'INFO', name],
          ]),
        );
        const subcommands = splitReplies(reply!.slice('*1\r\n*10\r\n'.length))[9]!;
        const [header] = subcommands.split('\r\n', 1);
        return [header, ...splitReplies(subcommands.slice(header!.length + 2)).sort()];
      }),
    );
    expect(ours).toEqual(theirs);
  },
);

test('COMMAND COUNT, COMMAND LIST and COMMAND tell of the same commands', async () => {
  const steps = [
    ['COMMAND', 'COUNT'],
    ['COMMAND', 'LIST'],
    ['COMMAND'],
    ['COMMAND', 'INFO'],
    ['COMMAND', 'DOCS'],
  ];
  const replies = splitReplies(await converse(pair.ports.hstore, steps))
    .slice(0, 5)
    .map(parseReply);
  const [count, list, all, info, docs] = replies as [number, string[], [string][], [string][], unknown[]];
  const names = list.filter((name) => !name.includes('|'));
  expect(names.length).toBe(count);
  expect(all.map(([name]) => name)).toEqual(names);
  expect(info).toEqual(all);
  expect(docs.filter((_, i) => i % 2 === 0)).toEqual(names);
});

test('COMMAND COUNT and TIME have the form of Redis', async () => {
  const time = { what: /^\*2\r\n\$10\r\n\d{10}\r\n\$\d\r\n\d{1,6}\r\n/g, as: 'TIME' };
  await pair.expectSame([['COMMAND', 'COUNT'], ['TIME'], ['time']], [...ANY_NUMBER, time]);
});
