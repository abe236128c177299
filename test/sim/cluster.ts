/**
 * A whole cluster of replicas in one process and one virtual time: the real code on a simulated disk, store, network
 * and clock, to be started, crashed, paused and cut off at will.
 */
import { assert } from '../../src/lib/assert.ts';
import { ByteReader, ByteWriter } from '../../src/lib/bytes.ts';
import type { Address, Env, Log } from '../../src/lib/env.ts';
import { Configuration, NO_CONFIGURATION } from '../../src/raft/configuration.ts';
import { DEFAULT_LIMITS, type RaftLimits } from '../../src/raft/limits.ts';
import type { NodeId } from '../../src/raft/types.ts';
import { type CheckpointLimits, DEFAULT_CHECKPOINTS } from '../../src/server/checkpointer.ts';
import { PeerLinks } from '../../src/server/peer-links.ts';
import {
  decodePeerMessage,
  encodePeerMessage,
  isServiceMessage,
  type PeerMessage,
  type PeerTransport,
  type ServiceMessage,
} from '../../src/server/peer-message.ts';
import { Replica } from '../../src/server/replica.ts';
import { type ClockFaults, SimClock } from './clock.ts';
import { type DiskFaults, GOOD_DISK, SimDisk } from './disk.ts';
import { SimNetwork } from './network.ts';
import { SimRandom } from './random.ts';
import { type Life, Scheduler } from './scheduler.ts';
import { SimStreams } from './sim-streams.ts';
import { SimStore } from './store.ts';
import { StreamNetwork } from './stream-network.ts';

export interface ClusterOptions {
  readonly seed: number;
  readonly servers: number;
  readonly limits?: Partial<RaftLimits>;
  readonly memoryBytesMax?: number;
  readonly snapshotBytesPerSecond?: number;
  readonly walSegmentBytes?: number;
  /** Of the log, for followers that lag; less makes snapshots. */
  readonly walKeepBytes?: number;
  readonly commandTimeoutMs?: number;
  readonly checkpoints?: CheckpointLimits;
  /**
   * What joins the servers. `packets` may lose, double and reorder every one; `streams` are the real links over
   * simulated connections. Partitions and delays are the same for both.
   */
  readonly links?: 'packets' | 'streams';
  /** What runs beside the store in every life of every server, as soon as it has a replica. */
  readonly startService?: (server: SimServer, world: ServiceSurroundings) => SimService;
  /** Every line a server logs, for a replay. */
  readonly trace?: (line: string) => void;
}

export interface ServiceSurroundings {
  readonly env: Env;
  readonly life: Life;
  readonly replica: Replica;
  readonly transport: PeerTransport;
}

export interface SimService {
  receive(from: NodeId, message: ServiceMessage): void;
}

/** Small bounds, so that windows fill, segments change and memory overflows all the time. */
export const SMALL_LIMITS: RaftLimits = {
  ...DEFAULT_LIMITS,
  appendBytesMax: 2 << 10,
  inflightMessagesMax: 4,
  inflightBytesMax: 8 << 10,
  uncommittedBytesMax: 64 << 10,
  applyBytesMax: 2 << 10,
  logMemoryBytesMax: 4 << 10,
};

export const GROUP = 1;

/** One server: what lasts (disk, store, clock) and, while it is up, its present life. */
export class SimServer {
  readonly id: NodeId;
  disk: SimDisk;
  store: SimStore;
  readonly clockFaults: ClockFaults;
  readonly #cluster: Cluster;
  life: Life | undefined;
  replica: Replica | undefined;
  /** With streams, while it is up. */
  links: PeerLinks | undefined;
  #service: SimService | undefined;
  /** Why it ended by itself, if it did. */
  fatal: Error | undefined;
  /** A newcomer knows nobody. */
  readonly #founding: Configuration;

  constructor(cluster: Cluster, id: NodeId, founding: Configuration) {
    this.id = id;
    this.#founding = founding;
    this.#cluster = cluster;
    const faults: DiskFaults = { ...GOOD_DISK };
    this.disk = new SimDisk(cluster.scheduler, cluster.random.split(), faults);
    this.store = new SimStore(cluster.scheduler, cluster.random.split(), faults);
    this.clockFaults = {
      rate: cluster.random.between(0.99, 1.01),
      wallSkewMs: cluster.random.below(2000) - 1000,
    };
  }

  get up(): boolean {
    return this.life !== undefined;
  }

  get isLeader(): boolean {
    return this.replica?.raft.role === 'leader';
  }

