/**
 * What servers tell each other before one is let into a cluster: the card that a server shows to visitors, the invitation,
 * and the answer to it. They travel in a visit (peer-visit.ts), sealed by the secret that both know.
 *
 *   card         format u8 | cluster id text | id u64 | state u8 | has data u8 | members u32 | description text |
 *                host is known u8
 *   invitation   format u8 | cluster id text | id u64
 *   answer       format u8 | why not, or nothing: text
 */
import { ByteReader, ByteWriter, MalformedError } from '../lib/bytes.ts';
import type { NodeId } from '../raft/types.ts';
import { isDescription } from './member.ts';

/** `joining`: it waits to be let in, and is in no cluster. `alone`: a cluster of its own. */
export type CardState = 'alone' | 'joining' | 'member' | 'removed';

export interface Card {
  readonly clusterId: string;
  readonly id: NodeId;
  readonly state: CardState;
  readonly hasData: boolean;
  /** Of its cluster. */
  readonly members: number;
  /** See member.ts. */
  readonly description: string;
  /** The host in the description is more than a guess. */
  readonly hostIsKnown: boolean;
}

export interface Invitation {
  readonly clusterId: string;
  /** The server's id from now on. */
  readonly id: NodeId;
}

const FORMAT = 1;
const STATES: readonly CardState[] = ['alone', 'joining', 'member', 'removed'];
const CLUSTER_ID = /^[0-9a-f]{40}$/;

export function encodeCard(card: Card): Uint8Array {
  const { clusterId, id, state, hasData, members, description, hostIsKnown } = card;
  const out = begin();
  out.text(clusterId);
  out.u64(id);
  out.u8(STATES.indexOf(state));
  out.u8(hasData ? 1 : 0);
  out.u32(members);
  out.text(description);
  out.u8(hostIsKnown ? 1 : 0);
  return out.copy();
}

/** Throws MalformedError. */
export function decodeCard(bytes: Uint8Array): Card {
  const reader = readerOf(bytes);
  const [clusterId, id, state] = [reader.text(), reader.u64(), STATES[reader.u8()]];
  const [hasData, members, description] = [reader.u8() === 1, reader.u32(), reader.text()];
  const hostIsKnown = reader.u8() === 1;
  if (state === undefined || !CLUSTER_ID.test(clusterId) || !isDescription(description)) {
    throw new MalformedError('a card that makes no sense');
  }
  return { clusterId, id, state, hasData, members, description, hostIsKnown };
}

export function encodeInvitation({ clusterId, id }: Invitation): Uint8Array {
  const out = begin();
  out.text(clusterId);
  out.u64(id);
  return out.copy();
}

/** Throws MalformedError. */
export function decodeInvitation(bytes: Uint8Array): Invitation {
  const reader = readerOf(bytes);
  const [clusterId, id] = [reader.text(), reader.u64()];
  if (!CLUSTER_ID.test(clusterId) || id === 0) throw new MalformedError('an invitation that makes no sense');
  return { clusterId, id };
}

/** `refusal`: why not; undefined when it is accepted. */
export function encodeAnswer(refusal: string | undefined): Uint8Array {
  const out = begin();
  out.text(refusal ?? '');
  return out.copy();
}

/** Throws MalformedError. */
export function decodeAnswer(bytes: Uint8Array): string | undefined {
  const text = readerOf(bytes).text();
  return text === '' ? undefined : text;
}

function begin(): ByteWriter {
  const out = new ByteWriter(256);
  out.u8(FORMAT);
  return out;
}

function readerOf(bytes: Uint8Array): ByteReader {
  const reader = new ByteReader(bytes);
  const format = reader.u8();
  if (format !== FORMAT) throw new MalformedError(`a format ${format}, this server knows ${FORMAT}`);
  return reader;
}
