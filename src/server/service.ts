/**
 * A service beside the store, such as MapReduce: what it sees of the server that it runs in, and what the server sees of
 * it. It knows this and nothing else of the house.
 *
 * A service has no state machine of its own. What must outlive servers it keeps as keys in the system database, a database
 * that no client can name and no FLUSHALL empties; so it is logged, replicated, checkpointed and sent with snapshots as
 * everything else is. It writes by transactions: these see what they read, and run only if the versions that they watch
 * still hold, which is how a service that thinks it is in charge finds out that another one is (a fencing token).
 *
 * Callbacks come once, on every path, and never before the call that took them has returned.
 */
import type { Clock, Log, Random } from '../lib/env.ts';
import type { Reply } from '../resp/reply.ts';

/** A server of the cluster. */
export interface ServiceMember {
  /** Never used twice. */
  readonly id: number;
  readonly name: string;
  /** Where peers reach it. */
  readonly host: string;
}

export interface ServiceCommand {
  /** Undefined: the system database. */
  readonly db?: number;
  readonly argv: readonly Uint8Array[];
}

export interface ServiceTransaction {
  /** Keys of the system database. */
  readonly watched: readonly { readonly key: Uint8Array; readonly version: number }[];
  readonly commands: readonly ServiceCommand[];
}

export interface ServiceHost {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** The server's data directory. */
  readonly directory: string;
  readonly self: ServiceMember;
  /** Voters and learners; without this server while it waits to be let in. */
  readonly members: readonly ServiceMember[];
  /** As far as this server knows; 0: there is none. */
  readonly leader: number;
  /** Of this server. Grows with every election that it hears of. */
  readonly term: number;
  /** The disk of this server, or of the leader, has no room: nothing can be written. */
  readonly diskFull: boolean;

  /**
   * All commands in one operation of the log, or none. An array of their replies; NullArrayReply when a watched version
   * does not hold; an ErrorReply: CLUSTERDOWN and MISCONF for what was not executed, TIMEOUT for what may have been. Reads
   * in it are linearizable.
   */
  transact(transaction: ServiceTransaction, done: (reply: Reply) => void): void;
  /** A linearizable read (unless `reads local`) by a command such as GET, GETRANGE or MGET. */
  read(command: ServiceCommand, done: (reply: Reply) => void): void;
  /** Of a key of the system database, 0 when there is none; or an ErrorReply. */
  versionOf(key: Uint8Array, done: (reply: Reply) => void): void;

  /**
   * Asks the same service of another server, or of this one, which may answer or not. Undefined: no answer came in
   * time, so nobody knows whether the question arrived. At most SERVICE_PAYLOAD_BYTES_MAX each way.
   */
  call(member: number, payload: Uint8Array, done: (answer: Uint8Array | undefined) => void): void;

  /**
   * Makes each server keep a view of all keys as they are at one and the same place of the log, as long as it is not
   * released there. True: it is in the log; an ErrorReply otherwise, as for `transact`.
   */
  freeze(id: string, done: (reply: true | Reply) => void): void;
  /** The view of this server; undefined when it has none (yet, or any more: a restart and a snapshot end it). */
  view(id: string): KeyView | undefined;
  /** Harmless when there is none. */
  release(id: string): void;
  /** Views that this server has. */
  readonly views: readonly string[];
}

/** Bytes of a question, and of an answer. */
export const SERVICE_PAYLOAD_BYTES_MAX = 4 << 20;

/** All keys as they were at one place of the log. */
export interface KeyView {
  /** Of the log. */
  readonly index: number;
  /** Keys of the database, expired ones included. */
  sizeOf(db: number): number;
  /**
   * String values whose key matches the glob pattern and is in the slots [fromSlot, toSlot), in an order that is the
   * same on all servers: a block of about 256 KiB at a time, at least one record each unless it is the last. What has
   * expired by the view's time is left out. `after`: undefined at first, then what the last call gave.
   */
  read(range: KeyRange, after: Uint8Array | undefined, done: KeyBlockDone): void;
}

export interface KeyRange {
  readonly db: number;
  readonly pattern: Uint8Array;
  readonly fromSlot: number;
  /** At most SLOTS. */
  readonly toSlot: number;
}

/** In Redis Cluster and here. */
export const SLOTS = 16_384;

/**
 * `block`: records, each: key length u32 | value length u32 | key | value, little-endian; its memory is the callee's
 * alone, so that it can be handed over to a thread. `after` undefined: that was all.
 */
export type KeyBlockDone = (error: Error | null, block: Uint8Array, after: Uint8Array | undefined) => void;

/** A command that a client has sent, by a row that the server has for the service. */
export interface ServiceRequest {
  /** In lower case, without the prefix: `submit` of MR.SUBMIT. */
  readonly name: string;
  /** Without the name. */
  readonly args: readonly Uint8Array[];
  /** The client's database. */
  readonly db: number;
  /** The client is on this machine. */
  readonly loopback: boolean;
  /** The client is gone: nobody waits for the reply. */
  readonly closed: boolean;
  resolve(reply: Reply): void;
}

export interface Service {
  execute(request: ServiceRequest): void;
  /** A question of a peer's service. `answer` is called once or not at all, now or later. */
  onCall(from: number, payload: Uint8Array, answer: (payload: Uint8Array) => void): void;
  /** There is something that would be lost if this server, alone so far, became a member of another cluster. */
  readonly holdsData: boolean;
  /** Fields of its section of INFO. */
  info(): readonly (readonly [string, string | number])[];
  /** Nothing is called any more when it resolves. */
  stop(): Promise<void>;
}

export type StartService = (host: ServiceHost) => Service;
