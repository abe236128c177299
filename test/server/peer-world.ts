/**
 * Servers that are nothing but their links, on simulated streams and in virtual time; and a stranger, who can connect to
 * them and send whatever bytes he likes.
 */
import type { Connection, Log } from '../../src/lib/env.ts';
import type { Message } from '../../src/raft/messages.ts';
import { type Frame, FrameReader } from '../../src/server/peer-frame.ts';
import { DiallerHandshake } from '../../src/server/peer-handshake.ts';
import {
  type AdvertisedAddress,
  ANYBODY,
  type DiallerIdentity,
  type LinkKind,
} from '../../src/server/peer-hello.ts';
import type { PeerEntry } from '../../src/server/peer-link.ts';
import { PeerLinks, type PeerLinksOptions } from '../../src/server/peer-links.ts';
import type { PeerMessage } from '../../src/server/peer-message.ts';
import { SimClock } from '../sim/clock.ts';
import { SimNetwork } from '../sim/network.ts';
import { SimRandom } from '../sim/random.ts';
import { type Life, Scheduler } from '../sim/scheduler.ts';
import { StreamNetwork } from '../sim/stream-network.ts';

export const PEER_PORT = 16_379;
export const CLIENT_PORT = 6379;
const STRANGER = 66;

export const addressOf = (id: number) => ({ host: `n${id}`, port: PEER_PORT });

export const advertisedBy = (id: number): AdvertisedAddress => ({
  host: `n${id}`,
  port: CLIENT_PORT,
  peerPort: PEER_PORT,
});

export function peersOf(...ids: readonly number[]): Map<number, PeerEntry> {
  return new Map(ids.map((id) => [id, { name: `n${id}`, address: addressOf(id) }]));
}

/** What server `id` would say of itself. */
export const identityOf = (id: number): DiallerIdentity => ({
  ...{ clusterId: 'test cluster', id, name: `n${id}`, incarnation: 1, secret: 'a secret' },
  address: advertisedBy(id),
  fresh: false,
});

export function heartbeat(from: number, to: number, readRound = 0): PeerMessage {
  const envelope = { group: 1, from, to, term: 1 };
  const indexes = { leaderCommit: 0, configurationIndex: 0, allMatchedIndex: 0 };
  const message: Message = { type: 'Heartbeat', ...envelope, ...indexes, readRound };
  return { kind: 'raft', message };
}

export function append(from: number, to: number, index: number, bytes: number): PeerMessage {
  const data = Uint8Array.from({ length: bytes }, (_, i) => (index + i) & 0xff);
  const entries = [{ index, term: 1, type: 'data' as const, data }];
  const fields = { prevLogIndex: index - 1, prevLogTerm: 1, entries, leaderCommit: 0 };
  return { kind: 'raft', message: { type: 'AppendEntries', group: 1, from, to, term: 1, ...fields } };
}

/** What tells one test message from another. */
export function numberOf(m: PeerMessage): number {
  if (m.kind === 'raft' && m.message.type === 'Heartbeat') return m.message.readRound;
  if (m.kind === 'raft' && m.message.type === 'AppendEntries') return m.message.prevLogIndex + 1;
  throw new Error(`an unexpected ${m.kind}`);
}

export interface LogLine {
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export function recordLog(lines: LogLine[]): Log {
  const line = (event: string, fields = {}) => void lines.push({ event, fields });
  return { debug: line, verbose: line, notice: line, warning: line };
}

export interface TestServer {
  readonly id: number;
  /** The number of its machine. */
  readonly host: number;
  readonly life: Life;
  readonly links: PeerLinks;
  readonly received: { readonly from: number; readonly message: PeerMessage; readonly atMs: number }[];
  readonly unreachable: number[];
  readonly log: LogLine[];
  /** Numbers of the messages from `from`, heartbeats or appends. */
  numbers(from: number, type?: 'Heartbeat' | 'AppendEntries'): number[];
  /** Lines with `event`, and `reason` when it is given. */
  logged(event: string, reason?: string): LogLine[];
}

export class PeerWorld {
  readonly scheduler = new Scheduler();
  readonly random: SimRandom;
  readonly roads: SimNetwork;
  readonly streams: StreamNetwork;

  constructor(seed = 1) {
    this.random = new SimRandom(seed);
    this.roads = new SimNetwork(this.scheduler, this.random.split());
    this.streams = new StreamNetwork(this.scheduler, this.random.split(), this.roads);
  }

