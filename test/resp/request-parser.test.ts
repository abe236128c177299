/**
 * The request parser alone: whole, byte by byte and in random pieces; its limits, its memory and its work.
 * Against a real redis-server it is held in request-parser.redis.test.ts.
 */
import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LINE_BYTES_MAX, type RequestLimits } from '../../src/resp/request-guard.ts';
import { DEFAULT_REQUEST_LIMITS, RequestParser } from '../../src/resp/request-parser.ts';

const MB = 1024 * 1024;

class Recorder {
  readonly requests: string[][] = [];
  error: string | undefined;
  tooBig = false;
  readonly parser: RequestParser;
  bufferedBytesMax = 0;

  constructor(limits: Partial<RequestLimits> = {}, authenticated = true) {
    this.parser = new RequestParser({
      limits: { ...DEFAULT_REQUEST_LIMITS, ...limits },
      onRequest: (argv) => this.requests.push(argv.map((arg) => Buffer.from(arg).toString('latin1'))),
      onProtocolError: (message) => {
        this.error = message;
      },
      onTooBig: () => {
        this.tooBig = true;
      },
    });
    this.parser.authenticated = authenticated;
  }

  feed(...chunks: (Uint8Array | string)[]): this {
    return this.feedAll(chunks);
  }

  feedAll(chunks: readonly (Uint8Array | string)[]): this {
    for (const chunk of chunks) {
      this.parser.feed(typeof chunk === 'string' ? Buffer.from(chunk, 'latin1') : chunk);
      this.bufferedBytesMax = Math.max(this.bufferedBytesMax, this.parser.bufferedBytes);
    }
    return this;
  }

  get outcome(): unknown {
    return { requests: this.requests, error: this.error, tooBig: this.tooBig };
  }
}

function command(...args: (string | Uint8Array)[]): Buffer {
  const parts: Uint8Array[] = [Buffer.from(`*${args.length}\r\n`)];
  for (const arg of args) {
    const bytes = Buffer.from(arg as string, 'latin1');
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
  }
  return Buffer.concat(parts);
}

