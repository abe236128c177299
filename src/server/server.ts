/**
 * One running server: where the parts meet. Data directory and store, links to the peers, the replica, the door, and a
 * listener for clients.
 *
 *   clients -> ClientConnection -> Executor -> Replica <-> PeerLinks -> the other servers
 *
 * It listens before a leader is known; what needs one waits. Stopping is the same in reverse: no new clients, leadership
 * handed over, what is in flight finished, a last checkpoint, everything closed.
 */

import type { Config } from '../config/config.ts';
import { ACTIVE_EXPIRE } from '../kv/internal-commands.ts';
import { assert } from '../lib/assert.ts';
import { fromLatin1 } from '../lib/bytes.ts';
import type { Connection, Env, Listener, Network, Timer } from '../lib/env.ts';
import { Client } from '../resp/client.ts';
import { ClientConnection, type ConnectionLimits, DEFAULT_CONNECTION_LIMITS } from '../resp/connection.ts';
import { ErrorReply, type Reply } from '../resp/reply.ts';
import { Adoption } from './adoption.ts';
import { ClientPause } from './client-pause.ts';
import { allCommands } from './command-table.ts';
import type { ServerContext } from './context.ts';
import { DataDirectory } from './data-directory.ts';
import { Executor } from './executor.ts';
import { Join } from './join.ts';
import { isLoopback } from './loopback.ts';
import type { Member } from './member.ts';
import { Monitors } from './monitor.ts';
import { Node, type PeerStatus } from './node.ts';
import { DEFAULT_PEER_LIMITS } from './peer-limits.ts';
import type { Replica } from './replica.ts';
import type { StartService } from './service.ts';
import { ServiceSlot } from './service-slot.ts';
import { type RunningTotals, Stats } from './stats.ts';
import { Transactions } from './transactions.ts';

/** How long a stop waits for commands in flight. */
const DRAIN_MS_MAX = 3000;
const DRAIN_STEP_MS = 20;
/** How often idle clients are looked for, and what INFO tells per second is counted. */
const HOUSEKEEPING_MS = 1000;

/** What a request gains on its way to the other servers, at most: headers of run, entry, message and frame. */
const REQUEST_ENVELOPE_BYTES = 16 << 20;

const ANSWER_LEAVES_MS = 50;
const BEING_LET_IN = new ErrorReply(
  'CLUSTERDOWN',
  'This server is being let into a cluster. The command was not executed',
);
const REMOVED = new ErrorReply(
  'CLUSTERDOWN',
  'This server was removed from its cluster. The command was not executed; ask another server',
);

/** Redis's text, for a server that would be open to the world without a password. */
const PROTECTED_MODE_ERROR =
  '-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the ' +
  'default user. In this mode connections are only accepted from the loopback interface. If you want to connect from ' +
  'external computers, set a password with --requirepass, or turn protected mode off with --protected-mode no.\r\n';
const MAX_CLIENTS_ERROR = '-ERR max number of clients reached\r\n';

export interface RunningServer {
  /** Ends service in order: finishes what is in flight, hands leadership over, closes everything. */
  stop(): Promise<void>;
}

export interface ServerOptions {
  readonly version: string;
  /** The disk failed or is corrupt, or the code has a bug: the process must end, after it has said so. */
  readonly onFatal: (error: Error) => void;
  /** SHUTDOWN: stops this server with `stop` and ends the process. Without it, it is only stopped. */
  readonly onShutdown?: () => void;
  /** What runs beside the store: started with the node, and anew with every other that takes its place. */
  readonly startService?: StartService;
}

/** Throws ConfigError, InUseError, CorruptionError, DiskFullError; nothing is left running then. */
export async function startServer(env: Env, config: Config, options: ServerOptions): Promise<RunningServer> {
  const server = new Server(env, config, options);
  await server.start();
  return server;
}

