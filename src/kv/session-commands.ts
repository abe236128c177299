/**
 * HSTORE.SESSION and HSTORE.DO: writes that run once, however often they are sent. See client-sessions.ts.
 */
import { latin1 } from '../lib/bytes.ts';
import { ErrorReply, type Reply } from '../resp/reply.ts';
import type { OnceNumber } from './batch.ts';
import { type Database, keyIndexes, NO_KEYS, type OtherKey, type WriteCommand } from './command.ts';
import { wrongArity } from './errors.ts';
import { parseInteger } from './integer.ts';

export const BAD_NUMBERS = new ErrorReply('ERR', 'session, seq and ack must be whole numbers, ack below seq');
const BAD_SESSION = new ErrorReply('ERR', 'a session is a whole number');
const NOT_A_WRITE = new ErrorReply(
  'ERR',
  'HSTORE.DO takes a command that writes, or EXEC; one that only reads can be sent again as it is',
);
const SESSION_INSIDE = new ErrorReply('ERR', 'HSTORE.DO takes neither HSTORE.DO nor HSTORE.SESSION');
/** HSTORE.DO session seq ack command ...: what comes before the command. */
const DO_PREFIX = 4;

export type FindWrite = (name: string) => WriteCommand | undefined;

/** Undefined when it is none, or above 2^53. */
function parseCount(bytes: Uint8Array): number | undefined {
  const value = parseInteger(bytes);
  return typeof value === 'number' && value >= 0 ? value : undefined;
}

/** The numbers of HSTORE.DO; undefined when they are none. */
export function parseDo(argv: readonly Uint8Array[]): OnceNumber | undefined {
  const [session, seq, ack] = [parseCount(argv[1]!), parseCount(argv[2]!), parseCount(argv[3]!)];
  if (session === undefined || seq === undefined || ack === undefined || ack >= seq) return undefined;
  return { session, seq, ack };
}

function session(db: Database, argv: readonly Uint8Array[]): Reply {
  const refused = checkSession(argv);
  if (refused !== undefined) return refused;
  if (argv.length === 2) return db.sessions.open(db.moment);
  return db.sessions.close(parseCount(argv[2]!)!) ? 1 : 0;
}

function checkSession(argv: readonly Uint8Array[]): Reply | undefined {
  const subcommand = latin1(argv[1]!).toLowerCase();
  if (subcommand === 'open') return argv.length === 2 ? undefined : wrongArity('hstore.session|open');
  if (subcommand !== 'close') {
    return new ErrorReply(
      'ERR',
      'unknown subcommand. Try HSTORE.SESSION OPEN or HSTORE.SESSION CLOSE session',
    );
  }
  if (argv.length !== 3) return wrongArity('hstore.session|close');
  return parseCount(argv[2]!) === undefined ? BAD_SESSION : undefined;
}

const SESSION: WriteCommand = {
  kind: 'write',
  name: 'hstore.session',
  arity: -2,
  flags: ['write', 'fast'],
  keys: NO_KEYS,
  group: 'transactions',
  since: '7.0.0',
  summary: 'Open or close a session, whose writes run once however often they are sent',
  complexity: 'O(1)',
  categories: ['@write', '@fast', '@transaction'],
  arguments: [
    {
      name: 'operation',
      type: 'oneof',
      arguments: [
        { name: 'open', type: 'pure-token', token: 'OPEN' },
        {
          name: 'close',
          type: 'block',
          arguments: [
            { name: 'close', type: 'pure-token', token: 'CLOSE' },
            { name: 'session', type: 'integer' },
          ],
        },
      ],
    },
  ],
  check: checkSession,
  run: session,
};

const DO = {
  kind: 'write',
  name: 'hstore.do',
  arity: -5,
  flags: ['write', 'denyoom', 'movablekeys'],
  keys: NO_KEYS,
  group: 'transactions',
  since: '7.0.0',
  summary: 'Run a write command once in a session, however often it is sent',
  complexity: 'That of the command',
  categories: ['@write', '@slow', '@transaction'],
  arguments: [
    { name: 'session', type: 'integer' },
    { name: 'seq', type: 'integer' },
    { name: 'ack', type: 'integer' },
    { name: 'command', type: 'string' },
    { name: 'arg', type: 'string', flags: ['optional', 'multiple'] },
  ],
} as const satisfies Partial<WriteCommand>;

/** What `argv` carries out, by its name in lower case: of HSTORE.DO the command inside. `name`: of the row of `argv`. */
export function carriedOut(name: string, argv: readonly Uint8Array[]): string {
  return name === DO.name ? latin1(argv[DO_PREFIX]!).toLowerCase() : name;
}

/** `find`: a write command by its name in lower case. */
export function sessionCommands(find: FindWrite): readonly WriteCommand[] {
  const innerOf = (argv: readonly Uint8Array[]): WriteCommand | undefined => {
    const inner = find(carriedOut(DO.name, argv));
    return inner?.internal === true ? undefined : inner;
  };

  const check = (argv: readonly Uint8Array[]): Reply | undefined => {
    if (parseDo(argv) === undefined) return BAD_NUMBERS;
    const inner = innerOf(argv);
    if (inner === undefined) return NOT_A_WRITE;
    // When the reply comes, the session that is to keep it must still be there.
    if (inner.name === DO.name || inner.name === SESSION.name) return SESSION_INSIDE;
    const argc = argv.length - DO_PREFIX;
    if (inner.arity >= 0 ? argc !== inner.arity : argc < -inner.arity) return wrongArity(inner.name);
    return inner.check?.(argv.slice(DO_PREFIX));
  };

  const otherKeys = (argv: readonly Uint8Array[], db: number): readonly OtherKey[] => {
    const inner = argv.length > DO_PREFIX ? innerOf(argv) : undefined;
    if (inner === undefined) return [];
    const args = argv.slice(DO_PREFIX);
    const { first, last, step } = keyIndexes(inner.keys, args.length);
    const keys: OtherKey[] = [];
    for (let i = first; i <= last && i < args.length; i += step) keys.push({ db, key: args[i]! });
    return [...keys, ...(inner.otherKeys?.(args, db) ?? [])];
  };

  const run = (db: Database, argv: readonly Uint8Array[]): Reply => {
    const refused = check(argv);
    if (refused !== undefined) return refused;
    return db.sessions.once(parseDo(argv)!, db.moment, () => innerOf(argv)!.run(db, argv.slice(DO_PREFIX)));
  };

  return [SESSION, { ...DO, check, otherKeys, run }];
}
