/**
 * Mistakes that other implementations have made, a test each, with where they were seen. Some need a cluster in virtual
 * time, most only bare cores. Others are transcripts or tests elsewhere:
 *
 *   reads before the no-op, late answers of a round, reads of a deposed leader     transcripts/read-index-*.txt
 *   the append ABA race                                                            transcripts/append-aba-race.txt
 *   pre-vote deadlocks, one-way partitions, a window that was lost                 transcripts
 *   a vote torn from its term, a failing disk                                      wal.test.ts
 */
import { describe, expect, test } from 'vitest';
import { CorruptionError } from '../../src/lib/errors.ts';
import type { Message } from '../../src/raft/messages.ts';
import { Cluster } from '../sim/cluster.ts';
import { SimRandom } from '../sim/random.ts';
import { Cores, entriesOf, GROUP } from './cores.ts';

type Of<Type extends Message['type']> = Extract<Message, { type: Type }>;

function append(fields: Partial<Of<'AppendEntries'>>): Of<'AppendEntries'> {
  return {
    ...{ type: 'AppendEntries', group: GROUP, from: 1, to: 2, term: 1 },
    ...{ prevLogIndex: 0, prevLogTerm: 0, entries: [], leaderCommit: 0 },
    ...fields,
  };
}

const terms = (cores: Cores, id: number) => {
  const { log } = cores.raft(id);
  return Array.from({ length: log.lastIndex }, (_, i) => log.termAt(i + 1));
};

