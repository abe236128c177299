/**
 * Rows of MULTI, EXEC, DISCARD, WATCH and UNWATCH; what they do is in transactions.ts.
 */
import { NO_KEYS } from '../kv/command.ts';
import type { ServerCommand } from './context.ts';

const ROW = {
  kind: 'local',
  flags: ['noscript', 'loading', 'stale', 'fast', 'allow_busy'],
  keys: NO_KEYS,
  group: 'transactions',
  complexity: 'O(1)',
  categories: ['@fast', '@transaction'],
} as const satisfies Partial<ServerCommand>;

export const transactionCommands: readonly ServerCommand[] = [
  {
    ...ROW,
    name: 'multi',
    arity: 1,
    since: '1.2.0',
    summary: 'Mark the start of a transaction block',
    run: ({ client, server }) => server.transactions.multi(client),
  },
  {
    ...ROW,
    name: 'exec',
    arity: 1,
    flags: ['noscript', 'loading', 'stale', 'skip_slowlog'],
    since: '1.2.0',
    summary: 'Execute all commands issued after MULTI',
    differs:
      'with a HELLO among the commands all replies are in the protocol that it chose, not those behind it',
    complexity: 'Depends on commands in the transaction',
    categories: ['@slow', '@transaction'],
    run: ({ server, request }) => {
      server.transactions.exec(request);
      return undefined;
    },
  },
  {
    ...ROW,
    name: 'discard',
    arity: 1,
    since: '2.0.0',
    summary: 'Discard all commands issued after MULTI',
    complexity: 'O(N), when N is the number of queued commands',
    run: ({ client, server }) => server.transactions.discard(client),
  },
  {
    ...ROW,
    kind: 'barrier',
    name: 'watch',
    arity: -2,
    keys: [1, -1, 1],
    keyFlags: ['RO'],
    since: '2.2.0',
    summary: 'Watch the given keys to determine execution of the MULTI/EXEC block',
    differs:
      'a key whose database is swapped back when EXEC comes counts as unchanged, and one of which a bit was set to what ' +
      'it was may count as changed; no more than 100000 keys, as far as they fit',
    complexity: 'O(1) for every key.',
    arguments: [{ name: 'key', type: 'key', flags: ['multiple'] }],
    run: (call) => call.server.transactions.watch(call),
  },
  {
    ...ROW,
    name: 'unwatch',
    arity: 1,
    since: '2.2.0',
    summary: 'Forget about all watched keys',
    run: ({ client, server }) => server.transactions.unwatch(client),
  },
];
