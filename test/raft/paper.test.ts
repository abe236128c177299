/**
 * The paper, sentence by sentence: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm (Extended
 * Version)", sections 5.1 to 5.4. After the idea of etcd's raft_paper_test.go. Figure 7 is the transcript
 * probe-and-replicate, figure 8 is in pitfalls.test.ts.
 */
import { describe, expect, test } from 'vitest';
import type { Message } from '../../src/raft/messages.ts';
import { SimRandom } from '../sim/random.ts';
import { Cores, entriesOf, GROUP } from './cores.ts';

type Of<Type extends Message['type']> = Extract<Message, { type: Type }>;

const to2 = { group: GROUP, from: 1, to: 2 };

function appendEntries(fields: Partial<Of<'AppendEntries'>>): Of<'AppendEntries'> {
  const empty = { term: 1, prevLogIndex: 0, prevLogTerm: 0, entries: [], leaderCommit: 0 };
  return { type: 'AppendEntries', ...to2, ...empty, ...fields };
}

function requestVote(fields: Partial<Of<'RequestVote'>>): Of<'RequestVote'> {
  const empty = { term: 1, lastLogIndex: 0, lastLogTerm: 0, leadershipTransfer: false };
  return { type: 'RequestVote', ...to2, ...empty, ...fields };
}

/** Server 2 of three, with a log of these terms. */
function withLog(terms: number[], term = Math.max(0, ...terms)): Cores {
  const cores = new Cores();
  for (const id of [1, 2, 3]) {
    const entries = id === 2 ? entriesOf(...terms) : [];
    cores.add({ id, voters: [1, 2, 3], hardState: { term, votedFor: 0 }, entries });
  }
  return cores;
}

/** What server 2 answers, its disk included. */
function answer(cores: Cores, message: Message): Message[] {
  cores.take(() => true);
  cores.step(message);
  cores.ready(2);
  while (cores.persist(2));
  return cores.take(({ from }) => from === 2);
}

describe('§5.1 Raft basics', () => {
  test('"If one server\'s current term is smaller than the other\'s, then it updates its current term to the larger value"', () => {
    for (const message of [appendEntries({ term: 5 }), requestVote({ term: 5 })]) {
      const cores = withLog([], 2);
      cores.step(message);
      expect(cores.raft(2).term).toBe(5);
    }
  });

  test('"If a candidate or leader discovers that its term is out of date, it immediately reverts to follower state"', () => {
    const leader = Cores.of(3);
    leader.elect(2);
    leader.step(appendEntries({ term: 2 }));
    expect(leader.raft(2)).toMatchObject({ role: 'follower', term: 2, leaderId: 1 });
    const candidate = Cores.of(3);
    candidate.step({ type: 'TimeoutNow', ...to2, term: 0 });
    expect(candidate.raft(2).role).toBe('candidate');
    candidate.step({ type: 'RequestVoteResponse', ...to2, term: 9, voteGranted: false });
    expect(candidate.raft(2)).toMatchObject({ role: 'follower', term: 9 });
  });

  test('"If a server receives a request with a stale term number, it rejects the request"', () => {
    const cores = withLog([1, 1], 3);
    const entries = entriesOf(1, 1, 2);
    expect(answer(cores, appendEntries({ term: 2, entries }))).toMatchObject([{ success: false, term: 3 }]);
    expect(cores.raft(2).log.lastIndex).toBe(2);
    expect(answer(cores, requestVote({ term: 2, lastLogIndex: 9, lastLogTerm: 2 }))).toMatchObject([
      { voteGranted: false, term: 3 },
    ]);
  });
});

