/**
 * CLIENT: what a client may ask and set about connections. After Redis 7.0's networking.c; SETINFO is of 7.2, and every
 * current client library sends it. CLIENT TRACKING and its sisters are in client-tracking.ts.
 */
import { parseInteger } from '../kv/integer.ts';
import { latin1 } from '../lib/bytes.ts';
import { type Client, describeClient } from '../resp/client.ts';
import { ErrorReply, OK, type Reply, VerbatimReply } from '../resp/reply.ts';
import { filterByType, killFilter } from './client-filter.ts';
import { CLIENT_ROWS } from './client-rows.ts';
import { trackingCommands } from './client-tracking.ts';
import type { Call, ServerCommand } from './context.ts';
import { bulk, helpLines, quoted, SYNTAX_ERROR, wrongArity } from './replies.ts';

const BAD_NAME = new ErrorReply('ERR', 'Client names cannot contain spaces, newlines or special characters.');
/** Redis cuts the words that it quotes in such an error at so many bytes. */
const QUOTED_BYTES_MAX = 128;
/** Printable characters without the space. */
const NAME = /^[!-~]*$/;

/** Gives the client a name, or says why it cannot have it. */
export function nameClient(client: Client, name: Uint8Array): ErrorReply | undefined {
  const text = latin1(name);
  if (!NAME.test(text)) return BAD_NAME;
  client.name = text;
  return undefined;
}

function setInfo({ argv, client }: Call): Reply {
  const attribute = latin1(argv[2]!).toLowerCase();
  const value = latin1(argv[3]!);
  if (attribute !== 'lib-name' && attribute !== 'lib-ver') {
    return new ErrorReply('ERR', `Unrecognized option '${quoted(argv[2]!)}'`);
  }
  if (!NAME.test(value)) {
    return new ErrorReply('ERR', `${attribute} cannot contain spaces, newlines or special characters.`);
  }
  if (attribute === 'lib-name') client.libName = value;
  else client.libVer = value;
  return OK;
}

/** CLIENT LIST [TYPE normal|master|replica|pubsub] [ID id ...] */
function list(call: Call): Reply {
  const { argv, server } = call;
  let chosen = [...server.clients.values()];
  if (argv.length > 2) {
    const option = latin1(argv[2]!).toLowerCase();
    if (option === 'type' && argv.length === 4) {
      const filter = filterByType(argv[3]!);
      if (filter instanceof ErrorReply) return filter;
      chosen = chosen.filter(filter);
    } else if (option === 'id' && argv.length > 3) {
      const ids = argv.slice(3).map(parseInteger);
      if (ids.includes(undefined)) return new ErrorReply('ERR', 'Invalid client ID');
      // In the order of the question, a client asked for twice twice, as in Redis.
      return describe(
        call,
        ids.map((id) => server.clients.get(Number(id))).filter((found) => found !== undefined),
      );
    } else {
      return SYNTAX_ERROR;
    }
  }
  return describe(call, chosen);
}

function describe({ server }: Call, clients: readonly Client[]): Reply {
  const nowMs = server.clock.monotonicMs();
  return new VerbatimReply('txt', clients.map((each) => `${describeClient(each, nowMs)}\n`).join(''));
}

/** CLIENT KILL address, or with options: see client-filter.ts. Only the old form may hit who asks without being told. */
function kill({ argv, client, server }: Call): Reply {
  const isOldForm = argv.length === 3;
  const address = quoted(argv[2]!);
  const filter = isOldForm ? (each: Client) => each.address === address : killFilter(argv, client);
  if (filter instanceof ErrorReply) return filter;
  const victims = [...server.clients.values()].filter(filter);
  for (const victim of victims) {
    if (victim === client) client.closeAfterReply = true;
    else victim.outlet?.destroy();
  }
  if (!isOldForm) return victims.length;
  return victims.length === 0 ? new ErrorReply('ERR', 'No such client') : OK;
}

/** CLIENT PAUSE milliseconds [WRITE|ALL] */
function pause({ argv, server }: Call): Reply {
  if (argv.length > 4) return wrongSubcommandSyntax(argv[1]!);
  const mode = latin1(argv[3] ?? bulk('all')).toLowerCase();
  if (mode !== 'all' && mode !== 'write')
    return new ErrorReply('ERR', 'CLIENT PAUSE mode must be WRITE or ALL');
  const ms = parseInteger(argv[2]!);
  if (ms === undefined) return new ErrorReply('ERR', 'timeout is not an integer or out of range');
  if (ms < 0) return new ErrorReply('ERR', 'timeout is negative');
  server.pause.begin(mode, Number(ms));
  return OK;
}

function unpause({ server }: Call): Reply {
  server.pause.end();
  return OK;
}

/** CLIENT UNBLOCK id [TIMEOUT|ERROR]. A client that is held back by CLIENT PAUSE is not meant. */
function unblock({ argv, server }: Call): Reply {
  if (argv.length > 4) return wrongSubcommandSyntax(argv[1]!);
  const reason = latin1(argv[3] ?? bulk('timeout')).toLowerCase();
  if (reason !== 'timeout' && reason !== 'error') {
    return new ErrorReply('ERR', 'CLIENT UNBLOCK reason should be TIMEOUT or ERROR');
  }
  const id = parseInteger(argv[2]!);
  if (id === undefined) return new ErrorReply('ERR', 'value is not an integer or out of range');
  const target = server.clients.get(Number(id));
  if (target?.unblock === undefined) return 0;
  target.unblock(reason);
  return 1;
}

