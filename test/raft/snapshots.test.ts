/**
 * Snapshots between consensus cores: when a follower needs one, how the leader goes on around it, and what the
 * follower's log is afterwards (section 7 of the paper; pitfalls 22 to 27). How the state travels is not here.
 */
import { describe, expect, test } from 'vitest';
import type { Message } from '../../src/raft/messages.ts';
import type { Progress } from '../../src/raft/progress.ts';
import type { Entry } from '../../src/raft/types.ts';
import { Cores, entriesOf, GROUP } from './cores.ts';

const FOUNDING = (cores: Cores) => cores.core(1).configuration;

const progressOf = (cores: Cores, id: number): Progress => cores.raft(1).leader!.progressOf(id)!;

/** 3 has missed entries 2 to 5, and the leader's log begins behind `compacted`. */
function behind(compacted = 5, count = 4): Cores {
  const cores = Cores.of(3);
  cores.elect(1);
  cores.disconnect(3);
  for (let i = 0; i < count; i++) cores.propose(1, `${i}`);
  cores.pass(100, [1, 2]);
  cores.core(1).compact(compacted);
  cores.take(() => true);
  return cores;
}

/** The same, found out: the leader waits for the end of a transfer. */
function transferring(): Cores {
  const cores = behind();
  cores.connect(3);
  cores.pass(300);
  expect(progressOf(cores, 3).state).toBe('snapshot');
  return cores;
}

function append(fields: Partial<Extract<Message, { type: 'AppendEntries' }>>): Message {
  return {
    ...{ type: 'AppendEntries', group: GROUP, from: 1, to: 3, term: 1 },
    ...{ prevLogIndex: 0, prevLogTerm: 0, entries: [], leaderCommit: 0 },
    ...fields,
  };
}

function response(success: boolean, fields: object): Message {
  return {
    ...{ type: 'AppendEntriesResponse', group: GROUP, from: 3, to: 1, term: 1, success },
    ...{ prevLogIndex: 0, matchIndex: 0, conflictIndex: 0, conflictTerm: 0, ...fields },
  };
}

