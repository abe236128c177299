/**
 * The handshake with which every connection between two servers begins: each side learns who the other is, and that it
 * knows the cluster's secret, without the secret, or anything that could be used again, being sent.
 *
 *   dialler                                                                                   acceptor
 *     hello      magic, version, cluster, own id and name, intended peer, kind, incarnation, nonce  ->
 *     <-  challenge  own id, incarnation, nonce
 *     proof      seal("hstore dialler", hello, challenge)  ->
 *     <-  welcome    seal("hstore acceptor", hello, challenge)
 *                                                          or, at any time and either way: refused, with a reason
 *
 * Who dials proves itself first: it chose whom to call, while whoever reaches the port could otherwise take a seal home and
 * try passwords on it.
 *
 * A seal is HMAC-SHA256 under the secret over both messages whole, so that nothing in them can be exchanged, and both
 * nonces are in it, so that a recording of one handshake is worth nothing in the next. The labels keep one side's seal
 * from being reflected as the other's. Without a secret the key is empty: then the seals prove nothing, and the rest is
 * still checked. (Challenge and response as in ISO/IEC 9798-4, three-pass mutual authentication.)
 *
 * Nothing here touches a connection: frames go in, and what to do comes out.
 */
import { assert } from '../lib/assert.ts';
import { ByteReader, ByteWriter, fromLatin1, MalformedError } from '../lib/bytes.ts';
import type { Random } from '../lib/env.ts';
import { hmacSha256, timingSafeEqual } from '../lib/hmac.ts';
import type { NodeId } from '../raft/types.ts';
import { encodeFrame, type Frame } from './peer-frame.ts';

export const PROTOCOL_VERSION = 1;
/** "hstP", read as a little-endian number. */
const MAGIC = 0x50747368;
const NONCE_BYTES = 16;
/** Of the cluster's id and the server's name together, so that a hello stays a small frame. */
const NAMES_BYTES_MAX = 512;
const NODE_ID_BOUND = 2 ** 48;

/** The two connections that a server opens to each peer: what may be large must not delay what is urgent. */
export type LinkKind = 'control' | 'bulk';
const KINDS: readonly LinkKind[] = ['control', 'bulk'];

const REASONS = [
  ...(['wrong version', 'wrong cluster', 'not the server meant', 'not a member'] as const),
  ...(['wrong secret', 'superseded'] as const),
];
export type RefusalReason = (typeof REASONS)[number];

/** Who this server is to its peers. */
export interface PeerIdentity {
  readonly clusterId: string;
  readonly id: NodeId;
  readonly name: string;
  /** Random, new with every start of the process. */
  readonly incarnation: number;
  readonly secret: string;
}

export interface Hello {
  readonly clusterId: string;
  readonly from: NodeId;
  readonly name: string;
  readonly to: NodeId;
  readonly kind: LinkKind;
  readonly incarnation: number;
  readonly nonce: Uint8Array;
}

export interface Challenge {
  readonly from: NodeId;
  readonly incarnation: number;
  readonly nonce: Uint8Array;
}

/** What is to be done after a frame. `refuse`: send it, and close. `refused`: the other side did. */
export type HandshakeStep =
  | { readonly next: 'wait'; readonly send: Uint8Array }
  | { readonly next: 'done' }
  | { readonly next: 'refuse'; readonly reason: RefusalReason; readonly send: Uint8Array }
  | { readonly next: 'refused'; readonly reason: RefusalReason };

export function checkIdentity({ clusterId, id, name, incarnation }: PeerIdentity): void {
  const names = new ByteWriter();
  names.text(clusterId);
  names.text(name);
  assert(names.length <= NAMES_BYTES_MAX, "a cluster's id and a server's name are short", names.length);
  assert(id >= 1 && id < NODE_ID_BOUND, "a server's id is a number below 2^48", id);
  assert(
    incarnation >= 0 && incarnation < NODE_ID_BOUND,
    'an incarnation is a number below 2^48',
    incarnation,
  );
}

export class DiallerHandshake {
  readonly #self: PeerIdentity;
  readonly #hello: Hello;
  #state: 'greeted' | 'proved' | 'over' = 'greeted';
  #challenge: Challenge | undefined;

  constructor(self: PeerIdentity, to: NodeId, kind: LinkKind, random: Random) {
    this.#self = self;
    const { clusterId, id: from, name, incarnation } = self;
    this.#hello = { clusterId, from, name, to, kind, incarnation, nonce: random.bytes(NONCE_BYTES) };
  }

