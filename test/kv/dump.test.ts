/**
 * DUMP and RESTORE: each takes what the other side has written, and nothing that is broken.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { crc64 } from '../../src/kv/crc64.ts';
import { decompressLzf } from '../../src/kv/lzf.ts';
import { decodeDump, encodeDump, verifyDump } from '../../src/kv/rdb.ts';
import { fromLatin1, latin1 } from '../../src/lib/bytes.ts';
import { bytesOfReply, Comparison, type Words } from './comparison.ts';
import { hasRedisServer } from './redis-server.ts';
import { Twin } from './twin-database.ts';

const BYTES_MAX = 1000;

/** A payload of these bytes, well signed. */
function signed(body: readonly number[], version = 10): Uint8Array {
  const payload = Buffer.concat([Buffer.from(body), Buffer.from([version, 0]), Buffer.alloc(8)]);
  payload.writeBigUInt64LE(crc64(payload.subarray(0, -8)), payload.length - 8);
  return payload;
}

const value = fc.oneof(
  fc.uint8Array({ maxLength: 100 }).map((bytes) => latin1(bytes)),
  fc.bigInt({ min: -(2n ** 65n), max: 2n ** 65n }).map(String),
  fc.integer().map(String),
  fc.integer({ min: -40_000, max: 40_000 }).map(String),
  fc.constantFrom('', '0', '-0', '01', '127', '128', '-128', '-129', '32767', '32768', '-32768', '-32769'),
  fc.constantFrom('2147483647', '2147483648', '-2147483648', '-2147483649', 'x'.repeat(63), 'x'.repeat(64)),
  fc.constantFrom('x'.repeat(16_383), 'y'.repeat(16_384), 'ab'.repeat(40_000)),
  // What LZF can make shorter.
  fc
    .array(fc.constantFrom('abc', 'abcabc', 'x', '\0\0\0\0'), { maxLength: 60 })
    .map((parts) => parts.join('')),
);

test("the checksum is the one of Redis's own self-test", () => {
  expect(crc64(fromLatin1('123456789')).toString(16)).toBe('e9c6d914c4b8d9ca');
});

test('what DUMP makes RESTORE understands', () => {
  fc.assert(
    fc.property(value, (text) => {
      const payload = encodeDump(fromLatin1(text));
      expect(verifyDump(payload)).toBe(true);
      expect(latin1(decodeDump(payload, 1 << 20)!)).toBe(text);
    }),
  );
});

test('a payload with any byte changed, or cut anywhere, is refused', () => {
  const payload = encodeDump(fromLatin1('hello'));
  for (let at = 0; at < payload.length; at++) {
    const changed = Uint8Array.from(payload);
    changed[at] = changed[at]! ^ 0x10;
    expect(verifyDump(changed)).toBe(false);
    expect(verifyDump(payload.subarray(0, at))).toBe(false);
  }
});

test('a payload of a later version is refused, one of an earlier is not', () => {
  expect(verifyDump(signed([0, 1, 0x61], 11))).toBe(false);
  expect(verifyDump(signed([0, 1, 0x61], 9))).toBe(true);
});

test.each([
  ['no type', []],
  ['another type', [1, 1, 0x61]],
  ['no length', [0]],
  ['a length over the end', [0, 2, 0x61]],
  ['half a length', [0, 0x41]],
  ['a length of 32 bits over the end', [0, 0x80, 0xff, 0xff, 0xff, 0xff, 0x61]],
  ['a length of 64 bits over the end', [0, 0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x61]],
  ['an unknown form of length', [0, 0x82, 0, 0, 0, 1, 0x61]],
  ['an unknown encoding', [0, 0xc4, 1, 1]],
  ['half an integer', [0, 0xc2, 1, 1]],
  ['LZF that wants memory', [0, 0xc3, 2, 0x80, 0x7f, 0xff, 0xff, 0xff, 0, 0x61]],
  ['LZF with less than it says', [0, 0xc3, 2, 2, 0, 0x61]],
  ['LZF with more than it says', [0, 0xc3, 3, 1, 1, 0x61, 0x62]],
  ['LZF with an encoded length', [0, 0xc3, 0xc0, 1, 0, 0x61]],
  ['more than a string may have', [0, 0x43, 0xe9, ...new Array(1001).fill(0x61)]],
])('a payload with %s is refused', (_, body) => {
  expect(verifyDump(signed(body))).toBe(true);
  expect(decodeDump(signed(body), BYTES_MAX)).toBeUndefined();
});

test('whatever bytes a signed payload has, decoding ends, and with no more than the limit', () => {
  fc.assert(
    fc.property(fc.constantFrom([0], [0, 0xc3]), fc.uint8Array({ maxLength: 40 }), (start, bytes) => {
      const decoded = decodeDump(signed([...start, ...bytes]), BYTES_MAX);
      if (decoded !== undefined) expect(decoded.length).toBeLessThanOrEqual(BYTES_MAX);
    }),
    { numRuns: 5000 },
  );
});