describe('a leader', () => {
  test('sends a snapshot only "when it has already discarded the next log entry that it needs to send to a follower" (§7)', () => {
    const cores = behind(1);
    cores.connect(3);
    cores.pass(300);
    expect(cores.snapshotsNeeded).toEqual([]);
    expect(cores.core(3).applied).toHaveLength(5);
  });

  test('says once that a follower needs a snapshot, and sends it nothing else but heartbeats', () => {
    const cores = transferring();
    expect(cores.snapshotsNeeded).toEqual([3]);
    cores.propose(1, 'more');
    const types = new Set<string>();
    for (let i = 0; i < 20; i++) {
      for (const id of [1, 2, 3]) cores.tick(id, 100);
      cores.ready(1);
      for (const { type, to } of cores.transit) if (to === 3) types.add(type);
      cores.stabilize();
    }
    expect(cores.snapshotsNeeded).toEqual([3]);
    expect([...types]).toEqual(['Heartbeat']);
    expect(cores.raft(1).log.commitIndex, 'the others go on').toBe(6);
    expect(cores.raft(3)).toMatchObject({ leaderId: 1, term: 1 });
  });

  test('does not look for work with who is silent: a snapshot goes to who was heard (pitfall 23)', () => {
    const cores = behind();
    cores.pass(1000, [1, 2]);
    cores.raft(1).unreachable(3);
    cores.pass(2000, [1, 2]);
    expect(cores.snapshotsNeeded).toEqual([]);
    cores.connect(3);
    cores.pass(300);
    expect(cores.snapshotsNeeded).toEqual([3]);
  });

  test('goes on behind the snapshot when it has arrived', () => {
    const cores = transferring();
    cores.propose(1, 'more');
    cores.stabilize();
    cores.sendSnapshot(1, 3);
    cores.pass(300);
    expect(progressOf(cores, 3)).toMatchObject({ state: 'replicate', matchIndex: 6, nextIndex: 7 });
    expect(cores.core(3).applied).toEqual(cores.core(1).applied);
    expect(cores.snapshotsNeeded).toEqual([3]);
  });

  test('asks where the follower stands when there is nothing behind the snapshot', () => {
    const cores = transferring();
    cores.sendSnapshot(1, 3);
    expect(progressOf(cores, 3)).toMatchObject({ state: 'probe', matchIndex: 1, nextIndex: 6 });
    cores.pass(300);
    expect(progressOf(cores, 3)).toMatchObject({ state: 'replicate', matchIndex: 5, nextIndex: 6 });
  });

  test('probes again when a transfer has failed, and asks for another with the next heartbeat, not sooner (pitfall 23)', () => {
    const cores = transferring();
    cores.change(1, (raft) => raft.snapshotEnded(3, undefined));
    expect(progressOf(cores, 3).state).toBe('probe');
    cores.stabilize();
    expect(cores.snapshotsNeeded).toEqual([3]);
    cores.pass(300);
    expect(cores.snapshotsNeeded).toEqual([3, 3]);
    cores.sendSnapshot(1, 3);
    cores.pass(300);
    expect(progressOf(cores, 3)).toMatchObject({ state: 'replicate', matchIndex: 5 });
  });

  test('sends no second one when the first has arrived and the news of it was lost (pitfall 23)', () => {
    const cores = transferring();
    cores.change(3, () => cores.core(3).install(cores.core(1)));
    cores.change(1, (raft) => raft.snapshotEnded(3, undefined));
    cores.pass(400);
    expect(progressOf(cores, 3)).toMatchObject({ state: 'replicate', matchIndex: 5 });
    expect(cores.snapshotsNeeded).toEqual([3]);
  });

  test('asks again when the answers behind the snapshot are lost', () => {
    const cores = transferring();
    cores.cut(3, 1);
    cores.sendSnapshot(1, 3);
    cores.propose(1, 'more');
    cores.pass(300);
    cores.mend(3, 1);
    cores.pass(300);
    expect(progressOf(cores, 3)).toMatchObject({ state: 'replicate', matchIndex: 6 });
    expect(cores.snapshotsNeeded).toEqual([3]);
  });

  test('takes no notice of late acknowledgements and late refusals while the transfer lasts', () => {
    const cores = transferring();
    for (const late of [
      response(true, { matchIndex: 1 }),
      response(true, { prevLogIndex: 1, matchIndex: 2 }),
      response(false, { prevLogIndex: 4, conflictIndex: 1, conflictTerm: 1 }),
      response(false, { prevLogIndex: 5, conflictIndex: 4, conflictTerm: 1 }),
    ]) {
      cores.step(late);
      cores.ready(1);
      expect(progressOf(cores, 3).state).toBe('snapshot');
    }
    expect(cores.snapshotsNeeded).toEqual([3]);
    expect(progressOf(cores, 3).matchIndex).toBe(2);
  });

  test('takes up sending as soon as the follower has what it lacked by another way; the end of the transfer changes nothing then', () => {
    const cores = transferring();
    cores.step(append({ entries: cores.core(2).stable, leaderCommit: 5 }));
    cores.stabilize();
    expect(progressOf(cores, 3)).toMatchObject({ state: 'replicate', matchIndex: 5, nextIndex: 6 });
    for (const index of [5, undefined]) {
      cores.change(1, (raft) => raft.snapshotEnded(3, index));
      expect(progressOf(cores, 3)).toMatchObject({ state: 'replicate', matchIndex: 5, nextIndex: 6 });
    }
    cores.propose(1, 'more');
    cores.stabilize();
    expect(progressOf(cores, 3).matchIndex).toBe(6);
  });

  test('waits for the end of the transfer though the follower is unreachable meanwhile', () => {
    const cores = transferring();
    cores.raft(1).unreachable(3);
    cores.disconnect(3);
    cores.pass(500, [1, 2]);
    expect(progressOf(cores, 3).state).toBe('snapshot');
    cores.connect(3);
    cores.pass(300);
    expect(cores.snapshotsNeeded).toEqual([3]);
    cores.sendSnapshot(1, 3);
    cores.pass(300);
    expect(progressOf(cores, 3)).toMatchObject({ state: 'replicate', matchIndex: 5 });
  });

  test('needs another one when its log was cut off behind the first', () => {
    const cores = transferring();
    cores.change(3, () => cores.core(3).install(cores.core(1)));
    cores.propose(1, 'more');
    cores.propose(1, 'and more');
    cores.pass(100, [1, 2]);
    cores.core(1).compact(7);
    cores.change(1, (raft) => raft.snapshotEnded(3, 5));
    cores.pass(300);
    expect(cores.snapshotsNeeded).toEqual([3, 3]);
    cores.sendSnapshot(1, 3);
    cores.pass(300);
    expect(progressOf(cores, 3)).toMatchObject({ state: 'replicate', matchIndex: 7 });
  });

  test('forgets a transfer with the follower, and with its leadership', () => {
    const removed = transferring();
    removed.changeMembers(1, { type: 'remove', id: 3 });
    removed.pass(200, [1, 2]);
    removed.change(1, (raft) => raft.snapshotEnded(3, 5));
    expect(progressOf(removed, 3)).toBeUndefined();
    const deposed = transferring();
    deposed.step({
      type: 'Heartbeat',
      group: GROUP,
      from: 2,
      to: 1,
      term: 9,
      leaderCommit: 0,
      readRound: 0,
      configurationIndex: 0,
      allMatchedIndex: 0,
    });
    deposed.change(1, (raft) => raft.snapshotEnded(3, 5));
    expect(deposed.raft(1).role).toBe('follower');
  });

  test('needs no snapshot itself', () => {
    const cores = transferring();
    expect(() => cores.raft(1).restore({ index: 9, term: 1, configuration: FOUNDING(cores) })).toThrow(
      'a leader needs no snapshot',
    );
  });
});

