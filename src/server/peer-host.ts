/**
 * A visit, on the side of the host: it shows its card, and takes one invitation, if there is one. The conversation, as
 * the visitor sees it, is in peer-visit.ts.
 */
import { assert } from '../lib/assert.ts';
import type { Clock } from '../lib/env.ts';
import type { ChannelOwner, PeerChannel } from './peer-channel.ts';
import { encodeFrame, type Frame, forKeeping, VISIT_PAYLOAD_BYTES_MAX } from './peer-frame.ts';
import type { PeerLimits } from './peer-limits.ts';

/** What this server says of itself to visitors; at most 32 KiB. */
export type Card = () => Uint8Array;
/** `answer` is called at most once, whenever; it does nothing when the visitor is gone. At most 64 KiB. */
export type Invited = (invitation: Uint8Array, answer: (bytes: Uint8Array) => void) => void;

export interface PeerHostOptions {
  readonly clock: Clock;
  readonly limits: PeerLimits;
  /** Undefined: no visitor is let in. */
  readonly card: Card | undefined;
  readonly onInvitation: Invited | undefined;
}

const CARD_BYTES_MAX = 32 << 10;

export class PeerHost {
  readonly #options: PeerHostOptions;
  readonly #visitors = new Set<Visitor>();

  constructor(options: PeerHostOptions) {
    this.#options = options;
  }

  /** Why one more visitor cannot be let in, if so. */
  get refusal(): 'too many' | 'not served' | undefined {
    const { card, limits } = this.#options;
    if (card === undefined) return 'not served';
    return this.#visitors.size < limits.visitsMax ? undefined : 'too many';
  }

  accept(channel: PeerChannel): void {
    const { clock, limits, card, onInvitation } = this.#options;
    const bytes = card!();
    assert(bytes.length <= CARD_BYTES_MAX, 'a card is small', bytes.length);
    const dueMs = clock.monotonicMs() + limits.visitTimeoutMs;
    const visitor = new Visitor(channel, dueMs, onInvitation, () => this.#visitors.delete(visitor));
    this.#visitors.add(visitor);
    channel.write(encodeFrame('card', bytes));
  }

  tick(nowMs: number): void {
    for (const visitor of this.#visitors) if (nowMs > visitor.dueMs) visitor.leave();
  }

  forgive(ms: number): void {
    for (const visitor of this.#visitors) visitor.dueMs += ms;
  }

  stop(): void {
    for (const visitor of this.#visitors) visitor.leave();
  }
}

class Visitor implements ChannelOwner {
  dueMs: number;
  readonly #channel: PeerChannel;
  readonly #onInvitation: Invited | undefined;
  readonly #onOver: () => void;
  #state: 'shown' | 'invited' | 'over' = 'shown';

  constructor(channel: PeerChannel, dueMs: number, onInvitation: Invited | undefined, onOver: () => void) {
    this.dueMs = dueMs;
    this.#channel = channel;
    this.#onInvitation = onInvitation;
    this.#onOver = onOver;
    channel.owner = this;
    channel.frameBytesMax = 1 + VISIT_PAYLOAD_BYTES_MAX;
  }

  leave(): void {
    this.#channel.drop();
    this.onClose();
  }

  onFrame({ type, payload }: Frame): void {
    if (type !== 'invitation' || this.#state !== 'shown' || this.#onInvitation === undefined) {
      return this.#channel.fail('malformed', `a ${type} in a visit`);
    }
    this.#state = 'invited';
    let answers = 0;
    this.#onInvitation(forKeeping(payload), (bytes) => {
      assert(++answers === 1, 'an invitation is answered once', answers);
      this.#answer(bytes);
    });
  }

  onClose(): void {
    this.#state = 'over';
    this.#onOver();
  }

  #answer(bytes: Uint8Array): void {
    if (this.#state === 'over') return;
    this.#channel.write(encodeFrame('answer', bytes));
    this.#channel.end();
  }
}
