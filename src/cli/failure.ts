/** What ends the program, as one line for the person in front of it: what happened, and what to do next. */
import { ConfigError, CorruptionError, DiskFullError, InUseError } from '../lib/errors.ts';

/** Exit statuses: a mistake on the command line, a thing that happened, a bug of ours (as in sysexits.h). */
export const EXIT_USAGE = 2;
export const EXIT_FAILURE = 1;
export const EXIT_BUG = 70;

const ADVICE_BY_CODE: Readonly<Record<string, string>> = {
  EADDRNOTAVAIL: "check --bind and this server's address in --cluster",
  ENOTFOUND: "check --bind and this server's address in --cluster",
  EACCES: 'check the permissions, or choose another --dir or --port',
  EPERM: 'check the permissions, or choose another --dir or --port',
  EROFS: 'name a directory that can be written with --dir',
  ENOTDIR: 'name another directory with --dir',
  EMFILE: 'raise the limit of open files (ulimit -n)',
};

export function failureLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const advice = adviceFor(error);
  // One line, whatever the system's text looks like.
  return (advice === undefined ? message : `${message}; ${advice}`).replaceAll(/\s*\n\s*/g, ' ');
}

export function adviceFor(error: unknown): string | undefined {
  // Its text has the advice in it.
  if (error instanceof ConfigError) return undefined;
  if (error instanceof InUseError) return 'stop the other process, or choose another --port or --dir';
  if (error instanceof DiskFullError)
    return 'free some space, then start again: nothing acknowledged is lost';
  if (error instanceof CorruptionError) {
    return 'leave the directory as it is, delete nothing in it, and restore it from a backup';
  }
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return ADVICE_BY_CODE[code];
}

/** An error that is nobody's mistake but ours. */
export function isBug(error: unknown): boolean {
  return (
    error instanceof Error &&
    ['AssertionError', 'TypeError', 'RangeError', 'ReferenceError'].includes(error.name)
  );
}
