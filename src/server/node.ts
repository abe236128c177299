/**
 * This server as a member of a cluster: its identity, its links to the others, and its replica. A server that is let into
 * a cluster becomes another node while its clients stay connected (server.ts).
 *
 * Who the members are and where they are is replicated (raft/configuration.ts); the node keeps the links in step with it,
 * and sees to it that the configuration has its own address as it is now.
 */

import type { Config } from '../config/config.ts';
import { formatMembers } from '../config/members.ts';
import type { Env, Timer } from '../lib/env.ts';
import { Configuration, NO_CONFIGURATION } from '../raft/configuration.ts';
import type { ConfigurationAt } from '../raft/configuration-log.ts';
import { DEFAULT_LIMITS } from '../raft/limits.ts';
import { NOBODY, type NodeId } from '../raft/types.ts';
import { encodeCard } from './card.ts';
import { DEFAULT_CHECKPOINTS } from './checkpointer.ts';
import type { DataDirectory } from './data-directory.ts';
import { describeMember, isSound, type Member, memberOf } from './member.ts';
import type { MetPeers } from './met-peers.ts';
import type { Invited } from './peer-host.ts';
import { PeerLinks } from './peer-links.ts';
import { isServiceMessage, type PeerMessage, type ServiceMessage } from './peer-message.ts';
import { Replica } from './replica.ts';

export const GROUP = 1;
/** How often it looks whether the cluster knows its address. */
const ADDRESS_EVERY_MS = 1000;

export interface PeerStatus {
  readonly connected: boolean;
  /** By the monotonic clock; undefined: never. */
  readonly lastHeardMs: number | undefined;
}

export interface NodeOptions {
  readonly directory: DataDirectory;
  readonly memoryBytesMax: number;
  readonly onFatal: (error: Error) => void;
  readonly onRoom: () => void;
  /** This server was removed from its cluster, for good. Once. */
  readonly onRemoved: () => void;
  readonly onInvitation: Invited;
  /** A question or an answer of a peer's service. */
  readonly onServiceMessage: (from: NodeId, message: ServiceMessage) => void;
  /** Whether there is something of its that must not be lost; what it keeps in the store is not counted otherwise. */
  readonly serviceHoldsData?: () => boolean;
}

export class Node {
  readonly replica: Replica;
  readonly links: PeerLinks;
  readonly #env: Env;
  readonly #config: Config;
  readonly #options: NodeOptions;
  #members: { readonly of: Configuration; readonly members: readonly Member[] } | undefined;
  #addressTimer: Timer | undefined;
  #removed = false;
  #stopped = false;

  private constructor(
    env: Env,
    config: Config,
    options: NodeOptions,
    parts: { replica: Replica; links: PeerLinks },
  ) {
    this.#env = env;
    this.#config = config;
    this.#options = options;
    this.replica = parts.replica;
    this.links = parts.links;
  }

  /** Throws InUseError, CorruptionError, ConfigError, DiskFullError; nothing is left running then. */
  static async start(env: Env, config: Config, options: NodeOptions): Promise<Node> {
    const { directory } = options;
    const started: { node?: Node } = {};
    const met = await directory.metPeers();
    const later: { links?: PeerLinks } = {};
    const replica = await startReplica(env, config, options, { later, started });
    // Before anybody hears of this server: what it says from now on it must remember.
    await directory.markRunning();
    const links = makeLinks(env, config, options, { started, met });
    later.links = links;
    const node = new Node(env, config, options, { replica, links });
    started.node = node;
    try {
      node.#configurationChanged(replica.raft.log.configuration);
      await links.start();
    } catch (error) {
      await node.stop();
      throw error;
    }
    node.#keepAddress();
    return node;
  }

  get clusterId(): string {
    return this.#options.directory.identity.clusterId;
  }

  get id(): NodeId {
    return this.#options.directory.identity.nodeId;
  }

  /** It waits to be let into a cluster. */
  get joining(): boolean {
    return this.replica.raft.configuration.members.length === 0;
  }

  /** As the configuration in force has them; of a server that is in none, itself. */
  get members(): readonly Member[] {
    const { configuration } = this.replica.raft;
    if (this.#members?.of !== configuration) {
      const members = configuration.members.map((member) => memberOf(member));
      this.#members = { of: configuration, members: members.length > 0 ? members : [this.#announced] };
    }
    return this.#members!.members;
  }

  get self(): Member {
    return this.members.find((member) => member.id === this.id) ?? this.#announced;
  }

  get #announced(): Member {
    return { ...this.#config.announced, id: this.id };
  }

  nameOf(id: NodeId): string {
    return this.members.find((member) => member.id === id)?.name ?? `${id}`;
  }

  peerStatus(id: NodeId): PeerStatus {
    return id === this.id ? { connected: true, lastHeardMs: undefined } : this.links.status(id);
  }

