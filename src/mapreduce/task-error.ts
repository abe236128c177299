/** Why a task cannot be done, in words for people, with what the master needs to know. */
import type { TaskFailure } from './tasks.ts';

export class TaskError extends Error {
  override readonly name = 'TaskError';
  readonly failure: TaskFailure;

  constructor(failure: TaskFailure, cause?: unknown) {
    super(failure.message, cause === undefined ? undefined : { cause });
    this.failure = failure;
  }
}
