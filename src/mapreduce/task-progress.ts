/** What a task counts and how far it is, as the job sees it (TaskContext) and as it is reported. */
import type { TaskContext } from './jobs/byte-job.ts';
import type { Counters, JobSpec, Task } from './tasks.ts';

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

  count(name: string, by = 1): void {
    this.#counters.set(name, (this.#counters.get(name) ?? 0) + by);
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
