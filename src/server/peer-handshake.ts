/**
 * The handshake with which every connection between two servers begins: each side learns who the other is, and that it
 * knows the cluster's secret, without the secret, or anything that could be used again, being sent.
 *
 *   dialler                                                                                   acceptor
 *     hello      who calls, from where, whom, and what for, with a nonce  ->
 *     <-  challenge  own id, incarnation, nonce
 *     proof      seal("hstore dialler", hello, challenge)  ->
 *     <-  welcome    seal("hstore acceptor", hello, challenge)
 *                                                          or, at any time and either way: refused, with a reason
 *
 * Who dials proves itself first: it chose whom to call, while whoever reaches the port could otherwise take a seal home and
 * try passwords on it. Whether it is let in is said only after that, so that a stranger learns nothing of the members.
 *
 * One refusal has consequences: a server that its cluster has removed gives up. So `removed` carries a seal of its own,
 * and one without it is a refusal like any other.
 *
 * What is sealed is in peer-hello.ts. Without a secret the key is empty: then the seals prove nothing, and the rest is
 * still checked. (Challenge and response as in ISO/IEC 9798-4, three-pass mutual authentication.)
 *
 * Nothing here touches a connection: frames go in, and what to do comes out.
 */
import { assert } from '../lib/assert.ts';
import { MalformedError } from '../lib/bytes.ts';
import type { Random } from '../lib/env.ts';
import { timingSafeEqual } from '../lib/hmac.ts';
import type { NodeId } from '../raft/types.ts';
import { encodeFrame, type Frame } from './peer-frame.ts';
import {
  ANYBODY,
  type Challenge,
  type DiallerIdentity,
  decodeChallenge,
  decodeHello,
  encodeChallenge,
  encodeHello,
  type Hello,
  type LinkKind,
  NONCE_BYTES,
  type PeerIdentity,
  SEAL_BYTES,
  seal,
} from './peer-hello.ts';

const REASONS = [
  // The first is understood by all versions.
  ...(['wrong version', 'wrong cluster', 'not the server meant', 'own id', 'wrong secret'] as const),
  ...(['superseded', 'removed', 'too many', 'no address', 'not served', 'its data are lost'] as const),
];
export type RefusalReason = (typeof REASONS)[number];

/** What is to be done after a frame. `refuse`: send it, and close. `refused`: the other side did. */
export type HandshakeStep =
  | { readonly next: 'wait'; readonly send: Uint8Array }
  | { readonly next: 'done' }
  | { readonly next: 'refuse'; readonly reason: RefusalReason; readonly send: Uint8Array }
  | Refused;

interface Refused {
  readonly next: 'refused';
  readonly reason: RefusalReason;
  /** Said by somebody who knows the secret, now, and to this server. Only ever true of `removed`. */
  readonly sealed: boolean;
}

export class DiallerHandshake {
  readonly #self: DiallerIdentity;
  readonly #hello: Hello;
  #state: 'greeted' | 'proved' | 'over' = 'greeted';
  #challenge: Challenge | undefined;

  constructor(self: DiallerIdentity, to: NodeId, kind: LinkKind, random: Random) {
    assert(
      (kind === 'visit') === (to === ANYBODY),
      'a visit is to whoever is there, all else to a peer',
      kind,
    );
    this.#self = self;
    const { clusterId, id: from, name, address, incarnation, fresh } = self;
    const nonce = random.bytes(NONCE_BYTES);
    this.#hello = { clusterId, from, name, address, to, kind, incarnation, fresh, nonce };
  }

