/**
 * Changes of the members, sentence by sentence: section 6 of the paper and chapter 4 of Ongaro's thesis, with the
 * mistakes that others have made (pitfalls 12, 28, 29, 30). Whole courses are transcripts: confchange-*.txt.
 */
import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/lib/errors.ts';
import { CatchUp } from '../../src/raft/catch-up.ts';
import type { Message } from '../../src/raft/messages.ts';
import { Cores, entriesOf, GROUP } from './cores.ts';

const add = (id: number) => ({ type: 'add', id, description: `s${id}` }) as const;
const remove = (id: number) => ({ type: 'remove', id }) as const;

/** Servers 1 to `count`, led by 1, and newcomers that know of nobody. */
function group(count: number, newcomers: readonly number[] = []): Cores {
  const cores = Cores.of(count);
  for (const id of newcomers) cores.add({ id, voters: [] });
  cores.elect(1);
  return cores;
}

/** Every configuration that comes into force at `id` from now on. */
function configurationsOf(cores: Cores, id: number): string[] {
  const seen: string[] = [];
  const before = cores.tell;
  cores.tell = (line) => {
    before(line);
    const found = new RegExp(`^${id} has the members (.*)$`).exec(line);
    if (found !== null) seen.push(found[1]!);
  };
  return seen;
}

/** 1 and 2 have committed that 3 is a learner; 3 knows nothing of it, and 1 and 3 are all that is left. */
function learnerAlone(): Cores {
  const cores = group(2, [3]);
  cores.disconnect(3);
  cores.changeMembers(1, add(3));
  cores.stabilize();
  expect(cores.members(1)).toBe('1 2 (3)');
  cores.connect(3);
  cores.disconnect(2);
  return cores;
}

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

describe('a removed server', () => {
  test('gets no more entries, and counts no more', () => {
    const cores = group(3);
    cores.changeMembers(1, remove(3));
    cores.stabilize();
    expect(cores.members(1)).toBe('1 2');
    cores.take(() => true);
    cores.disconnect(3);
    cores.propose(1, 'a');
    cores.tick(1, 100);
    cores.ready(1);
    expect(cores.transit.map(({ to }) => to)).toEqual([2, 2]);
    cores.disconnect(2);
    cores.stabilize();
    expect(cores.raft(1).log.commitIndex, 'it takes both of two').toBe(3);
    expect(cores.raft(1).leader!.progressOf(3)).toBeUndefined();
  });

  test('need not be there (pitfall 29)', () => {
    const cores = group(3);
    cores.disconnect(3);
    cores.changeMembers(1, remove(3));
    cores.pass(300, [1, 2]);
    expect(cores.members(2)).toBe('1 2');
    cores.pass(300, [1, 2]);
    expect(cores.raft(1).allMatchedIndex, 'nobody waits for it').toBe(cores.raft(1).log.lastIndex);
  });

  test('of two leaves one, which goes on alone (pitfall 29)', () => {
    const cores = group(2);
    cores.changeMembers(1, remove(2));
    cores.stabilize();
    cores.disconnect(2);
    cores.propose(1, 'a');
    cores.pass(2500, [1]);
    expect(cores.raft(1)).toMatchObject({ role: 'leader' });
    expect(cores.raft(1).log.commitIndex).toBe(4);
  });

  test('of two must agree: dead, it cannot be removed, and nothing is half done', () => {
    const cores = group(2);
    cores.disconnect(2);
    cores.changeMembers(1, remove(2));
    cores.pass(5000, [1]);
    expect(cores.raft(1).role).not.toBe('leader');
    expect(cores.raft(1).log.commitIndex).toBe(1);
    cores.connect(2);
    cores.pass(5000);
    expect([cores.members(1), cores.raft(1).role]).toEqual(['1', 'leader']);
  });

  test('cannot disturb: "servers disregard RequestVote RPCs when they believe a current leader exists" (§6, pitfall 29)', () => {
    const cores = group(3);
    cores.changeMembers(1, remove(3));
    cores.stabilize();
    expect(cores.members(3), 'nobody has told it').toBe('1 2 -3');
    for (let i = 0; i < 5; i++) {
      for (const id of [1, 2]) cores.tick(id, 100);
      cores.stabilize([1, 2]);
      cores.campaign(3);
      cores.stabilize();
      for (const to of [1, 2]) {
        const { term } = cores.raft(to);
        cores.step({
          ...{ type: 'RequestVote', group: GROUP, from: 3, to, term: term + 5 },
          ...{ lastLogIndex: 99, lastLogTerm: term, leadershipTransfer: false },
        });
      }
    }
    expect(cores.raft(1)).toMatchObject({ role: 'leader', term: 1 });
    expect(cores.raft(2)).toMatchObject({ leaderId: 1, term: 1 });
  });

  test('wins no election when the leader is gone', () => {
    const cores = group(3);
    cores.changeMembers(1, remove(3));
    cores.stabilize();
    cores.disconnect(1);
    cores.tick(2, 1000);
    cores.pass(4000, [2, 3]);
    expect(cores.raft(3).role).not.toBe('leader');
    cores.connect(1);
    cores.disconnect(3);
    cores.pass(3000, [1, 2]);
    expect([1, 2].filter((id) => cores.raft(id).role === 'leader')).toHaveLength(1);
  });
});

