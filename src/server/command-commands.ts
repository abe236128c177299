/**
 * COMMAND: the command table as clients see it. redis-cli takes its hints from DOCS, cluster clients their keys from
 * INFO. Forms as in Redis 7.0's server.c.
 */

import { globMatches } from '../config/glob.ts';
import { type CommandArgument, type CommandRow, keyIndexes } from '../kv/command.ts';
import { latin1 } from '../lib/bytes.ts';
import { ErrorReply, MapReply, type Reply, SetReply } from '../resp/reply.ts';
import type { Call, ServerCommand } from './context.ts';
import { bulk, helpLines, SYNTAX_ERROR } from './replies.ts';
import { SERVER_ROWS } from './server-rows.ts';

type Pair = readonly [Reply, Reply];

/** `get`, or `config|get`. */
function find(call: Call, typed: Uint8Array): { row: CommandRow; fullName: string } | undefined {
  const [name = '', subname] = latin1(typed).toLowerCase().split('|');
  const row = call.server.commands.get(name);
  if (row === undefined || subname === undefined) return row && { row, fullName: name };
  const subrow = row.subcommands?.find((candidate) => candidate.name === subname);
  return subrow && { row: subrow, fullName: `${name}|${subname}` };
}

function describe(row: CommandRow, fullName: string): Reply {
  const [first, last, step] = row.keys;
  const subcommands = row.subcommands ?? [];
  return [
    bulk(fullName),
    row.arity,
    new SetReply(row.flags),
    ...[first, last, step],
    new SetReply(row.categories),
    new SetReply((row.tips ?? []).map(bulk)),
    new SetReply(keySpecifications(row)),
    new SetReply(subcommands.map((subrow) => describe(subrow, `${fullName}|${subrow.name}`))),
  ];
}

/** Where the keys are, once more, in the form that cluster clients and proxies understand. */
function keySpecifications(row: CommandRow): Reply[] {
  const [first, last, step] = row.keys;
  if (first === 0) return [];
  const beginSearch: Pair[] = [
    [bulk('type'), bulk('index')],
    [bulk('spec'), new MapReply([[bulk('index'), first]])],
  ];
  const lastKey = last < 0 ? last : last - first;
  const range: Pair[] = [
    [bulk('lastkey'), lastKey],
    [bulk('keystep'), step],
    [bulk('limit'), 0],
  ];
  const findKeys: Pair[] = [
    [bulk('type'), bulk('range')],
    [bulk('spec'), new MapReply(range)],
  ];
  const notes: Pair[] = row.keyNotes === undefined ? [] : [[bulk('notes'), bulk(row.keyNotes)]];
  const specification = new MapReply([
    ...notes,
    [bulk('flags'), new SetReply(row.keyFlags ?? [])],
    [bulk('begin_search'), new MapReply(beginSearch)],
    [bulk('find_keys'), new MapReply(findKeys)],
  ]);
  return [specification];
}

function document(row: CommandRow, fullName: string): Pair {
  const pairs: Pair[] = [
    [bulk('summary'), bulk(row.summary)],
    [bulk('since'), bulk(row.since)],
    [bulk('group'), bulk(row.group)],
  ];
  if (row.complexity !== '') pairs.push([bulk('complexity'), bulk(row.complexity)]);
  if (row.deprecated !== undefined) {
    pairs.push([bulk('doc_flags'), new SetReply(['deprecated'])]);
    pairs.push([bulk('deprecated_since'), bulk(row.deprecated.since)]);
    pairs.push([bulk('replaced_by'), bulk(row.deprecated.replacedBy)]);
  }
  if (row.history !== undefined && row.history.length > 0) {
    const changes = row.history.map(([version, change]) => [bulk(version), bulk(change)]);
    pairs.push([bulk('history'), new SetReply(changes)]);
  }
  if (row.arguments !== undefined) pairs.push([bulk('arguments'), row.arguments.map(documentArgument)]);
  if (row.subcommands !== undefined) {
    const documented = row.subcommands.map((subrow) => document(subrow, `${fullName}|${subrow.name}`));
    pairs.push([bulk('subcommands'), new MapReply(documented)]);
  }
  return [bulk(fullName), new MapReply(pairs)];
}

