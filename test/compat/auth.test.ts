/**
 * With a password: who may do what before AUTH, and what AUTH and HELLO AUTH answer. As Redis 7.0, byte by byte.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { HELLO_FIELDS } from './normalise.ts';
import { Pair } from './pair.ts';
import { converse, type Step, splitReplies } from './wire.ts';

const PASSWORD = 'p \u00e4ss*word';

let pair: Pair;
beforeAll(async () => {
  pair = await Pair.start({ flags: ['--requirepass', 'secret'], first: [['AUTH', 'secret']] });
}, 60_000);
afterAll(() => pair.end());

/** Each on a connection of its own, that has given no password. */
const STRANGERS: Readonly<Record<string, readonly Step[]>> = {
  'commands of all kinds': [
    ['GET', 'a'],
    ['SET', 'a', '1'],
    ['PING'],
    ['ECHO', 'x'],
    ['INFO'],
    ['COMMAND'],
    ['COMMAND', 'COUNT'],
    ['CONFIG', 'GET', '*'],
    ['CLIENT', 'ID'],
    ['CLIENT', 'SETNAME', 'x'],
    ['SELECT', '0'],
    ['DBSIZE'],
    ['FLUSHALL'],
    ['TIME'],
    ['CLUSTER', 'INFO'],
    ['CLIENT', 'GETNAME'],
    'PING\r\n',
  ],
  'commands that would be refused anyway': [
    ['GET'],
    ['GET', 'a', 'b'],
    ['NOSUCH', 'a'],
    ['CONFIG'],
    ['CONFIG', 'NOSUCH'],
    ['CONFIG', 'GET'],
    ['CLIENT', 'NOSUCH', 'x'],
    ['CLIENT', 'ID', 'x'],
    ['SET', 'a', 'b', 'NX', 'XX'],
    ['SELECT', 'abc'],
    ['PING', 'a', 'b'],
    ['AUTH'],
    ['HELLO', '2', '3'],
    ['RESET', 'x'],
    ['QUIT', 'x'],
  ],
  HELLO: [
    ['HELLO'],
    ['HELLO', '2'],
    ['HELLO', '3'],
    ['HELLO', '4'],
    ['HELLO', 'abc'],
    ['HELLO', '3', 'foo'],
    ['HELLO', '3', 'AUTH', 'default', 'wrong'],
    ['HELLO', '3', 'AUTH', 'nobody', 'secret'],
    ['HELLO', '3', 'AUTH', 'Default', 'secret'],
    ['PING'],
    ['HELLO', '3', 'SETNAME', 'not-yet'],
    ['HELLO', '4', 'AUTH', 'default', 'secret'],
    ['PING'],
    ['HELLO', '3', 'AUTH', 'default', 'secret'],
    ['PING'],
    ['RESET'],
    ['PING'],
    ['HELLO', '2', 'AUTH', 'default', 'secret', 'SETNAME', 'me'],
    ['CLIENT', 'GETNAME'],
    ['PING'],
    ['HELLO', '3', 'AUTH', 'default', 'wrong'],
    ['PING'],
    ['GET', 'missing'],
    ['HELLO', '3'],
    ['HELLO', '2', 'AUTH', 'default', 'wrong'],
    ['GET', 'missing'],
  ],
  'HELLO AUTH as the first command': [
    ['HELLO', '3', 'AUTH', 'default', 'secret'],
    ['GET', 'missing'],
  ],
  AUTH: [
    ['AUTH', 'wrong'],
    ['PING'],
    ['AUTH', ''],
    ['AUTH', 'secret '],
    ['AUTH', 'Secret'],
    ['AUTH', 'secret\0'],
    ['AUTH', 'default', 'wrong'],
    ['AUTH', 'nobody', 'secret'],
    ['AUTH', 'DEFAULT', 'secret'],
    ['AUTH', 'default\0', 'secret'],
    ['AUTH', 'a', 'b', 'c'],
    ['AUTH', 'x'.repeat(600)],
    ['PING'],
    ['AUTH', 'secret'],
    ['PING'],
    ['AUTH', 'wrong'],
    ['PING'],
    ['auth', 'default', 'secret'],
    ['PING'],
    ['AUTH', 'default', 'wrong'],
    ['PING'],
    ['RESET'],
    ['PING'],
    ['AUTH', 'default', 'secret'],
    ['PING'],
  ],
  'RESET and QUIT': [['RESET'], ['PING'], ['QUIT'], ['PING']],
  'an inline AUTH': ['AUTH secret\r\n', 'PING\r\n', ['GET', 'missing']],
  'AUTH with quotes': ['AUTH "se\\x63ret"\r\n', 'PING\r\n'],
  'more arguments than a stranger may send': [['PING'], ['DEL', ...'abcdefghijk']],
  'as many arguments as a stranger may send': [['DEL', ...'abcdefghi'], ['PING']],
  'a longer argument than a stranger may send': [['PING'], ['ECHO', 'x'.repeat(16_385)]],
  'as long an argument as a stranger may send': [['ECHO', 'x'.repeat(16_384)], ['PING']],
  'much, behind an AUTH': [
    ['AUTH', 'secret'],
    ['MGET', ...'abcdefghijklmn'],
    ['ECHO', 'x'.repeat(20_000)],
  ],
  'much, behind an AUTH that fails': [['AUTH', 'wrong'], ['MGET', ...'abcdefghijklmn'], ['PING']],
};

test.each(Object.entries(STRANGERS))('%s', async (_, steps) => {
  await pair.expectSame(steps, HELLO_FIELDS);
});

describe('CONFIG SET requirepass', () => {
  const set = (from: string, to: string) =>
    pair.expectSame([
      ...(from === '' ? [] : [['AUTH', from]]),
      ['CONFIG', 'SET', 'requirepass', to],
      ['CONFIG', 'GET', 'requirepass'],
      ['PING'],
    ]);

  test('counts from the next AUTH on, and the empty one asks for none', async () => {
    await set('secret', 'other');
    await pair.expectSame([['PING'], ['AUTH', 'secret'], ['AUTH', 'other'], ['PING']]);
    await set('other', '');
    await pair.expectSame(
      [['PING'], ['AUTH', 'x'], ['AUTH', 'default', 'x'], ['HELLO', '3', 'AUTH', 'default', 'y'], ['PING']],
      HELLO_FIELDS,
    );
    await set('', PASSWORD);
    await pair.expectSame([['PING'], ['AUTH', PASSWORD], ['PING']]);
    await set(PASSWORD, 'secret');
  });

  test('asks for nothing of connections that are in already', async () => {
    const steps: Step[] = [
      ['AUTH', 'secret'],
      ['CONFIG', 'SET', 'requirepass', 'other'],
      ['PING'],
      ['RESET'],
      ['PING'],
      ['AUTH', 'other'],
      ['CONFIG', 'SET', 'requirepass', 'secret'],
    ];
    await pair.expectSame(steps);
  });
});

test('the password is shown nowhere but to CONFIG GET', async () => {
  const steps = [
    ['AUTH', 'secret'],
    ['INFO', 'everything'],
    ['CLIENT', 'LIST'],
    ['COMMAND'],
    ['CLUSTER', 'NODES'],
  ];
  const replies = splitReplies(await converse(pair.ports.hstore, steps));
  expect(replies.length).toBe(6);
  for (const reply of replies) expect(reply).not.toContain('secret');
  expect(pair.hstore.servers[0]!.output).not.toContain('secret');
});
