/**
 * Changes of the members, sentence by sentence: section 6 of the paper and chapter 4 of Ongaro's thesis, with the
 * mistakes that others have made (pitfalls 12, 27, 28). Who goes is in removal.test.ts, whole courses are transcripts:
 * confchange-*.txt.
 */
import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/lib/errors.ts';
import { CatchUp } from '../../src/raft/catch-up.ts';
import type { Message } from '../../src/raft/messages.ts';
import { GROUP } from './cores.ts';
import { add, configurationsOf, group, learnerAlone, remove } from './groups.ts';

describe('a newcomer', () => {
  test('"joins the cluster as non-voting members (the leader replicates log entries to them, but they are not considered for majorities)" (§6)', () => {
    const cores = group(2, [3]);
    cores.propose(1, 'a');
    cores.stabilize();
    cores.disconnect(2);
    expect(cores.changeMembers(1, add(3))).toMatchObject({ accepted: true, index: 3 });
    cores.stabilize();
    expect(cores.members(1)).toBe('1 2 (3)');
    expect(cores.core(3).stable.map(({ index }) => index)).toEqual([1, 2, 3]);
    expect(cores.raft(1).log.commitIndex, '1 and 3 have it, but 3 has no say').toBe(2);
  });

  test('"once the new servers have caught up with the rest of the cluster, the reconfiguration can proceed" (§6): learner, joint, voter', () => {
    const cores = group(3, [4]);
    const seen = configurationsOf(cores, 1);
    const atNewcomer = configurationsOf(cores, 4);
    cores.changeMembers(1, add(4));
    cores.stabilize();
    expect(seen).toEqual(['1 2 3 (4)', '1 2 3 +4', '1 2 3 4']);
    expect(atNewcomer).toEqual(seen);
    for (const id of [1, 2, 3, 4]) expect(cores.members(id)).toBe('1 2 3 4');
    const { index } = cores.core(4).configuration;
    expect(cores.raft(4).log.commitIndex).toBe(index);
    cores.disconnect(3);
    cores.propose(1, 'a');
    cores.stabilize();
    expect(cores.raft(1).log.commitIndex, 'three of four').toBe(index + 1);
  });

  test('may be the second server of a group of one', () => {
    const cores = group(1, [2]);
    cores.changeMembers(1, add(2));
    cores.stabilize();
    expect(cores.members(2)).toBe('1 2');
    cores.disconnect(2);
    cores.propose(1, 'a');
    cores.stabilize();
    expect(cores.raft(1).log.commitIndex, 'it takes both now').toBe(cores.raft(1).log.lastIndex - 1);
  });

  test('that does not come up is no voter, and holds nobody up', () => {
    const cores = group(3, [4]);
    cores.disconnect(4);
    cores.changeMembers(1, add(4));
    cores.pass(5000, [1, 2, 3]);
    expect(cores.members(2)).toBe('1 2 3 (4)');
    cores.propose(1, 'a');
    cores.stabilize();
    expect(cores.raft(1).log.commitIndex).toBe(3);
    expect(cores.changeMembers(1, remove(4)).accepted, 'it can be given up').toBe(true);
    cores.stabilize();
    expect(cores.members(2)).toBe('1 2 3');
  });

  test('that was given up is replaced by another in one step', () => {
    const cores = group(3, [4, 5]);
    cores.disconnect(4);
    cores.changeMembers(1, add(4));
    cores.stabilize();
    expect(cores.changeMembers(1, { ...add(5), instead: 4 }).accepted).toBe(true);
    cores.stabilize();
    expect(cores.members(5)).toBe('1 2 3 5');
    expect(cores.changeMembers(1, add(4))).toEqual({ accepted: false, reason: 'removed' });
  });

  test('is not told that it has lost its log: what all members have says nothing of it (pitfall 12)', () => {
    const cores = group(3, [4]);
    cores.propose(1, 'a'.repeat(10));
    cores.pass(300);
    expect(cores.raft(1).allMatchedIndex).toBe(2);
    // Heartbeats arrive before any entries do.
    cores.changeMembers(1, add(4));
    cores.tick(1, 100);
    cores.ready(1);
    cores.deliver(4, ({ type }) => type === 'Heartbeat');
    expect(cores.raft(1).allMatchedIndex, 'of the new configuration nothing is known').toBe(0);
    cores.pass(300);
    expect(cores.members(4)).toBe('1 2 3 4');
    expect(cores.raft(4).allMatchedIndex).toBe(cores.raft(1).log.lastIndex);
  });

  test('does not take what it hears of a configuration that it does not have for news of itself', () => {
    const cores = group(3, [4]);
    const heartbeat = { type: 'Heartbeat', group: GROUP, from: 1, to: 4, term: 1, readRound: 0 } as const;
    cores.step({ ...heartbeat, leaderCommit: 0, configurationIndex: 2, allMatchedIndex: 9 });
    expect(cores.raft(4)).toMatchObject({ leaderId: 1, allMatchedIndex: 0 });
    const mine = { ...heartbeat, leaderCommit: 0, configurationIndex: 0, allMatchedIndex: 9 };
    expect(() => cores.step(mine)).toThrow(CorruptionError);
  });

  test('that has caught up and then loses its log is told so (pitfall 12)', () => {
    const cores = group(3, [4]);
    cores.changeMembers(1, add(4));
    cores.pass(300);
    Object.assign(cores.core(4), {
      stable: [],
      applied: [],
      configuration: { index: 0, configuration: cores.core(4).configuration.configuration },
    });
    cores.core(4).restart();
    expect(() => cores.pass(300)).toThrow(CorruptionError);
  });

  test('asks the leader for reads, a stranger is not answered', () => {
    const cores = learnerAlone();
    cores.connect(2);
    cores.cut(3, 1);
    cores.pass(200);
    expect(cores.members(1)).toBe('1 2 (3)');
    cores.mend(3, 1);
    const ask = (from: number): Message => ({
      type: 'ReadIndex',
      group: GROUP,
      from,
      to: 1,
      term: 1,
      context: 7,
    });
    cores.step(ask(3));
    cores.step(ask(9));
    const answers: Message[] = [];
    for (let i = 0; i < 3; i++) {
      cores.ready(1);
      answers.push(...cores.take(({ type }) => type === 'ReadIndexResponse'));
      cores.deliver(2);
      cores.ready(2);
      cores.deliver(1);
    }
    expect(answers).toMatchObject([{ to: 3, context: 7, index: 2 }]);
  });
});