test('LZF repeats what overlaps, and takes nothing from before the beginning', () => {
  expect(latin1(decompressLzf(Uint8Array.from([0, 0x61, 0x80, 0]), 7)!)).toBe('aaaaaaa');
  expect(latin1(decompressLzf(Uint8Array.from([0, 0x61, 0xe0, 1, 0]), 11)!)).toBe('a'.repeat(11));
  expect(decompressLzf(Uint8Array.from([0, 0x61, 0x80, 1]), 7)).toBeUndefined();
  expect(decompressLzf(Uint8Array.from([0, 0x61, 0x80]), 7)).toBeUndefined();
  expect(decompressLzf(Uint8Array.from([0, 0x61, 0xe0, 1]), 11)).toBeUndefined();
  expect(decompressLzf(Uint8Array.from([2, 0x61]), 3)).toBeUndefined();
});

test('RESTORE makes a new value of what was changed in place, and takes the idle time along', () => {
  const twin = new Twin();
  twin.nowMs = 100_000_000;
  const payload = latin1(encodeDump(fromLatin1('12')));
  twin.run(['APPEND', 'a', '1']);
  twin.run(['APPEND', 'a', '2']);
  expect(bytesOfReply(twin.run(['OBJECT', 'ENCODING', 'a']))).toBe('$3\r\nraw\r\n');
  twin.run(['RESTORE', 'a', '0', payload, 'REPLACE', 'IDLETIME', '1000']);
  expect(bytesOfReply(twin.run(['OBJECT', 'ENCODING', 'a']))).toBe('$3\r\nint\r\n');
  expect(bytesOfReply(twin.run(['OBJECT', 'IDLETIME', 'a']))).toBe(':1000\r\n');
});

test('RESTORE with the largest time to live keeps the key, where Redis loses it', () => {
  const twin = new Twin();
  const payload = latin1(encodeDump(fromLatin1('x')));
  expect(twin.run(['RESTORE', 'a', '9223372036854775807', payload])).toBe('OK');
  expect(twin.run(['EXISTS', 'a'])).toBe(1);
});

describe.runIf(hasRedisServer())('compared with redis-server', () => {
  let comparison: Comparison;
  beforeAll(async () => {
    comparison = await Comparison.start();
  });
  afterAll(() => comparison.stop());

  test('Redis understands what hstore dumps, and hstore what Redis dumps', async () => {
    await fc.assert(
      fc.asyncProperty(value, async (text) => {
        const payload = latin1(encodeDump(fromLatin1(text)));
        const [, theirs] = await comparison.redis.run([
          ['SET', 'a', text],
          ['DUMP', 'a'],
        ]);
        const dumped = theirs!.slice(theirs!.indexOf('\r\n') + 2, -2);
        if (dumped.charCodeAt(1) !== 0xc3) expect(dumped).toBe(payload);
        await comparison.expectSame([
          ['RESTORE', 'ours', '0', payload],
          ['RESTORE', 'theirs', '0', dumped],
          ['MGET', 'ours', 'theirs'],
          ['OBJECT', 'ENCODING', 'theirs'],
          ['DUMP', 'missing'],
        ]);
      }),
      { numRuns: 200 },
    );
  });

  test('options, and which of two errors comes first', async () => {
    const payload = latin1(encodeDump(fromLatin1('x')));
    const option = fc.constantFrom(
      ['REPLACE'],
      ['absttl'],
      ['IDLETIME', '1000'],
      ['IDLETIME', '-1'],
      ['IDLETIME', 'x'],
      ['IDLETIME'],
      ['FREQ', '5'],
      ['FREQ', '256'],
      ['FREQ', '-1'],
      ['FREQ', 'x'],
      ['FREQ'],
      ['foo'],
    );
    const ttl = fc.constantFrom('0', '0', '100000', '33177117420000', '1', '-1', 'x', '');
    const body = fc.constantFrom(
      payload,
      payload,
      'x',
      '',
      latin1(signed([0, 0x3f, 0x61])),
      latin1(signed([99])),
    );
    const restore = fc
      .tuple(fc.constantFrom('a', 'b'), ttl, body, fc.array(option, { maxLength: 3 }))
      // A millisecond passes or does not, between one server and the other.
      .map(([k, t, p, o]): Words => ['RESTORE', k, t === '1' ? '33177117420001' : t, p, ...o.flat()]);
    const expired = fc
      .constantFrom('a', 'b')
      .map((k): Words => ['RESTORE', k, '1', payload, 'REPLACE', 'ABSTTL']);
    const look = fc
      .tuple(fc.constantFrom('EXISTS', 'GET', 'DEL', 'TYPE'), fc.constantFrom('a', 'b'))
      .map((words): Words => words);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(restore, restore, look, expired), { maxLength: 20 }), (commands) =>
        comparison.expectSame(commands),
      ),
      { numRuns: 300 },
    );
  });
});
