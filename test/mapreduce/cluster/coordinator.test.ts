/** The coordinator by itself: reports in, orders and facts out, and what it knows when another has taken its place. */
import { expect, test } from 'vitest';
import { Coordinator, LEASE_MS } from '../../../src/mapreduce/cluster/coordinator.ts';
import type { Orders, Report } from '../../../src/mapreduce/cluster/messages.ts';
import type { Fact, JobRecord } from '../../../src/mapreduce/cluster/records.ts';
import { endOf, record } from './job-facts.ts';

const [A, B, C] = [101, 102, 103] as const;

const KEYS = { kind: 'keys', db: 0, pattern: 'Kg==', splits: 2 } as const;

/** A coordinator, a log of its facts, and servers that tell the truth. */
class Bench {
  coordinator: Coordinator;
  readonly log: Fact[] = [];
  readonly record: JobRecord;
  readonly #seqs = new Map<number, number>();
  nowMs = 0;

  constructor(job: JobRecord) {
    this.record = job;
    this.coordinator = new Coordinator(1, 0);
    this.coordinator.add(job, 7, [], 0);
  }

  report(node: number, more: Partial<Report> = {}): Orders {
    const seq = (this.#seqs.get(node) ?? 0) + 1;
    this.#seqs.set(node, seq);
    const orders = this.coordinator.heard(
      node,
      {
        ...{ run: `run ${node}`, seq, free: 1, running: [], ended: [], views: [], threads: 1 },
        shuffle: { host: `host${node}`, port: 1000 + node },
        ...more,
      },
      this.nowMs,
    );
    if (orders === undefined) throw new Error('the report was out of order');
    return orders;
  }

  /** The facts so far come into the log. */
  commit(): Fact[] {
    const facts = this.coordinator.takeFacts();
    this.log.push(...facts.map(({ fact }) => fact));
    this.coordinator.apply(facts, this.nowMs);
    return facts.map(({ fact }) => fact);
  }

  /** The server does what it is told until there is nothing for it to do. */
  work(node: number, tasks = Number.POSITIVE_INFINITY): void {
    let { start } = this.report(node);
    for (let done = 0; done < tasks && start.length > 0; done++) {
      const ended = start.map((order) => endOf(order));
      this.report(node, { free: 0, ended });
      this.commit();
      ({ start } = this.report(node, { ended: [], free: done + 1 < tasks ? 1 : 0 }));
    }
  }

  /** So much time, in which only these servers are heard. */
  pass(ms: number, ...heard: readonly (readonly [number, Partial<Report>])[]): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; ) {
      this.nowMs += 250;
      for (const [node, report] of heard) this.report(node, report);
      this.coordinator.tick(this.nowMs);
    }
  }

  /** Another one, that knows the record and what is in the log. */
  succeed(): void {
    this.coordinator = new Coordinator(2, this.nowMs);
    this.coordinator.add(this.record, 7, this.log, this.nowMs);
    this.#seqs.clear();
  }

  get job() {
    return this.coordinator.job(1)!;
  }
}

test('a job is done when all of its tasks are, and its result names the attempts that count', () => {
  const bench = new Bench(record(3, 2));
  bench.work(A, 2);
  bench.work(B);
  expect(bench.job.phase).toBe('done');
  expect(bench.job.counters).toEqual({ words: 15 });
  expect(bench.job.result.parts).toEqual([
    [expect.any(Number), 1, 5],
    [expect.any(Number), 1, 5],
  ]);
});

test('a reduce task is told which attempt of each map task counts, and where it can be had', () => {
  const bench = new Bench(record(2, 1));
  bench.work(A, 1);
  const [map] = bench.report(B).start;
  bench.report(B, { free: 0, ended: [endOf(map!)] });
  bench.commit();
  const [reduce] = bench.report(C).start;
  expect(reduce).toMatchObject({ phase: 'reduce', task: 0 });
  expect(reduce!.sources!.map(([task, , node]) => [task, node])).toEqual([
    [0, A],
    [1, B],
  ]);
  expect(reduce!.addresses).toEqual([
    [A, 'host101', 1101],
    [B, 'host102', 1102],
  ]);
});

