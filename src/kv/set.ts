/**
 * SET with all its options, its older sisters SETNX, SETEX, PSETEX and GETSET, and GETEX, which takes the same times.
 *
 * After t_string.c of Redis 7.0: `parseExtendedStringArgumentsOrReply`, `setGenericCommand`, `getexCommand`.
 */
import { latin1 } from '../lib/bytes.ts';
import { ErrorReply, OK, type Reply } from '../resp/reply.ts';
import { type CommandArgument, type Database, NEVER, type WriteCommand } from './command.ts';
import { SYNTAX_ERROR } from './errors.ts';
import { EX, EXAT, PX, PXAT, parseExpiry, setExpiring, type TimeUnit, withExpiry } from './expiry.ts';

/** As it was written; what it means depends on the time of the log entry. */
interface TimeOption {
  readonly bytes: Uint8Array;
  readonly unit: TimeUnit;
  /** For its errors. */
  readonly command: string;
}

interface SetOptions {
  readonly condition: 'nx' | 'xx' | undefined;
  readonly get: boolean;
  readonly keepTtl: boolean;
  readonly time: TimeOption | undefined;
}
const NO_OPTIONS: SetOptions = { condition: undefined, get: false, keepTtl: false, time: undefined };

const UNITS: ReadonlyMap<string, TimeUnit> = new Map([
  ['EX', EX],
  ['PX', PX],
  ['EXAT', EXAT],
  ['PXAT', PXAT],
]);

/** The same option may come twice, the last one counts; two that contradict each other may not. */
function parseOptions(argv: readonly Uint8Array[]): SetOptions | ErrorReply {
  if (argv.length === 3) return NO_OPTIONS;
  let { condition, get, keepTtl, time } = NO_OPTIONS;
  for (let i = 3; i < argv.length; i++) {
    const word = latin1(argv[i]!).toUpperCase();
    const unit = UNITS.get(word);
    if (unit !== undefined) {
      const bytes = argv[++i];
      if (bytes === undefined || keepTtl || (time !== undefined && time.unit !== unit)) return SYNTAX_ERROR;
      time = { bytes, unit, command: 'set' };
    } else if (word === 'NX' && condition !== 'xx') condition = 'nx';
    else if (word === 'XX' && condition !== 'nx') condition = 'xx';
    else if (word === 'GET') get = true;
    else if (word === 'KEEPTTL' && time === undefined) keepTtl = true;
    else return SYNTAX_ERROR;
  }
  return { condition, get, keepTtl, time };
}

function checkSet(argv: readonly Uint8Array[]): Reply | undefined {
  const options = parseOptions(argv);
  if (options instanceof ErrorReply) return options;
  const expiry = options.time === undefined ? NEVER : parseExpiry(options.time, 0);
  return expiry instanceof ErrorReply ? expiry : undefined;
}

function set(db: Database, argv: readonly Uint8Array[]): Reply {
  const options = parseOptions(argv);
  if (options instanceof ErrorReply) return options;
  const expiry = options.time === undefined ? NEVER : parseExpiry(options.time, db.nowMs);
  if (expiry instanceof ErrorReply) return expiry;
  const key = argv[1]!;
  if (options === NO_OPTIONS) {
    db.set(key, { type: 'string', bytes: argv[2]!, expireAtMs: NEVER });
    return OK;
  }
  const old = db.get(key);
  const oldBytes = options.get ? (old?.bytes ?? null) : null;
  if (options.condition === 'nx' && old !== undefined) return oldBytes;
  if (options.condition === 'xx' && old === undefined) return oldBytes;
  const expireAtMs = options.keepTtl && old !== undefined ? old.expireAtMs : expiry;
  setExpiring(db, key, { type: 'string', bytes: argv[2]!, expireAtMs });
  return options.get ? oldBytes : OK;
}

/** SETEX and PSETEX: key, time, value. */
function setWithTime(command: string, unit: TimeUnit, db: Database, argv: readonly Uint8Array[]): Reply {
  const expireAtMs = parseExpiry({ bytes: argv[2]!, unit, command }, db.nowMs);
  if (expireAtMs instanceof ErrorReply) return expireAtMs;
  setExpiring(db, argv[1]!, { type: 'string', bytes: argv[3]!, expireAtMs });
  return OK;
}

