/**
 * The links between this server and its peers: raw TCP, framed, checksummed, and open only to those who know the
 * cluster's secret.
 *
 *        this server                                a peer
 *     dialler  control  --- votes, heartbeats, ... --->  acceptor
 *     dialler  bulk     --- entries, writes ---------->  acceptor
 *     acceptor          <--- control ------------------  dialler
 *     acceptor          <--- bulk ---------------------  dialler
 *     stream            <--- something large --------->  stream           opened for it, by either
 *
 * Every server dials every other, twice, and each of these connections carries messages one way: so it never has to be
 * settled whose connection of two that crossed is to stay, and an AppendEntries of a megabyte delays no heartbeat.
 *
 * The links promise little. A message arrives whole and once, or not at all, and those of one kind arrive in their order
 * while the connection lives; whether they arrived, nobody is told. Raft and the writes' sessions see to the rest.
 *
 * Whose links there are changes while the server serves: see peer-roster.ts.
 */
import { assert } from '../lib/assert.ts';
import type { Address, Env, Listener, Timer } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';
import type { MetPeers } from './met-peers.ts';
import { PeerAcceptor } from './peer-acceptor.ts';
import type { CallOptions } from './peer-call.ts';
import type { RefusalReason } from './peer-handshake.ts';
import {
  type AdvertisedAddress,
  checkIdentity,
  type DiallerIdentity,
  type Hello,
  type MessageKind,
} from './peer-hello.ts';
import { type Card, type Invited, PeerHost } from './peer-host.ts';
import { checkPeerLimits, DEFAULT_PEER_LIMITS, type PeerLimits } from './peer-limits.ts';
import type { PeerEntry, PeerLink } from './peer-link.ts';
import { QuietLog } from './peer-log.ts';
import type { PeerMessage, PeerTransport } from './peer-message.ts';
import { PeerRoster } from './peer-roster.ts';
import type { OpenStreamEvents, PeerStream, PeerStreamEvents } from './peer-stream.ts';
import { PeerStreams } from './peer-streams.ts';
import { OutgoingVisit, type Visited } from './peer-visit.ts';

export interface PeerLinksOptions {
  readonly env: Pick<Env, 'clock' | 'random' | 'network' | 'log'>;
  /** Servers of different clusters refuse each other, visits excepted. */
  readonly clusterId: string;
  readonly id: NodeId;
  readonly name: string;
  /** Shared by the servers of the cluster. Empty: nobody has to prove anything. */
  readonly secret: string;
  readonly listen: Address;
  /** A server alone needs no peers: when it cannot listen, or is to listen on port 0, that is only a warning. */
  readonly listenOptional?: boolean;
  /** What peers are told of where this server is. `peerPort` 0: the port on which it listens. */
  readonly advertised: AdvertisedAddress;
  /** This process began without any data. Not so unless given. */
  readonly fresh?: boolean;
  /** Whom this server has met before, over restarts. */
  readonly met?: MetPeers;
  /** The other members at first; this server itself, if it is among them, is passed over. See `setPeers`. */
  readonly peers: ReadonlyMap<NodeId, PeerEntry>;
  readonly limits?: Partial<PeerLimits>;
  /** In the order in which the peer sent them, as far as they are of one kind. */
  readonly onMessages: (from: NodeId, messages: readonly PeerMessage[]) => void;
  /** Something sent to `peer` is, or may be, lost. At most once per turn and peer, and never from within `send`. */
  readonly onUnreachable: (peer: NodeId) => void;
  /** A peer has connected that says to be elsewhere than the configuration has it. Once per connection at most. */
  readonly onAddress?: (from: NodeId, name: string, address: AdvertisedAddress) => void;
  /** A member has proved to be one, and says that this server was removed for good. Once. */
  readonly onRemoved?: () => void;
  /** A peer or guest has opened a stream. Without this none is accepted. */
  readonly onStream?: (stream: PeerStream) => PeerStreamEvents;
  /** Without this no visitor is let in. */
  readonly card?: Card;
  readonly onInvitation?: Invited;
}

export interface PeerStatus {
  /** Whether heartbeats can leave for it. */
  readonly connected: boolean;
  /** When it last proved to be alive, by the monotonic clock; undefined for never. */
  readonly lastHeardMs: number | undefined;
  /** By the wall clock. When the ping that is unanswered was sent, 0 when all are answered, as in CLUSTER NODES. */
  readonly pingSentWallMs: number;
  readonly pongReceivedWallMs: number;
}

const UNKNOWN: PeerStatus = {
  connected: false,
  lastHeardMs: undefined,
  pingSentWallMs: 0,
  pongReceivedWallMs: 0,
};