  /** Whoever holds the data of a server that is down has replaced them by nothing. */
  loseDisk(): void {
    const { scheduler, random } = this.#cluster;
    const faults: DiskFaults = { ...GOOD_DISK };
    this.disk = new SimDisk(scheduler, random.split(), faults);
    this.store = new SimStore(scheduler, random.split(), faults);
  }

  start(): void {
    const { scheduler, network, streams, random, options } = this.#cluster;
    const life: Life = { alive: true, paused: false, held: [] };
    this.life = life;
    this.fatal = undefined;
    const env: Env = {
      clock: new SimClock(scheduler, life, this.clockFaults, random.split()),
      random: random.split(),
      disk: this.disk.open(life),
      stores: { open: async () => this.store.open(life) },
      network: streams?.open(this.id, life) ?? (undefined as never),
      system: undefined as never,
      log: this.#log(),
    };
    if (streams !== undefined) this.links = this.#makeLinks(env, life);
    const onFatal = (error: Error) => {
      if (!life.alive) return;
      this.fatal = error;
      this.crash();
    };
    const { memoryBytesMax = 4096, walSegmentBytes = 16 << 10, commandTimeoutMs = 5000 } = options;
    Replica.start(env, {
      ...{ group: GROUP, id: this.id, founding: this.#founding, directory: 'data' },
      store: this.store.open(life),
      limits: { ...SMALL_LIMITS, ...options.limits },
      ...{
        walSegmentBytes,
        walKeepBytes: options.walKeepBytes ?? 64 << 10,
        snapshotBytesPerSecond: () => this.#cluster.snapshotBytesPerSecond,
        memoryBytesMax,
        commandTimeoutMs,
        reads: 'linearizable',
      },
      transport: {
        send: (to, messages) => this.#send(to, messages),
        openStream: (to, events) =>
          this.links?.openStream(to, events) ?? this.#cluster.simStreams.open(this.id, life, to, events),
      },
      onConfiguration: ({ configuration }) => {
        const removed = this.replica?.configuration.configuration.removed ?? [];
        this.links?.setPeers(peersOf(configuration), new Set(removed));
      },
      onFatal,
      nameOf: (id) => `n${id}`,
      checkpoints: options.checkpoints ?? DEFAULT_CHECKPOINTS,
      onRoom: () => {},
    }).then((replica) => {
      if (!life.alive) return;
      this.replica = replica;
      const transport: PeerTransport = { send: (to, messages) => this.#send(to, messages) };
      this.#service = options.startService?.(this, { env, life, replica, transport });
      if (this.links !== undefined) return this.links.start();
      network.attach(this.id, (from, packet) => this.#receive(life, from, packet));
      this.#cluster.simStreams.attach(this.id, {
        life,
        accept: (stream) => replica.snapshots.accept(stream),
      });
      return undefined;
    }, onFatal);
    scheduler.settle();
  }

  /** kill -9 and power loss in one: what was not durable is gone, in whole or in part. */
  crash(): void {
    if (this.life === undefined) return;
    this.life.alive = false;
    this.life = undefined;
    this.replica = undefined;
    this.links = undefined;
    this.#service = undefined;
    this.#cluster.network.attach(this.id, undefined);
    this.#cluster.simStreams.attach(this.id, undefined);
    this.#cluster.simStreams.breakAll(this.id);
    this.#cluster.streams?.crash(this.id, this.#cluster.random.chance(0.5) ? 'killed' : 'power lost');
    this.disk.crash();
    this.store.crash();
  }

  #makeLinks(env: Env, life: Life): PeerLinks {
    const { ids } = this.#cluster;
    return new PeerLinks({
      ...{ env, clusterId: 'simulated', id: this.id, name: `n${this.id}`, secret: 'a secret' },
      listen: peerAddress(this.id),
      advertised: { host: `n${this.id}`, port: 6379, peerPort: peerAddress(this.id).port },
      peers: new Map(ids.map((id) => [id, { name: `n${id}`, address: peerAddress(id) }])),
      onMessages: (from, messages) => {
        assert(life.alive && !life.paused, 'messages come to a process that runs', this.id);
        this.#hand(from, messages);
      },
      onUnreachable: (peer) => this.replica?.peerUnreachable(peer),
      onStream: (stream) => this.replica!.snapshots.accept(stream),
    });
  }

