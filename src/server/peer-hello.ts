/**
 * What the two sides of a handshake say of themselves, as bytes, and the seals over it. The order in which it is said,
 * and what follows from it, is in peer-handshake.ts.
 *
 *   hello      magic u32 | version u16 | cluster text | from u64 | name text | host text | port u16 | peer port u16 |
 *              to u64 | kind u8 | incarnation u64 | nonce
 *   challenge  from u64 | incarnation u64 | nonce
 *
 * A seal is HMAC-SHA256 under the secret over both whole, so that nothing in them can be exchanged: who speaks, to whom,
 * and where the dialler says that it can be reached. Both nonces are in it, so that a recording of one handshake is worth
 * nothing in the next. The labels keep one side's seal from being reflected as the other's.
 */
import { assert } from '../lib/assert.ts';
import { ByteReader, ByteWriter, fromLatin1, MalformedError } from '../lib/bytes.ts';
import { HMAC_BYTES, hmacSha256 } from '../lib/hmac.ts';
import type { NodeId } from '../raft/types.ts';

export const PROTOCOL_VERSION = 3;
/** "hstP", read as a little-endian number. */
const MAGIC = 0x50747368;
export const NONCE_BYTES = 16;
export const SEAL_BYTES = HMAC_BYTES;
/** Of the cluster's id, the server's name and its host together, so that a hello stays a small frame. */
const NAMES_BYTES_MAX = 768;
const NODE_ID_BOUND = 2 ** 48;
/** Names and addresses of IPv4 and IPv6, with a zone. */
const HOST = /^[0-9A-Za-z._:%-]*$/;

/**
 * `control` and `bulk`: the two connections for messages that a server opens to each peer, because what may be large
 * must not delay what is urgent. `stream`: one transfer between two servers. `visit`: a server asks another one, of
 * whatever cluster, who it is.
 */
export type LinkKind = 'control' | 'bulk' | 'stream' | 'visit';
export type MessageKind = Extract<LinkKind, 'control' | 'bulk'>;
const KINDS: readonly LinkKind[] = ['control', 'bulk', 'stream', 'visit'];

/** The intended peer of a visit: whoever is there. */
export const ANYBODY: NodeId = 0;

/** Who this server is to its peers. */
export interface PeerIdentity {
  readonly clusterId: string;
  readonly id: NodeId;
  readonly name: string;
  /** Random, new with every start of the process. */
  readonly incarnation: number;
  readonly secret: string;
}

/** Where a server says that it can be reached. */
export interface AdvertisedAddress {
  /** Empty: wherever its connections come from. */
  readonly host: string;
  /** For clients. 0: unknown. */
  readonly port: number;
  /** 0: no peer can reach it. */
  readonly peerPort: number;
}

export interface DiallerIdentity extends PeerIdentity {
  readonly address: AdvertisedAddress;
  /** This process began without any data. */
  readonly fresh: boolean;
}

export interface Hello {
  readonly clusterId: string;
  readonly from: NodeId;
  readonly name: string;
  readonly address: AdvertisedAddress;
  readonly to: NodeId;
  readonly kind: LinkKind;
  readonly incarnation: number;
  /** The dialler's process began without any data. */
  readonly fresh: boolean;
  readonly nonce: Uint8Array;
}

export interface Challenge {
  readonly from: NodeId;
  readonly incarnation: number;
  readonly nonce: Uint8Array;
}

export function checkIdentity({ clusterId, id, name, incarnation, address }: DiallerIdentity): void {
  const names = new ByteWriter();
  for (const text of [clusterId, name, address.host]) names.text(text);
  assert(
    names.length <= NAMES_BYTES_MAX,
    "a cluster's id, a server's name and its host are short",
    names.length,
  );
  assert(HOST.test(address.host), 'a host is a name or an address', address.host);
  for (const port of [address.port, address.peerPort]) {
    assert(Number.isInteger(port) && port >= 0 && port < 65_536, 'a port has 16 bits', port);
  }
  assert(id >= 1 && id < NODE_ID_BOUND, "a server's id is a number below 2^48", id);
  assert(
    incarnation >= 0 && incarnation < NODE_ID_BOUND,
    'an incarnation is a number below 2^48',
    incarnation,
  );
}

// All of one length: as a hello tells its own, no two inputs of a seal look the same.
const LABELS = {
  dialler: fromLatin1('hstore dialler '),
  acceptor: fromLatin1('hstore acceptor'),
  removed: fromLatin1('hstore removed '),
} as const;

/** `removed`: an acceptor's, who tells the dialler that its cluster has removed it. */
export type Sealer = keyof typeof LABELS;

export function seal(secret: string, sealer: Sealer, hello: Hello, challenge: Challenge): Uint8Array {
  return hmacSha256(secret, LABELS[sealer], encodeHello(hello), encodeChallenge(challenge));
}

export function encodeHello(hello: Hello): Uint8Array {
  const { host, port, peerPort } = hello.address;
  const out = new ByteWriter();
  out.u32(MAGIC);
  out.u16(PROTOCOL_VERSION);
  out.text(hello.clusterId);
  out.u64(hello.from);
  out.text(hello.name);
  out.text(host);
  out.u16(port);
  out.u16(peerPort);
  out.u64(hello.to);
  out.u8(KINDS.indexOf(hello.kind));
  out.u64(hello.incarnation);
  out.u8(hello.fresh ? 1 : 0);
  out.raw(hello.nonce);
  return out.view();
}

/**
 * Undefined when it is of another version of the protocol: of that, only magic and version are known. Throws
 * MalformedError.
 */
export function decodeHello(payload: Uint8Array): Hello | undefined {
  const reader = new ByteReader(payload);
  if (reader.u32() !== MAGIC) throw new MalformedError('a hello that is not from hstore');
  if (reader.u16() !== PROTOCOL_VERSION) return undefined;
  const clusterId = reader.text();
  const from = reader.u64();
  const name = reader.text();
  const address = { host: reader.text(), port: reader.u16(), peerPort: reader.u16() };
  const to = reader.u64();
  const kind = KINDS[reader.u8()];
  const incarnation = reader.u64();
  const freshness = reader.u8();
  if (freshness > 1) throw new MalformedError('a hello that is neither fresh nor not');
  const nonce = new Uint8Array(reader.raw(NONCE_BYTES));
  expectEnd(reader);
  if (kind === undefined) throw new MalformedError('a hello of unknown kind');
  if (from === ANYBODY) throw new MalformedError('a hello from nobody');
  if ((kind === 'visit') !== (to === ANYBODY)) throw new MalformedError(`a hello of kind ${kind} to ${to}`);
  if (!HOST.test(address.host)) throw new MalformedError('a hello from an impossible host');
  return { clusterId, from, name, address, to, kind, incarnation, fresh: freshness === 1, nonce };
}

export function encodeChallenge(challenge: Challenge): Uint8Array {
  const out = new ByteWriter();
  out.u64(challenge.from);
  out.u64(challenge.incarnation);
  out.raw(challenge.nonce);
  return out.view();
}

/** Throws MalformedError. */
export function decodeChallenge(payload: Uint8Array): Challenge {
  const reader = new ByteReader(payload);
  const from = reader.u64();
  const incarnation = reader.u64();
  const nonce = new Uint8Array(reader.raw(NONCE_BYTES));
  expectEnd(reader);
  return { from, incarnation, nonce };
}

function expectEnd(reader: ByteReader): void {
  if (reader.remaining > 0) throw new MalformedError(`${reader.remaining} bytes too many in the handshake`);
}
