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
import type { ClientSessions, SessionMoment } from './client-sessions.ts';

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
  | 'no_async_loading'
  | 'sentinel'
  | 'may_replicate'
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
  /** Which of `keySpecs` a key of this name is meant by; 0 is the first. */
  readonly keySpec?: number;
  readonly since?: string;
  readonly deprecatedSince?: string;
  readonly flags?: readonly ('optional' | 'multiple' | 'multiple_token')[];
  readonly arguments?: readonly CommandArgument[];
}

/** What is done to some of a command's keys, as COMMAND INFO describes it. */
export interface KeySpecification {
  /** Where they stand; undefined when only the command itself can tell. */
  readonly at: KeyPositions | undefined;
  /** RO, RW, OW, RM, access ... */
  readonly flags: readonly string[];
  readonly notes?: string;
}

export interface CommandRow {
  /** Lower case. */
  readonly name: string;
  /** Number of arguments, the name included; negative: at least so many. */
  readonly arity: number;
  readonly flags: readonly CommandFlag[];
  readonly keys: KeyPositions;
  readonly group:
    | 'string'
    | 'bitmap'
    | 'generic'
    | 'connection'
    | 'server'
    | 'cluster'
    | 'transactions'
    | 'scripting'
    | 'module';
  readonly since: string;
  readonly summary: string;
  readonly complexity: string;
  readonly categories: readonly string[];
  readonly arguments?: readonly CommandArgument[];
  /** What the command does to its keys, in the words of COMMAND INFO's key specification: RO, RW, OW, RM, access ... */
  readonly keyFlags?: readonly string[];
  readonly keyNotes?: string;
  /** In place of `keyFlags` and `keyNotes`, where the command does not treat all its keys alike. */
  readonly keySpecs?: readonly KeySpecification[];
  /** Hints for clients and proxies, as COMMAND INFO gives them. */
  readonly tips?: readonly string[];
  readonly history?: readonly (readonly [version: string, change: string])[];
  readonly deprecated?: { readonly since: string; readonly replacedBy: string };
  readonly docFlags?: readonly string[];
  /** In what it differs from Redis's, for docs/commands.md. A sentence without its full stop. */
  readonly differs?: string;
  readonly subcommands?: readonly CommandRow[];
  /** Servers send it through the log for themselves; clients do not see it. */
  readonly internal?: true;
}

/** A key in a database; for commands that touch more than the keys of argv in the client's database. */
export interface OtherKey {
  readonly db: number;
  readonly key: Uint8Array;
}

export interface ReadCommand extends CommandRow {
  readonly kind: 'read';
  /** With them the row is a container (OBJECT): the second word says which of them runs, and `run` never does. */
  readonly subcommands?: readonly ReadCommand[];
  /** Every key of argv is in memory. */
  readonly run: (db: Database, argv: readonly Uint8Array[]) => Reply;
  /** Replicas that hold the same may give different replies. */
  readonly replyIsLocal?: true;
}

export interface WriteCommand extends CommandRow {
  readonly kind: 'write';
  readonly subcommands?: never;
  /**
   * Refuses, before it costs a log entry, what would fail whatever the data are: wrong syntax, a bad option. Must give
   * the very reply that `run` would give.
   */
  readonly check?: (argv: readonly Uint8Array[]) => Reply | undefined;
  /** Keys beside those of `keys` that `run` will ask for: in another database, say. Must not fail on a wrong argv. */
  readonly otherKeys?: (argv: readonly Uint8Array[], db: number) => readonly OtherKey[];
  /** Every key of argv, and of `otherKeys`, is in memory. Deterministic. */
  readonly run: (db: Database, argv: readonly Uint8Array[]) => Reply;
  /**
   * With very many keys it may be carried out piece by piece, in several turns, as if it were several commands: the
   * reply is the `sum` of the pieces' replies, or that of the `last`. What else is asked for waits for the whole.
   */
  readonly pieces?: 'sum' | 'last';
}

