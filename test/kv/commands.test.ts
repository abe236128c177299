/**
 * Every command on data against a real redis-server: a table of cases, random sequences, and the rows' documentation.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type CommandArgument,
  type CommandRow,
  type KeyPositions,
  type KeySpecification,
  NO_KEYS,
} from '../../src/kv/command.ts';
import { dataCommands, findDataCommand } from '../../src/kv/table.ts';
import { hasRedisServer, type Parsed, parse, RedisServer, render } from './redis-server.ts';
import { bytesOf, Client, Replica } from './replica.ts';

const INT64_MAX = '9223372036854775807';
const INT64_MIN = '-9223372036854775808';

/** Each line is a sequence on an empty server; commands are parted by `;`, arguments by spaces, "" is the empty string. */
const CASES = String.raw`
GET a; SET a 1; GET a; get a; GeT a; STRLEN a; STRLEN b; TYPE a; TYPE b; DBSIZE
SET a "" ; GET a; STRLEN a; EXISTS a; INCR a; APPEND a x; GET a
SET a 1 NX; SET a 2 NX; GET a; SET a 3 XX; GET a; SET b 1 XX; GET b; SET a 1 nx xx; SET a 1 NX NX; SET a 1 XX NX
SET a 1 GET; SET a 2 GET; SET a 3 NX GET; GET a; SET b 3 NX GET; GET b; SET c 3 XX GET; GET c; SET a 9 XX GET; GET a; SET a 1 GET GET
SET a 1 EX 100; TTL a; SET a 2 KEEPTTL; TTL a; SET a 3; TTL a; SET a 1 EX 10 KEEPTTL; SET a 1 KEEPTTL EX 10; SET a 1 KEEPTTL KEEPTTL; GET a
SET a 1 EX 10 PX 10; SET a 1 PX 10 EX 10; SET a 1 EX 10 EXAT 10; SET a 1 EX; SET a 1 EX 10 EX; SET a 1 EX 10 EX 200; TTL a
SET a 1 EX 0; SET a 1 EX -1; SET a 1 EX abc; SET a 1 PX 0; SET a 1 PXAT 0; SET a 1 EXAT -5; SET a 1 EX 1.5; SET a 1 EX ""; EXISTS a
SET a 1 EX ${INT64_MAX}; SET a 1 PX ${INT64_MAX}; SET a 1 EXAT ${INT64_MAX}; SET a 1 EX 9223372036854775; SET a 1 EX 9223372036854776; GET a
SET a 1 EXAT 33177117420; EXPIRETIME a; PEXPIRETIME a; SET a 1 PXAT 33177117420499; EXPIRETIME a; PEXPIRETIME a; SET a 1 PXAT 33177117420500; EXPIRETIME a
SET a 1 EXAT 1; GET a; EXISTS a; SET b 1; SET b 2 PXAT 5 GET; GET b; SET c 1 XX EXAT 1; GET c
SET a 1 FOO; SET a 1 NX FOO; SET a 1 E X; SET a 1 PERSIST; SET a 1 ""
SETNX a 1; SETNX a 2; GET a; GETSET a 3; GETSET b 4; GET a; GET b; SET a 1 EX 100; GETSET a 2; TTL a
SETEX a 100 v; TTL a; GET a; SETEX a 0 v; SETEX a -1 v; SETEX a abc v; SETEX a ${INT64_MAX} v; PSETEX a 100000 v; TTL a; PSETEX a 0 v; PSETEX a x v; PSETEX a ${INT64_MAX} v
APPEND a x; APPEND a yz; GET a; SET a 1 EX 100; APPEND a 2; TTL a; GET a; APPEND b ""; EXISTS b; APPEND b ""; STRLEN b
INCR a; INCR a; DECR a; DECR b; INCRBY a 10; DECRBY a 20; GET a; INCRBY a -5; DECRBY a -5; INCRBY a 0; SET a 5 EX 100; INCR a; TTL a
SET a abc; INCR a; INCRBY a 1; INCRBY a x; DECRBY a x; INCRBY a 1.5; INCRBY a +1; INCRBY a 01; INCRBY a -0; INCRBY a ""; INCRBY a 1e3
SET a 01; INCR a; SET a +1; INCR a; SET a -0; INCR a; SET a 1.0; INCR a; SET a 00; INCR a; SET a -; INCR a; SET a 0; DECR a; INCR a
SET a ${INT64_MAX}; INCR a; INCRBY a 1; DECR a; INCR a; GET a; INCRBY a ${INT64_MIN}; GET a; SET a ${INT64_MIN}; DECR a; DECRBY a 1; INCR a; DECR a; GET a
SET a 9223372036854775808; INCR a; SET a -9223372036854775809; INCR a; SET a 99999999999999999999999; INCR a; INCRBY b 9223372036854775808
DECRBY a ${INT64_MIN}; DECRBY a ${INT64_MAX}; DECRBY a 1; DECRBY a 1; INCRBY b ${INT64_MAX}; INCRBY b ${INT64_MAX}; INCRBY b -${INT64_MAX}; GET b
SET a 9007199254740991; INCR a; INCR a; INCR a; DECR a; DECRBY a 9007199254740993; GET a; INCRBY a 999999999999999; INCRBY a 9999999999999999
MSET a 1 b 2 a 3; MGET a b c a; MSET a 1 b; MSETNX a 9 z 1; EXISTS z; MSETNX y 1 z 2; MGET y z; MSETNX a 1 b; MSETNX p 1 p 2; GET p; MSET a 1; DBSIZE
SET a 1 EX 100; MSET a 2; TTL a; GET a
SET a 1; SET b 2; DEL a a c; DEL b; DBSIZE; MSET a 1 b 1 c 1; EXISTS a a b d; TOUCH a a d; UNLINK a b x; DEL a b c; DBSIZE
SET a 1; GETDEL a; GETDEL a; EXISTS a; GET a
SET a Hello; GETRANGE a 0 2; GETRANGE a 1 -1; GETRANGE a -3 -2; GETRANGE a -2 -3; GETRANGE a 10 20; GETRANGE a -100 100; GETRANGE a 0 -10; GETRANGE a 3 1; GETRANGE b 0 -1; SUBSTR a 1 2; GETRANGE a x 1; GETRANGE a 1 x
SET a Hello; GETRANGE a -10 -20; GETRANGE a -20 -10; GETRANGE a ${INT64_MIN} ${INT64_MAX}; GETRANGE a 0 0; GETRANGE a 5 5; GETRANGE a 4 4; SET a ""; GETRANGE a 0 -1
SETRANGE a 3 xy; GET a; SETRANGE a 0 Z; GET a; SETRANGE a -1 x; SETRANGE b 0 ""; EXISTS b; SETRANGE b 5 ""; SETRANGE a 99999999999 ""; SETRANGE a 536870911 xy; SETRANGE a 536870912 x; SETRANGE a x y; SETRANGE a ${INT64_MAX} y; SETRANGE c 536870912 x; SETRANGE c -1 ""
SET a 1 EX 100; SETRANGE a 0 2; TTL a; PERSIST a; TTL a; PERSIST a; PERSIST b; TTL b; PTTL b; PTTL a; EXPIRETIME b; PEXPIRETIME a
SET a 1; EXPIRE a 100; TTL a; EXPIRE a 200 NX; EXPIRE a 200 XX; TTL a; EXPIRE a 100 GT; EXPIRE a 100 LT; TTL a; EXPIRE a 300 GT XX; TTL a; EXPIRE b 100
SET a 1; EXPIRE a 100 XX; EXPIRE a 100 GT; EXPIRE a 100 LT; TTL a; PERSIST a; EXPIRE a 100 NX; TTL a; expire a 50 nx; expire a 50 lt; TTL a
SET a 1; EXPIRE a x; EXPIRE a 1 FOO; EXPIRE a x FOO; EXPIRE a 1 NX XX; EXPIRE a 1 NX GT; EXPIRE a 1 GT LT; EXPIRE a 1 LT NX GT; EXPIRE a ${INT64_MAX}; EXPIRE a ${INT64_MIN}; PEXPIRE a ${INT64_MAX}; EXPIRE z ${INT64_MAX}; EXPIRE a 1 NX NX; TTL a
SET a 1; EXPIRE a 0; EXISTS a; SET a 1; EXPIRE a -1; EXISTS a; SET a 1; EXPIREAT a 1; EXISTS a; SET a 1; PEXPIREAT a -1; DBSIZE; SET a 1; PEXPIRE a ${INT64_MIN}; EXISTS a
SET a 1; EXPIREAT a 33177117420; EXPIRETIME a; PEXPIREAT a 33177117420001 GT; PEXPIRETIME a; PEXPIREAT a 33177117420001 GT; PEXPIREAT a 33177117420001 LT; EXPIREAT a 33177117420 LT; PEXPIRETIME a
SET a 1; FLUSHALL; DBSIZE; FLUSHALL ASYNC; FLUSHALL sync; FLUSHALL foo; FLUSHALL SYNC ASYNC; SET a 1; FLUSHALL SYNC; GET a
SET {a}b 1; GET {a}b; SET \xff\x00\r\n \xfe\x00\r\n; GET \xff\x00\r\n; STRLEN \xff\x00\r\n; APPEND \xff\x00\r\n \x00; EXPIRE a 1 a\rb\nc
`
  .trim()
  .split('\n')
  .map((line) => line.split(';').map((text) => text.trim().split(' ').map(unquote)));