test('the end of an attempt counts when it is in the log, and is told until then', () => {
  const bench = new Bench(record(1, 1));
  const [order] = bench.report(A).start;
  const ended = [endOf(order!)];
  expect(bench.report(A, { free: 0, ended }).settled).toEqual([]);
  expect(bench.job.progress.maps.done).toBe(0);
  expect(bench.commit()).toMatchObject([{ fact: 'map', task: 0, node: A }]);
  expect(bench.report(A, { free: 0, ended }).settled).toHaveLength(1);
  expect(bench.job.progress.maps.done).toBe(1);
});

test('of two attempts of a task the first in the log counts, and the other one is not needed any more', () => {
  const bench = new Bench(record(4, 1));
  bench.work(A, 3);
  const [slow] = bench.report(B).start;
  bench.nowMs += 2000;
  const [backup] = bench.report(A).start;
  expect(backup).toMatchObject({ phase: 'map', task: slow!.task });
  bench.report(A, { free: 0, ended: [endOf(backup!)] });
  bench.commit();
  expect(bench.report(B, { free: 0, running: [{ ...slow!, bytes: 1 }] }).abort).toMatchObject([
    { attempt: slow!.attempt },
  ]);
  bench.report(B, { free: 0, ended: [endOf(slow!)] });
  expect(bench.commit()).toEqual([]);
  expect(bench.job.counters).toEqual({ words: 12 });
});

test('an attempt that a server was given and does not tell of is given to another', () => {
  const bench = new Bench(record(1, 1));
  const [lost] = bench.report(A).start;
  // The answer never arrived.
  const [again] = bench.report(B).start.concat(bench.report(A).start);
  expect(again).toMatchObject({ phase: 'map', task: lost!.task });
  expect(again!.attempt).not.toBe(lost!.attempt);
});

test('a report that arrives behind a later one is not heard', () => {
  const bench = new Bench(record(1, 1));
  bench.report(A);
  const older = { run: `run ${A}`, seq: 0, free: 1, running: [], ended: [], views: [], threads: 1 };
  expect(bench.coordinator.heard(A, { ...older, shuffle: { host: 'h', port: 1 } }, 0)).toBeUndefined();
});

test('of a server that is not heard of for a lease all map outputs are lost in one step, but no parts', () => {
  const bench = new Bench(record(4, 2));
  bench.work(A, 4);
  const [reduce] = bench.report(B).start;
  bench.report(B, { free: 0, ended: [endOf(reduce!)] });
  bench.commit();
  expect(bench.job.progress.reduces.done).toBe(1);
  bench.pass(LEASE_MS + 250, [B, { free: 0 }]);
  expect(bench.commit()).toEqual([{ fact: 'maps-lost', epoch: 1, tasks: [0, 1, 2, 3] }]);
  expect(bench.job.progress).toMatchObject({ maps: { done: 0 }, reduces: { done: 1 } });
  bench.pass(1000, [B, { free: 0 }]);
  expect(bench.commit()).toEqual([]);
});

test('a reduce task that waits for outputs which are lost is begun anew', () => {
  const bench = new Bench(record(2, 1));
  bench.work(A, 2);
  const [reduce] = bench.report(B).start;
  const running = [{ ...reduce!, bytes: 0, fetching: true }];
  bench.pass(LEASE_MS + 250, [B, { free: 0, running }]);
  bench.commit();
  expect(bench.report(B, { free: 0, running }).abort).toMatchObject([{ attempt: reduce!.attempt }]);
});

test('outputs that a reduce task could not have are made again, and the task does not count as failed', () => {
  const bench = new Bench(record(2, 1));
  bench.work(A, 2);
  const [reduce] = bench.report(B).start;
  const [, lost] = reduce!.sources!;
  const end = { end: 'unfetched', node: A, maps: [[1, lost![1]]], message: 'gone' } as const;
  bench.report(B, { free: 0, ended: [endOf(reduce!, end)] });
  expect(bench.commit()).toEqual([{ fact: 'maps-lost', epoch: 1, tasks: [1] }]);
  expect(bench.job.failedAttempts).toBe(0);
});

