/** Replies to bytes and back; beside a real redis-server where it has a command for the kind of reply. */
import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decodeReply, ReplyDecoder } from '../../src/resp/decode.ts';
import { encodeReply, formatDouble, type Protocol } from '../../src/resp/encode.ts';
import {
  AttributedReply,
  BigNumberReply,
  BooleanReply,
  DoubleReply,
  ErrorReply,
  MapReply,
  NullArrayReply,
  type Reply,
  SetReply,
  VerbatimReply,
} from '../../src/resp/reply.ts';
import { ReplyWriter } from '../../src/resp/reply-writer.ts';
import { RedisServer, redisServerExpected } from './redis-server.ts';

function bytesOf(reply: Reply, protocol: Protocol): Buffer {
  const out = new ReplyWriter();
  encodeReply(reply, protocol, out);
  const length = out.length;
  const bytes = Buffer.concat(out.take());
  expect(bytes.length).toBe(length);
  return bytes;
}

function encoded(reply: Reply, protocol: Protocol): string {
  return bytesOf(reply, protocol).toString('latin1');
}

const foo = Buffer.from('foo');

describe('forms', () => {
  const forms: readonly (readonly [name: string, reply: Reply, resp2: string, resp3: string])[] = [
    ['OK', 'OK', '+OK\r\n', '+OK\r\n'],
    ['a status', 'PONG', '+PONG\r\n', '+PONG\r\n'],
    ['0', 0, ':0\r\n', ':0\r\n'],
    ['a negative integer', -1, ':-1\r\n', ':-1\r\n'],
    ['an integer', 1024, ':1024\r\n', ':1024\r\n'],
    ['a bigint', 9223372036854775807n, ':9223372036854775807\r\n', ':9223372036854775807\r\n'],
    ['a bulk string', foo, '$3\r\nfoo\r\n', '$3\r\nfoo\r\n'],
    ['an empty bulk string', Buffer.alloc(0), '$0\r\n\r\n', '$0\r\n\r\n'],
    [
      'a long bulk string',
      Buffer.alloc(2000, 'a'),
      `$2000\r\n${'a'.repeat(2000)}\r\n`,
      `$2000\r\n${'a'.repeat(2000)}\r\n`,
    ],
    ['null', null, '$-1\r\n', '_\r\n'],
    ['the null array', NullArrayReply.instance, '*-1\r\n', '_\r\n'],
    [
      'an array',
      [1, [foo, null]],
      '*2\r\n:1\r\n*2\r\n$3\r\nfoo\r\n$-1\r\n',
      '*2\r\n:1\r\n*2\r\n$3\r\nfoo\r\n_\r\n',
    ],
    ['an empty array', [], '*0\r\n', '*0\r\n'],
    ['an error', new ErrorReply('ERR', 'no such key'), '-ERR no such key\r\n', '-ERR no such key\r\n'],
    ['a map', new MapReply([[foo, 1]]), '*2\r\n$3\r\nfoo\r\n:1\r\n', '%1\r\n$3\r\nfoo\r\n:1\r\n'],
    ['a set', new SetReply([foo]), '*1\r\n$3\r\nfoo\r\n', '~1\r\n$3\r\nfoo\r\n'],
    ['a double', new DoubleReply(1.5), '$3\r\n1.5\r\n', ',1.5\r\n'],
    ['an infinite double', new DoubleReply(-Infinity), '$4\r\n-inf\r\n', ',-inf\r\n'],
    ['verbatim text', new VerbatimReply('txt', 'é'), '$2\r\n\xc3\xa9\r\n', '=6\r\ntxt:\xc3\xa9\r\n'],
    ['true', new BooleanReply(true), ':1\r\n', '#t\r\n'],
    ['false', new BooleanReply(false), ':0\r\n', '#f\r\n'],
    [
      'a big number',
      new BigNumberReply(-(2n ** 70n)),
      '$23\r\n-1180591620717411303424\r\n',
      '(-1180591620717411303424\r\n',
    ],
    [
      'a reply with attributes',
      new AttributedReply([['ttl', [1]]], foo),
      '$3\r\nfoo\r\n',
      '|1\r\n+ttl\r\n*1\r\n:1\r\n$3\r\nfoo\r\n',
    ],
  ];

  test.each(forms)('%s has its form in RESP2 and in RESP3', (_, reply, resp2, resp3) => {
    expect(encoded(reply, 2)).toBe(resp2);
    expect(encoded(reply, 3)).toBe(resp3);
  });

  test('an error never holds a line break, whatever it quotes, also as a low byte of another character', () => {
    expect(encoded(new ErrorReply('ERR', "unknown command 'a\r\nb'"), 2)).toBe(
      "-ERR unknown command 'a  b'\r\n",
    );
    const lines = encoded(new ErrorReply('ERR', 'a\u{010d}\u{010a}b'), 2).split(/[\r\n]/);
    expect(lines).toHaveLength(3);
  });

  test('an error gives back the bytes it quotes as they were', () => {
    expect(bytesOf(new ErrorReply('ERR', "got '\xff'"), 2)).toEqual(
      Buffer.from("-ERR got '\xff'\r\n", 'latin1'),
    );
  });

  test('doubles are printed as %.17g prints them', () => {
    const printed: readonly [number, string][] = [
      [0, '0'],
      [-0, '-0'],
      [3, '3'],
      [0.1, '0.10000000000000001'],
      [2.5, '2.5'],
      [-1234567.25, '-1234567.25'],
      [1e16, '10000000000000000'],
      [1e17, '1e+17'],
      [1.5e300, '1.5000000000000001e+300'],
      [0.0001, '0.0001'],
      [0.00001, '1.0000000000000001e-05'],
      [5e-324, '4.9406564584124654e-324'],
      [Number.NaN, 'nan'],
    ];
    for (const [value, text] of printed) expect(formatDouble(value)).toBe(text);
  });
});

