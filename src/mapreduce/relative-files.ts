/** Files as somebody sees them who stands in some directory: relative paths begin there, and not where the process is. */
import type { BulkFiles } from '../lib/bulk.ts';

/** `directory` is absolute; undefined: paths are absolute, or relative to the process. */
export function relativeFiles(files: BulkFiles, directory: string | undefined): BulkFiles {
  const at = (path: string) => absolutePath(path, directory);
  return {
    open: (path) => files.open(at(path)),
    create: (path) => files.create(at(path)),
    rename: (from, to) => files.rename(at(from), at(to)),
    remove: (path) => files.remove(at(path)),
    makeDirectory: (path) => files.makeDirectory(at(path)),
    removeDirectory: (path) => files.removeDirectory(at(path)),
    stat: (path) => files.stat(at(path)),
    list: (path) => files.list(at(path)),
  };
}

export function absolutePath(path: string, directory: string | undefined): string {
  if (directory === undefined || path.startsWith('/') || /^[A-Za-z]:[\\/]/.test(path)) return path;
  return directory.endsWith('/') ? `${directory}${path}` : `${directory}/${path}`;
}
