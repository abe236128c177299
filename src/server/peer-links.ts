/**
 * The links between this server and its peers: raw TCP, framed, checksummed, and open only to those who know the
 * cluster's secret.
 *
 *        this server                                a peer
 *     dialler  control  --- votes, heartbeats, ... --->  acceptor
 *     dialler  bulk     --- entries, writes ---------->  acceptor
 *     acceptor          <--- control ------------------  dialler
 *     acceptor          <--- bulk ---------------------  dialler
 *
 * Every server dials every other, twice, and each connection carries messages one way: so it never has to be settled
 * whose connection of two that crossed is to stay, and an AppendEntries of a megabyte delays no heartbeat.
 *
 * The links promise little. A message arrives whole and once, or not at all, and those of one kind arrive in their order
 * while the connection lives; whether they arrived, nobody is told. Raft and the writes' sessions see to the rest.
 */
import { assert } from '../lib/assert.ts';
import type { Address, Env, Listener, Timer } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';
import { PeerAcceptor } from './peer-acceptor.ts';
import { type Peer, PeerDialler } from './peer-dialler.ts';
import { checkIdentity, type LinkKind, type PeerIdentity } from './peer-handshake.ts';
import { checkPeerLimits, DEFAULT_PEER_LIMITS, type PeerLimits } from './peer-limits.ts';
import { QuietLog } from './peer-log.ts';
import { isBulkMessage, type PeerMessage, type PeerTransport } from './peer-message.ts';

export interface PeerLinksOptions {
  readonly env: Pick<Env, 'clock' | 'random' | 'network' | 'log'>;
  /** Servers of different clusters refuse each other. */
  readonly clusterId: string;
  readonly id: NodeId;
  readonly name: string;
  /** Shared by the servers of the cluster. Empty: nobody has to prove anything. */
  readonly secret: string;
  readonly listen: Address;
  /** The other members; this server itself, if it is among them, is passed over. */
  readonly peers: ReadonlyMap<NodeId, { readonly name: string; readonly address: Address }>;
  readonly limits?: Partial<PeerLimits>;
  /** In the order in which the peer sent them, as far as they are of one kind. */
  readonly onMessages: (from: NodeId, messages: readonly PeerMessage[]) => void;
  /** Something sent to `peer` is, or may be, lost. At most once per turn and peer, and never from within `send`. */
  readonly onUnreachable: (peer: NodeId) => void;
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

/** How often timeouts are looked at; they are that much late at most. */
const TICK_MS = 250;
/** A tick that comes so much late: nobody was heard meanwhile, whatever they said. */
const STANDSTILL_MS = 500;

interface Link {
  readonly peer: Peer;
  readonly diallers: Readonly<Record<LinkKind, PeerDialler>>;
}

export class PeerLinks implements PeerTransport {
  readonly #options: PeerLinksOptions;
  readonly #links = new Map<NodeId, Link>();
  readonly #acceptor: PeerAcceptor;
  #listener: Listener | undefined;
  #ticker: Timer | undefined;
  #lastTickMs = 0;
  #endOfTurnComing = false;
  readonly #unreachable = new Set<NodeId>();
  #stopped = false;

  constructor(options: PeerLinksOptions) {
    this.#options = options;
    const { clock, random } = options.env;
    const { clusterId, id, name, secret, onMessages, peers } = options;
    const self: PeerIdentity = { clusterId, id, name, secret, incarnation: random.below(2 ** 48) };
    const limits = { ...DEFAULT_PEER_LIMITS, ...options.limits };
    checkIdentity(self);
    checkPeerLimits(limits);
    const log = new QuietLog(options.env.log, clock);
    const isMember = (peer: NodeId) => this.#links.has(peer);
    this.#acceptor = new PeerAcceptor({ clock, random, log, limits, self, isMember, onMessages });
    for (const [peerId, { name: peerName, address }] of peers) {
      if (peerId === id) continue;
      const peer = { id: peerId, name: peerName, address };
      const dialler = (kind: LinkKind) =>
        new PeerDialler({
          ...{ ...options.env, log, limits, self, peer, kind },
          onChange: (up) => this.#linkChanged(peer, kind, up),
        });
      this.#links.set(peerId, { peer, diallers: { control: dialler('control'), bulk: dialler('bulk') } });
    }
  }

  /** Listens, and begins to dial; does not wait for any peer. Throws InUseError. */
  async start(): Promise<void> {
    const { env, listen } = this.#options;
    const listener = await env.network.listen(listen, (connection) => this.#acceptor.accept(connection));
    if (this.#stopped) return listener.close();
    this.#listener = listener;
    for (const { diallers } of this.#links.values()) {
      diallers.control.dial();
      diallers.bulk.dial();
    }
    this.#lastTickMs = env.clock.monotonicMs();
    this.#tick();
  }

  /** Where it listens, after `start`: of interest when port 0 was asked for. */
  get address(): Address {
    assert(this.#listener !== undefined, 'the links were started');
    return this.#listener.address;
  }

  send(peer: NodeId, messages: readonly PeerMessage[]): void {
    const link = this.#links.get(peer);
    assert(link !== undefined, 'messages go to a peer', peer);
    if (this.#stopped) return;
    for (const message of messages) {
      const dialler = isBulkMessage(message) ? link.diallers.bulk : link.diallers.control;
      if (!dialler.add(message)) this.#unreachable.add(peer);
    }
    this.#atEndOfTurn();
  }

  status(peer: NodeId): PeerStatus {
    const link = this.#links.get(peer);
    assert(link !== undefined, 'a peer has a status', peer);
    const { control } = link.diallers;
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
    for (const { diallers } of this.#links.values()) {
      diallers.control.stop();
      diallers.bulk.stop();
    }
    this.#acceptor.stop();
  }

  #linkChanged(peer: Peer, kind: LinkKind, up: boolean): void {
    const { log } = this.#options.env;
    if (up && kind === 'control') log.notice('connected to a peer', { peer: peer.name });
    if (up) return;
    this.#unreachable.add(peer.id);
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
    for (const { diallers } of this.#links.values()) {
      diallers.control.flush();
      diallers.bulk.flush();
    }
    const unreachable = [...this.#unreachable];
    this.#unreachable.clear();
    for (const peer of unreachable) this.#options.onUnreachable(peer);
  }

  #tick(): void {
    const { clock } = this.#options.env;
    const nowMs = clock.monotonicMs();
    const lateMs = nowMs - this.#lastTickMs - TICK_MS;
    this.#lastTickMs = nowMs;
    // After a stop of this process (SIGSTOP, a sleeping machine) all seem to have been silent: hear them first.
    if (lateMs > STANDSTILL_MS) this.#forgive(lateMs);
    else this.#judge(nowMs);
    this.#ticker = clock.after(TICK_MS, () => this.#tick());
  }

  #judge(nowMs: number): void {
    for (const { diallers } of this.#links.values()) {
      diallers.control.tick(nowMs, false);
      diallers.bulk.tick(nowMs, diallers.control.up);
    }
    this.#acceptor.tick(nowMs);
  }

  #forgive(lateMs: number): void {
    for (const { diallers } of this.#links.values()) {
      diallers.control.forgive(lateMs);
      diallers.bulk.forgive(lateMs);
    }
    this.#acceptor.forgive(lateMs);
  }
}

function later(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return Math.max(a, b);
}
