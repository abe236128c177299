/**
 * Bits and bit fields against a real redis-server, and against code that looks at one bit after another.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { combine, countBits, findOtherByte } from '../../src/kv/bitmap.ts';
import { bytesOfReply, Comparison, type Words } from './comparison.ts';
import { hasRedisServer } from './redis-server.ts';
import { Twin } from './twin-database.ts';

/** Bytes somewhere in a larger buffer, so that words do not begin where they do. */
const view = fc
  .tuple(fc.nat(9), fc.uint8Array({ maxLength: 70 }), fc.boolean())
  .map(([offset, bytes, sparse]) => {
    const buffer = new Uint8Array(offset + bytes.length);
    buffer.set(sparse ? bytes.map((byte) => (byte > 240 ? byte : 0)) : bytes, offset);
    return buffer.subarray(offset);
  });

function bitsOf(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
}

test('bits are counted as one by one, wherever the bytes lie', () => {
  fc.assert(
    fc.property(view, (bytes) => {
      expect(countBits(bytes)).toBe(bitsOf(bytes).replaceAll('0', '').length);
    }),
  );
});

test('the first other byte is found as one by one, wherever the bytes lie', () => {
  fc.assert(
    fc.property(view, fc.constantFrom(0, 255), fc.nat(70), fc.nat(70), (bytes, skipped, a, b) => {
      if (skipped === 255) for (let i = 0; i < bytes.length; i++) bytes[i] = ~bytes[i]!;
      const from = Math.min(a, b, bytes.length);
      const to = Math.min(Math.max(a, b), bytes.length);
      const found = [...bytes].findIndex((byte, i) => i >= from && i < to && byte !== skipped);
      expect(findOtherByte(bytes, skipped, from, to)).toBe(found < 0 ? to : found);
    }),
  );
});

test('strings are combined as bit by bit, wherever they lie, and are left as they were', () => {
  const operations = fc.constantFrom('and' as const, 'or' as const, 'xor' as const, 'not' as const);
  fc.assert(
    fc.property(operations, fc.array(view, { minLength: 1, maxLength: 4 }), (operation, all) => {
      const sources = operation === 'not' ? all.slice(0, 1) : all;
      const before = sources.map(bitsOf);
      const length = Math.max(...sources.map((source) => source.length));
      const expected = Array.from({ length }, (_, i) => {
        const [first, ...rest] = sources.map((source) => source[i] ?? 0);
        if (operation === 'not') return ~first! & 0xff;
        if (operation === 'and') return rest.reduce((a, b) => a & b, first!);
        return rest.reduce((a, b) => (operation === 'or' ? a | b : a ^ b), first!);
      });
      expect([...combine(operation, sources)]).toEqual(expected);
      expect(sources.map(bitsOf)).toEqual(before);
    }),
  );
});

test('no bit beyond the limit on strings is written, and none at or beyond it is read', () => {
  const twin = new Twin([], 10);
  const run = (...argv: string[]) => bytesOfReply(twin.run(argv));
  const refused = '-ERR bit offset is not an integer or out of range\r\n';
  expect(run('SETBIT', 'a', '80', '1')).toBe(refused);
  expect(run('GETBIT', 'a', '80')).toBe(refused);
  expect(run('BITFIELD', 'a', 'SET', 'u8', '#10', '1')).toBe(refused);
  expect(run('BITFIELD', 'a', 'SET', 'u8', '73', '1')).toBe(refused);
  expect(run('BITFIELD', 'a', 'INCRBY', 'i2', '79', '1')).toBe(refused);
  expect(run('EXISTS', 'a')).toBe(':0\r\n');
  expect(run('BITFIELD', 'a', 'GET', 'u8', '73')).toBe('*1\r\n:0\r\n');
  expect(run('BITFIELD', 'a', 'SET', 'u8', '72', '255')).toBe('*1\r\n:0\r\n');
  expect(run('SETBIT', 'a', '79', '0')).toBe(':1\r\n');
  expect(run('STRLEN', 'a')).toBe(':10\r\n');
});

test('an offset in fields that no integer holds is refused, where Redis goes round to the beginning', () => {
  expect(bytesOfReply(new Twin().run(['BITFIELD', 'a', 'SET', 'i64', '#288230376151711744', '1']))).toBe(
    '-ERR bit offset is not an integer or out of range\r\n',
  );
});

