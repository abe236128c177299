/**
 * The master of a job: which task is to be done next, and what counts as done. A pure state machine: it is told what
 * happened, with the time, and says what to do; whoever owns it (a process with threads, later the leader of a cluster)
 * does it.
 *
 *   task      idle --next--> running (one attempt, or two) --done--> done        a map task's output may be lost: idle
 *                  <--failed, worker lost--
 *   job       map --all maps done--> reduce --all reduces done--> done              failed, from any of them
 *
 * Attempts have numbers that are never used twice, and the first attempt of a task that is reported done is the one that
 * counts; whatever others report later is ignored, so a task that is executed twice is counted once. A task that fails is
 * tried again, after a pause that grows, ATTEMPTS_MAX times in all; one that fails in a way that would repeat itself fails
 * the job at once.
 *
 * After Dean & Ghemawat 2004, sections 3.1 to 3.6: fault tolerance by re-execution, completed maps of a lost machine are
 * done again while completed reduces are not, backup tasks for stragglers.
 */
import { assert } from '../lib/assert.ts';
import type { Counters, TaskDone, TaskFailure } from './tasks.ts';

export type Phase = 'map' | 'reduce';
export type JobPhase = Phase | 'done' | 'failed';

/** Whoever executes attempts, one at a time. */
export type WorkerId = number;

export interface Assignment {
  readonly phase: Phase;
  readonly task: number;
  /** Never used twice in a job. */
  readonly attempt: number;
}

export interface JobFailure {
  readonly phase: Phase;
  readonly task: number;
  readonly attempts: number;
  readonly failure: TaskFailure;
}

/** Whether a worker can do a task. */
export type MayDo = (phase: Phase, task: number) => boolean;

export interface RunningAttempt extends Assignment {
  readonly worker: WorkerId;
  readonly sinceMs: number;
}

/** Whether its result counts, and which other attempts of the task need not go on. */
export interface Settled {
  readonly counts: boolean;
  readonly abort: readonly RunningAttempt[];
}

interface TaskState<D> {
  running: RunningAttempt[];
  done: D | undefined;
  failures: number;
  notBeforeMs: number;
}

export const ATTEMPTS_MAX = 4;
/** Of a task: the first one and a backup. */
const ATTEMPTS_AT_ONCE_MAX = 2;
const RETRY_MS = 100;
const RETRY_DOUBLINGS_MAX = 6;
/** Backups: from this share of a phase done, for a task that takes so much longer than the median, and at least so long. */
const BACKUP_FROM_SHARE = 0.75;
const BACKUP_TIMES_MEDIAN = 1.5;
const BACKUP_MS_MIN = 1000;

/** `D`: what is known of a task that is done. */
export class Master<D extends TaskDone = TaskDone> {
  readonly #tasks: Readonly<Record<Phase, readonly TaskState<D>[]>>;
  readonly #attempts = new Map<number, RunningAttempt>();
  readonly #durationsMs: Record<Phase, number[]> = { map: [], reduce: [] };
  /** Of the tasks: there may be a hundred thousand of them, which are not counted again at every step. */
  readonly #done: Record<Phase, number> = { map: 0, reduce: 0 };
  /** Tasks before this one are done or running. */
  readonly #firstIdle: Record<Phase, number> = { map: 0, reduce: 0 };
  #lastAttempt: number;
  #failure: JobFailure | undefined;

  /** `lastAttempt`: attempts get the numbers behind it. */
  constructor(maps: number, reducers: number, lastAttempt = 0) {
    assert(maps >= 0, 'a job has map tasks, or no input', maps);
    assert(reducers >= 1, 'a job has a reduce task at least', reducers);
    const tasks = (count: number) =>
      Array.from(
        { length: count },
        (): TaskState<D> => ({
          ...{ running: [], done: undefined, failures: 0, notBeforeMs: 0 },
        }),
      );
    this.#lastAttempt = lastAttempt;
    this.#tasks = { map: tasks(maps), reduce: tasks(reducers) };
  }