/** How often timeouts are looked at; they are that much late at most. */
const TICK_MS = 250;
/** A tick that comes so much late: nobody was heard meanwhile, whatever they said. */
const STANDSTILL_MS = 500;

export class PeerLinks implements PeerTransport {
  readonly #options: PeerLinksOptions;
  readonly #limits: PeerLimits;
  readonly #log: QuietLog;
  readonly #self: DiallerIdentity;
  readonly #roster: PeerRoster;
  readonly #acceptor: PeerAcceptor;
  readonly #streams: PeerStreams;
  readonly #host: PeerHost;
  readonly #visits = new Set<OutgoingVisit>();
  #listener: Listener | undefined;
  /** Undefined before it has started. */
  #call: CallOptions | undefined;
  #ticker: Timer | undefined;
  #lastTickMs = 0;
  #endOfTurnComing = false;
  readonly #unreachable = new Set<NodeId>();
  #removed = false;
  #stopped = false;

  constructor(options: PeerLinksOptions) {
    this.#options = options;
    const { clock, random } = options.env;
    const { clusterId, id, name, secret, advertised, peers } = options;
    const incarnation = random.below(2 ** 48);
    const self = {
      clusterId,
      id,
      name,
      secret,
      incarnation,
      address: advertised,
      fresh: options.fresh ?? false,
    };
    const limits = { ...DEFAULT_PEER_LIMITS, ...options.limits };
    checkIdentity(self);
    checkPeerLimits(limits);
    this.#self = self;
    this.#limits = limits;
    this.#log = new QuietLog(options.env.log, clock);
    this.#roster = this.#makeRoster();
    this.#acceptor = this.#makeAcceptor();
    this.#streams = new PeerStreams({
      ...{ clock, limits, onStream: options.onStream },
      onRemoved: () => this.#wasRemoved(),
    });
    this.#host = new PeerHost({ clock, limits, card: options.card, onInvitation: options.onInvitation });
    this.#roster.setPeers(peers, new Set());
  }

  #makeRoster(): PeerRoster {
    const { guestsMax, silenceMs } = this.#limits;
    return new PeerRoster({
      ...{ self: this.#self.id, guestsMax, silenceMs },
      heardMs: (id) => this.#acceptor.heardMs(id),
      onGone: (id) => {
        this.#acceptor.closeAll(id);
        this.#streams.closeAll(id, 'the peer is no member any more');
      },
      onAddress: (from, name, address) => this.#options.onAddress?.(from, name, address),
    });
  }

  #makeAcceptor(): PeerAcceptor {
    const { clock, random } = this.#options.env;
    return new PeerAcceptor({
      ...{ clock, random, log: this.#log, limits: this.#limits, self: this.#self },
      admit: (hello) => this.#admit(hello),
      isKnown: (id) => this.#roster.get(id) !== undefined,
      onWelcome: (hello, remote) => {
        this.#options.met?.met(hello);
        this.#roster.meet(hello, remote);
      },
      onNewLife: (peer) => this.#streams.closeAccepted(peer, 'the peer was started anew'),
      onMessages: this.#options.onMessages,
      onStream: (channel, from) => this.#streams.accept(channel, from),
      onVisit: (channel) => this.#host.accept(channel),
    });
  }

  /** Listens, and begins to dial; does not wait for any peer. Throws InUseError, unless listening is optional. */
  async start(): Promise<void> {
    const { env } = this.#options;
    const listener = await this.#listen();
    if (this.#stopped) return listener?.close();
    this.#listener = listener;
    const { address } = this.#self;
    const peerPort = address.peerPort === 0 ? (listener?.address.port ?? 0) : address.peerPort;
    const { clock, random, network } = env;
    const self = { ...this.#self, address: { ...address, peerPort } };
    this.#call = { clock, random, network, limits: this.#limits, self };
    this.#roster.start({
      ...this.#call,
      log: this.#log,
      onChange: (link, kind, up) => this.#linkChanged(link, kind, up),
      onRemoved: () => this.#wasRemoved(),
    });
    this.#lastTickMs = clock.monotonicMs();
    this.#tick();
  }

  async #listen(): Promise<Listener | undefined> {
    const { env, listen, listenOptional = false } = this.#options;
    const onConnection = this.#acceptor.accept.bind(this.#acceptor);
    if (!listenOptional) return env.network.listen(listen, onConnection);
    const unheard = (reason: string) =>
      env.log.warning('no other server can connect to this one', { ...listen, reason });
    if (listen.port === 0) {
      unheard('there is no port for peers');
      return undefined;
    }
    try {
      return await env.network.listen(listen, onConnection);
    } catch (error) {
      unheard(error instanceof Error ? error.message : String(error));
      return undefined;
    }
  }

  /** Whether peers can connect to this server. */
  get listening(): boolean {
    return this.#listener !== undefined && !this.#stopped;
  }

  /** Where it listens, when it does: of interest when port 0 was asked for. */
  get address(): Address {
    assert(this.#listener !== undefined, 'the links listen');
    return this.#listener.address;
  }

  /**
   * The members as the configuration has them now, and the ids of those that were removed for good. What waits for a
   * peer that is gone is dropped, and its connections are closed. Before `start` as well as after.
   */
  setPeers(peers: ReadonlyMap<NodeId, PeerEntry>, removed: ReadonlySet<NodeId>): void {
    if (!this.#stopped) this.#roster.setPeers(peers, removed);
  }

  /** To a peer or guest. To anybody else it is dropped: the configuration may be ahead of the links within a turn. */
  send(peer: NodeId, messages: readonly PeerMessage[]): void {
    const link = this.#roster.get(peer);
    if (this.#stopped || link === undefined) return;
    if (!link.add(messages)) this.#unreachable.add(peer);
    this.#atEndOfTurn();
  }

  /** To a peer or guest. Opens a connection for it; when that fails, only `onClose` comes. */
  openStream(peer: NodeId, events: OpenStreamEvents): PeerStream {
    const link = this.#stopped ? undefined : this.#roster.get(peer);
    return this.#streams.open(this.#call, peer, link, events);
  }

  /** Asks whoever is at `address` who it is. `done` comes once, later. After `start`. */
  visit(address: Address, done: Visited): void {
    assert(this.#call !== undefined, 'the links were started');
    if (this.#stopped) return;
    const onOver = (over: OutgoingVisit) => void this.#visits.delete(over);
    const { clock } = this.#options.env;
    const visit = new OutgoingVisit({ clock, limits: this.#limits, onOver }, this.#call, address, done);
    this.#visits.add(visit);
  }

  status(peer: NodeId): PeerStatus {
    const link = this.#roster.get(peer);
    if (link === undefined) return UNKNOWN;
    const { control } = link;
    return {
      connected: control.up,
      lastHeardMs: later(control.heardMs, this.#acceptor.heardMs(peer)),
      pingSentWallMs: control.pingSentWallMs,
      pongReceivedWallMs: control.pongReceivedWallMs,
    };
  }

  /** Closes everything. No callback comes any more. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#ticker?.cancel();
    this.#listener?.close();
    this.#roster.stop();
    this.#acceptor.stop();
    this.#streams.stop();
    this.#host.stop();
    for (const visit of this.#visits) visit.close();
  }

  #admit(hello: Hello): RefusalReason | undefined {
    if (hello.kind === 'visit') return this.#host.refusal;
    const reason = this.#roster.admit(hello);
    if (reason === undefined && this.#options.met?.hasLostItsData(hello)) return 'its data are lost';
    return reason === undefined && hello.kind === 'stream' ? this.#streams.refusal(hello.from) : reason;
  }

  #wasRemoved(): void {
    if (this.#removed) return;
    this.#removed = true;
    this.#options.onRemoved?.();
  }

  #linkChanged({ id, name }: PeerLink, kind: MessageKind, up: boolean): void {
    const { log } = this.#options.env;
    if (up && kind === 'control') log.notice('connected to a peer', { peer: name });
    if (up) return;
    this.#unreachable.add(id);
    this.#atEndOfTurn();
  }

  #atEndOfTurn(): void {
    if (this.#endOfTurnComing) return;
    this.#endOfTurnComing = true;
    this.#options.env.clock.endOfTurn(() => {
      this.#endOfTurnComing = false;
      if (!this.#stopped) this.#endTurn();
    });
  }

  #endTurn(): void {
    for (const link of this.#roster.links) link.flush();
    const unreachable = [...this.#unreachable];
    this.#unreachable.clear();
    for (const peer of unreachable) this.#options.onUnreachable(peer);
  }

  #tick(): void {
    const { clock } = this.#options.env;
    const nowMs = clock.monotonicMs();
    const lateMs = nowMs - this.#lastTickMs - TICK_MS;
    this.#lastTickMs = nowMs;
    const parts = [this.#roster, this.#acceptor, this.#streams, this.#host, ...this.#visits];
    // After a stop of this process (SIGSTOP, a sleeping machine) all seem to have been silent: hear them first.
    for (const part of parts) lateMs > STANDSTILL_MS ? part.forgive(lateMs) : part.tick(nowMs);
    if (this.#stopped) return;
    this.#ticker = clock.after(TICK_MS, () => this.#tick());
  }
}

function later(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return Math.max(a, b);
}
