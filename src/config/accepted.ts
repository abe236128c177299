/**
 * Directives of Redis that hstore accepts because clients, tools and Redis's own tests read or set them. There are two
 * kinds: `fixed` ones state what hstore is (one thread), can be set to just that, and refuse anything else; `hint` ones
 * are kept, since a tool that sets them must be able to go on, and change nothing. --help says so.
 */
import {
  ANY_INTEGER,
  BOOLEAN,
  COUNT,
  type Directive,
  INT_MAX,
  INT64_MAX,
  LONG_COUNT,
  SIZE,
  TEXT,
} from './directive.ts';
import type { ValueType } from './value.ts';
import { parseEvents, parseMemoryOrPercent, parseSave } from './word-lists.ts';

function fixed(name: string, value: string, type: ValueType): Directive {
  return { name, type, default: value, change: 'fixed' };
}

function hint(name: string, value: string, type: ValueType = ANY_INTEGER): Directive {
  return { name, type, default: value, change: 'hint' };
}

const EVICTION = [
  ...['volatile-lru', 'volatile-lfu', 'volatile-random', 'volatile-ttl'],
  ...['allkeys-lru', 'allkeys-lfu', 'allkeys-random', 'noeviction'],
];

function alias(name: string, aliasOf: string): Directive {
  return { ...[...FIXED, ...HINTS].find((each) => each.name === aliasOf)!, name, aliasOf };
}

const FIXED: readonly Directive[] = [
  fixed('daemonize', 'no', BOOLEAN),
  fixed('io-threads', '1', COUNT),
  fixed('replicaof', '', TEXT),
];

const HINTS: readonly Directive[] = [
  // Whatever these say: an acknowledged write is in a synced log on a majority, nothing is evicted, any server takes it.
  hint('save', '', { kind: 'text', parse: parseSave }),
  hint('appendonly', 'yes', BOOLEAN),
  hint('appendfsync', 'always', { kind: 'choice', values: ['everysec', 'always', 'no'] }),
  hint('no-appendfsync-on-rewrite', 'no', BOOLEAN),
  hint('stop-writes-on-bgsave-error', 'yes', BOOLEAN),
  hint('rdbcompression', 'yes', BOOLEAN),
  hint('rdbchecksum', 'yes', BOOLEAN),
  hint('maxmemory-policy', 'noeviction', { kind: 'choice', values: EVICTION }),
  hint('maxmemory-samples', '5', { kind: 'integer', min: 1, max: INT_MAX }),
  hint('maxmemory-clients', '0', { kind: 'text', parse: parseMemoryOrPercent }),
  hint('masteruser', '', TEXT),
  hint('masterauth', '', TEXT),
  hint('replica-read-only', 'no', BOOLEAN),
  hint('replica-serve-stale-data', 'no', BOOLEAN),
  hint('repl-backlog-size', '1mb', { kind: 'memory', min: 1, max: INT64_MAX }),
  hint('min-replicas-to-write', '0', COUNT),
  hint('min-replicas-max-lag', '10', COUNT),
  hint('notify-keyspace-events', '', { kind: 'text', parse: parseEvents }),
  hint('sanitize-dump-payload', 'no', { kind: 'choice', values: ['no', 'yes', 'clients'] }),
  // How compactly small collections are held, how fast old ones are freed: matters of memory, not of answers.
  hint('hash-max-listpack-entries', '512', LONG_COUNT),
  hint('hash-max-listpack-value', '64', LONG_COUNT),
  hint('list-max-listpack-size', '-2'),
  hint('list-compress-depth', '0', COUNT),
  hint('set-max-intset-entries', '512', LONG_COUNT),
  hint('zset-max-listpack-entries', '128', LONG_COUNT),
  hint('zset-max-listpack-value', '64', LONG_COUNT),
  hint('hll-sparse-max-bytes', '3000', { kind: 'memory', min: 0, max: INT_MAX }),
  hint('stream-node-max-bytes', '4096', { kind: 'memory', min: 0, max: INT_MAX }),
  hint('stream-node-max-entries', '100', LONG_COUNT),
  hint('activerehashing', 'yes', BOOLEAN),
  hint('hz', '10', COUNT),
  hint('dynamic-hz', 'yes', BOOLEAN),
  hint('busy-reply-threshold', '5000', LONG_COUNT),
  hint('aof-use-rdb-preamble', 'yes', BOOLEAN),
  hint('auto-aof-rewrite-percentage', '100', COUNT),
  hint('auto-aof-rewrite-min-size', '64mb', SIZE),
  hint('rdb-key-save-delay', '0'),
  hint('lazyfree-lazy-eviction', 'no', BOOLEAN),
  hint('lazyfree-lazy-expire', 'no', BOOLEAN),
  hint('lazyfree-lazy-server-del', 'no', BOOLEAN),
  hint('lazyfree-lazy-user-del', 'no', BOOLEAN),
  hint('lazyfree-lazy-user-flush', 'no', BOOLEAN),
];

const ALIASES: readonly Directive[] = [
  alias('slaveof', 'replicaof'),
  alias('slave-read-only', 'replica-read-only'),
  alias('slave-serve-stale-data', 'replica-serve-stale-data'),
  alias('min-slaves-to-write', 'min-replicas-to-write'),
  alias('min-slaves-max-lag', 'min-replicas-max-lag'),
  alias('hash-max-ziplist-entries', 'hash-max-listpack-entries'),
  alias('hash-max-ziplist-value', 'hash-max-listpack-value'),
  alias('list-max-ziplist-size', 'list-max-listpack-size'),
  alias('zset-max-ziplist-entries', 'zset-max-listpack-entries'),
  alias('zset-max-ziplist-value', 'zset-max-listpack-value'),
  alias('lua-time-limit', 'busy-reply-threshold'),
];

export const ACCEPTED: readonly Directive[] = [...FIXED, ...HINTS, ...ALIASES];