describe('the log', () => {
  test('1: a stale AppendEntries shortens no log (willemt/raft issue 37)', () => {
    const cores = Cores.of(3);
    const entries = entriesOf(1, 1, 1, 1);
    cores.step(append({ entries }));
    cores.step(append({ entries: entries.slice(0, 2) }));
    expect(terms(cores, 2)).toEqual([1, 1, 1, 1]);
    cores.step(append({ prevLogIndex: 1, prevLogTerm: 1, entries: [] }));
    expect(terms(cores, 2)).toEqual([1, 1, 1, 1]);
  });

  test('2: a follower commits up to the last entry that the message proves, not up to its own last (scylladb issue 9965)', () => {
    const cores = Cores.of(3);
    // Entries 2 and 3 are of a leader that is gone, and may be replaced.
    cores.step(append({ from: 3, entries: entriesOf(1, 1, 1) }));
    cores.step(append({ term: 2, prevLogIndex: 1, prevLogTerm: 1, leaderCommit: 3 }));
    expect(cores.raft(2).log.commitIndex).toBe(1);
  });

  test('3: a heartbeat tells a follower of no more than it is known to have (etcd issue 1366)', () => {
    const cores = Cores.of(3);
    cores.elect(1);
    cores.cut(1, 3);
    cores.propose(1, 'a');
    cores.stabilize([1, 2]);
    expect(cores.raft(1).log.commitIndex).toBe(2);
    cores.take(() => true);
    cores.tick(1, 100);
    cores.ready(1);
    const commits = cores.transit.map((m) => m.type === 'Heartbeat' && [m.to, m.leaderCommit]);
    expect(commits).toEqual([
      [2, 2],
      [3, 1],
    ]);
  });

  test('4: an acknowledgement says what the request proved, not where the log ends (RATIS-2605)', () => {
    const cores = Cores.of(3);
    // The tail of another leader: that it is there says nothing about the leader's own.
    cores.step(append({ from: 3, entries: entriesOf(1, 1, 1, 1) }));
    cores.stabilize([2]);
    cores.take(() => true);
    cores.step(append({ term: 2, entries: entriesOf(1, 1) }));
    cores.stabilize([2]);
    expect(cores.transit).toMatchObject([{ type: 'AppendEntriesResponse', success: true, matchIndex: 2 }]);
  });

  test('5: match, next and commit never go back, however answers are doubled and reordered (raft-rs, "next < match")', () => {
    for (let seed = 1; seed <= 50; seed++) {
      const random = new SimRandom(seed);
      const cores = Cores.of(3, { limits: { inflightMessagesMax: 3 } });
      cores.elect(1);
      const seen = { match: 0, commit: 0 };
      for (let step = 0; step < 150; step++) {
        if (random.chance(0.3)) cores.propose(1, 'x');
        if (random.chance(0.1)) cores.raft(1).unreachable(2);
        if (random.chance(0.2)) cores.tick(1, 30);
        for (const id of [1, 2, 3]) {
          cores.ready(id);
          if (random.chance(0.7)) cores.persist(id);
          cores.apply(id);
        }
        for (let i = 0; i < 4 && cores.transit.length > 0; i++) {
          const message = random.pick(cores.transit);
          if (random.chance(0.7)) cores.take((other) => other === message);
          if (random.chance(0.9)) cores.step(message);
        }
        if (cores.raft(1).role !== 'leader') break;
        const progress = cores.raft(1).leader!.progressOf(2)!;
        const { commitIndex } = cores.raft(1).log;
        expect(progress.matchIndex).toBeGreaterThanOrEqual(seen.match);
        expect(progress.nextIndex).toBeGreaterThan(progress.matchIndex);
        expect(commitIndex).toBeGreaterThanOrEqual(seen.commit);
        expect(cores.core(2).stable.length).toBeGreaterThanOrEqual(progress.matchIndex);
        seen.match = progress.matchIndex;
        seen.commit = commitIndex;
      }
    }
  });

  test('6: a refusal that comes late, after the follower has caught up, sends nobody back (openraft issue 1500)', () => {
    const cores = Cores.of(3);
    cores.elect(1);
    cores.propose(1, 'a');
    cores.stabilize();
    const late: Message = {
      ...{ type: 'AppendEntriesResponse', group: GROUP, from: 2, to: 1, term: 1, success: false },
      ...{ prevLogIndex: 1, matchIndex: 0, conflictIndex: 0, conflictTerm: 0 },
    };
    cores.step(late);
    expect(cores.raft(1).leader!.progressOf(2)).toMatchObject({
      state: 'replicate',
      matchIndex: 2,
      nextIndex: 3,
    });
  });

  test('7: an entry of an older term is not committed by counting, only with one of the own term (figure 8)', () => {
    // (c) of figure 8: S1 leads in term 4. Entry 2 of term 2 is on S1, S2 and, in a moment, on S3, and may still be
    // replaced by a server with an entry of term 3. One entry fits into a message, so that the moment can be seen.
    const cores = new Cores();
    for (const id of [1, 2, 3]) {
      const entries = entriesOf(...(id === 3 ? [1] : [1, 2]));
      cores.add({
        id,
        voters: [1, 2, 3],
        hardState: { term: 3, votedFor: 0 },
        entries,
        limits: { appendBytesMax: 40 },
      });
    }
    cores.campaign(1);
    for (let i = 0; i < 30 && cores.raft(1).leader?.progressOf(3)?.matchIndex !== 2; i++) {
      for (const id of [1, 3]) {
        cores.ready(id);
        while (cores.persist(id));
      }
      for (const id of [1, 3]) {
        const next = cores.transit.find(({ to, from }) => to === id && from !== 2);
        if (next !== undefined) cores.deliver(id, (other) => other === next);
      }
    }
    expect(cores.raft(1).leader!.progressOf(3)!.matchIndex, 'two of three have entry 2').toBe(2);
    expect(cores.raft(1).log.commitIndex).toBe(0);
    cores.stabilize([1, 3]);
    expect(cores.raft(1).log.commitIndex).toBe(3);
  });

  test('22: a divergent tail of 100,000 entries costs a round per term, not per entry', () => {
    const cores = new Cores();
    const common = [1, 1];
    const ours = [...common, ...Array.from({ length: 100_000 }, (_, i) => (i < 50_000 ? 2 : 4))];
    const theirs = [...common, ...Array.from({ length: 100_000 }, (_, i) => (i < 50_000 ? 1 : 3))];
    const logs = [ours, theirs, ours];
    for (const [i, log] of logs.entries()) {
      cores.add({
        id: i + 1,
        voters: [1, 2, 3],
        hardState: { term: 5, votedFor: 0 },
        entries: entriesOf(...log),
      });
    }
    const refusals: string[] = [];
    cores.tell = (line) => void (/^1 gets .* refuses after/.test(line) && refusals.push(line));
    cores.campaign(1);
    // Entries are many: what is sent is not applied here, only what is said is counted.
    for (let i = 0; i < 60 && cores.raft(1).leader?.progressOf(2)?.state !== 'replicate'; i++) {
      for (const id of [1, 2, 3]) {
        cores.ready(id);
        while (cores.persist(id));
      }
      for (const id of [1, 2, 3]) cores.deliver(id);
    }
    expect(cores.raft(1).leader!.progressOf(2)!.state).toBe('replicate');
    expect(refusals.length).toBeLessThanOrEqual(4);
  });

  test('38: what is lost with a term is not counted against the next one, and empty entries are let in (etcd uncommittedSize)', () => {
    const cores = Cores.of(3, { limits: { uncommittedBytesMax: 100 } });
    cores.elect(1);
    expect(cores.propose(1, 'x'.repeat(500)).accepted).toBe(true);
    expect(cores.propose(1, 'x')).toEqual({ accepted: false, reason: 'full' });
    expect(cores.propose(1, '')).toMatchObject({ accepted: false });
    // Its proposal reaches nobody; another leads, and then it cores.
    cores.ready(1);
    cores.take(() => true);
    cores.tick(1, 1000);
    cores.tick(3, 1000);
    cores.win(2, [3]);
    cores.stabilize();
    cores.tick(2, 1000);
    cores.tick(3, 1000);
    cores.win(1, [3]);
    cores.stabilize();
    expect(cores.raft(1).role).toBe('leader');
    expect(cores.propose(1, 'x'.repeat(500)).accepted).toBe(true);
    cores.stabilize();
    expect(cores.propose(1, '').accepted).toBe(true);
  });
});