function documentArgument(argument: CommandArgument): Reply {
  const pairs: Pair[] = [
    [bulk('name'), bulk(argument.name)],
    [bulk('type'), bulk(argument.type)],
  ];
  if (argument.type === 'key') pairs.push([bulk('key_spec_index'), 0]);
  if (argument.token !== undefined) pairs.push([bulk('token'), bulk(argument.token)]);
  if (argument.since !== undefined) pairs.push([bulk('since'), bulk(argument.since)]);
  if (argument.flags !== undefined) pairs.push([bulk('flags'), new SetReply(argument.flags)]);
  if (argument.arguments !== undefined) {
    pairs.push([bulk('arguments'), argument.arguments.map(documentArgument)]);
  }
  return new MapReply(pairs);
}

function all({ server }: Call): Reply {
  return [...server.commands.values()].map((row) => describe(row, row.name));
}

function info(call: Call): Reply {
  if (call.argv.length === 2) return all(call);
  return call.argv.slice(2).map((typed) => {
    const found = find(call, typed);
    return found === undefined ? null : describe(found.row, found.fullName);
  });
}

function docs(call: Call): Reply {
  const { argv, server } = call;
  if (argv.length === 2)
    return new MapReply([...server.commands.values()].map((row) => document(row, row.name)));
  const found = argv.slice(2).map((typed) => find(call, typed));
  const known = found.filter((one) => one !== undefined);
  return new MapReply(known.map(({ row, fullName }) => document(row, fullName)));
}

/** COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN glob]: subcommands too, as `config|get`. */
function list({ argv, server }: Call): Reply {
  const rows = [...server.commands.values()].flatMap((row) => [
    { row: row as CommandRow, fullName: row.name },
    ...(row.subcommands ?? []).map((subrow) => ({ row: subrow, fullName: `${row.name}|${subrow.name}` })),
  ]);
  const names = (chosen: typeof rows) => chosen.map(({ fullName }) => bulk(fullName));
  if (argv.length === 2) return names(rows);
  const filter = argv.length === 5 ? `${latin1(argv[2]!)} ${latin1(argv[3]!)}`.toLowerCase() : '';
  const wanted = latin1(argv[4] ?? new Uint8Array());
  if (filter === 'filterby module') return [];
  if (filter === 'filterby aclcat') {
    return names(rows.filter(({ row }) => row.categories.includes(`@${wanted.toLowerCase()}`)));
  }
  if (filter === 'filterby pattern')
    return names(rows.filter(({ fullName }) => globMatches(wanted, fullName)));
  return SYNTAX_ERROR;
}

function getKeys(call: Call): Reply {
  const argv = call.argv.slice(2);
  const command = call.server.commands.get(latin1(argv[0]!).toLowerCase());
  const subcommand = latin1(argv[1] ?? new Uint8Array()).toLowerCase();
  const row: CommandRow | undefined =
    command?.subcommands === undefined || argv.length === 1
      ? command
      : command.subcommands.find(({ name }) => name === subcommand);
  if (row === undefined) return new ErrorReply('ERR', 'Invalid command specified');
  if (row.keys[0] === 0) return new ErrorReply('ERR', 'The command has no key arguments');
  const fits = row.arity >= 0 ? argv.length === row.arity : argv.length >= -row.arity;
  if (!fits) return new ErrorReply('ERR', 'Invalid number of arguments specified for command');
  const { first, last, step } = keyIndexes(row.keys, argv.length);
  const keys: Reply[] = [];
  for (let i = first; i <= last; i += step) keys.push(argv[i]!);
  return keys;
}

const HELP = [
  '(no subcommand)',
  '    Return details about all Redis commands.',
  'COUNT',
  '    Return the total number of commands in this Redis server.',
  'LIST',
  '    Return a list of all commands in this Redis server.',
  'INFO [<command-name> ...]',
  '    Return details about multiple Redis commands.',
  '    If no command names are given, documentation details for all',
  '    commands are returned.',
  'DOCS [<command-name> ...]',
  '    Return documentation details about multiple Redis commands.',
  '    If no command names are given, documentation details for all',
  '    commands are returned.',
  'GETKEYS <full-command>',
  '    Return the keys from a full Redis command.',
];

export const commandCommand: ServerCommand = {
  ...SERVER_ROWS.command,
  kind: 'local',
  run: all,
  subcommands: [
    { ...SERVER_ROWS['command|count'], kind: 'local', run: ({ server }) => server.commands.size },
    { ...SERVER_ROWS['command|docs'], kind: 'local', run: docs },
    { ...SERVER_ROWS['command|info'], kind: 'local', run: info },
    { ...SERVER_ROWS['command|list'], kind: 'local', run: list },
    { ...SERVER_ROWS['command|getkeys'], kind: 'local', run: getKeys },
    { ...SERVER_ROWS['command|help'], kind: 'local', run: () => helpLines('COMMAND', HELP) },
  ],
};