  /** Something was written that is still there. */
  get hasData(): boolean {
    const { stateMachine } = this.replica;
    if (this.#options.serviceHoldsData?.() === true) return true;
    return stateMachine.sizes.some((size) => size > 0) || stateMachine.clientSessionCount > 0;
  }

  get card(): Uint8Array {
    const { members, hasData, clusterId, id } = this;
    const description = describeMember(this.#config.announced);
    return encodeCard({
      clusterId,
      id,
      state: this.#cardState(),
      hasData,
      hostIsKnown: this.#config.hostIsKnown,
      members: members.length,
      description,
    });
  }

  #cardState() {
    if (this.#removed) return 'removed';
    if (this.joining) return 'joining';
    return this.members.length === 1 ? 'alone' : 'member';
  }

  receive(from: NodeId, messages: readonly PeerMessage[]): void {
    const forReplica = messages.some(isServiceMessage)
      ? messages.filter((message) => !isServiceMessage(message))
      : messages;
    this.replica.receive(from, forReplica);
    if (forReplica === messages || this.#stopped) return;
    for (const message of messages.filter(isServiceMessage)) this.#options.onServiceMessage(from, message);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#addressTimer?.cancel();
    await this.replica.stop();
    this.links.stop();
  }

  #configurationChanged({ configuration }: ConfigurationAt): void {
    const applied = this.replica.configuration.configuration;
    this.links.setPeers(this.#peersOf(configuration), new Set(applied.removed));
    if (applied.removed.includes(this.id)) this.wasRemoved();
  }

  wasRemoved(): void {
    if (this.#removed) return;
    this.#removed = true;
    this.#options.onRemoved();
  }

  #peersOf(
    configuration: Configuration,
  ): Map<NodeId, { name: string; address: { host: string; port: number } }> {
    const peers = configuration.members.filter(({ id }) => id !== this.id).map((member) => memberOf(member));
    return new Map(
      peers.map((peer) => {
        const { host, peerPort } = this.#movedTo(peer) ?? peer;
        return [peer.id, { name: peer.name, address: { host, port: peerPort } }];
      }),
    );
  }

  /** All servers have moved at once, and --cluster says where to: until they have told each other, it is believed. */
  #movedTo(peer: Member) {
    if (!this.#config.isGiven('cluster')) return undefined;
    const { members } = this.#options.directory.identity;
    const founder = members.find(({ name }) => name === peer.name);
    const { name, host, port, peerPort } = peer;
    const unchanged =
      founder !== undefined && formatMembers([founder]) === formatMembers([{ name, host, port, peerPort }]);
    return unchanged ? this.#config.members.find((member) => member.name === name) : undefined;
  }

  /** The configuration is to have this server's address as it is. */
  #keepAddress(): void {
    this.#addressTimer = this.#env.clock.after(ADDRESS_EVERY_MS, () => {
      const known = this.replica.configuration.configuration.member(this.id);
      const { announced, hostIsKnown } = this.#config;
      // What the others have found out is better than a guess.
      const host = hostIsKnown || known === undefined ? announced.host : memberOf(known).host;
      const description = describeMember({ ...announced, host });
      const moved = known !== undefined && known.description !== description;
      if (!moved || this.replica.raft.leaderId === NOBODY) return this.#keepAddress();
      this.#env.log.notice('tells the cluster its address', { before: known.description, now: description });
      this.replica.changeMembers({ type: 'describe', id: this.id, description }, () => {
        if (!this.#stopped) this.#keepAddress();
      });
    });
  }

  onConfiguration(at: ConfigurationAt): void {
    this.#configurationChanged(at);
  }
}

function makeLinks(
  env: Env,
  config: Config,
  options: NodeOptions,
  { started, met }: { started: { node?: Node }; met: MetPeers },
): PeerLinks {
  const { directory, onInvitation } = options;
  const { clusterId, nodeId, name } = directory.identity;
  const { host, port, peerPort } = config.announced;
  const advertised = { host: config.hostIsKnown ? host : '', port, peerPort };
  return new PeerLinks({
    env: config.tlsCluster ? { ...env, network: env.secure!.peers } : env,
    ...{ clusterId, id: nodeId, name, secret: config.clusterSecret },
    listen: { host: config.peerBind, port: config.peerPort },
    listenOptional: directory.founders.length === 1,
    advertised,
    ...{ peers: new Map(), fresh: directory.fresh, met },
    onMessages: (from, messages) => started.node?.receive(from, messages),
    onUnreachable: (peer) => started.node?.replica.peerUnreachable(peer),
    onRemoved: () => started.node?.wasRemoved(),
    onStream: (stream) => started.node!.replica.snapshots.accept(stream),
    card: () => started.node!.card,
    onInvitation,
  });
}

function startReplica(
  env: Env,
  config: Config,
  options: NodeOptions,
  { later, started }: { later: { links?: PeerLinks }; started: { node?: Node } },
): Promise<Replica> {
  const { directory, memoryBytesMax, onFatal, onRoom } = options;
  const { founders } = directory;
  const founding = Configuration.founding(
    founders.map((member) => ({ id: member.id, description: describeMember(member) })),
  );
  return Replica.start(env, {
    ...{ group: GROUP, id: directory.identity.nodeId, memoryBytesMax, onFatal, onRoom },
    founding: founders.length === 0 ? NO_CONFIGURATION : founding,
    forced: config.forceNewCluster,
    directory: config.dir,
    store: directory.store,
    limits: {
      ...DEFAULT_LIMITS,
      electionTimeoutMs: config.electionTimeoutMs,
      heartbeatIntervalMs: config.heartbeatIntervalMs,
    },
    walSegmentBytes: config.walSegmentBytes,
    walKeepBytes: config.walKeepBytes,
    snapshotBytesPerSecond: () => config.snapshotBytesPerSecond,
    commandTimeoutMs: config.commandTimeoutMs,
    reads: config.reads,
    checkpoints: DEFAULT_CHECKPOINTS,
    transport: {
      // Before there are links it is as if nobody could be reached.
      send: (peer, messages) => later.links?.send(peer, messages),
      openStream: (peer, events) => later.links!.openStream(peer, events),
    },
    isSound,
    nameOf: (id) => started.node?.nameOf(id) ?? `${id}`,
    onConfiguration: (at) => started.node?.onConfiguration(at),
  });
}
