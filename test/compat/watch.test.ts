/**
 * WATCH, and what other clients do between it and EXEC: as Redis 7.0, and across a change of the leader.
 */
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { ProcessCluster } from '../e2e/processes.ts';
import { Pair } from './pair.ts';
import { talk } from './talk.ts';
import type { Step } from './wire.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await Pair.start();
}, 60_000);
afterAll(() => pair.end());

const MULTI: Step = ['MULTI'];
const EXEC: Step = ['EXEC'];

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
  [
    'a watched key',
    [
      ['SET', 'k', 'ab'],
      ['APPEND', 'k', 'c'],
    ],
    MEANWHILE,
  ],
  ['a watched key that is missing', [], MEANWHILE_MISSING],
] as const)('%s', (_, before, table) => {
  test.each(Object.entries(table))('when another client %s', async (_name, meanwhile) => {
    await pair.expectSameStory(async (port) => {
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
  await pair.expectSameStory(async (port) => {
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

test('a watched key that was missing, has come and is gone again counts as changed', async () => {
  await pair.expectSameStory(async (port) => {
    const watcher = await talk(port);
    const other = await talk(port);
    watcher.send(['FLUSHALL'], ['WATCH', 'k'], MULTI, ['PING']);
    await watcher.replies(4);
    const told = await other.send(['SET', 'k', 'x'], ['DEL', 'k']).replies(2);
    watcher.send(EXEC, ['WATCH', 'k'], ['UNWATCH'], MULTI, ['PING'], EXEC);
    return [told, await watcher.replies(6)];
  });
});

/** Redis remembers that something was done to the key; hstore compares what the key is. */
test('unlike in Redis, a watched key in a database that is swapped away and back is unchanged', async () => {
  const watcher = await talk(pair.ports.hstore);
  const other = await talk(pair.ports.hstore);
  watcher.send(['FLUSHALL'], ['SET', 'k', 'x'], ['WATCH', 'k'], MULTI, ['PING']);
  await watcher.replies(5);
  await other.send(['SWAPDB', '0', '3'], ['SWAPDB', '0', '3']).replies(2);
  expect(await watcher.ask('EXEC')).toBe('*1\r\n+PONG\r\n');
});

test('what was watched before the leader died decides under the next one', async () => {
  const cluster = await ProcessCluster.start(3);
  onTestFinished(() => cluster.end());
  const { port } = cluster.servers.find((server) => server !== cluster.leader())!;
  const [touched, untouched, waiting, other] = await Promise.all([port, port, port, port].map(talk));
  await other!.send(['SET', 'touched', '1'], ['SET', 'untouched', '1']).replies(2);
  for (const [client, key] of [
    [touched!, 'touched'],
    [untouched!, 'untouched'],
    [waiting!, 'untouched'],
  ] as const) {
    await client.send(['WATCH', key, 'missing'], MULTI, ['INCR', `${key}:count`]).replies(3);
  }
  const leader = cluster.leader();
  await leader.kill();
  // Nobody leads: this waits for the election.
  waiting!.send(EXEC);
  expect(await other!.ask('APPEND', 'touched', '')).toBe(':1\r\n');
  expect(await touched!.ask('EXEC')).toBe('*-1\r\n');
  expect(await untouched!.ask('EXEC')).toMatch(/^\*1\r\n:[12]\r\n$/);
  expect(await waiting!.replies(1)).toEqual([expect.stringMatching(/^\*1\r\n:[12]\r\n$/)]);
  expect(await other!.ask('MGET', 'touched:count', 'untouched:count')).toBe('*2\r\n$-1\r\n$1\r\n2\r\n');
  leader.start();
  await cluster.ready();
  await cluster.agree();
}, 60_000);
