/**
 * CLIENT: what a client may ask and set about connections. After Redis 7.0's networking.c; SETINFO is of 7.2, and every
 * current client library sends it.
 */
import { parseInteger } from '../kv/integer.ts';
import { latin1 } from '../lib/bytes.ts';
import { type Client, describeClient } from '../resp/client.ts';
import { ErrorReply, OK, type Reply, VerbatimReply } from '../resp/reply.ts';
import { CONNECTION_ROWS } from './connection-rows.ts';
import type { Call, ServerCommand } from './context.ts';
import { bulk, helpLines, quoted, SYNTAX_ERROR, wrongArity } from './replies.ts';

const BAD_NAME = new ErrorReply('ERR', 'Client names cannot contain spaces, newlines or special characters.');
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
      const type = latin1(argv[3]!).toLowerCase();
      if (!['normal', 'master', 'slave', 'replica', 'pubsub'].includes(type)) {
        return new ErrorReply('ERR', `Unknown client type '${quoted(argv[3]!)}'`);
      }
      if (type !== 'normal') chosen = [];
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

const HELP = [
  'GETNAME',
  '    Return the name of the current connection.',
  'ID',
  '    Return the ID of the current connection.',
  'INFO',
  '    Return information about the current client connection.',
  'LIST [options ...]',
  '    Return information about client connections. Options:',
  '    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)',
  '      Return clients of specified type.',
  '    * ID <id> [<id> ...]',
  '      Return clients with the specified ids.',
  'SETINFO <option> <value>',
  '    Set client meta attr. Options are:',
  '    * LIB-NAME: the client lib name.',
  '    * LIB-VER: the client lib version.',
  'SETNAME <name>',
  '    Assign the name <name> to the current connection.',
];

const subcommands: readonly ServerCommand[] = [
  { ...CONNECTION_ROWS['client|id'], kind: 'local', run: ({ client }) => client.id },
  {
    ...CONNECTION_ROWS['client|getname'],
    kind: 'local',
    run: ({ client }) => (client.name === '' ? null : bulk(client.name)),
  },
  {
    ...CONNECTION_ROWS['client|setname'],
    kind: 'local',
    run: ({ argv, client }) => nameClient(client, argv[2]!) ?? OK,
  },
  {
    ...CONNECTION_ROWS['client|setname'],
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
  { ...CONNECTION_ROWS['client|list'], kind: 'local', run: list },
  { ...CONNECTION_ROWS['client|info'], kind: 'local', run: (call) => describe(call, [call.client]) },
  { ...CONNECTION_ROWS['client|help'], kind: 'local', run: () => helpLines('CLIENT', HELP) },
];

export const clientCommand: ServerCommand = {
  ...CONNECTION_ROWS.client,
  kind: 'local',
  subcommands,
  run: () => wrongArity('client'),
};
