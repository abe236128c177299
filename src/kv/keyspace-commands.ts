/**
 * Commands on whole databases; Redis has them in its group "server".
 */
import { latin1 } from '../lib/bytes.ts';
import { ErrorReply, OK, type Reply } from '../resp/reply.ts';
import { DATABASES } from './batch.ts';
import {
  type CommandArgument,
  type Database,
  NO_KEYS,
  type ReadCommand,
  type WriteCommand,
} from './command.ts';
import { DB_OUT_OF_RANGE, SYNTAX_ERROR } from './errors.ts';
import { parseInt32 } from './integer.ts';

const INVALID_FIRST = new ErrorReply('ERR', 'invalid first DB index');
const INVALID_SECOND = new ErrorReply('ERR', 'invalid second DB index');

/** db.c, `getFlushCommandFlags`. ASYNC and SYNC are the same here: one step, and the clearing in the background. */
function checkFlush(argv: readonly Uint8Array[]): Reply | undefined {
  if (argv.length === 1) return undefined;
  const word = latin1(argv[1]!).toLowerCase();
  return argv.length === 2 && (word === 'async' || word === 'sync') ? undefined : SYNTAX_ERROR;
}

interface SwappedDatabases {
  readonly a: number;
  readonly b: number;
}

function parseSwap(argv: readonly Uint8Array[]): SwappedDatabases | ErrorReply {
  const a = parseInt32(argv[1]!, INVALID_FIRST);
  if (a instanceof ErrorReply) return a;
  const b = parseInt32(argv[2]!, INVALID_SECOND);
  if (b instanceof ErrorReply) return b;
  return [a, b].every((index) => index >= 0 && index < DATABASES) ? { a, b } : DB_OUT_OF_RANGE;
}

function checkSwap(argv: readonly Uint8Array[]): Reply | undefined {
  const databases = parseSwap(argv);
  return databases instanceof ErrorReply ? databases : undefined;
}

function swap(db: Database, argv: readonly Uint8Array[]): Reply {
  const databases = parseSwap(argv);
  if (databases instanceof ErrorReply) return databases;
  db.swap(databases.a, databases.b);
  return OK;
}

interface FlushWords extends Pick<WriteCommand, 'name' | 'summary' | 'complexity'> {
  readonly flush: (db: Database) => void;
}

/** FLUSHALL and FLUSHDB. */
function flushRow({ flush, ...words }: FlushWords): WriteCommand {
  return {
    ...words,
    kind: 'write',
    arity: -1,
    flags: ['write'],
    keys: NO_KEYS,
    tips: ['request_policy:all_shards', 'response_policy:all_succeeded'],
    group: 'server',
    since: '1.0.0',
    categories: ['@keyspace', '@write', '@slow', '@dangerous'],
    history: [
      ['4.0.0', 'Added the `ASYNC` flushing mode modifier.'],
      ['6.2.0', 'Added the `SYNC` flushing mode modifier.'],
    ],
    arguments: [FLUSH_MODE],
    check: checkFlush,
    run: (db, argv) => {
      const refused = checkFlush(argv);
      if (refused !== undefined) return refused;
      flush(db);
      return OK;
    },
  };
}

const FLUSH_MODE: CommandArgument = {
  name: 'async',
  type: 'oneof',
  flags: ['optional'],
  arguments: [
    { name: 'async', type: 'pure-token', token: 'ASYNC', since: '4.0.0' },
    { name: 'sync', type: 'pure-token', token: 'SYNC', since: '6.2.0' },
  ],
};

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
  flushRow({
    name: 'flushall',
    summary: 'Remove all keys from all databases',
    complexity: 'O(N) where N is the total number of keys in all databases',
    flush: (db) => db.flushAll(),
  }),
  flushRow({
    name: 'flushdb',
    summary: 'Remove all keys from the current database',
    complexity: 'O(N) where N is the number of keys in the selected database',
    flush: (db) => db.flush(),
  }),
  {
    kind: 'write',
    name: 'swapdb',
    arity: 3,
    flags: ['write', 'fast'],
    keys: NO_KEYS,
    group: 'server',
    since: '4.0.0',
    summary: 'Swaps two Redis databases',
    complexity: 'O(N) where N is the count of clients watching or blocking on keys from both databases.',
    categories: ['@keyspace', '@write', '@fast', '@dangerous'],
    arguments: [
      { name: 'index1', type: 'integer' },
      { name: 'index2', type: 'integer' },
    ],
    check: checkSwap,
    run: swap,
  },
];
