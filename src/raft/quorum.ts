/**
 * Majorities of the voters. Everything that counts servers counts here, so that joint consensus (thesis 4.3) will be a
 * change of this file alone.
 */
import { assert } from '../lib/assert.ts';
import type { NodeId } from './types.ts';

export class Quorum {
  readonly voters: readonly NodeId[];

  constructor(voters: readonly NodeId[]) {
    assert(voters.length > 0, 'a group has at least one voter');
    assert(new Set(voters).size === voters.length, 'a voter is named once', voters.join(' '));
    this.voters = voters;
  }

  others(than: NodeId): NodeId[] {
    return this.voters.filter((voter) => voter !== than);
  }

  get majority(): number {
    return Math.floor(this.voters.length / 2) + 1;
  }

  isMajority(count: number): boolean {
    return count >= this.majority;
  }

  /** The largest number that a majority of the voters has reached, `reached` telling each one's. */
  reachedByMajority(reached: (voter: NodeId) => number): number {
    const numbers = this.voters.map(reached).sort((a, b) => b - a);
    return numbers[this.majority - 1]!;
  }
}
