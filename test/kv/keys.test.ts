/**
 * Keys under other names, in other databases, with other times to live, and what OBJECT says of them: against a real
 * redis-server.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findDataCommand } from '../../src/kv/table.ts';
import { fromLatin1 } from '../../src/lib/bytes.ts';
import { bytesOfReply, Comparison, type Words } from './comparison.ts';
import { hasRedisServer } from './redis-server.ts';
import { Twin } from './twin-database.ts';

const INT64_MAX = '9223372036854775807';
const FAR = '33177117420';

/** Each line is a sequence on an empty server; commands are parted by `;`, arguments by spaces, "" is the empty string. */
const CASES = `
SET a 1; RENAME a b; GET a; GET b; RENAME a b; RENAME b b; RENAME z z; RENAMENX b b; RENAMENX z z; SET a 2; RENAMENX b a; RENAMENX b c; GET c; RENAME a c; GET c; DBSIZE
SET a 1 EXAT ${FAR}; RENAME a b; EXPIRETIME b; SET c 2; RENAME c b; EXPIRETIME b; SET d 1 EXAT ${FAR}; RENAMENX d e; EXPIRETIME e; EXISTS d
SET a 1 EXAT ${FAR}; COPY a b; GET b; EXPIRETIME b; COPY a b; SET a 2; COPY a b; GET b; COPY a b REPLACE; GET b; TTL b; COPY a a; COPY z z; COPY z y; COPY a a REPLACE
COPY a b DB; COPY a b DB 16; COPY a b DB -1; COPY a b DB x; COPY a b DB 99999999999; COPY a b DB 3 REPLACE DB 20; COPY a b FOO; COPY a b replace db 3 x; COPY a a DB 0; COPY a a DB 1
SET a 1 EXAT ${FAR}; COPY a a DB 3; COPY a a db 3; COPY a x DB 3 REPLACE; SELECT 3; GET a; EXPIRETIME x; COPY a b DB 0; SELECT 0; GET b; COPY b a DB 0 REPLACE; DBSIZE; COPY a b DB 1 DB 0
SET a 1 EXAT ${FAR}; MOVE a 5; EXISTS a; SELECT 5; GET a; EXPIRETIME a; MOVE a 5; MOVE a 16; MOVE a -1; MOVE a x; MOVE a 99999999999; MOVE z 4; SELECT 0; SET a 2; MOVE a 5; GET a; MOVE z 0; MOVE z x
SET a 1; SELECT 1; SET a 2; SET b 3; SWAPDB 0 1; GET a; DBSIZE; SELECT 0; GET a; GET b; DBSIZE; SWAPDB 0 0; GET a; SWAPDB 1 0; GET a
SWAPDB 0 16; SWAPDB -1 0; SWAPDB x 0; SWAPDB 0 x; SWAPDB x x; SWAPDB 99999999999 0; SWAPDB 0 99999999999; SWAPDB 16 x; SWAPDB 1.5 0
SET a 1; SELECT 1; SET a 2; FLUSHDB; DBSIZE; SELECT 0; DBSIZE; FLUSHDB ASYNC; DBSIZE; FLUSHDB sync; FLUSHDB foo; FLUSHDB SYNC ASYNC; SET a 1; SELECT 2; FLUSHALL; SELECT 0; DBSIZE
OBJECT ENCODING a; OBJECT REFCOUNT a; OBJECT FREQ a; OBJECT IDLETIME a; OBJECT HELP; OBJECT help; SET a 1; OBJECT FREQ a; object encoding a; OBJECT IDLETIME a
SET a 123; OBJECT ENCODING a; SET a 9223372036854775807; OBJECT ENCODING a; SET a 9223372036854775808; OBJECT ENCODING a; SET a 0123; OBJECT ENCODING a; SET a -0; OBJECT ENCODING a; SET a ""; OBJECT ENCODING a; SET a 1.5; OBJECT ENCODING a
SET a ${'x'.repeat(44)}; OBJECT ENCODING a; SET a ${'x'.repeat(45)}; OBJECT ENCODING a; SET a ${'1'.repeat(21)}; OBJECT ENCODING a; GETSET a 5; OBJECT ENCODING a; MSET a 6 b ${'y'.repeat(45)}; OBJECT ENCODING a; OBJECT ENCODING b; SETNX c 7; OBJECT ENCODING c; SETEX c 100 8; OBJECT ENCODING c
APPEND a 1; OBJECT ENCODING a; APPEND a 2; OBJECT ENCODING a; INCR a; OBJECT ENCODING a; GET a; APPEND a ""; OBJECT ENCODING a; EXPIRE a 100; OBJECT ENCODING a; PERSIST a; OBJECT ENCODING a; GETEX a EX 100; OBJECT ENCODING a; GETEX a PERSIST; OBJECT ENCODING a
APPEND a 1; APPEND a 2; RENAME a b; OBJECT ENCODING b; COPY b c; OBJECT ENCODING c; MOVE c 1; SELECT 1; OBJECT ENCODING c; SET c 12; OBJECT ENCODING c; SETRANGE c 0 ""; OBJECT ENCODING c; SETRANGE c 0 9; OBJECT ENCODING c; SETRANGE d 0 9; OBJECT ENCODING d; APPEND e ""; OBJECT ENCODING e
SETBIT a 1 1; OBJECT ENCODING a; SET b 1; SETBIT b 7 1; GET b; OBJECT ENCODING b; SET c 1; BITFIELD c GET u8 0; OBJECT ENCODING c; BITFIELD c INCRBY u8 0 0; OBJECT ENCODING c; BITOP AND d c c; OBJECT ENCODING d; INCR b; OBJECT ENCODING b
SET a 0; OBJECT REFCOUNT a; SET a 9999; OBJECT REFCOUNT a; SET a 10000; OBJECT REFCOUNT a; SET a -1; OBJECT REFCOUNT a; SET a x; OBJECT REFCOUNT a; DEL a; INCR a; OBJECT REFCOUNT a; APPEND a ""; OBJECT REFCOUNT a; SET a 9999; INCR a; OBJECT REFCOUNT a; DECR a; OBJECT REFCOUNT a
SORT a; SORT a STORE b; SORT a LIMIT 0 1; SORT a LIMIT x 1; SORT a LIMIT 0 x; SORT a LIMIT 0; SORT a BY; SORT a GET; SORT a STORE; SORT a foo; SORT a BY x* GET # GET y* DESC ALPHA ASC; SORT a LIMIT x 1 foo; SORT a foo LIMIT x 1
SET a 1; SORT a; SORT a foo; SORT a STORE a; SORT_RO a; SORT_RO a STORE b; SORT_RO b STORE a; SORT_RO b; SORT_RO b BY nosort; SORT b STORE a; EXISTS a; SET a 1; SET b 1; SORT z STORE a STORE b; EXISTS a b; SORT z STORE z
GETEX a; GETEX a EX x; GETEX a EX 0; GETEX a FOO; GETEX a EX; SET a 1; GETEX a; GETEX a EX 100; TTL a; GETEX a PERSIST; TTL a; GETEX a PX 100000; TTL a; GETEX a EXAT ${FAR}; EXPIRETIME a; GETEX a PXAT ${FAR}500; PEXPIRETIME a
SET a 1; GETEX a EX 0; GETEX a PX -1; GETEX a EXAT 0; GETEX a EX x; GETEX a EX ${INT64_MAX}; GETEX a PX ${INT64_MAX}; GETEX a EX 10 PX 10; GETEX a EX 10 PERSIST; GETEX a PERSIST EX 10; GETEX a PERSIST PERSIST; GETEX a EX 10 EX 100; TTL a; GETEX a KEEPTTL; GETEX a NX; GETEX a GET
SET a 1; GETEX a EXAT 1; EXISTS a; SET a 1; GETEX a PXAT 1; DBSIZE; GETEX a EXAT 1
`
  .trim()
  .split('\n')
  .map((line) =>
    line.split(';').map((text) =>
      text
        .trim()
        .split(' ')
        .map((word) => (word === '""' ? '' : word)),
    ),
  );

