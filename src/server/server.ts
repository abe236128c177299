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
import type { Connection, Env, Listener, Network, Store, Timer } from '../lib/env.ts';
import { DEFAULT_LIMITS } from '../raft/limits.ts';
import { Client } from '../resp/client.ts';
import { ClientConnection, type ConnectionLimits, DEFAULT_CONNECTION_LIMITS } from '../resp/connection.ts';
import type { Reply } from '../resp/reply.ts';
import { DEFAULT_CHECKPOINTS } from './checkpointer.ts';
import { ClientPause } from './client-pause.ts';
import { allCommands } from './command-table.ts';
import type { Member, PeerStatus, ServerContext } from './context.ts';
import { type Identity, openDataDirectory } from './data-directory.ts';
import { Executor } from './executor.ts';
import { Monitors } from './monitor.ts';
import { DEFAULT_PEER_LIMITS } from './peer-limits.ts';
import { PeerLinks } from './peer-links.ts';
import { Replica } from './replica.ts';
import { type RunningTotals, Stats } from './stats.ts';
import { Transactions } from './transactions.ts';

const GROUP = 1;
/** How long a stop waits for commands in flight. */
const DRAIN_MS_MAX = 3000;
const DRAIN_STEP_MS = 20;
/** How often idle clients are looked for, and what INFO tells per second is counted. */
const HOUSEKEEPING_MS = 1000;

/** What a request gains on its way to the other servers, at most: headers of run, entry, message and frame. */
const REQUEST_ENVELOPE_BYTES = 16 << 20;

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
  readonly system: Env['system'];
  readonly log: Env['log'];
  readonly config: Config;
  readonly stats: Stats;
  readonly commands = allCommands;
  readonly clients = new Map<number, Client>();
  readonly monitors: Monitors;
  readonly transactions = new Transactions(this);
  readonly pause: ClientPause;
  readonly startedAt: { readonly monotonicMs: number; readonly wallMs: number };
  readonly #env: Env;
  readonly #onFatal: (error: Error) => void;
  readonly #onShutdown: () => void;
  readonly #connections = new Set<ClientConnection>();
  readonly #executor: Executor;
  #identity: Identity | undefined;
  #store: Store | undefined;
  #links: PeerLinks | undefined;
  #replica: Replica | undefined;
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
    this.#outputLimits = config.clientOutputBufferLimits;
    config.onChange('maxmemory', () => {
      if (this.#replica !== undefined) this.#replica.stateMachine.memoryBytesMax = memoryBytesMax(config);
    });
    config.onChange('client-output-buffer-limit', () => {
      this.#outputLimits = config.clientOutputBufferLimits;
    });
  }

  get replica(): Replica {
    return this.#replica!;
  }

  get clusterId(): string {
    return this.#identity!.clusterId;
  }

  get members(): readonly Member[] {
    return this.#identity!.members;
  }

  get self(): Member {
    return this.members.find((member) => member.id === this.#identity!.nodeId)!;
  }

  peerStatus(id: number): PeerStatus {
    return id === this.self.id ? { connected: true, lastHeardMs: undefined } : this.#links!.status(id);
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
    const { identity, store } = await openDataDirectory(this.#env, config);
    this.#identity = identity;
    this.#store = store;
    const links = new PeerLinks({
      env: config.tlsCluster ? { ...this.#env, network: this.#env.secure!.peers } : this.#env,
      clusterId: identity.clusterId,
      id: identity.nodeId,
      name: identity.name,
      secret: config.clusterSecret,
      listen: { host: this.self.host, port: this.self.peerPort },
      peers: new Map(
        this.members
          .filter((member) => member !== this.self)
          .map(({ id, name, host, peerPort }) => [id, { name, address: { host, port: peerPort } }]),
      ),
      onMessages: (from, messages) => this.#replica?.receive(from, messages),
      onUnreachable: (peer) => this.#replica?.peerUnreachable(peer),
    });
    this.#links = links;
    this.#replica = await Replica.start(this.#env, {
      group: GROUP,
      id: identity.nodeId,
      voters: this.members.map((member) => member.id),
      directory: config.dir,
      store,
      limits: {
        ...DEFAULT_LIMITS,
        electionTimeoutMs: config.electionTimeoutMs,
        heartbeatIntervalMs: config.heartbeatIntervalMs,
      },
      walSegmentBytes: config.walSegmentBytes,
      memoryBytesMax: memoryBytesMax(config),
      commandTimeoutMs: config.commandTimeoutMs,
      reads: config.reads,
      checkpoints: DEFAULT_CHECKPOINTS,
      transport: links,
      nameOf: (id) => this.members.find((member) => member.id === id)?.name ?? `${id}`,
      onFatal: this.#onFatal,
      onRoom: () => this.#resumeClients(),
    });
    if (this.members.length > 1) await links.start();
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
    for (const listener of this.#listeners) listener.close();
    this.pause.end();
    for (const connection of this.#connections) connection.finish();
    const untilMs = this.clock.monotonicMs() + DRAIN_MS_MAX;
    while (this.clock.monotonicMs() < untilMs && !this.#drained()) {
      this.replica.giveUpLeadership();
      await this.#pause(DRAIN_STEP_MS);
    }
    await this.#close();
    this.#env.log.notice('stopped');
  }

  /** Nobody waits for an answer, and another server leads. */
  #drained(): boolean {
    if (this.#connections.size > 0) return false;
    return this.members.length === 1 || this.replica.raft.role !== 'leader';
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.clock.after(ms, resolve));
  }

  async #close(): Promise<void> {
    this.#houseTimer?.cancel();
    this.stats.latency.stop();
    this.pause.end();
    for (const listener of this.#listeners) listener.close();
    for (const connection of this.#connections) connection.destroy();
    await this.#replica?.stop();
    this.#links?.stop();
    await this.#store?.close();
  }
}

/** 0 is no bound, as in Redis. */
function memoryBytesMax({ maxmemory }: Config): number {
  return maxmemory === 0 ? Number.POSITIVE_INFINITY : maxmemory;
}

function isLoopback(host: string): boolean {
  return host === '::1' || host.startsWith('127.') || host.startsWith('::ffff:127.');
}
