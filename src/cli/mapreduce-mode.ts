/**
 * `hstore mapreduce`: a job on this machine or, with --nodes, across the servers of a cluster, from its arguments to its
 * last line. Standard output carries the result and nothing else; progress (on a terminal), counters and errors go to
 * standard error.
 *
 *   0   done; also when nobody wants to read the rest        1   the job failed
 *   2   wrong usage: nothing was begun      70   a bug      130   cancelled by Ctrl-C or SIGTERM, and cleaned up
 */
import { chmodSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { SystemBulkFiles } from '../io/bulk-files.ts';
import { SystemClock } from '../io/clock.ts';
import { SystemRandom } from '../io/random.ts';
import { SystemThreads } from '../io/threads.ts';
import { assert } from '../lib/assert.ts';
import type { BulkFiles, Threads } from '../lib/bulk.ts';
import type { Clock, Random } from '../lib/env.ts';
import { ConfigError } from '../lib/errors.ts';
import { EXIT_BUG, EXIT_FAILURE, EXIT_USAGE, failureLine, isBug } from './failure.ts';
import { type Progress, progressLine, type Summary, summaryText } from './mapreduce-progress.ts';
import type { JobServers } from './mapreduce-servers.ts';
import { type JobOrder, noInput, readJobOrder, withStandardInput } from './mapreduce-settings.ts';
import { BlockStream, isInputPiped, spoolInput } from './mapreduce-streams.ts';
import { onStopSignals } from './signals.ts';

const EXIT_CANCELLED = 130;
const SHOW_EVERY_MS = 100;
const ALL_KEYS = '*';

interface Failure {
  readonly message: string;
  readonly file?: string;
  readonly offset?: number;
}

/** What a job is given to work with. */
export interface JobTools {
  readonly files: BulkFiles;
  readonly threads: Threads;
  readonly clock: Clock;
  readonly random: Random;
  readonly workingDirectory: string;
  makeTemporary(): string;
  spoolInput(path: string): Promise<void>;
  write(block: Uint8Array): Promise<boolean>;
  /** To the cluster of the order. */
  connect(): Promise<JobServers>;
}

/** A job of mapreduce/job-run.ts, or of mapreduce/cluster-run.ts. */
export interface RunningJob {
  readonly progress: Progress | undefined;
  cancel(): void;
  run(): Promise<
    | ({ readonly outcome: 'done' } & Summary)
    | {
        readonly outcome: 'failed';
        readonly failure:
          | Failure
          | {
              readonly phase: string;
              readonly task: number;
              readonly attempts: number;
              readonly failure: Failure;
            };
      }
    | { readonly outcome: 'cancelled'; readonly note?: string }
  >;
}

export type StartJob = (order: JobOrder, tools: JobTools) => RunningJob;
type JobOutcome = Awaited<ReturnType<RunningJob['run']>>;

/** Ends the process. `program`: the file that threads run. Throws ConfigError for what the arguments say. */
export async function mapreduceMode(
  args: readonly string[],
  { startJob, program }: { startJob: StartJob; program: string },
): Promise<void> {
  const order = withInput(readJobOrder(args, process.env));
  const files = new SystemBulkFiles();
  const output = new BlockStream(process.stdout);
  const startedMs = performance.now();
  const line = new ProgressLine(() => job.progress, startedMs);
  const job = startJob(order, {
    files,
    threads: new SystemThreads(new URL(program)),
    clock: new SystemClock(),
    random: new SystemRandom(),
    workingDirectory: process.cwd(),
    makeTemporary: () => makeTemporary(order, files),
    spoolInput: (path) => spoolInput(path, files),
    write: (block) => {
      line.clear();
      return output.write(block);
    },
    connect: () => connectTo(order),
  });
  onStopSignals(
    () => job.cancel(),
    () => process.exit(EXIT_CANCELLED),
  );
  try {
    const outcome = await job.run();
    line.clear();
    process.exit(tell(outcome, { quiet: output.broken, elapsedMs: performance.now() - startedMs }));
  } catch (error) {
    line.clear();
    console.error(isBug(error) ? error : `hstore: ${reason(error)}`);
    process.exit(isBug(error) ? EXIT_BUG : error instanceof ConfigError ? EXIT_USAGE : EXIT_FAILURE);
  }
}

function withInput(order: JobOrder): JobOrder {
  const isGiven = order.inputs.length > 0 || (order.cluster !== undefined && order.keys !== undefined);
  if (isGiven) return order;
  if (isInputPiped()) return withStandardInput(order);
  if (order.cluster !== undefined) return { ...order, keys: ALL_KEYS };
  throw noInput();
}

/** The client library is loaded for those who need it: threads of a local job begin sooner. */
async function connectTo({ cluster }: JobOrder): Promise<JobServers> {
  assert(cluster !== undefined, 'only a job across servers asks for them');
  const { connectServers } = await import('./mapreduce-servers.ts');
  return connectServers(cluster);
}

/** Beside the output directory, which it becomes by a rename; else where the system has such things. */
function makeTemporary({ output, cluster, inputs }: JobOrder, files: SystemBulkFiles): string {
  const path =
    output.kind === 'directory'
      ? files.temporaryDirectory(dirname(output.path), `.${basename(output.path)}.hstore-`)
      : files.temporaryDirectory(resolve(tmpdir()), 'hstore-mapreduce-');
  // For servers that run as another user standard input is what a file of ours would be to them.
  if (cluster !== undefined && inputs.includes('-')) chmodSync(path, 0o777 & ~process.umask());
  // Whatever ends the process, but a kill.
  process.on('exit', () => files.removeDirectory(path));
  return path;
}

/** Returns the exit status. */
function tell(outcome: JobOutcome, { quiet, elapsedMs }: { quiet: boolean; elapsedMs: number }): number {
  switch (outcome.outcome) {
    case 'done':
      if (!quiet) process.stderr.write(summaryText(outcome, elapsedMs));
      return 0;
    case 'failed':
      console.error(`hstore: the job failed: ${failureText(outcome.failure)}`);
      return EXIT_FAILURE;
    case 'cancelled':
      console.error(`hstore: cancelled${outcome.note === undefined ? '' : `; ${outcome.note}`}`);
      return EXIT_CANCELLED;
  }
}

/** The message, and below it where that was. */
export function failureText(failed: (JobOutcome & { outcome: 'failed' })['failure']): string {
  const failure = 'failure' in failed ? failed.failure : failed;
  const { message, file, offset } = failure;
  const lines = [message];
  const place = offset === undefined ? file : `${file} at byte ${offset}`;
  // It may be in the message already.
  if (place !== undefined && !message.includes(place)) lines.push(`  in ${place}`);
  if ('failure' in failed && failed.attempts > 1) {
    lines.push(`  ${failed.phase} task ${failed.task}, ${failed.attempts} attempts`);
  }
  return lines.join('\n');
}

function reason(error: unknown): string {
  const full = error instanceof Error && 'code' in error && error.code === 'ENOSPC';
  return full ? `${failureLine(error)}; temporary files go where TMPDIR says` : failureLine(error);
}

/** On a terminal only. */
class ProgressLine {
  #timer: NodeJS.Timeout | undefined;
  #shown = false;

  constructor(progress: () => Progress | undefined, startedMs: number) {
    if (process.stderr.isTTY !== true) return;
    this.#timer = setInterval(() => {
      const now = progress();
      if (now === undefined) return;
      const line = progressLine(now, performance.now() - startedMs, process.stderr.columns || 80);
      process.stderr.write(`\r\x1b[K${line}`);
      this.#shown = true;
    }, SHOW_EVERY_MS);
    this.#timer.unref();
  }

  /** For good. */
  clear(): void {
    clearInterval(this.#timer);
    if (this.#shown) process.stderr.write('\r\x1b[K');
    this.#shown = false;
  }
}
