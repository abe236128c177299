/**
 * The files that a job reads, from what the user has named: files, directories, patterns.
 *
 *   a file          itself; with `.gz` at the end it is unpacked while it is read
 *   a directory     every file in it, at any depth, but those whose name begins with `.` or `_` (as Hadoop has it)
 *   a pattern       with * ? or [...], which match within one name; what it matches is taken as if it were named
 *
 * In the order of the arguments; what one argument stands for in the order of the bytes of the paths. So the same command
 * on the same files always makes the same splits.
 */
import type { BulkFiles, BulkStat } from '../lib/bulk.ts';
import { ConfigError } from '../lib/errors.ts';
import { globMatches, isPattern } from '../lib/glob.ts';

export interface InputFile {
  readonly path: string;
  /** What records call it, where that is not its path. */
  readonly name?: string;
  readonly bytes: number;
  readonly modifiedMs: number;
  readonly gzip: boolean;
}

const DEPTH_MAX = 64;
const FILES_MAX = 1_000_000;

/** Throws ConfigError for what is not there, BulkFileError for what cannot be looked at or read. */
export function findInputs(args: readonly string[], files: BulkFiles): InputFile[] {
  const found: InputFile[] = [];
  for (const arg of args) {
    const stat = files.stat(arg);
    if (stat !== undefined) take(arg, stat, found, files);
    else if (isPattern(arg)) takeMatches(arg, found, files);
    else throw new ConfigError(`there is no file ${arg}`);
  }
  // Before any work is done, and not in the middle of it.
  for (const { path } of found) files.open(path).close();
  return found;
}

function takeMatches(pattern: string, found: InputFile[], files: BulkFiles): void {
  const before = found.length;
  for (const path of matches(pattern, files)) {
    const stat = files.stat(path);
    if (stat !== undefined) take(path, stat, found, files);
  }
  if (found.length === before) throw new ConfigError(`nothing matches ${pattern}`);
}

function take(path: string, stat: BulkStat, found: InputFile[], files: BulkFiles, depth = 0): void {
  if (stat.kind === 'directory') {
    if (depth >= DEPTH_MAX) throw new ConfigError(`${path} is too deep, or goes round in circles`);
    for (const name of files.list(path)) {
      if (name.startsWith('.') || name.startsWith('_')) continue;
      const inside = join(path, name);
      const statInside = files.stat(inside);
      if (statInside !== undefined) take(inside, statInside, found, files, depth + 1);
    }
    return;
  }
  if (stat.kind === 'other') throw new ConfigError(`${path} is neither a file nor a directory`);
  if (found.length >= FILES_MAX) throw new ConfigError(`more than ${FILES_MAX} files`);
  const { bytes, modifiedMs } = stat;
  found.push({ path, bytes, modifiedMs, gzip: path.endsWith('.gz') });
}

/** The paths that match, name by name. */
function matches(pattern: string, files: BulkFiles): string[] {
  const names = pattern.split('/').filter((name, i) => name !== '' || i === 0);
  let paths = names[0] === '' ? ['/'] : [''];
  for (const name of names[0] === '' ? names.slice(1) : names) {
    paths = paths.flatMap((path) => (isPattern(name) ? matchingIn(path, name, files) : [join(path, name)]));
  }
  return paths.filter((path) => files.stat(path) !== undefined);
}

function matchingIn(directory: string, pattern: string, files: BulkFiles): string[] {
  if (files.stat(directory === '' ? '.' : directory)?.kind !== 'directory') return [];
  const names = files.list(directory === '' ? '.' : directory);
  const hidden = pattern.startsWith('.');
  return names
    .filter((name) => (hidden || !name.startsWith('.')) && globMatches(pattern, name))
    .map((name) => join(directory, name));
}

function join(directory: string, name: string): string {
  if (directory === '') return name;
  return directory.endsWith('/') ? directory + name : `${directory}/${name}`;
}