test('a server that cannot be reached by one task alone is not given up while it reports', () => {
  const bench = new Bench(record(2, 2));
  bench.work(A, 2);
  const end = { end: 'unfetched', node: A, maps: [], message: 'refused' } as const;
  const [first] = bench.report(B).start;
  bench.report(B, { free: 0, ended: [endOf(first!, end)] });
  expect(bench.commit()).toEqual([]);
  const [other] = bench
    .report(C)
    .start.filter(({ task }) => task !== first!.task)
    .concat(bench.report(C).start);
  bench.report(C, { free: 0, ended: [endOf({ ...other!, task: 1 - first!.task }, end)] });
  expect(bench.commit().length).toBeLessThanOrEqual(1);
});

test('a job fails at once when its failure would repeat itself everywhere', () => {
  const bench = new Bench(record(2, 1));
  const [order] = bench.report(A).start;
  const failure = { message: 'map threw', file: '/in/0', offset: 3, deterministic: true };
  bench.report(A, { free: 0, ended: [endOf(order!, { end: 'failed', failure })] });
  expect(bench.job.failure).toMatchObject({ phase: 'map', attempts: 1, failure });
});

test('what fails on one server is tried on another first, and fails the job when it has failed four times', () => {
  const bench = new Bench(record(1, 1));
  const failure = { message: 'there is no file', deterministic: true, local: true };
  const nodes: number[] = [];
  for (let i = 0; bench.job.failure === undefined; i++) {
    const node = [A, B, C][i % 3]!;
    for (const other of [A, B, C]) if (other !== node) bench.report(other, { free: 0 });
    const [order] = bench.report(node).start;
    bench.nowMs += 1000;
    if (order === undefined) continue;
    nodes.push(node);
    bench.report(node, { free: 0, ended: [endOf(order, { end: 'failed', failure })] });
  }
  expect(new Set(nodes.slice(0, 3))).toEqual(new Set([A, B, C]));
  expect(bench.job.failure).toMatchObject({ attempts: 4 });
});

test('another coordinator knows what is in the log, adopts what goes on, and gives the rest anew', () => {
  const bench = new Bench(record(4, 1));
  bench.work(A, 2);
  const [running] = bench.report(B).start;
  bench.succeed();
  expect(bench.job.progress.maps).toMatchObject({ done: 2, running: 0 });
  expect(bench.report(B, { free: 0, running: [{ ...running!, bytes: 2 }] }).abort).toEqual([]);
  expect(bench.job.progress.maps).toMatchObject({ done: 2, running: 1 });
  const [other] = bench.report(A).start;
  expect(other!.task).not.toBe(running!.task);
  expect(other!.attempt).toBeGreaterThan(2 ** 21);
  bench.report(B, { free: 0, ended: [endOf(running!)] });
  expect(bench.commit()).toMatchObject([{ fact: 'map', task: running!.task, attempt: running!.attempt }]);
});

test('a fact that never reached the log is told to the next coordinator, and counts once', () => {
  const bench = new Bench(record(1, 1));
  const [order] = bench.report(A).start;
  const ended = [endOf(order!)];
  bench.report(A, { free: 0, ended });
  bench.coordinator.takeFacts();
  bench.succeed();
  bench.report(A, { free: 0, ended });
  bench.commit();
  bench.report(A, { free: 0, ended });
  expect(bench.commit()).toEqual([]);
  expect(bench.job.counters).toEqual({ words: 3 });
});

test('a new coordinator gives servers time to be heard before it takes their outputs for lost', () => {
  const bench = new Bench(record(2, 1));
  bench.work(A, 2);
  bench.succeed();
  bench.pass(LEASE_MS);
  expect(bench.commit()).toEqual([]);
  bench.pass(250);
  expect(bench.commit()).toEqual([{ fact: 'maps-lost', epoch: 1, tasks: [0, 1] }]);
});

