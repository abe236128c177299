/** The coordinator on its host: views of one name, ends of several jobs at once, cancelling, clearing what is left, queued jobs. */
import { Buffer } from 'node:buffer';
import { expect, test } from 'vitest';
import { Coordination } from '../../../src/mapreduce/cluster/coordination.ts';
import { clearChunks } from '../../../src/mapreduce/cluster/ending.ts';
import type { EndedAttempt, Order, Report } from '../../../src/mapreduce/cluster/messages.ts';
import { chunkKey, type JobOrderRecord, uploadsKey } from '../../../src/mapreduce/cluster/records.ts';
import { Reign, ReignLostError } from '../../../src/mapreduce/cluster/reign.ts';
import { MemoryStore } from './memory-store.ts';

const SPLIT = { kind: 'range', path: '/in', from: 0, to: 10, fileBytes: 10, modifiedMs: 1 } as const;
const KEYS = { kind: 'keys', db: 0, pattern: 'Kg==', splits: 2 } as const;

function orderOf(token: string, more: Partial<JobOrderRecord> = {}): JobOrderRecord {
  return {
    ...{ token, name: token, job: { kind: 'builtin', name: 'wc' }, args: {}, reducers: 1, memoryBytes: 1 },
    ...{ input: { kind: 'files', splits: [SPLIT] }, out: { kind: 'store' }, bytes: 10 },
    ...more,
  };
}

let seq = 0;
function reportOf(store: MemoryStore, more: Partial<Report> = {}): Report {
  return {
    ...{ run: 'run', seq: ++seq, free: 4, running: [], ended: [], views: store.views, threads: 4 },
    shuffle: { host: 'h', port: 1 },
    ...more,
  };
}

function endOf({ job, epoch, phase, task, attempt }: Order): EndedAttempt {
  const done = { file: '', bytes: 0, counters: {} };
  return { job, epoch, phase, task, attempt, end: 'done', done, chunks: 0, inputBytes: 0 };
}

const coordinationOf = (store: MemoryStore, id: number) =>
  new Coordination(store.hostOf(id), { resultBytesMax: () => 1 << 30 });

test('a freeze that a coordinator has left behind is not of the view that the next one reads', async () => {
  const store = new MemoryStore();
  const [first, second] = [coordinationOf(store, 1), coordinationOf(store, 2)];
  let late = () => {};
  store.onFreeze = (_id, carryOut) => {
    late = carryOut;
  };
  // It is on its way when another server is elected.
  await store.ask(first, 1, { ask: 'submit', order: orderOf('one', { input: KEYS }) });
  [store.leader, store.term, store.onFreeze] = [2, 2, undefined];
  await store.pass(1000);
  await store.ask(second, 2, { ask: 'submit', order: orderOf('two', { input: KEYS }) });
  const answer = await store.ask(second, 1, { ask: 'next', report: reportOf(store) });
  const split = answer?.answer === 'orders' ? answer.start[0]?.split : undefined;
  expect(split).toMatchObject({ kind: 'keys' });
  late();
  const [own, other] = store.frozen;
  expect(split).toMatchObject({ view: own });
  expect(other).not.toBe(own);
});

test('a job that is cancelled while another one ends, and is done by then, stays done', async () => {
  const store = new MemoryStore();
  const coordination = coordinationOf(store, 1);
  const ask = (report: Report) => store.ask(coordination, 1, { ask: 'next', report }, 50);
  for (const token of ['one', 'two'])
    await store.ask(coordination, 1, { ask: 'submit', order: orderOf(token) });
  let ending = false;
  for (const phase of ['map', 'reduce']) {
    const answer = await ask(reportOf(store));
    const start = answer?.answer === 'orders' ? answer.start : [];
    expect(start.map((order) => order.phase)).toEqual([phase, phase]);
    if (phase === 'reduce') {
      // The end of the first job takes its time.
      store.onTransaction = ({ commands }, carryOut) => {
        const isEnd = commands.some(({ argv }) => Buffer.from(argv[1]!).toString() === 'mr:result:1');
        ending ||= isEnd;
        if (isEnd) store.hostOf(1).clock.after(200, carryOut);
        else carryOut();
      };
    }
    await ask(reportOf(store, { free: 0, ended: start.map(endOf) }));
    if (phase === 'map') await store.pass(300);
    else while (!ending) await store.pass(1);
  }
  const cancelled = await store.ask(coordination, 1, { ask: 'cancel', id: 2 }, 2000);
  const answer = await store.ask(coordination, 1, { ask: 'jobs', id: 2 });
  const state = answer?.answer === 'jobs' ? answer.jobs[0]?.state : undefined;
  // Either of both, but not both.
  expect({ cancelled, state, hasResult: store.values.has('mr:result:2') }).toEqual({
    cancelled: { answer: 'changed', changed: state === 'cancelled' },
    state: expect.any(String),
    hasResult: state === 'done',
  });
});

