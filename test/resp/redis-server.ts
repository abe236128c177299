/**
 * A real redis-server as an oracle: started on a free port, spoken to in raw bytes.
 *
 * When it is not installed, tests against it are left out, but not where CI is set: there it must be.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { takePorts } from '../ports.ts';

export const redisServerExpected =
  process.env.CI !== undefined || spawnSync('redis-server', ['--version']).status === 0;

const CLOSES_MS_MAX = 2000;

export class RedisServer {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #probe: Socket;

  private constructor(
    port: number,
    { child, directory }: { child: ChildProcess; directory: string },
    probe: Socket,
  ) {
    this.port = port;
    this.#child = child;
    this.#directory = directory;
    this.#probe = probe;
  }

  static async start(options: readonly string[] = []): Promise<RedisServer> {
    const port = (await takePorts(1))[0]!;
    const args = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--daemonize', 'no', ...options];
    // It reads the dump that it finds where it starts, and SAVE writes one there.
    const directory = mkdtempSync(join(tmpdir(), 'redis-'));
    const child = spawn('redis-server', args, { cwd: directory, stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`redis-server ended with status ${code}`)));
      child.stdout!.on('data', (text: Buffer) => {
        if (text.includes('Ready to accept connections')) resolve();
      });
    });
    const probe = connect(port, '127.0.0.1');
    await once(probe, 'connect');
    return new RedisServer(port, { child, directory }, probe);
  }

  async stop(): Promise<void> {
    this.#probe.destroy();
    this.#child.kill('SIGKILL');
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit');
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** Sends `chunks`, each in a read of its own, on a new connection: all that comes back, and whether it was closed. */
  async exchange(chunks: readonly Uint8Array[]): Promise<{ output: string; closed: boolean }> {
    const socket = connect(this.port, '127.0.0.1');
    const received: Buffer[] = [];
    let closed = false;
    socket.setNoDelay(true);
    socket.on('data', (bytes) => received.push(bytes));
    socket.on('end', () => {
      closed = true;
    });
    // A server that closes while we still send resets the connection: that is closed too.
    socket.on('error', () => {
      closed = true;
    });
    await once(socket, 'connect');
    for (const chunk of chunks) {
      if (closed) break;
      socket.write(chunk);
      await this.#settled();
    }
    await this.#settled();
    // That it closes may arrive later than what the other connection has got.
    const isRefused = Buffer.concat(received).includes('-ERR Protocol error');
    if (isRefused && !closed) {
      await Promise.race([once(socket, 'close').catch(() => {}), pause(CLOSES_MS_MAX)]);
    }
    socket.destroy();
    return { output: Buffer.concat(received).toString('latin1'), closed };
  }

  /** Redis is one thread: when it has answered two commands sent later, it has handled what was sent before. */
  async #settled(): Promise<void> {
    for (let round = 0; round < 2; round++) {
      this.#probe.write('*1\r\n$4\r\nPING\r\n');
      await once(this.#probe, 'data');
    }
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, ms));
}
