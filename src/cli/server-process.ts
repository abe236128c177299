/** One server of a local cluster as a child process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Environment } from '../config/sources.ts';
import type { Command } from './self.ts';

export interface ServerProcessOptions {
  readonly name: string;
  readonly command: Command;
  readonly environment: Environment;
  /** Gets the child's lines; when it is missing, the child writes to our standard error itself. */
  readonly onLine: ((line: string) => void) | undefined;
  /** How long it may take to end. */
  readonly killAfterMs: number;
  /** `why` is `exit status 1`, `signal SIGKILL`, or why it could not be started. Called exactly once. */
  readonly onExit: (why: string) => void;
}

export class ServerProcess {
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #killAfterMs: number;

  constructor(options: ServerProcessOptions) {
    const { command, args } = options.command;
    this.#killAfterMs = options.killAfterMs;
    this.#child = spawn(command, args, {
      stdio: ['ignore', 'ignore', options.onLine === undefined ? 'inherit' : 'pipe'],
      env: options.environment,
    });
    if (this.#child.stderr !== null && options.onLine !== undefined) {
      createInterface({ input: this.#child.stderr }).on('line', options.onLine);
    }
    this.#exited = new Promise((resolve) => {
      const onEnd = (why: string): void => {
        resolve();
        options.onExit(why);
      };
      this.#child.once('error', (error) => {
        // An error after the start (a signal that could not be sent) is followed by the exit.
        if (this.#child.pid === undefined) onEnd(error.message);
      });
      this.#child.once('exit', (code, signal) =>
        onEnd(signal === null ? `exit status ${code}` : `signal ${signal}`),
      );
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Asks it to end, and ends it if it takes too long. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.kill(), this.#killAfterMs);
    await this.#exited;
    clearTimeout(timer);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}
