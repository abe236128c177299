/** A job, and what comes of its attempts, as servers and the coordinator tell each other. */
import type { AttemptEnd, EndedAttempt, Order } from '../../../src/mapreduce/cluster/messages.ts';
import type { JobRecord } from '../../../src/mapreduce/cluster/records.ts';

/** Over files, unless `more` says otherwise. */
export function record(maps: number, reducers: number, more: Partial<JobRecord> = {}): JobRecord {
  const splits = Array.from({ length: maps }, (_, i) => ({
    ...{ kind: 'range' as const, path: `/in/${i}`, from: 0, to: 10, fileBytes: 10, modifiedMs: 1 },
  }));
  return {
    ...{ id: 1, token: 't', name: 'wc', job: { kind: 'builtin', name: 'wc' }, args: {}, secret: 'ab' },
    ...{ reducers, memoryBytes: 1 << 20, bytes: 10 * maps, submittedMs: 0 },
    ...{ input: { kind: 'files', splits }, out: { kind: 'store' } },
    ...more,
  };
}

/** Done, unless `end` says otherwise. */
export function endOf(order: Order, end?: AttemptEnd): EndedAttempt {
  const { job, epoch, phase, task, attempt } = order;
  const done = { file: '', bytes: 5, counters: { words: 3 } };
  return { job, epoch, phase, task, attempt, ...(end ?? { end: 'done', done, chunks: 1, inputBytes: 0 }) };
}
