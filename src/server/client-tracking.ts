/**
 * CLIENT TRACKING and its sisters, of Redis's server-assisted client-side caching. hstore does not tell clients which
 * keys have changed, so tracking is always off, and what asks for it says so; all else answers as Redis 7.0 does where
 * tracking is off.
 */
import { parseInteger } from '../kv/integer.ts';
import { latin1 } from '../lib/bytes.ts';
import { ErrorReply, MapReply, OK, type Reply, SetReply } from '../resp/reply.ts';
import { CLIENT_ROWS } from './client-rows.ts';
import type { Call, ServerCommand } from './context.ts';
import { bulk, SYNTAX_ERROR } from './replies.ts';

const error = (message: string): ErrorReply => new ErrorReply('ERR', message);

const NOT_AN_INTEGER = error('value is not an integer or out of range');
const TWO_REDIRECTS = error('A client can only redirect to a single other client');
const NO_SUCH_REDIRECT = error('The client ID you want redirect to does not exist');
const PREFIX_WITHOUT_BCAST = error('PREFIX option requires BCAST mode to be enabled');
const BCAST_WITH_OPT = error('OPTIN and OPTOUT are not compatible with BCAST');
const OPTIN_AND_OPTOUT = error("You can't specify both OPTIN mode and OPTOUT mode");
const UNSUPPORTED = error(
  'CLIENT TRACKING ON is not supported: this server does not invalidate client caches',
);
const NOT_TRACKING = error(
  'CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled',
);

const FLAGS = ['bcast', 'optin', 'optout', 'noloop'];

/** The options that are given, `prefix` among them; or what is wrong with one. */
function parseOptions({ argv, server }: Call): ReadonlySet<string> | ErrorReply {
  const options = new Set<string>();
  let redirect = 0;
  for (let i = 3; i < argv.length; i++) {
    const option = latin1(argv[i]!).toLowerCase();
    const value = argv[i + 1];
    if (option === 'redirect' && value !== undefined) {
      if (redirect !== 0) return TWO_REDIRECTS;
      const id = parseInteger(value);
      if (id === undefined) return NOT_AN_INTEGER;
      if (!server.clients.has(Number(id))) return NO_SUCH_REDIRECT;
      redirect = Number(id);
      i++;
    } else if (option === 'prefix' && value !== undefined) {
      options.add(option);
      i++;
    } else if (FLAGS.includes(option)) {
      options.add(option);
    } else {
      return SYNTAX_ERROR;
    }
  }
  return options;
}

function tracking(call: Call): Reply {
  const options = parseOptions(call);
  if (options instanceof ErrorReply) return options;
  const status = latin1(call.argv[2]!).toLowerCase();
  if (status === 'off') return OK;
  if (status !== 'on') return SYNTAX_ERROR;
  if (options.has('prefix') && !options.has('bcast')) return PREFIX_WITHOUT_BCAST;
  if (options.has('bcast') && (options.has('optin') || options.has('optout'))) return BCAST_WITH_OPT;
  return options.has('optin') && options.has('optout') ? OPTIN_AND_OPTOUT : UNSUPPORTED;
}

const TRACKING_INFO = new MapReply([
  [bulk('flags'), new SetReply([bulk('off')])],
  [bulk('redirect'), -1],
  [bulk('prefixes'), []],
]);

export const trackingCommands: readonly ServerCommand[] = [
  {
    ...CLIENT_ROWS['client|tracking'],
    kind: 'local',
    differs: 'only OFF: clients are not told which keys have changed',
    run: tracking,
  },
  { ...CLIENT_ROWS['client|trackinginfo'], kind: 'local', run: () => TRACKING_INFO },
  { ...CLIENT_ROWS['client|caching'], kind: 'local', run: () => NOT_TRACKING },
  { ...CLIENT_ROWS['client|getredir'], kind: 'local', run: () => -1 },
];