test('a process that stood still does not take the others for lost', () => {
  const bench = new Bench(record(2, 1));
  bench.work(A, 2);
  bench.nowMs += 60_000;
  bench.coordinator.tick(bench.nowMs);
  expect(bench.commit()).toEqual([]);
});

/** The job over stored keys has got its view. */
function renew(bench: Bench, epoch: number): string {
  const view = `mr-1-1-${epoch}`;
  bench.coordinator.renew(1, epoch, view);
  expect(bench.commit()).toEqual([{ fact: 'epoch', epoch, view }]);
  return view;
}

test('stored keys are read when there is a view of them, and where', () => {
  const bench = new Bench(record(2, 1, { input: KEYS }));
  expect(bench.report(A, { views: ['mr-1-1-1'] }).start).toEqual([]);
  expect(bench.coordinator.viewless(bench.nowMs)).toEqual([bench.job]);
  const view = renew(bench, 1);
  expect(bench.coordinator.viewless(bench.nowMs)).toEqual([]);
  expect(bench.report(A).start).toEqual([]);
  const [order] = bench.report(B, { views: [view] }).start;
  expect(order!.split).toMatchObject({ kind: 'keys', view, fromSlot: 0, toSlot: 8192 });
});

test('of several jobs over stored keys one has a view at a time, as long as it maps', () => {
  const bench = new Bench(record(1, 1, { input: { ...KEYS, splits: 1 } }));
  const second = bench.coordinator.add(record(2, 1, { id: 2, input: KEYS }), 8, [], 0);
  expect(bench.coordinator.viewless(bench.nowMs)).toEqual([bench.job]);
  const views = [renew(bench, 1)];
  expect(bench.coordinator.viewless(bench.nowMs)).toEqual([]);
  const [order] = bench.report(A, { views }).start;
  bench.report(A, { free: 0, views, ended: [endOf(order!)] });
  bench.commit();
  expect(bench.coordinator.viewless(bench.nowMs)).toEqual([second]);
});

test('what has failed on one server goes to another, also to one where other tasks have failed', () => {
  const bench = new Bench(record(4, 1));
  const failure = { message: 'there is no file', deterministic: true, local: true };
  const fail = (node: number, task: number) => {
    const order = bench.report(node, { free: 4 }).start.find((each) => each.task === task);
    if (order !== undefined)
      bench.report(node, { free: 0, ended: [endOf(order, { end: 'failed', failure })] });
    return order !== undefined;
  };
  // B has failed so often that it is asked last; A has failed the one that B could do.
  bench.report(A, { free: 0 });
  for (const task of [0, 1, 2]) {
    bench.pass(2000, [A, { free: 0 }], [B, { free: 0 }]);
    expect(fail(B, task)).toBe(true);
  }
  bench.pass(2000, [A, { free: 0 }], [B, { free: 0 }]);
  expect(fail(A, 3)).toBe(true);
  expect(bench.report(A, { free: 4 }).start.map(({ task }) => task)).not.toContain(3);
  bench.pass(250, [A, { free: 0 }], [B, { free: 0 }]);
  expect(bench.report(B, { free: 4 }).start.map(({ task }) => task)).toContain(3);
});

test('a server without room for anything is not waited for', () => {
  const bench = new Bench(record(1, 1));
  const full = [B, { free: 0, threads: 0 }] as const;
  bench.report(...full);
  const [order] = bench.report(A).start;
  const failure = { message: 'a worker has died', deterministic: false, local: true };
  bench.report(A, { free: 0, ended: [endOf(order!, { end: 'failed', failure })] });
  bench.pass(1000, full, [A, { free: 0 }]);
  expect(bench.report(A).start).toHaveLength(1);
});

