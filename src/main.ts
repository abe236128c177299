/** The program: picks the mode, and joins the parts. */
import { resolve } from 'node:path';
import { clusterMode } from './cli/cluster-mode.ts';
import { EXIT_FAILURE, EXIT_USAGE } from './cli/failure.ts';
import { mainHelp, modeHelp } from './cli/help.ts';
import { type Mode, readInvocation } from './cli/invocation.ts';
import { type JobTools, mapreduceMode, type RunningJob } from './cli/mapreduce-mode.ts';
import type { JobOrder } from './cli/mapreduce-settings.ts';
import { selfTest } from './cli/self-test.ts';
import { type StartServer, serverMode } from './cli/server-mode.ts';
import { readTlsOptions } from './cli/tls-options.ts';
import type { Config } from './config/config.ts';
import { SystemBulkFiles } from './io/bulk-files.ts';
import { openBulkNetwork } from './io/bulk-network.ts';
import { SystemThreads, workerSide } from './io/threads.ts';
import { VERSION } from './io/version.ts';
import { unreachable } from './lib/assert.ts';
import type { WorkerSide } from './lib/bulk.ts';
import { ConfigError } from './lib/errors.ts';
import { runClusterWorker } from './mapreduce/cluster/cluster-worker.ts';
import { MAPREDUCE_CLUSTER_WORKER } from './mapreduce/cluster/cluster-worker-protocol.ts';
import { MAPREDUCE_PLANNER, runPlanner } from './mapreduce/cluster/planning.ts';
import { mapReduceService } from './mapreduce/cluster/service.ts';
import { ClusterRun } from './mapreduce/cluster-run.ts';
import { JobRun } from './mapreduce/job-run.ts';
import { MAPREDUCE_SEQUENTIAL, runSequentialWorker } from './mapreduce/sequential-job.ts';
import { MAPREDUCE_SHUFFLE, runShuffleThread } from './mapreduce/shuffle-thread.ts';
import { runWorker } from './mapreduce/worker.ts';
import { MAPREDUCE_WORKER } from './mapreduce/worker-protocol.ts';
import { recordsOf } from './mapreduce/worker-task.ts';
import { checkDirectory } from './server/check-directory.ts';
import { startServer } from './server/server.ts';
import type { StartService } from './server/service.ts';

const side = workerSide();
if (side === undefined) main().catch(fail);
else work(side);

/** This is one of the program's threads. */
function work(side: WorkerSide & { readonly name: string }): void {
  const files = new SystemBulkFiles();
  switch (side.name) {
    case MAPREDUCE_WORKER:
      return runWorker(side, files);
    case MAPREDUCE_SEQUENTIAL:
      return runSequentialWorker(side, files);
    case MAPREDUCE_CLUSTER_WORKER:
      return runClusterWorker(side, files, openBulkNetwork);
    case MAPREDUCE_SHUFFLE:
      return runShuffleThread(side, files, openBulkNetwork);
    case MAPREDUCE_PLANNER:
      return runPlanner(side, files);
    default:
      throw new Error(`there is no part ${side.name} for a thread`);
  }
}

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
      return serverMode(args, { version: VERSION, startServer: startServerWithJobs, checkDirectory });
    case 'cluster':
      return clusterMode(args);
    case 'mapreduce':
      return mapreduceMode(args, { startJob, program: import.meta.url });
    default:
      return unreachable(mode);
  }
}

function startJob(order: JobOrder, tools: JobTools): RunningJob {
  if (order.cluster !== undefined) return new ClusterRun(order, tools);
  return new JobRun(order, { ...tools, recordsOf: (spec) => recordsOf(spec, tools.files) });
}

function startServerWithJobs(...[env, config, options]: Parameters<StartServer>): ReturnType<StartServer> {
  return startServer(env, config, { ...options, startService: jobService(config) });
}

function jobService(config: Config): StartService {
  return mapReduceService({
    threads: new SystemThreads(new URL(import.meta.url), 'low'),
    files: new SystemBulkFiles(),
    slots: config.mrThreads,
    listen: { host: config.peerBind, port: config.mrPort },
    tls: config.tlsCluster ? readTlsOptions(config) : undefined,
    modules: config.mrModules === '' ? '' : resolve(config.mrModules),
    filesAllowed: config.mrFiles,
    resultBytesMax: () => config.mrResultMax,
  });
}