describe('restarts', () => {
  test('12: a server whose disk has lost what it acknowledged does not go on (etcd issue 10166)', () => {
    const cores = Cores.of(3);
    cores.elect(1);
    cores.propose(1, 'a');
    cores.stabilize();
    cores.core(2).stable = [];
    cores.core(2).applied = [];
    cores.core(2).restart();
    cores.tick(1, 100);
    cores.ready(1);
    expect(() => cores.deliver(2)).toThrow(CorruptionError);
  });

  test('12: a leader elected after the loss knows of it from the one before', () => {
    const cores = Cores.of(3);
    cores.elect(1);
    cores.propose(1, 'a');
    cores.stabilize();
    cores.core(2).stable = [];
    cores.core(2).applied = [];
    cores.core(2).restart();
    cores.tick(3, 1000);
    cores.tick(1, 1000);
    cores.take(() => true);
    // What every member has on its disk, a leader tells to all: the next one knows what 2 had acknowledged.
    cores.campaign(3);
    expect(() => cores.stabilize()).toThrow(CorruptionError);
  });

  test('14: a vote is on disk before it is told, and after a restart there is no second one in the term (hashicorp/raft#661)', () => {
    const cores = Cores.of(3);
    const request = (from: number): Of<'RequestVote'> => ({
      ...{ type: 'RequestVote', group: GROUP, from, to: 2, term: 5 },
      ...{ lastLogIndex: 0, lastLogTerm: 0, leadershipTransfer: false },
    });
    cores.step(request(1));
    cores.ready(2);
    expect(cores.transit).toEqual([]);
    // A crash before the write is done: nothing was told, nothing is remembered.
    cores.core(2).restart();
    expect(cores.raft(2).term).toBe(0);
    cores.step(request(3));
    cores.ready(2);
    cores.persist(2);
    expect(cores.transit).toMatchObject([{ type: 'RequestVoteResponse', to: 3, voteGranted: true }]);
    cores.core(2).restart();
    cores.step(request(1));
    cores.stabilize([2]);
    expect(cores.transit[1]).toMatchObject({ type: 'RequestVoteResponse', to: 1, voteGranted: false });
    // Who asks again is answered cores.
    cores.step(request(3));
    cores.stabilize([2]);
    expect(cores.transit[2]).toMatchObject({ type: 'RequestVoteResponse', to: 3, voteGranted: true });
  });

  test('a vote request too waits for the disk, with the log that it speaks of', () => {
    const cores = Cores.of(3);
    cores.elect(1);
    cores.propose(1, 'a');
    cores.ready(1);
    cores.deliver(2);
    cores.ready(2);
    cores.tick(3, 1000);
    // 2 has entry 2 in memory only, and is asked to take over.
    cores.step({ type: 'TimeoutNow', group: GROUP, from: 1, to: 2, term: 1 });
    cores.ready(2);
    expect(cores.transit.some(({ type }) => type === 'RequestVote')).toBe(false);
    cores.persist(2);
    expect(cores.transit.some(({ type }) => type === 'RequestVote')).toBe(false);
    cores.persist(2);
    expect(cores.transit.some(({ type }) => type === 'RequestVote')).toBe(true);
    expect(cores.core(2).stable.length).toBe(2);
  });
});