describe.runIf(hasRedisServer())('compared with redis-server', () => {
  let comparison: Comparison;
  beforeAll(async () => {
    comparison = await Comparison.start();
  });
  afterAll(() => comparison.stop());

  test.each(CASES.map((commands) => [commands.map((argv) => argv.join(' ')).join('; '), commands] as const))(
    '%s',
    async (_, commands) => {
      await comparison.expectSame(commands);
    },
  );

  test('random commands on keys in several databases', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command(), { minLength: 1, maxLength: 40, size: '+1' }), (commands) =>
        comparison.expectSame(commands),
      ),
      { numRuns: 300 },
    );
  });
});

test('what check refuses, run refuses with the same reply', () => {
  for (const commands of CASES) {
    for (const argv of commands) {
      const bytes = argv.map(fromLatin1);
      const row = findDataCommand(bytes);
      if (row?.kind !== 'write') continue;
      const refused = row.check?.(bytes);
      if (refused !== undefined) expect(new Twin().run(argv), argv.join(' ')).toEqual(refused);
    }
  }
});

test('the other keys of a command are those that it touches beside its own', () => {
  const others = (...argv: string[]) => {
    const bytes = argv.map(fromLatin1);
    const row = findDataCommand(bytes);
    if (row?.kind !== 'write') throw new Error('no write');
    return row.otherKeys?.(bytes, 7).map(({ db, key }) => [db, String(key)]);
  };
  expect(others('COPY', 'a', 'b')).toEqual([]);
  expect(others('COPY', 'a', 'b', 'DB', '3')).toEqual([[3, 'b']]);
  expect(others('COPY', 'a', 'b', 'DB', '16')).toEqual([]);
  expect(others('MOVE', 'a', '3')).toEqual([[3, 'a']]);
  expect(others('MOVE', 'a', 'x')).toEqual([]);
  expect(others('SORT', 'a')).toEqual([]);
  expect(others('SORT', 'a', 'STORE', 'b')).toEqual([[7, 'b']]);
  expect(others('RENAME', 'a', 'b')).toBeUndefined();
});

