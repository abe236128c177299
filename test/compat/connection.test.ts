/**
 * Commands on a connection: hstore answers as Redis 7.0 does, byte by byte, in RESP2 and, behind HELLO 3, in RESP3.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ANY_NUMBER, CLIENT_LINES, HELLO_FIELDS } from './normalise.ts';
import { Pair } from './pair.ts';
import { converse, type Step, splitReplies } from './wire.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await Pair.start();
}, 60_000);
afterAll(() => pair.end());

const BINARY = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte)).join('');

/** Each is sent in one write, in both protocols. */
const CASES: Readonly<Record<string, readonly Step[]>> = {
  PING: [
    ['PING'],
    ['ping'],
    ['PiNg', 'x'],
    ['PING', ''],
    ['PING', BINARY],
    ['PING', 'a', 'b'],
    ['ping', 'a', 'b', 'c'],
  ],
  ECHO: [['ECHO', 'x'], ['echo', ''], ['ECHO', BINARY], ['ECHO'], ['ECHO', 'a', 'b']],
  SELECT: [
    ['SELECT', '0'],
    ['select', '0'],
    ['SELECT'],
    ['SELECT', '0', '0'],
    ['SELECT', 'abc'],
    ['SELECT', ''],
    ['SELECT', '-1'],
    ['SELECT', '16'],
    ['SELECT', '2147483647'],
    ['SELECT', '2147483648'],
    ['SELECT', '-2147483648'],
    ['SELECT', '-2147483649'],
    ['SELECT', '9223372036854775807'],
    ['SELECT', '9223372036854775808'],
    ['SELECT', '99999999999999999999999'],
    ['SELECT', '00'],
    ['SELECT', '+0'],
    ['SELECT', '-0'],
    ['SELECT', ' 0'],
    ['SELECT', '0 '],
    ['SELECT', '0x0'],
    ['SELECT', '1.5'],
    ['SELECT', '-'],
    ['SELECT', '9999999999'],
    ['SELECT', '4294967296'],
  ],
  'AUTH without a password': [
    ['AUTH', 'x'],
    ['AUTH'],
    ['AUTH', 'default', 'x'],
    ['AUTH', 'default', ''],
    ['AUTH', 'nobody', 'x'],
    ['AUTH', 'DEFAULT', 'x'],
    ['AUTH', 'a', 'b', 'c'],
    ['auth', 'a', 'b', 'c', 'd'],
    ['AUTH', ''],
  ],
  HELLO: [
    ['HELLO', '2'],
    ['HELLO', '3'],
    ['HELLO'],
    ['hello', '2'],
    ['HELLO', '4'],
    ['HELLO', '1'],
    ['HELLO', '0'],
    ['HELLO', '-1'],
    ['HELLO', 'abc'],
    ['HELLO', ''],
    ['HELLO', '3.0'],
    ['HELLO', '03'],
    ['HELLO', '+3'],
    ['HELLO', '9223372036854775807'],
    ['HELLO', '9223372036854775808'],
    ['HELLO', '-9223372036854775808'],
    ['HELLO', '99999999999999999999'],
    ['HELLO', '3', 'AUTH'],
    ['HELLO', '3', 'AUTH', 'default'],
    ['HELLO', '3', 'AUTH', 'default', 'x'],
    ['HELLO', '2', 'AUTH', 'nobody', 'x'],
    ['HELLO', '3', 'SETNAME'],
    ['HELLO', '3', 'SETNAME', 'me'],
    ['CLIENT', 'GETNAME'],
    ['HELLO', '2', 'setname', 'with space'],
    ['CLIENT', 'GETNAME'],
    ['HELLO', '3', 'foo'],
    ['HELLO', '3', 'foo', 'bar'],
    ['HELLO', '3', 'a\r\nb'],
    ['HELLO', '3', 'a\0b'],
    ['HELLO', '3', 'x'.repeat(300)],
    ['HELLO', '3', 'SETNAME', 'n1', 'SETNAME', 'n2'],
    ['CLIENT', 'GETNAME'],
    ['HELLO', '3', 'AUTH', 'default', 'x', 'SETNAME', 'n3'],
    ['CLIENT', 'GETNAME'],
    ['HELLO', '2', 'SETNAME', ''],
    ['CLIENT', 'GETNAME'],
    ['HELLO', 'abc', 'foo'],
    ['HELLO', '9', 'foo'],
    ['HELLO', 'AUTH', 'default', 'x'],
  ],
  RESET: [
    ['RESET'],
    ['reset'],
    ['RESET', 'x'],
    ['CLIENT', 'SETNAME', 'a'],
    ['HELLO', '3'],
    ['GET', 'missing'],
    ['RESET'],
    ['CLIENT', 'GETNAME'],
    ['GET', 'missing'],
    ['HELLO', '3'],
    ['RESET'],
    ['HELLO'],
  ],
  QUIT: [['PING'], ['QUIT', 'x', 'y'], ['PING']],
  'quit in lower case': [['SET', 'quit', '1'], ['quit'], ['SET', 'quit', '2']],
  'inline QUIT': [['PING'], 'QUIT\r\n', ['PING']],
  'a SET behind a QUIT was not carried out': [
    ['GET', 'quit'],
    ['DEL', 'quit'],
  ],
  'CLIENT ID and names': [
    ['CLIENT', 'GETNAME'],
    ['CLIENT', 'SETNAME', 'me'],
    ['client', 'getname'],
    ['CLIENT', 'SETNAME', ''],
    ['CLIENT', 'GETNAME'],
    ['CLIENT', 'SETNAME', 'a b'],
    ['CLIENT', 'SETNAME', 'a\nb'],
    ['CLIENT', 'SETNAME', 'a\0b'],
    ['CLIENT', 'SETNAME', '\xe9'],
    ['CLIENT', 'SETNAME', '~!'],
    ['CLIENT', 'GETNAME'],
    ['CLIENT', 'SETNAME'],
    ['CLIENT', 'SETNAME', 'a', 'b'],
    ['CLIENT', 'GETNAME', 'x'],
    ['CLIENT', 'ID', 'x'],
    ['CLIENT'],
    ['client'],
    ['CLIENT', 'FOO'],
    ['client', 'foo', 'bar'],
    ['CLIENT', ''],
    ['CLIENT', 'a\r\nb'],
    ['CLIENT', 'a\0b'],
    ['CLIENT', 'y'.repeat(300)],
    ['CLIENT', 'INFO', 'x'],
    ['CLIENT', 'MAINT_NOTIFICATIONS', 'ON', 'moving-endpoint-type', 'external-ip'],
  ],
  'CLIENT LIST, errors': [
    ['CLIENT', 'LIST', 'TYPE'],
    ['CLIENT', 'LIST', 'TYPE', 'foo'],
    ['CLIENT', 'LIST', 'TYPE', 'master'],
    ['CLIENT', 'LIST', 'TYPE', 'replica'],
    ['CLIENT', 'LIST', 'TYPE', 'slave'],
    ['CLIENT', 'LIST', 'TYPE', 'PUBSUB'],
    ['CLIENT', 'LIST', 'foo'],
    ['CLIENT', 'LIST', 'foo', 'bar'],
    ['CLIENT', 'LIST', 'ID'],
    ['CLIENT', 'LIST', 'ID', 'x'],
    ['CLIENT', 'LIST', 'ID', '0'],
    ['CLIENT', 'LIST', 'ID', '-1'],
    ['CLIENT', 'LIST', 'ID', '99999999'],
    ['CLIENT', 'LIST', 'ID', '9999999999999999'],
    ['CLIENT', 'LIST', 'ID', '9223372036854775807'],
    ['CLIENT', 'LIST', 'ID', '9223372036854775808'],
    ['CLIENT', 'LIST', 'ID', '99999998', '99999999'],
    ['CLIENT', 'LIST', 'ID', '99999998', 'x'],
    ['CLIENT', 'LIST', 'ID', '01'],
    ['CLIENT', 'LIST', 'TYPE', 'normal', 'x'],
    ['CLIENT', 'LIST', 'TYPE', 'normal', 'ID', '1'],
    ['CLIENT', 'LIST', 'TYPE', 'a\r\nb'],
    ['CLIENT', 'LIST', 'TYPE', 'a\0b'],
  ],
};

