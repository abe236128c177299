/** How the write-ahead log says that it is damaged: what is wrong and where, and what to do about it. */
import { CorruptionError } from '../lib/errors.ts';

/** The last words of every such error. What was acknowledged may be gone, so repairing in place is no way out. */
export const DAMAGE_ADVICE =
  'this server must not vote again with these data: remove it with CLUSTER FORGET on another server, empty its directory, and start it with --join';

/** `what` names the file and the byte where there are such. */
export function damageError(what: string, cause?: unknown): CorruptionError {
  return new CorruptionError(`${what}; ${DAMAGE_ADVICE}`, cause);
}