test('OBJECT IDLETIME counts from the last use, and looking at a key does not use it', () => {
  const twin = new Twin();
  const idle = () => bytesOfReply(twin.run(['OBJECT', 'IDLETIME', 'a']));
  twin.nowMs = 1_000_000;
  twin.run(['SET', 'a', '1']);
  twin.nowMs += 5999;
  expect(idle()).toBe(':5\r\n');
  for (const name of ['TYPE', 'EXISTS', 'TTL', 'PTTL', 'EXPIRETIME', 'PEXPIRETIME']) twin.run([name, 'a']);
  expect(idle()).toBe(':5\r\n');
  for (const name of ['GET', 'TOUCH', 'STRLEN', 'DUMP', 'GETEX', 'SORT', 'BITCOUNT']) {
    twin.nowMs += 60_000;
    twin.run([name, 'a']);
    expect(idle()).toBe(':0\r\n');
  }
});

function command(): fc.Arbitrary<Words> {
  const key = fc.constantFrom('a', 'b', 'c');
  const db = fc.constantFrom('0', '1', '2', '15', '16', '-1', 'x');
  const value = fc.constantFrom('', '1', '-5', 'x', '01', 'y'.repeat(44), 'y'.repeat(45));
  const copyOption = fc.oneof(
    fc.constant(['REPLACE']),
    db.map((index) => ['DB', index]),
    fc.constantFrom(['db'], ['foo']),
  );
  const time = fc.constantFrom(
    ['EXAT', FAR],
    ['PXAT', `${FAR}500`],
    ['EXAT', '1'],
    ['PERSIST'],
    ['EX', '0'],
    ['EX'],
    [],
  );
  const words = (names: string[], ...parts: fc.Arbitrary<string>[]): fc.Arbitrary<Words> =>
    fc.tuple(fc.constantFrom(...names), ...parts);
  return fc.oneof(
    words(['SET', 'APPEND', 'SETNX', 'GETSET'], key, value),
    words(['GET', 'TYPE', 'EXISTS', 'EXPIRETIME', 'INCR', 'DEL', 'PERSIST', 'GETDEL', 'SORT'], key),
    words(['EXPIREAT'], key, fc.constantFrom(FAR, '1')),
    words(['RENAME', 'RENAMENX'], key, key),
    words(['MOVE'], key, db),
    words(['SWAPDB'], db, db),
    fc
      .tuple(key, key, fc.array(copyOption, { maxLength: 2 }))
      .map(([from, to, options]) => ['COPY', from, to, ...options.flat()]),
    fc.tuple(key, time, time).map(([k, one, two]) => ['GETEX', k, ...one, ...two]),
    words(['OBJECT'], fc.constantFrom('ENCODING', 'encoding', 'FREQ'), key),
    words(['SORT'], key, fc.constant('STORE'), key),
    words(['SELECT'], fc.constantFrom('0', '1', '2')),
    fc.constantFrom(['FLUSHDB'], ['DBSIZE'], ['DBSIZE']),
  );
}
