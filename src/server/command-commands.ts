/**
 * COMMAND: the command table as clients see it. redis-cli takes its hints from DOCS, cluster clients their keys from
 * INFO. Forms as in Redis 7.0's server.c.
 */

import type { CommandArgument, CommandRow } from '../kv/command.ts';
import { latin1 } from '../lib/bytes.ts';
import { globMatchesAnyCase } from '../lib/glob.ts';
import { ErrorReply, MapReply, type Reply, SetReply } from '../resp/reply.ts';
import { describeSpecification, type FlaggedKey, keySpecificationsOf, keysOf } from './command-keys.ts';
import type { AnyCommand, Call, ServerCommand } from './context.ts';
import { bulk, helpLines, SYNTAX_ERROR } from './replies.ts';
import { SERVER_ROWS } from './server-rows.ts';

type Pair = readonly [Reply, Reply];

/** `get`, or `config|get`. */
function find(call: Call, typed: Uint8Array): { row: CommandRow; fullName: string } | undefined {
  const [name = '', subname, more] = latin1(typed).toLowerCase().split('|');
  const row = call.server.commands.get(name);
  if (more !== undefined) return undefined;
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
    new SetReply(keySpecificationsOf(row).map(describeSpecification)),
    // As in Redis: a set when there are none, else an array.
    subcommands.length === 0
      ? new SetReply([])
      : subcommands.map((subrow) => describe(subrow, `${fullName}|${subrow.name}`)),
  ];
}

function document(row: CommandRow, fullName: string): Pair {
  const pairs: Pair[] = [
    [bulk('summary'), bulk(row.summary)],
    [bulk('since'), bulk(row.since)],
    [bulk('group'), bulk(row.group)],
  ];
  if (row.complexity !== '') pairs.push([bulk('complexity'), bulk(row.complexity)]);
  const flags = [...(row.deprecated === undefined ? [] : ['deprecated']), ...(row.docFlags ?? [])];
  if (flags.length > 0) pairs.push([bulk('doc_flags'), new SetReply(flags)]);
  if (row.deprecated !== undefined) {
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
  if (argument.type === 'key' || argument.keySpec !== undefined) {
    pairs.push([bulk('key_spec_index'), argument.keySpec ?? 0]);
  }
  if (argument.token !== undefined) pairs.push([bulk('token'), bulk(argument.token)]);
  if (argument.since !== undefined) pairs.push([bulk('since'), bulk(argument.since)]);
  if (argument.deprecatedSince !== undefined) {
    pairs.push([bulk('deprecated_since'), bulk(argument.deprecatedSince)]);
  }
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
    return names(rows.filter(({ fullName }) => globMatchesAnyCase(wanted, fullName)));
  return SYNTAX_ERROR;
}

function getKeys(call: Call): Reply {
  const keys = findKeys(call);
  return keys instanceof ErrorReply ? keys : keys.map(({ key }) => key);
}

function getKeysAndFlags(call: Call): Reply {
  const keys = findKeys(call);
  return keys instanceof ErrorReply ? keys : keys.map(({ key, flags }) => [key, new SetReply(flags)]);
}

function findKeys(call: Call): FlaggedKey[] | ErrorReply {
  const argv = call.argv.slice(2);
  const command = call.server.commands.get(latin1(argv[0]!).toLowerCase());
  const subcommand = latin1(argv[1] ?? new Uint8Array()).toLowerCase();
  const row: AnyCommand | undefined =
    command?.subcommands === undefined || argv.length === 1
      ? command
      : [...command.subcommands].find(({ name }) => name === subcommand);
  if (row === undefined) return new ErrorReply('ERR', 'Invalid command specified');
  const fits = row.arity >= 0 ? argv.length === row.arity : argv.length >= -row.arity;
  const keys = fits ? keysOf(row, argv) : [];
  if (keys === undefined || keySpecificationsOf(row).length === 0) {
    return new ErrorReply('ERR', 'The command has no key arguments');
  }
  return fits ? keys : new ErrorReply('ERR', 'Invalid number of arguments specified for command');
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
  'GETKEYSANDFLAGS <full-command>',
  '    Return the keys and the access flags from a full Redis command.',
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
    { ...SERVER_ROWS['command|getkeysandflags'], kind: 'local', run: getKeysAndFlags },
    { ...SERVER_ROWS['command|help'], kind: 'local', run: () => helpLines('COMMAND', HELP) },
  ],
};