  #send(to: NodeId, messages: readonly PeerMessage[]): void {
    for (const message of messages) this.#cluster.onSend(this.id, to, message);
    if (this.links !== undefined) {
      this.links.send(to, messages);
      return;
    }
    const out = new ByteWriter(256);
    for (const message of messages) encodePeerMessage(out, message);
    this.#cluster.network.send(this.id, to, out.copy());
  }

  #receive(life: Life, from: NodeId, packet: Uint8Array): void {
    const deliver = () => {
      const reader = new ByteReader(packet);
      const messages: PeerMessage[] = [];
      while (reader.remaining > 0) messages.push(decodePeerMessage(reader));
      this.#hand(from, messages);
    };
    if (life.paused) life.held.push(deliver);
    else this.guard(deliver);
  }

  #hand(from: NodeId, messages: readonly PeerMessage[]): void {
    this.replica?.receive(
      from,
      messages.filter((message) => !isServiceMessage(message)),
    );
    for (const message of messages.filter(isServiceMessage)) this.#service?.receive(from, message);
  }

  /** An error that escapes is what ends a real process. */
  guard(run: () => void): void {
    run();
  }

  #log(): Log {
    const { trace } = this.#cluster.options;
    const line = (event: string, fields?: object) => {
      this.#cluster.onLog(this, event, fields);
      trace?.(
        `${this.#cluster.scheduler.nowMs.toFixed(2)} n${this.id} ${event} ${JSON.stringify(fields ?? {})}`,
      );
    };
    return { debug: line, verbose: line, notice: line, warning: line };
  }
}

function peersOf({ members }: Configuration): Map<NodeId, { name: string; address: Address }> {
  return new Map(members.map(({ id }) => [id, { name: `n${id}`, address: peerAddress(id) }]));
}

function peerAddress(id: NodeId): Address {
  return { host: `n${id}`, port: 16379 };
}

export class Cluster {
  readonly options: ClusterOptions;
  readonly scheduler = new Scheduler();
  readonly random: SimRandom;
  readonly network: SimNetwork;
  readonly streams: StreamNetwork | undefined;
  /** Those that are, or are to be, members. */
  readonly servers: SimServer[];
  /** Those that were removed. */
  readonly removed: SimServer[] = [];
  readonly simStreams: SimStreams;
  readonly founding: Configuration;
  snapshotBytesPerSecond: number;
  /** Sees every message before it leaves. */
  onSend: (from: NodeId, to: NodeId, message: PeerMessage) => void = () => {};
  /** Sees every line that a server logs. */
  onLog: (server: SimServer, event: string, fields?: object) => void = () => {};

  constructor(options: ClusterOptions) {
    this.options = options;
    this.random = new SimRandom(options.seed);
    this.network = new SimNetwork(this.scheduler, this.random.split());
    const streams = options.links === 'streams';
    this.streams = streams ? new StreamNetwork(this.scheduler, this.random.split(), this.network) : undefined;
    this.simStreams = new SimStreams(this.scheduler, this.random.split(), this.network);
    const ids = Array.from({ length: options.servers }, (_, i) => i + 1);
    this.founding = Configuration.founding(ids.map((id) => ({ id, description: `n${id}` })));
    this.servers = ids.map((id) => new SimServer(this, id, this.founding));
    this.snapshotBytesPerSecond = options.snapshotBytesPerSecond ?? 64 << 20;
  }

  get ids(): NodeId[] {
    return this.servers.map(({ id }) => id);
  }

  server(id: NodeId): SimServer {
    return this.servers.find((server) => server.id === id)!;
  }

  /** Where clients go: to those that belong to somebody, if there are any. */
  get serving(): readonly SimServer[] {
    const serving = this.servers.filter(
      ({ replica }) => (replica?.raft.configuration.members.length ?? 1) > 0,
    );
    return serving.length > 0 ? serving : this.servers;
  }

  /** A server with an empty disk, not started, that no member knows. */
  newcomer(): SimServer {
    const id = Math.max(...this.ids, ...this.removed.map((server) => server.id)) + 1;
    const server = new SimServer(this, id, NO_CONFIGURATION);
    this.servers.push(server);
    return server;
  }

  /** It is no member any more: it is shut down for good. */
  retire(server: SimServer): void {
    server.crash();
    this.servers.splice(this.servers.indexOf(server), 1);
    this.removed.push(server);
  }

  startAll(): void {
    for (const server of this.servers) if (!server.up) server.start();
  }

  /** The leader of the highest term, if there is one. */
  leader(): SimServer | undefined {
    const leaders = this.servers.filter((server) => server.isLeader);
    leaders.sort((a, b) => b.replica!.raft.term - a.replica!.raft.term);
    return leaders[0];
  }

  async run(ms: number, stop?: () => boolean): Promise<void> {
    await this.scheduler.run(this.scheduler.nowMs + ms, stop);
  }

  /** Runs until `holds`, for at most `withinMs`; whether it came to hold. */
  async until(holds: () => boolean, withinMs: number): Promise<boolean> {
    if (holds()) return true;
    await this.run(withinMs, holds);
    return holds();
  }
}