test('that a job need not be cancelled is said only of one that has ended', async () => {
  const store = new MemoryStore();
  const coordination = coordinationOf(store, 1);
  await store.ask(coordination, 1, { ask: 'submit', order: orderOf('one') });
  // Writes take longer than a question is waited for, and then come to nothing.
  store.onTransaction = () => {};
  expect(await store.ask(coordination, 1, { ask: 'cancel', id: 1 }, 2100)).toBeUndefined();
  const again = await store.ask(coordination, 1, { ask: 'cancel', id: 1 }, 2000);
  expect(again).not.toEqual({ answer: 'changed', changed: false });
});

test('chunks that do not count are all cleared, also when that is interrupted', async () => {
  const store = new MemoryStore();
  const host = store.hostOf(1);
  const wait = async <T>(promise: Promise<T>): Promise<T> => {
    promise.catch(() => {});
    await store.pass(1000);
    return promise;
  };
  for (let i = 0; i < 200; i++)
    store.values.set(chunkKey(1, 0, 9, i).toString(), { value: Buffer.of(1), version: 1 });
  store.values.set(uploadsKey(1).toString(), { value: Buffer.from('0 9\n'), version: 1 });
  const first = await wait(Reign.take(host));
  let deletes = 0;
  store.onTransaction = ({ commands }, carryOut) => {
    // After the first of them another server coordinates.
    if (Buffer.from(commands[0]!.argv[0]!).toString() === 'DEL' && ++deletes === 2) {
      store.values.set('mr:reign', { value: Buffer.from('2'), version: -1 });
    }
    carryOut();
  };
  await expect(wait(clearChunks(first, 1, 'removed'))).rejects.toThrow(ReignLostError);
  store.onTransaction = undefined;
  const second = await wait(Reign.take(host));
  await wait(clearChunks(second, 1, 'removed'));
  expect([...store.values.keys()].filter((key) => key.startsWith('mr:out:'))).toEqual([]);
});

test('jobs over stored keys that wait for their turn do not take the views of each other', async () => {
  const store = new MemoryStore();
  const coordination = coordinationOf(store, 1);
  for (let i = 0; i < 6; i++) {
    await store.ask(coordination, 1, { ask: 'submit', order: orderOf(`job ${i}`, { input: KEYS }) });
  }
  // All threads are busy with the first one, which takes its time.
  for (let ms = 0; ms < 120_000; ms += 250) {
    await store.ask(coordination, 1, { ask: 'next', report: reportOf(store, { free: 0 }) }, 250);
  }
  const answer = await store.ask(coordination, 1, { ask: 'jobs' });
  const jobs = answer?.answer === 'jobs' ? answer.jobs : [];
  expect(jobs.map(({ state, failure }) => failure?.message ?? state)).toEqual(Array(6).fill('active'));
});

test('what a report tells is written at once, and not when time has passed', async () => {
  const store = new MemoryStore();
  const coordination = coordinationOf(store, 1);
  await store.ask(coordination, 1, { ask: 'submit', order: orderOf('one') });
  const answer = await store.ask(coordination, 1, { ask: 'next', report: reportOf(store) }, 5);
  const start = answer?.answer === 'orders' ? answer.start : [];
  // Between two ticks.
  await store.pass(260 - (store.nowMs % 250));
  await store.ask(coordination, 1, { ask: 'next', report: reportOf(store, { ended: start.map(endOf) }) }, 20);
  expect(store.values.has('mr:journal:1:0')).toBe(true);
});

test('a server is not told that a job is over which is only just being submitted', async () => {
  const store = new MemoryStore();
  const coordination = coordinationOf(store, 1);
  await store.ask(coordination, 1, { ask: 'submit', order: orderOf('one') });
  void coordination.answer(1, { ask: 'submit', order: orderOf('two', { input: KEYS }) });
  for (let ms = 0; ms < 20; ms++) {
    await store.pass(1);
    const answer = await coordination.answer(1, { ask: 'next', report: reportOf(store, { free: 0 }) });
    if (answer.answer !== 'orders' || answer.lastJob < 2) continue;
    // What is not active of those so far is over: the server lets go of its view.
    expect(answer.active.map(({ job }) => job)).toContain(2);
  }
});
