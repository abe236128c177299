/** Servers of a cluster as processes, killed and started one by one, and what can be seen of them from outside. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const PROGRAM = resolve('dist/hstore.js');
export const MB = 1024 * 1024;

export class Server {
  readonly name: string;
  readonly port: number;
  readonly directory: string;
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;

  constructor(options: { name: string; port: number; directory: string; args: readonly string[] }) {
    this.name = options.name;
    this.port = options.port;
    this.directory = options.directory;
    this.#args = options.args;
  }

  start(): void {
    const args = [PROGRAM, 'server', '--id', this.name, '--port', `${this.port}`, '--dir', this.directory];
    this.#child = spawn(process.execPath, [...args, '--loglevel', 'warning', ...this.#args], {
      stdio: 'inherit',
    });
  }

  /** Resolves when the process has ended. */
  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child!;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = new Promise((done) => child.once('exit', done));
    child.kill(signal);
    await exit;
  }

  /**
   * What the process has in memory now, in megabytes: its own, and pages of files that it has mapped (LevelDB maps its
   * tables), which the system takes back when it needs room.
   */
  get memory(): { ownMb: number; mappedMb: number } {
    const status = readFileSync(`/proc/${this.#child!.pid}/status`, 'utf8');
    const mb = (name: string) =>
      Math.round(Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) / 1024);
    return { ownMb: mb('RssAnon'), mappedMb: mb('RssFile') };
  }

  get directoryBytes(): { wal: number; store: number } {
    return { wal: bytesIn(join(this.directory, 'wal')), store: bytesIn(join(this.directory, 'store')) };
  }

  async cli(...args: string[]): Promise<string> {
    return (await run('redis-cli', ['-p', `${this.port}`, ...args])).stdout;
  }

  async info(): Promise<Record<string, string>> {
    const lines = (await this.cli('info')).split(/\r?\n/);
    return Object.fromEntries(
      lines.filter((line) => line.includes(':')).map((line) => line.split(/:(.*)/, 2)),
    );
  }

  /** It answers through a leader. */
  async ready(): Promise<void> {
    for (let tries = 0; tries < 1200; tries++) {
      try {
        if ((await this.cli('get', 'nothing')) === '\n') return;
      } catch {
        // It does not listen yet.
      }
      await pause(25);
    }
    throw new Error(`${this.name} does not answer`);
  }
}

function bytesIn(directory: string): number {
  let bytes = 0;
  for (const name of readdirSync(directory)) {
    try {
      bytes += statSync(join(directory, name)).size;
    } catch {
      // Removed in between.
    }
  }
  return bytes;
}

export interface Cluster {
  readonly servers: readonly Server[];
  leader(): Promise<Server>;
  end(): Promise<void>;
}

/** Founds a cluster and waits until all answer. */
export async function startCluster(
  count: number,
  port: number,
  flags: readonly string[] = [],
): Promise<Cluster> {
  const directory = mkdtempSync(join(tmpdir(), 'hstore-endurance-'));
  const members = Array.from({ length: count }, (_, i) => ({ name: `n${i + 1}`, port: port + i }));
  const cluster = members.map((member) => `${member.name}=127.0.0.1:${member.port}`).join(',');
  const servers = members.map(
    (member) =>
      new Server({
        ...member,
        directory: join(directory, member.name),
        args: ['--cluster', cluster, ...flags],
      }),
  );
  for (const server of servers) server.start();
  for (const server of servers) await server.ready();
  return {
    servers,
    leader: async () => {
      for (const server of servers) if ((await server.info()).raft_role === 'leader') return server;
      throw new Error('there is no leader');
    },
    end: async () => {
      for (const server of servers) await server.end('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** redis-benchmark on `port`; resolves with SETs per second. */
export function load(
  port: number,
  options: { requests: number; keys: number; valueBytes: number; pipeline: number; clients?: number },
): Promise<number> {
  const { requests, keys, valueBytes, pipeline, clients = 8 } = options;
  const args = [
    '-p',
    port,
    '-t',
    'set',
    '-n',
    requests,
    '-r',
    keys,
    '-d',
    valueBytes,
    '-P',
    pipeline,
    '-c',
    clients,
    '--csv',
  ];
  const child = spawn('redis-benchmark', args.map(String), { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (data: Buffer) => {
    output += data.toString();
  });
  return new Promise((done, failed) => {
    child.once('exit', (code) => {
      const line = output.split('\n').find((each) => each.startsWith('"SET"'));
      if (line === undefined) failed(new Error(`redis-benchmark ended with ${code}: ${output.slice(-500)}`));
      else done(Number(line.split(',')[1]!.replaceAll('"', '')));
    });
  });
}

export function pause(ms: number): Promise<void> {
  return new Promise((done) => void setTimeout(done, ms));
}

export function megabytes(bytes: number): string {
  return `${(bytes / MB).toFixed(0)} MB`;
}