test('a server whose disk runs full again and again does no more of the job, which fails when there is no other', () => {
  const bench = new Bench(record(4, 1));
  bench.report(B, { free: 0 });
  const runFull = (node: number) => {
    bench.report(node);
    bench.report(node, { free: 0, threads: 0 });
  };
  for (let i = 0; i < 3; i++) runFull(A);
  expect(bench.report(A).start).toEqual([]);
  expect(bench.job.failure).toBeUndefined();
  for (let i = 0; i < 3; i++) runFull(B);
  expect(bench.job.failure).toMatchObject({
    failure: { message: expect.stringContaining('run full 3 times') },
  });
});

test('when no server can be fetched from, all map, and the job fails in the end, with the reason', () => {
  const bench = new Bench(record(2, 1));
  const shuffle = { host: 'h', port: 0 };
  bench.pass(16_000, [A, { free: 0, shuffle }], [B, { free: 0, shuffle }]);
  for (const node of [A, B]) {
    const [order] = bench.report(node, { shuffle }).start;
    bench.report(node, { free: 0, shuffle, ended: [endOf(order!)] });
    bench.commit();
  }
  bench.pass(70_000, [A, { shuffle }], [B, { shuffle }]);
  expect(bench.commit()).toEqual([]);
  expect(bench.job.failure).toMatchObject({ failure: { message: expect.stringContaining('mr-port') } });
});

test('a server that was started again may be able to do what it could not', () => {
  const bench = new Bench(record(2, 1));
  bench.report(B, { free: 0 });
  const failure = { message: 'no --mr-modules', deterministic: true, local: true };
  const [order] = bench.report(A).start;
  bench.report(A, { free: 0, ended: [endOf(order!, { end: 'unable', failure })] });
  expect(bench.report(A).start).toEqual([]);
  expect(bench.report(A, { run: 'another' }).start).toHaveLength(1);
});

test('when no server has the view any more, all begins anew on another', () => {
  const bench = new Bench(record(2, 1, { input: KEYS }));
  const views = [renew(bench, 1)];
  const [order] = bench.report(A, { views }).start;
  bench.report(A, { free: 0, views, ended: [endOf(order!)] });
  bench.commit();
  expect(bench.coordinator.viewless(bench.nowMs)).toEqual([]);
  bench.pass(1000, [A, { free: 0 }]);
  expect(bench.coordinator.viewless(bench.nowMs)).toEqual([]);
  bench.pass(5250, [A, { free: 0 }]);
  expect(bench.coordinator.viewless(bench.nowMs)).toEqual([bench.job]);
  const view = renew(bench, 2);
  expect(bench.job.progress).toMatchObject({ epoch: 2, maps: { done: 0 } });
  // What comes late of the epoch before counts for nothing.
  bench.report(A, { free: 0, ended: [endOf(order!)] });
  expect(bench.commit()).toEqual([]);
  expect(bench.report(A, { views: [view] }).start[0]!.split).toMatchObject({ view });
});

test('a server is not asked again for what it cannot do at all, and the job fails when no server can', () => {
  const bench = new Bench(record(4, 1));
  const failure = { message: 'no --mr-modules', deterministic: true, local: true };
  bench.report(B, { free: 0 });
  const [order] = bench.report(A).start;
  bench.report(A, { free: 0, ended: [endOf(order!, { end: 'unable', failure })] });
  expect(bench.report(A).start).toEqual([]);
  expect(bench.job.failure).toBeUndefined();
  const [other] = bench.report(B).start;
  bench.report(B, { free: 0, ended: [endOf(other!, { end: 'unable', failure })] });
  expect(bench.job.failure).toMatchObject({ failure: { message: 'no --mr-modules' } });
});

test('a server from which nobody can fetch maps nothing while there are others', () => {
  const bench = new Bench(record(4, 1));
  const shuffle = { host: 'h', port: 0 };
  bench.report(A, { free: 0, shuffle });
  bench.pass(16_000, [A, { free: 0, shuffle }], [B, { free: 0 }]);
  expect(bench.report(A, { shuffle }).start).toEqual([]);
  expect(bench.report(B).start).toHaveLength(1);
});
