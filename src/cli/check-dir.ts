/**
 * `hstore server --check-dir DIR`: verifies a data directory while its server is down, and prints what is in it.
 *
 *   0   it is whole      1   it is not: the problems are listed, each with its place and what to do
 *   2   it could not be checked: wrong usage, no such directory, in use by a running server      70   a bug
 */
import { statSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { createEnv } from '../io/env.ts';
import type { Env } from '../lib/env.ts';
import { ConfigError, InUseError } from '../lib/errors.ts';
import { EXIT_BUG, EXIT_FAILURE, EXIT_USAGE, failureLine, isBug } from './failure.ts';

/** Words about a directory, as server/check-directory.ts finds them. */
interface Report {
  readonly facts: readonly { readonly of: string; readonly lines: readonly string[] }[];
  readonly problems: readonly { readonly text: string; readonly advice: string }[];
}

export type CheckDirectory = (
  env: Env,
  path: string,
  onProgress: (progress: { readonly keys: number; readonly bytes: number }) => void,
) => Promise<Report>;

const FACT_COLUMN = 10;
const PROGRESS_EVERY_MS = 200;
/** Nothing is connected. */
const TCP = { keepAliveMs: 0 };

/** Prints the report and sets the exit status. */
export async function checkDir(path: string, checkDirectory: CheckDirectory): Promise<void> {
  const env = createEnv({ log: { level: 'warning' }, tcp: TCP });
  const progress = process.stderr.isTTY === true ? new ProgressLine() : undefined;
  try {
    requireDirectory(path);
    const report = await checkDirectory(env, path, (looked) => progress?.show(looked));
    progress?.clear();
    process.stdout.write(reportText(path, report));
    process.exitCode = report.problems.length === 0 ? 0 : EXIT_FAILURE;
  } catch (error) {
    progress?.clear();
    console.error(isBug(error) ? error : `hstore: ${reason(error)}`);
    process.exitCode = isBug(error) ? EXIT_BUG : EXIT_USAGE;
  }
}

function reason(error: unknown): string {
  return error instanceof InUseError ? `${error.message}: stop it first` : failureLine(error);
}

function requireDirectory(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) throw new ConfigError(`there is no directory ${path}`);
  if (!found.isDirectory()) throw new ConfigError(`${path} is not a directory`);
}

/** How far it has come, on one line of a terminal. */
class ProgressLine {
  #shownMs = 0;

  show({ keys, bytes }: { readonly keys: number; readonly bytes: number }): void {
    const nowMs = performance.now();
    if (nowMs - this.#shownMs < PROGRESS_EVERY_MS) return;
    this.#shownMs = nowMs;
    process.stderr.write(`\rstore: ${keys} keys, ${(bytes / 2 ** 20).toFixed(0)} MB`);
  }

  clear(): void {
    if (this.#shownMs > 0) process.stderr.write('\r\x1b[K');
  }
}

export function reportText(path: string, { facts, problems }: Report): string {
  const lines = [`data directory ${path}`];
  for (const { of, lines: about } of facts) {
    about.forEach((line, i) => {
      lines.push((i === 0 ? of : '').padEnd(FACT_COLUMN) + line);
    });
  }
  if (problems.length === 0) lines.push('ok');
  else lines.push(`${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}:`);
  // What is to be done about several of them is said once.
  for (const advice of new Set(problems.map((problem) => problem.advice))) {
    for (const { text } of problems.filter((problem) => problem.advice === advice)) lines.push(`  ${text}`);
    lines.push(`    what to do: ${advice}`);
  }
  return `${lines.join('\n')}\n`;
}