describe.each(['RESP2', 'RESP3'] as const)('in %s', (protocol) => {
  const first: Step[] = protocol === 'RESP3' ? [['HELLO', '3']] : [];
  test.each(Object.entries(CASES))('%s', async (_, steps) => {
    await pair.expectSame([...first, ...steps], HELLO_FIELDS);
  });
  test('CLIENT INFO and CLIENT LIST', async () => {
    const steps = [
      ['CLIENT', 'SETNAME', 'it'],
      ['CLIENT', 'INFO'],
      ['client', 'info'],
      ['GET', 'a'],
      ['CLIENT', 'INFO'],
      ['NOSUCH'],
      ['CLIENT', 'INFO'],
      ['CLIENT', 'NOSUCH'],
      ['CLIENT', 'INFO'],
      ['SET', 'a'],
      ['CLIENT', 'INFO'],
      ['CLIENT', 'ID', 'x'],
      ['CLIENT', 'INFO'],
    ];
    await pair.expectSame([...first, ...steps], [...HELLO_FIELDS, ...CLIENT_LINES]);
    await pair.expectSame(
      [...first, ['CLIENT', 'LIST'], ['CLIENT', 'LIST', 'TYPE', 'NORMAL'], ['CLIENT', 'ID']],
      [...HELLO_FIELDS, ...CLIENT_LINES, ...ANY_NUMBER],
    );
  });
});