function unquote(word: string): string {
  if (word === '""') return '';
  return word.replace(/\\(x..|r|n)/g, (_, code: string) => {
    if (code === 'r') return '\r';
    return code === 'n' ? '\n' : String.fromCharCode(Number.parseInt(code.slice(1), 16));
  });
}

/** Those that clients see, subcommands too. */
const rows: readonly (readonly [string, CommandRow])[] = [...dataCommands.values()]
  .filter(({ internal, name }) => internal !== true && !name.startsWith('hstore.'))
  .flatMap((row) => [
    [row.name, row] as const,
    ...(row.subcommands ?? []).map((subrow) => [`${row.name}|${subrow.name}`, subrow] as const),
  ]);

function ours(commands: readonly (readonly string[])[]): string[] {
  const client = new Client();
  return commands.map((argv) => {
    client.nowMs = Date.now();
    return render(client.run(...argv));
  });
}

describe.runIf(hasRedisServer())('compared with redis-server', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(() => redis.stop());

  async function theirs(commands: readonly (readonly string[])[]): Promise<string[]> {
    const replies = await redis.run([['FLUSHALL'], ...commands]);
    return replies.slice(1);
  }

  test.each(
    CASES.map(
      (commands) => [JSON.stringify(commands.map((argv) => argv.join(' ')).join('; ')), commands] as const,
    ),
  )('%s', async (_, commands) => {
    expect(ours(commands)).toEqual(await theirs(commands));
  });

  test('random sequences of all commands get the replies that Redis gives', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyCommand(), { minLength: 1, maxLength: 25 }), async (commands) => {
        expect(ours(commands)).toEqual(await theirs(commands));
      }),
      { numRuns: 300 },
    );
  });

  test.each(rows)('the row of %s says what COMMAND INFO says', async (fullName, row) => {
    const [info] = parse((await redis.run([['COMMAND', 'INFO', fullName]]))[0]!) as Parsed[][];
    const [name, arity, flags, first, last, step, categories, tips, specs] = info!;
    expect([fullName, row.arity, row.flags, ...row.keys]).toEqual([name, arity, flags, first, last, step]);
    expect(row.categories).toEqual(categories);
    expect(row.tips ?? []).toEqual(tips);
    expect(specificationsOf(row)).toEqual((specs as Parsed[]).map(specification));
  });

  test.each(rows)('the row of %s says what COMMAND DOCS says', async (fullName, row) => {
    const [, docs] = parse((await redis.run([['COMMAND', 'DOCS', fullName]]))[0]!) as Parsed[];
    const said = dictionary(docs!);
    for (const field of ['summary', 'since', 'group', 'complexity'] as const) {
      expect(row[field]).toBe(said.get(field));
    }
    expect(row.history).toEqual(said.get('history'));
    expect(row.deprecated?.since).toBe(said.get('deprecated_since'));
    expect(row.deprecated?.replacedBy).toBe(said.get('replaced_by'));
    expect(row.arguments?.map(plain)).toEqual(
      (said.get('arguments') as Parsed[] | undefined)?.map(plainParsed),
    );
  });

  test('a container has the subcommands that Redis has', async () => {
    for (const [fullName, row] of rows.filter(([, { subcommands }]) => subcommands !== undefined)) {
      const [, docs] = parse((await redis.run([['COMMAND', 'DOCS', fullName]]))[0]!) as Parsed[];
      const theirs = [...dictionary(dictionary(docs!).get('subcommands')!).keys()];
      expect(row.subcommands!.map(({ name }) => `${fullName}|${name}`).sort()).toEqual(theirs.sort());
    }
  });
});

