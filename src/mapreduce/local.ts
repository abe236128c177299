/**
 * A job on this machine: its tasks are given to threads, one at a time each, as the master says. The event loop of the
 * process never touches the bytes of the input.
 *
 * A thread that dies, or says nothing for long, is replaced, and what it was doing is done again. The job's intermediate
 * files lie in a directory of their own, which is removed whatever the end is.
 */
import { assert } from '../lib/assert.ts';
import type { Thread, Threads } from '../lib/bulk.ts';
import type { Clock, Timer } from '../lib/env.ts';
import { type Assignment, type JobFailure, Master, type WorkerId } from './master.ts';
import { splitBytesOf } from './splits.ts';
import type { Counters, JobSpec, Split, Task, TaskFailure } from './tasks.ts';
import { type FromWorker, MAPREDUCE_WORKER, type ToWorker } from './worker-protocol.ts';

export interface LocalJobOptions {
  readonly spec: JobSpec;
  readonly splits: readonly Split[];
  /** Threads; never more than there is to do at once. */
  readonly workers: number;
  readonly threads: Threads;
  readonly clock: Clock;
}

export type JobOutcome =
  /** `parts`: the files of the partitions, in order. */
  | { readonly outcome: 'done'; readonly parts: readonly string[]; readonly counters: Counters }
  | { readonly outcome: 'failed'; readonly failure: JobFailure | TaskFailure }
  | { readonly outcome: 'cancelled' };

export interface JobProgress {
  readonly phase: 'map' | 'reduce';
  readonly maps: { readonly done: number; readonly of: number };
  readonly reduces: { readonly done: number; readonly of: number };
  readonly bytes: { readonly done: number; readonly of: number };
}

interface Worker {
  readonly id: WorkerId;
  readonly thread: Thread;
  /** Undefined before it is ready, and while it has nothing to do. */
  assignment: Assignment | undefined;
  ready: boolean;
  heardMs: number;
  /** Of the task under way, read so far. */
  bytes: number;
}

/** A worker that says nothing for so long is replaced. It speaks after every megabyte or so. */
const SILENT_MS_MAX = 30_000;
const LOOK_EVERY_MS = 250;
/** When the looks themselves are so late, the whole process was asleep (Ctrl-Z, a suspended machine), and not a worker. */
const ASLEEP_MS_MIN = 5_000;
/** Threads that end, one after the other, before any has done anything: more would end too. */
const DEATHS_MAX = 16;
/** A thread that has been told to end may be in the middle of a read or write. */
const EXIT_MS_MAX = 5_000;

export class LocalJob {
  readonly #options: LocalJobOptions;
  readonly #master: Master;
  readonly #workers = new Map<WorkerId, Worker>();
  readonly #bytesTotal: number;
  #nextWorker = 1;
  #bytesDone = 0;
  #deaths = 0;
  #timer: Timer | undefined;
  #lookedMs = 0;
  /** Threads that have not ended yet, replaced ones among them. */
  #alive = 0;
  #mapFiles: readonly string[] | undefined;
  #outcome: JobOutcome | undefined;
  #settle: ((outcome: JobOutcome) => void) | undefined;

  constructor(options: LocalJobOptions) {
    this.#options = options;
    this.#master = new Master(options.splits.length, options.spec.reducers);
    this.#bytesTotal = options.splits.reduce((sum, split) => sum + splitBytesOf(split), 0);
  }

