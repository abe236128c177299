/**
 * The servers of `hstore cluster`: started together, looked at until they serve, reported or started again when they
 * die, and stopped together. Whatever goes wrong, none of them is left behind.
 */
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { InUseError } from '../lib/errors.ts';
import { probe } from './probe.ts';
import type { Command } from './self.ts';
import { LAUNCHER_VARIABLE } from './server-mode.ts';
import { ServerProcess } from './server-process.ts';
import type { ClusterPlan, PlannedServer } from './settings.ts';

const PROBE_INTERVAL_MS = 50;
const STILL_WAITING_MS = 10_000;
const RESTART_DELAY_MS_MIN = 500;
const RESTART_DELAY_MS_MAX = 10_000;
/** After so long a life a death is no longer one of a series. */
const STEADY_MS = 30_000;

export interface LocalClusterOptions {
  readonly plan: ClusterPlan;
  /** How this program is started with arguments. */
  readonly program: (args: readonly string[]) => Command;
  /** Lines for people. */
  readonly say: (line: string) => void;
  /** Whether the servers' lines get their name in front, and go through `say`. */
  readonly prefixed: boolean;
  /** How long a server may take to stop before it is killed. */
  readonly killAfterMs: number;
  /** All servers have died, and will not be started again. */
  readonly onAllDead: () => void;
}

interface Slot {
  readonly server: PlannedServer;
  process: ServerProcess | undefined;
  restartDelayMs: number;
}

export class LocalCluster {
  readonly #options: LocalClusterOptions;
  readonly #slots: readonly Slot[];
  #state: 'starting' | 'ready' | 'stopping' = 'starting';
  /** Why a server died before all of them served. */
  #startFailure: string | undefined;
  readonly #restarts = new Set<NodeJS.Timeout>();

  constructor(options: LocalClusterOptions) {
    this.#options = options;
    this.#slots = options.plan.servers.map((server) => ({
      server,
      process: undefined,
      restartDelayMs: RESTART_DELAY_MS_MIN,
    }));
  }

  /**
   * Resolves when all servers answer and know a leader, or when `stop` was called meanwhile. Throws InUseError when a
   * port is taken, Error when a server dies; then none runs any more.
   */
  async start(): Promise<void> {
    await refusePortsInUse(this.#options.plan.ports);
    if (this.#state === 'stopping') return;
    for (const slot of this.#slots) this.#launch(slot);
    for (const slot of this.#slots) await this.#untilServes(slot);
    if (this.#startFailure !== undefined) {
      await this.stop();
      throw new Error(this.#startFailure);
    }
    if (this.#state === 'starting') this.#state = 'ready';
  }

  get ready(): boolean {
    return this.#state === 'ready';
  }

  async stop(): Promise<void> {
    this.#state = 'stopping';
    for (const timer of this.#restarts) clearTimeout(timer);
    await Promise.all(this.#slots.map((slot) => slot.process?.stop()));
  }

  kill(): void {
    for (const slot of this.#slots) slot.process?.kill();
  }

  #launch(slot: Slot): void {
    const { plan, program, prefixed, say, killAfterMs } = this.#options;
    const { name, args } = slot.server;
    const startedMs = performance.now();
    slot.process = new ServerProcess({
      name,
      command: program(args),
      killAfterMs,
      environment: { ...plan.environment, [LAUNCHER_VARIABLE]: `${process.pid}` },
      onLine: prefixed ? (line) => say(`${name} | ${line}`) : undefined,
      onExit: (why) => {
        slot.process = undefined;
        this.#onExit(slot, why, performance.now() - startedMs);
      },
    });
  }

  #onExit(slot: Slot, why: string, livedMs: number): void {
    const { name } = slot.server;
    if (this.#state === 'stopping') return;
    if (this.#state === 'starting') {
      this.#startFailure ??= `${name} did not start: ${why}, its last lines say why`;
      return;
    }
    if (this.#options.plan.restart) {
      this.#restart(slot, why, livedMs);
      return;
    }
    this.#options.say(`${name} has died: ${why}; with --restart it would be started again`);
    if (this.#slots.every((each) => each.process === undefined)) this.#options.onAllDead();
  }

  #restart(slot: Slot, why: string, livedMs: number): void {
    if (livedMs >= STEADY_MS) slot.restartDelayMs = RESTART_DELAY_MS_MIN;
    const delayMs = slot.restartDelayMs;
    slot.restartDelayMs = Math.min(delayMs * 2, RESTART_DELAY_MS_MAX);
    this.#options.say(`${slot.server.name} has died: ${why}; it is started again in ${delayMs / 1000} s`);
    const timer = setTimeout(() => {
      this.#restarts.delete(timer);
      this.#launch(slot);
    }, delayMs);
    this.#restarts.add(timer);
  }

  async #untilServes({ server }: Slot): Promise<void> {
    let toldMs = performance.now();
    while (this.#state === 'starting' && this.#startFailure === undefined) {
      const { answers, leader } = await probe({
        port: server.port,
        password: this.#options.plan.requirepass,
        tls: this.#options.plan.tls,
      });
      if (leader !== '') return;
      if (performance.now() - toldMs > STILL_WAITING_MS) {
        toldMs = performance.now();
        this.#options.say(
          `waiting for ${server.name}: ${answers ? 'it knows no leader yet' : 'it does not answer yet'}`,
        );
      }
      await sleep(PROBE_INTERVAL_MS);
    }
  }
}

/** Before anything is started: what would otherwise be three servers that complain, one by one. */
async function refusePortsInUse(ports: readonly number[]): Promise<void> {
  for (const port of ports) {
    if (await isInUse(port)) {
      throw new InUseError(
        `port ${port} of 127.0.0.1 is in use (is another cluster or a redis-server running?)`,
      );
    }
  }
}

function isInUse(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(true);
      else reject(error);
    });
    server.listen({ host: '127.0.0.1', port }, () => server.close(() => resolve(false)));
  });
}
