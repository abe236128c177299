/** What a task counts and how far it is, as the job sees it (TaskContext) and as it is reported. */
import type { TaskContext } from './jobs/byte-job.ts';
import type { Counters, JobSpec, Task } from './tasks.ts';

/** Counters travel with every task that is done. */
const COUNTERS_MAX = 100;
const NAME_LENGTH_MAX = 100;

export class TaskProgress implements TaskContext {
  readonly task: number;
  readonly attempt: number;
  readonly args: JobSpec['args'];
  readonly #report: (bytesDone: number) => void;
  readonly #counters = new Map<string, number>();
  #bytesDone = 0;

  constructor(task: Task, args: JobSpec['args'], report: (bytesDone: number) => void) {
    this.task = task.task;
    this.attempt = task.attempt;
    this.args = args;
    this.#report = report;
  }

  get counters(): Counters {
    return Object.fromEntries(this.#counters);
  }

  /** Throws RangeError where a job invents too many names. */
  count(name: string, by = 1): void {
    if (!this.#counters.has(name)) this.#checkNew(name);
    this.#counters.set(name, (this.#counters.get(name) ?? 0) + by);
  }

  #checkNew(name: string): void {
    if (name.length > NAME_LENGTH_MAX)
      throw new RangeError(`a counter's name has ${NAME_LENGTH_MAX} characters at most`);
    if (this.#counters.size >= COUNTERS_MAX)
      throw new RangeError(`a task has ${COUNTERS_MAX} counters at most`);
  }

  alive(): void {
    this.#report(this.#bytesDone);
  }

  /** `bytes` more are done. */
  advance(bytes: number): void {
    this.#bytesDone += bytes;
    this.#report(this.#bytesDone);
  }
}