class Server implements RunningServer, ServerContext {
  readonly version: string;
  readonly runId: string;
  readonly clock: Env['clock'];
  readonly random: Env['random'];
  readonly system: Env['system'];
  readonly log: Env['log'];
  readonly config: Config;
  readonly stats: Stats;
  readonly commands = allCommands;
  readonly clients = new Map<number, Client>();
  readonly monitors: Monitors;
  readonly transactions = new Transactions(this);
  readonly pause: ClientPause;
  readonly service: ServiceSlot;
  readonly startedAt: { readonly monotonicMs: number; readonly wallMs: number };
  readonly #env: Env;
  readonly #onFatal: (error: Error) => void;
  readonly #onShutdown: () => void;
  readonly #connections = new Set<ClientConnection>();
  readonly #executor: Executor;
  #directory: DataDirectory | undefined;
  #node: Node | undefined;
  #adoption: Adoption | undefined;
  #join: Join | undefined;
  unavailable: ErrorReply | undefined;
  #listeners: Listener[] = [];
  #outputLimits: Config['clientOutputBufferLimits'];
  #lastClientId = 0;
  #houseTimer: Timer | undefined;
  #stopping: Promise<void> | undefined;
  #rewriting = Promise.resolve();

  constructor(env: Env, config: Config, options: ServerOptions) {
    this.#env = env;
    this.config = config;
    this.version = options.version;
    this.#onFatal = options.onFatal;
    this.#onShutdown = options.onShutdown ?? (() => void this.stop());
    this.clock = env.clock;
    this.random = env.random;
    this.stats = new Stats(env.clock, config);
    this.monitors = new Monitors(env.clock);
    this.pause = new ClientPause(env.clock, () => {
      for (const connection of [...this.#connections]) connection.resume();
    });
    this.system = env.system;
    this.log = env.log;
    this.runId = Array.from(env.random.bytes(20), (byte) => byte.toString(16).padStart(2, '0')).join('');
    this.startedAt = { monotonicMs: env.clock.monotonicMs(), wallMs: env.clock.wallMs() };
    this.#executor = new Executor(this, this.transactions);
    this.service = new ServiceSlot({
      ...{ clock: env.clock, random: env.random, log: env.log, start: options.startService },
      unavailable: () => this.unavailable,
    });
    this.#outputLimits = config.clientOutputBufferLimits;
    config.onChange('maxmemory', () => {
      if (this.#node !== undefined) this.#node.replica.memoryBytesMax = memoryBytesMax(config);
    });
    config.onChange('client-output-buffer-limit', () => {
      this.#outputLimits = config.clientOutputBufferLimits;
    });
  }

  get replica(): Replica {
    return this.node.replica;
  }

  get node(): Node {
    return this.#node!;
  }

  get clusterId(): string {
    return this.node.clusterId;
  }

  get members(): readonly Member[] {
    return this.node.members;
  }

  get self(): Member {
    return this.node.self;
  }

  peerStatus(id: number): PeerStatus {
    return this.node.peerStatus(id);
  }

  runningTotals(): RunningTotals {
    let bytesIn = 0;
    let bytesOut = 0;
    for (const client of this.clients.values()) {
      bytesIn += client.bytesIn;
      bytesOut += client.bytesOut;
    }
    const { expiredCount, lookups } = this.replica.stateMachine;
    return {
      bytesIn,
      bytesOut,
      expiredKeys: expiredCount,
      keyspaceHits: lookups.hits,
      keyspaceMisses: lookups.misses,
    };
  }

  rewriteConfigFile(done: (error: Error | null) => void): void {
    // One after the other: each begins with what the one before it has written.
    this.#rewriting = this.#rewriting.then(() => this.#rewriteConfigFile()).then(() => done(null), done);
  }

  async #rewriteConfigFile(): Promise<void> {
    const { disk } = this.#env;
    const { configFile } = this.config;
    const before = await disk.readFile(configFile);
    const text = before === undefined ? '' : new TextDecoder().decode(before);
    await disk.replaceFile(configFile, new TextEncoder().encode(this.config.rewritten(text)));
  }

  shutdown(): void {
    this.#onShutdown();
  }

  /** For the whole cluster: it goes through the log. */
  setActiveExpire(active: boolean, done: (reply: Reply) => void): void {
    const argv = [fromLatin1(ACTIVE_EXPIRE), fromLatin1(active ? '1' : '0')];
    this.replica.write(0, argv, { resolve: done });
  }

  async start(): Promise<void> {
    try {
      await this.#open();
      const { network, secure } = this.#env;
      const { port, tlsPort } = this.config;
      if (port !== 0) await this.#listen(network, port);
      if (tlsPort !== 0) await this.#listen(secure!.clients, tlsPort);
    } catch (error) {
      await this.#close();
      throw error;
    }
    this.#keepHouse();
    const addresses = this.#listeners.map(({ address }) => `${address.host}:${address.port}`).join(' ');
    this.#env.log.notice('Ready to accept connections', { name: this.self.name, addresses });
  }

  async #listen(network: Network, port: number): Promise<void> {
    for (const host of this.config.bind) {
      const listener = await network.listen({ host, port }, (connection) => this.#accept(connection));
      this.#listeners.push(listener);
    }
  }

  async #open(): Promise<void> {
    const { config } = this;
    this.#directory = await DataDirectory.open(this.#env, config);
    this.#adoption = new Adoption({
      ...{ log: this.log, directory: this.#directory, node: () => this.node, onFatal: this.#onFatal },
      pause: () => {
        this.unavailable = BEING_LET_IN;
        return this.service.end();
      },
      restart: () => this.#restartNode(),
    });
    this.#node = await this.#startNode();
    this.#beginService();
    if (this.node.joining && config.join !== undefined) this.#join = this.#makeJoin(config.join);
  }

