/**
 * How this same program is started once more, for the servers of a local cluster. It runs in three forms:
 *
 *   Node.js            node --enable-source-maps dist/hstore.js ...    its stack traces name the sources
 *   Deno               deno run -A dist/hstore.js ...
 *   single executable  hstore ...                                      the program is the binary, there is no script
 *
 * In all three `process.argv.slice(2)` are the arguments.
 */
import { createRequire } from 'node:module';

export interface Command {
  readonly command: string;
  readonly args: string[];
}

/** What to pass to `spawn` to run this program with `args`. */
export function selfCommand(args: readonly string[]): Command {
  const script = process.argv[1] ?? '';
  if (isSingleExecutable()) return { command: process.execPath, args: [...args] };
  if ('deno' in process.versions) return { command: process.execPath, args: ['run', '-A', script, ...args] };
  return { command: process.execPath, args: ['--enable-source-maps', script, ...args] };
}

/** Node tells only through a module that Node 20.12 and Deno do not all have. */
function isSingleExecutable(): boolean {
  try {
    const { isSea } = createRequire(process.execPath)('node:sea') as { isSea(): boolean };
    return isSea();
  } catch {
    return false;
  }
}
