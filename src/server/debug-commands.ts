/**
 * DEBUG: what tests, of Redis and of others, need of a server. Only where enable-debug-command allows it.
 *
 * After Redis 7.0's debug.c. What would crash or corrupt a server does not exist here.
 */
import type { ReadCommand } from '../kv/command.ts';
import { debugObject, digestValues } from '../kv/debug.ts';
import { fromLatin1, latin1 } from '../lib/bytes.ts';
import type { Client } from '../resp/client.ts';
import {
  AttributedReply,
  BigNumberReply,
  BooleanReply,
  DoubleReply,
  ErrorReply,
  MapReply,
  OK,
  type Reply,
  SetReply,
  VerbatimReply,
} from '../resp/reply.ts';
import { ADMIN_ROWS } from './admin-rows.ts';
import type { Call, ServerCommand, ServerContext } from './context.ts';
import { isOnThisMachine } from './loopback.ts';
import { bulk, helpLines, subcommandSyntaxError } from './replies.ts';
import { notSaved } from './save-commands.ts';

export const DEBUG_NOT_ALLOWED = new ErrorReply(
  'ERR',
  'DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from a local ' +
    'connection, otherwise you need to set this option in the configuration file, and then restart the server.',
);

const OBJECT: ReadCommand = { ...ADMIN_ROWS.debug, kind: 'read', keys: [2, 2, 1], run: debugObject };
const DIGEST_VALUE: ReadCommand = { ...ADMIN_ROWS.debug, kind: 'read', keys: [2, -1, 1], run: digestValues };

interface Subcommand {
  /** The words behind its name. */
  readonly argsMin: number;
  readonly argsMax: number;
  readonly run: (call: Call) => Reply | undefined;
}

function debug(call: Call): Reply | undefined {
  const { argv } = call;
  const subcommand = SUBCOMMANDS.get(latin1(argv[1]!).toLowerCase());
  const args = argv.length - 2;
  if (subcommand === undefined || args < subcommand.argsMin || args > subcommand.argsMax) {
    return subcommandSyntaxError('DEBUG', argv);
  }
  return subcommand.run(call);
}

/** The door asks, before it queues the command for EXEC. */
export function allowsDebug({ config }: ServerContext, client: Client): boolean {
  const allowed = config.enableDebugCommand;
  return allowed === 'yes' || (allowed === 'local' && isOnThisMachine(client));
}

/** DEBUG SLEEP seconds. Redis stops altogether; here only the connection that asks waits, and no other client. */
function sleep({ argv, server, request }: Call): undefined {
  const seconds = Number.parseFloat(latin1(argv[2]!));
  server.clock.after(seconds > 0 ? seconds * 1000 : 0, () => request.resolve(OK));
}

function read({ argv, client, server, request }: Call, command: ReadCommand): undefined {
  server.replica.read(client.db, command, argv, request);
}

function setActiveExpire({ argv, server, request }: Call): undefined {
  const active = Number.parseInt(latin1(argv[2]!), 10) > 0;
  server.setActiveExpire(active, (reply) => request.resolve(reply));
}

function log({ argv, server }: Call): Reply {
  server.log.warning('DEBUG LOG', { message: latin1(argv[2]!) });
  return OK;
}

/** All databases, as 40 digits: equal on all servers at the same index of the log. */
function digest(call: Call): Reply | undefined {
  const { server, request } = call;
  const { stateMachine } = server.replica;
  if (stateMachine.atRest) return stateMachine.dataHash.padStart(40, '0');
  server.clock.endOfTurn(() => {
    const reply = digest(call);
    if (reply !== undefined) request.resolve(reply);
  });
  return undefined;
}

/** RELOAD and LOADAOF: Redis shows by it that it finds on disk what it has in memory. Here a checkpoint is written. */
function reload({ argv, server, request }: Call): Reply | undefined {
  const options = argv.slice(2).map((arg) => latin1(arg).toLowerCase());
  if (!options.every((option) => ['merge', 'noflush', 'nosave'].includes(option))) {
    return new ErrorReply('ERR', 'DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.');
  }
  server.replica.flush((error) => request.resolve(error === null ? OK : notSaved(error)));
  return undefined;
}

