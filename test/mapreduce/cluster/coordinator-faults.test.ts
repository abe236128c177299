/** What the coordinator must stand: facts of an epoch that is over, time without jobs, servers not heard of yet, no way to fetch. */
import { expect, test } from 'vitest';
import { Coordinator } from '../../../src/mapreduce/cluster/coordinator.ts';
import { encodeMessage, type Orders, type Report } from '../../../src/mapreduce/cluster/messages.ts';
import type { Fact } from '../../../src/mapreduce/cluster/records.ts';
import { readSubmission } from '../../../src/mapreduce/cluster/submission.ts';
import { SERVICE_PAYLOAD_BYTES_MAX } from '../../../src/server/service.ts';
import { endOf, record } from './job-facts.ts';

const [A, B, C] = [101, 102, 103] as const;
const HOUR_MS = 3_600_000;
const KEYS = { kind: 'keys', db: 0, pattern: 'Kg==', splits: 2 } as const;

/** Reports with numbers that grow. */
function reporter(coordinator: Coordinator) {
  let seq = 0;
  return (node: number, nowMs: number, more: Partial<Report> = {}): Orders =>
    coordinator.heard(
      node,
      {
        ...{ run: `run ${node}`, seq: ++seq, free: 1, running: [], ended: [], views: [], threads: 1 },
        shuffle: { host: `host${node}`, port: 1000 + node },
        ...more,
      },
      nowMs,
    )!;
}

function commit(coordinator: Coordinator, nowMs: number): Fact[] {
  const facts = coordinator.takeFacts();
  coordinator.apply(facts, nowMs);
  return facts.map(({ fact }) => fact);
}

test('an attempt of the epoch before does not count when it ends while the new epoch is on its way into the log', () => {
  const coordinator = new Coordinator(1, 0);
  const job = coordinator.add(record(0, 2, { input: KEYS }), 7, [], 0);
  const report = reporter(coordinator);
  const views = ['mr-1-1-1'];
  coordinator.renew(1, 1, views[0]!);
  commit(coordinator, 0);
  const maps = report(A, 0, { free: 2, views }).start;
  report(A, 0, { free: 0, views, ended: maps.map((order) => endOf(order)) });
  commit(coordinator, 0);
  // A part is done of the first view when an output is lost, and then the view.
  const [slow] = report(B, 0).start;
  const [other] = report(C, 0).start;
  const [, made] = other!.sources![0]!;
  const unfetched = { end: 'unfetched', node: A, maps: [[0, made]], message: 'gone' } as const;
  report(C, 0, { free: 0, ended: [endOf(other!, unfetched)] });
  commit(coordinator, 0);
  expect(job.phase).toBe('map');
  coordinator.renew(1, 2, 'mr-1-1-2');
  const epoch = coordinator.takeFacts();
  // While that is being written.
  report(B, 0, { free: 0, ended: [endOf(slow!)] });
  coordinator.apply(epoch, 0);
  commit(coordinator, 0);
  expect(job.progress).toMatchObject({ epoch: 2, reduces: { done: 0 } });
});

test('a server that is not heard of any more is lost, also when there were no jobs for an hour before', () => {
  const coordinator = new Coordinator(1, 0);
  const report = reporter(coordinator);
  const job = coordinator.add(record(2, 1), 7, [], HOUR_MS);
  const [order] = report(A, HOUR_MS).start;
  expect(order).toBeDefined();
  // A dies.
  for (let ms = 250; ms <= 60_000; ms += 250) coordinator.tick(HOUR_MS + ms);
  expect(job.progress.maps.running).toBe(0);
});

