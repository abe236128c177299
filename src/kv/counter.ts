/**
 * Strings that are numbers: INCR, DECR, INCRBY and DECRBY for integers of 64 bits, INCRBYFLOAT for long doubles.
 *
 * After t_string.c of Redis 7.0: `incrDecrCommand`, `incrbyfloatCommand`.
 */
import { asBuffer, fromLatin1 } from '../lib/bytes.ts';
import { ErrorReply, type Reply } from '../resp/reply.ts';
import { type CommandArgument, type Database, NEVER, type WriteCommand } from './command.ts';
import { DECREMENT_WOULD_OVERFLOW, NOT_A_FLOAT, NOT_AN_INTEGER, WOULD_OVERFLOW } from './errors.ts';
import { addLongDoubles, formatLongDouble, parseLongDouble, ZERO } from './float.ts';
import { addIntegers, INT64_MIN, type Integer, parseInteger } from './integer.ts';

const NOT_FINITE = new ErrorReply('ERR', 'increment would produce NaN or Infinity');
const NOTHING = asBuffer(new Uint8Array(0));

/** The time to live stays. */
function add(db: Database, key: Uint8Array, increment: Integer): Reply {
  const old = db.get(key);
  const value = old === undefined ? 0 : parseInteger(old.bytes);
  if (value === undefined) return NOT_AN_INTEGER;
  const sum = addIntegers(value, increment);
  if (sum === undefined) return WOULD_OVERFLOW;
  db.set(key, { type: 'string', bytes: fromLatin1(String(sum)), expireAtMs: old?.expireAtMs ?? NEVER });
  return sum;
}

function addArgument(db: Database, argv: readonly Uint8Array[]): Reply {
  const increment = parseInteger(argv[2] ?? NOTHING);
  return increment === undefined ? NOT_AN_INTEGER : add(db, argv[1]!, increment);
}

function subtractArgument(db: Database, argv: readonly Uint8Array[]): Reply {
  const refused = checkDecrement(argv);
  if (refused !== undefined) return refused;
  const decrement = parseInteger(argv[2]!)!;
  // 0 - x and not -x: there is a -0 in JavaScript.
  return add(db, argv[1]!, typeof decrement === 'bigint' ? -decrement : 0 - decrement);
}

function checkIncrement(argv: readonly Uint8Array[]): Reply | undefined {
  return parseInteger(argv[2]!) === undefined ? NOT_AN_INTEGER : undefined;
}

/** The smallest integer has no negative. */
function checkDecrement(argv: readonly Uint8Array[]): Reply | undefined {
  const decrement = parseInteger(argv[2]!);
  if (decrement === undefined) return NOT_AN_INTEGER;
  return decrement === INT64_MIN ? DECREMENT_WOULD_OVERFLOW : undefined;
}

/** The time to live stays. */
function addFloat(db: Database, argv: readonly Uint8Array[]): Reply {
  const key = argv[1]!;
  const old = db.get(key);
  const value = old === undefined ? ZERO : parseLongDouble(old.bytes);
  const increment = parseLongDouble(argv[2]!);
  if (value === undefined || increment === undefined) return NOT_A_FLOAT;
  const sum = addLongDoubles(value, increment);
  if (sum === undefined) return NOT_FINITE;
  const bytes = fromLatin1(formatLongDouble(sum));
  db.set(key, { type: 'string', bytes, expireAtMs: old?.expireAtMs ?? NEVER });
  return bytes;
}

function checkFloat(argv: readonly Uint8Array[]): Reply | undefined {
  return parseLongDouble(argv[2]!) === undefined ? NOT_A_FLOAT : undefined;
}

const KEY: CommandArgument = { name: 'key', type: 'key' };

const COUNTER = {
  kind: 'write',
  flags: ['write', 'denyoom', 'fast'],
  keys: [1, 1, 1],
  keyFlags: ['RW', 'access', 'update'],
  group: 'string',
  complexity: 'O(1)',
  categories: ['@write', '@string', '@fast'],
  since: '1.0.0',
} as const satisfies Partial<WriteCommand>;

export const counterCommands: readonly WriteCommand[] = [
  {
    ...COUNTER,
    name: 'incr',
    arity: 2,
    summary: 'Increment the integer value of a key by one',
    arguments: [KEY],
    run: (db, argv) => add(db, argv[1]!, 1),
  },
  {
    ...COUNTER,
    name: 'decr',
    arity: 2,
    summary: 'Decrement the integer value of a key by one',
    arguments: [KEY],
    run: (db, argv) => add(db, argv[1]!, -1),
  },
  {
    ...COUNTER,
    name: 'incrby',
    arity: 3,
    summary: 'Increment the integer value of a key by the given amount',
    arguments: [KEY, { name: 'increment', type: 'integer' }],
    check: checkIncrement,
    run: addArgument,
  },
  {
    ...COUNTER,
    name: 'decrby',
    arity: 3,
    summary: 'Decrement the integer value of a key by the given number',
    arguments: [KEY, { name: 'decrement', type: 'integer' }],
    check: checkDecrement,
    run: subtractArgument,
  },
  {
    ...COUNTER,
    name: 'incrbyfloat',
    arity: 3,
    since: '2.6.0',
    summary: 'Increment the float value of a key by the given amount',
    differs: 'on every machine computed as Redis does it on x86-64; OBJECT ENCODING of a whole result is int',
    arguments: [KEY, { name: 'increment', type: 'double' }],
    check: checkFloat,
    run: addFloat,
  },
];