  get progress(): JobProgress {
    const master = this.#master;
    const inHand = [...this.#workers.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    const of = (phase: 'map' | 'reduce') => ({ done: master.doneCount(phase), of: master.count(phase) });
    return {
      phase: master.phase === 'map' ? 'map' : 'reduce',
      ...{ maps: of('map'), reduces: of('reduce') },
      bytes: { done: Math.min(this.#bytesDone + inHand, this.#bytesTotal), of: this.#bytesTotal },
    };
  }

  /** Once. Resolves when all threads have ended, so that nobody writes into the temporary directory any more. */
  run(): Promise<JobOutcome> {
    assert(this.#settle === undefined, 'a job runs once');
    return new Promise((resolve) => {
      this.#settle = resolve;
      if (this.#outcome !== undefined) return resolve(this.#outcome);
      const master = this.#master;
      const atOnce = Math.max(master.count('map'), master.count('reduce'));
      for (let i = 0; i < Math.min(this.#options.workers, atOnce); i++) this.#startWorker();
      this.#lookedMs = this.#options.clock.monotonicMs();
      this.#look();
    });
  }

  cancel(): void {
    this.#end({ outcome: 'cancelled' });
  }

  #startWorker(): void {
    const { threads, spec, clock } = this.#options;
    const id = this.#nextWorker++;
    this.#alive++;
    const thread = threads.start(MAPREDUCE_WORKER, spec, {
      onMessage: (message) => this.#heard(id, message as FromWorker),
      onExit: (error) => this.#exited(id, error),
    });
    const heardMs = clock.monotonicMs();
    this.#workers.set(id, { id, thread, assignment: undefined, ready: false, heardMs, bytes: 0 });
  }

  #heard(id: WorkerId, message: FromWorker): void {
    const worker = this.#workers.get(id);
    if (worker === undefined || this.#outcome !== undefined) return;
    const nowMs = this.#options.clock.monotonicMs();
    worker.heardMs = nowMs;
    switch (message.kind) {
      case 'ready':
        worker.ready = true;
        break;
      case 'progress':
        if (worker.assignment?.phase === 'map') worker.bytes = message.bytes;
        return;
      case 'done':
        this.#done(worker, message, nowMs);
        break;
      case 'failed':
        worker.assignment = undefined;
        worker.bytes = 0;
        this.#master.failed(message.attempt, message.failure, nowMs);
        break;
      case 'unable':
        return this.#end({ outcome: 'failed', failure: message.failure });
    }
    this.#assign();
  }

  #done(worker: Worker, { attempt, done }: FromWorker & { kind: 'done' }, nowMs: number): void {
    const { assignment } = worker;
    assert(assignment?.attempt === attempt, 'a worker does one task at a time', attempt, assignment?.attempt);
    worker.assignment = undefined;
    worker.bytes = 0;
    this.#deaths = 0;
    const { counts, abort } = this.#master.done(attempt, done, nowMs);
    if (!counts) return;
    if (assignment.phase === 'map') this.#bytesDone += splitBytesOf(this.#options.splits[assignment.task]!);
    for (const other of abort) {
      const late = [...this.#workers.values()].find((each) => each.assignment?.attempt === other.attempt);
      if (late !== undefined) this.#replace(late);
    }
  }

  #exited(id: WorkerId, error: Error | null): void {
    this.#alive--;
    if (this.#outcome !== undefined) return this.#settleWhenQuiet();
    const worker = this.#workers.get(id);
    if (worker === undefined) return;
    const message = error === null ? 'a worker ended by itself' : `a worker has died: ${error.message}`;
    this.#gone(worker, message);
    this.#assign();
  }

  /** A worker has died, or is given up. What it was doing may be the reason, so it counts as a failure. */
  #gone(worker: Worker, message: string): void {
    this.#workers.delete(worker.id);
    const failure = { message, deterministic: false };
    if (worker.assignment !== undefined) {
      this.#master.failed(worker.assignment.attempt, failure, this.#options.clock.monotonicMs());
    }
    worker.thread.terminate();
    if (++this.#deaths > DEATHS_MAX) this.#end({ outcome: 'failed', failure });
    else this.#startWorker();
  }

  /** Another worker was faster with its task. A thread cannot be interrupted but by ending it. */
  #replace(worker: Worker): void {
    this.#workers.delete(worker.id);
    this.#master.workerLost(worker.id);
    worker.thread.terminate();
    this.#startWorker();
  }

  /** Gives what is to be done to those who have nothing to do. */
  #assign(): void {
    if (this.#outcome !== undefined) return;
    const master = this.#master;
    const nowMs = this.#options.clock.monotonicMs();
    for (const worker of this.#workers.values()) {
      if (!worker.ready || worker.assignment !== undefined) continue;
      const assignment = master.next(worker.id, nowMs);
      if (assignment === undefined) break;
      worker.assignment = assignment;
      worker.heardMs = nowMs;
      const message: ToWorker = { task: this.#taskOf(assignment) };
      worker.thread.post(message);
    }
    if (master.phase === 'failed') this.#end({ outcome: 'failed', failure: master.failure! });
    if (master.phase === 'done') {
      this.#end({ outcome: 'done', parts: master.parts, counters: master.counters });
    }
  }

  #taskOf({ phase, task, attempt }: Assignment): Task {
    return phase === 'map'
      ? { phase, task, attempt, split: this.#options.splits[task]! }
      : { phase, task, attempt, files: this.#intermediateFiles() };
  }

  /** The same for all reduce tasks: nothing is lost on one machine. */
  #intermediateFiles(): readonly string[] {
    this.#mapFiles ??= this.#master.mapFiles;
    return this.#mapFiles;
  }

  #look(): void {
    const { clock } = this.#options;
    this.#timer = clock.after(LOOK_EVERY_MS, () => {
      const nowMs = clock.monotonicMs();
      const asleep = nowMs - this.#lookedMs > ASLEEP_MS_MIN;
      this.#lookedMs = nowMs;
      for (const worker of [...this.#workers.values()]) {
        if (asleep) worker.heardMs = nowMs;
        const busy = worker.assignment !== undefined || !worker.ready;
        if (busy && nowMs - worker.heardMs > SILENT_MS_MAX) {
          this.#gone(worker, `a worker has not moved for ${SILENT_MS_MAX / 1000} s`);
        }
      }
      this.#assign();
      if (this.#outcome === undefined) this.#look();
    });
  }

  #end(outcome: JobOutcome): void {
    if (this.#outcome !== undefined) return;
    this.#outcome = outcome;
    this.#timer?.cancel();
    for (const { thread } of this.#workers.values()) thread.terminate();
    this.#workers.clear();
    // A thread that does not end keeps nobody waiting for ever.
    this.#timer = this.#options.clock.after(EXIT_MS_MAX, () => {
      this.#alive = 0;
      this.#settleWhenQuiet();
    });
    this.#settleWhenQuiet();
  }

  #settleWhenQuiet(): void {
    if (this.#alive > 0 || this.#outcome === undefined) return;
    this.#timer?.cancel();
    this.#settle?.(this.#outcome);
  }
}
