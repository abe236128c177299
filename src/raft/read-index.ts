/**
 * Linearizable reads without log entries (thesis 6.4), the leader's side.
 *
 * A read may run at the commit index of the moment it arrived, once a majority has confirmed after that moment that
 * this server is still the leader. One round of heartbeats confirms for all reads that were waiting when it began;
 * reads that come meanwhile wait for the next round, so however many there are, one round is under way at a time.
 *
 * Rounds are numbered by the leader itself and never repeat within its term; a follower answers with the number it was
 * sent. That a late answer cannot confirm a younger round is therefore in the numbers (etcd confirmed reads by ids of
 * the clients until 2026, and a retried id let a late answer through: etcd issue 20418).
 *
 * A new leader knows where the log ends, but not how much of it is committed, until an entry of its own term is: reads
 * wait for that (§8).
 */
import { assert } from '../lib/assert.ts';
import type { NodeId } from './types.ts';

/** Somebody who asked: this server itself, or a follower. */
export interface ReadRequest {
  readonly from: NodeId;
  readonly context: number;
}

export interface ConfirmedRead extends ReadRequest {
  readonly index: number;
}

export class ReadRounds {
  /** The round under way, or the last one; sent with every heartbeat. */
  round = 0;
  #waiting: ReadRequest[] = [];
  #underWay: ConfirmedRead[] = [];

  request(request: ReadRequest): void {
    this.#waiting.push(request);
  }

  /** Whether a round should begin: somebody waits, and no round is under way. */
  get wanted(): boolean {
    return this.#waiting.length > 0 && this.#underWay.length === 0;
  }

  /** Begins a round for all who wait: the heartbeats that leave from now on carry it. */
  begin(commitIndex: number): void {
    assert(this.wanted, 'one round at a time');
    this.round++;
    this.#underWay = this.#waiting.map((request) => ({ ...request, index: commitIndex }));
    this.#waiting = [];
  }

  /** A majority has answered round `confirmed`: the reads that this settles. */
  confirm(confirmed: number): ConfirmedRead[] {
    assert(confirmed <= this.round, 'nobody answers a round that was not begun', confirmed, this.round);
    if (confirmed < this.round) return [];
    const settled = this.#underWay;
    this.#underWay = [];
    return settled;
  }
}