describe('reads', () => {
  test('10: a leader that is cut off answers no linearizable read', () => {
    const cores = Cores.of(5);
    cores.elect(1);
    for (const other of [3, 4, 5]) {
      cores.cut(1, other);
      cores.cut(other, 1);
    }
    cores.raft(1).read();
    for (let i = 0; i < 9; i++) {
      cores.tick(1, 100);
      cores.stabilize([1, 2]);
    }
    expect(cores.core(1).reads).toEqual([]);
  });

  test('45: reads that wait when leadership is lost are answered once, by the next leader, or not at all (redisraft rolled_back_*)', () => {
    const cores = Cores.of(3);
    cores.elect(1);
    const context = cores.raft(1).read();
    // Its own entry is replaced by the next leader's: a read at its index would see what never was.
    cores.propose(1, 'never');
    cores.ready(1);
    cores.take(() => true);
    cores.tick(3, 1000);
    cores.win(2, [3]);
    cores.stabilize();
    cores.propose(2, 'was');
    cores.stabilize();
    cores.tick(1, 100);
    cores.stabilize();
    expect(cores.core(1).reads.map((read) => read.context)).toEqual([context]);
    expect(cores.core(1).applied.map(({ data }) => Buffer.from(data).toString())).not.toContain('never');
    expect(cores.core(1).reads[0]!.index).toBeGreaterThanOrEqual(2);
  });
});

// Whole clusters, in virtual time

async function cluster(servers: number, seed = 1): Promise<Cluster> {
  const made = new Cluster({ seed, servers });
  made.startAll();
  expect(await made.until(() => made.leader() !== undefined, 10_000)).toBe(true);
  await made.run(500);
  return made;
}

function set(world: Cluster, id: number, key: string): { done: boolean } {
  const outcome = { done: false };
  const argv = ['SET', key, 'x'.repeat(100)].map((word) => Buffer.from(word));
  const resolve = (reply: unknown) => {
    outcome.done = reply === 'OK';
  };
  world.server(id).replica!.write(0, argv, { resolve });
  return outcome;
}

