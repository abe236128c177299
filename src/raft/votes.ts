/**
 * The answers to one election, or pre-election: who has granted its vote, and who has not.
 */
import type { Configuration } from './configuration.ts';
import type { NodeId } from './types.ts';

export class Votes {
  readonly #configuration: Configuration;
  readonly #answers = new Map<NodeId, boolean>();

  constructor(configuration: Configuration) {
    this.#configuration = configuration;
  }

  /** A voter's first answer counts; doubles change nothing. */
  record(voter: NodeId, granted: boolean): void {
    if (!this.#answers.has(voter)) this.#answers.set(voter, granted);
  }

  /** `lost`: so many have refused that no majority can grant any more. */
  get outcome(): 'won' | 'lost' | 'open' {
    const answers = this.#answers;
    if (this.#configuration.hasMajority((voter) => answers.get(voter) === true)) return 'won';
    return this.#configuration.hasMajority((voter) => answers.get(voter) !== false) ? 'open' : 'lost';
  }
}