test('what check refuses, run refuses with the same reply', () => {
  for (const commands of CASES) {
    for (const argv of commands) {
      const row = findDataCommand(bytesOf(argv));
      if (row?.kind !== 'write' || row.check === undefined) continue;
      const refused = row.check(bytesOf(argv));
      if (refused !== undefined) expect(new Client().run(...argv), argv.join(' ')).toEqual(refused);
    }
  }
});

test('an APPEND or SETRANGE beyond the limit on strings is refused and changes nothing', () => {
  const client = new Client(new Replica({ stringBytesMax: 10 }));
  client.run('SET', 'a', '12345678');
  expect(render(client.run('APPEND', 'a', 'xyz'))).toBe(
    '-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n',
  );
  expect(render(client.run('SETRANGE', 'a', '8', 'xyz'))).toMatch(/^-ERR string exceeds/);
  expect(render(client.run('GET', 'a'))).toBe('$8\r\n12345678\r\n');
  expect(client.run('APPEND', 'a', 'xy')).toBe(10);
});

function dictionary(pairs: Parsed): ReadonlyMap<Parsed, Parsed> {
  const map = new Map<Parsed, Parsed>();
  const flat = pairs as Parsed[];
  for (let i = 0; i < flat.length; i += 2) map.set(flat[i]!, flat[i + 1]!);
  return map;
}