describe('a follower', () => {
  const restore = (cores: Cores, index: number, term: number) =>
    cores.raft(3).restore({ index, term, configuration: FOUNDING(cores) });

  test('writes the new beginning of its log first, and acknowledges nothing behind it before that is on the disk', () => {
    const cores = transferring();
    cores.change(3, () => cores.core(3).install(cores.core(1)));
    cores.step(append({ prevLogIndex: 5, prevLogTerm: 1, entries: [], leaderCommit: 5 }));
    cores.ready(3);
    expect(cores.core(3).saves).toMatchObject([{ save: { snapshot: { index: 5, term: 1 }, entries: [] } }]);
    expect(cores.transit.filter(({ type }) => type === 'AppendEntriesResponse')).toEqual([]);
    const six: Entry = { index: 6, term: 1, type: 'noop', data: new Uint8Array() };
    cores.step(append({ prevLogIndex: 5, prevLogTerm: 1, entries: [six], leaderCommit: 5 }));
    cores.ready(3);
    cores.persist(3);
    const answers = () => cores.take(({ type }) => type === 'AppendEntriesResponse');
    expect(answers()).toMatchObject([{ success: true, matchIndex: 5 }]);
    cores.persist(3);
    expect(answers()).toMatchObject([{ success: true, matchIndex: 6 }]);
    expect(cores.core(3)).toMatchObject({ compacted: { index: 5, term: 1 }, stable: [{ index: 6 }] });
  });

  test('keeps a log that has the last entry of the snapshot, and what follows it (§7)', () => {
    const cores = Cores.of(3);
    cores.step(append({ entries: entriesOf(1, 1, 1, 1, 1) }));
    cores.stabilize([3]);
    cores.core(3).apply(entriesOf(1, 1, 1));
    restore(cores, 3, 1);
    expect(cores.raft(3).log).toMatchObject({
      compactedIndex: 0,
      commitIndex: 3,
      lastIndex: 5,
      stableIndex: 5,
    });
    expect(cores.raft(3).ready().save).toBeUndefined();
  });

  test('discards a log that differs there (§7)', () => {
    const cores = Cores.of(3);
    cores.step(append({ entries: entriesOf(1, 1, 1, 1, 1) }));
    cores.stabilize([3]);
    cores.step(append({ term: 4, from: 2, leaderCommit: 0 }));
    restore(cores, 3, 4);
    expect(cores.raft(3).log).toMatchObject({ compactedIndex: 3, commitIndex: 3, lastIndex: 3, lastTerm: 4 });
    expect(cores.raft(3).log.termAt(4)).toBeUndefined();
  });

  test('loses nothing that it is about to acknowledge: entries behind the snapshot whose write is under way', () => {
    const cores = Cores.of(3);
    cores.elect(1);
    for (const text of ['a', 'b', 'c', 'd']) cores.propose(1, text);
    cores.ready(1);
    cores.persist(1);
    cores.deliver(3);
    // 3 writes 2 to 5. Before its disk is done, a snapshot of 1 up to 3 is taken over.
    cores.ready(3);
    restore(cores, 3, 1);
    cores.core(3).applied = cores.core(1).stable.slice(0, 3);
    expect(cores.raft(3).log.lastIndex).toBe(5);
    cores.persist(3);
    cores.deliver(1, ({ from }) => from === 3);
    expect(cores.raft(1).log.commitIndex, '1 and 3 have it').toBe(5);
    cores.stabilize([3]);
    expect(cores.core(3)).toMatchObject({ compacted: { index: 3 }, stable: [{ index: 4 }, { index: 5 }] });
    // 1 is gone. With the vote of 3, 2 must not win: it lacks what was committed.
    cores.disconnect(1);
    cores.take(() => true);
    for (const id of [2, 3]) cores.tick(id, 1000);
    cores.win(3, [2]);
    cores.pass(300, [2, 3]);
    cores.sendSnapshot(3, 2);
    cores.pass(300, [2, 3]);
    expect(cores.core(2).applied.map(({ data }) => Buffer.from(data).toString())).toEqual([
      '',
      'a',
      'b',
      'c',
      'd',
      '',
    ]);
  });

  test('takes no snapshot that is older than what it has committed (pitfall 24), nor one of a term to come', () => {
    const cores = Cores.of(3);
    cores.step(append({ entries: entriesOf(1, 1, 1), leaderCommit: 2 }));
    expect(() => restore(cores, 2, 1)).toThrow('a snapshot brings something new');
    expect(() => restore(cores, 9, 2)).toThrow('no snapshot is of a term to come');
    restore(cores, 3, 1);
    expect(() => restore(cores, 3, 1), 'twice').toThrow('a snapshot brings something new');
  });

  test('takes from messages that were late what is new to it, and answers with what they prove', () => {
    const cores = transferring();
    cores.sendSnapshot(1, 3);
    cores.take(() => true);
    const entries = cores.core(2).stable;
    for (const [prevLogIndex, count] of [
      [0, 2],
      [1, 4],
      [3, 2],
      [4, 1],
    ] as const) {
      const some = entries.slice(prevLogIndex, prevLogIndex + count);
      cores.step(
        append({ prevLogIndex, prevLogTerm: prevLogIndex === 0 ? 0 : 1, entries: some, leaderCommit: 5 }),
      );
      cores.stabilize([3]);
      const answers = cores.take(({ type }) => type === 'AppendEntriesResponse');
      expect(answers).toMatchObject([{ success: true, matchIndex: prevLogIndex + count }]);
    }
    expect(cores.raft(3).log).toMatchObject({ compactedIndex: 5, lastIndex: 5, commitIndex: 5 });
    const six: Entry = { index: 6, term: 1, type: 'noop', data: new Uint8Array() };
    cores.step(
      append({ prevLogIndex: 3, prevLogTerm: 1, entries: [...entries.slice(3), six], leaderCommit: 5 }),
    );
    expect(cores.raft(3).log).toMatchObject({ compactedIndex: 5, lastIndex: 6, commitIndex: 5 });
  });

  test('that crashes before the new beginning of its log is on the disk goes on from there (pitfall 25)', () => {
    for (const written of [false, true]) {
      const cores = transferring();
      cores.change(3, () => cores.core(3).install(cores.core(1)));
      cores.ready(3);
      if (written) cores.persist(3);
      cores.core(3).restart();
      expect(cores.raft(3).log).toMatchObject({ compactedIndex: 5, appliedIndex: 5, lastIndex: 5 });
      cores.change(1, (raft) => raft.snapshotEnded(3, undefined));
      cores.propose(1, 'more');
      cores.pass(400);
      expect(cores.core(3).applied).toEqual(cores.core(1).applied);
      expect(cores.snapshotsNeeded).toEqual([3]);
    }
  });

  test('with a divergent log of 100,000 entries is as the leader in a few rounds (pitfall 22)', () => {
    const cores = new Cores();
    const ours = [1, 1, 6, 6, 6];
    const theirs = [1, 1, ...Array.from({ length: 100_000 }, (_, i) => 2 + Math.floor(i / 30_000))];
    for (const id of [1, 2, 3]) {
      const entries = entriesOf(...(id === 3 ? theirs : ours));
      const applied = id === 3 ? {} : { appliedIndex: 5 };
      cores.add({ id, voters: [1, 2, 3], hardState: { term: 6, votedFor: 0 }, entries, ...applied });
    }
    cores.core(1).compact(5);
    cores.core(2).compact(5);
    const refusals: string[] = [];
    cores.tell = (line) => void (/^1 gets .* refuses after/.test(line) && refusals.push(line));
    cores.tick(2, 1000);
    cores.win(1, [2]);
    cores.pass(300);
    expect(cores.snapshotsNeeded).toEqual([3]);
    expect(refusals.length).toBeLessThanOrEqual(3);
    cores.sendSnapshot(1, 3);
    cores.pass(300);
    expect(cores.raft(3).log).toMatchObject({ lastIndex: 6, commitIndex: 6, lastTerm: 7 });
    expect(cores.raft(3).log.memoryBytes).toBeLessThan(200);
  });

  test('votes and is elected by the last entry of the snapshot', () => {
    const cores = transferring();
    cores.sendSnapshot(1, 3);
    cores.stabilize();
    cores.disconnect(1);
    cores.tick(2, 1000);
    cores.win(3, [2]);
    cores.stabilize([2, 3]);
    expect(cores.raft(3).log).toMatchObject({ commitIndex: 6, lastTerm: 2 });
    expect(cores.core(2).applied).toEqual(cores.core(3).applied);
  });
});

