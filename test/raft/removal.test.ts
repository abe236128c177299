/**
 * Members that go, the leader among them, and servers without a vote: section 6 of the paper and chapter 4 of Ongaro's
 * thesis, with the mistakes that others have made (pitfalls 12, 29, 30).
 */
import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/lib/errors.ts';
import type { Message } from '../../src/raft/messages.ts';
import { Cores, entriesOf, GROUP } from './cores.ts';
import { add, configurationsOf, group, learnerAlone, remove } from './groups.ts';

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

  test('is needed until C_new is committed: crashed with the only copy, it "should still start new elections" (thesis 4.2.2)', () => {
    const cores = group(2);
    cores.changeMembers(1, remove(1));
    for (const id of [1, 2]) {
      cores.ready(id);
      cores.persist(id);
      cores.deliver(3 - id);
    }
    cores.ready(2);
    cores.persist(2);
    cores.deliver(1);
    cores.ready(1);
    cores.persist(1);
    expect(cores.members(1)).toBe('2');
    cores.take(() => true);
    cores.core(1).restart();
    expect(cores.members(2), 'it cannot win without 1, whose log is longer').toBe('-1 2');
    cores.campaign(2);
    cores.stabilize();
    expect(cores.raft(2).role).toBe('follower');
    cores.campaign(1);
    cores.stabilize();
    expect(cores.members(2)).toBe('2');
    expect(cores.raft(2).role).toBe('leader');
    expect(cores.raft(1).role).toBe('follower');
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