/** Of the keys of one row, as COMMAND INFO tells of them. */
function specificationsOf(row: CommandRow): readonly KeySpecification[] {
  if (row.keySpecs !== undefined) return row.keySpecs;
  if (row.keys === NO_KEYS) return [];
  const notes = row.keyNotes === undefined ? {} : { notes: row.keyNotes };
  return [{ at: row.keys, flags: row.keyFlags ?? [], ...notes }];
}

function specification(said: Parsed): KeySpecification {
  const fields = dictionary(said);
  const notes = fields.has('notes') ? { notes: fields.get('notes') as string } : {};
  return { at: placeOf(fields), flags: fields.get('flags') as string[], ...notes };
}

/** Where a range of keys begins is an index; where it ends is counted from there, or from the end of argv. */
function placeOf(fields: ReadonlyMap<Parsed, Parsed>): KeyPositions | undefined {
  const begin = dictionary(fields.get('begin_search')!);
  if (begin.get('type') === 'unknown') return undefined;
  const first = dictionary(begin.get('spec')!).get('index') as number;
  const range = dictionary(dictionary(fields.get('find_keys')!).get('spec')!);
  const last = range.get('lastkey') as number;
  return [first, last < 0 ? last : first + last, range.get('keystep') as number];
}

function plain(argument: CommandArgument): unknown {
  const { arguments: inner, keySpec, ...rest } = argument;
  const spec = argument.type === 'key' || keySpec !== undefined ? { key_spec_index: keySpec ?? 0 } : {};
  return { ...rest, ...spec, ...(inner === undefined ? {} : { arguments: inner.map(plain) }) };
}