describe('the rounds of catching up (thesis 4.2.1)', () => {
  test('"if the last round lasts less than an election timeout, then the leader adds the new server"', () => {
    const rounds = new CatchUp(100, 0);
    expect(rounds.hasCaughtUp({ matchIndex: 99, lastIndex: 150, nowMs: 500 }, 1000)).toBe(false);
    expect(rounds.hasCaughtUp({ matchIndex: 100, lastIndex: 150, nowMs: 999 }, 1000)).toBe(true);
  });

  test('"each round replicates all the log entries present in the leader\'s log at the start of the round"', () => {
    const rounds = new CatchUp(100, 0);
    expect(rounds.hasCaughtUp({ matchIndex: 100, lastIndex: 150, nowMs: 1000 }, 1000), 'too slow').toBe(
      false,
    );
    expect(rounds.hasCaughtUp({ matchIndex: 149, lastIndex: 200, nowMs: 1500 }, 1000)).toBe(false);
    expect(rounds.hasCaughtUp({ matchIndex: 150, lastIndex: 200, nowMs: 1999 }, 1000)).toBe(true);
  });

  test('a learner that takes longer than an election timeout for every round is not promoted', () => {
    const cores = group(2, [3]);
    cores.cut(1, 3);
    cores.changeMembers(1, add(3));
    cores.pass(200);
    for (let i = 0; i < 5; i++) {
      cores.propose(1, 'x');
      cores.pass(1200, [1, 2]);
      cores.propose(1, 'y');
      // It gets what there was, and meanwhile there is more.
      cores.mend(1, 3);
      cores.tick(1, 100);
      cores.ready(1);
      cores.propose(1, 'z');
      for (let k = 0; k < 4; k++) {
        cores.deliver(3);
        cores.ready(3);
        cores.persist(3);
        cores.deliver(1, ({ from }) => from === 3);
      }
      cores.cut(1, 3);
      cores.pass(1200, [1, 2]);
      expect(cores.members(1)).toBe('1 2 (3)');
    }
    cores.mend(1, 3);
    cores.pass(500);
    expect(cores.members(3)).toBe('1 2 3');
  });
});

