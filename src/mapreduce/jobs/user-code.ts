/** Calls of the user's code: what it throws becomes a failure of the task that says where. */
import { HstoreError } from '../../lib/errors.ts';
import { TaskError } from '../task-error.ts';
import { errorText } from '../user-module.ts';

/** What was being done, and with what. */
export interface Place {
  /** `map`, `combine`, ... */
  readonly call: string;
  readonly file?: string;
  readonly offset?: number;
  readonly key?: string;
}

/** `deterministic`: whether it would fail again. */
export function userError(error: unknown, path: string, place: Place, deterministic: boolean): unknown {
  // A full disk below `emit` or `write` is none of the user's doing.
  if (error instanceof TaskError || error instanceof HstoreError || isSystemError(error)) return error;
  const { call, file, offset, key } = place;
  const inKey = key === undefined ? '' : ` of the key ${JSON.stringify(key.slice(0, 100))}`;
  const message = `${call}${inKey} in ${path} failed: ${errorText(error, path)}`;
  return new TaskError(
    {
      ...{ message, deterministic },
      ...(file === undefined ? {} : { file }),
      ...(offset === undefined ? {} : { offset }),
    },
    error,
  );
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && ['BulkFileError', 'AssertionError'].includes(error.name);
}
