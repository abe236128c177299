/**
 * An outgoing connection until it is welcome: the dial, then the handshake, each with its time.
 *
 *   dialling --connected--> greeting --welcome--> over: the channel is handed on
 *       |                       |
 *       +-----------------------+------- any failure: over, the connection is dropped, and why is told
 *
 * It is made for one try. Who wants another makes another call.
 */
import { assert } from '../lib/assert.ts';
import type { Address, Clock, Network, Random } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';
import { type ChannelOwner, PeerChannel } from './peer-channel.ts';
import type { Frame } from './peer-frame.ts';
import { DiallerHandshake, type RefusalReason } from './peer-handshake.ts';
import type { DiallerIdentity, LinkKind } from './peer-hello.ts';
import type { PeerLimits } from './peer-limits.ts';

export interface CallOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly network: Network;
  readonly limits: PeerLimits;
  readonly self: DiallerIdentity;
}

export interface CallTarget {
  readonly address: Address;
  readonly to: NodeId;
  readonly kind: LinkKind;
}

export interface CallFailure {
  readonly stage: 'dialling' | 'greeting';
  readonly reason: string;
  readonly detail: string | undefined;
  /** Either side refused the other. */
  readonly refusal: RefusalReason | undefined;
  /** A member, proved to be one, says that the cluster has removed this server. */
  readonly removed: boolean;
}

/** One of the two, once. */
export interface CallEvents {
  /** To become the channel's owner. Its next frames may come at once. */
  onWelcome(channel: PeerChannel): void;
  onFailure(failure: CallFailure): void;
}

export class PeerCall implements ChannelOwner {
  readonly #options: CallOptions;
  readonly #events: CallEvents;
  readonly #handshake: DiallerHandshake;
  readonly #channel: PeerChannel;
  #stage: 'dialling' | 'greeting' | 'over' = 'dialling';
  /** Of the present stage. */
  #sinceMs: number;

  constructor(options: CallOptions, { address, to, kind }: CallTarget, events: CallEvents) {
    const { clock, network, random, self } = options;
    this.#options = options;
    this.#events = events;
    this.#sinceMs = clock.monotonicMs();
    this.#handshake = new DiallerHandshake(self, to, kind, random);
    this.#channel = new PeerChannel(clock, this, (channelEvents) =>
      network.connect(address, { ...channelEvents, onConnect: () => this.#onConnect() }),
    );
  }

  /** Neither event comes any more. */
  cancel(): void {
    if (this.#stage !== 'over') this.#channel.drop();
    this.#stage = 'over';
  }

  tick(nowMs: number): void {
    const { dialTimeoutMs, handshakeTimeoutMs } = this.#options.limits;
    const forMs = nowMs - this.#sinceMs;
    if (this.#stage === 'dialling' && forMs > dialTimeoutMs) this.#channel.fail('no answer to the dial');
    if (this.#stage === 'greeting' && forMs > handshakeTimeoutMs)
      this.#channel.fail('no end of the handshake');
  }

  forgive(ms: number): void {
    this.#sinceMs += ms;
  }

  #onConnect(): void {
    if (this.#stage === 'over') return;
    assert(this.#stage === 'dialling', 'a dial succeeds once', this.#stage);
    this.#stage = 'greeting';
    this.#sinceMs = this.#options.clock.monotonicMs();
    this.#channel.write(this.#handshake.opening);
  }

  onFrame(frame: Frame): void {
    const step = this.#channel.parse(() => this.#handshake.step(frame));
    switch (step?.next) {
      case undefined:
        return;
      case 'wait':
        this.#channel.write(step.send);
        return;
      case 'done':
        this.#stage = 'over';
        this.#events.onWelcome(this.#channel);
        assert(this.#channel.owner !== this || !this.#channel.open, 'a welcome channel is taken over');
        return;
      case 'refuse':
        this.#channel.write(step.send);
        // The peer is told why, so the connection ends by itself.
        this.#channel.end();
        return this.#fail(`refused: ${step.reason}`, { refusal: step.reason });
      case 'refused': {
        const { reason, sealed } = step;
        const removed = reason === 'removed' && sealed;
        this.#fail(`the peer refuses: ${reason}`, { refusal: reason, removed });
        return this.#channel.drop();
      }
    }
  }

  onClose(reason: string, detail?: string): void {
    if (this.#stage !== 'over') this.#fail(reason, { detail });
  }

  #fail(
    reason: string,
    {
      detail,
      refusal,
      removed = false,
    }: { detail?: string | undefined; refusal?: RefusalReason; removed?: boolean },
  ): void {
    const stage = this.#stage;
    assert(stage !== 'over', 'a call fails once', reason);
    this.#stage = 'over';
    this.#events.onFailure({ stage, reason, detail, refusal, removed });
  }
}