describe('a leader that is removed', () => {
  test('"steps down once it has committed the C_new log entry", and nobody waits for a timeout (§6)', () => {
    const cores = group(3);
    const seen = configurationsOf(cores, 1);
    cores.changeMembers(1, remove(1));
    cores.stabilize();
    expect(seen).toEqual(['-1 2 3', '2 3']);
    expect(cores.raft(1)).toMatchObject({ role: 'follower' });
    const leaders = [2, 3].filter((id) => cores.raft(id).role === 'leader');
    expect(leaders).toHaveLength(1);
    expect(cores.propose(leaders[0]!, 'a').accepted).toBe(true);
    cores.stabilize();
    expect(cores.raft(5 - leaders[0]!).log.commitIndex).toBe(5);
  });

  test('"manages a cluster that does not include itself; it replicates log entries but does not count itself in majorities" (§6)', () => {
    const cores = group(3);
    cores.changeMembers(1, remove(1));
    for (let i = 0; i < 10 && cores.members(1) !== '2 3'; i++) {
      cores.ready(1);
      cores.persist(1);
      for (const id of [2, 3]) {
        cores.deliver(id);
        cores.ready(id);
        cores.persist(id);
      }
      cores.deliver(1);
      cores.ready(1);
    }
    expect(cores.members(1)).toBe('2 3');
    const { index } = cores.raft(1).log.configuration;
    cores.disconnect(3);
    cores.persist(1);
    cores.stabilize([1, 2]);
    expect(cores.raft(1).role).toBe('leader');
    expect(cores.raft(2).log.stableIndex).toBe(index);
    expect(cores.raft(1).log.commitIndex, '1 and 2 have it, and 1 does not count').toBe(index - 1);
    cores.connect(3);
    cores.pass(200);
    expect(cores.raft(1).role).toBe('follower');
    expect([2, 3].map((id) => cores.raft(id).role)).toContain('leader');
  });

  test('of two leaves the other, which leads at once (pitfall 29)', () => {
    const cores = group(2);
    cores.changeMembers(1, remove(1));
    cores.stabilize();
    expect(cores.members(2)).toBe('2');
    expect(cores.raft(2).role).toBe('leader');
    cores.disconnect(1);
    cores.propose(2, 'a');
    cores.stabilize();
    expect(cores.raft(2).log.commitIndex).toBe(cores.raft(2).log.lastIndex);
  });

  test('asks for no election again', () => {
    const cores = group(3);
    cores.changeMembers(1, remove(1));
    cores.stabilize();
    const term = cores.raft(1).term;
    cores.take(() => true);
    cores.tick(1, 10_000);
    cores.ready(1);
    expect(cores.transit).toEqual([]);
    expect(cores.raft(1)).toMatchObject({ role: 'follower', term });
  });
});

