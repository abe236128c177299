/** A worker: a thread that executes the tasks that it is given, one after the other, and tells how it gets on. */
import { BulkFileError, type BulkFiles, type WorkerSide } from '../lib/bulk.ts';
import { ConfigError, HstoreError } from '../lib/errors.ts';
import type { JobSpec, Task, TaskFailure } from './tasks.ts';
import type { FromWorker, ToWorker } from './worker-protocol.ts';
import { type LoadedJob, loadJob, runTask, TaskError } from './worker-task.ts';

/** Never returns to its caller anything: it lives until the other side ends it. */
export function runWorker(side: WorkerSide, files: BulkFiles): void {
  const spec = side.data as JobSpec;
  const post = (message: FromWorker) => side.post(message);
  loadJob(spec, files).then(
    (job) => {
      side.onMessage((message) => execute(spec, job, (message as ToWorker).task, { files, post }));
      post({ kind: 'ready' });
    },
    (error: unknown) => post({ kind: 'unable', failure: failureOf(error) }),
  );
}

function execute(
  spec: JobSpec,
  job: LoadedJob,
  task: Task,
  { files, post }: { files: BulkFiles; post: (message: FromWorker) => void },
): void {
  const { attempt } = task;
  try {
    const report = (bytes: number) => post({ kind: 'progress', attempt, bytes });
    const done = runTask({ spec, job, files, report }, task);
    post({ kind: 'done', attempt, done });
  } catch (error) {
    post({ kind: 'failed', attempt, failure: failureOf(error) });
  }
}

export function failureOf(error: unknown): TaskFailure {
  if (error instanceof TaskError) return error.failure;
  if (error instanceof BulkFileError) {
    // A disk that is full may have room again; a file that is gone stays so.
    const { message, path: file, code } = error;
    return { message, file, deterministic: code === 'ENOENT', local: true };
  }
  // Its text is for people; a job that is none stays so.
  if (error instanceof HstoreError)
    return { message: error.message, deterministic: error instanceof ConfigError };
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { message: text, deterministic: false };
}
