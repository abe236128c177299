/**
 * Times to live: what EX, PX, EXAT, PXAT and the EXPIRE family mean, and the commands that ask for them.
 *
 * Everything is kept as absolute milliseconds; what is relative is counted from the time of the log entry. Redis goes up
 * to 2^63 ms, hstore to 2^53 (the year 287396): what is beyond is stored as the last moment there is.
 */
import { latin1 } from '../lib/bytes.ts';
import { ErrorReply, type Reply } from '../resp/reply.ts';
import {
  type CommandArgument,
  type CommandFlag,
  type Database,
  NEVER,
  type ReadCommand,
  type Value,
  type WriteCommand,
} from './command.ts';
import { invalidExpireTime, NOT_AN_INTEGER } from './errors.ts';
import { INT64_MAX, INT64_MIN, type Integer, parseInteger } from './integer.ts';

const LAST_MOMENT_MS = NEVER - 1;
const SECOND_MS = 1000n;

export interface TimeUnit {
  readonly seconds: boolean;
  /** Counted from now, not from 1970. */
  readonly relative: boolean;
}
export const EX: TimeUnit = { seconds: true, relative: true };
export const PX: TimeUnit = { seconds: false, relative: true };
export const EXAT: TimeUnit = { seconds: true, relative: false };
export const PXAT: TimeUnit = { seconds: false, relative: false };

/**
 * The moment that an option of SET and its relatives names; it must be after 1970. `nowMs` 0 finds the errors that do
 * not depend on the time. (t_string.c, `getExpireMillisecondsOrReply`)
 */
export function parseExpiry(
  time: { bytes: Uint8Array; unit: TimeUnit; command: string },
  nowMs: number,
): number | ErrorReply {
  const parsed = parseInteger(time.bytes);
  if (parsed === undefined) return NOT_AN_INTEGER;
  const moment = absoluteMs(BigInt(parsed), time.unit, nowMs);
  if (parsed <= 0 || moment === undefined || moment <= 0n) return invalidExpireTime(time.command);
  return clamp(moment);
}

/** Undefined when it does not fit in 64 bits, which Redis refuses. */
function absoluteMs(value: bigint, unit: TimeUnit, nowMs: number): bigint | undefined {
  const duration = unit.seconds ? value * SECOND_MS : value;
  if (duration > INT64_MAX || duration < INT64_MIN) return undefined;
  const moment = unit.relative ? duration + BigInt(nowMs) : duration;
  return moment > INT64_MAX ? undefined : moment;
}

/** The same for RESTORE, which takes what is far too late as well. */
export function absoluteExpiry(value: Integer, unit: TimeUnit, nowMs: number): number {
  return clamp(absoluteMs(BigInt(value), unit, nowMs) ?? INT64_MAX);
}

function clamp(moment: bigint): number {
  return moment > BigInt(LAST_MOMENT_MS) ? LAST_MOMENT_MS : Number(moment);
}

/** Stores the value, or removes the key when its time is already over. */
export function setExpiring(db: Database, key: Uint8Array, value: Value): void {
  if (db.nowMs > value.expireAtMs) db.delete(key);
  else db.set(key, value);
}

/** The same value with another time to live, otherwise as it was. */
export function withExpiry({ type, bytes, raw }: Value, expireAtMs: number): Value {
  return raw === true ? { type, bytes, expireAtMs, raw } : { type, bytes, expireAtMs };
}

interface Conditions {
  readonly nx: boolean;
  readonly xx: boolean;
  readonly gt: boolean;
  readonly lt: boolean;
}

/** expire.c, `parseExtendedExpireArgumentsOrReply`. */
function parseConditions(argv: readonly Uint8Array[]): Conditions | ErrorReply {
  const found = { nx: false, xx: false, gt: false, lt: false };
  for (const arg of argv.slice(3)) {
    const word = latin1(arg).toLowerCase();
    if (word !== 'nx' && word !== 'xx' && word !== 'gt' && word !== 'lt') {
      // Up to a zero byte, as C prints it.
      const option = latin1(arg)
        .split('\0', 1)[0]!
        .replace(/[\r\n]/g, ' ');
      return new ErrorReply('ERR', `Unsupported option ${option}`);
    }
    found[word] = true;
  }
  if (found.nx && (found.xx || found.gt || found.lt)) {
    return new ErrorReply('ERR', 'NX and XX, GT or LT options at the same time are not compatible');
  }
  if (found.gt && found.lt) {
    return new ErrorReply('ERR', 'GT and LT options at the same time are not compatible');
  }
  return found;
}

/** expire.c, `expireGenericCommand`. */
function expire(name: string, unit: TimeUnit, db: Database, argv: readonly Uint8Array[]): Reply {
  const conditions = parseConditions(argv);
  if (conditions instanceof ErrorReply) return conditions;
  const parsed = parseInteger(argv[2]!);
  if (parsed === undefined) return NOT_AN_INTEGER;
  const moment = absoluteMs(BigInt(parsed), unit, db.nowMs);
  if (moment === undefined) return invalidExpireTime(name);
  const key = argv[1]!;
  const value = db.get(key);
  if (value === undefined || !applies(conditions, value.expireAtMs, moment)) return 0;
  if (moment <= BigInt(db.nowMs)) db.delete(key);
  else db.set(key, withExpiry(value, clamp(moment)));
  return 1;
}

