/**
 * LCS against a real redis-server, and its limit.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesOfReply, Comparison } from './comparison.ts';
import { hasRedisServer } from './redis-server.ts';
import { Twin } from './twin-database.ts';

test('of strings whose table would be too large LCS says so, and does not begin', () => {
  const twin = new Twin();
  twin.run(['SET', 'a', 'x'.repeat(4000)]);
  twin.run(['SET', 'b', 'y'.repeat(1998)]);
  expect(bytesOfReply(twin.run(['LCS', 'a', 'b', 'LEN']))).toBe(':0\r\n');
  twin.run(['APPEND', 'b', 'y']);
  expect(bytesOfReply(twin.run(['LCS', 'a', 'b', 'LEN']))).toBe(
    '-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len\r\n',
  );
});

test('LCS IDX is a map in RESP3', () => {
  const twin = new Twin();
  twin.run(['MSET', 'a', 'xay', 'b', 'a']);
  expect(bytesOfReply(twin.run(['LCS', 'a', 'b', 'IDX']), 3)).toBe(
    '%2\r\n$7\r\nmatches\r\n*1\r\n*2\r\n*2\r\n:1\r\n:1\r\n*2\r\n:0\r\n:0\r\n$3\r\nlen\r\n:1\r\n',
  );
});

describe.runIf(hasRedisServer())('compared with redis-server', () => {
  let comparison: Comparison;
  beforeAll(async () => {
    comparison = await Comparison.start();
  });
  afterAll(() => comparison.stop());

  test('the subsequence, its length and its matches, with all options', async () => {
    const text = fc.oneof(
      fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 30 }),
      fc.string({ unit: 'binary-ascii', maxLength: 30 }),
    );
    const option = fc.oneof(
      fc.constantFrom(['IDX'], ['idx'], ['LEN'], ['WITHMATCHLEN'], ['MINMATCHLEN'], ['foo']),
      fc.constantFrom('0', '1', '2', '3', '-1', 'x', '9223372036854775807').map((n) => ['MINMATCHLEN', n]),
    );
    await fc.assert(
      fc.asyncProperty(text, text, fc.array(option, { maxLength: 4 }), async (a, b, options) => {
        await comparison.expectSame([
          ['MSET', 'a', a, 'b', b],
          ['LCS', 'a', 'b'],
          ['LCS', 'a', 'b', 'LEN'],
          ['LCS', 'a', 'b', 'IDX', 'WITHMATCHLEN'],
          ['LCS', 'a', 'b', ...options.flat()],
          ['LCS', 'a', 'missing', ...options.flat()],
        ]);
      }),
      { numRuns: 300 },
    );
  });
});