function checkTime(command: string, unit: TimeUnit, argv: readonly Uint8Array[]): Reply | undefined {
  const expireAtMs = parseExpiry({ bytes: argv[2]!, unit, command }, 0);
  return expireAtMs instanceof ErrorReply ? expireAtMs : undefined;
}

function setIfAbsent(db: Database, argv: readonly Uint8Array[]): Reply {
  const key = argv[1]!;
  if (db.get(key) !== undefined) return 0;
  db.set(key, { type: 'string', bytes: argv[2]!, expireAtMs: NEVER });
  return 1;
}

function getAndSet(db: Database, argv: readonly Uint8Array[]): Reply {
  const key = argv[1]!;
  const old = db.get(key)?.bytes ?? null;
  db.set(key, { type: 'string', bytes: argv[2]!, expireAtMs: NEVER });
  return old;
}

interface GetexOptions {
  readonly persist: boolean;
  readonly time: TimeOption | undefined;
}

function parseGetexOptions(argv: readonly Uint8Array[]): GetexOptions | ErrorReply {
  let persist = false;
  let time: TimeOption | undefined;
  for (let i = 2; i < argv.length; i++) {
    const word = latin1(argv[i]!).toUpperCase();
    const unit = UNITS.get(word);
    if (unit !== undefined) {
      const bytes = argv[++i];
      if (bytes === undefined || persist || (time !== undefined && time.unit !== unit)) return SYNTAX_ERROR;
      time = { bytes, unit, command: 'getex' };
    } else if (word === 'PERSIST' && time === undefined) persist = true;
    else return SYNTAX_ERROR;
  }
  return { persist, time };
}

function checkGetex(argv: readonly Uint8Array[]): Reply | undefined {
  const options = parseGetexOptions(argv);
  return options instanceof ErrorReply ? options : undefined;
}

/** Without options it is GET. A wrong time is an error only if there is a value. */
function getAndExpire(db: Database, argv: readonly Uint8Array[]): Reply {
  const options = parseGetexOptions(argv);
  if (options instanceof ErrorReply) return options;
  const key = argv[1]!;
  const value = db.get(key);
  if (value === undefined) return null;
  if (options.time !== undefined) {
    const expireAtMs = parseExpiry(options.time, db.nowMs);
    if (expireAtMs instanceof ErrorReply) return expireAtMs;
    if (expireAtMs <= db.nowMs) db.delete(key);
    else db.set(key, withExpiry(value, expireAtMs));
  } else if (options.persist && value.expireAtMs !== NEVER) {
    db.set(key, withExpiry(value, NEVER));
  }
  return value.bytes;
}

const KEY: CommandArgument = { name: 'key', type: 'key' };
const VALUE: CommandArgument = { name: 'value', type: 'string' };

const SET_ARGUMENTS: readonly CommandArgument[] = [
  KEY,
  VALUE,
  {
    name: 'condition',
    type: 'oneof',
    since: '2.6.12',
    flags: ['optional'],
    arguments: [
      { name: 'nx', type: 'pure-token', token: 'NX' },
      { name: 'xx', type: 'pure-token', token: 'XX' },
    ],
  },
  { name: 'get', type: 'pure-token', token: 'GET', since: '6.2.0', flags: ['optional'] },
  {
    name: 'expiration',
    type: 'oneof',
    flags: ['optional'],
    arguments: [
      { name: 'seconds', type: 'integer', token: 'EX', since: '2.6.12' },
      { name: 'milliseconds', type: 'integer', token: 'PX', since: '2.6.12' },
      { name: 'unix-time-seconds', type: 'unix-time', token: 'EXAT', since: '6.2.0' },
      { name: 'unix-time-milliseconds', type: 'unix-time', token: 'PXAT', since: '6.2.0' },
      { name: 'keepttl', type: 'pure-token', token: 'KEEPTTL', since: '6.0.0' },
    ],
  },
];

