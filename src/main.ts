/** The program: picks the mode, and joins the parts. */
import { clusterMode } from './cli/cluster-mode.ts';
import { EXIT_FAILURE, EXIT_USAGE } from './cli/failure.ts';
import { mainHelp, modeHelp } from './cli/help.ts';
import { type Mode, readInvocation } from './cli/invocation.ts';
import { type JobTools, mapreduceMode, type RunningJob } from './cli/mapreduce-mode.ts';
import type { JobOrder } from './cli/mapreduce-settings.ts';
import { selfTest } from './cli/self-test.ts';
import { serverMode } from './cli/server-mode.ts';
import { VERSION } from './io/version.ts';
import { unreachable } from './lib/assert.ts';
import { ConfigError } from './lib/errors.ts';
import { JobRun } from './mapreduce/job-run.ts';
import { checkDirectory } from './server/check-directory.ts';
import { startServer } from './server/server.ts';

main().catch(fail);

function fail(error: unknown): void {
  if (error instanceof ConfigError) {
    console.error(`hstore: ${error.message}`);
    process.exitCode = EXIT_USAGE;
  } else {
    console.error(error);
    process.exitCode = EXIT_FAILURE;
  }
}

async function main(): Promise<void> {
  const invocation = readInvocation(process.argv.slice(2), process.env);
  switch (invocation.action) {
    case 'version':
      console.log(VERSION);
      return;
    case 'help':
      process.stdout.write(invocation.mode === undefined ? mainHelp(VERSION) : modeHelp(invocation.mode));
      return;
    case 'selftest':
      return selfTest();
    case 'run':
      return runMode(invocation.mode, invocation.args);
  }
}

function runMode(mode: Mode, args: readonly string[]): Promise<void> {
  switch (mode) {
    case 'server':
      return serverMode(args, { version: VERSION, startServer, checkDirectory });
    case 'cluster':
      return clusterMode(args);
    case 'mapreduce':
      return mapreduceMode(args, { startJob, program: import.meta.url });
    default:
      return unreachable(mode);
  }
}

function startJob(order: JobOrder, tools: JobTools): RunningJob {
  return new JobRun(order, { ...tools, recordsOf: async () => 'lines' });
}
