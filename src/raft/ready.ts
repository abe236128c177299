/**
 * What goes in and out of the consensus core: the answer to a proposal, and what a turn has brought about.
 */
import type { ChangeRefusal } from './configuration.ts';
import type { Message } from './messages.ts';
import type { Entry, HardState, NodeId } from './types.ts';

/** Why a change of the members is not begun. Nothing has changed then. */
export type NoChangeReason = 'not-leader' | 'not-ready' | 'pending' | 'transferring' | ChangeRefusal;

export type ChangeProposed =
  | { readonly accepted: true; readonly index: number; readonly term: number }
  | { readonly accepted: false; readonly reason: NoChangeReason };

export type Proposed =
  | { readonly accepted: true; readonly index: number; readonly term: number }
  | { readonly accepted: false; readonly reason: 'not-leader' | 'full' | 'transferring' };

/** To be written in one atomic, durable step; `persisted(token)` reports it. Tokens count up. */
export interface Save {
  readonly token: number;
  /** Present when it changed. */
  readonly hardState: HardState | undefined;
  /**
   * Present when a snapshot has taken the place of the log: whatever the disk holds of it is void, and it begins anew
   * behind this entry. `entries`, if there are any, follow it.
   */
  readonly snapshot?: { readonly index: number; readonly term: number } | undefined;
  /** The first index written; what the disk holds from here on is void. Equals the first of `entries`. */
  readonly truncateFrom: number | undefined;
  readonly entries: readonly Entry[];
}

export interface Ready {
  readonly messages: readonly Message[];
  readonly save: Save | undefined;
  /** May leave when `save`, and every save handed out before it, is durable. */
  readonly messagesAfterSave: readonly Message[];
  /** Reads that may run once `index` is applied. */
  readonly reads: readonly { readonly context: number; readonly index: number }[];
  /** Entries to read from the disk; answered with `fetched`. */
  readonly fetches: readonly { readonly to: NodeId; readonly from: number; readonly bytesMax: number }[];
  /** Followers that need a snapshot; each is reported once, until `snapshotEnded` was called for it. */
  readonly snapshots: readonly NodeId[];
}
