/**
 * Real servers for tests: dist/hstore.js as processes, started, killed, stopped and continued at will, each cluster in a
 * temporary directory and on ports of its own.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Redis } from 'ioredis';
import { takePorts } from '../ports.ts';

export const PROGRAM = resolve('dist/hstore.js');
/** So large that what else a machine does in the meantime is small against it. */
export const ELECTION_TIMEOUT_MS = 1500;

const TIMEOUTS = ['--election-timeout', `${ELECTION_TIMEOUT_MS}`];

export class ServerProcess {
  readonly name: string;
  readonly port: number;
  readonly peerPort: number;
  readonly directory: string;
  readonly args: readonly string[];
  #child: ChildProcess | undefined;
  output = '';
  #toldToEnd = false;

  constructor(options: {
    name: string;
    port: number;
    peerPort: number;
    directory: string;
    args: readonly string[];
  }) {
    this.name = options.name;
    this.port = options.port;
    this.peerPort = options.peerPort;
    this.directory = options.directory;
    this.args = options.args;
  }

  get pid(): number {
    return this.#child!.pid!;
  }

  get running(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** `wrap`: a command that runs the rest of its arguments. */
  start(wrap: readonly string[] = []): void {
    const [command, ...args] = [
      ...wrap,
      process.execPath,
      PROGRAM,
      'server',
      '--dir',
      this.directory,
      ...this.args,
    ];
    const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (data: Buffer) => {
        this.output += data.toString();
      });
    }
    this.#child = child;
    this.#toldToEnd = false;
  }

  /** It is not running, and nobody has told it to end. */
  get endedByItself(): boolean {
    return this.#child !== undefined && !this.running && !this.#toldToEnd;
  }

  signal(signal: NodeJS.Signals): void {
    if (signal === 'SIGKILL' || signal === 'SIGTERM') this.#toldToEnd = true;
    this.#child!.kill(signal);
  }

  /** Its exit code, or the signal that ended it. */
  async exit(): Promise<number | string | null> {
    const child = this.#child!;
    if (child.exitCode === null && child.signalCode === null) {
      await new Promise((resolve) => child.once('exit', resolve));
    }
    return child.exitCode ?? child.signalCode;
  }

  /** That it has ended by itself was to be. */
  forgetEnd(): void {
    this.#toldToEnd = true;
  }

  async kill(): Promise<void> {
    if (!this.running) return;
    this.signal('SIGKILL');
    await this.exit();
  }
}

export class ProcessCluster {
  readonly servers: ServerProcess[];
  readonly directory: string;
  /** A port on which nobody listens. */
  freePort = 0;
  readonly #flags: readonly string[];
  #started: number;

  private constructor(servers: ServerProcess[], directory: string, flags: readonly string[]) {
    this.servers = servers;
    this.directory = directory;
    this.#flags = flags;
    this.#started = servers.length;
  }

  static async start(count: number, flags: readonly string[] = []): Promise<ProcessCluster> {
    const cluster = await ProcessCluster.make(count, flags);
    for (const server of cluster.servers) server.start();
    await cluster.ready();
    return cluster;
  }

  /** Without starting anything. */
  static async make(count: number, flags: readonly string[] = []): Promise<ProcessCluster> {
    const directory = mkdtempSync(join(tmpdir(), 'hstore-e2e-'));
    const ports = await takePorts(count);
    const members = Array.from({ length: count }, (_, i) => ({
      name: `n${i + 1}`,
      port: ports[i]!,
      peerPort: ports[i]! + 10_000,
    }));
    const flag = members.map(({ name, port, peerPort }) => `${name}=127.0.0.1:${port}@${peerPort}`).join(',');
    const common = [...TIMEOUTS, ...flags];
    const servers = members.map(
      (member) =>
        new ServerProcess({
          ...member,
          directory: join(directory, member.name),
          args: ['--id', member.name, '--cluster', flag, ...common],
        }),
    );
    const cluster = new ProcessCluster(servers, directory, common);
    cluster.freePort = (await takePorts(1))[0]!;
    return cluster;
  }