function wrongSubcommandSyntax(subcommand: Uint8Array): ErrorReply {
  const name = quoted(subcommand, QUOTED_BYTES_MAX);
  return new ErrorReply(
    'ERR',
    `unknown subcommand or wrong number of arguments for '${name}'. Try CLIENT HELP.`,
  );
}

/** CLIENT REPLY ON|OFF|SKIP: what is answered to the latter two is not sent. */
function reply({ argv, client }: Call): Reply {
  switch (latin1(argv[2]!).toLowerCase()) {
    case 'on':
      client.repliesOff = false;
      client.skipReplies(0);
      return OK;
    case 'off':
      client.repliesOff = true;
      return OK;
    case 'skip':
      // This one, and the next.
      if (!client.repliesOff) client.skipReplies(2);
      return OK;
    default:
      return SYNTAX_ERROR;
  }
}

function noEvict({ argv, client }: Call): Reply {
  const word = latin1(argv[2]!).toLowerCase();
  if (word !== 'on' && word !== 'off') return SYNTAX_ERROR;
  client.noEvict = word === 'on';
  return OK;
}

const HELP = [
  'CACHING (YES|NO)',
  '    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.',
  'GETREDIR',
  '    Return the client ID we are redirecting to when tracking is enabled.',
  'GETNAME',
  '    Return the name of the current connection.',
  'ID',
  '    Return the ID of the current connection.',
  'INFO',
  '    Return information about the current client connection.',
  'KILL <ip:port>',
  '    Kill connection made from <ip:port>.',
  'KILL <option> <value> [<option> <value> [...]]',
  '    Kill connections. Options are:',
  '    * ADDR (<ip:port>|<unixsocket>:0)',
  '      Kill connections made from the specified address',
  '    * LADDR (<ip:port>|<unixsocket>:0)',
  '      Kill connections made to specified local address',
  '    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)',
  '      Kill connections by type.',
  '    * USER <username>',
  '      Kill connections authenticated by <username>.',
  '    * SKIPME (YES|NO)',
  '      Skip killing current connection (default: yes).',
  'LIST [options ...]',
  '    Return information about client connections. Options:',
  '    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)',
  '      Return clients of specified type.',
  '    * ID <id> [<id> ...]',
  '      Return clients with the specified ids.',
  'UNPAUSE',
  '    Stop the current client pause, resuming traffic.',
  'PAUSE <timeout> [WRITE|ALL]',
  '    Suspend all, or just write, clients for <timeout> milliseconds.',
  'REPLY (ON|OFF|SKIP)',
  '    Control the replies sent to the current connection.',
  'SETINFO <option> <value>',
  '    Set client meta attr. Options are:',
  '    * LIB-NAME: the client lib name.',
  '    * LIB-VER: the client lib version.',
  'SETNAME <name>',
  '    Assign the name <name> to the current connection.',
  'UNBLOCK <clientid> [TIMEOUT|ERROR]',
  '    Unblock the specified blocked client.',
  'TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]',
  '         [OPTIN] [OPTOUT] [NOLOOP]',
  '    Control server assisted client side caching. This server does not have it: only OFF is accepted.',
  'TRACKINGINFO',
  '    Report tracking status for the current connection.',
  'NO-EVICT (ON|OFF)',
  '    Protect current client connection from eviction.',
];

const subcommands: readonly ServerCommand[] = [
  { ...CLIENT_ROWS['client|id'], kind: 'local', run: ({ client }) => client.id },
  {
    ...CLIENT_ROWS['client|getname'],
    kind: 'local',
    run: ({ client }) => (client.name === '' ? null : bulk(client.name)),
  },
  {
    ...CLIENT_ROWS['client|setname'],
    kind: 'local',
    run: ({ argv, client }) => nameClient(client, argv[2]!) ?? OK,
  },
  {
    ...CLIENT_ROWS['client|setname'],
    name: 'setinfo',
    arity: 4,
    since: '7.2.0',
    summary: 'Set client or connection specific info',
    history: [],
    arguments: [
      { name: 'libname', type: 'string', token: 'LIB-NAME', flags: ['optional'] },
      { name: 'libver', type: 'string', token: 'LIB-VER', flags: ['optional'] },
    ],
    kind: 'local',
    run: setInfo,
  },
  {
    ...CLIENT_ROWS['client|list'],
    kind: 'local',
    differs:
      "shows `lib-name` and `lib-ver` too, of Redis 7.2; the sizes are those of hstore's buffers, and `fd` is -1",
    run: list,
  },
  { ...CLIENT_ROWS['client|info'], kind: 'local', run: (call) => describe(call, [call.client]) },
  { ...CLIENT_ROWS['client|kill'], kind: 'barrier', run: kill },
  {
    ...CLIENT_ROWS['client|pause'],
    kind: 'barrier',
    differs: 'holds back the clients of this server only, and keys go on expiring',
    run: pause,
  },
  { ...CLIENT_ROWS['client|unpause'], kind: 'barrier', run: unpause },
  { ...CLIENT_ROWS['client|unblock'], kind: 'local', run: unblock },
  { ...CLIENT_ROWS['client|reply'], kind: 'barrier', run: reply },
  {
    ...CLIENT_ROWS['client|no-evict'],
    kind: 'local',
    differs: 'no client is ever evicted; it is only shown',
    run: noEvict,
  },
  ...trackingCommands,
  { ...CLIENT_ROWS['client|help'], kind: 'local', run: () => helpLines('CLIENT', HELP) },
];

export const clientCommand: ServerCommand = {
  ...CLIENT_ROWS.client,
  kind: 'local',
  subcommands,
  run: () => wrongArity('client'),
};
