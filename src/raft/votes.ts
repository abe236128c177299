/**
 * The answers to one election, or pre-election: who has granted its vote, and who has not.
 */
import type { Quorum } from './quorum.ts';
import type { NodeId } from './types.ts';

export class Votes {
  readonly #quorum: Quorum;
  readonly #answers = new Map<NodeId, boolean>();

  constructor(quorum: Quorum) {
    this.#quorum = quorum;
  }

  /** A voter's first answer counts; doubles change nothing. */
  record(voter: NodeId, granted: boolean): void {
    if (!this.#answers.has(voter)) this.#answers.set(voter, granted);
  }

  /** `lost`: a majority has refused, so that no more can come of it. */
  get outcome(): 'won' | 'lost' | 'open' {
    let granted = 0;
    for (const answer of this.#answers.values()) if (answer) granted++;
    if (this.#quorum.isMajority(granted)) return 'won';
    return this.#quorum.isMajority(this.#answers.size - granted) ? 'lost' : 'open';
  }
}
