/**
 * What a command is: one row of the command table. Routing, guards, the keys to fetch, COMMAND and the documentation
 * all read the row; adding a command means a row and a small function.
 *
 * Three kinds. A `read` runs on this server's replica once that has caught up with the leader. A `write` travels through
 * the log and runs on every replica, so it must be deterministic: no clock, no chance, no I/O; time is the entry's.
 * `server` commands (PING, INFO, CLIENT ...) concern one server or one connection; their functions are in `server`.
 *
 * After Redis's src/commands/*.json: one source of truth per command.
 */
import type { Reply } from '../resp/reply.ts';

/** Redis's own words for what a command does; COMMAND INFO prints them. */
export type CommandFlag =
  | 'write'
  | 'readonly'
  | 'denyoom'
  | 'admin'
  | 'noscript'
  | 'loading'
  | 'stale'
  | 'skip_monitor'
  | 'skip_slowlog'
  | 'fast'
  | 'no_auth'
  | 'allow_busy'
  | 'no_multi'
  | 'sentinel'
  | 'movablekeys';

/** Where a command's keys stand in argv (0 is the name): first, last (negative counts from the end) and step. */
export type KeyPositions = readonly [first: number, last: number, step: number];
export const NO_KEYS: KeyPositions = [0, 0, 0];
const NO_INDEXES = { first: 1, last: 0, step: 1 };

/** The positions in an argv of `argc` arguments, for a loop from first to last by step. */
export function keyIndexes(keys: KeyPositions, argc: number): { first: number; last: number; step: number } {
  const [first, last, step] = keys;
  return first === 0 ? NO_INDEXES : { first, last: last < 0 ? argc + last : last, step };
}

/** One argument, as COMMAND DOCS describes it, for the hints of redis-cli. */
export interface CommandArgument {
  readonly name: string;
  readonly type:
    | 'string'
    | 'integer'
    | 'double'
    | 'key'
    | 'pattern'
    | 'unix-time'
    | 'pure-token'
    | 'oneof'
    | 'block';
  readonly token?: string;
  readonly since?: string;
  readonly flags?: readonly ('optional' | 'multiple' | 'multiple_token')[];
  readonly arguments?: readonly CommandArgument[];
}

export interface CommandRow {
  /** Lower case. */
  readonly name: string;
  /** Number of arguments, the name included; negative: at least so many. */
  readonly arity: number;
  readonly flags: readonly CommandFlag[];
  readonly keys: KeyPositions;
  readonly group: 'string' | 'generic' | 'connection' | 'server' | 'cluster' | 'transactions';
  readonly since: string;
  readonly summary: string;
  readonly complexity: string;
  readonly categories: readonly string[];
  readonly arguments?: readonly CommandArgument[];
  /** What the command does to its keys, in the words of COMMAND INFO's key specification: RO, RW, OW, RM, access ... */
  readonly keyFlags?: readonly string[];
  readonly keyNotes?: string;
  /** Hints for clients and proxies, as COMMAND INFO gives them. */
  readonly tips?: readonly string[];
  readonly history?: readonly (readonly [version: string, change: string])[];
  readonly deprecated?: { readonly since: string; readonly replacedBy: string };
  readonly subcommands?: readonly CommandRow[];
}

export interface ReadCommand extends CommandRow {
  readonly kind: 'read';
  /** Every key of argv is in memory. */
  readonly run: (db: Database, argv: readonly Uint8Array[]) => Reply;
}

export interface WriteCommand extends CommandRow {
  readonly kind: 'write';
  /**
   * Refuses, before it costs a log entry, what would fail whatever the data are: wrong syntax, a bad option. Must give
   * the very reply that `run` would give.
   */
  readonly check?: (argv: readonly Uint8Array[]) => Reply | undefined;
  /** Every key of argv is in memory. Deterministic. */
  readonly run: (db: Database, argv: readonly Uint8Array[]) => Reply;
}

/** One of the databases that SELECT knows, at the time of the log entry that is being applied, or last was. */
export interface Database {
  /** Milliseconds since 1970 by the log: the leader stamped it into the entry, it never goes back. */
  readonly nowMs: number;
  /** No string may grow longer (proto-max-bulk-len); the same on every server, or replicas differ. */
  readonly stringBytesMax: number;
  /** The live value, or undefined when the key is missing or has expired by `nowMs`. */
  get(key: Uint8Array): Value | undefined;
  /** Copies what it keeps: both may be views of an entry. Bytes with a buffer of their own may be kept as they are. */
  set(key: Uint8Array, value: Value): void;
  /** Whether there was a live key to delete. An expired one is removed too. */
  delete(key: Uint8Array): boolean;
  /** Keys, those included that have expired and are not yet removed, as Redis counts them. */
  readonly size: number;
  /** Removes all keys of all databases. */
  flushAll(): void;
}

/** A value at rest never changes: a write puts a new one in its place, so a checkpoint can hold on to the old. */
export interface Value {
  readonly type: 'string';
  readonly bytes: Uint8Array;
  /** Milliseconds since 1970; `NEVER` without a time to live. */
  readonly expireAtMs: number;
}

export const NEVER = Number.MAX_SAFE_INTEGER;
