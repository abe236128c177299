/**
 * Leadership is handed over (thesis 3.10; pitfall 31), on wish of an operator at the leader or at who wants to lead. The
 * course of it is in transcripts: leadership-transfer*.txt, request-leadership.txt, transfer-in-joint.txt.
 */
import { describe, expect, test } from 'vitest';
import { Cores } from './cores.ts';

function group(count = 3): Cores {
  const cores = Cores.of(count);
  cores.elect(1);
  return cores;
}

const leaders = (cores: Cores) => [...cores.cores.keys()].filter((id) => cores.raft(id).role === 'leader');

describe('a leader that hands over', () => {
  test('"stops accepting new client requests", and says why; the target leads at once', () => {
    const cores = group();
    cores.raft(1).transferLeadership(3);
    expect(cores.propose(1, 'x')).toEqual({ accepted: false, reason: 'transferring' });
    cores.stabilize();
    expect(leaders(cores)).toEqual([3]);
    expect(cores.propose(1, 'x')).toEqual({ accepted: false, reason: 'not-leader' });
    expect(cores.propose(3, 'x').accepted).toBe(true);
    cores.stabilize();
    expect(cores.core(1).applied).toHaveLength(3);
  });

  test('loses nothing that was proposed just before', () => {
    const cores = group();
    for (let i = 0; i < 10; i++) cores.propose(1, `${i}`);
    cores.raft(1).transferLeadership(2);
    cores.stabilize();
    expect(leaders(cores)).toEqual([2]);
    const texts = cores.core(3).applied.map(({ data }) => Buffer.from(data).toString());
    expect(texts.filter((text) => text !== '').join('')).toBe('0123456789');
  });

  test('"fully updates the target server\'s log to match its own" before it asks', () => {
    const cores = group();
    cores.cut(1, 3);
    cores.propose(1, 'x');
    cores.pass(100);
    cores.raft(1).transferLeadership(3);
    cores.ready(1);
    cores.take(({ to }) => to === 3);
    cores.mend(1, 3);
    cores.tick(1, 100);
    cores.ready(1);
    expect(cores.transit.some(({ type }) => type === 'TimeoutNow')).toBe(false);
    cores.pass(500);
    expect(leaders(cores)).toEqual([3]);
    expect(cores.core(3).applied).toHaveLength(3);
  });

  test('"if leadership transfer does not complete after about an election timeout, aborts the transfer and resumes accepting client requests" (pitfall 31)', () => {
    const cores = group();
    cores.disconnect(3);
    cores.raft(1).transferLeadership(3);
    cores.pass(900, [1, 2]);
    expect(cores.propose(1, 'x')).toEqual({ accepted: false, reason: 'transferring' });
    cores.pass(200, [1, 2]);
    expect(cores.propose(1, 'x').accepted).toBe(true);
    cores.pass(200, [1, 2]);
    expect(cores.raft(1)).toMatchObject({ role: 'leader', term: 1 });
    expect(cores.core(2).applied).toHaveLength(2);
  });

  test('leads on when the target crashes as soon as it is asked (pitfall 31)', () => {
    const cores = group();
    cores.raft(1).transferLeadership(2);
    cores.ready(1);
    cores.deliver(2);
    expect(cores.raft(2).role).toBe('candidate');
    cores.core(2).restart();
    cores.pass(1100, [1, 3]);
    expect(cores.raft(1)).toMatchObject({ role: 'leader', term: 1 });
    expect(cores.propose(1, 'x').accepted).toBe(true);
    cores.pass(300);
    expect(cores.core(2).applied).toHaveLength(2);
  });

  test('does not hand over to itself, to a stranger, or when it does not lead', () => {
    const cores = group();
    for (const target of [1, 9, 0]) cores.raft(1).transferLeadership(target);
    expect(cores.propose(1, 'x').accepted).toBe(true);
    cores.raft(2).transferLeadership(3);
    cores.stabilize();
    expect(leaders(cores)).toEqual([1]);
    expect(cores.transit).toEqual([]);
  });

  test('changes its mind: the last one named gets it', () => {
    const cores = group();
    cores.disconnect(3);
    cores.raft(1).transferLeadership(3);
    cores.pass(200, [1, 2]);
    cores.raft(1).transferLeadership(2);
    cores.stabilize([1, 2]);
    expect(leaders(cores)).toEqual([2]);
  });

  test('answers the reads that waited, or the next leader does', () => {
    const cores = group();
    const context = cores.raft(1).read();
    cores.raft(1).transferLeadership(2);
    cores.pass(300);
    expect(leaders(cores)).toEqual([2]);
    expect(cores.core(1).reads.map((read) => read.context)).toEqual([context]);
  });

  test('is deposed if it hears nobody meanwhile, as ever', () => {
    const cores = group();
    cores.raft(1).transferLeadership(2);
    cores.disconnect(1);
    cores.pass(1100, [1]);
    expect(cores.raft(1)).toMatchObject({ role: 'follower', leaderId: 0 });
    expect(cores.propose(1, 'x')).toEqual({ accepted: false, reason: 'not-leader' });
  });
});

describe('who asks for leadership', () => {
  test('gets it from whoever leads', () => {
    const cores = group();
    cores.raft(3).requestLeadership();
    cores.stabilize();
    expect(leaders(cores)).toEqual([3]);
    expect(cores.raft(3).term).toBe(2);
  });

  test('asks nobody when it leads already, or when nobody leads', () => {
    const cores = group();
    cores.raft(1).requestLeadership();
    const alone = Cores.of(3);
    alone.raft(2).requestLeadership();
    for (const world of [cores, alone]) {
      world.stabilize();
      expect(world.transit).toEqual([]);
    }
    expect(cores.raft(1)).toMatchObject({ role: 'leader', term: 1 });
  });

  test('gets no answer from a server that does not lead any more', () => {
    const cores = group();
    cores.raft(3).requestLeadership();
    cores.ready(3);
    // Before the question arrives, 2 leads.
    cores.raft(1).transferLeadership(2);
    const question = cores.take(({ type }) => type === 'TransferLeadership');
    cores.stabilize();
    expect(leaders(cores)).toEqual([2]);
    for (const message of question) cores.step(message);
    cores.stabilize();
    expect(leaders(cores)).toEqual([2]);
  });

  test('has a vote', () => {
    const cores = group();
    cores.add({ id: 4, voters: [] });
    expect(() => cores.raft(4).requestLeadership()).toThrow('a voter asks for leadership');
    cores.step({ type: 'TransferLeadership', group: 1, from: 4, to: 1, term: 1 });
    expect(cores.propose(1, 'x').accepted).toBe(true);
  });
});