describe('a joint configuration', () => {
  test('"agreement (for elections and entry commitment) requires separate majorities from both the old and new configurations" (§6): the new one alone is not enough', () => {
    const cores = learnerAlone();
    cores.tick(1, 100);
    cores.stabilize([1, 3]);
    expect(cores.members(1)).toBe('1 2 +3');
    const { index } = cores.raft(1).log.configuration;
    expect(cores.raft(3).log.stableIndex).toBe(index);
    expect(cores.raft(1).log.commitIndex, 'of C_old only 1 has it').toBeLessThan(index);
    cores.connect(2);
    cores.pass(300);
    expect(cores.members(2)).toBe('1 2 3');
  });

  test('the old one alone is not enough either', () => {
    const cores = group(3, [4]);
    cores.disconnect(4);
    cores.changeMembers(1, add(4));
    cores.stabilize();
    cores.connect(4);
    cores.disconnect(3);
    // 4 catches up, and is then gone.
    for (let i = 0; i < 20 && cores.members(1) !== '1 2 3 +4'; i++) {
      cores.tick(1, 10);
      for (const id of [1, 4]) {
        cores.ready(id);
        cores.persist(id);
        cores.deliver(id);
      }
    }
    cores.disconnect(4);
    cores.pass(500, [1, 2]);
    const { index } = cores.raft(1).log.configuration;
    expect(cores.members(1)).toBe('1 2 3 +4');
    expect(cores.raft(2).log.stableIndex).toBe(index);
    expect(cores.raft(1).log.commitIndex, 'two of three, but two of four').toBeLessThan(index);
    cores.connect(3);
    cores.pass(300, [1, 2, 3]);
    expect(cores.members(2)).toBe('1 2 3 4');
  });

  test('an election in it takes a majority of each side', () => {
    const cores = learnerAlone();
    cores.tick(1, 100);
    cores.stabilize([1, 3]);
    cores.tick(1, 1000);
    expect(cores.raft(1).role).toBe('follower');
    cores.take(() => true);
    cores.campaign(3);
    cores.pass(1500, [1, 3]);
    expect([cores.raft(1).role, cores.raft(3).role]).not.toContain('leader');
    cores.connect(2);
    cores.pass(3000);
    const leaders = [1, 2, 3].filter((id) => cores.raft(id).role === 'leader');
    expect(leaders).toHaveLength(1);
    expect(cores.members(leaders[0]!)).toBe('1 2 3');
  });

  test('a leader in it that hears only one side steps down', () => {
    const cores = learnerAlone();
    cores.tick(1, 100);
    cores.stabilize([1, 3]);
    expect(cores.members(1)).toBe('1 2 +3');
    cores.pass(1200, [1, 3]);
    expect(cores.raft(1).role).not.toBe('leader');
  });

  test('is finished by a leader that inherits it, committed or not', () => {
    for (const committed of [false, true]) {
      const cores = group(5);
      cores.changeMembers(1, remove(5));
      cores.ready(1);
      cores.persist(1);
      if (committed) {
        for (const id of [2, 3, 4]) {
          cores.deliver(id);
          cores.ready(id);
          cores.persist(id);
        }
        cores.disconnect(1);
        cores.deliver(1);
      } else {
        cores.deliver(2);
        cores.ready(2);
        cores.persist(2);
        cores.disconnect(1);
      }
      cores.take(() => true);
      expect(cores.members(2)).toBe('1 2 3 4 -5');
      for (const id of [3, 4, 5]) cores.tick(id, 1000);
      cores.win(2, [3, 4]);
      cores.stabilize([2, 3, 4, 5]);
      for (const id of [2, 3, 4]) expect(cores.members(id)).toBe('1 2 3 4');
    }
  });
});