  get phase(): JobPhase {
    if (this.#failure !== undefined) return 'failed';
    if (this.doneCount('map') < this.#tasks.map.length) return 'map';
    return this.doneCount('reduce') < this.#tasks.reduce.length ? 'reduce' : 'done';
  }

  get failure(): JobFailure | undefined {
    return this.#failure;
  }

  /** The number of the newest attempt. */
  get lastAttempt(): number {
    return this.#lastAttempt;
  }

  doneCount(phase: Phase): number {
    return this.#done[phase];
  }

  count(phase: Phase): number {
    return this.#tasks[phase].length;
  }

  /** Of the map tasks, in their order: what the reduce tasks read. All must be done. */
  get mapFiles(): readonly string[] {
    return this.#filesOf('map');
  }

  /** Of the reduce tasks, in their order. All must be done. */
  get parts(): readonly string[] {
    return this.#filesOf('reduce');
  }

  /** Undefined: it is not done. */
  doneOf(phase: Phase, task: number): D | undefined {
    return this.#tasks[phase][task]!.done;
  }

  #filesOf(phase: Phase): string[] {
    return this.#tasks[phase].map(({ done }, task) => {
      assert(done !== undefined, 'a task is done when its file is asked for', phase, task);
      return done.file;
    });
  }

  /** Summed over the attempts that count. */
  get counters(): Counters {
    const sums = new Map<string, number>();
    for (const { done } of [...this.#tasks.map, ...this.#tasks.reduce]) {
      for (const [name, count] of Object.entries(done?.counters ?? {})) {
        sums.set(name, (sums.get(name) ?? 0) + count);
      }
    }
    return Object.fromEntries(sums);
  }

  /** What a worker that has nothing to do is to do, of what it `may`; undefined: nothing now. */
  next(worker: WorkerId, nowMs: number, may: MayDo = () => true): Assignment | undefined {
    const { phase } = this;
    if (phase === 'done' || phase === 'failed') return undefined;
    const chosen = this.#idle(phase, nowMs, may) ?? this.#straggler(phase, worker, nowMs, may);
    return chosen === undefined ? undefined : this.#assign(phase, chosen, { worker, nowMs });
  }

  #idle(phase: Phase, nowMs: number, may: MayDo): number | undefined {
    const tasks = this.#tasks[phase];
    const isTaken = ({ running, done }: TaskState<D>) => done !== undefined || running.length > 0;
    let first = this.#firstIdle[phase];
    while (first < tasks.length && isTaken(tasks[first]!)) first++;
    this.#firstIdle[phase] = first;
    for (let task = first; task < tasks.length; task++) {
      if (!isTaken(tasks[task]!) && nowMs >= tasks[task]!.notBeforeMs && may(phase, task)) return task;
    }
    return undefined;
  }

  #assign(phase: Phase, task: number, { worker, nowMs }: { worker: WorkerId; nowMs: number }): Assignment {
    const running = { phase, task, attempt: ++this.#lastAttempt, worker, sinceMs: nowMs };
    this.#tasks[phase][task]!.running.push(running);
    this.#attempts.set(running.attempt, running);
    return { phase, task, attempt: running.attempt };
  }

  /** A task near the end of the phase that takes much longer than the others, and runs once. */
  #straggler(phase: Phase, worker: WorkerId, nowMs: number, may: MayDo): number | undefined {
    const tasks = this.#tasks[phase];
    if (this.doneCount(phase) < BACKUP_FROM_SHARE * tasks.length) return undefined;
    const patienceMs = Math.max(BACKUP_MS_MIN, BACKUP_TIMES_MEDIAN * median(this.#durationsMs[phase]));
    for (const only of this.#attempts.values()) {
      if (only.phase !== phase || only.worker === worker) continue;
      const { running, done } = tasks[only.task]!;
      const isLate = done === undefined && running.length === 1 && nowMs - only.sinceMs > patienceMs;
      if (isLate && may(phase, only.task)) return only.task;
    }
    return undefined;
  }

  /** When `next` may have something although it has nothing now and nothing happens until then; undefined: never. */
  nextLookMs(nowMs: number): number | undefined {
    const { phase } = this;
    if (phase === 'done' || phase === 'failed') return undefined;
    const waiting = this.#tasks[phase].filter(
      ({ done, running }) => done === undefined && running.length === 0,
    );
    const pauses = waiting.map(({ notBeforeMs }) => notBeforeMs).filter((atMs) => atMs > nowMs);
    return Math.min(nowMs + BACKUP_MS_MIN, ...pauses);
  }

  /** An attempt has done its task: whether it counts, and which other attempts need not go on. */
  done(attempt: number, result: D, nowMs: number): Settled {
    const running = this.#attempts.get(attempt);
    return running === undefined ? { counts: false, abort: [] } : this.settle(running, result, nowMs);
  }

  /** As `done`, also of an attempt that another master has begun. */
  settle({ phase, task, attempt }: Assignment, result: D, nowMs: number): Settled {
    const running = this.#end(attempt);
    const state = this.#tasks[phase][task]!;
    if (state.done !== undefined || this.#failure !== undefined) return { counts: false, abort: [] };
    state.done = result;
    this.#done[phase]++;
    if (running !== undefined) this.#durationsMs[phase].push(nowMs - running.sinceMs);
    return { counts: true, abort: [...state.running] };
  }

  /** An attempt that another master has begun is under way. False: its task needs none. */
  adopt(assignment: Assignment, worker: WorkerId, nowMs: number): boolean {
    const { phase, task, attempt } = assignment;
    const state = this.#tasks[phase][task]!;
    if (state.done !== undefined || state.running.length >= ATTEMPTS_AT_ONCE_MAX) return false;
    assert(!this.#attempts.has(attempt), 'an attempt is adopted once', attempt);
    const running = { phase, task, attempt, worker, sinceMs: nowMs };
    state.running.push(running);
    this.#attempts.set(attempt, running);
    return true;
  }

  /** It has come to nothing, through no fault of the task. */
  lost(attempt: number): void {
    this.#end(attempt);
  }

  /** `attemptsMax`: more where there is somebody left who has not tried. */
  failed(attempt: number, failure: TaskFailure, nowMs: number, attemptsMax = ATTEMPTS_MAX): void {
    const running = this.#end(attempt);
    if (running === undefined) return;
    const { phase, task } = running;
    const state = this.#tasks[phase][task]!;
    if (state.done !== undefined) return;
    state.failures++;
    state.notBeforeMs = nowMs + RETRY_MS * 2 ** Math.min(state.failures - 1, RETRY_DOUBLINGS_MAX);
    if (failure.deterministic || state.failures >= attemptsMax) {
      this.#failure ??= { phase, task, attempts: state.failures, failure };
    }
  }

  /** Its attempt has come to nothing, through no fault of the task. Map outputs that it held: see `mapLost`. */
  workerLost(worker: WorkerId): void {
    for (const running of [...this.#attempts.values()]) {
      if (running.worker === worker) this.#end(running.attempt);
    }
  }

  /** The outputs of these map tasks cannot be had any more: they are done again, and the reduce tasks wait for that. */
  mapLost(tasks: readonly number[]): void {
    for (const task of tasks) {
      const state = this.#tasks.map[task]!;
      if (state.done === undefined) continue;
      state.done = undefined;
      this.#done.map--;
      this.#firstIdle.map = Math.min(this.#firstIdle.map, task);
    }
  }

  /** The attempts under way, the oldest first. */
  get running(): readonly RunningAttempt[] {
    return [...this.#attempts.values()];
  }

  #end(attempt: number): RunningAttempt | undefined {
    const running = this.#attempts.get(attempt);
    if (running === undefined) return undefined;
    this.#attempts.delete(attempt);
    const state = this.#tasks[running.phase][running.task]!;
    state.running = state.running.filter((other) => other !== running);
    this.#firstIdle[running.phase] = Math.min(this.#firstIdle[running.phase], running.task);
    return running;
  }
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}