describe('§5.2 Leader election', () => {
  test('"When servers start up, they begin as followers"', () => {
    expect(Cores.of(3).raft(1)).toMatchObject({ role: 'follower', term: 0, leaderId: 0 });
  });

  test('"A server remains in follower state as long as it receives valid RPCs from a leader"', () => {
    const cores = Cores.of(3);
    cores.elect(1);
    for (let i = 0; i < 50; i++) {
      cores.tick(2, 900);
      expect(cores.raft(2).role).toBe('follower');
      cores.tick(1, 100);
      cores.stabilize();
    }
  });

  test('"Leaders send periodic heartbeats to all followers in order to maintain their authority"', () => {
    const cores = Cores.of(5);
    cores.elect(1);
    for (let i = 0; i < 3; i++) {
      cores.tick(1, 100);
      cores.ready(1);
      expect(cores.take(({ type }) => type === 'Heartbeat').map(({ to }) => to)).toEqual([2, 3, 4, 5]);
    }
  });

  test('"If a follower receives no communication over a period of time called the election timeout, [it] begins an election"', () => {
    const cores = Cores.of(3);
    cores.tick(1, 999);
    expect(cores.raft(1).role).toBe('follower');
    cores.tick(1, 1);
    expect(cores.raft(1).role).toBe('preCandidate');
  });

  test('"To begin an election, a follower increments its current term and transitions to candidate state. It then votes for itself"', () => {
    const cores = withLog([1, 1, 2]);
    cores.step({ type: 'TimeoutNow', ...to2, term: 2 });
    expect(cores.raft(2)).toMatchObject({ role: 'candidate', term: 3, votedFor: 2 });
    cores.ready(2);
    while (cores.persist(2));
    const asked = cores.take(({ type }) => type === 'RequestVote');
    expect(asked).toMatchObject([
      { to: 1, term: 3, lastLogIndex: 3, lastLogTerm: 2 },
      { to: 3, term: 3, lastLogIndex: 3, lastLogTerm: 2 },
    ]);
  });

  test('"A candidate wins an election if it receives votes from a majority of the servers in the full cluster for the same term"', () => {
    for (const [servers, votes, outcome] of [
      [1, 0, 'leader'],
      [3, 1, 'leader'],
      [3, 0, 'candidate'],
      [5, 2, 'leader'],
      [5, 1, 'candidate'],
      [7, 3, 'leader'],
      [7, 2, 'candidate'],
    ] as const) {
      const cores = Cores.of(servers);
      cores.campaign(1);
      for (let i = 0; i < 3; i++) {
        cores.ready(1);
        while (cores.persist(1));
        for (const message of cores.take(({ type }) => type === 'PreVote')) {
          const reply = { group: GROUP, from: message.to, to: 1, term: 1, voteGranted: true };
          cores.step({ type: 'PreVoteResponse', ...reply });
        }
      }
      for (let voter = 2; voter < 2 + votes; voter++) {
        const vote: Message = {
          type: 'RequestVoteResponse',
          group: GROUP,
          from: voter,
          to: 1,
          term: 1,
          voteGranted: true,
        };
        cores.step(vote);
        // A vote that comes twice is one vote.
        cores.step(vote);
      }
      expect(cores.raft(1).role, `${votes} votes of ${servers}`).toBe(outcome);
    }
  });

  test('"Each server will vote for at most one candidate in a given term, on a first-come-first-served basis"', () => {
    const cores = withLog([]);
    expect(answer(cores, requestVote({ from: 1 }))).toMatchObject([{ to: 1, voteGranted: true }]);
    expect(answer(cores, requestVote({ from: 3 }))).toMatchObject([{ to: 3, voteGranted: false }]);
    expect(answer(cores, requestVote({ from: 1 }))).toMatchObject([{ to: 1, voteGranted: true }]);
    expect(answer(cores, requestVote({ from: 3, term: 2 }))).toMatchObject([{ to: 3, voteGranted: true }]);
  });

  test('"If the leader\'s term is at least as large as the candidate\'s current term, then the candidate recognizes the leader as legitimate"', () => {
    for (const term of [1, 2]) {
      const cores = Cores.of(3);
      cores.step({ type: 'TimeoutNow', ...to2, term: 0 });
      expect(cores.raft(2)).toMatchObject({ role: 'candidate', term: 1 });
      cores.step(appendEntries({ term }));
      expect(cores.raft(2)).toMatchObject({ role: 'follower', term, leaderId: 1 });
    }
  });

  test('"If the term in the RPC is smaller than the candidate\'s current term, then the candidate rejects the RPC and continues"', () => {
    const cores = withLog([], 4);
    cores.step({ type: 'TimeoutNow', ...to2, term: 4 });
    expect(answer(cores, appendEntries({ term: 4 })).at(-1)).toMatchObject({ success: false, term: 5 });
    expect(cores.raft(2).role).toBe('candidate');
  });

  test('"Election timeouts are chosen randomly from a fixed interval": between one and two timeouts, all of it', () => {
    const seen: number[] = [];
    for (let seed = 1; seed <= 500; seed++) {
      seen.push(Cores.of(3, { random: new SimRandom(seed) }).raft(1).deadlineMs);
    }
    expect(Math.min(...seen)).toBeGreaterThanOrEqual(1000);
    expect(Math.max(...seen)).toBeLessThan(2000);
    for (let from = 1000; from < 2000; from += 100) {
      expect(seen.filter((ms) => ms >= from && ms < from + 100).length).toBeGreaterThan(20);
    }
  });

  test('"Each candidate restarts its randomized election timeout at the start of an election": so conflicts are rare', () => {
    let split = 0;
    for (let seed = 1; seed <= 300; seed++) {
      const dues = [1, 2, 3].map(
        (id) => Cores.of(3, { random: new SimRandom(seed * 10 + id) }).raft(1).deadlineMs,
      );
      dues.sort((a, b) => a - b);
      // Two who ask within ten milliseconds of each other are in each other's way.
      if (dues[1]! - dues[0]! < 10) split++;
    }
    expect(split / 300).toBeLessThan(0.1);
  });
});

