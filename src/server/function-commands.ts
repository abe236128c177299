/**
 * FUNCTION and LOLWUT. There are no functions in hstore: what lists them finds none, and what removes them has nothing to
 * do, so that tools and tests that tidy up before they begin can go on.
 */
import { parseInteger } from '../kv/integer.ts';
import { latin1 } from '../lib/bytes.ts';
import { ErrorReply, OK, type Reply, VerbatimReply } from '../resp/reply.ts';
import { ADMIN_ROWS } from './admin-rows.ts';
import { REDIS_VERSION } from './connection-commands.ts';
import type { Call, ServerCommand } from './context.ts';
import { helpLines, quoted, subcommandSyntaxError, wrongArity } from './replies.ts';

/** FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE] */
function list({ argv }: Call): Reply {
  const seen = new Set<string>();
  for (let i = 2; i < argv.length; i++) {
    const option = latin1(argv[i]!).toLowerCase();
    if (seen.has(option) || !['withcode', 'libraryname'].includes(option)) {
      return new ErrorReply('ERR', `Unknown argument ${quoted(argv[i]!)}`);
    }
    seen.add(option);
    if (option === 'libraryname' && ++i === argv.length) {
      return new ErrorReply('ERR', 'library name argument was not given');
    }
  }
  return [];
}

function flush({ argv }: Call): Reply {
  if (argv.length > 3) return subcommandSyntaxError('FUNCTION', argv);
  const isKnown = argv.length === 2 || ['sync', 'async'].includes(latin1(argv[2]!).toLowerCase());
  return isKnown ? OK : new ErrorReply('ERR', 'FUNCTION FLUSH only supports SYNC|ASYNC option');
}

const HELP = [
  'LIST [LIBRARYNAME PATTERN] [WITHCODE]',
  '    Return general information on all the libraries. There are none.',
  'FLUSH [ASYNC|SYNC]',
  '    Delete all the libraries.',
];

/** LOLWUT [VERSION version ...]: Redis 7.0 draws nothing either, unless it is asked for an older version's drawing. */
function lolwut({ argv }: Call): Reply {
  if (
    argv.length > 2 &&
    latin1(argv[1]!).toLowerCase() === 'version' &&
    parseInteger(argv[2]!) === undefined
  ) {
    return new ErrorReply('ERR', 'value is not an integer or out of range');
  }
  return new VerbatimReply('txt', `Redis ver. ${REDIS_VERSION}\n`);
}

export const functionCommand: ServerCommand = {
  ...ADMIN_ROWS.function,
  kind: 'local',
  differs: 'there are no functions, so LIST is always empty',
  run: () => wrongArity('function'),
  subcommands: [
    { ...ADMIN_ROWS['function|flush'], kind: 'local', run: flush },
    { ...ADMIN_ROWS['function|list'], kind: 'local', run: list },
    { ...ADMIN_ROWS['function|help'], kind: 'local', run: () => helpLines('FUNCTION', HELP) },
  ],
};

export const lolwutCommand: ServerCommand = {
  ...ADMIN_ROWS.lolwut,
  kind: 'local',
  differs: 'no version has a drawing',
  run: lolwut,
};
