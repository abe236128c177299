/**
 * Majorities of a set of voters. A configuration has one such set, a joint one has two (configuration.ts).
 */
import { assert } from '../lib/assert.ts';
import type { NodeId } from './types.ts';

export class Quorum {
  readonly voters: readonly NodeId[];

  constructor(voters: readonly NodeId[]) {
    assert(voters.length > 0, 'a quorum is one of voters');
    assert(new Set(voters).size === voters.length, 'a voter is named once', voters.join(' '));
    this.voters = voters;
  }

  get majority(): number {
    return Math.floor(this.voters.length / 2) + 1;
  }

  hasMajority(isSo: (voter: NodeId) => boolean): boolean {
    let count = 0;
    for (const voter of this.voters) if (isSo(voter)) count++;
    return count >= this.majority;
  }

  /** The largest number that a majority of the voters has reached, `reached` telling each one's. */
  reachedByMajority(reached: (voter: NodeId) => number): number {
    const numbers = this.voters.map(reached).sort((a, b) => b - a);
    return numbers[this.majority - 1]!;
  }
}