  /** One more server, started with an empty directory of its own; without `--join` it is alone. */
  async add(name: string, flags: readonly string[] = []): Promise<ServerProcess> {
    const port = (await takePorts(1))[0]!;
    const directory = join(this.directory, `${name}-${++this.#started}`);
    const args = ['--id', name, '--port', `${port}`, ...this.#flags, ...flags];
    const server = new ServerProcess({ name, port, peerPort: port + 10_000, directory, args });
    this.servers.push(server);
    server.start();
    await until(() => redisCli(port, 'ping').output === 'PONG\n', 20_000);
    return server;
  }

  /** It ends, and is not looked at any more. */
  async remove(which: string | ServerProcess): Promise<void> {
    const server = typeof which === 'string' ? this.servers.find(({ name }) => name === which)! : which;
    await server.kill();
    this.drop(server);
  }

  drop(server: ServerProcess): void {
    this.servers.splice(this.servers.indexOf(server), 1);
  }

  /** The server, which has ended, at another port. */
  move(server: ServerProcess): ServerProcess {
    const { name, directory } = server;
    const port = this.freePort;
    const args = ['--port', `${port}`, ...this.#flags];
    const moved = new ServerProcess({ name, port, peerPort: port + 10_000, directory, args });
    this.servers[this.servers.indexOf(server)] = moved;
    return moved;
  }

  /** A server on a copy of the directory of one that has ended. */
  restore(server: ServerProcess, flags: readonly string[]): ServerProcess {
    const directory = join(this.directory, 'restored');
    cpSync(server.directory, directory, { recursive: true });
    const port = this.freePort;
    const args = ['--port', `${port}`, ...this.#flags, ...flags];
    const restored = new ServerProcess({ name: server.name, port, peerPort: port + 10_000, directory, args });
    this.servers.push(restored);
    return restored;
  }

  /** Every server that runs answers, through a leader. */
  async ready(): Promise<void> {
    for (const server of this.servers) {
      if (server.running) await until(() => redisCli(server.port, 'get', 'nothing').output === '\n', 20_000);
    }
  }

  leader(): ServerProcess {
    const found = this.servers.filter((server) => server.running && info(server.port).raft_role === 'leader');
    const newest = found.sort((a, b) => Number(info(b.port).raft_term) - Number(info(a.port).raft_term))[0];
    if (newest === undefined) throw new Error('there is no leader');
    return newest;
  }

  /** All servers have applied the same, and their states are equal. */
  async agree(): Promise<void> {
    await until(() => {
      const infos = this.servers.map((server) => info(server.port));
      return new Set(infos.map((each) => `${each.raft_applied_index} ${each.raft_state_hash}`)).size === 1;
    }, 20_000);
  }

  /** Ends it, and throws if a server had ended by itself before. */
  async end(): Promise<void> {
    const fallen = this.servers.filter((server) => server.endedByItself);
    await this.#clear();
    for (const { name, output } of fallen)
      throw new Error(`${name} ended by itself:\n${output.slice(-3000)}`);
  }

  async #clear(): Promise<void> {
    for (const server of this.servers) {
      if (server.running) server.signal('SIGCONT');
      await server.kill();
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export function redisCli(port: number, ...args: string[]): { output: string; status: number | null } {
  const done = spawnSync('redis-cli', ['-p', `${port}`, ...args], { timeout: 15_000 });
  if (done.error !== undefined) throw done.error;
  return { output: done.stdout.toString() + done.stderr.toString(), status: done.status };
}

export function info(port: number): Record<string, string> {
  const lines = redisCli(port, 'info').output.split(/\r?\n/);
  return Object.fromEntries(lines.filter((line) => line.includes(':')).map((line) => line.split(/:(.*)/, 2)));
}

export function connect(port: number, options: { protocol?: 2 | 3 } = {}): Redis {
  const redis = new Redis(port, '127.0.0.1', {
    ...options,
    // A client that repeats by itself what may have been done would hide what is tested.
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: () => 200,
  });
  // Servers are killed under it.
  redis.on('error', () => {});
  return redis;
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, ms));
}

export async function until(holds: () => boolean | Promise<boolean>, withinMs: number): Promise<void> {
  const endMs = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > endMs) throw new Error(`not within ${withinMs} ms: ${holds.toString()}`);
    await pause(50);
  }
}