function plainParsed(argument: Parsed): unknown {
  const fields = Object.fromEntries(dictionary(argument));
  const inner = fields.arguments;
  return inner === undefined ? fields : { ...fields, arguments: (inner as Parsed[]).map(plainParsed) };
}

/** All times are absolute, far ahead or long ago: the two servers do not look at their clocks at one moment. */
function anyCommand(): fc.Arbitrary<string[]> {
  const key = fc.constantFrom('a', 'b', 'c');
  const integer = fc.constantFrom(
    '0',
    '1',
    '-1',
    '7',
    '-300',
    INT64_MAX,
    INT64_MIN,
    '9007199254740993',
    'x',
    '',
  );
  const value = fc.oneof(integer, fc.string({ unit: 'binary-ascii', maxLength: 6 }));
  const time = fc.constantFrom(
    ['EXAT', '33177117420'],
    ['PXAT', '33177117420500'],
    ['PXAT', '5'],
    ['EX', '0'],
    ['EX', 'x'],
    ['PX'],
    ['KEEPTTL'],
  );
  const setOption = fc.oneof(
    time,
    fc.constantFrom('NX', 'XX', 'GET', 'nx', 'get', 'FOO').map((word) => [word]),
  );
  const condition = fc.array(fc.constantFrom('NX', 'XX', 'GT', 'LT', 'gt', 'FOO'), { maxLength: 2 });
  // Beyond 2^53 hstore keeps a time only roughly.
  const seconds = fc.constantFrom('33177117420', '33177117421', '-1', '0', 'x');
  const milliseconds = fc.constantFrom('33177117420000', '33177117420500', '33177117421000', '-1', '0', 'x');
  const wrongTime = fc.constantFrom('0', '-1', 'x', INT64_MAX, INT64_MIN);
  const words = (name: string, ...parts: fc.Arbitrary<string>[]): fc.Arbitrary<string[]> =>
    fc.tuple(...parts).map((rest) => [name, ...rest]);
  const many = (name: string, part: fc.Arbitrary<string>): fc.Arbitrary<string[]> =>
    fc.array(part, { minLength: 1, maxLength: 4 }).map((rest) => [name, ...rest]);
  const pairs = (name: string): fc.Arbitrary<string[]> =>
    fc.array(fc.tuple(key, value), { minLength: 1, maxLength: 3 }).map((rest) => [name, ...rest.flat()]);
  return fc.oneof(
    fc
      .tuple(key, value, fc.array(setOption, { maxLength: 3 }))
      .map(([k, v, options]) => ['SET', k, v, ...options.flat()]),
    ...['GET', 'STRLEN', 'TYPE', 'EXPIRETIME', 'PEXPIRETIME', 'INCR', 'DECR', 'GETDEL', 'PERSIST'].map(
      (name) => words(name, key),
    ),
    ...['APPEND', 'GETSET', 'SETNX'].map((name) => words(name, key, value)),
    ...['INCRBY', 'DECRBY'].map((name) => words(name, key, integer)),
    words('GETRANGE', key, integer, integer),
    words('SETRANGE', key, fc.constantFrom('0', '2', '9', '-1', 'x', INT64_MAX), value),
    words('SETEX', key, wrongTime, value),
    fc.tuple(key, seconds, condition).map(([k, at, options]) => ['EXPIREAT', k, at, ...options]),
    fc.tuple(key, milliseconds, condition).map(([k, at, options]) => ['PEXPIREAT', k, at, ...options]),
    fc
      .tuple(fc.constantFrom('EXPIRE', 'PEXPIRE'), key, wrongTime, condition)
      .map(([name, k, at, options]) => [name, k, at, ...options]),
    ...['DEL', 'UNLINK', 'EXISTS', 'TOUCH', 'MGET'].map((name) => many(name, key)),
    pairs('MSET'),
    pairs('MSETNX'),
    words('FLUSHALL'),
  );
}
