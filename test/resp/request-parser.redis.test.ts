/**
 * The request parser beside a real redis-server 7.0: the same bytes in the same pieces must give the same replies and the
 * same fate of the connection. A handful of commands, answered here as Redis answers them, make the requests visible.
 */
import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_REQUEST_LIMITS, RequestParser } from '../../src/resp/request-parser.ts';
import { RedisServer, redisServerExpected } from './redis-server.ts';

const BULK_MAX = 1024 * 1024;
const LONG = 'x'.repeat(100_000);

/** What hstore's parser makes of `chunks`, in the words of Redis. */
function answered(chunks: readonly Buffer[], password: boolean): { output: string; closed: boolean } {
  let output = '';
  let outputBeforeRead = '';
  let closed = false;
  const parser = new RequestParser({
    limits: { ...DEFAULT_REQUEST_LIMITS, protoMaxBulkLen: BULK_MAX },
    onRequest: (argv) => {
      const args = argv.map((arg) => Buffer.from(arg).toString('latin1'));
      if (/^(post|host:)$/i.test(args[0]!)) {
        // Redis throws the client out before it has written the replies of the same read.
        output = outputBeforeRead;
        closed = true;
        parser.stop();
      } else {
        output += answer(args, parser, password);
      }
    },
    onProtocolError: (message) => {
      output += `-ERR ${printed(message)}\r\n`;
      closed = true;
    },
    onTooBig: () => {
      closed = true;
    },
  });
  parser.authenticated = !password;
  for (const chunk of chunks) {
    outputBeforeRead = output;
    parser.feed(chunk);
  }
  return { output, closed };
}

function answer(args: readonly string[], parser: RequestParser, password: boolean): string {
  const name = args[0]!.toLowerCase();
  const arity =
    new Map([
      ['echo', 2],
      ['auth', 2],
    ]).get(name) ?? args.length;
  if (!['ping', 'echo', 'auth'].includes(name)) return unknown(args);
  if (arity !== args.length || (name === 'ping' && args.length > 2)) {
    return `-ERR wrong number of arguments for '${name}' command\r\n`;
  }
  if (name === 'auth' && password) {
    parser.authenticated = args[1] === 'secret';
    return parser.authenticated
      ? '+OK\r\n'
      : '-WRONGPASS invalid username-password pair or user is disabled.\r\n';
  }
  if (!parser.authenticated) return '-NOAUTH Authentication required.\r\n';
  return args.length === 1 ? '+PONG\r\n' : `$${args[1]!.length}\r\n${args[1]}\r\n`;
}

/** rejectCommandFormat of Redis 7.0: printf cuts strings at a NUL, newlines turn into spaces. */
function unknown(args: readonly string[]): string {
  let shown = '';
  for (const arg of args.slice(1)) {
    if (shown.length >= 128) break;
    shown += `'${cString(arg).slice(0, 128 - shown.length)}' `;
  }
  return `-ERR ${printed(`unknown command '${cString(args[0]!).slice(0, 128)}', with args beginning with: ${shown}`)}\r\n`;
}

function cString(text: string): string {
  return text.split('\0', 1)[0]!;
}

function printed(message: string): string {
  return message.replaceAll(/[\r\n]/g, ' ');
}

