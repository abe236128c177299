/**
 * `--sequential`: a job in one thread, without splits and tasks (sequential.ts), by which the others can be checked. In a
 * thread all the same, so that the process can be told to stop.
 */
import { assert } from '../lib/assert.ts';
import type { BulkFiles, Thread, Threads, WorkerSide } from '../lib/bulk.ts';
import type { InputFile } from './inputs.ts';
import type { JobOutcome } from './local.ts';
import { loadMeaning, runSequential } from './sequential.ts';
import type { Counters, JobSpec, TaskFailure } from './tasks.ts';
import { failureOf } from './worker.ts';

/** The part of the program that such a thread is. */
export const MAPREDUCE_SEQUENTIAL = 'mapreduce-sequential';

interface Mission {
  readonly spec: JobSpec;
  readonly inputs: readonly InputFile[];
}

type Report =
  | { readonly kind: 'done'; readonly parts: readonly string[]; readonly counters: Counters }
  | { readonly kind: 'failed'; readonly failure: TaskFailure };

export class SequentialJob {
  readonly #mission: Mission;
  readonly #threads: Threads;
  #thread: Thread | undefined;
  #outcome: JobOutcome | undefined;

  constructor(mission: Mission, threads: Threads) {
    this.#mission = mission;
    this.#threads = threads;
  }

  /** Nobody knows. */
  get progress(): undefined {
    return undefined;
  }

  /** Once. Resolves when the thread has ended. */
  run(): Promise<JobOutcome> {
    assert(this.#thread === undefined, 'a job runs once');
    return new Promise((resolve) => {
      if (this.#outcome !== undefined) return resolve(this.#outcome);
      this.#thread = this.#threads.start(MAPREDUCE_SEQUENTIAL, this.#mission, {
        onMessage: (message) => this.#end(outcomeOf(message as Report)),
        onExit: (error) => {
          const message = error === null ? 'the thread ended by itself' : error.message;
          resolve(this.#outcome ?? { outcome: 'failed', failure: { message, deterministic: false } });
        },
      });
    });
  }

  cancel(): void {
    this.#end({ outcome: 'cancelled' });
  }

  #end(outcome: JobOutcome): void {
    this.#outcome ??= outcome;
    this.#thread?.terminate();
  }
}

function outcomeOf(report: Report): JobOutcome {
  if (report.kind === 'failed') return { outcome: 'failed', failure: report.failure };
  return { outcome: 'done', parts: report.parts, counters: report.counters };
}

/** The thread's side. */
export function runSequentialWorker(side: WorkerSide, files: BulkFiles): void {
  const { spec, inputs } = side.data as Mission;
  const post = (report: Report) => side.post(report);
  loadMeaning(spec, files).then(
    (job) => post(reportOf(() => runSequential({ spec, job, files }, inputs))),
    (error: unknown) => post({ kind: 'failed', failure: failureOf(error) }),
  );
  // The other side ends the thread; until then it has to live.
  side.onMessage(() => {});
}

function reportOf(run: () => { readonly parts: readonly string[]; readonly counters: Counters }): Report {
  try {
    const { parts, counters } = run();
    return { kind: 'done', parts, counters };
  } catch (error) {
    return { kind: 'failed', failure: failureOf(error) };
  }
}
