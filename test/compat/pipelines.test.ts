/**
 * Pipelines: replies in the order of the requests, whatever kinds these are of and wherever they end. As Redis 7.0.
 */
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ANY_NUMBER, HELLO_FIELDS } from './normalise.ts';
import { Pair } from './pair.ts';
import { encode, type Step } from './wire.ts';

let pair: Pair;
beforeAll(async () => {
  pair = await Pair.start();
}, 60_000);
afterAll(() => pair.end());

const MIXED: readonly Step[] = [
  ['SET', 'a', '1'],
  ['GET', 'a'],
  ['PING'],
  ['INCR', 'a'],
  ['CLIENT', 'GETNAME'],
  ['GET', 'a'],
  ['NOSUCH', 'x'],
  ['INCR', 'a'],
  ['CONFIG', 'GET', 'timeout'],
  ['MGET', 'a', 'a'],
  ['SELECT', '0'],
  ['GET', 'a'],
  ['SET', 'a'],
  ['HELLO', '3'],
  ['GET', 'missing'],
  ['SET', 'a', '10', 'GET'],
  ['RESET'],
  ['GET', 'missing'],
  ['CLIENT', 'SETNAME', 'x'],
  ['INCR', 'a'],
  ['CLIENT', 'GETNAME'],
  'PING\r\n',
  'set a "1 2"\r\n',
  '\r\n',
  'GET a\r\n',
  '*0\r\n',
  '*-1\r\n',
  ['DEL', 'a'],
  ['GET', 'a'],
  ['COMMAND', 'INFO', 'get'],
  ['SET', 'a', '5'],
  ['DBSIZE'],
  ['ECHO', 'x'],
  ['FLUSHALL'],
  ['DBSIZE'],
];

const BEFORE: readonly Step[] = [['SET', 'a', '1'], ['INCR', 'a'], ['GET', 'a'], ['PING']];
const AFTER: readonly Step[] = [
  ['SET', 'never', '1'],
  ['GET', 'a'],
];

/** What ends a conversation in the midst of a pipeline. */
const ERRORS: Readonly<Record<string, string>> = {
  'a bulk length that is no number': '*1\r\n$abc\r\n',
  'a negative bulk length': '*1\r\n$-1\r\n',
  'a bulk length with a leading zero': '*1\r\n$04\r\nPING\r\n',
  'a multibulk length that is no number': '*abc\r\n',
  'a multibulk length that is too big': '*2147483648\r\n',
  'something else in place of a bulk string': '*1\r\n:5\r\n',
  'an array in an array': '*1\r\n*1\r\n$4\r\nPING\r\n',
  'a bulk string without an array': '$4\r\nPING\r\n'.replace('$', '*1\r\n!'),
  'quotes that do not end': 'SET a "b\r\n',
  'quotes that are followed by something': 'SET a "b"c\r\n',
  'a bulk string that is too long': `*3\r\n$3\r\nSET\r\n$1\r\na\r\n$${2 ** 31 * 4}\r\n`,
};

describe.each(['RESP2', 'RESP3'] as const)('in %s', (protocol) => {
  const first: Step[] = protocol === 'RESP3' ? [['HELLO', '3']] : [];

  test('commands of all kinds are answered in their order', async () => {
    await pair.expectSame([...first, ...MIXED, ...MIXED, ...MIXED], HELLO_FIELDS);
  });

  test('a pipeline of thousands', async () => {
    const steps = Array.from({ length: 300 }, (_, i) => [
      ['INCR', 'n'],
      ['GET', 'n'],
      i % 7 === 0 ? ['PING', `${i}`] : ['APPEND', 's', 'x'],
      ['GET', 's'],
    ]);
    await pair.expectSame([...first, ['FLUSHALL'], ...steps.flat()], HELLO_FIELDS);
  });

  test.each(Object.entries(ERRORS))('%s ends it, after the replies to what came before', async (_, error) => {
    await pair.expectSame([...first, ...BEFORE, error, ...AFTER], HELLO_FIELDS);
    await pair.expectSame([error], HELLO_FIELDS);
    await pair.expectSame([['EXISTS', 'never']]);
  });

  test('QUIT ends it, and nothing behind it is carried out', async () => {
    await pair.expectSame([...first, ...BEFORE, ['QUIT'], ...AFTER], HELLO_FIELDS);
    await pair.expectSame([['EXISTS', 'never']]);
  });

  test('RESET goes back to RESP2 for what follows, not for what came before', async () => {
    const steps = [
      ['GET', 'missing'],
      ['HELLO', '3'],
      ['GET', 'missing'],
      ['CONFIG', 'GET', 'timeout'],
      ['RESET'],
      ['GET', 'missing'],
      ['CONFIG', 'GET', 'timeout'],
      ['CLIENT', 'GETNAME'],
    ];
    await pair.expectSame([...first, ...steps], HELLO_FIELDS);
  });
});

