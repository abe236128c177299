/**
 * One of the two connections that this server opens to a peer, and opens again for as long as the server lives. It
 * carries messages to the peer; what comes back is the handshake's answers and pongs.
 *
 *   resting --(backoff)--> dialling --connected--> greeting --welcome--> up
 *      ^                       |                       |                  |
 *      +--------- any failure: the connection is dropped, the pause grows (from a welcome on, it starts over)
 *
 * Messages of one turn leave in one write. While the link is not up, or when more is waiting than may, a message is
 * refused at once: Raft sends again what matters, and nothing is buffered for a peer that is down or does not read.
 *
 * A connection whose other end is gone without a word (half-open) looks alive to TCP for minutes: pings find it out.
 */
import { assert } from '../lib/assert.ts';
import { MalformedError } from '../lib/bytes.ts';
import type { Address, Clock, Connection, Network, Random, Timer } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';
import {
  encodeFrame,
  type Frame,
  FrameReader,
  MessageFrames,
  messageBytes,
  SMALL_FRAME_BYTES_MAX,
} from './peer-frame.ts';
import { DiallerHandshake, type LinkKind, type PeerIdentity } from './peer-handshake.ts';
import type { PeerLimits } from './peer-limits.ts';
import type { QuietLog } from './peer-log.ts';
import type { PeerMessage } from './peer-message.ts';

export interface Peer {
  readonly id: NodeId;
  readonly name: string;
  readonly address: Address;
}

export interface PeerDiallerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly network: Network;
  readonly log: QuietLog;
  readonly limits: PeerLimits;
  readonly self: PeerIdentity;
  readonly peer: Peer;
  readonly kind: LinkKind;
  /** The link came up, or a link that was up is lost, with what was on it. */
  readonly onChange: (up: boolean) => void;
}

type State = 'resting' | 'dialling' | 'greeting' | 'up' | 'stopped';

/** The slowest that a live peer takes bulk: what it has not taken yet makes the pong that much later. */
const BULK_BYTES_PER_MS_MIN = 1024;

/** The pause has grown to so many times its least before a dial that fails is worth a line. */
const SILENT_DIALS_BACKOFF = 8;

const PING = encodeFrame('ping');

export class PeerDialler {
  readonly #options: PeerDiallerOptions;
  readonly #backlogBytesMax: number;
  #state: State = 'resting';
  /** Of the present state. */
  #sinceMs = 0;
  #connection: Connection | undefined;
  #handshake: DiallerHandshake | undefined;
  #reader = new FrameReader(SMALL_FRAME_BYTES_MAX);
  readonly #frames = new MessageFrames();
  #backoffMs: number;
  #redial: Timer | undefined;

  #pingDueMs = 0;
  /** Not undefined while a ping is unanswered. */
  #pingSentMs: number | undefined;
  /** What stood before the ping when it was sent. */
  #bytesBeforePing = 0;
  /** By the wall clock, for people; 0 for never, and for a ping that was answered. */
  pingSentWallMs = 0;
  pongReceivedWallMs = 0;
  /** By the monotonic clock. */
  heardMs: number | undefined;

  constructor(options: PeerDiallerOptions) {
    const { limits, kind } = options;
    this.#options = options;
    this.#backlogBytesMax = kind === 'control' ? limits.controlBacklogBytesMax : limits.bulkBacklogBytesMax;
    this.#backoffMs = limits.backoffMinMs;
  }

  get up(): boolean {
    return this.#state === 'up';
  }

