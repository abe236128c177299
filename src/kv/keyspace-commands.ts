/**
 * Commands on whole databases; Redis has them in its group "server".
 */
import { latin1 } from '../lib/bytes.ts';
import { OK, type Reply } from '../resp/reply.ts';
import { NO_KEYS, type ReadCommand, type WriteCommand } from './command.ts';
import { SYNTAX_ERROR } from './errors.ts';

/** db.c, `getFlushCommandFlags`. ASYNC and SYNC are the same here: one step, and the clearing in the background. */
function checkFlush(argv: readonly Uint8Array[]): Reply | undefined {
  if (argv.length === 1) return undefined;
  const word = latin1(argv[1]!).toLowerCase();
  return argv.length === 2 && (word === 'async' || word === 'sync') ? undefined : SYNTAX_ERROR;
}

export const keyspaceCommands: readonly (ReadCommand | WriteCommand)[] = [
  {
    kind: 'read',
    name: 'dbsize',
    arity: 1,
    flags: ['readonly', 'fast'],
    keys: NO_KEYS,
    tips: ['request_policy:all_shards', 'response_policy:agg_sum'],
    group: 'server',
    since: '1.0.0',
    summary: 'Return the number of keys in the selected database',
    complexity: 'O(1)',
    categories: ['@keyspace', '@read', '@fast'],
    run: (db) => db.size,
  },
  {
    kind: 'write',
    name: 'flushall',
    arity: -1,
    flags: ['write'],
    keys: NO_KEYS,
    tips: ['request_policy:all_shards', 'response_policy:all_succeeded'],
    group: 'server',
    since: '1.0.0',
    summary: 'Remove all keys from all databases',
    complexity: 'O(N) where N is the total number of keys in all databases',
    categories: ['@keyspace', '@write', '@slow', '@dangerous'],
    history: [
      ['4.0.0', 'Added the `ASYNC` flushing mode modifier.'],
      ['6.2.0', 'Added the `SYNC` flushing mode modifier.'],
    ],
    arguments: [
      {
        name: 'async',
        type: 'oneof',
        flags: ['optional'],
        arguments: [
          { name: 'async', type: 'pure-token', token: 'ASYNC', since: '4.0.0' },
          { name: 'sync', type: 'pure-token', token: 'SYNC', since: '6.2.0' },
        ],
      },
    ],
    check: checkFlush,
    run: (db, argv) => {
      const refused = checkFlush(argv);
      if (refused !== undefined) return refused;
      db.flushAll();
      return OK;
    },
  },
];