describe('where hstore is not as Redis 7.0', () => {
  const ask = async (...steps: Step[]) => splitReplies(await converse(pair.ports.hstore, steps)).slice(0, -1);

  test('CLIENT SETINFO, of Redis 7.2, is kept and shown', async () => {
    const steps: Step[] = [
      ['CLIENT', 'SETINFO', 'LIB-NAME', 'lib(x_y)'],
      ['client', 'setinfo', 'lib-ver', '1.2.3'],
      ['CLIENT', 'SETINFO', 'LIB-NAME', 'with space'],
      ['CLIENT', 'SETINFO', 'lib-ver', 'a\nb'],
      ['CLIENT', 'SETINFO', 'lib-nosuch', 'x'],
      ['CLIENT', 'SETINFO', 'LIB-NAME'],
      ['CLIENT', 'INFO'],
    ];
    const replies = await ask(...steps);
    expect(replies.slice(0, 6)).toEqual([
      '+OK\r\n',
      '+OK\r\n',
      '-ERR lib-name cannot contain spaces, newlines or special characters.\r\n',
      '-ERR lib-ver cannot contain spaces, newlines or special characters.\r\n',
      "-ERR Unrecognized option 'lib-nosuch'\r\n",
      "-ERR wrong number of arguments for 'client|setinfo' command\r\n",
    ]);
    expect(replies[6]).toMatch(/ lib-name=lib\(x_y\) lib-ver=1\.2\.3\n\r\n$/);
  });

  test('a HELLO that fails changes nothing', async () => {
    const replies = await ask(
      ['HELLO', '3', 'SETNAME', 'a', 'AUTH', 'nobody', 'x'],
      ['HELLO', '3', 'SETNAME', 'b', 'nosuch'],
      ['CLIENT', 'GETNAME'],
    );
    expect(replies.map((reply) => reply.split(' ')[0])).toEqual(['-WRONGPASS', '-ERR', '$-1\r\n']);
  });
});