const inputs: readonly string[] = [
  // Inline commands and what is ignored.
  'PING\r\n',
  'PING\n',
  '\r\nPING\r\n\n\nPING\r\n',
  '   \t PING   \r\n',
  '\r\r\nPING\r\n',
  'PING\r\r\n',
  'PING\rPING\r\n',
  '\vPING\r\n',
  'PING\v\r\n',
  'PING \fa\r\n',
  'ECHO a\vb\r\n',
  '*0\r\nPING\r\n',
  '*-1\r\nPING\r\n',
  '*-9223372036854775807\r\nPING\r\n',
  'ECHO "a b"\r\n',
  "ECHO 'a b'\r\n",
  'ECHO "\\x41\\x7f\\xff\\xg1\\n\\r\\t\\b\\a\\q\\"\\\\"\r\n',
  "ECHO 'it\\'s \\n'\r\n",
  'ECHO a"b c"\r\n',
  "ECHO a'b c'\r\n",
  'ECHO ""\r\n',
  '"" a\r\n',
  '"PING"\r\n',
  'ECHO "a"\tPING\r\n',
  'ECHO "a" \r\n',
  'ECHO "a\r\n',
  "ECHO 'a\r\n",
  'ECHO "a"b\r\n',
  "ECHO 'a'b\r\n",
  'ECHO "a\\"\r\n',
  'ECHO "a\\\r\n',
  'ECHO a\\nb\r\n',
  'ECHO "a\\x4"\r\n',
  'FETCH / HTTP/1.1\r\nHost: example.org\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: example.org\r\n\r\n',
  'post\r\nPING\r\n',
  '*2\r\n$4\r\nPOST\r\n$1\r\n/\r\nPING\r\n',
  'PI\0NG\r\nPING\r\n',
  `x${LONG}`,
  `PING\r\nx${LONG}`,
  `\0${LONG}`,
  // Multibulk.
  '*1\r\n$4\r\nPING\r\n',
  '*2\r\n$4\r\nECHO\r\n$0\r\n\r\n',
  '*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\0\xff\r\n',
  '*2\r\n$4\r\nECHO\r\n$3\r\nabcXX*1\r\n$4\r\nPING\r\n',
  '*1\rX$4\rXPING\r\n',
  '*1\r\n$4\r\nPING\r\nPING\r\n*1\r\n$4\r\nPING\r\n',
  '*3\r\n$3\r\nFOO\r\n$1\r\na\r\n$2\r\nb\n\r\n',
  '*1\r\n$0\r\n\r\n',
  '*1\r\n$1000\r\n',
  '*',
  '*1',
  '*1\r',
  '*1\r\n$',
  '*1\r\n$4\r',
  '*1\r\n:5',
  // Errors.
  '*abc\r\nPING\r\n',
  '*\r\n',
  '*+1\r\n',
  '*01\r\n',
  '*00\r\n',
  '*-0\r\n',
  '*-01\r\n',
  '*-\r\n',
  '*--1\r\n',
  '* 1\r\n',
  '*1 \r\n',
  '*1.0\r\n',
  '*2147483648\r\n',
  '*4294967296\r\n',
  '*9223372036854775808\r\n',
  '*99999999999999999999999\r\n',
  '*-99999999999999999999999\r\n',
  '*1\r\n$abc\r\n',
  '*1\r\n$\r\n',
  '*1\r\n$-1\r\n',
  '*1\r\n$-0\r\n',
  '*1\r\n$04\r\n',
  '*1\r\n$+4\r\n',
  '*1\r\n$4 \r\n',
  '*1\r\n$1048577\r\n',
  '*1\r\n$1048576\r\n',
  '*1\r\n$536870913\r\n',
  '*1\r\n$9999999999\r\n',
  '*1\r\n$99999999999999999999\r\n',
  '*1\r\n:5\r\n',
  '*1\r\n+x\r\n',
  '*1\r\n-e\r\n',
  '*1\r\n_\r\n',
  '*1\r\n\xff\r\n',
  '*1\r\n\n\r\n',
  '*1\r\n\r\n$4\r\n',
  '*1\r\nPING\r\n',
  '*1\r\n'.repeat(50),
  '*2\r\n$4\r\nECHO\r\n*1\r\n',
  'PING\r\n*1\r\n$4\r\nPING\r\n*x\r\nPING\r\n',
  '*1\0\r\nPING\r\n',
  '*1\r\n$4\0\r\nPING\r\n',
  '*1\r\n\0\r\n',
  `*${LONG}`,
  `*1\r\n$${LONG}`,
  `*1\r\n${LONG}`,
  ':1\r\n',
  '+OK\r\n',
  '$4\r\nPING\r\n',
  '{"json": "yes it\'s"}\r\n',
  '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
];