/** A command over all the keys of a database. It may take many turns, and sees one state of the data for each page. */
export interface ScanCommand extends CommandRow {
  readonly kind: 'scan';
  readonly subcommands?: never;
  /**
   * Calls `done` once, now or later, with the reply, or with undefined as `KvStateMachine.read` does.
   */
  readonly run: (
    scan: KeyScan,
    argv: readonly Uint8Array[],
    done: (reply: Reply | undefined) => void,
  ) => void;
}

/** What a scan may ask about the keys of its database. See scan.ts. */
export interface KeyScan {
  /** Keys from a position on, about `keysMax` of them: all that are there between `from` and `next`. */
  page(from: number, keysMax: number, done: (page: KeyPage | undefined) => void): void;
  /** Every key of one state of the database. */
  each(visit: (name: string) => void, done: (outcome: 'complete' | 'expired' | 'lost') => void): void;
  /** Live or not. */
  readonly size: number;
  /** A number in [0, 1). */
  chance(): number;
}

export interface KeyPage {
  /** Live keys, in order; one character per byte. */
  readonly names: readonly string[];
  /** The position behind the last key looked at; undefined: that was the last. */
  readonly next: number | undefined;
}

/** One of the databases that SELECT knows, at the time of the log entry that is being applied, or last was. */
export interface Database {
  /** Milliseconds since 1970 by the log: the leader stamped it into the entry, it never goes back. */
  readonly nowMs: number;
  /** No string may grow longer (proto-max-bulk-len); the same on every server, or replicas differ. */
  readonly stringBytesMax: number;
  /** 0 to 15. */
  readonly index: number;
  /** Another database at the same moment, for COPY and MOVE. `index` is 0 to 15. */
  other(index: number): Database;
  /** The live value, or undefined when the key is missing or has expired by `nowMs`. */
  get(key: Uint8Array): Value | undefined;
  /** The same, and the key does not count as used (TYPE, TTL, EXISTS, OBJECT): for OBJECT IDLETIME. */
  peek(key: Uint8Array): Value | undefined;
  /**
   * When the live key was last used on this server, in ms since 1970; undefined when there is none. Differs between
   * servers: only a read may show it, nothing may be decided by it.
   */
  usedAtMs(key: Uint8Array): number | undefined;
  /** Copies what it keeps: both may be views of an entry. Bytes with a buffer of their own may be kept as they are. */
  set(key: Uint8Array, value: Value): void;
  /** Whether there was a live key to delete. An expired one is removed too. */
  delete(key: Uint8Array): boolean;
  /** Keys, those included that have expired and are not yet removed, as Redis counts them. */
  readonly size: number;
  /** Changes with every write to the key, and is never the same again; 0 when there is no live key. */
  versionOf(key: Uint8Array): number;
  /** The sessions of clients, and the moment at which they are used. */
  readonly sessions: ClientSessions;
  readonly moment: SessionMoment;
  /** Whether expired keys are removed in the background. */
  setActiveExpire(active: boolean): void;
  /** Removes all keys of this database. */
  flush(): void;
  /** Removes all keys of all databases. */
  flushAll(): void;
  /** All keys of one database are from now on in the other, and the other way round. */
  swap(a: number, b: number): void;
}

/** A value at rest never changes: a write puts a new one in its place, so a checkpoint can hold on to the old. */
export interface Value {
  readonly type: 'string';
  readonly bytes: Uint8Array;
  /** Milliseconds since 1970; `NEVER` without a time to live. */
  readonly expireAtMs: number;
  /**
   * Changed in place (APPEND, SETRANGE, SETBIT ...): OBJECT ENCODING says `raw`, however short it is. Part of the
   * replicated state; a command that makes a value anew leaves it out.
   */
  readonly raw?: boolean;
  /** For RESTORE IDLETIME: when it counts as last used, if not now. Not replicated. */
  readonly usedAtMs?: number;
}

export const NEVER = Number.MAX_SAFE_INTEGER;
