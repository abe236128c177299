/** A reduce task: merges its partition of all intermediate files, and writes the rows of each key into a part. */
import type { ByteJob, WriteRow } from './jobs/byte-job.ts';
import type { TaskSide } from './map-task.ts';
import { type Merge, mergePartition } from './merge.ts';
import { PartWriter } from './parts.ts';
import { PrefixViews } from './prefix-views.ts';
import type { TaskProgress } from './task-progress.ts';
import type { ReduceTask, TaskDone } from './tasks.ts';

/** Of keys and of values: a sign of life after so many. */
const REPORT_EVERY = 16 << 10;
const BUFFER_BYTES_MIN = 4 << 10;
const BUFFER_BYTES_MAX = 128 << 10;

export function runReduceTask(side: TaskSide, task: ReduceTask): TaskDone {
  const { spec, job, files, progress } = side;
  const path = `${spec.temporary}/part-${task.task}-${task.attempt}`;
  const unfinished = `${path}.unfinished`;
  const writer = files.create(unfinished);
  let bytes: number;
  try {
    try {
      const part = new PartWriter(writer, spec.output);
      const bufferBytes = Math.min(Math.max(spec.memoryBytes >> 8, BUFFER_BYTES_MIN), BUFFER_BYTES_MAX);
      const combine = job.gather === 'values' ? job.combine : undefined;
      const merging = { files, temporary: path, combine, bufferBytes };
      mergePartition(task.files, task.task, merging, (merge) =>
        reduceAll(job, merge, { progress, write: (row) => part.row(row) }),
      );
      part.flush();
      // Parts that are kept are on the disk before the job is done.
      if (spec.output === 'lines') writer.sync();
      bytes = part.bytes;
    } finally {
      writer.close();
    }
    files.rename(unfinished, path);
  } catch (error) {
    files.remove(unfinished);
    throw error;
  }
  return { file: path, bytes, counters: progress.counters };
}

function reduceAll(job: ByteJob, merge: Merge, to: { progress: TaskProgress; write: WriteRow }): void {
  const { progress } = to;
  const views = new PrefixViews();
  let steps = 0;
  const step = () => {
    if (++steps % REPORT_EVERY === 0) progress.alive();
  };
  const write: WriteRow = (row) => {
    step();
    to.write(row);
  };
  while (merge.nextKey()) {
    step();
    const key = views.of(merge.key, merge.keyLength);
    if (job.gather === 'counts') job.rows(key, merge.sum(), write, progress);
    else job.reduce(key, withSteps(merge, step), write, progress);
  }
}

function* withSteps(merge: Merge, step: () => void): Generator<Uint8Array> {
  while (merge.nextValue()) {
    step();
    yield merge.value;
  }
}
