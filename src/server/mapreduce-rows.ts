/**
 * MR.*: jobs of MapReduce, for which this server only has the rows. The service carries them out (service-slot.ts): what
 * they mean, and what is wrong with their arguments, it says.
 *
 * Barriers, since a job may have been submitted just before it is asked for, and MR.WAIT waits.
 */
import { type CommandArgument, type CommandRow, NO_KEYS } from '../kv/command.ts';
import type { ServerCommand } from './context.ts';

const PREFIX = 'mr.';

const ROW = {
  flags: ['noscript', 'no_multi'],
  keys: NO_KEYS,
  group: 'module',
  since: '7.0.0',
  complexity: 'O(1)',
  categories: ['@slow'],
} as const satisfies Partial<CommandRow>;

const ID: CommandArgument = { name: 'id', type: 'string' };
const COUNT: CommandArgument = { name: 'count', type: 'integer', token: 'COUNT', flags: ['optional'] };

function option(name: string, type: CommandArgument['type'] = 'string'): CommandArgument {
  return { name, type, token: name.toUpperCase(), flags: ['optional'] };
}

const INPUT: CommandArgument = {
  name: 'input',
  type: 'oneof',
  arguments: [
    {
      name: 'files',
      type: 'block',
      token: 'FILES',
      arguments: [
        { name: 'numfiles', type: 'integer' },
        { name: 'file', type: 'string', flags: ['multiple'] },
      ],
    },
    { name: 'pattern', type: 'pattern', token: 'KEYS' },
  ],
};

const OUT: CommandArgument = {
  name: 'out',
  type: 'oneof',
  token: 'OUT',
  flags: ['optional'],
  arguments: [
    { name: 'store', type: 'pure-token', token: 'STORE' },
    { name: 'prefix', type: 'string', token: 'KEYS' },
  ],
};

const ARGS: CommandArgument = {
  name: 'args',
  type: 'block',
  token: 'ARGS',
  flags: ['optional'],
  arguments: [
    { name: 'numargs', type: 'integer' },
    {
      name: 'arg',
      type: 'block',
      flags: ['multiple'],
      arguments: [
        { name: 'name', type: 'string' },
        { name: 'value', type: 'string' },
      ],
    },
  ],
};

const PAGE_OR_CHUNK: CommandArgument = {
  name: 'which',
  type: 'oneof',
  flags: ['optional'],
  arguments: [
    {
      name: 'page',
      type: 'block',
      arguments: [{ name: 'cursor', type: 'string', token: 'CURSOR', flags: ['optional'] }, COUNT],
    },
    {
      name: 'chunk',
      type: 'block',
      arguments: [
        { name: 'part', type: 'integer', token: 'PART' },
        { name: 'chunk', type: 'integer', token: 'CHUNK' },
      ],
    },
  ],
};

const rows: readonly (CommandRow & { readonly subcommands?: never })[] = [
  {
    ...ROW,
    name: 'mr.submit',
    arity: -2,
    summary: 'Submit a job over files or stored keys, and get its id',
    complexity: 'O(N) where N is the number of files; the job runs in the background',
    arguments: [
      { name: 'job', type: 'string' },
      INPUT,
      option('reduces', 'integer'),
      OUT,
      ARGS,
      option('memory', 'integer'),
      option('split', 'integer'),
      ...['name', 'token', 'sha256', 'cwd'].map((name) => option(name)),
    ],
  },
  {
    ...ROW,
    name: 'mr.status',
    arity: 2,
    summary: 'Show what a job is, how far it has come, and why it failed',
    arguments: [ID],
  },
  {
    ...ROW,
    name: 'mr.list',
    arity: -1,
    summary: 'List jobs, the newest first',
    complexity: 'O(N) where N is the number of jobs',
    arguments: [option('state'), COUNT],
  },
  {
    ...ROW,
    name: 'mr.wait',
    arity: 3,
    summary: 'Wait until a job has ended',
    arguments: [ID, { name: 'timeout', type: 'integer' }],
  },
  {
    ...ROW,
    name: 'mr.result',
    arity: -2,
    summary: 'Read the result of a job, page by page or by chunks of its parts',
    complexity: 'O(N) where N is the size of what is read',
    arguments: [ID, PAGE_OR_CHUNK],
  },
  { ...ROW, name: 'mr.cancel', arity: 2, summary: 'Cancel a job that has not ended', arguments: [ID] },
  {
    ...ROW,
    name: 'mr.purge',
    arity: 2,
    summary: 'Remove a job that has ended, with its result',
    complexity: 'O(N) where N is the size of the result',
    arguments: [ID],
  },
  { ...ROW, name: 'mr.help', arity: 1, summary: 'Show helpful text about the commands of MapReduce' },
];

export const mapreduceCommands: readonly ServerCommand[] = rows.map((row) => ({
  ...row,
  kind: 'barrier',
  run: (call) => call.server.service.execute(row.name.slice(PREFIX.length), call),
}));