  /** The frame that opens the connection. */
  get opening(): Uint8Array {
    return encodeFrame('hello', encodeHello(this.#hello));
  }

  /** The process that answers; known after the challenge, proved by the welcome. */
  get peerIncarnation(): number | undefined {
    return this.#challenge?.incarnation;
  }

  /** Throws MalformedError at what does not belong here. */
  step({ type, payload }: Frame): HandshakeStep {
    const state = this.#state;
    this.#state = 'over';
    if (type === 'refused') return { next: 'refused', reason: decodeReason(payload) };
    if (type === 'challenge' && state === 'greeted') return this.#answer(payload);
    if (type === 'welcome' && state === 'proved') return this.#verify(payload);
    throw new MalformedError(`a ${type} where the handshake has none`);
  }

  #answer(payload: Uint8Array): HandshakeStep {
    const reader = new ByteReader(payload);
    const challenge = decodeChallenge(reader);
    expectEnd(reader);
    if (challenge.from !== this.#hello.to) return refuse('not the server meant');
    this.#challenge = challenge;
    this.#state = 'proved';
    const proof = seal(this.#self.secret, DIALLER_LABEL, this.#hello, challenge);
    return { next: 'wait', send: encodeFrame('proof', proof) };
  }

  #verify(payload: Uint8Array): HandshakeStep {
    const expected = seal(this.#self.secret, ACCEPTOR_LABEL, this.#hello, this.#challenge!);
    return timingSafeEqual(payload, expected) ? { next: 'done' } : refuse('wrong secret');
  }
}

export class AcceptorHandshake {
  readonly #self: PeerIdentity;
  readonly #isMember: (id: NodeId) => boolean;
  readonly #random: Random;
  #hello: Hello | undefined;
  #challenge: Challenge | undefined;
  /** A proof has come, one is all there is; and it was good. */
  #verified = false;
  #proved = false;

  constructor(self: PeerIdentity, isMember: (id: NodeId) => boolean, random: Random) {
    this.#self = self;
    this.#isMember = isMember;
    this.#random = random;
  }

  /** What the other side says of itself; proved only once `step` says done. */
  get hello(): Hello | undefined {
    return this.#hello;
  }

  /** The acceptor's own proof, for a dialler that has proved itself. */
  get welcome(): Uint8Array {
    assert(this.#proved, 'only who has proved itself is welcome');
    return encodeFrame('welcome', seal(this.#self.secret, ACCEPTOR_LABEL, this.#hello!, this.#challenge!));
  }

  /** Throws MalformedError at what does not belong here. After `done` the caller sends `welcome` or a refusal. */
  step({ type, payload }: Frame): HandshakeStep {
    if (type === 'refused') return { next: 'refused', reason: decodeReason(payload) };
    if (type === 'hello' && this.#hello === undefined) return this.#greet(payload);
    if (type === 'proof' && this.#challenge !== undefined && !this.#verified) return this.#verify(payload);
    throw new MalformedError(`a ${type} where the handshake has none`);
  }

  #greet(payload: Uint8Array): HandshakeStep {
    const hello = decodeHello(payload);
    if (hello === undefined) return refuse('wrong version');
    this.#hello = hello;
    if (hello.clusterId !== this.#self.clusterId) return refuse('wrong cluster');
    if (hello.to !== this.#self.id) return refuse('not the server meant');
    if (!this.#isMember(hello.from)) return refuse('not a member');
    const { id: from, incarnation } = this.#self;
    const challenge = { from, incarnation, nonce: this.#random.bytes(NONCE_BYTES) };
    this.#challenge = challenge;
    return { next: 'wait', send: encodeFrame('challenge', encodeChallenge(challenge)) };
  }

  #verify(payload: Uint8Array): HandshakeStep {
    this.#verified = true;
    const expected = seal(this.#self.secret, DIALLER_LABEL, this.#hello!, this.#challenge!);
    this.#proved = timingSafeEqual(payload, expected);
    return this.#proved ? { next: 'done' } : refuse('wrong secret');
  }
}

export function refusedFrame(reason: RefusalReason): Uint8Array {
  return encodeFrame('refused', Uint8Array.of(REASONS.indexOf(reason)));
}

function refuse(reason: RefusalReason): HandshakeStep {
  return { next: 'refuse', reason, send: refusedFrame(reason) };
}

const ACCEPTOR_LABEL = fromLatin1('hstore acceptor');
const DIALLER_LABEL = fromLatin1('hstore dialler ');

/** Both labels are of one length, and a hello tells its own: no two inputs look the same. */
function seal(secret: string, label: Uint8Array, hello: Hello, challenge: Challenge): Uint8Array {
  return hmacSha256(secret, label, encodeHello(hello), encodeChallenge(challenge));
}

function encodeHello(hello: Hello): Uint8Array {
  const out = new ByteWriter();
  out.u32(MAGIC);
  out.u16(PROTOCOL_VERSION);
  out.text(hello.clusterId);
  out.u64(hello.from);
  out.text(hello.name);
  out.u64(hello.to);
  out.u8(KINDS.indexOf(hello.kind));
  out.u64(hello.incarnation);
  out.raw(hello.nonce);
  return out.view();
}

/** Undefined when it is of another version of the protocol: of that, only magic and version are known. */
function decodeHello(payload: Uint8Array): Hello | undefined {
  const reader = new ByteReader(payload);
  if (reader.u32() !== MAGIC) throw new MalformedError('a hello that is not from hstore');
  if (reader.u16() !== PROTOCOL_VERSION) return undefined;
  const clusterId = reader.text();
  const from = reader.u64();
  const name = reader.text();
  const to = reader.u64();
  const kind = KINDS[reader.u8()];
  const incarnation = reader.u64();
  const nonce = new Uint8Array(reader.raw(NONCE_BYTES));
  expectEnd(reader);
  if (kind === undefined) throw new MalformedError('a hello of unknown kind');
  return { clusterId, from, name, to, kind, incarnation, nonce };
}

function encodeChallenge(challenge: Challenge): Uint8Array {
  const out = new ByteWriter();
  out.u64(challenge.from);
  out.u64(challenge.incarnation);
  out.raw(challenge.nonce);
  return out.view();
}

function decodeChallenge(reader: ByteReader): Challenge {
  return { from: reader.u64(), incarnation: reader.u64(), nonce: new Uint8Array(reader.raw(NONCE_BYTES)) };
}

function decodeReason(payload: Uint8Array): RefusalReason {
  const reason = payload.length === 1 ? REASONS[payload[0]!] : undefined;
  if (reason === undefined) throw new MalformedError('a refusal for no known reason');
  return reason;
}

function expectEnd(reader: ByteReader): void {
  if (reader.remaining > 0) throw new MalformedError(`${reader.remaining} bytes too many in the handshake`);
}