describe('a configuration', () => {
  test('"a server always uses the latest configuration in its log, regardless of whether the entry is committed" (§6)', () => {
    const cores = group(3);
    cores.changeMembers(1, remove(3));
    expect(cores.members(1)).toBe('1 2 -3');
    cores.ready(1);
    cores.deliver(2);
    expect(cores.members(2)).toBe('1 2 -3');
    expect(cores.raft(2).log.commitIndex).toBe(1);
  });

  test('goes with its entry when that is truncated: "fall back to the previous configuration" (thesis 4.1, pitfall 27)', () => {
    const cores = group(5);
    for (const id of [3, 4, 5]) {
      cores.cut(1, id);
      cores.cut(2, id);
    }
    cores.changeMembers(1, remove(5));
    cores.stabilize();
    expect([1, 2, 3].map((id) => cores.members(id))).toEqual(['1 2 3 4 -5', '1 2 3 4 -5', '1 2 3 4 5']);
    cores.take(() => true);
    for (const id of [4, 5]) cores.tick(id, 1000);
    cores.win(3, [4, 5]);
    cores.stabilize([3, 4, 5]);
    for (const id of [3, 4, 5]) for (const other of [1, 2]) cores.mend(other, id);
    cores.pass(300);
    for (const id of [1, 2, 3, 4, 5]) expect(cores.members(id)).toBe('1 2 3 4 5');
    expect(cores.changeMembers(3, remove(4)).accepted).toBe(true);
    cores.pass(300);
    expect(cores.members(1)).toBe('1 2 3 5');
  });

  test('a restart finds it in the log, and in the state', () => {
    const cores = group(3, [4]);
    cores.changeMembers(1, add(4));
    cores.stabilize();
    cores.changeMembers(1, remove(3));
    cores.ready(1);
    cores.deliver(2);
    cores.ready(2);
    cores.persist(2);
    for (const id of [1, 2, 4]) cores.core(id).restart();
    expect(cores.members(2), 'on the disk, not committed').toBe('1 2 -3 4');
    expect(cores.members(1), 'was not written yet').toBe('1 2 3 4');
    expect(cores.members(4)).toBe('1 2 3 4');
  });

  test('says where a member is: moving it is one entry and no joint configuration', () => {
    const cores = group(3);
    const seen = configurationsOf(cores, 2);
    cores.changeMembers(1, { type: 'describe', id: 3, description: 'elsewhere' });
    cores.stabilize();
    expect(cores.raft(2).configuration.member(3)?.description).toBe('elsewhere');
    expect(seen).toEqual([]);
    expect(cores.raft(2).log.lastIndex).toBe(2);
  });
});

