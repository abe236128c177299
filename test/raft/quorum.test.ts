import { expect, test } from 'vitest';
import { Quorum } from '../../src/raft/quorum.ts';
import { SimRandom } from '../sim/random.ts';

test('what a majority has reached is what counting says, in 50,000 random cases', () => {
  const random = new SimRandom(1);
  for (let i = 0; i < 50_000; i++) {
    const voters = Array.from({ length: 1 + random.below(9) }, (_, id) => id + 1);
    const reached = new Map(voters.map((voter) => [voter, random.below(random.pick([3, 10, 1000]))]));
    // The obvious way: the largest of the numbers that more than half of the voters have reached.
    const reachedBy = (n: number) => voters.filter((voter) => reached.get(voter)! >= n).length;
    const expected = Math.max(...[...reached.values()].filter((n) => reachedBy(n) * 2 > voters.length));
    const quorum = new Quorum(voters);
    expect(quorum.reachedByMajority((voter) => reached.get(voter)!)).toBe(expected);
    for (let count = 0; count <= voters.length; count++) {
      const isSo = (voter: number) => voter <= count;
      if (quorum.hasMajority(isSo) !== count * 2 > voters.length) expect.fail(`${count} of ${voters.length}`);
    }
  }
});

test('any two majorities have a voter in common', () => {
  for (let count = 1; count <= 9; count++) {
    const { majority } = new Quorum(Array.from({ length: count }, (_, i) => i + 1));
    expect(majority * 2).toBeGreaterThan(count);
    expect((majority - 1) * 2).toBeLessThanOrEqual(count);
  }
});
