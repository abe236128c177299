/**
 * What a job that a client submits reads, found out in a thread: looking for files may take long, and the user's own code is
 * loaded only there. The thread lives for this one question.
 *
 * Names of files are those that the client has used, relative to its working directory if they are relative, so that a job
 * says the same wherever it runs; what tasks open are absolute paths.
 */
import type { BulkFiles, Threads, WorkerSide } from '../../lib/bulk.ts';
import { BulkFileError } from '../../lib/bulk.ts';
import { sha256Hex } from '../../lib/digest.ts';
import type { Clock } from '../../lib/env.ts';
import { ConfigError, HstoreError } from '../../lib/errors.ts';
import { findInputs } from '../inputs.ts';
import { absolutePath, relativeFiles } from '../relative-files.ts';
import { planSplits } from '../splits.ts';
import type { JobName, JobSpec, Split } from '../tasks.ts';
import { readModule } from '../user-module.ts';
import { recordsOf } from '../worker-task.ts';

/** The part of the program that such a thread is. */
export const MAPREDUCE_PLANNER = 'mapreduce-planner';

export interface PlanMission {
  /** Of a module `sha256` is what it is to have; empty: whatever it has. */
  readonly job: JobName;
  readonly args: JobSpec['args'];
  /** Empty: the input is keys. */
  readonly inputs: readonly string[];
  readonly workingDirectory: string | undefined;
  /** Undefined: by the size of the input, and this number of threads that will work on it. */
  readonly splitBytes: number | undefined;
  readonly threads: number;
}

export interface Plan {
  readonly job: JobName;
  readonly splits: readonly Split[];
  readonly files: number;
  readonly bytes: number;
}

export type PlanOutcome =
  | { readonly outcome: 'planned'; readonly plan: Plan }
  | { readonly outcome: 'refused'; readonly message: string };

const PLAN_MS_MAX = 60_000;
/** All of them are in the job's record, and in the question that submits it. */
export const CLUSTER_SPLITS_MAX = 10_000;
/** For each thread, so that a fast one can do more than a slow one (section 3.5 of the paper: many more than machines). */
const SPLITS_PER_THREAD = 4;
const SPLIT_BYTES_MIN = 4 << 20;
const SPLIT_BYTES_MAX = 64 << 20;

export function planInThread(mission: PlanMission, threads: Threads, clock: Clock): Promise<PlanOutcome> {
  return new Promise((resolve) => {
    const end = (outcome: PlanOutcome): void => {
      timer.cancel();
      // First: the thread may end while it is told to.
      resolve(outcome);
      thread.terminate();
    };
    const refuse = (message: string) => end({ outcome: 'refused', message });
    const thread = threads.start(MAPREDUCE_PLANNER, mission, {
      onMessage: (message) => end(message as PlanOutcome),
      onExit: (error) => refuse(error?.message ?? 'the thread that looks for the input has ended'),
    });
    const timer = clock.after(PLAN_MS_MAX, () =>
      refuse(`looking for the input has taken over ${PLAN_MS_MAX / 1000} s`),
    );
  });
}

/** The thread's side. */
export function runPlanner(side: WorkerSide, files: BulkFiles): void {
  const post = (outcome: PlanOutcome) => side.post(outcome);
  plan(side.data as PlanMission, files).then(
    (found) => post({ outcome: 'planned', plan: found }),
    (error: unknown) => post({ outcome: 'refused', message: messageOf(error) }),
  );
  // The other side ends the thread; until then it has to live.
  side.onMessage(() => {});
}

async function plan(mission: PlanMission, files: BulkFiles): Promise<Plan> {
  const { args, inputs, workingDirectory } = mission;
  const job = withHash(mission.job, files);
  const records = await recordsOf(specOf(job, args), files);
  const found = findInputs(inputs, relativeFiles(files, workingDirectory)).map((file) => {
    const path = absolutePath(file.path, workingDirectory);
    return path === file.path ? file : { ...file, path, name: file.path };
  });
  const bytes = found.reduce((sum, file) => sum + file.bytes, 0);
  const splitBytes = mission.splitBytes ?? goodSplitBytes(bytes, mission.threads);
  const splits = planSplits(found, { workers: 1, splitBytes, wholeFiles: records === 'whole' });
  if (splits.length > CLUSTER_SPLITS_MAX) {
    throw new ConfigError(
      `the input would be ${splits.length} pieces, over ${CLUSTER_SPLITS_MAX}: choose a larger split, or fewer files at a time`,
    );
  }
  return { job, splits, files: found.length, bytes };
}

function goodSplitBytes(totalBytes: number, threads: number): number {
  const fair = Math.ceil(totalBytes / (threads * SPLITS_PER_THREAD));
  const good = Math.min(Math.max(fair, SPLIT_BYTES_MIN), SPLIT_BYTES_MAX);
  return Math.max(good, Math.ceil((2 * totalBytes) / CLUSTER_SPLITS_MAX));
}

/** Throws ConfigError when the module is not what the client has. */
function withHash(job: JobName, files: BulkFiles): JobName {
  if (job.kind === 'builtin') return job;
  const sha256 = sha256Hex(readModule(job.path, files));
  if (job.sha256 !== '' && job.sha256 !== sha256) {
    throw new ConfigError(
      `${job.path}, on the server, is not the job that you have: its SHA-256 is ${sha256}`,
    );
  }
  return { ...job, sha256 };
}

function specOf(job: JobName, args: JobSpec['args']): JobSpec {
  return { job, args, reducers: 1, memoryBytes: 0, output: 'keyed', temporary: '' };
}

function messageOf(error: unknown): string {
  if (error instanceof BulkFileError || error instanceof HstoreError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
