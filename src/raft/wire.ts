/**
 * Raft's messages as bytes. A frame of the peer link (server/peer-frame.ts) carries any number of them, in a row.
 *
 *   type u8 | group u32 | from u64 | to u64 | term u64 | the fields of messages.ts in their order
 *
 * A peer has proved that it knows the cluster's secret, but not that its memory is sound: what does not decode is a
 * MalformedError, and the link is closed.
 */

import { unreachable } from '../lib/assert.ts';
import { type ByteReader, type ByteWriter, MalformedError } from '../lib/bytes.ts';
import { decodeConfiguration } from './configuration.ts';
import type { AppendEntries, Message } from './messages.ts';
import type { Entry } from './types.ts';
import { decodeEntry, encodeEntry } from './wal-format.ts';

const TYPES: readonly Message['type'][] = [
  'PreVote',
  'PreVoteResponse',
  'RequestVote',
  'RequestVoteResponse',
  'AppendEntries',
  'AppendEntriesResponse',
  'Heartbeat',
  'HeartbeatResponse',
  'ReadIndex',
  'ReadIndexResponse',
  'TransferLeadership',
  'TimeoutNow',
];

/** Whether the message may be large: it then takes the connection on which it delays no heartbeat. */
export function isBulk(message: Message): boolean {
  return message.type === 'AppendEntries' && message.entries.length > 0;
}

export function encodeMessage(out: ByteWriter, m: Message): void {
  out.u8(TYPES.indexOf(m.type));
  out.u32(m.group);
  out.u64(m.from);
  out.u64(m.to);
  out.u64(m.term);
  switch (m.type) {
    case 'PreVote':
      out.u64(m.lastLogIndex);
      out.u64(m.lastLogTerm);
      return;
    case 'RequestVote':
      out.u64(m.lastLogIndex);
      out.u64(m.lastLogTerm);
      out.u8(m.leadershipTransfer ? 1 : 0);
      return;
    case 'PreVoteResponse':
    case 'RequestVoteResponse':
      out.u8(m.voteGranted ? 1 : 0);
      return;
    case 'AppendEntries':
      out.u64(m.prevLogIndex);
      out.u64(m.prevLogTerm);
      out.u32(m.entries.length);
      for (const entry of m.entries) encodeEntry(out, entry);
      out.u64(m.leaderCommit);
      return;
    case 'AppendEntriesResponse':
      out.u8(m.success ? 1 : 0);
      out.u64(m.prevLogIndex);
      out.u64(m.matchIndex);
      out.u64(m.conflictIndex);
      out.u64(m.conflictTerm);
      return;
    case 'Heartbeat':
      out.u64(m.leaderCommit);
      out.u64(m.readRound);
      out.u64(m.configurationIndex);
      out.u64(m.allMatchedIndex);
      return;
    case 'HeartbeatResponse':
      out.u64(m.readRound);
      return;
    case 'ReadIndex':
      out.u64(m.context);
      return;
    case 'ReadIndexResponse':
      out.u64(m.context);
      out.u64(m.index);
      return;
    case 'TransferLeadership':
    case 'TimeoutNow':
      return;
    default:
      unreachable(m);
  }
}

/** Entries' data are views of what the reader reads; the log keeps them, so a frame's bytes are never used again. */
export function decodeMessage(reader: ByteReader): Message {
  const type = TYPES[reader.u8()];
  const envelope = { group: reader.u32(), from: reader.u64(), to: reader.u64(), term: reader.u64() };
  switch (type) {
    case 'PreVote':
      return { type, ...envelope, lastLogIndex: reader.u64(), lastLogTerm: reader.u64() };
    case 'RequestVote': {
      const [lastLogIndex, lastLogTerm] = [reader.u64(), reader.u64()];
      return { type, ...envelope, lastLogIndex, lastLogTerm, leadershipTransfer: reader.u8() === 1 };
    }
    case 'PreVoteResponse':
    case 'RequestVoteResponse':
      return { type, ...envelope, voteGranted: reader.u8() === 1 };
    case 'AppendEntries':
      return decodeAppendEntries(reader, envelope);
    case 'AppendEntriesResponse': {
      const success = reader.u8() === 1;
      const [prevLogIndex, matchIndex] = [reader.u64(), reader.u64()];
      const [conflictIndex, conflictTerm] = [reader.u64(), reader.u64()];
      return { type, ...envelope, success, prevLogIndex, matchIndex, conflictIndex, conflictTerm };
    }
    case 'Heartbeat': {
      const [leaderCommit, readRound] = [reader.u64(), reader.u64()];
      const [configurationIndex, allMatchedIndex] = [reader.u64(), reader.u64()];
      return { type, ...envelope, leaderCommit, readRound, configurationIndex, allMatchedIndex };
    }
    case 'HeartbeatResponse':
      return { type, ...envelope, readRound: reader.u64() };
    case 'ReadIndex':
      return { type, ...envelope, context: reader.u64() };
    case 'ReadIndexResponse':
      return { type, ...envelope, context: reader.u64(), index: reader.u64() };
    case 'TransferLeadership':
    case 'TimeoutNow':
      return { type, ...envelope };
    case undefined:
      throw new MalformedError('a message of unknown type');
    default:
      return unreachable(type);
  }
}

type Envelope = Pick<Message, 'group' | 'from' | 'to' | 'term'>;

function decodeAppendEntries(reader: ByteReader, envelope: Envelope): AppendEntries {
  const [prevLogIndex, prevLogTerm] = [reader.u64(), reader.u64()];
  const count = reader.u32();
  const entries: Entry[] = [];
  for (let i = 1; i <= count; i++) {
    const entry = decodeEntry(reader, prevLogIndex + i);
    // Here it can still be refused; in the log it would be too late.
    if (entry.type === 'configuration') decodeConfiguration(entry.data);
    entries.push(entry);
  }
  const leaderCommit = reader.u64();
  return { type: 'AppendEntries', ...envelope, prevLogIndex, prevLogTerm, entries, leaderCommit };
}
