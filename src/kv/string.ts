/**
 * Redis's group "string": GET, MGET, APPEND and the other commands on values as strings of bytes. SET and its sisters
 * are in set.ts, counters in counter.ts, LCS in lcs.ts.
 *
 * A value at rest never changes, so what changes a part of a value makes a new one. (After t_string.c of Redis 7.0.)
 */
import { OK, type Reply } from '../resp/reply.ts';
import {
  type CommandArgument,
  type Database,
  NEVER,
  type ReadCommand,
  type WriteCommand,
} from './command.ts';
import { counterCommands } from './counter.ts';
import { NOT_AN_INTEGER, OUT_OF_RANGE, STRING_TOO_LONG, wrongArity } from './errors.ts';
import { parseInteger } from './integer.ts';
import { lcsCommand } from './lcs.ts';
import { setCommands } from './set.ts';

const NOTHING = new Uint8Array(0);

function getMany(db: Database, argv: readonly Uint8Array[]): Reply {
  const values: Reply[] = [];
  for (let i = 1; i < argv.length; i++) values.push(db.get(argv[i]!)?.bytes ?? null);
  return values;
}

/** Key, value, key, value ...: an odd number of them is a matter of arity to Redis. */
function checkPairs(command: string, argv: readonly Uint8Array[]): Reply | undefined {
  return argv.length % 2 === 0 ? wrongArity(command) : undefined;
}

function setPairs(db: Database, argv: readonly Uint8Array[]): void {
  for (let i = 1; i < argv.length; i += 2) {
    db.set(argv[i]!, { type: 'string', bytes: argv[i + 1]!, expireAtMs: NEVER });
  }
}

function setMany(db: Database, argv: readonly Uint8Array[]): Reply {
  const refused = checkPairs('mset', argv);
  if (refused !== undefined) return refused;
  setPairs(db, argv);
  return OK;
}

/** All or nothing. */
function setManyIfAbsent(db: Database, argv: readonly Uint8Array[]): Reply {
  const refused = checkPairs('msetnx', argv);
  if (refused !== undefined) return refused;
  for (let i = 1; i < argv.length; i += 2) if (db.get(argv[i]!) !== undefined) return 0;
  setPairs(db, argv);
  return 1;
}

/** The time to live stays. */
function append(db: Database, argv: readonly Uint8Array[]): Reply {
  const key = argv[1]!;
  const suffix = argv[2]!;
  const old = db.get(key);
  if (old === undefined) {
    db.set(key, { type: 'string', bytes: suffix, expireAtMs: NEVER });
    return suffix.length;
  }
  const prefix = old.bytes;
  if (prefix.length + suffix.length > db.stringBytesMax) return STRING_TOO_LONG;
  const bytes = new Uint8Array(prefix.length + suffix.length);
  bytes.set(prefix, 0);
  bytes.set(suffix, prefix.length);
  db.set(key, { type: 'string', bytes, expireAtMs: old.expireAtMs, raw: true });
  return bytes.length;
}

function getAndDelete(db: Database, argv: readonly Uint8Array[]): Reply {
  const value = db.get(argv[1]!);
  if (value === undefined) return null;
  db.delete(argv[1]!);
  return value.bytes;
}

/** From start to end, both included; negative ones count from the end of the value. */
function getRange(db: Database, argv: readonly Uint8Array[]): Reply {
  const start = parseInteger(argv[2]!);
  const end = parseInteger(argv[3]!);
  if (start === undefined || end === undefined) return NOT_AN_INTEGER;
  const bytes = db.get(argv[1]!)?.bytes ?? NOTHING;
  const from = fromEnd(Number(start), bytes.length);
  const to = fromEnd(Number(end), bytes.length);
  // As in Redis: two negative ends in the wrong order are empty even where clamping would make them meet.
  const crossed = start < 0 && end < 0 && start > end;
  return crossed || from > to ? NOTHING : bytes.subarray(from, to + 1);
}

function fromEnd(index: number, length: number): number {
  return Math.max(0, index < 0 ? length + index : index);
}

function checkOffset(argv: readonly Uint8Array[]): Reply | undefined {
  const offset = parseInteger(argv[2]!);
  if (offset === undefined) return NOT_AN_INTEGER;
  return offset < 0 ? OUT_OF_RANGE : undefined;
}

/** A gap is filled with zero bytes; the time to live stays. */
function setRange(db: Database, argv: readonly Uint8Array[]): Reply {
  const refused = checkOffset(argv);
  if (refused !== undefined) return refused;
  const offset = Number(parseInteger(argv[2]!)!);
  const patch = argv[3]!;
  const old = db.get(argv[1]!);
  const before = old?.bytes ?? NOTHING;
  if (patch.length === 0) return before.length;
  if (offset + patch.length > db.stringBytesMax) return STRING_TOO_LONG;
  const bytes = new Uint8Array(Math.max(before.length, offset + patch.length));
  bytes.set(before, 0);
  bytes.set(patch, offset);
  db.set(argv[1]!, { type: 'string', bytes, expireAtMs: old?.expireAtMs ?? NEVER, raw: true });
  return bytes.length;
}

