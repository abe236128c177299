/**
 * One of the two connections that this server opens to a peer, and opens again for as long as it has that peer. It
 * carries messages to the peer; what comes back is the handshake's answers and pongs.
 *
 *   resting --(backoff)--> calling --welcome--> up
 *      ^                      |                 |
 *      +--------- any failure: the connection is dropped, the pause grows (from a welcome on, it starts over)
 *
 * Messages of one turn leave in one write. While the link is not up, or when more is waiting than may, a message is
 * refused at once: Raft sends again what matters, and nothing is buffered for a peer that is down or does not read.
 *
 * A connection whose other end is gone without a word (half-open) looks alive to TCP for minutes: pings find it out.
 */
import { assert } from '../lib/assert.ts';
import { MalformedError } from '../lib/bytes.ts';
import type { Address, Timer } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';
import type { PeerAddresses } from './peer-addresses.ts';
import { type CallFailure, type CallOptions, PeerCall } from './peer-call.ts';
import type { PeerChannel } from './peer-channel.ts';
import { encodeFrame, type Frame, MessageFrames, messageBytes } from './peer-frame.ts';
import type { MessageKind } from './peer-hello.ts';
import type { QuietLog } from './peer-log.ts';
import type { PeerMessage } from './peer-message.ts';

export interface Dialled {
  readonly id: NodeId;
  readonly name: string;
  readonly addresses: PeerAddresses;
}

export interface PeerDiallerOptions extends CallOptions {
  readonly log: QuietLog;
  readonly peer: Dialled;
  readonly kind: MessageKind;
  /** The link came up, or a link that was up is lost, with what was on it. */
  readonly onChange: (up: boolean) => void;
  /** The peer has proved that it knows the secret, and says that this server was removed from the cluster. */
  readonly onRemoved: () => void;
}

type State = 'resting' | 'calling' | 'up' | 'stopped';

/** The slowest that a live peer takes bulk: what it has not taken yet makes the pong that much later. */
const BULK_BYTES_PER_MS_MIN = 1024;

/** The pause has grown to so many times its least before a dial that fails is worth a line. */
const SILENT_DIALS_BACKOFF = 8;

const PING = encodeFrame('ping');