test('what changes no bit is no write, once the value is one of bits', () => {
  const twin = new Twin();
  const writes = (...argv: string[]) => {
    const before = twin.version;
    twin.run(argv);
    return twin.version - before;
  };
  expect(writes('SETBIT', 'a', '9', '0')).toBe(1);
  expect(writes('SETBIT', 'a', '9', '0')).toBe(0);
  expect(writes('BITFIELD', 'a', 'SET', 'u8', '0', '0', 'INCRBY', 'u8', '8', '0')).toBe(0);
  expect(writes('SETBIT', 'a', '9', '1')).toBe(1);
  expect(writes('SETBIT', 'a', '16', '0')).toBe(1);
  expect(writes('BITFIELD', 'a', 'GET', 'u8', '200')).toBe(0);
  expect(writes('BITFIELD', 'a', 'SET', 'u8', '200', '0')).toBe(1);
});

test('SAT sets the smallest number in place of one far below it, where Redis sets the largest', () => {
  const twin = new Twin();
  twin.run(['BITFIELD', 'a', 'OVERFLOW', 'SAT', 'SET', 'i8', '0', '-9223372036854775808']);
  expect(bytesOfReply(twin.run(['BITFIELD', 'a', 'GET', 'i8', '0']))).toBe('*1\r\n:-128\r\n');
});

describe.runIf(hasRedisServer())('compared with redis-server', () => {
  let comparison: Comparison;
  beforeAll(async () => {
    comparison = await Comparison.start();
  });
  afterAll(() => comparison.stop());

  test('bits one by one', async () => {
    await comparison.expectSame([
      ...[
        '0',
        '7',
        '8',
        '100',
        '-1',
        '',
        'x',
        '01',
        '#1',
        '4294967295',
        '4294967296',
        '9223372036854775807',
      ].flatMap((offset) => [
        ['GETBIT', 'a', offset],
        ['GETBIT', 'missing', offset],
      ]),
      ['SETBIT', 'a', '4294967296', '1'],
      ['SETBIT', 'a', '4294967296', 'x'],
      ...['2', '-1', 'x', '', '10', '18446744073709551617'].map((bit) => ['SETBIT', 'a', '1', bit]),
      ['EXISTS', 'a'],
      ['SET', 'b', '12', 'EX', '100'],
      ['SETBIT', 'b', '7', '1'],
      ['OBJECT', 'ENCODING', 'b'],
      ['TTL', 'b'],
      ['GET', 'b'],
      ['SETBIT', 'c', '0', '0'],
      ['GET', 'c'],
    ]);
  });

  test('every error of BITFIELD, and which of two comes first', async () => {
    const parts = ['GET', 'SET', 'INCRBY', 'OVERFLOW', 'u8', 'i65', '0', '#1', 'x', 'SAT', 'WRAP', 'i8'];
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.constantFrom(...parts), { maxLength: 6 }), { minLength: 1, maxLength: 10 }),
        fc.constantFrom('BITFIELD', 'BITFIELD_RO'),
        (all, name) => comparison.expectSame(all.map((words) => [name, 'a', ...words])),
      ),
    );
    const types = ['u0', 'u63', 'u64', 'i64', 'i65', 'i0', 'U8', 'u', '', 'u08', 'u-1', 'x8', 'u8\0x', 'i8 '];
    await comparison.expectSame(types.map((type) => ['BITFIELD', 'a', 'GET', type, '0']));
    await comparison.expectSame([
      ['BITFIELD', 'a'],
      ['BITFIELD_RO', 'a'],
      ['EXISTS', 'a'],
    ]);
  });

  test('fields of 64 bits, and those that the smallest integer is added to', async () => {
    const smallest = '-9223372036854775808';
    await comparison.expectSame([
      ['BITFIELD', 'b', 'SET', 'i64', '1', smallest, 'GET', 'i64', '1', 'INCRBY', 'i64', '1', '-1'],
      ['BITFIELD', 'b', 'OVERFLOW', 'SAT', 'INCRBY', 'i64', '1', '1', 'INCRBY', 'i64', '1', smallest],
      ['BITFIELD', 'b', 'OVERFLOW', 'FAIL', 'INCRBY', 'i5', '3', smallest, 'INCRBY', 'u5', '3', smallest],
      ['GET', 'b'],
    ]);
  });

  test('random commands', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command(), { minLength: 1, maxLength: 30 }), (commands) =>
        comparison.expectSame(commands),
      ),
      { numRuns: 300 },
    );
  });
});