describe('changes', () => {
  test('are one at a time: the next is refused while one is not committed, or joint', () => {
    const cores = group(3, [4, 5]);
    cores.disconnect(4);
    cores.changeMembers(1, add(4));
    expect(cores.changeMembers(1, add(5))).toEqual({ accepted: false, reason: 'pending' });
    cores.stabilize();
    cores.changeMembers(1, remove(3));
    cores.ready(1);
    cores.persist(1);
    expect(cores.changeMembers(1, add(5))).toEqual({ accepted: false, reason: 'pending' });
    cores.stabilize();
    expect(cores.members(1)).toBe('1 2 (4)');
    expect(cores.changeMembers(1, add(5)).accepted).toBe(true);
  });

  test('are refused by who does not lead, and when they make no sense', () => {
    const cores = group(2);
    expect(cores.changeMembers(2, add(3))).toEqual({ accepted: false, reason: 'not-leader' });
    expect(cores.changeMembers(1, add(2))).toEqual({ accepted: false, reason: 'already' });
    expect(cores.changeMembers(1, remove(7))).toEqual({ accepted: false, reason: 'unknown' });
    expect(cores.changeMembers(1, { type: 'promote', id: 2 })).toEqual({
      accepted: false,
      reason: 'already',
    });
    cores.changeMembers(1, remove(2));
    cores.stabilize();
    expect(cores.changeMembers(1, remove(1))).toEqual({ accepted: false, reason: 'lastVoter' });
    expect(cores.raft(1).log.lastIndex).toBe(3);
  });

  test('wait until an entry of the own term is committed (the bug of single-server changes, 2015; pitfall 28)', () => {
    // S1 of four adds S5, and that reaches S5 only. S2 is elected by S3 and S4, removes S1, and commits that with S3. If
    // it could, S1 would then be elected by S4 and S5 (three of five, by its own configuration) and overwrite it.
    const cores = group(4, [5]);
    cores.cut(1, 5);
    cores.changeMembers(1, add(5));
    cores.stabilize();
    cores.mend(1, 5);
    for (const other of [2, 3, 4]) {
      cores.cut(1, other);
      cores.cut(other, 1);
    }
    cores.tick(1, 100);
    cores.stabilize([1, 5]);
    expect(cores.members(5)).toBe('1 2 3 4 +5');
    cores.take(() => true);
    for (const id of [3, 4]) cores.tick(id, 1000);
    cores.win(2, [3, 4]);
    expect(cores.changeMembers(2, remove(1))).toEqual({ accepted: false, reason: 'not-ready' });
    cores.disconnect(4);
    cores.stabilize([2, 3]);
    expect(cores.raft(3).log.lastTerm, '3 has the entry of the new term').toBe(2);
    expect(cores.changeMembers(2, remove(1))).toEqual({ accepted: false, reason: 'not-ready' });
    for (const other of [2, 3]) {
      cores.mend(4, other);
      cores.mend(other, 4);
    }
    cores.pass(200, [2, 3, 4]);
    // Now S4 has it too, and S1 cannot win its vote.
    expect(cores.changeMembers(2, remove(1)).accepted).toBe(true);
    cores.disconnect(4);
    cores.stabilize([2, 3]);
    cores.disconnect(2);
    cores.disconnect(3);
    for (const [a, b] of [
      [1, 4],
      [1, 5],
      [4, 5],
    ] as const) {
      cores.mend(a, b);
      cores.mend(b, a);
    }
    cores.take(() => true);
    cores.pass(6000, [1, 4, 5]);
    for (const id of [1, 4, 5]) expect(cores.raft(id).role).not.toBe('leader');
  });

  test('are refused while leadership is handed over, and it is not handed to who does not stay', () => {
    const cores = group(3, [4]);
    cores.disconnect(4);
    cores.changeMembers(1, add(4));
    cores.stabilize();
    cores.raft(1).transferLeadership(4);
    expect(cores.raft(1).leader!.transferTarget, 'a learner').toBe(0);
    cores.raft(1).transferLeadership(9);
    expect(cores.raft(1).leader!.transferTarget, 'a stranger').toBe(0);
    cores.raft(1).transferLeadership(1);
    expect(cores.raft(1).leader!.transferTarget, 'itself').toBe(0);
    cores.raft(1).transferLeadership(2);
    expect(cores.changeMembers(1, remove(3))).toEqual({ accepted: false, reason: 'transferring' });
    cores.disconnect(2);
    cores.pass(1100, [1, 3]);
    expect(cores.changeMembers(1, remove(3)).accepted).toBe(true);
    cores.raft(1).transferLeadership(3);
    expect(cores.raft(1).leader!.transferTarget, 'it is going').toBe(0);
  });
});