  #startNode(): Promise<Node> {
    return Node.start(this.#env, this.config, {
      directory: this.#directory!,
      memoryBytesMax: memoryBytesMax(this.config),
      onFatal: this.#onFatal,
      onRoom: () => this.#resumeClients(),
      onRemoved: () => this.#wasRemoved(),
      onInvitation: (invitation, answer) => this.#adoption!.invited(invitation, answer),
      onServiceMessage: (from, message) => this.service.receive(from, message),
      serviceHoldsData: () => this.service.holdsData,
    });
  }

  #beginService(): void {
    this.service.begin(this.node, this.config.dir);
  }

  /** The replica has stopped; the answer to the visitor is given the time to leave. */
  async #restartNode(): Promise<void> {
    await this.#pause(ANSWER_LEAVES_MS);
    this.node.links.stop();
    if (this.#stopping !== undefined) return;
    this.#node = await this.#startNode();
    this.unavailable = undefined;
    if (this.#stopping === undefined) this.#beginService();
    this.#resumeClients();
  }

  #makeJoin(address: { host: string; port: number }): Join {
    const { config, clock, log } = this;
    const { network, secure } = this.#env;
    return new Join({
      ...{ clock, log, address, password: config.requirepass },
      own: { ...config.announced, ...(config.hostIsKnown ? {} : { host: undefined }) },
      network: config.port === 0 ? secure!.clients : network,
      isMember: () => !this.node.joining,
      onRefused: this.#onFatal,
    });
  }

  #wasRemoved(): void {
    this.unavailable = REMOVED;
    this.log.warning('this server was removed from its cluster: it serves no data any more', {
      name: this.self.name,
      advice: 'stop it; to make it a member again, empty its data directory and start it with --join',
    });
    void this.service.end();
    this.#directory!.markRemoved().catch(this.#onFatal);
  }

  // Clients

  #accept(connection: Connection): void {
    this.stats.connectionsReceived++;
    const refusal = this.#refusal(connection);
    if (refusal !== undefined) {
      this.stats.connectionsRejected++;
      connection.handle({ onData: () => {}, onClose: () => {} });
      connection.write(new TextEncoder().encode(refusal));
      connection.end();
      return;
    }
    const client = new Client({
      id: ++this.#lastClientId,
      remote: connection.remote,
      local: connection.local,
      nowMs: this.clock.monotonicMs(),
      authenticated: this.config.requirepass === '',
    });
    const one = new ClientConnection({
      connection,
      client,
      handler: this.#executor,
      clock: this.clock,
      log: this.#env.log,
      limits: this.#connectionLimits(),
      onClose: () => {
        this.clients.delete(client.id);
        this.monitors.remove(client);
        this.transactions.drop(client);
        this.#connections.delete(one);
        this.stats.connectionClosed(client);
      },
    });
    this.clients.set(client.id, client);
    this.#connections.add(one);
  }

  #refusal(connection: Connection): string | undefined {
    if (this.clients.size >= this.config.maxclients) return MAX_CLIENTS_ERROR;
    const open = this.config.requirepass === '' && this.config.protectedMode;
    return open && !isLoopback(connection.remote.host) ? PROTECTED_MODE_ERROR : undefined;
  }

  #connectionLimits(): ConnectionLimits {
    const { protoMaxBulkLen, clientQueryBufferLimit } = this.config;
    assert(
      clientQueryBufferLimit + REQUEST_ENVELOPE_BYTES <= DEFAULT_PEER_LIMITS.frameBytesMax,
      'the largest request, as an entry, fits a frame between servers',
      clientQueryBufferLimit,
    );
    const request = { ...DEFAULT_CONNECTION_LIMITS.request, protoMaxBulkLen };
    return {
      ...DEFAULT_CONNECTION_LIMITS,
      outputLimitOf: (clientClass) => this.#outputLimits[clientClass],
      request: { ...request, queryBufferBytesMax: clientQueryBufferLimit },
    };
  }

  #resumeClients(): void {
    // Whoever is served goes to the end of the row, so that when room is short everybody's turn comes.
    for (const connection of [...this.#connections]) {
      if (this.#executor.congested) return;
      if (!this.#connections.delete(connection)) continue;
      this.#connections.add(connection);
      connection.resume();
    }
  }

  #keepHouse(): void {
    this.#houseTimer = this.clock.after(HOUSEKEEPING_MS, () => {
      this.stats.sample(this.runningTotals());
      this.stats.noteMemory(this.system.memory().heapBytes);
      const { timeoutSeconds } = this.config;
      const oldestMs = this.clock.monotonicMs() - timeoutSeconds * 1000;
      for (const connection of this.#connections) {
        const { lastInteractionMs, outputClass } = connection.client;
        // Who waits for messages, and says nothing, is not idle.
        const isIdle = connection.idle && outputClass === 'normal' && lastInteractionMs < oldestMs;
        if (timeoutSeconds > 0 && isIdle) connection.destroy();
        else connection.limitOutput();
      }
      this.#keepHouse();
    });
  }

  // Stopping

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#env.log.notice('stopping', { clients: this.clients.size });
    this.#join?.stop();
    for (const listener of this.#listeners) listener.close();
    this.pause.end();
    this.service.endWaits();
    for (const connection of this.#connections) connection.finish();
    const untilMs = this.clock.monotonicMs() + DRAIN_MS_MAX;
    while (this.clock.monotonicMs() < untilMs && !this.#drained()) {
      this.replica.giveUpLeadership();
      await this.#pause(DRAIN_STEP_MS);
    }
    await this.#close();
    this.#env.log.notice('stopped');
  }

  /** Nobody waits for an answer, and another server leads if any other can. */
  #drained(): boolean {
    if (this.#connections.size > 0) return false;
    const { role, configuration } = this.replica.raft;
    return configuration.voters.length <= 1 || role !== 'leader';
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.clock.after(ms, resolve));
  }

  async #close(): Promise<void> {
    await this.service.end();
    this.#houseTimer?.cancel();
    this.stats.latency.stop();
    this.pause.end();
    for (const listener of this.#listeners) listener.close();
    for (const connection of this.#connections) connection.destroy();
    this.#join?.stop();
    await this.#node?.stop();
    await this.#directory?.store.close();
  }
}

/** 0 is no bound, as in Redis. */
function memoryBytesMax({ maxmemory }: Config): number {
  return maxmemory === 0 ? Number.POSITIVE_INFINITY : maxmemory;
}
