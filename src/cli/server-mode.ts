/**
 * `hstore server`: one server in this process, from its settings to its last line.
 *
 *   0   stopped by SIGTERM, SIGINT or SHUTDOWN       1   it could not start, or the disk failed
 *   2   a mistake in flags, environment or file     70   a bug: the stack is in the log
 *
 * With --check-dir no server is started: see check-dir.ts.
 */

import type { Config, LogLevel } from '../config/config.ts';
import { createEnv, type SystemEnv } from '../io/env.ts';
import type { TlsOptions } from '../io/tls.ts';
import type { Env } from '../lib/env.ts';
import { type CheckDirectory, checkDir } from './check-dir.ts';
import { EXIT_BUG, EXIT_FAILURE, failureLine, isBug } from './failure.ts';
import { readCheckDir, readServerSettings } from './settings.ts';
import { onStopSignals, watchParent } from './signals.ts';
import { readTlsOptions } from './tls-options.ts';

export interface RunningServer {
  stop(): Promise<void>;
}

export type StartServer = (
  env: Env,
  config: Config,
  options: {
    readonly version: string;
    readonly onFatal: (error: Error) => void;
    readonly onShutdown: () => void;
  },
) => Promise<RunningServer>;

/** The launcher's process id, in the environment of its servers: with it they end too. */
export const LAUNCHER_VARIABLE = 'HSTORE_LAUNCHER';

/** What a server does, from above `cli`. */
export interface ServerParts {
  readonly version: string;
  readonly startServer: StartServer;
  readonly checkDirectory: CheckDirectory;
}

/** Returns when the server runs; it ends the process itself. Throws ConfigError for what flags and file say. */
export async function serverMode(
  args: readonly string[],
  { version, startServer, checkDirectory }: ServerParts,
): Promise<void> {
  const directory = readCheckDir(args);
  if (directory !== undefined) return checkDir(directory, checkDirectory);
  const config = readServerSettings(args, process.env);
  const env = openEnv(config, readTlsOptions(config));
  onBug((error) =>
    die(env, config, EXIT_BUG, 'a bug in hstore has stopped this server; please report it', error),
  );
  let running: RunningServer | undefined;
  const stop = (): void => {
    // Before it runs there is nothing to finish: what a crash may do at any instant, a signal may too.
    if (running === undefined) process.exit(0);
    running.stop().then(
      () => process.exit(0),
      (error: unknown) =>
        die(env, config, EXIT_FAILURE, 'stopping failed; nothing acknowledged is lost', error),
    );
  };
  onStopSignals(stop, () => process.exit(EXIT_FAILURE));
  if (process.env[LAUNCHER_VARIABLE] === `${process.ppid}`) watchParent(stop);
  try {
    const onFatal = (error: Error): void => die(env, config, EXIT_FAILURE, 'this server cannot go on', error);
    running = await startServer(env, config, { version, onFatal, onShutdown: stop });
  } catch (error) {
    if (isBug(error)) die(env, config, EXIT_BUG, 'a bug in hstore has kept this server from starting', error);
    if (config.logfile !== '') env.log.warning('cannot start', { error: failureLine(error) });
    console.error(`hstore: ${failureLine(error)}`);
    process.exit(EXIT_FAILURE);
  }
}

function openEnv(config: Config, tls: TlsOptions | undefined): SystemEnv {
  const env = openLog(config, tls);
  config.onChange('loglevel', (level) => {
    env.log.level = level as LogLevel;
  });
  return env;
}

function openLog(config: Config, tls: TlsOptions | undefined): SystemEnv {
  try {
    return createEnv({
      log: { level: config.loglevel, file: config.logfile },
      // Read at every new connection: CONFIG SET may change it.
      tcp: {
        get keepAliveMs() {
          return config.tcpKeepaliveMs;
        },
      },
      tls,
    });
  } catch (error) {
    console.error(`hstore: cannot open the log file ${config.logfile}: ${failureLine(error)}`);
    process.exit(EXIT_FAILURE);
  }
}

function onBug(report: (error: unknown) => void): void {
  process.on('uncaughtException', report);
  process.on('unhandledRejection', report);
}

/** The log is written at once, so nothing is lost by ending here. */
function die(env: Env, config: Config, status: number, event: string, error: unknown): never {
  const stack = error instanceof Error && status === EXIT_BUG ? { stack: error.stack ?? '' } : {};
  env.log.warning(event, { error: failureLine(error), ...stack });
  if (config.logfile !== '') console.error(`hstore: ${event}: ${failureLine(error)}`);
  process.exit(status);
}
