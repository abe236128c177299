/**
 * Redis's group "generic": commands on keys, whatever their values are. Those about time to live are in expiry.ts.
 */
import type { CommandArgument, Database, ReadCommand, Value, WriteCommand } from './command.ts';

const KEYS: readonly CommandArgument[] = [{ name: 'key', type: 'key', flags: ['multiple'] }];
const MULTI_SHARD_SUM = ['request_policy:multi_shard', 'response_policy:agg_sum'];

/** A key named twice counts once: the second time it is gone. */
function remove(db: Database, argv: readonly Uint8Array[]): number {
  let removed = 0;
  for (let i = 1; i < argv.length; i++) if (db.delete(argv[i]!)) removed++;
  return removed;
}

/** A key named twice counts twice. */
function count(argv: readonly Uint8Array[], look: (key: Uint8Array) => Value | undefined): number {
  let found = 0;
  for (let i = 1; i < argv.length; i++) if (look(argv[i]!) !== undefined) found++;
  return found;
}

export const genericCommands: readonly (ReadCommand | WriteCommand)[] = [
  {
    kind: 'write',
    name: 'del',
    arity: -2,
    flags: ['write'],
    keys: [1, -1, 1],
    keyFlags: ['RM', 'delete'],
    tips: MULTI_SHARD_SUM,
    group: 'generic',
    since: '1.0.0',
    summary: 'Delete a key',
    complexity:
      'O(N) where N is the number of keys that will be removed. When a key to remove holds a value other than a string, the individual complexity for this key is O(M) where M is the number of elements in the list, set, sorted set or hash. Removing a single key that holds a string value is O(1).',
    categories: ['@keyspace', '@write', '@slow'],
    arguments: KEYS,
    run: remove,
    pieces: 'sum',
  },
  {
    kind: 'write',
    name: 'unlink',
    arity: -2,
    flags: ['write', 'fast'],
    keys: [1, -1, 1],
    keyFlags: ['RM', 'delete'],
    tips: MULTI_SHARD_SUM,
    group: 'generic',
    since: '4.0.0',
    summary: 'Delete a key asynchronously in another thread. Otherwise it is just as DEL, but non blocking.',
    complexity:
      'O(1) for each key removed regardless of its size. Then the command does O(N) work in a different thread in order to reclaim memory, where N is the number of allocations the deleted objects where composed of.',
    categories: ['@keyspace', '@write', '@fast'],
    arguments: KEYS,
    run: remove,
    pieces: 'sum',
  },
  {
    kind: 'read',
    name: 'exists',
    arity: -2,
    flags: ['readonly', 'fast'],
    keys: [1, -1, 1],
    keyFlags: ['RO'],
    tips: MULTI_SHARD_SUM,
    group: 'generic',
    since: '1.0.0',
    summary: 'Determine if a key exists',
    complexity: 'O(N) where N is the number of keys to check.',
    categories: ['@keyspace', '@read', '@fast'],
    history: [['3.0.3', 'Accepts multiple `key` arguments.']],
    arguments: KEYS,
    run: (db, argv) => count(argv, (key) => db.peek(key)),
  },
  {
    kind: 'read',
    name: 'touch',
    arity: -2,
    flags: ['readonly', 'fast'],
    keys: [1, -1, 1],
    keyFlags: ['RO'],
    tips: MULTI_SHARD_SUM,
    group: 'generic',
    since: '3.2.1',
    summary: 'Alters the last access time of a key(s). Returns the number of existing keys specified.',
    complexity: 'O(N) where N is the number of keys that will be touched.',
    categories: ['@keyspace', '@read', '@fast'],
    arguments: KEYS,
    run: (db, argv) => count(argv, (key) => db.get(key)),
  },
  {
    kind: 'read',
    name: 'type',
    arity: 2,
    flags: ['readonly', 'fast'],
    keys: [1, 1, 1],
    keyFlags: ['RO'],
    group: 'generic',
    since: '1.0.0',
    summary: 'Determine the type stored at key',
    complexity: 'O(1)',
    categories: ['@keyspace', '@read', '@fast'],
    arguments: [{ name: 'key', type: 'key' }],
    run: (db, argv) => db.peek(argv[1]!)?.type ?? 'none',
  },
];