describe('§5.3 Log replication', () => {
  test('"The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in parallel to each of the other servers"', () => {
    const cores = Cores.of(3);
    cores.elect(1);
    cores.propose(1, 'x');
    cores.ready(1);
    // In parallel with its own disk, too.
    expect(cores.core(1).saves.length).toBe(1);
    expect(cores.take(() => true)).toMatchObject([
      { type: 'AppendEntries', to: 2, prevLogIndex: 1, prevLogTerm: 1, entries: [{ index: 2, term: 1 }] },
      { type: 'AppendEntries', to: 3, prevLogIndex: 1, prevLogTerm: 1, entries: [{ index: 2, term: 1 }] },
    ]);
  });

  test('"A log entry is committed once the leader that created the entry has replicated it on a majority of the servers"', () => {
    for (const [servers, acknowledged, own, committed] of [
      [3, 1, true, true],
      [3, 0, true, false],
      [3, 1, false, false],
      [3, 2, false, true],
      [5, 2, true, true],
      [5, 1, true, false],
      [5, 2, false, false],
    ] as const) {
      const cores = Cores.of(servers);
      cores.elect(1);
      cores.propose(1, 'x');
      cores.ready(1);
      if (own) cores.persist(1);
      cores.take(() => true);
      for (let follower = 2; follower < 2 + acknowledged; follower++) {
        const agree = { prevLogIndex: 1, matchIndex: 2, conflictIndex: 0, conflictTerm: 0 };
        const envelope = { group: GROUP, from: follower, to: 1, term: 1 };
        cores.step({ type: 'AppendEntriesResponse', ...envelope, success: true, ...agree });
      }
      const { commitIndex } = cores.raft(1).log;
      expect(commitIndex, `${acknowledged} of ${servers}, own disk ${own}`).toBe(committed ? 2 : 1);
    }
  });

  test('"This also commits all preceding entries in the leader\'s log, including entries created by previous leaders"', () => {
    for (const terms of [[], [2], [1, 2], [1]]) {
      const cores = new Cores();
      for (const id of [1, 2, 3]) {
        const entries = id === 1 ? entriesOf(...terms) : [];
        cores.add({ id, voters: [1, 2, 3], hardState: { term: 2, votedFor: 0 }, entries });
      }
      cores.elect(1);
      expect(cores.core(3).applied.map(({ term }) => term)).toEqual([...terms, 3]);
    }
  });

  test('"Once a follower learns that a log entry is committed, it applies the entry to its local state machine (in log order)"', () => {
    const cores = withLog([]);
    cores.step(appendEntries({ entries: entriesOf(1, 1, 1), leaderCommit: 2 }));
    expect(cores.raft(2).takeCommitted(), 'not before its own disk has it').toEqual([]);
    cores.ready(2);
    cores.persist(2);
    cores.apply(2);
    expect(cores.core(2).applied.map(({ index }) => index)).toEqual([1, 2]);
  });

  test('"If the follower does not find an entry in its log with the same index and term, then it refuses the new entries"', () => {
    const cores = withLog([1, 2], 2);
    for (const [prevLogIndex, prevLogTerm, success] of [
      [0, 0, true],
      [1, 1, true],
      [2, 2, true],
      [1, 2, false],
      [2, 1, false],
      [3, 3, false],
    ] as const) {
      const answers = answer(cores, appendEntries({ term: 2, prevLogIndex, prevLogTerm }));
      expect(answers, `${prevLogIndex}@${prevLogTerm}`).toMatchObject([{ success, prevLogIndex }]);
    }
  });

  test('"The leader handles inconsistencies by forcing the followers\' logs to duplicate its own"', () => {
    for (const [ours, theirs] of [
      [
        [1, 1, 3],
        [1, 1, 2, 2, 2],
      ],
      [[1, 3], [1]],
      [[3], [2]],
      [
        [1, 1, 1],
        [1, 1, 2, 2],
      ],
      [[1, 2, 3, 4], []],
      [
        [1, 1, 4, 4],
        [1, 1, 1, 1, 1, 1, 2, 3],
      ],
    ] as const) {
      const cores = new Cores();
      const logs = [ours, theirs, ours];
      for (const [i, log] of logs.entries()) {
        cores.add({
          id: i + 1,
          voters: [1, 2, 3],
          hardState: { term: 4, votedFor: 0 },
          entries: entriesOf(...log),
        });
      }
      cores.campaign(1);
      cores.stabilize([1, 3]);
      cores.stabilize();
      expect(cores.core(2).stable.map(({ term }) => term)).toEqual([...ours, 5]);
      expect(cores.core(2).applied.length).toBe(ours.length + 1);
    }
  });

  test('"A leader never overwrites or deletes entries in its own log" (Leader Append-Only)', () => {
    const cores = Cores.of(3);
    cores.elect(1);
    cores.propose(1, 'x');
    const agree = { prevLogIndex: 1, matchIndex: 0, conflictIndex: 0, conflictTerm: 0 };
    const envelope = { group: GROUP, from: 2, to: 1, term: 1 };
    cores.step({ type: 'AppendEntriesResponse', ...envelope, success: false, ...agree });
    expect(cores.raft(1).log.lastIndex).toBe(2);
  });
});

