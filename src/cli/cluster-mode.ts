/**
 * `hstore cluster`: a whole cluster on this machine for people who try it, and for tests. Standard output carries one
 * line, `ready 127.0.0.1:6379 ...`; everything else goes to standard error.
 */
import { EXIT_FAILURE, failureLine } from './failure.ts';
import { LocalCluster } from './local-cluster.ts';
import { selfCommand } from './self.ts';
import { type ClusterPlan, planCluster } from './settings.ts';
import { onStopSignals, watchParent } from './signals.ts';

const KILL_AFTER_MS = 10_000;

/** Returns when the cluster serves; it ends the process itself. Throws ConfigError. */
export async function clusterMode(args: readonly string[]): Promise<void> {
  const plan = planCluster(args, process.env);
  const say = (line: string): void => console.error(line);
  const cluster = new LocalCluster({
    plan,
    program: selfCommand,
    say,
    prefixed: process.stderr.isTTY === true,
    killAfterMs: KILL_AFTER_MS,
    onAllDead: () => {
      say('hstore: all servers have died');
      process.exit(EXIT_FAILURE);
    },
  });
  const stop = (): void => {
    cluster.stop().then(
      () => process.exit(0),
      (error: unknown) => fail(error),
    );
  };
  onStopSignals(stop, () => {
    cluster.kill();
    process.exit(EXIT_FAILURE);
  });
  // npm does not pass every end on to what it started; a shell may end and leave us running on purpose.
  if (process.env.npm_lifecycle_event !== undefined) watchParent(stop);
  // A bug here must not leave servers behind.
  process.on('exit', () => cluster.kill());
  try {
    await cluster.start();
  } catch (error) {
    fail(error);
  }
  if (!cluster.ready) return;
  process.stdout.write(`ready ${plan.servers.map(({ port }) => `127.0.0.1:${port}`).join(' ')}\n`);
  say(hint(plan));
}

function fail(error: unknown): never {
  console.error(`hstore: ${failureLine(error)}`);
  process.exit(EXIT_FAILURE);
}

function hint({ servers, directory, requirepass, tls }: ClusterPlan): string {
  const [first, second = first] = servers.map(({ port }) => port);
  const auth = `${tls === undefined ? '' : ' --tls'}${requirepass === '' ? '' : ' --askpass'}`;
  return [
    `${servers.length} servers are running, their data are in ${directory}. Try:`,
    `  redis-cli -p ${first}${auth} set greeting hello`,
    `  redis-cli -p ${second}${auth} get greeting`,
    'Ctrl-C stops them; the data stay.',
  ].join('\n');
}