/** A key without a time to live counts as one that lives for ever. */
function applies(conditions: Conditions, currentMs: number, moment: bigint): boolean {
  if (conditions.nx && currentMs !== NEVER) return false;
  if (conditions.xx && currentMs === NEVER) return false;
  if (conditions.gt && (currentMs === NEVER || moment <= BigInt(currentMs))) return false;
  return !(conditions.lt && currentMs !== NEVER && moment >= BigInt(currentMs));
}

function checkExpire(name: string, unit: TimeUnit, argv: readonly Uint8Array[]): Reply | undefined {
  const conditions = parseConditions(argv);
  if (conditions instanceof ErrorReply) return conditions;
  const parsed = parseInteger(argv[2]!);
  if (parsed === undefined) return NOT_AN_INTEGER;
  return absoluteMs(BigInt(parsed), unit, 0) === undefined ? invalidExpireTime(name) : undefined;
}

const KEY: CommandArgument = { name: 'key', type: 'key' };
const CONDITION: CommandArgument = {
  name: 'condition',
  type: 'oneof',
  since: '7.0.0',
  flags: ['optional'],
  arguments: ['NX', 'XX', 'GT', 'LT'].map((token) => ({
    name: token.toLowerCase(),
    type: 'pure-token',
    token,
  })),
};

function expireRow(
  name: string,
  unit: TimeUnit,
  words: Pick<WriteCommand, 'since' | 'summary'> & { time: CommandArgument },
): WriteCommand {
  return {
    kind: 'write',
    name,
    arity: -3,
    flags: ['write', 'fast'],
    keys: [1, 1, 1],
    keyFlags: ['RW', 'update'],
    group: 'generic',
    since: words.since,
    summary: words.summary,
    complexity: 'O(1)',
    categories: ['@keyspace', '@write', '@fast'],
    history: [['7.0.0', 'Added options: `NX`, `XX`, `GT` and `LT`.']],
    arguments: [KEY, words.time, CONDITION],
    check: (argv) => checkExpire(name, unit, argv),
    run: (db, argv) => expire(name, unit, db, argv),
  };
}

function timeRow(
  row: Pick<ReadCommand, 'name' | 'since' | 'summary' | 'tips' | 'history'>,
  time: (value: Value, nowMs: number) => number,
): ReadCommand {
  const flags: readonly CommandFlag[] = ['readonly', 'fast'];
  return {
    kind: 'read',
    ...row,
    arity: 2,
    flags,
    keys: [1, 1, 1],
    keyFlags: ['RO', 'access'],
    group: 'generic',
    complexity: 'O(1)',
    categories: ['@keyspace', '@read', '@fast'],
    arguments: [KEY],
    run: (db, argv) => {
      const value = db.peek(argv[1]!);
      if (value === undefined) return -2;
      return value.expireAtMs === NEVER ? -1 : time(value, db.nowMs);
    },
  };
}

const RELATIVE = {
  tips: ['nondeterministic_output'],
  history: [['2.8.0', 'Added the -2 reply.']] as const,
};

const persist: WriteCommand = {
  kind: 'write',
  name: 'persist',
  arity: 2,
  flags: ['write', 'fast'],
  keys: [1, 1, 1],
  keyFlags: ['RW', 'update'],
  group: 'generic',
  since: '2.2.0',
  summary: 'Remove the expiration from a key',
  complexity: 'O(1)',
  categories: ['@keyspace', '@write', '@fast'],
  arguments: [KEY],
  run: (db, argv) => {
    const value = db.get(argv[1]!);
    if (value === undefined || value.expireAtMs === NEVER) return 0;
    db.set(argv[1]!, withExpiry(value, NEVER));
    return 1;
  },
};

export const expiryCommands: readonly (ReadCommand | WriteCommand)[] = [
  expireRow('expire', EX, {
    since: '1.0.0',
    summary: "Set a key's time to live in seconds",
    time: { name: 'seconds', type: 'integer' },
  }),
  expireRow('pexpire', PX, {
    since: '2.6.0',
    summary: "Set a key's time to live in milliseconds",
    time: { name: 'milliseconds', type: 'integer' },
  }),
  expireRow('expireat', EXAT, {
    since: '1.2.0',
    summary: 'Set the expiration for a key as a UNIX timestamp',
    time: { name: 'unix-time-seconds', type: 'unix-time' },
  }),
  expireRow('pexpireat', PXAT, {
    since: '2.6.0',
    summary: 'Set the expiration for a key as a UNIX timestamp specified in milliseconds',
    time: { name: 'unix-time-milliseconds', type: 'unix-time' },
  }),
  timeRow(
    { name: 'ttl', since: '1.0.0', summary: 'Get the time to live for a key in seconds', ...RELATIVE },
    // Rounded as in Redis.
    (value, nowMs) => Math.floor((value.expireAtMs - nowMs + 500) / 1000),
  ),
  timeRow(
    { name: 'pttl', since: '2.6.0', summary: 'Get the time to live for a key in milliseconds', ...RELATIVE },
    (value, nowMs) => value.expireAtMs - nowMs,
  ),
  timeRow(
    { name: 'expiretime', since: '7.0.0', summary: 'Get the expiration Unix timestamp for a key' },
    (value) => Math.floor((value.expireAtMs + 500) / 1000),
  ),
  timeRow(
    {
      name: 'pexpiretime',
      since: '7.0.0',
      summary: 'Get the expiration Unix timestamp for a key in milliseconds',
    },
    (value) => value.expireAtMs,
  ),
  persist,
];