describe('§5.4.1 Election restriction', () => {
  test('"The voter denies its vote if its own log is more up-to-date than that of the candidate"', () => {
    for (const [terms, lastLogTerm, lastLogIndex, voteGranted] of [
      // "If the logs have last entries with different terms, then the log with the later term is more up-to-date."
      [[1], 2, 1, true],
      [[1, 1], 2, 1, true],
      [[1, 1, 1, 1], 2, 1, true],
      [[2], 1, 1, false],
      [[2], 1, 5, false],
      // "If the logs end with the same term, then whichever log is longer is more up-to-date."
      [[1], 1, 1, true],
      [[1], 1, 2, true],
      [[1, 1], 1, 1, false],
      [[], 0, 0, true],
    ] as const) {
      const cores = withLog([...terms], 2);
      const answers = answer(cores, requestVote({ term: 3, lastLogIndex, lastLogTerm }));
      expect(answers, `${terms} and ${lastLogIndex}@${lastLogTerm}`).toMatchObject([{ voteGranted }]);
      const before = withLog([...terms], 2);
      const ask: Message = { type: 'PreVote', ...to2, term: 3, lastLogIndex, lastLogTerm };
      expect(answer(before, ask)).toMatchObject([{ type: 'PreVoteResponse', voteGranted }]);
      expect(before.raft(2), 'a pre-vote changes nothing').toMatchObject({ term: 2, votedFor: 0 });
    }
  });
});

describe('§5.4.2 Committing entries from previous terms', () => {
  test('"Only log entries from the leader\'s current term are committed by counting replicas"', () => {
    const cores = withLog([1, 2]);
    cores.core(1).stable = entriesOf(1, 2);
    cores.core(1).restart();
    cores.win(2, [1]);
    cores.ready(2);
    cores.take(() => true);
    const acknowledge = (matchIndex: number) => {
      const agree = { prevLogIndex: 0, conflictIndex: 0, conflictTerm: 0 };
      const envelope = { group: GROUP, from: 1, to: 2, term: 3 };
      cores.step({ type: 'AppendEntriesResponse', ...envelope, success: true, matchIndex, ...agree });
    };
    cores.persist(2);
    for (const [matchIndex, commitIndex] of [
      [1, 0],
      [2, 0],
      [3, 3],
    ] as const) {
      acknowledge(matchIndex);
      expect(cores.raft(2).log.commitIndex, `up to ${matchIndex}`).toBe(commitIndex);
    }
  });
});