  /** On the machine `host`, where it listens unless its options say otherwise. */
  async server(
    id: number,
    options: Partial<PeerLinksOptions> = {},
    host = id,
    beforeStart: (links: PeerLinks) => void = () => {},
  ): Promise<TestServer> {
    const { scheduler, random } = this;
    const life: Life = { alive: true, paused: false, held: [] };
    const log: LogLine[] = [];
    const received: TestServer['received'] = [];
    const unreachable: number[] = [];
    const clock = new SimClock(scheduler, life, { rate: 1, wallSkewMs: 0 }, random.split());
    const links = new PeerLinks({
      env: { clock, random: random.split(), network: this.streams.open(host, life), log: recordLog(log) },
      ...{ clusterId: 'test cluster', id, name: `n${id}`, secret: 'a secret', listen: addressOf(host) },
      advertised: advertisedBy(host),
      peers: peersOf(1, 2, 3),
      onMessages: (from, messages) => {
        for (const message of messages) received.push({ from, message, atMs: scheduler.nowMs });
      },
      onUnreachable: (peer) => void unreachable.push(peer),
      ...options,
    });
    beforeStart(links);
    await links.start();
    const numbers = (from: number, type?: string) =>
      received
        .filter((each) => each.from === from)
        .map(({ message }) => message)
        .filter((m) => type === undefined || (m.kind === 'raft' && m.message.type === type))
        .map(numberOf);
    const logged = (event: string, reason?: string) =>
      log.filter((line) => line.event === event && (reason === undefined || line.fields.reason === reason));
    return { id, host, life, links, received, unreachable, log, numbers, logged };
  }

  /** Servers 1 and 2, connected. */
  async pair(options: Partial<PeerLinksOptions> = {}): Promise<[TestServer, TestServer]> {
    const [a, b] = [await this.server(1, options), await this.server(2, options)];
    await this.until(() => a.links.status(2).connected && b.links.status(1).connected);
    // The bulk links too.
    await this.run(500);
    return [a, b];
  }

  crash(server: TestServer, how: 'killed' | 'power lost'): void {
    server.life.alive = false;
    this.streams.crash(server.host, how);
  }

  async run(ms: number): Promise<void> {
    await this.scheduler.run(this.scheduler.nowMs + ms);
  }

  async until(holds: () => boolean, withinMs = 10_000): Promise<void> {
    if (holds()) return;
    await this.scheduler.run(this.scheduler.nowMs + withinMs, holds);
    if (!holds()) throw new Error(`it did not come to hold within ${withinMs} ms`);
  }

  /** Somebody else connects to server `to`. */
  stranger(to: number): Stranger {
    const life: Life = { alive: true, paused: false, held: [] };
    const network = this.streams.open(STRANGER, life);
    const stranger = new Stranger();
    stranger.connection = network.connect(addressOf(to), {
      onConnect: () => stranger.onConnect(),
      onData: (bytes) => stranger.onData(bytes),
      onClose: () => {
        stranger.closed = true;
      },
    });
    return stranger;
  }

  /** Somebody else listens where server `id` would. */
  async impostor(id: number, onConnection: (connection: Connection) => void): Promise<void> {
    const life: Life = { alive: true, paused: false, held: [] };
    await this.streams.open(id, life).listen(addressOf(id), onConnection);
  }
}

export class Stranger {
  connection!: Connection;
  connected = false;
  closed = false;
  readonly frames: Frame[] = [];
  bytes: number[] = [];
  onFrame: (frame: Frame) => void = () => {};
  #waiting: Uint8Array[] = [];
  readonly #reader = new FrameReader(1 << 20);

  onConnect(): void {
    this.connected = true;
    for (const bytes of this.#waiting.splice(0)) this.connection.write(bytes);
  }

  send(bytes: Uint8Array): void {
    if (this.connected) this.connection.write(bytes);
    else this.#waiting.push(bytes);
  }

  onData(bytes: Uint8Array): void {
    this.bytes.push(...bytes);
    this.#reader.feed(bytes);
    for (let frame = this.#reader.next(); frame !== undefined; frame = this.#reader.next()) {
      this.frames.push(frame);
      this.onFrame(frame);
    }
  }
}

/** Goes through the handshake with server 2 as server `id`, with the cluster's secret; the proof leaves when `mayProve` says so. */
export function shakeHands(
  world: PeerWorld,
  stranger: Stranger,
  id: number,
  { incarnation = 5, kind = 'bulk' as LinkKind, mayProve = (prove: () => void) => prove() } = {},
): void {
  const self: DiallerIdentity = { ...identityOf(id), name: 'mad', incarnation };
  const handshake = new DiallerHandshake(self, kind === 'visit' ? ANYBODY : 2, kind, world.random.split());
  stranger.onFrame = (frame: Frame) => {
    if (frame.type !== 'challenge') return;
    const step = handshake.step(frame);
    if (step.next === 'wait') mayProve(() => stranger.send(step.send));
  };
  stranger.send(handshake.opening);
}
