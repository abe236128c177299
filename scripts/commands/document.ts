/**
 * docs/commands.md as text: what hstore has of Redis 7.0's commands, from the command table itself.
 *
 * redis-7.0.json names them all: group, command, subcommands.
 */
import type { CommandRow } from '../../src/kv/command.ts';
import { allCommands } from '../../src/server/command-table.ts';

/** By group, then by name in lower case: the names of its subcommands. */
export type RedisCommands = Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;

interface Line {
  readonly name: string;
  readonly state: 'yes' | 'differs' | 'no';
  readonly note: string;
}

const GROUP_TITLES: Readonly<Record<string, string>> = {
  ...{
    generic: 'Keys',
    string: 'Strings',
    list: 'Lists',
    set: 'Sets',
    'sorted-set': 'Sorted sets',
    hash: 'Hashes',
  },
  ...{
    stream: 'Streams',
    bitmap: 'Bitmaps',
    hyperloglog: 'HyperLogLog',
    geo: 'Geography',
    pubsub: 'Pub/Sub',
  },
  ...{ transactions: 'Transactions', scripting: 'Scripts and functions', connection: 'Connections' },
  ...{ server: 'Server', cluster: 'Cluster' },
};

export function commandsDocument(redis: RedisCommands): string {
  const groups = Object.entries(redis).map(([group, commands]) => {
    const lines = Object.entries(commands).map(([name, subcommands]) => lineOf(name, subcommands));
    return { title: GROUP_TITLES[group] ?? group, lines };
  });
  const all = groups.flatMap(({ lines }) => lines);
  const count = (state: Line['state']) => all.filter((line) => line.state === state).length;
  return [
    '# Commands',
    '',
    `Of the ${all.length} commands of Redis 7.0, hstore has ${count('yes') + count('differs')}; ${count('differs')} of`,
    'them differ, as the table says. What it does not have is answered with `-ERR unknown command`, or, a subcommand, with',
    '`-ERR unknown subcommand`. Made by `npm run commands` from the command table.',
    ...groups.flatMap(({ title, lines }) => ['', `## ${title}`, '', ...table(lines)]),
    '',
    '## Not in Redis 7.0',
    '',
    ...table(ownLines(redis)),
    '',
  ].join('\n');
}

function lineOf(name: string, subcommands: readonly string[]): Line {
  const row = allCommands.get(name);
  if (row === undefined) return { name, state: 'no', note: '' };
  const own: readonly CommandRow[] = row.subcommands ?? [];
  const missing = subcommands.filter((subcommand) => !own.some((each) => each.name === subcommand));
  const notes = [
    ...(row.differs === undefined ? [] : [row.differs]),
    ...own.flatMap((each) =>
      each.differs === undefined ? [] : [`${each.name.toUpperCase()}: ${each.differs}`],
    ),
    ...(missing.length === 0 ? [] : [`without ${missing.map((each) => each.toUpperCase()).join(', ')}`]),
  ];
  return { name, state: notes.length === 0 ? 'yes' : 'differs', note: notes.join('; ') };
}

/** Commands and subcommands of hstore's own, and of later versions of Redis. */
function ownLines(redis: RedisCommands): Line[] {
  const known = new Map(Object.values(redis).flatMap((commands) => Object.entries(commands)));
  return [...allCommands.values()].flatMap((row): Line[] => {
    const subcommands = known.get(row.name);
    if (subcommands === undefined) return [{ name: row.name, state: 'yes', note: row.summary }];
    return (row.subcommands ?? [])
      .filter(({ name }) => !subcommands.includes(name))
      .map(({ name, summary }) => ({ name: `${row.name} ${name}`, state: 'yes', note: summary }));
  });
}

function table(lines: readonly Line[]): string[] {
  const cells = lines.map(({ name, state, note }) => `| \`${name.toUpperCase()}\` | ${state} | ${note} |`);
  return ['| command | | |', '|---|---|---|', ...cells];
}
