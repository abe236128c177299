/**
 * A visit, on the side of the visitor: how a server asks another one, of which it knows nothing but an address, who it
 * is, and perhaps asks it in.
 *
 *   visitor                          host
 *     handshake, to whoever is there
 *     <-  card                       what the host says of itself
 *     invitation  ->                 once, if at all
 *     <-  answer
 *
 * The two may be of different clusters; both prove that they know the secret. What card, invitation and answer mean is
 * their owners' matter. Every step has its deadline.
 */
import { assert } from '../lib/assert.ts';
import type { Address, Clock } from '../lib/env.ts';
import { HstoreError } from '../lib/errors.ts';
import { type CallFailure, type CallOptions, PeerCall } from './peer-call.ts';
import type { ChannelOwner, PeerChannel } from './peer-channel.ts';
import { encodeFrame, type Frame, forKeeping, VISIT_PAYLOAD_BYTES_MAX } from './peer-frame.ts';
import { ANYBODY } from './peer-hello.ts';
import type { PeerLimits } from './peer-limits.ts';

/** `self`: this very process answers. `no server`: what answers there is not a server's port for peers. */
export type VisitErrorKind =
  | 'unreachable'
  | 'no server'
  | 'self'
  | 'wrong secret'
  | 'wrong version'
  | 'refused';

/** The visit came to nothing. The outcome is unknown when an invitation had been sent. */
export class VisitError extends HstoreError {
  override readonly name = 'VisitError';
  readonly kind: VisitErrorKind;

  constructor(kind: VisitErrorKind, message: string, outcome: 'not-done' | 'unknown' = 'not-done') {
    super('VISIT', outcome, message);
    this.kind = kind;
  }
}

/** Open until `close`, or until the host has had enough (half a minute): then an invitation fails. */
export interface Visit {
  /** What the host says of itself. */
  readonly card: Uint8Array;
  /** Asks the host in, once. `invitation` has at most 64 KiB. `done` comes once, later. */
  invite(invitation: Uint8Array, done: Answered): void;
  /** Nothing comes any more. */
  close(): void;
}

export type Visited = (error: VisitError | null, visit: Visit | undefined) => void;
export type Answered = (error: VisitError | null, answer: Uint8Array | undefined) => void;

export interface VisitOptions {
  readonly clock: Clock;
  readonly limits: PeerLimits;
  readonly onOver: (visit: OutgoingVisit) => void;
}

export class OutgoingVisit implements Visit, ChannelOwner {
  readonly #options: VisitOptions;
  readonly #address: Address;
  readonly #call: PeerCall;
  #visited: Visited | undefined;
  #answered: Answered | undefined;
  #invited = false;
  #state: 'calling' | 'greeted' | 'shown' | 'over' = 'calling';
  #channel: PeerChannel | undefined;
  #card: Uint8Array | undefined;
  /** Of what is awaited now. */
  #dueMs = Number.POSITIVE_INFINITY;

  constructor(options: VisitOptions, call: CallOptions, address: Address, done: Visited) {
    this.#options = options;
    this.#address = address;
    this.#visited = done;
    this.#call = new PeerCall(
      call,
      { address, to: ANYBODY, kind: 'visit' },
      {
        onWelcome: (channel) => this.#greet(channel),
        onFailure: (failure) => this.#end(this.#errorOf(failure)),
      },
    );
  }

  get card(): Uint8Array {
    assert(this.#card !== undefined, 'the host has shown its card');
    return this.#card;
  }

  invite(invitation: Uint8Array, done: Answered): void {
    const { clock, limits } = this.#options;
    assert(!this.#invited, 'a visitor invites once');
    assert(invitation.length <= VISIT_PAYLOAD_BYTES_MAX, 'an invitation fits a frame', invitation.length);
    this.#invited = true;
    if (this.#state === 'over') {
      const error = this.#error('unreachable', 'the host has ended the visit');
      clock.endOfTurn(() => done(error, undefined));
      return;
    }
    this.#answered = done;
    this.#dueMs = clock.monotonicMs() + limits.invitationTimeoutMs;
    this.#channel!.write(encodeFrame('invitation', invitation));
  }

  close(): void {
    if (this.#state === 'over') return;
    this.#visited = undefined;
    this.#answered = undefined;
    this.#call.cancel();
    this.#end(undefined);
  }

  tick(nowMs: number): void {
    this.#call.tick(nowMs);
    if (nowMs > this.#dueMs) this.#channel!.fail(this.#answered === undefined ? 'no card' : 'no answer');
  }

  forgive(ms: number): void {
    this.#call.forgive(ms);
    this.#dueMs += ms;
  }

  onFrame({ type, payload }: Frame): void {
    if (type === 'card' && this.#state === 'greeted') return this.#show(forKeeping(payload));
    if (type === 'answer' && this.#answered !== undefined) return this.#end(undefined, forKeeping(payload));
    this.#channel!.fail('malformed', `a ${type} in a visit`);
  }

  onClose(reason: string, detail?: string): void {
    const outcome = this.#answered === undefined ? 'not-done' : 'unknown';
    const kind = reason === 'malformed' ? 'no server' : 'unreachable';
    this.#end(this.#error(kind, detail === undefined ? reason : `${reason}: ${detail}`, outcome));
  }

  #greet(channel: PeerChannel): void {
    this.#channel = channel;
    channel.owner = this;
    channel.frameBytesMax = 1 + VISIT_PAYLOAD_BYTES_MAX;
    this.#state = 'greeted';
    const { clock, limits } = this.#options;
    this.#dueMs = clock.monotonicMs() + limits.handshakeTimeoutMs;
  }

  #show(card: Uint8Array): void {
    this.#card = card;
    this.#state = 'shown';
    this.#dueMs = Number.POSITIVE_INFINITY;
    const visited = this.#visited!;
    this.#visited = undefined;
    visited(null, this);
  }

  /** Whoever waits is told. */
  #end(error: VisitError | undefined, answer?: Uint8Array): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#dueMs = Number.POSITIVE_INFINITY;
    this.#channel?.drop();
    this.#options.onOver(this);
    this.#visited?.(error!, undefined);
    this.#answered?.(error ?? null, answer);
  }

  #errorOf({ stage, reason, detail, refusal }: CallFailure): VisitError {
    switch (refusal) {
      case 'own id':
        return this.#error('self', 'this is the address of this server itself');
      case 'wrong secret':
        return this.#error('wrong secret', 'the server there has another secret');
      case 'wrong version':
        return this.#error('wrong version', 'the server there speaks another version of the protocol');
      case undefined:
        break;
      default:
        return this.#error('refused', `the server there refuses: ${refusal}`);
    }
    const stranger = stage === 'greeting' && (reason === 'malformed' || reason.startsWith('no end'));
    return this.#error(
      stranger ? 'no server' : 'unreachable',
      detail === undefined ? reason : `${reason}: ${detail}`,
    );
  }

  #error(kind: VisitErrorKind, text: string, outcome: 'not-done' | 'unknown' = 'not-done'): VisitError {
    const { host, port } = this.#address;
    return new VisitError(kind, `${host}:${port}: ${text}`, outcome);
  }
}
