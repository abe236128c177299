/**
 * The words of Raft as types. Names are those of the paper (Ongaro & Ousterhout, "In Search of an Understandable
 * Consensus Algorithm", extended version, figure 2) and of Ongaro's thesis.
 */

/** A server's identity: a random number below 2^48, never used twice. 0 is nobody. */
export type NodeId = number;
export const NOBODY: NodeId = 0;

/** A Raft group (a log of its own). Every frame, record and stored key carries it; today there is group 1. */
export type GroupId = number;

/**
 * What an entry is to Raft. What the data of `data` mean is the state machine's business; those of `configuration` are a
 * configuration of the group (configuration.ts), which the state machine keeps for restarts and snapshots.
 */
export type EntryType = 'noop' | 'data' | 'configuration';

/** An entry never changes once made; it is shared by the log, the disk and the network without copies. */
export interface Entry {
  /** From 1, without gaps. */
  readonly index: number;
  readonly term: number;
  readonly type: EntryType;
  readonly data: Uint8Array;
}

/** What a server must never forget (figure 2, "persistent state"); one atomic record on the disk. */
export interface HardState {
  readonly term: number;
  readonly votedFor: NodeId;
}

/** What is replicated: entries go in, in order, each once. */
export interface StateMachine {
  /** The last entry applied. Moves only between the call of `apply` and its `done`. */
  readonly appliedIndex: number;
  /**
   * Applies `entries` in order; the first follows `appliedIndex`. Calls `done` when all are applied, possibly before
   * it returns. The next call comes after `done`.
   */
  apply(entries: readonly Entry[], done: () => void): void;
}
