/**
 * Commands on one connection: PING, ECHO, SELECT, AUTH, HELLO, RESET, MONITOR, QUIT. CLIENT is in client-commands.ts.
 *
 * After Redis 7.0's networking.c and acl.c. There is one user, `default`, with the password of `requirepass`.
 */

import { DATABASES } from '../kv/batch.ts';
import { parseInteger } from '../kv/integer.ts';
import { fromLatin1, latin1 } from '../lib/bytes.ts';
import { timingSafeEqual } from '../lib/hmac.ts';
import type { Client } from '../resp/client.ts';
import { ErrorReply, MapReply, OK, type Reply } from '../resp/reply.ts';
import { nameClient } from './client-commands.ts';
import { CONNECTION_ROWS } from './connection-rows.ts';
import type { Call, ServerCommand, ServerContext } from './context.ts';
import { quoted, SYNTAX_ERROR, wrongArity } from './replies.ts';

const WRONG_PASSWORD = new ErrorReply('WRONGPASS', 'invalid username-password pair or user is disabled.');
const NO_PASSWORD_SET = new ErrorReply(
  'ERR',
  'AUTH <password> called without any password configured for the default user. ' +
    'Are you sure your configuration is correct?',
);
const INT_MAX = 2 ** 31 - 1;

function ping({ argv }: Call): Reply {
  if (argv.length > 2) return wrongArity('ping');
  return argv[1] ?? 'PONG';
}

/** The number of a database that SELECT knows, or why it is none. */
export function parseDatabase(bytes: Uint8Array): number | ErrorReply {
  const index = parseInteger(bytes);
  if (index === undefined) return new ErrorReply('ERR', 'value is not an integer or out of range');
  if (index > INT_MAX || index < -INT_MAX - 1) {
    const range = `${-INT_MAX - 1} and ${INT_MAX}`;
    return new ErrorReply('ERR', `value is out of range, value must between ${range}`);
  }
  if (index < 0 || index >= DATABASES) return new ErrorReply('ERR', 'DB index is out of range');
  return Number(index);
}

function select({ argv, client }: Call): Reply {
  const db = parseDatabase(argv[1]!);
  if (db instanceof ErrorReply) return db;
  client.db = db;
  return OK;
}

function passwordMatches(server: ServerContext, user: string, password: Uint8Array): boolean {
  const { requirepass } = server.config;
  return user === 'default' && (requirepass === '' || timingSafeEqual(password, fromLatin1(requirepass)));
}

function auth({ argv, client, server }: Call): Reply {
  if (argv.length > 3) return SYNTAX_ERROR;
  if (argv.length === 2 && server.config.requirepass === '') return NO_PASSWORD_SET;
  const user = argv.length === 3 ? latin1(argv[1]!) : 'default';
  if (!passwordMatches(server, user, argv.at(-1)!)) return WRONG_PASSWORD;
  client.authenticated = true;
  return OK;
}

/**
 * HELLO [version [AUTH user password] [SETNAME name]]. Nothing changes unless all of it can; Redis 7.0 keeps what came
 * before the first error.
 */
function hello(call: Call): Reply {
  const { argv, client, server } = call;
  let protocol = client.protocol;
  if (argv.length > 1) {
    const version = parseInteger(argv[1]!);
    if (version === undefined) {
      return new ErrorReply('ERR', 'Protocol version is not an integer or out of range');
    }
    if (version !== 2 && version !== 3) return new ErrorReply('NOPROTO', 'unsupported protocol version');
    protocol = version;
  }
  const options = parseHello(argv);
  if (options instanceof ErrorReply) return options;
  if (options.password !== undefined) {
    if (!passwordMatches(server, options.user, options.password)) return WRONG_PASSWORD;
    client.authenticated = true;
  }
  if (!client.authenticated) {
    return new ErrorReply(
      'NOAUTH',
      'HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> ' +
        'option can be used to authenticate the client and select the RESP protocol version at the same time',
    );
  }
  if (options.name !== undefined) {
    const refused = nameClient(client, options.name);
    if (refused !== undefined) return refused;
  }
  client.protocol = protocol;
  return describeServer(server, client);
}

interface HelloOptions {
  user: string;
  password: Uint8Array | undefined;
  name: Uint8Array | undefined;
}

function parseHello(argv: readonly Uint8Array[]): HelloOptions | ErrorReply {
  const options: HelloOptions = { user: '', password: undefined, name: undefined };
  for (let i = 2; i < argv.length; ) {
    const option = latin1(argv[i]!).toLowerCase();
    const left = argv.length - i - 1;
    if (option === 'auth' && left >= 2) {
      options.user = latin1(argv[i + 1]!);
      options.password = argv[i + 2]!;
      i += 3;
    } else if (option === 'setname' && left >= 1) {
      options.name = argv[i + 1]!;
      i += 2;
    } else {
      return new ErrorReply('ERR', `Syntax error in HELLO option '${quoted(argv[i]!)}'`);
    }
  }
  return options;
}

/** Clients read a Redis version out of this and decide what they may use. */
function describeServer(server: ServerContext, client: Client): Reply {
  const text = (value: string) => fromLatin1(value);
  const isLeader = server.replica.raft.role === 'leader';
  return new MapReply([
    [text('server'), text('redis')],
    [text('version'), text(REDIS_VERSION)],
    [text('proto'), client.protocol],
    [text('id'), client.id],
    [text('mode'), text('standalone')],
    [text('role'), text(isLeader ? 'master' : 'replica')],
    [text('modules'), []],
  ]);
}

/** The Redis whose commands, replies and texts hstore gives. */
export const REDIS_VERSION = '7.0.15';

function monitor({ client, server }: Call): Reply {
  // Redis does not answer a second MONITOR at all.
  if (client.monitoring) client.skipReplies(1);
  else server.monitors.add(client);
  return OK;
}

function reset({ client, server }: Call): Reply {
  server.monitors.remove(client);
  server.transactions.drop(client);
  client.reset(server.config.requirepass === '');
  return 'RESET';
}

function quit({ client }: Call): Reply {
  client.closeAfterReply = true;
  return OK;
}

export const connectionCommands: readonly ServerCommand[] = [
  { ...CONNECTION_ROWS.ping, kind: 'local', run: ping },
  { ...CONNECTION_ROWS.echo, kind: 'local', run: ({ argv }) => argv[1]! },
  { ...CONNECTION_ROWS.select, kind: 'barrier', run: select },
  { ...CONNECTION_ROWS.auth, kind: 'barrier', run: auth },
  {
    ...CONNECTION_ROWS.hello,
    kind: 'barrier',
    differs: 'one that fails changes nothing; Redis keeps what came before the first error',
    run: hello,
  },
  { ...CONNECTION_ROWS.reset, kind: 'barrier', run: reset },
  {
    ...CONNECTION_ROWS.monitor,
    kind: 'barrier',
    differs:
      'shows what this server is sent; times are in whole milliseconds; who does not read is disconnected at the limits ' +
      'of the class pubsub',
    run: monitor,
  },
  { ...CONNECTION_ROWS.quit, kind: 'barrier', run: quit },
];
