/**
 * The output of a job as a directory: `part-r-00000` and so on, one file per partition, and `_SUCCESS`, which says what the
 * job was and what it counted (names as Hadoop has them).
 *
 * All of it or nothing: the files are gathered in a directory beside the final one, which takes its name at the end. What
 * was there (with `force`) is moved aside first, and put back if that fails.
 */
import type { BulkFiles } from '../lib/bulk.ts';
import { ConfigError } from '../lib/errors.ts';
import type { Counters, JobName } from './tasks.ts';

const PART_DIGITS = 5;

/** Throws ConfigError when there is something at `path` that the user has not given up with `force`. */
export function checkDirectory(path: string, options: { force: boolean; files: BulkFiles }): void {
  const { force, files } = options;
  const found = files.stat(path);
  if (found === undefined) return;
  if (found.kind !== 'directory') throw new ConfigError(`${path} is not a directory`);
  if (force || files.list(path).length === 0) return;
  throw new ConfigError(
    `the directory ${path} is not empty: name another one with --out, or replace it with --force`,
  );
}

export interface DirectoryOutput {
  readonly path: string;
  readonly force: boolean;
  /** In the order of the partitions; they are moved. */
  readonly parts: readonly string[];
  /** What `_SUCCESS` holds. */
  readonly success: string;
}

/** For `success`: the same wherever the job was done. */
export function successText(job: JobName, reduces: number, counters: Counters): string {
  const name = job.kind === 'builtin' ? job.name : job.path;
  const sorted = Object.fromEntries(Object.entries(counters).sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify({ job: name, reduces, counters: sorted })}\n`;
}

/** `temporary`: a directory of this job alone, on the same file system. Throws BulkFileError, ConfigError. */
export function commitDirectory(output: DirectoryOutput, temporary: string, files: BulkFiles): void {
  const { path, force, parts, success } = output;
  const gathered = `${temporary}/output`;
  files.makeDirectory(gathered);
  parts.forEach((part, i) => {
    files.rename(part, `${gathered}/part-r-${`${i}`.padStart(PART_DIGITS, '0')}`);
  });
  const writer = files.create(`${gathered}/_SUCCESS`);
  try {
    writer.write(new TextEncoder().encode(success));
    writer.sync();
  } finally {
    writer.close();
  }
  // Somebody else may have made it in the meantime.
  checkDirectory(path, { force, files });
  replaceDirectory(path, gathered, { aside: `${temporary}/replaced`, files });
}

function replaceDirectory(
  path: string,
  by: string,
  { aside, files }: { aside: string; files: BulkFiles },
): void {
  if (files.stat(path) === undefined) return files.rename(by, path);
  files.rename(path, aside);
  try {
    files.rename(by, path);
  } catch (error) {
    files.rename(aside, path);
    throw error;
  }
}