const KEY: CommandArgument = { name: 'key', type: 'key' };
const VALUE: CommandArgument = { name: 'value', type: 'string' };
const PAIRS: readonly CommandArgument[] = [
  { name: 'key_value', type: 'block', flags: ['multiple'], arguments: [KEY, VALUE] },
];
const RANGE: readonly CommandArgument[] = [
  KEY,
  { name: 'start', type: 'integer' },
  { name: 'end', type: 'integer' },
];

const READ = {
  kind: 'read',
  flags: ['readonly', 'fast'],
  keys: [1, 1, 1],
  keyFlags: ['RO', 'access'],
  group: 'string',
  complexity: 'O(1)',
  categories: ['@read', '@string', '@fast'],
} as const satisfies Partial<ReadCommand>;

const WRITE = {
  kind: 'write',
  flags: ['write', 'denyoom'],
  keys: [1, 1, 1],
  group: 'string',
  categories: ['@write', '@string', '@slow'],
} as const satisfies Partial<WriteCommand>;

const SUBSTRING = {
  ...READ,
  arity: 4,
  flags: ['readonly'],
  summary: 'Get a substring of the string stored at a key',
  complexity:
    'O(N) where N is the length of the returned string. The complexity is ultimately determined by the returned length, but because creating a substring from an existing string is very cheap, it can be considered O(1) for small strings.',
  categories: ['@read', '@string', '@slow'],
  arguments: RANGE,
  run: getRange,
} as const satisfies Partial<ReadCommand>;

const reads: readonly ReadCommand[] = [
  {
    ...READ,
    name: 'get',
    arity: 2,
    since: '1.0.0',
    summary: 'Get the value of a key',
    arguments: [KEY],
    run: (db, argv) => db.get(argv[1]!)?.bytes ?? null,
  },
  {
    ...READ,
    name: 'strlen',
    arity: 2,
    keyFlags: ['RO'],
    since: '2.2.0',
    summary: 'Get the length of the value stored in a key',
    arguments: [KEY],
    run: (db, argv) => db.get(argv[1]!)?.bytes.length ?? 0,
  },
  {
    ...READ,
    name: 'mget',
    arity: -2,
    keys: [1, -1, 1],
    tips: ['request_policy:multi_shard'],
    since: '1.0.0',
    summary: 'Get the values of all the given keys',
    complexity: 'O(N) where N is the number of keys to retrieve.',
    arguments: [{ ...KEY, flags: ['multiple'] }],
    run: getMany,
  },
  { ...SUBSTRING, name: 'getrange', since: '2.4.0' },
  {
    ...SUBSTRING,
    name: 'substr',
    since: '1.0.0',
    deprecated: { since: '2.0.0', replacedBy: '`GETRANGE`' },
  },
];

const writes: readonly WriteCommand[] = [
  {
    ...WRITE,
    name: 'append',
    arity: 3,
    flags: ['write', 'denyoom', 'fast'],
    keyFlags: ['RW', 'insert'],
    since: '2.0.0',
    summary: 'Append a value to a key',
    complexity:
      'O(1). The amortized time complexity is O(1) assuming the appended value is small and the already present value is of any size, since the dynamic string library used by Redis will double the free space available on every reallocation.',
    categories: ['@write', '@string', '@fast'],
    arguments: [KEY, VALUE],
    run: append,
  },
  {
    ...WRITE,
    name: 'mset',
    arity: -3,
    keys: [1, -1, 2],
    keyFlags: ['OW', 'update'],
    tips: ['request_policy:multi_shard', 'response_policy:all_succeeded'],
    since: '1.0.1',
    summary: 'Set multiple keys to multiple values',
    complexity: 'O(N) where N is the number of keys to set.',
    arguments: PAIRS,
    check: (argv) => checkPairs('mset', argv),
    run: setMany,
    pieces: 'last',
  },
  {
    ...WRITE,
    name: 'msetnx',
    arity: -3,
    keys: [1, -1, 2],
    keyFlags: ['OW', 'insert'],
    tips: ['request_policy:multi_shard', 'response_policy:agg_min'],
    since: '1.0.1',
    summary: 'Set multiple keys to multiple values, only if none of the keys exist',
    complexity: 'O(N) where N is the number of keys to set.',
    arguments: PAIRS,
    check: (argv) => checkPairs('msetnx', argv),
    run: setManyIfAbsent,
  },
  {
    ...WRITE,
    name: 'getdel',
    arity: 2,
    flags: ['write', 'fast'],
    keyFlags: ['RW', 'access', 'delete'],
    since: '6.2.0',
    summary: 'Get the value of a key and delete the key',
    complexity: 'O(1)',
    categories: ['@write', '@string', '@fast'],
    arguments: [KEY],
    run: getAndDelete,
  },
  {
    ...WRITE,
    name: 'setrange',
    arity: 4,
    keyFlags: ['RW', 'update'],
    since: '2.2.0',
    summary: 'Overwrite part of a string at key starting at the specified offset',
    complexity:
      'O(1), not counting the time taken to copy the new string in place. Usually, this string is very small so the amortized complexity is O(1). Otherwise, complexity is O(M) with M being the length of the value argument.',
    arguments: [KEY, { name: 'offset', type: 'integer' }, VALUE],
    check: checkOffset,
    run: setRange,
  },
];

export const stringCommands: readonly (ReadCommand | WriteCommand)[] = [
  ...reads,
  ...setCommands,
  ...writes,
  ...counterCommands,
  lcsCommand,
];