function command(): fc.Arbitrary<Words> {
  const key = fc.constantFrom('a', 'b', 'c');
  const value = fc.oneof(
    fc.string({
      unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
      maxLength: 40,
    }),
    fc.tuple(fc.constantFrom('\0', '\xff'), fc.nat(60)).map(([byte, count]) => byte.repeat(count)),
    fc.constantFrom('', '12345', '-1', 'foobar'),
  );
  const index = fc.oneof(
    fc.integer({ min: -45, max: 45 }).map(String),
    fc.integer({ min: -400, max: 400 }).map(String),
    fc.constantFrom('0', '-1', 'x', '', '9223372036854775807', '-9223372036854775808'),
  );
  const unit = fc.constantFrom(['BIT'], ['byte'], ['bit'], [], ['foo'], ['BIT', 'BIT']);
  const range = fc.oneof(
    fc.constant([] as string[]),
    index.map((start) => [start]),
    fc.tuple(index, index, unit).map(([start, end, words]) => [start, end, ...words]),
  );
  const bit = fc.constantFrom('0', '1', '1', '0', '2', 'x');
  const offset = fc.oneof(fc.nat(400).map(String), fc.constantFrom('-1', 'x', '4294967296'));
  return fc.oneof(
    fc.tuple(key, value).map(([k, v]) => ['SET', k, v]),
    fc.tuple(key, offset).map(([k, at]) => ['GETBIT', k, at]),
    fc.tuple(key, offset, bit).map(([k, at, b]) => ['SETBIT', k, at, b]),
    fc.tuple(key, range).map(([k, words]) => ['BITCOUNT', k, ...words]),
    fc.tuple(key, bit, range).map(([k, b, words]) => ['BITPOS', k, b, ...words]),
    fc
      .tuple(
        fc.constantFrom('AND', 'or', 'Xor', 'not', 'NOT', 'nand'),
        key,
        fc.array(key, { minLength: 1, maxLength: 3 }),
      )
      .map(([operation, to, from]) => ['BITOP', operation, to, ...from]),
    fc
      .tuple(
        fc.constantFrom('BITFIELD', 'BITFIELD', 'BITFIELD_RO'),
        key,
        fc.array(fieldOperation(), { maxLength: 6 }),
      )
      .map(([name, k, operations]) => [name, k, ...operations.flat()]),
    fc.tuple(fc.constantFrom('GET', 'STRLEN', 'DEL'), key).map((words) => [...words]),
    key.map((k) => ['OBJECT', 'ENCODING', k]),
  );
}

function fieldOperation(): fc.Arbitrary<Words> {
  const type = fc.oneof(
    fc.integer({ min: 1, max: 63 }).map((bits) => `u${bits}`),
    fc.integer({ min: 1, max: 64 }).map((bits) => `i${bits}`),
    fc.constantFrom('u1', 'u8', 'i8', 'i64', 'u63', 'i1'),
  );
  const offset = fc.oneof(
    fc.nat(300).map(String),
    fc.nat(6).map((n) => `#${n}`),
  );
  const operand = fc.oneof(
    // Below, Redis's own computation overflows: see the test on SAT.
    fc.bigInt({ min: -(2n ** 62n), max: 2n ** 63n - 1n }).map(String),
    fc.integer({ min: -300, max: 300 }).map(String),
    fc.constantFrom('9223372036854775807', 'x'),
  );
  return fc.oneof(
    fc.tuple(type, offset).map(([t, at]) => ['GET', t, at]),
    fc
      .tuple(fc.constantFrom('SET', 'incrby', 'INCRBY'), type, offset, operand)
      .map(([name, t, at, v]) => [name, t, at, v]),
    fc.constantFrom('WRAP', 'sat', 'FAIL').map((how) => ['OVERFLOW', how]),
  );
}