/** `bytes` cut at the given places. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [
    0,
    ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b),
    bytes.length,
  ];
  return sorted.slice(1).map((end, index) => Buffer.from(bytes.subarray(sorted[index], end)));
}

function everyByte(bytes: Buffer): Buffer[] {
  return [...bytes].map((byte) => Buffer.from([byte]));
}

describe('requests', () => {
  const mixed = Buffer.concat([
    command('SET', 'key', 'value'),
    Buffer.from('PING\r\n'),
    Buffer.from('\r\n*0\r\n*-1\r\n\n   \r\n'),
    command('GET', ''),
    Buffer.from("ECHO \"a\\x41\\n b\" 'it\\'s'\n"),
    command('SET', '\r\n\0ÿ$3\r\n', '*1\r\n'),
  ]);
  const requests = [
    ['SET', 'key', 'value'],
    ['PING'],
    ['GET', ''],
    ['ECHO', 'aA\n b', "it's"],
    ['SET', '\r\n\0ÿ$3\r\n', '*1\r\n'],
  ];

  test('multibulk and inline requests of one chunk come out in order', () => {
    expect(new Recorder().feed(mixed).requests).toEqual(requests);
    expect(new Recorder({}, false).feed(mixed).requests).toEqual(requests);
  });

  test('requests that arrive byte by byte are the same', () => {
    expect(new Recorder().feed(...everyByte(mixed)).requests).toEqual(requests);
  });

  test('requests that arrive in any two pieces are the same', () => {
    for (let place = 0; place <= mixed.length; place++) {
      expect(new Recorder().feed(...cut(mixed, [place])).requests).toEqual(requests);
    }
  });

  test('any arguments in any pieces come out as they went in (property)', () => {
    const argv = fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(fc.array(argv, { maxLength: 8 }), fc.array(fc.nat(), { maxLength: 10 }), (all, places) => {
        const bytes = Buffer.concat(all.map((args) => command(...args)));
        const recorder = new Recorder().feed(...cut(bytes, places));
        expect(recorder.requests).toEqual(
          all.map((args) => args.map((arg) => Buffer.from(arg).toString('latin1'))),
        );
        expect(recorder.parser.bufferedBytes).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  test('a request of one chunk is a view of it, not a copy', () => {
    const seen: Uint8Array[] = [];
    const chunk = command('GET', 'key');
    const parser = new RequestParser({
      limits: DEFAULT_REQUEST_LIMITS,
      onRequest: (argv) => seen.push(...argv),
      onProtocolError: expect.unreachable,
      onTooBig: expect.unreachable,
    });
    parser.authenticated = true;
    parser.feed(chunk);
    expect(seen[1]!.buffer).toBe(chunk.buffer);
  });

  test('a request with as many arguments as allowed comes out whole', () => {
    const args = Array.from({ length: 5000 }, (_, index) => `${index}`);
    const bytes = command(...args);
    expect(new Recorder().feed(bytes).requests).toEqual([args]);
    expect(new Recorder().feed(...cut(bytes, [1, 7, 20000, 20001, 31234])).requests).toEqual([args]);
  });

  test('after stop, from inside a request too, nothing more comes', () => {
    const requestsSeen: number[] = [];
    const parser = new RequestParser({
      limits: DEFAULT_REQUEST_LIMITS,
      onRequest: () => {
        requestsSeen.push(1);
        parser.stop();
      },
      onProtocolError: expect.unreachable,
      onTooBig: expect.unreachable,
    });
    parser.authenticated = true;
    parser.feed(Buffer.concat([command('QUIT'), command('PING'), Buffer.from('*x\r\n')]));
    parser.feed(command('PING'));
    expect(requestsSeen).toEqual([1]);
  });
});

describe('protocol errors', () => {
  const long = 'x'.repeat(LINE_BYTES_MAX + 1);
  const errors: readonly (readonly [input: string, error: string])[] = [
    ['*abc\r\n', 'invalid multibulk length'],
    ['*\r\n', 'invalid multibulk length'],
    ['*+1\r\n', 'invalid multibulk length'],
    ['*01\r\n', 'invalid multibulk length'],
    ['*-0\r\n', 'invalid multibulk length'],
    ['*--1\r\n', 'invalid multibulk length'],
    ['*1 \r\n', 'invalid multibulk length'],
    ['*1048577\r\n', 'invalid multibulk length'],
    ['*33554432\r\n', 'invalid multibulk length'],
    ['*4294967296\r\n', 'invalid multibulk length'],
    ['*-99999999999999999999\r\n', 'invalid multibulk length'],
    ['*1\r\n$abc\r\n', 'invalid bulk length'],
    ['*1\r\n$\r\n', 'invalid bulk length'],
    ['*1\r\n$-1\r\n', 'invalid bulk length'],
    ['*1\r\n$9999999999\r\n', 'invalid bulk length'],
    ['*1\r\n$536870912\r\n', 'invalid bulk length'],
    ['*1\r\n$33554433\r\n', 'invalid bulk length'],
    ['*1\r\n:5\r\n', "expected '$', got ':'"],
    ['*1\r\n+x\r\n', "expected '$', got '+'"],
    ['*1\r\n*1\r\n', "expected '$', got '*'"],
    [`*${long}`, 'too big mbulk count string'],
    [`*1\r\n$${long}`, 'too big bulk count string'],
    [`*1\r\nx${long}`, 'too big bulk count string'],
    [`x${long}`, 'too big inline request'],
    ['ECHO "a\r\n', 'unbalanced quotes in request'],
    ['ECHO "a"b\r\n', 'unbalanced quotes in request'],
    ["ECHO 'a\r\n", 'unbalanced quotes in request'],
    ["ECHO 'a'b\r\n", 'unbalanced quotes in request'],
    ['ECHO "a\\\r\n', 'unbalanced quotes in request'],
  ];

  const shown = errors.map(([input, error]) => ({ input, error, head: JSON.stringify(input.slice(0, 30)) }));
  test.each(shown)('$head is answered, after what came before it', ({ input, error }) => {
    const bytes = Buffer.concat([command('PING'), Buffer.from(input), command('PING')]);
    const outcome = { requests: [['PING']], error: `Protocol error: ${error}`, tooBig: false };
    expect(new Recorder().feed(bytes).outcome).toEqual(outcome);
    expect(new Recorder().feed(...cut(bytes, [15, 17, 19, 21])).outcome).toEqual(outcome);
    if (input.length < 100) expect(new Recorder().feed(...everyByte(bytes)).outcome).toEqual(outcome);
  });

  test('a stranger may send ten arguments of 16384 bytes, and no more', () => {
    const ten = Array.from({ length: 10 }, () => 'a'.repeat(16384));
    expect(new Recorder({}, false).feed(command(...ten)).requests).toEqual([ten]);
    expect(new Recorder({}, false).feed('*11\r\n').error).toBe(
      'Protocol error: unauthenticated multibulk length',
    );
    expect(new Recorder({}, false).feed('*1\r\n$16385\r\n').error).toBe(
      'Protocol error: unauthenticated bulk length',
    );
  });

  test('what follows an AUTH in one chunk is judged by what it came to', () => {
    const many = command(...Array.from({ length: 20 }, () => 'x'));
    const seen: number[] = [];
    const parser = new RequestParser({
      limits: DEFAULT_REQUEST_LIMITS,
      onRequest: (argv) => {
        seen.push(argv.length);
        parser.authenticated = true;
      },
      onProtocolError: expect.unreachable,
      onTooBig: expect.unreachable,
    });
    parser.feed(Buffer.concat([command('AUTH', 'secret'), many]));
    expect(seen).toEqual([2, 20]);
  });

  test('a bulk string over the limit is refused by its header, before its body is held', () => {
    const recorder = new Recorder({ protoMaxBulkLen: MB }).feed('*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1048577\r\n');
    expect(recorder.error).toBe('Protocol error: invalid bulk length');
    expect(recorder.bufferedBytesMax).toBe(0);
    expect(
      new Recorder({ protoMaxBulkLen: MB }).feed('*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1048576\r\n').error,
    ).toBe(undefined);
  });
});

describe('bounds', () => {
  const limits = { queryBufferBytesMax: 8 * MB, protoMaxBulkLen: 4 * MB };

  test('a request over the limit in all its arguments is too big, told before the body that is too much', () => {
    const recorder = new Recorder(limits).feed('*3\r\n', `$${3 * MB}\r\n`, Buffer.alloc(3 * MB + 2));
    recorder.feed(`$${4 * MB}\r\n`, Buffer.alloc(4 * MB + 2));
    expect(recorder.tooBig).toBe(false);
    recorder.feed(`$${2 * MB}\r\n`);
    expect(recorder.tooBig).toBe(true);
    expect(recorder.requests).toEqual([]);
    expect(recorder.parser.bufferedBytes).toBe(0);
  });

  test('a million arguments cost their bytes and nothing more until the last has come', () => {
    const count = 1_048_576;
    const recorder = new Recorder().feed(`*${count}\r\n`, Buffer.alloc(6 * (count - 1), '$0\r\n\r\n'));
    expect(recorder.parser.bufferedBytes).toBe(10 + 6 * (count - 1));
    recorder.feed('$1\r\nx\r\n');
    expect(recorder.requests.map((argv) => argv.length)).toEqual([count]);
  });

  test('a big count allocates nothing before its arguments have come', () => {
    const recorder = new Recorder().feed('*1048576\r\n$1\r\na\r\n$');
    expect(recorder.parser.bufferedBytes).toBe(18);
  });

  test('random bytes, near RESP or not, neither throw nor take memory without bound (fuzz)', () => {
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
        '12',
        ':',
        '+',
        '"',
        "'",
        '\\x',
        ' ',
        '\0',
      ),
      fc.constantFrom(
        '*3\r\n',
        '$3\r\nSET\r\n',
        '$1\r\na\r\n',
        '*1\r\n',
        '$0\r\n\r\n',
        'PING\r\n',
        '$5000\r\n',
        '*999\r\n',
      ),
      fc.string({ unit: 'binary', maxLength: 20 }),
    );
    const small = { queryBufferBytesMax: 10_000, protoMaxBulkLen: 6000, multibulkCountMax: 1000 };
    const inputs = fc.array(token, { maxLength: 60 }).map((tokens) => Buffer.from(tokens.join(''), 'latin1'));
    fc.assert(
      fc.property(
        inputs,
        fc.array(fc.nat(), { maxLength: 6 }),
        fc.boolean(),
        (bytes, places, authenticated) => {
          const whole = new Recorder(small, authenticated).feed(bytes);
          const pieces = new Recorder(small, authenticated).feed(...cut(bytes, places));
          expect(pieces.outcome).toEqual(whole.outcome);
          expect(pieces.bufferedBytesMax).toBeLessThanOrEqual(LINE_BYTES_MAX + small.queryBufferBytesMax);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('a stream that never ends a request is cut off', () => {
    for (const endless of ['x', '\0', '*', '$', '1', '\r']) {
      const recorder = new Recorder();
      for (let round = 0; round < 20 && recorder.error === undefined; round++)
        recorder.feed(endless.repeat(16_384));
      expect(recorder.error).toMatch(/^Protocol error: /);
      expect(recorder.bufferedBytesMax).toBeLessThanOrEqual(LINE_BYTES_MAX + 16_384);
    }
  });
});

describe('work', () => {
  /** Bytes examined or copied for each byte of input. */
  function workPerByte(chunks: readonly (Buffer | string)[]): number {
    const recorder = new Recorder().feedAll(chunks);
    return recorder.parser.workBytes / chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  test('a value of 16 MB in chunks of 64 KB is copied twice', () => {
    const value = Buffer.alloc(16 * MB + 2);
    const chunks = ['*3\r\n$3\r\nSET\r\n$1\r\na\r\n', `$${16 * MB}\r\n`];
    expect(workPerByte([...chunks, ...chunksOf(value, 65536)])).toBeLessThan(2.01);
  });

  test('a header that never ends is looked at once and copied once', () => {
    expect(workPerByte(chunksOf(Buffer.alloc(60_000, '*1111111111'), 7))).toBeLessThanOrEqual(2);
  });

  test('twenty thousand arguments byte by byte cost three steps a byte at most', () => {
    const request = command(...Array.from({ length: 20_000 }, () => 'ab'));
    expect(workPerByte(everyByte(request))).toBeLessThanOrEqual(3);
  });

  test('requests that lie whole in a chunk are not copied', () => {
    const request = command('SET', 'key', 'x'.repeat(100));
    expect(workPerByte([Buffer.concat(Array.from({ length: 400 }, () => request))])).toBeLessThan(0.2);
  });
});

function chunksOf(bytes: Buffer, size: number): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
  return chunks;
}