test('after a change of the coordinator a reduce task is told where all outputs can be had', () => {
  const facts: Fact[] = [A, B].map((node, task) => ({
    ...{
      fact: 'map' as const,
      epoch: 1,
      task,
      attempt: task + 1,
      node,
      bytes: 5,
      inputBytes: 0,
      counters: {},
    },
  }));
  const coordinator = new Coordinator(2, 0);
  coordinator.add(record(2, 2), 7, facts, 0);
  const report = reporter(coordinator);
  // B, which lives, comes to be heard a moment later.
  const early = report(A, 10, { free: 2 }).start;
  report(B, 20, { free: 0 });
  const orders = [...early, ...report(A, 250, { free: 2 }).start];
  expect(orders.length).toBeGreaterThan(0);
  for (const { addresses } of orders) expect(addresses!.map(([node]) => node)).toContain(B);
});

test('a job fails when its map outputs can never be fetched, and says why', () => {
  const coordinator = new Coordinator(1, 0);
  const job = coordinator.add(record(4, 2), 7, [], 0);
  const report = reporter(coordinator);
  let nowMs = 0;
  for (let round = 0; round < 1000 && job.phase !== 'done' && job.phase !== 'failed'; round++) {
    for (const node of [A, B]) {
      nowMs += 250;
      for (const order of report(node, nowMs).start) {
        const holder = order.sources?.find(([, , at]) => at !== node)?.[2];
        const message = 'tried 3 times: connection refused';
        const end =
          holder === undefined ? undefined : ({ end: 'unfetched', node: holder, maps: [], message } as const);
        // Nobody gets through to anybody.
        report(node, nowMs, { free: 0, ended: [endOf(order, end)] });
        commit(coordinator, nowMs);
      }
    }
  }
  expect(job.phase).toBe('failed');
  expect(job.failure).toMatchObject({ failure: { message: expect.stringContaining('connection refused') } });
});

test('a complaint about an output that has been made anew since loses nothing', () => {
  const coordinator = new Coordinator(1, 0);
  coordinator.add(record(1, 3), 7, [], 0);
  const report = reporter(coordinator);
  const [map] = report(A, 0).start;
  report(A, 0, { free: 0, ended: [endOf(map!)] });
  commit(coordinator, 0);
  const [first] = report(B, 0).start;
  const [second] = report(C, 0).start;
  const [, made] = first!.sources![0]!;
  const damaged = { end: 'unfetched', node: A, maps: [[0, made]], message: 'damaged' } as const;
  report(B, 0, { free: 0, ended: [endOf(first!, damaged)] });
  commit(coordinator, 0);
  const [again] = report(A, 0).start;
  report(A, 0, { free: 0, ended: [endOf(again!)] });
  commit(coordinator, 0);
  // It was told of the output that was damaged, and comes to it only now.
  report(C, 0, { free: 0, ended: [endOf(second!, damaged)] });
  expect(commit(coordinator, 0)).toEqual([]);
});

test('orders for many threads fit an answer, whatever a client has submitted', () => {
  const text = (value: string) => Buffer.from(value);
  const pattern = `*${'a'.repeat(65_000)}`;
  const notes = ['a', 'b', 'c'].flatMap((name) => [name, '€'.repeat(21_000)]);
  const args = ['wc', 'KEYS', pattern, 'ARGS', '3', ...notes].map(text);
  // More is refused at once.
  expect(() => readSubmission(args, 0)).toThrow('the arguments are too long');
  const submission = readSubmission([...args.slice(0, 5), ...args.slice(9)].slice(0, 3), 0);
  const coordinator = new Coordinator(1, 0);
  const input = {
    kind: 'keys',
    db: 0,
    pattern: Buffer.from(pattern).toString('base64'),
    splits: 128,
  } as const;
  coordinator.add(record(0, 1, { input, args: submission.args }), 7, [], 0);
  coordinator.renew(1, 1, 'mr-1-1-1');
  commit(coordinator, 0);
  const orders = reporter(coordinator)(A, 0, { free: 256, views: ['mr-1-1-1'] });
  const bytes = encodeMessage({ answer: 'orders', lastJob: 1, ...orders }).length;
  expect(bytes).toBeLessThanOrEqual(SERVICE_PAYLOAD_BYTES_MAX);
});
