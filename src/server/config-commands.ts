/**
 * CONFIG: directives read and changed at run time. What they are is in config.ts.
 */
import { latin1 } from '../lib/bytes.ts';
import { ErrorReply, MapReply, OK, type Reply } from '../resp/reply.ts';
import type { Call, ServerCommand } from './context.ts';
import { bulk, helpLines, SYNTAX_ERROR, wrongArity } from './replies.ts';
import { SERVER_ROWS } from './server-rows.ts';

function get({ argv, server }: Call): Reply {
  // Each directive once, by the name under which it was found first.
  const found = new Map<string, readonly [Reply, Reply]>();
  for (const pattern of argv.slice(2)) {
    for (const [name, value] of server.config.get(latin1(pattern))) {
      const key = name.toLowerCase();
      if (!found.has(key)) found.set(key, [bulk(name), bulk(value)]);
    }
  }
  return new MapReply([...found.values()]);
}

function set({ argv, server }: Call): Reply {
  if (argv.length % 2 !== 0) return SYNTAX_ERROR;
  const pairs: [string, string][] = [];
  for (let i = 2; i < argv.length; i += 2) pairs.push([latin1(argv[i]!), latin1(argv[i + 1]!)]);
  const refused = server.config.set(pairs);
  return refused === undefined ? OK : new ErrorReply('ERR', refused);
}

function resetStat({ server }: Call): Reply {
  server.stats.reset(server.runningTotals());
  return OK;
}

const HELP = [
  'GET <pattern>',
  '    Return parameters matching the glob-like <pattern> and their values.',
  'SET <directive> <value>',
  '    Set the configuration <directive> to <value>.',
  'RESETSTAT',
  '    Reset statistics reported by the INFO command.',
];

export const configCommand: ServerCommand = {
  ...SERVER_ROWS.config,
  kind: 'local',
  run: () => wrongArity('config'),
  subcommands: [
    { ...SERVER_ROWS['config|get'], kind: 'local', run: get },
    { ...SERVER_ROWS['config|set'], kind: 'barrier', run: set },
    { ...SERVER_ROWS['config|resetstat'], kind: 'local', run: resetStat },
    { ...SERVER_ROWS['config|help'], kind: 'local', run: () => helpLines('CONFIG', HELP) },
  ],
};
