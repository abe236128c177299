/**
 * Everything that servers say to each other: Raft's messages, writes that a client gave to a server which is not the
 * leader, and what the services beside the store ask each other (service-calls.ts). What replies a client gets is never
 * among it: every server applies the whole log, so the server that took a command computes its reply itself, and no reply
 * can reach the wrong client.
 *
 *   raft        0 | message (raft/wire.ts)
 *   writes      1 | group u32 | run (kv/batch.ts, with its length before it)
 *   diskFull    2 | group u32 | full u8
 *   change      3 | group u32 | request u64 | type u8 | id u64 | description text | instead u64 (0: nobody)
 *   noChange    4 | group u32 | request u64 | reason u8
 *   call        5 | id u64 | payload
 *   answer      6 | id u64 | payload
 */

import { unreachable } from '../lib/assert.ts';
import { type ByteReader, type ByteWriter, MalformedError } from '../lib/bytes.ts';
import type { MembershipChange } from '../raft/configuration.ts';
import type { Message } from '../raft/messages.ts';
import type { NoChangeReason } from '../raft/ready.ts';
import { type GroupId, NOBODY, type NodeId } from '../raft/types.ts';
import { decodeMessage, encodeMessage, isBulk } from '../raft/wire.ts';

export type PeerMessage =
  | { readonly kind: 'raft'; readonly message: Message }
  /** A run of writes for the leader to put into its log. One that is not the leader ignores it; the sender asks again. */
  | { readonly kind: 'writes'; readonly group: GroupId; readonly run: Uint8Array }
  /** The leader's disk is full (or no longer): clients' writes should be refused where they arrive. */
  | { readonly kind: 'diskFull'; readonly group: GroupId; readonly full: boolean }
  /** Asks the leader to change the members. What comes of it the asker sees in the log. `request` names it to the asker. */
  | {
      readonly kind: 'change';
      readonly group: GroupId;
      readonly request: number;
      readonly change: MembershipChange;
    }
  /** It was not begun. */
  | {
      readonly kind: 'noChange';
      readonly group: GroupId;
      readonly request: number;
      readonly reason: NoChangeReason;
    }
  | ServiceMessage;

/** Of a service to the same service of another server. `id` names the question to the asker. */
export interface ServiceMessage {
  readonly kind: 'call' | 'answer';
  readonly id: number;
  readonly payload: Uint8Array;
}

export function isServiceMessage(m: PeerMessage): m is ServiceMessage {
  return m.kind === 'call' || m.kind === 'answer';
}

const CHANGES: readonly MembershipChange['type'][] = ['add', 'promote', 'remove', 'describe'];
const REASONS: readonly NoChangeReason[] = [
  ...(['not-leader', 'not-ready', 'pending', 'transferring'] as const),
  ...(['unknown', 'already', 'removed', 'lastVoter', 'unchanged', 'tooMany'] as const),
];

/** Sends to other servers, now or never: what is lost on the way is noticed and sent again by those who need it. */
export interface PeerTransport {
  send(peer: NodeId, messages: readonly PeerMessage[]): void;
}

/** Whether it must not share a connection with heartbeats and votes, which it could delay. */
export function isBulkMessage(m: PeerMessage): boolean {
  return m.kind === 'writes' || isServiceMessage(m) || (m.kind === 'raft' && isBulk(m.message));
}

export function encodePeerMessage(out: ByteWriter, m: PeerMessage): void {
  switch (m.kind) {
    case 'raft':
      out.u8(0);
      encodeMessage(out, m.message);
      return;
    case 'writes':
      out.u8(1);
      out.u32(m.group);
      out.bytes(m.run);
      return;
    case 'diskFull':
      out.u8(2);
      out.u32(m.group);
      out.u8(m.full ? 1 : 0);
      return;
    case 'change':
      out.u8(3);
      out.u32(m.group);
      out.u64(m.request);
      return encodeChange(out, m.change);
    case 'noChange':
      out.u8(4);
      out.u32(m.group);
      out.u64(m.request);
      out.u8(REASONS.indexOf(m.reason));
      return;
    case 'call':
    case 'answer':
      out.u8(m.kind === 'call' ? 5 : 6);
      out.u64(m.id);
      out.bytes(m.payload);
      return;
    default:
      unreachable(m);
  }
}

/** Throws MalformedError. Bulk parts are views of what the reader reads. */
export function decodePeerMessage(reader: ByteReader): PeerMessage {
  const kind = reader.u8();
  switch (kind) {
    case 0:
      return { kind: 'raft', message: decodeMessage(reader) };
    case 1:
      return { kind: 'writes', group: reader.u32(), run: reader.bytes() };
    case 2:
      return { kind: 'diskFull', group: reader.u32(), full: reader.u8() === 1 };
    case 3:
      return { kind: 'change', group: reader.u32(), request: reader.u64(), change: decodeChange(reader) };
    case 4: {
      const [group, request, reason] = [reader.u32(), reader.u64(), REASONS[reader.u8()]];
      if (reason === undefined) throw new MalformedError('a change refused for no known reason');
      return { kind: 'noChange', group, request, reason };
    }
    case 5:
    case 6:
      return { kind: kind === 5 ? 'call' : 'answer', id: reader.u64(), payload: reader.bytes() };
    default:
      throw new MalformedError(`a peer message of unknown kind ${kind}`);
  }
}

function encodeChange(out: ByteWriter, change: MembershipChange): void {
  out.u8(CHANGES.indexOf(change.type));
  out.u64(change.id);
  out.text('description' in change ? change.description : '');
  out.u64(change.type === 'add' ? (change.instead ?? NOBODY) : NOBODY);
}

function decodeChange(reader: ByteReader): MembershipChange {
  const type = CHANGES[reader.u8()];
  const [id, description, instead] = [reader.u64(), reader.text(), reader.u64()];
  switch (type) {
    case 'add':
      return { type, id, description, ...(instead === NOBODY ? {} : { instead }) };
    case 'describe':
      return { type, id, description };
    case 'promote':
    case 'remove':
      return { type, id };
    case undefined:
      throw new MalformedError('a change of the members of unknown type');
    default:
      return unreachable(type);
  }
}