describe('the configuration', () => {
  test('comes with the snapshot to a newcomer whose entries are gone, which is then promoted (pitfall 27)', () => {
    const cores = behind();
    cores.connect(3);
    cores.add({ id: 4, voters: [] });
    cores.changeMembers(1, { type: 'remove', id: 3 });
    cores.pass(200, [1, 2]);
    cores.changeMembers(1, { type: 'add', id: 4, description: 's4' });
    cores.pass(200, [1, 2]);
    cores.core(1).compact(cores.raft(1).log.appliedIndex);
    cores.pass(300, [1, 2, 4]);
    expect(cores.snapshotsNeeded).toEqual([4]);
    cores.sendSnapshot(1, 4);
    expect(cores.members(4)).toBe('1 2 (4)');
    cores.pass(500, [1, 2, 4]);
    expect(cores.members(4)).toBe('1 2 4');
    expect(cores.raft(4).configuration.removed).toEqual([3]);
    expect(cores.raft(4).role).toBe('follower');
  });

  test('of the snapshot is in force again when what came behind it is truncated (pitfall 27)', () => {
    const cores = transferring();
    cores.sendSnapshot(1, 3);
    cores.pass(300);
    cores.changeMembers(1, { type: 'remove', id: 2 });
    cores.ready(1);
    cores.deliver(3);
    expect(cores.members(3)).toBe('1 -2 3');
    expect(cores.raft(3).log.configuration.index).toBe(6);
    cores.step(
      append({
        from: 2,
        term: 2,
        prevLogIndex: 5,
        prevLogTerm: 1,
        entries: [{ index: 6, term: 2, type: 'noop', data: new Uint8Array() }],
      }),
    );
    expect(cores.members(3)).toBe('1 2 3');
  });
});