const strangers: readonly string[] = [
  'PING\r\n',
  'ECHO 1 2 3 4 5 6 7 8 9 10 11\r\n',
  '*10\r\n$1\r\nX\r\n' + '$1\r\na\r\n'.repeat(9),
  '*11\r\n$4\r\nECHO\r\n',
  '*2\r\n$4\r\nECHO\r\n$16384\r\n' + 'x'.repeat(16384) + '\r\n',
  '*2\r\n$4\r\nECHO\r\n$16385\r\n',
  'AUTH secret\r\n*12\r\n$1\r\nX\r\n' + '$1\r\na\r\n'.repeat(11),
  'AUTH wrong\r\n*12\r\n$1\r\nX\r\n' + '$1\r\na\r\n'.repeat(11),
  '*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*2\r\n$4\r\nECHO\r\n$16385\r\n' + 'x'.repeat(16385) + '\r\n',
];

/** In pieces of 1, 3 and 7 bytes and whole; long inputs in pieces that give as many reads. */
function chunkings(input: string): Buffer[][] {
  const bytes = Buffer.from(input, 'latin1');
  const scale = Math.ceil(bytes.length / 400);
  return [1, 3, 7, bytes.length].map((size) => {
    const step = Math.min(bytes.length, size * scale);
    const chunks: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += step) chunks.push(Buffer.from(bytes.subarray(at, at + step)));
    return chunks;
  });
}

describe.runIf(redisServerExpected)('beside redis-server', () => {
  let open: RedisServer;
  let closed: RedisServer;

  beforeAll(async () => {
    const limit = ['--proto-max-bulk-len', `${BULK_MAX}`];
    open = await RedisServer.start(limit);
    closed = await RedisServer.start([...limit, '--requirepass', 'secret']);
  });
  afterAll(async () => {
    await open.stop();
    await closed.stop();
  });

  test('malformed, inline and whole requests are answered as Redis answers them, however they are cut', async () => {
    for (const input of inputs) {
      for (const chunks of chunkings(input)) {
        const theirs = await open.exchange(chunks);
        const where = `${JSON.stringify(input.slice(0, 60))} in ${chunks.length} pieces`;
        expect({ where, ...answered(chunks, false) }).toEqual({ where, ...theirs });
      }
    }
  }, 60_000);

  test('random bytes near RESP are answered as Redis answers them (fuzz)', async () => {
    const token = fc.oneof(
      fc.constantFrom(
        '*',
        '$',
        '\r\n',
        '\n',
        '\r',
        '1',
        '3',
        '-',
        '0',
        ':',
        '"',
        "'",
        '\\x',
        ' ',
        '\t',
        '\v',
        '\0',
        '\xff',
      ),
      fc.constantFrom(
        '*2\r\n$4\r\nECHO\r\n',
        '$3\r\nabc\r\n',
        '*1\r\n',
        '$0\r\n\r\n',
        'PING\r\n',
        '*0\r\n',
        'ECHO ',
        'post\r\n',
      ),
    );
    const input = fc.array(token, { minLength: 1, maxLength: 14 });
    const property = fc.asyncProperty(input, fc.integer({ min: 1, max: 9 }), async (tokens, size) => {
      const bytes = Buffer.from(tokens.join(''), 'latin1');
      const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
        Buffer.from(bytes.subarray(index * size, (index + 1) * size)),
      );
      expect(answered(chunks, false)).toEqual(await open.exchange(chunks));
    });
    await fc.assert(property, { numRuns: 300 });
  }, 60_000);

  test('strangers are held to the same limits as by Redis', async () => {
    for (const input of strangers) {
      for (const chunks of chunkings(input)) {
        const theirs = await closed.exchange(chunks);
        const where = `${JSON.stringify(input.slice(0, 60))} in ${chunks.length} pieces`;
        expect({ where, ...answered(chunks, true) }).toEqual({ where, ...theirs });
      }
    }
  }, 60_000);
});
