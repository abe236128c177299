/** What a worker does: has the job, and executes tasks of it. Synchronous but for loading a module. */
import type { BulkFiles } from '../lib/bulk.ts';
import { builtinJob } from './jobs/builtin.ts';
import type { ByteJob, RecordKind } from './jobs/byte-job.ts';
import { moduleJob } from './jobs/module-job.ts';
import { runMapTask } from './map-task.ts';
import { runReduceTask } from './reduce-task.ts';
import { TaskProgress } from './task-progress.ts';
import type { JobSpec, Task, TaskDone } from './tasks.ts';
import { loadUserModule } from './user-module.ts';

export { TaskError } from './task-error.ts';

export type LoadedJob = ByteJob;

export interface WorkerSituation {
  readonly spec: JobSpec;
  readonly job: LoadedJob;
  readonly files: BulkFiles;
  /** So much of the input is done; called every so often in reduce tasks too, as a sign of life. */
  readonly report: (bytesDone: number) => void;
}

/** Throws ConfigError for what is no job, or has arguments that do not fit. */
export async function loadJob({ job, args }: JobSpec, files: BulkFiles): Promise<LoadedJob> {
  if (job.kind === 'builtin') return builtinJob(job.name, args);
  return moduleJob(await loadUserModule(job, files), job.path);
}

/** What a record is to the job: how its input may be split. Throws ConfigError. */
export async function recordsOf(spec: JobSpec, files: BulkFiles): Promise<RecordKind> {
  return (await loadJob(spec, files)).records;
}

/** Throws TaskError, BulkFileError, CorruptionError; what it has made by then is removed. */
export function runTask({ spec, job, files, report }: WorkerSituation, task: Task): TaskDone {
  const progress = new TaskProgress(task, spec.args, report);
  const side = { spec, job, files, progress };
  return task.phase === 'map' ? runMapTask(side, task) : runReduceTask(side, task);
}