  dial(): void {
    assert(this.#state === 'resting', 'a link that rests is dialled', this.#state);
    const { network, peer, self, kind, random } = this.#options;
    this.#enter('dialling');
    this.#reader = new FrameReader(SMALL_FRAME_BYTES_MAX);
    this.#handshake = new DiallerHandshake(self, peer.id, kind, random);
    // What a connection says after it was dropped means nothing any more.
    const mine = () => this.#connection === connection;
    const connection = network.connect(peer.address, {
      onConnect: () => mine() && this.#onConnect(),
      onData: (bytes) => mine() && this.#onData(bytes),
      onClose: (error) => mine() && this.#lose(error?.message ?? 'the peer closed the connection'),
    });
    this.#connection = connection;
  }

  stop(): void {
    this.#redial?.cancel();
    this.#drop();
    this.#enter('stopped');
  }

  /** Whether the message was taken; it leaves with the next `flush`, if the link lives until then. */
  add(message: PeerMessage): boolean {
    if (this.#state !== 'up') return false;
    const { log, limits, peer } = this.#options;
    const bytes = messageBytes(message);
    if (bytes > limits.frameBytesMax) {
      log.warning('a message is too large for any peer; it was dropped', peer.name, {
        peer: peer.name,
        bytes,
      });
      return false;
    }
    const waitingBytes = this.#frames.bytes + this.#connection!.backlogBytes;
    // One message always goes, however large it is.
    if (waitingBytes > 0 && waitingBytes + bytes > this.#backlogBytesMax) {
      const { kind } = this.#options;
      log.warning('a peer takes too little; messages were dropped', `${peer.name} ${kind}`, {
        ...{ peer: peer.name, kind, waitingBytes },
      });
      return false;
    }
    this.#frames.add(message, bytes);
    return true;
  }

  /** The end of the turn: one write. */
  flush(): void {
    if (this.#frames.bytes > 0) this.#connection!.write(this.#frames.take());
  }

  /**
   * Now and then: looks for what takes too long. `patient` says that the peer is known to live, so that a late pong may
   * be the fault of the bytes before it.
   */
  tick(nowMs: number, patient: boolean): void {
    const { limits } = this.#options;
    const forMs = nowMs - this.#sinceMs;
    if (this.#state === 'dialling' && forMs > limits.dialTimeoutMs) this.#lose('no answer to the dial');
    else if (this.#state === 'greeting' && forMs > limits.handshakeTimeoutMs)
      this.#lose('no end of the handshake');
    else if (this.#state === 'up') this.#ping(nowMs, patient);
  }

  /** The process has stood still for so long: that does not count. */
  forgive(ms: number): void {
    this.#sinceMs += ms;
    if (this.#pingSentMs !== undefined) this.#pingSentMs += ms;
  }

  #ping(nowMs: number, patient: boolean): void {
    const { limits } = this.#options;
    if (this.#pingSentMs === undefined) {
      if (nowMs >= this.#pingDueMs) this.#sendPing(nowMs);
      return;
    }
    const patienceMs = patient ? this.#bytesBeforePing / BULK_BYTES_PER_MS_MIN : 0;
    if (nowMs - this.#pingSentMs > limits.pongTimeoutMs + patienceMs) this.#lose('no answer to a ping');
  }

  #sendPing(nowMs: number): void {
    const { clock, limits } = this.#options;
    this.#pingDueMs = nowMs + limits.pingIntervalMs;
    this.#pingSentMs = nowMs;
    this.#bytesBeforePing = this.#connection!.backlogBytes;
    this.pingSentWallMs = clock.wallMs();
    this.#connection!.write(PING);
  }

  #onConnect(): void {
    assert(this.#state === 'dialling', 'a dial succeeds once', this.#state);
    this.#enter('greeting');
    this.#connection!.write(this.#handshake!.opening);
  }

  #onData(bytes: Uint8Array): void {
    const connection = this.#connection;
    this.#reader.feed(bytes);
    try {
      for (;;) {
        const frame = this.#reader.next();
        if (frame === undefined) return;
        if (this.#state === 'greeting') this.#greet(frame);
        else this.#onPong(frame);
        if (this.#connection !== connection) return;
      }
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#lose('malformed', error.message);
    }
  }

  #greet(frame: Frame): void {
    const step = this.#handshake!.step(frame);
    switch (step.next) {
      case 'wait':
        this.#connection!.write(step.send);
        return;
      case 'done':
        this.#welcomed();
        return;
      case 'refuse':
        return this.#refuse(step.send, step.reason);
      case 'refused':
        return this.#lose(`the peer refuses: ${step.reason}`);
    }
  }

  /** The peer is told why, so its connection ends by itself. */
  #refuse(frame: Uint8Array, reason: string): void {
    const connection = this.#connection!;
    this.#connection = undefined;
    connection.write(frame);
    connection.end();
    this.#lose(`refused: ${reason}`);
  }

  #welcomed(): void {
    const { clock, limits, onChange } = this.#options;
    this.#enter('up');
    this.#backoffMs = limits.backoffMinMs;
    this.#sendPing(clock.monotonicMs());
    onChange(true);
  }

  #onPong({ type }: Frame): void {
    if (type !== 'pong' || this.#pingSentMs === undefined) throw new MalformedError(`a ${type} for no ping`);
    const { clock } = this.#options;
    this.#pingSentMs = undefined;
    this.pingSentWallMs = 0;
    this.pongReceivedWallMs = clock.wallMs();
    this.heardMs = clock.monotonicMs();
  }

  #lose(reason: string, detail?: string): void {
    const { clock, random, limits, onChange } = this.#options;
    const wasUp = this.#state === 'up';
    this.#tell(reason, detail);
    this.#drop();
    this.#enter('resting');
    const pauseMs = this.#backoffMs / 2 + random.below(Math.ceil(this.#backoffMs / 2) + 1);
    this.#backoffMs = Math.min(2 * this.#backoffMs, limits.backoffMaxMs);
    this.#redial = clock.after(pauseMs, () => {
      if (this.#state === 'resting') this.dial();
    });
    if (wasUp) onChange(false);
  }

  #tell(reason: string, detail: string | undefined): void {
    const { limits, log, peer, kind } = this.#options;
    // Servers that are started together are not all there at once.
    if (this.#state === 'dialling' && this.#backoffMs < SILENT_DIALS_BACKOFF * limits.backoffMinMs) return;
    log.warning(this.#state === 'up' ? 'lost a peer' : 'cannot reach a peer', `${peer.name} ${reason}`, {
      ...{ peer: peer.name, host: peer.address.host, port: peer.address.port, kind, reason },
      ...(detail === undefined ? {} : { detail }),
    });
  }

  #drop(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    this.#handshake = undefined;
    this.#frames.clear();
    this.#pingSentMs = undefined;
    this.pingSentWallMs = 0;
    connection?.destroy();
  }

  #enter(state: State): void {
    this.#state = state;
    this.#sinceMs = this.#options.clock.monotonicMs();
  }
}