describe('the writer', () => {
  test('a long bulk string is handed on as it is, in its place', () => {
    const out = new ReplyWriter();
    const value = Buffer.alloc(100_000, 'v');
    for (const reply of ['OK', value, 1, value, value] satisfies Reply[]) encodeReply(reply, 2, out);
    const chunks = out.take();
    expect(chunks.filter((chunk) => chunk === value)).toHaveLength(3);
    const bulk = `$100000\r\n${value}\r\n`;
    expect(Buffer.concat(chunks).toString()).toBe(`+OK\r\n${bulk}:1\r\n${bulk}${bulk}`);
  });

  test('what was taken does not change when the writer goes on', () => {
    const out = new ReplyWriter();
    const taken: Uint8Array[] = [];
    let expected = '';
    for (let turn = 0; turn < 50; turn++) {
      for (let reply = 0; reply < turn; reply++) {
        encodeReply(turn * 1000 + reply, 2, out);
        expected += `:${turn * 1000 + reply}\r\n`;
      }
      taken.push(...out.take());
      expect(out.length).toBe(0);
    }
    expect(Buffer.concat(taken).toString()).toBe(expected);
  });

  test('small replies of a turn leave in one chunk', () => {
    const out = new ReplyWriter();
    for (let index = 0; index < 1000; index++) encodeReply(Buffer.alloc(index), 2, out);
    expect(out.take()).toHaveLength(1);
    expect(out.take()).toHaveLength(0);
  });
});

/** Replies that RESP3 tells apart, so that decoding gives back what was encoded. */
const { reply: anyReply } = fc.letrec<{ reply: Reply }>((tie) => ({
  reply: fc.oneof(
    { depthSize: 'small' },
    fc.string({ unit: fc.constantFrom('a', 'B', ' ', 'ÿ', ':'), maxLength: 10 }),
    fc.maxSafeInteger(),
    fc.bigInt({ min: 2n ** 60n, max: 2n ** 63n - 1n }),
    fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
    fc.constant(null),
    fc.double({ noNaN: true }).map((value) => new DoubleReply(value)),
    fc.boolean().map((value) => new BooleanReply(value)),
    fc.constant(new ErrorReply('WRONGTYPE', 'Operation against')),
    fc.string({ unit: 'grapheme' }).map((text) => new VerbatimReply('mkd', text)),
    fc.array(tie('reply'), { maxLength: 4 }),
    fc.array(tie('reply'), { maxLength: 4 }).map((members) => new SetReply(members)),
    fc.array(fc.tuple(tie('reply'), tie('reply')), { maxLength: 3 }).map((pairs) => new MapReply(pairs)),
  ),
}));

