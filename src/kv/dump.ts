/**
 * DUMP and RESTORE: a value as bytes that another server, Redis or hstore, can take in. The format is in rdb.ts.
 *
 * After cluster.c of Redis 7.0: `dumpCommand`, `restoreCommand`.
 */
import { latin1 } from '../lib/bytes.ts';
import { ErrorReply, OK, type Reply } from '../resp/reply.ts';
import {
  type CommandArgument,
  type Database,
  NEVER,
  type ReadCommand,
  type WriteCommand,
} from './command.ts';
import { NOT_AN_INTEGER, SYNTAX_ERROR } from './errors.ts';
import { absoluteExpiry, type TimeUnit } from './expiry.ts';
import { parseInteger } from './integer.ts';
import { decodeDump, encodeDump, verifyDump } from './rdb.ts';

const BUSY = new ErrorReply('BUSYKEY', 'Target key name already exists.');
const INVALID_TTL = new ErrorReply('ERR', 'Invalid TTL value, must be >= 0');
const INVALID_IDLE_TIME = new ErrorReply('ERR', 'Invalid IDLETIME value, must be >= 0');
const INVALID_FREQUENCY = new ErrorReply('ERR', 'Invalid FREQ value, must be >= 0 and <= 255');
const WRONG_PAYLOAD = new ErrorReply('ERR', 'DUMP payload version or checksum are wrong');
const BAD_FORMAT = new ErrorReply('ERR', 'Bad data format');
const FREQUENCY_MAX = 255;

interface RestoreOptions {
  readonly replace: boolean;
  readonly absolute: boolean;
  readonly idleSeconds: number | undefined;
}

/** A frequency is checked and forgotten: nothing here is evicted by it. */
function parseOptions(argv: readonly Uint8Array[]): RestoreOptions | ErrorReply {
  let replace = false;
  let absolute = false;
  let idleSeconds: number | undefined;
  let frequency: number | undefined;
  for (let i = 4; i < argv.length; i++) {
    const word = latin1(argv[i]!).toUpperCase();
    const last = i === argv.length - 1;
    if (word === 'REPLACE') replace = true;
    else if (word === 'ABSTTL') absolute = true;
    else if (word === 'IDLETIME' && !last && frequency === undefined) {
      const parsed = parseInteger(argv[++i]!);
      if (parsed === undefined) return NOT_AN_INTEGER;
      if (parsed < 0) return INVALID_IDLE_TIME;
      idleSeconds = Number(parsed);
    } else if (word === 'FREQ' && !last && idleSeconds === undefined) {
      const parsed = parseInteger(argv[++i]!);
      if (parsed === undefined) return NOT_AN_INTEGER;
      if (parsed < 0 || parsed > FREQUENCY_MAX) return INVALID_FREQUENCY;
      frequency = Number(parsed);
    } else return SYNTAX_ERROR;
  }
  return { replace, absolute, idleSeconds };
}

function checkRestore(argv: readonly Uint8Array[]): Reply | undefined {
  const options = parseOptions(argv);
  return options instanceof ErrorReply ? options : undefined;
}

/** 0 means no time to live at all. */
function parseTtl(argument: Uint8Array, absolute: boolean, nowMs: number): number | ErrorReply {
  const ttl = parseInteger(argument);
  if (ttl === undefined) return NOT_AN_INTEGER;
  if (ttl < 0) return INVALID_TTL;
  const unit: TimeUnit = { seconds: false, relative: !absolute };
  return ttl === 0 ? NEVER : absoluteExpiry(ttl, unit, nowMs);
}

function restore(db: Database, argv: readonly Uint8Array[]): Reply {
  const options = parseOptions(argv);
  if (options instanceof ErrorReply) return options;
  const key = argv[1]!;
  if (!options.replace && db.get(key) !== undefined) return BUSY;
  const expireAtMs = parseTtl(argv[2]!, options.absolute, db.nowMs);
  if (expireAtMs instanceof ErrorReply) return expireAtMs;
  const payload = argv[3]!;
  if (!verifyDump(payload)) return WRONG_PAYLOAD;
  const bytes = decodeDump(payload, db.stringBytesMax);
  if (bytes === undefined) return BAD_FORMAT;
  if (expireAtMs <= db.nowMs) {
    db.delete(key);
    return OK;
  }
  const idleMs = (options.idleSeconds ?? 0) * 1000;
  db.set(key, { type: 'string', bytes, expireAtMs, usedAtMs: Math.max(0, db.nowMs - idleMs) });
  return OK;
}

function dump(db: Database, argv: readonly Uint8Array[]): Reply {
  const value = db.get(argv[1]!);
  return value === undefined ? null : encodeDump(value.bytes);
}

const KEY: CommandArgument = { name: 'key', type: 'key' };

const COMMON = { keys: [1, 1, 1], group: 'generic', since: '2.6.0' } as const;

export const dumpCommands: readonly (ReadCommand | WriteCommand)[] = [
  {
    ...COMMON,
    kind: 'read',
    name: 'dump',
    arity: 2,
    flags: ['readonly'],
    keyFlags: ['RO', 'access'],
    tips: ['nondeterministic_output'],
    summary: 'Return a serialized version of the value stored at the specified key.',
    differs: 'the value is not compressed',
    complexity:
      'O(1) to access the key and additional O(N*M) to serialize it, where N is the number of Redis objects composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1).',
    categories: ['@keyspace', '@read', '@slow'],
    arguments: [KEY],
    run: dump,
  },
  {
    ...COMMON,
    kind: 'write',
    name: 'restore',
    arity: -4,
    flags: ['write', 'denyoom'],
    keyFlags: ['OW', 'update'],
    summary: 'Create a key using the provided serialized value, previously obtained using DUMP.',
    differs: 'takes strings only; the largest times to live do not wrap around',
    complexity:
      'O(1) to create the new key and additional O(N*M) to reconstruct the serialized value, where N is the number of Redis objects composing the value and M their average size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1). However for sorted set values the complexity is O(N*M*log(N)) because inserting values into sorted sets is O(log(N)).',
    categories: ['@keyspace', '@write', '@slow', '@dangerous'],
    history: [
      ['3.0.0', 'Added the `REPLACE` modifier.'],
      ['5.0.0', 'Added the `ABSTTL` modifier.'],
      ['5.0.0', 'Added the `IDLETIME` and `FREQ` options.'],
    ],
    arguments: [
      KEY,
      { name: 'ttl', type: 'integer' },
      { name: 'serialized-value', type: 'string' },
      { name: 'replace', type: 'pure-token', token: 'REPLACE', since: '3.0.0', flags: ['optional'] },
      { name: 'absttl', type: 'pure-token', token: 'ABSTTL', since: '5.0.0', flags: ['optional'] },
      { name: 'seconds', type: 'integer', token: 'IDLETIME', since: '5.0.0', flags: ['optional'] },
      { name: 'frequency', type: 'integer', token: 'FREQ', since: '5.0.0', flags: ['optional'] },
    ],
    check: checkRestore,
    run: restore,
  },
];