const GETEX_ARGUMENTS: readonly CommandArgument[] = [
  KEY,
  {
    name: 'expiration',
    type: 'oneof',
    flags: ['optional'],
    arguments: [
      { name: 'seconds', type: 'integer', token: 'EX' },
      { name: 'milliseconds', type: 'integer', token: 'PX' },
      { name: 'unix-time-seconds', type: 'unix-time', token: 'EXAT' },
      { name: 'unix-time-milliseconds', type: 'unix-time', token: 'PXAT' },
      { name: 'persist', type: 'pure-token', token: 'PERSIST' },
    ],
  },
];

/** What all rows of this file have in common. */
const WRITE = {
  kind: 'write',
  keys: [1, 1, 1],
  group: 'string',
  complexity: 'O(1)',
} as const satisfies Partial<WriteCommand>;

export const setCommands: readonly WriteCommand[] = [
  {
    ...WRITE,
    name: 'set',
    arity: -3,
    flags: ['write', 'denyoom'],
    keyFlags: ['RW', 'access', 'update', 'variable_flags'],
    keyNotes: 'RW and ACCESS due to the optional `GET` argument',
    since: '1.0.0',
    summary: 'Set the string value of a key',
    categories: ['@write', '@string', '@slow'],
    history: [
      ['2.6.12', 'Added the `EX`, `PX`, `NX` and `XX` options.'],
      ['6.0.0', 'Added the `KEEPTTL` option.'],
      ['6.2.0', 'Added the `GET`, `EXAT` and `PXAT` option.'],
      ['7.0.0', 'Allowed the `NX` and `GET` options to be used together.'],
    ],
    arguments: SET_ARGUMENTS,
    check: checkSet,
    run: set,
  },
  {
    ...WRITE,
    name: 'setnx',
    arity: 3,
    flags: ['write', 'denyoom', 'fast'],
    keyFlags: ['OW', 'insert'],
    since: '1.0.0',
    summary: 'Set the value of a key, only if the key does not exist',
    categories: ['@write', '@string', '@fast'],
    arguments: [KEY, VALUE],
    run: setIfAbsent,
  },
  {
    ...WRITE,
    name: 'getset',
    arity: 3,
    flags: ['write', 'denyoom', 'fast'],
    keyFlags: ['RW', 'access', 'update'],
    since: '1.0.0',
    summary: 'Set the string value of a key and return its old value',
    categories: ['@write', '@string', '@fast'],
    deprecated: { since: '6.2.0', replacedBy: '`SET` with the `!GET` argument' },
    arguments: [KEY, VALUE],
    run: getAndSet,
  },
  {
    ...WRITE,
    name: 'getex',
    arity: -2,
    flags: ['write', 'fast'],
    keyFlags: ['RW', 'access', 'update'],
    keyNotes: 'RW and UPDATE because it changes the TTL',
    since: '6.2.0',
    summary: 'Get the value of a key and optionally set its expiration',
    categories: ['@write', '@string', '@fast'],
    arguments: GETEX_ARGUMENTS,
    check: checkGetex,
    run: getAndExpire,
  },
  {
    ...WRITE,
    name: 'setex',
    arity: 4,
    flags: ['write', 'denyoom'],
    keyFlags: ['OW', 'update'],
    since: '2.0.0',
    summary: 'Set the value and expiration of a key',
    categories: ['@write', '@string', '@slow'],
    arguments: [KEY, { name: 'seconds', type: 'integer' }, VALUE],
    check: (argv) => checkTime('setex', EX, argv),
    run: (db, argv) => setWithTime('setex', EX, db, argv),
  },
  {
    ...WRITE,
    name: 'psetex',
    arity: 4,
    flags: ['write', 'denyoom'],
    keyFlags: ['OW', 'update'],
    since: '2.6.0',
    summary: 'Set the value and expiration in milliseconds of a key',
    categories: ['@write', '@string', '@slow'],
    arguments: [KEY, { name: 'milliseconds', type: 'integer' }, VALUE],
    check: (argv) => checkTime('psetex', PX, argv),
    run: (db, argv) => setWithTime('psetex', PX, db, argv),
  },
];