export class PeerDialler {
  readonly #options: PeerDiallerOptions;
  readonly #backlogBytesMax: number;
  #state: State = 'resting';
  #call: PeerCall | undefined;
  #channel: PeerChannel | undefined;
  /** That was dialled last. */
  #address: Address;
  /** Since the link was last up, or the addresses changed. */
  #failures = 0;
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
    const { limits, kind, peer } = options;
    this.#options = options;
    this.#backlogBytesMax = kind === 'control' ? limits.controlBacklogBytesMax : limits.bulkBacklogBytesMax;
    this.#backoffMs = limits.backoffMinMs;
    this.#address = peer.addresses.at(0);
  }

  get up(): boolean {
    return this.#state === 'up';
  }

  /** Where the link is up, or was tried last. */
  get address(): Address {
    return this.#address;
  }

  dial(): void {
    assert(this.#state === 'resting', 'a link that rests is dialled', this.#state);
    const { peer, kind } = this.#options;
    this.#state = 'calling';
    this.#address = peer.addresses.at(this.#failures);
    const target = { address: this.#address, to: peer.id, kind };
    this.#call = new PeerCall(this.#options, target, {
      onWelcome: (channel) => this.#welcomed(channel),
      onFailure: (failure) => this.#failed(failure),
    });
  }

  /** The addresses have changed. A link that is up at one of them stays. */
  readdress(): void {
    if (this.#state === 'stopped') return;
    const { peer, limits, onChange } = this.#options;
    const wasUp = this.#state === 'up';
    if (wasUp && peer.addresses.has(this.#address)) return;
    this.#drop();
    this.#state = 'resting';
    this.#failures = 0;
    this.#backoffMs = limits.backoffMinMs;
    this.dial();
    if (wasUp) onChange(false);
  }

  stop(): void {
    this.#drop();
    this.#state = 'stopped';
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
    const waitingBytes = this.#frames.bytes + this.#channel!.backlogBytes;
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
    if (this.#frames.bytes > 0) this.#channel!.write(this.#frames.take());
  }

  /**
   * Now and then: looks for what takes too long. `patient` says that the peer is known to live, so that a late pong may
   * be the fault of the bytes before it.
   */
  tick(nowMs: number, patient: boolean): void {
    if (this.#state === 'calling') this.#call!.tick(nowMs);
    else if (this.#state === 'up') this.#ping(nowMs, patient);
  }

  /** The process has stood still for so long: that does not count. */
  forgive(ms: number): void {
    this.#call?.forgive(ms);
    if (this.#pingSentMs !== undefined) this.#pingSentMs += ms;
  }

  #ping(nowMs: number, patient: boolean): void {
    const { limits } = this.#options;
    if (this.#pingSentMs === undefined) {
      if (nowMs >= this.#pingDueMs) this.#sendPing(nowMs);
      return;
    }
    const patienceMs = patient ? this.#bytesBeforePing / BULK_BYTES_PER_MS_MIN : 0;
    if (nowMs - this.#pingSentMs > limits.pongTimeoutMs + patienceMs)
      this.#channel!.fail('no answer to a ping');
  }

  #sendPing(nowMs: number): void {
    const { clock, limits } = this.#options;
    this.#pingDueMs = nowMs + limits.pingIntervalMs;
    this.#pingSentMs = nowMs;
    this.#bytesBeforePing = this.#channel!.backlogBytes;
    this.pingSentWallMs = clock.wallMs();
    this.#channel!.write(PING);
  }

  #welcomed(channel: PeerChannel): void {
    const { clock, limits, onChange } = this.#options;
    assert(this.#state === 'calling', 'who calls is welcomed', this.#state);
    this.#call = undefined;
    this.#channel = channel;
    channel.owner = {
      onFrame: (frame) => channel.parse(() => this.#onPong(frame)),
      onClose: (reason, detail) => this.#lost(reason, detail),
    };
    this.#state = 'up';
    this.#failures = 0;
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

  #failed({ stage, reason, detail, removed }: CallFailure): void {
    const { limits, onRemoved } = this.#options;
    // Servers that are started together are not all there at once.
    const early = stage === 'dialling' && this.#backoffMs < SILENT_DIALS_BACKOFF * limits.backoffMinMs;
    if (!early) this.#tell('cannot reach a peer', reason, detail);
    this.#failures++;
    this.#rest();
    if (removed) onRemoved();
  }

  #lost(reason: string, detail: string | undefined): void {
    this.#tell('lost a peer', reason, detail);
    this.#rest();
    this.#options.onChange(false);
  }

  #rest(): void {
    const { clock, random, limits } = this.#options;
    this.#drop();
    this.#state = 'resting';
    const pauseMs = this.#backoffMs / 2 + random.below(Math.ceil(this.#backoffMs / 2) + 1);
    this.#backoffMs = Math.min(2 * this.#backoffMs, limits.backoffMaxMs);
    this.#redial = clock.after(pauseMs, () => {
      if (this.#state === 'resting') this.dial();
    });
  }

  #tell(event: string, reason: string, detail: string | undefined): void {
    const { log, peer, kind } = this.#options;
    const { host, port } = this.#address;
    log.warning(event, `${peer.name} ${reason}`, {
      ...{ peer: peer.name, host, port, kind, reason },
      ...(detail === undefined ? {} : { detail }),
    });
  }

  #drop(): void {
    this.#redial?.cancel();
    this.#call?.cancel();
    this.#channel?.drop();
    this.#call = undefined;
    this.#channel = undefined;
    this.#frames.clear();
    this.#pingSentMs = undefined;
    this.pingSentWallMs = 0;
  }
}
