/**
 * SLOWLOG: see slowlog.ts. After Redis 7.0's slowlog.c.
 */
import { parseInteger } from '../kv/integer.ts';
import { ErrorReply, OK, type Reply } from '../resp/reply.ts';
import type { Call, ServerCommand } from './context.ts';
import { OBSERVATION_ROWS } from './observation-rows.ts';
import { bulk, helpLines, subcommandSyntaxError, wrongArity } from './replies.ts';

const DEFAULT_COUNT = 10;
const BAD_COUNT = new ErrorReply('ERR', 'count should be greater than or equal to -1');

/** SLOWLOG GET [count]; -1 is all. */
function get({ argv, server }: Call): Reply {
  if (argv.length > 3) return subcommandSyntaxError('SLOWLOG', argv);
  const { slowlog } = server.stats;
  const count = argv.length === 2 ? DEFAULT_COUNT : parseInteger(argv[2]!);
  if (count === undefined || count < -1) return BAD_COUNT;
  const wanted = count === -1 ? slowlog.length : Math.min(Number(count), slowlog.length);
  return slowlog
    .newest(wanted)
    .map(({ id, atSeconds, usec, argv: words, address, clientName }) => [
      ...[id, atSeconds, usec],
      words,
      ...[bulk(address), bulk(clientName)],
    ]);
}

function reset({ server }: Call): Reply {
  server.stats.slowlog.reset();
  return OK;
}

const HELP = [
  'GET [<count>]',
  '    Return top <count> entries from the slowlog (default: 10, -1 mean all).',
  '    Entries are made of:',
  '    id, timestamp, time in microseconds, arguments array, client IP and port,',
  '    client name',
  'LEN',
  '    Return the length of the slowlog.',
  'RESET',
  '    Reset the slowlog.',
];

export const slowlogCommand: ServerCommand = {
  ...OBSERVATION_ROWS.slowlog,
  kind: 'local',
  differs:
    'the time of a command is that from its arrival to its reply, waiting for disk and majority included',
  run: () => wrongArity('slowlog'),
  subcommands: [
    // Barriers, so that they see the commands before them on their connection.
    { ...OBSERVATION_ROWS['slowlog|get'], kind: 'barrier', run: get },
    { ...OBSERVATION_ROWS['slowlog|len'], kind: 'barrier', run: ({ server }) => server.stats.slowlog.length },
    { ...OBSERVATION_ROWS['slowlog|reset'], kind: 'barrier', run: reset },
    { ...OBSERVATION_ROWS['slowlog|help'], kind: 'local', run: () => helpLines('SLOWLOG', HELP) },
  ],
};
