/**
 * What a worker and its master say to each other.
 *
 *   to the worker      { task }
 *   from the worker    ready       it has the job, and may be given tasks
 *                      progress    so much of the input is read: also a sign of life
 *                      done, failed    of the attempt
 *                      unable      it cannot have the job at all
 */
import type { Task, TaskDone, TaskFailure } from './tasks.ts';

/** The part of the program that a thread is when it is a worker. */
export const MAPREDUCE_WORKER = 'mapreduce';

export interface ToWorker {
  readonly task: Task;
}

export type FromWorker =
  | { readonly kind: 'ready' }
  | { readonly kind: 'progress'; readonly attempt: number; readonly bytes: number }
  | { readonly kind: 'done'; readonly attempt: number; readonly done: TaskDone }
  | { readonly kind: 'failed'; readonly attempt: number; readonly failure: TaskFailure }
  | { readonly kind: 'unable'; readonly failure: TaskFailure };