describe('a cluster', () => {
  test('17: with a bridge between two halves, a stable leader emerges (Cloudflare 2020)', async () => {
    for (let seed = 1; seed <= 5; seed++) {
      const world = await cluster(5, seed);
      const leader = world.leader()!.id;
      const [bridge, ...others] = world.ids.filter((id) => id !== leader) as [number, ...number[]];
      world.network.partition([leader, others[0]!], [others[1]!, others[2]!]);
      await world.run(5000);
      const term = Math.max(...world.servers.map(({ replica }) => replica!.raft.term));
      await world.run(10_000);
      const after = Math.max(...world.servers.map(({ replica }) => replica!.raft.term));
      expect(after, `seed ${seed}: terms stand still`).toBe(term);
      const outcome = set(world, bridge, 'k');
      expect(await world.until(() => outcome.done, 5000)).toBe(true);
    }
  });

  test('18: one that cannot hear deposes nobody, and a leader that cannot hear makes room', async () => {
    const world = await cluster(3);
    const leader = world.leader()!.id;
    const deaf = world.ids.find((id) => id !== leader)!;
    const { term } = world.server(leader).replica!.raft;
    for (const id of world.ids) if (id !== deaf) world.network.cut(id, deaf);
    await world.run(10_000);
    expect(world.server(leader).replica!.raft).toMatchObject({ role: 'leader', term });
    world.network.mendAll();
    await world.run(1000);
    expect(world.server(leader).replica!.raft).toMatchObject({ role: 'leader', term });
    for (const id of world.ids) if (id !== leader) world.network.cut(id, leader);
    expect(await world.until(() => !world.server(leader).isLeader, 1200)).toBe(true);
    expect(await world.until(() => world.leader() !== undefined && world.leader()!.id !== leader, 4000)).toBe(
      true,
    );
  });

  test('19: a leader whose disk hangs is deposed, and comes back as a follower (hashicorp/raft issue 503)', async () => {
    const world = await cluster(3);
    const leader = world.leader()!;
    leader.disk.faults.stallMs = 60_000;
    const through = world.ids.find((id) => id !== leader.id)!;
    const outcome = set(world, through, 'k');
    expect(await world.until(() => outcome.done, 5000)).toBe(true);
    expect(
      await world.until(() => world.leader() !== undefined && world.leader()!.id !== leader.id, 5000),
    ).toBe(true);
    expect(leader.isLeader).toBe(false);
    const next = set(world, through, 'l');
    expect(await world.until(() => next.done, 5000)).toBe(true);
  });

  test('20: a slow disk delays no heartbeat: nobody is deposed for it', async () => {
    const world = await cluster(3);
    const leader = world.leader()!;
    const { term } = leader.replica!.raft;
    for (const server of world.servers) server.disk.faults.stallMs = 300;
    for (let i = 0; i < 10; i++) {
      const outcome = set(world, leader.id, `k${i}`);
      expect(await world.until(() => outcome.done, 5000)).toBe(true);
    }
    expect(leader.replica!.raft).toMatchObject({ role: 'leader', term });
  });

  test('39: a peer that is down for an hour costs no memory', async () => {
    const world = await cluster(3);
    const leader = world.leader()!;
    const down = world.servers.find(({ id }) => id !== leader.id)!;
    down.crash();
    for (let i = 0; i < 600; i++) {
      const outcome = set(world, leader.id, `k${i % 20}`);
      expect(await world.until(() => outcome.done, 5000)).toBe(true);
      if (i % 10 === 0) await world.run(60_000);
    }
    const { raft } = leader.replica!;
    expect(raft.log.memoryBytes).toBeLessThanOrEqual(16 << 10);
    expect(raft.leader!.progressOf(down.id)!.inflightCount).toBeLessThanOrEqual(4);
    down.start();
    const caughtUp = () =>
      down.replica?.stateMachine.appliedIndex === leader.replica!.stateMachine.appliedIndex;
    expect(await world.until(caughtUp, 20_000)).toBe(true);
  }, 60_000);

  test('40: after all were paused for a minute, and their clocks jumped, there is one election at most', async () => {
    for (let seed = 1; seed <= 5; seed++) {
      const world = await cluster(3, seed);
      const { term } = world.leader()!.replica!.raft;
      for (const { life } of world.servers) life!.paused = true;
      await world.run(60_000);
      for (const server of world.servers) {
        server.clockFaults.wallSkewMs -= 3_600_000;
        world.scheduler.resume(server.life!);
      }
      await world.run(5000);
      expect(world.leader(), `seed ${seed}`).toBeDefined();
      expect(world.leader()!.replica!.raft.term).toBeLessThanOrEqual(term + 2);
      const outcome = set(world, 1, 'k');
      expect(await world.until(() => outcome.done, 5000)).toBe(true);
    }
  });
});