  /** The frame that opens the connection. */
  get opening(): Uint8Array {
    return encodeFrame('hello', encodeHello(this.#hello));
  }

  /** Throws MalformedError at what does not belong here. */
  step({ type, payload }: Frame): HandshakeStep {
    const state = this.#state;
    this.#state = 'over';
    if (type === 'refused') return this.#refused(payload);
    if (type === 'challenge' && state === 'greeted') return this.#answer(payload);
    if (type === 'welcome' && state === 'proved') return this.#verify(payload);
    throw new MalformedError(`a ${type} where the handshake has none`);
  }

  #answer(payload: Uint8Array): HandshakeStep {
    const challenge = decodeChallenge(payload);
    const { to } = this.#hello;
    const { id, incarnation } = this.#self;
    if (challenge.from === id && challenge.incarnation === incarnation) return refuse('own id');
    if (to !== ANYBODY && challenge.from !== to) return refuse('not the server meant');
    this.#challenge = challenge;
    this.#state = 'proved';
    const proof = seal(this.#self.secret, 'dialler', this.#hello, challenge);
    return { next: 'wait', send: encodeFrame('proof', proof) };
  }

  #verify(payload: Uint8Array): HandshakeStep {
    const expected = seal(this.#self.secret, 'acceptor', this.#hello, this.#challenge!);
    return timingSafeEqual(payload, expected) ? { next: 'done' } : refuse('wrong secret');
  }

  #refused(payload: Uint8Array): Refused {
    const refused = decodeRefusal(payload);
    if (payload.length === 1 || this.#challenge === undefined) return refused;
    const expected = seal(this.#self.secret, 'removed', this.#hello, this.#challenge);
    return { ...refused, sealed: timingSafeEqual(payload.subarray(1), expected) };
  }
}

/** Whether somebody who knows the secret is let in; undefined: yes. */
export type Admission = (hello: Hello) => RefusalReason | undefined;

export class AcceptorHandshake {
  readonly #self: PeerIdentity;
  readonly #admit: Admission;
  readonly #random: Random;
  #hello: Hello | undefined;
  #challenge: Challenge | undefined;
  /** A proof has come, one is all there is; and it was good, from somebody who is let in. */
  #verified = false;
  #proved = false;

  constructor(self: PeerIdentity, admit: Admission, random: Random) {
    this.#self = self;
    this.#admit = admit;
    this.#random = random;
  }

  /** What the other side says of itself; proved only once `step` says done. */
  get hello(): Hello | undefined {
    return this.#hello;
  }

  /** The acceptor's own proof, for a dialler that has proved itself. */
  get welcome(): Uint8Array {
    assert(this.#proved, 'only who has proved itself is welcome');
    return encodeFrame('welcome', seal(this.#self.secret, 'acceptor', this.#hello!, this.#challenge!));
  }

  /** Throws MalformedError at what does not belong here. After `done` the caller sends `welcome` or a refusal. */
  step({ type, payload }: Frame): HandshakeStep {
    if (type === 'refused') return decodeRefusal(payload);
    if (type === 'hello' && this.#hello === undefined) return this.#greet(payload);
    if (type === 'proof' && this.#challenge !== undefined && !this.#verified) return this.#verify(payload);
    throw new MalformedError(`a ${type} where the handshake has none`);
  }

  #greet(payload: Uint8Array): HandshakeStep {
    const hello = decodeHello(payload);
    if (hello === undefined) return refuse('wrong version');
    this.#hello = hello;
    if (hello.kind !== 'visit') {
      if (hello.clusterId !== this.#self.clusterId) return refuse('wrong cluster');
      if (hello.to !== this.#self.id) return refuse('not the server meant');
      if (hello.from === this.#self.id) return refuse('own id');
    }
    const { id: from, incarnation } = this.#self;
    const challenge = { from, incarnation, nonce: this.#random.bytes(NONCE_BYTES) };
    this.#challenge = challenge;
    return { next: 'wait', send: encodeFrame('challenge', encodeChallenge(challenge)) };
  }

  #verify(payload: Uint8Array): HandshakeStep {
    this.#verified = true;
    const hello = this.#hello!;
    const { secret } = this.#self;
    const expected = seal(secret, 'dialler', hello, this.#challenge!);
    if (!timingSafeEqual(payload, expected)) return refuse('wrong secret');
    const reason = this.#admit(hello);
    if (reason === 'removed') return refuse(reason, seal(secret, 'removed', hello, this.#challenge!));
    if (reason !== undefined) return refuse(reason);
    this.#proved = true;
    return { next: 'done' };
  }
}

/** A refusal: reason u8, and for `removed` a seal. */
export function refusedFrame(reason: RefusalReason, sealed?: Uint8Array): Uint8Array {
  return encodeFrame('refused', Uint8Array.of(REASONS.indexOf(reason), ...(sealed ?? [])));
}

function refuse(reason: RefusalReason, sealed?: Uint8Array): HandshakeStep {
  return { next: 'refuse', reason, send: refusedFrame(reason, sealed) };
}

function decodeRefusal(payload: Uint8Array): Refused {
  const reason = REASONS[payload[0] ?? REASONS.length];
  const known = payload.length === 1 || (reason === 'removed' && payload.length === 1 + SEAL_BYTES);
  if (reason === undefined || !known) throw new MalformedError('a refusal for no known reason');
  return { next: 'refused', reason, sealed: false };
}
