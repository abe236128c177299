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

function rewrite({ server, request }: Call): Reply | undefined {
  if (server.config.configFile === '') {
    return new ErrorReply('ERR', 'The server is running without a config file');
  }
  server.rewriteConfigFile((error) => {
    if (error !== null) server.log.warning('CONFIG REWRITE failed', { reason: error.message });
    request.resolve(error === null ? OK : new ErrorReply('ERR', `Rewriting config file: ${error.message}`));
  });
  return undefined;
}

const HELP = [
  'GET <pattern>',
  '    Return parameters matching the glob-like <pattern> and their values.',
  'SET <directive> <value>',
  '    Set the configuration <directive> to <value>.',
  'RESETSTAT',
  '    Reset statistics reported by the INFO command.',
  'REWRITE',
  '    Rewrite the configuration file.',
];

export const configCommand: ServerCommand = {
  ...SERVER_ROWS.config,
  kind: 'local',
  differs:
    "directives are those of `hstore server --help`; some of Redis's are kept and change nothing; REWRITE writes what " +
    'CONFIG SET has changed, not what flags say',
  run: () => wrongArity('config'),
  subcommands: [
    { ...SERVER_ROWS['config|get'], kind: 'local', run: get },
    { ...SERVER_ROWS['config|set'], kind: 'barrier', run: set },
    { ...SERVER_ROWS['config|resetstat'], kind: 'local', run: resetStat },
    { ...SERVER_ROWS['config|rewrite'], kind: 'barrier', run: rewrite },
    { ...SERVER_ROWS['config|help'], kind: 'local', run: () => helpLines('CONFIG', HELP) },
  ],
};