test('what clients send when they connect is answered one by one', async () => {
  const ioredis: Step[] = [
    ['hello', '3'],
    ['client', 'setname', 'me'],
    ['select', '0'],
    ['readonly'],
    ['client', 'SETINFO', 'LIB-VER', '6.0.0'],
    ['client', 'SETINFO', 'LIB-NAME', 'ioredis'],
    ['get', 'a'],
  ];
  const differing = (step: Step) => !['readonly', 'SETINFO'].some((word) => step.includes(word));
  await pair.expectSame(ioredis.filter(differing), HELLO_FIELDS);
  const nodeRedis: Step[] = [
    ['HELLO', '3', 'SETNAME', 'n'],
    ['SELECT', '0'],
    ['CLIENT', 'MAINT_NOTIFICATIONS', 'ON', 'moving-endpoint-type', 'external-ip'],
    ['CLIENT', 'TRACKING_NOSUCH', 'ON'],
    ['PING'],
  ];
  await pair.expectSame(nodeRedis, HELLO_FIELDS);
  await pair.expectSame(
    [
      ['CLIENT', 'ID'],
      ['CLIENT', 'ID'],
    ],
    ANY_NUMBER,
  );
});

/** Sends the pieces with a pause between each, ends its own side, and gathers what comes. */
function trickle(port: number, bytes: string, pieceBytes: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.setNoDelay(true);
  let received = '';
  return new Promise((resolve, reject) => {
    socket.on('data', (data) => {
      received += data.toString('latin1');
    });
    socket.on('error', reject);
    socket.on('end', () => {
      socket.destroy();
      resolve(received);
    });
    const send = (at: number): void => {
      if (at >= bytes.length) return;
      socket.write(bytes.slice(at, at + pieceBytes), 'latin1', () => setImmediate(send, at + pieceBytes));
    };
    send(0);
  });
}

test.each([1, 3, 50])('requests in pieces of %i bytes get the same replies', async (pieceBytes) => {
  const bytes = [['HELLO', '3'], ...MIXED, ['QUIT']].map(encode).join('');
  const [ours, theirs] = await Promise.all(
    [pair.ports.hstore, pair.ports.redis].map((port) => trickle(port, bytes, pieceBytes)),
  );
  const withoutId = (text: string) => text.replace(HELLO_FIELDS[0]!.what, HELLO_FIELDS[0]!.as);
  expect(withoutId(ours!)).toBe(withoutId(theirs!));
});

/** Redis closes at once; hstore answers what was asked. */
test('a client that ends its side of the connection gets the replies it is owed', async () => {
  const socket = connect({ port: pair.ports.hstore, host: '127.0.0.1', allowHalfOpen: true });
  let received = '';
  socket.on('data', (data) => {
    received += data.toString('latin1');
  });
  const ended = new Promise((resolve) => void socket.once('end', resolve));
  socket.end(
    [['SET', 'half', '1'], ['INCR', 'half'], ['GET', 'half'], ['PING']].map(encode).join(''),
    'latin1',
  );
  await ended;
  expect(received).toBe('+OK\r\n:2\r\n$1\r\n2\r\n+PONG\r\n');
  socket.destroy();
});