describe('the decoder', () => {
  test('replies decode to what was encoded, whole and byte by byte (property)', () => {
    fc.assert(
      fc.property(fc.array(anyReply, { maxLength: 5 }), (replies) => {
        const bytes = Buffer.concat(replies.map((reply) => bytesOf(reply, 3)));
        const whole: Reply[] = [];
        new ReplyDecoder((reply) => whole.push(reply)).feed(bytes);
        expect(whole).toEqual(replies);
        const pieces: Reply[] = [];
        const decoder = new ReplyDecoder((reply) => pieces.push(reply));
        for (const byte of bytes) decoder.feed(Buffer.from([byte]));
        expect(pieces).toEqual(replies);
        expect(decoder.idle).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  test('the nulls of RESP2 decode', () => {
    expect(decodeReply(Buffer.from('$-1\r\n'))).toBe(null);
    expect(decodeReply(Buffer.from('*-1\r\n'))).toBe(NullArrayReply.instance);
  });

  test('pushes go their own way and attributes are skipped', () => {
    const pushes: (readonly Reply[])[] = [];
    const replies: Reply[] = [];
    const decoder = new ReplyDecoder(
      (reply) => replies.push(reply),
      (items) => pushes.push(items),
    );
    decoder.feed(
      Buffer.from(
        '>2\r\n+message\r\n:1\r\n|1\r\n+ttl\r\n:3600\r\n*1\r\n|0\r\n:5\r\n(123456789012345678901\r\n',
      ),
    );
    expect(pushes).toEqual([['message', 1]]);
    expect(replies).toEqual([[5], 123456789012345678901n]);
  });

  const malformed = [
    'x\r\n',
    ':a\r\n',
    '$-2\r\n',
    '*-2\r\n',
    '$3\r\nfooXX',
    '+a\rb\r\n',
    '+a\n',
    '#x\r\n',
    '_x\r\n',
    '%-1\r\n',
    ',x\r\n',
  ];
  test.each([...malformed, ':1\r\n:2\r\n', '$3\r\nfo', '*1\r\n', '*1\r\n'.repeat(40), '=3\r\nabc\r\n'])(
    '%j is refused',
    (text) => {
      expect(() => decodeReply(Buffer.from(text))).toThrow();
    },
  );
});

describe.runIf(redisServerExpected)('beside redis-server', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start(['--enable-debug-command', 'yes']);
  });
  afterAll(() => redis.stop());

  const kinds: readonly (readonly [kind: string, reply: Reply])[] = [
    ['string', Buffer.from('Hello World')],
    ['integer', 12345],
    ['double', new DoubleReply(Number('3.141'))],
    ['null', null],
    ['array', [0, 1, 2]],
    ['set', new SetReply([0, 1, 2])],
    ['map', new MapReply([0, 1, 2].map((key) => [key, new BooleanReply(key === 1)]))],
    ['verbatim', new VerbatimReply('txt', 'This is a verbatim\nstring')],
    ['true', new BooleanReply(true)],
    ['false', new BooleanReply(false)],
    ['bignum', new BigNumberReply(1234567999999999999999999999999999999n)],
    [
      'attrib',
      new AttributedReply(
        [[Buffer.from('key-popularity'), [Buffer.from('key:123'), 90]]],
        Buffer.from('Some real reply following the attribute'),
      ),
    ],
  ];

  test.each(kinds)('DEBUG PROTOCOL %s is written as by Redis', async (kind, reply) => {
    for (const protocol of [2, 3] as const) {
      const { output } = await redis.exchange([
        Buffer.from(`HELLO ${protocol}\r\nPING\r\nDEBUG PROTOCOL ${kind}\r\n`),
      ]);
      expect(encoded(reply, protocol)).toBe(output.split('+PONG\r\n')[1]);
    }
  });

  test('scores are printed as by Redis', async () => {
    const scores = [
      0.1,
      1e17,
      1e16,
      123456.789,
      -5e-7,
      2 ** 60,
      1 / 3,
      Infinity,
      -Infinity,
      1e-5,
      0.00012345,
    ];
    for (const score of scores) {
      const text = `${score}`.replace('Infinity', 'inf');
      for (const protocol of [2, 3] as const) {
        const commands = `HELLO ${protocol}\r\nZADD z ${text} a\r\nPING\r\nZSCORE z a\r\n`;
        const { output } = await redis.exchange([Buffer.from(commands)]);
        expect(encoded(new DoubleReply(score), protocol)).toBe(output.split('+PONG\r\n')[1]);
      }
    }
  });
});