/** A reply of each type, for tests of clients. */
const SAMPLES: Readonly<Record<string, Reply>> = {
  string: bulk('Hello World'),
  integer: 12_345,
  // biome-ignore lint/suspicious/noApproximativeNumericConstant: this is Redis's number
  double: new DoubleReply(3.141),
  bignum: new BigNumberReply(1_234_567_999_999_999_999_999_999_999_999_999_999n),
  null: null,
  array: [0, 1, 2],
  set: new SetReply([0, 1, 2]),
  map: new MapReply([0, 1, 2].map((key) => [key, new BooleanReply(key === 1)])),
  attrib: new AttributedReply(
    [[bulk('key-popularity'), [bulk('key:123'), 90]]],
    bulk('Some real reply following the attribute'),
  ),
  push: bulk('Some real reply following the push reply'),
  verbatim: new VerbatimReply('txt', 'This is a verbatim\nstring'),
  true: new BooleanReply(true),
  false: new BooleanReply(false),
};

function protocol({ argv, client }: Call): Reply {
  const type = latin1(argv[2]!).toLowerCase();
  const sample = Object.hasOwn(SAMPLES, type) ? SAMPLES[type] : undefined;
  if (sample === undefined) {
    const types = Object.keys(SAMPLES).join('|');
    const text = `Wrong protocol type name. Please use one of the following: ${types}`;
    return new ErrorReply('ERR', text);
  }
  if (type === 'push') {
    if (client.protocol === 2) return new ErrorReply('ERR', 'RESP2 is not supported by this command');
    client.outlet?.push(fromLatin1('>2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n'));
  }
  return sample;
}

function packedThreshold({ argv }: Call): Reply {
  // There are no packed nodes: the size is looked at, so that a mistake is told.
  const [, digits, unit = ''] = /^(\d{1,15})([kmg]?b?)$/i.exec(latin1(argv[2]!)) ?? [];
  const factor = 1024 ** ['', 'k', 'm', 'g'].indexOf(unit.toLowerCase().replace('b', ''));
  if (digits !== undefined && Number(digits) * factor < 4 * 1024 ** 3) return OK;
  return new ErrorReply('ERR', 'argument must be a memory value bigger than 1 and smaller than 4gb');
}

const HELP = [
  'DIGEST',
  '    Output a hex signature representing the current DB content.',
  'DIGEST-VALUE <key> [<key> ...]',
  '    Output a hex signature of the values of all the specified keys.',
  'LOADAOF',
  '    The same as RELOAD.',
  'LOG <message>',
  '    Write <message> to the server log.',
  'OBJECT <key>',
  '    Show low level info about `key` and associated value.',
  'PROTOCOL <type>',
  '    Reply with a test value of the specified type. <type> can be: string,',
  '    integer, double, bignum, null, array, set, map, attrib, push, verbatim,',
  '    true, false.',
  'QUICKLIST-PACKED-THRESHOLD <size>',
  '    Accepted, and changes nothing.',
  'RELOAD [option ...]',
  '    Write a checkpoint. The options MERGE, NOFLUSH and NOSAVE are accepted.',
  'SET-ACTIVE-EXPIRE <0|1>',
  '    Setting it to 0 disables expiring keys in background when they are not',
  '    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the',
  '    default.',
  'SLEEP <seconds>',
  '    Delay the reply for <seconds>. Other clients are served. Decimals allowed.',
];

const ONE = { argsMin: 1, argsMax: 1 };
const NONE = { argsMin: 0, argsMax: 0 };

const SUBCOMMANDS: ReadonlyMap<string, Subcommand> = new Map<string, Subcommand>([
  ['sleep', { ...ONE, run: sleep }],
  ['set-active-expire', { ...ONE, run: setActiveExpire }],
  ['object', { ...ONE, run: (call) => read(call, OBJECT) }],
  ['log', { ...ONE, run: log }],
  ['protocol', { ...ONE, run: protocol }],
  ['digest', { ...NONE, run: digest }],
  ['digest-value', { argsMin: 0, argsMax: 10_000, run: (call) => read(call, DIGEST_VALUE) }],
  ['reload', { argsMin: 0, argsMax: 3, run: reload }],
  ['loadaof', { ...NONE, run: reload }],
  ['quicklist-packed-threshold', { ...ONE, run: packedThreshold }],
  ['help', { ...NONE, run: () => helpLines('DEBUG', HELP) }],
]);

export const debugCommand: ServerCommand = {
  ...ADMIN_ROWS.debug,
  kind: 'barrier',
  differs:
    'DIGEST, DIGEST-VALUE, LOADAOF, LOG, OBJECT, PROTOCOL, QUICKLIST-PACKED-THRESHOLD, RELOAD, SET-ACTIVE-EXPIRE and ' +
    'SLEEP only; SLEEP delays one connection and no other, RELOAD and LOADAOF write a checkpoint',
  run: debug,
};