describe('a server without a vote', () => {
  const timeoutNow = (to: number): Message => ({ type: 'TimeoutNow', group: GROUP, from: 1, to, term: 1 });

  test('asks for no election: a learner, or who is in no configuration', () => {
    const cores = learnerAlone();
    const entries = cores.core(1).stable;
    cores.step({
      ...{ type: 'AppendEntries', group: GROUP, from: 1, to: 3, term: 1 },
      ...{ prevLogIndex: 0, prevLogTerm: 0, entries, leaderCommit: entries.length },
    });
    expect(cores.members(3)).toBe('1 2 (3)');
    cores.add({ id: 4, voters: [] });
    cores.add({ id: 5, voters: [1, 2] });
    cores.take(() => true);
    for (const id of [3, 4, 5]) {
      cores.tick(id, 10_000);
      cores.step(timeoutNow(id));
      expect(cores.raft(id).role).toBe('follower');
      cores.stabilize([id]);
    }
    expect(cores.transit.filter(({ type }) => type.endsWith('Vote'))).toEqual([]);
  });

  test('gives its vote all the same: it may have been promoted and not know yet (pitfall 30)', () => {
    const cores = group(3, [4]);
    const request: Message = {
      ...{ type: 'RequestVote', group: GROUP, from: 2, to: 4, term: 2 },
      ...{ lastLogIndex: 1, lastLogTerm: 1, leadershipTransfer: false },
    };
    cores.step(request);
    cores.stabilize([4]);
    expect(cores.transit).toMatchObject([{ type: 'RequestVoteResponse', from: 4, voteGranted: true }]);
  });

  test('of four voters one is not up, one is promoted and does not know: with its vote there is a leader (pitfall 30)', () => {
    const cores = group(3, [4]);
    cores.cut(1, 4);
    cores.changeMembers(1, add(4));
    cores.stabilize();
    cores.mend(1, 4);
    cores.tick(1, 100);
    for (let i = 0; i < 20 && cores.members(1) !== '1 2 3 +4'; i++) {
      cores.deliver(4);
      cores.ready(4);
      cores.persist(4);
      cores.deliver(1);
      cores.ready(1);
    }
    cores.cut(1, 4);
    cores.pass(300, [1, 2, 3]);
    expect(cores.members(2)).toBe('1 2 3 4');
    expect(cores.members(4)).toBe('1 2 3 (4)');
    cores.disconnect(1);
    cores.take(() => true);
    cores.tick(3, 1000);
    cores.tick(4, 1000);
    cores.win(2, [3, 4]);
    cores.stabilize([2, 3, 4]);
    expect(cores.members(4)).toBe('1 2 3 4');
  });

  test('counts for no vote: answers of strangers and learners are not counted', () => {
    const cores = Cores.of(3);
    cores.step({ type: 'TimeoutNow', group: GROUP, from: 2, to: 1, term: 0 });
    cores.stabilize([1]);
    expect(cores.raft(1)).toMatchObject({ role: 'candidate', term: 1 });
    for (const from of [7, 8, 9]) {
      cores.step({ type: 'RequestVoteResponse', group: GROUP, from, to: 1, term: 1, voteGranted: true });
    }
    expect(cores.raft(1).role).toBe('candidate');
    cores.step({ type: 'RequestVoteResponse', group: GROUP, from: 3, to: 1, term: 1, voteGranted: true });
    expect(cores.raft(1).role).toBe('leader');
  });

  test('counts for no commit, no read, and not as company of a leader', () => {
    const cores = learnerAlone();
    cores.cut(3, 1);
    cores.pass(100, [1, 3]);
    cores.mend(3, 1);
    cores.propose(1, 'a');
    cores.raft(1).read();
    const { commitIndex } = cores.raft(1).log;
    cores.pass(500, [1, 3]);
    expect(cores.raft(3).log.lastIndex).toBe(cores.raft(1).log.lastIndex);
    expect(cores.raft(1).log.commitIndex).toBe(commitIndex);
    expect(cores.core(1).reads).toEqual([]);
    cores.pass(700, [1, 3]);
    expect(cores.raft(1).role).not.toBe('leader');
  });
});

describe('what all members have', () => {
  test('is that of the configuration in force: a member that is behind holds it back until it is removed', () => {
    const cores = group(3);
    cores.disconnect(3);
    for (const text of ['a', 'b', 'c']) cores.propose(1, text);
    cores.pass(300, [1, 2]);
    expect([1, 2].map((id) => cores.raft(id).allMatchedIndex)).toEqual([1, 1]);
    cores.changeMembers(1, remove(3));
    cores.pass(300, [1, 2]);
    const { lastIndex } = cores.raft(1).log;
    expect([1, 2].map((id) => cores.raft(id).allMatchedIndex)).toEqual([lastIndex, lastIndex]);
  });

  test('is passed on to the next leader, which tells a member that has lost its log (pitfall 12)', () => {
    const cores = group(3, [4]);
    cores.changeMembers(1, add(4));
    cores.pass(300);
    // 4 keeps the configuration, and loses what came after it.
    for (const text of ['a', 'b', 'c']) cores.propose(1, text);
    cores.pass(300);
    const four = cores.core(4);
    four.stable.length = four.configuration.index;
    four.applied.length = four.configuration.index;
    four.restart();
    cores.disconnect(1);
    for (const id of [3, 4]) cores.tick(id, 1000);
    cores.win(2, [3, 4]);
    expect(() => cores.pass(500, [2, 3, 4])).toThrow(CorruptionError);
  });
});

test('entries of an old log never come back: a server that was a member long ago asks for votes in vain', () => {
  const cores = new Cores();
  for (const id of [1, 2])
    cores.add({ id, voters: [1, 2], hardState: { term: 5, votedFor: 0 }, entries: entriesOf(1, 4, 5) });
  cores.add({
    id: 3,
    voters: [1, 2, 3],
    hardState: { term: 5, votedFor: 0 },
    entries: entriesOf(1, 2, 2, 2, 2),
  });
  cores.campaign(3);
  cores.stabilize();
  expect(cores.raft(3)).toMatchObject({ term: 5 });
  expect(cores.raft(3).role).not.toBe('leader');
});
