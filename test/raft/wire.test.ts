/** Raft's messages as bytes: what is encoded comes back the same, and what is cut or strange is refused. */
import { describe, expect, test } from 'vitest';
import { ByteReader, ByteWriter, MalformedError } from '../../src/lib/bytes.ts';
import type { Message } from '../../src/raft/messages.ts';
import type { Entry } from '../../src/raft/types.ts';
import { decodeMessage, encodeMessage, isBulk } from '../../src/raft/wire.ts';
import { SimRandom } from '../sim/random.ts';

const TYPES: readonly Message['type'][] = [
  ...(['PreVote', 'PreVoteResponse', 'RequestVote', 'RequestVoteResponse', 'AppendEntries'] as const),
  ...(['AppendEntriesResponse', 'Heartbeat', 'HeartbeatResponse', 'ReadIndex', 'ReadIndexResponse'] as const),
  ...(['TransferLeadership', 'TimeoutNow'] as const),
];

function anyMessage(random: SimRandom, type: Message['type']): Message {
  const number = () =>
    random.pick([0, 1, random.below(1000), random.below(2 ** 48), Number.MAX_SAFE_INTEGER - 100]);
  const yes = () => random.chance(0.5);
  const envelope = { group: random.below(2 ** 32), from: number(), to: number(), term: number() };
  switch (type) {
    case 'PreVote':
      return { type, ...envelope, lastLogIndex: number(), lastLogTerm: number() };
    case 'RequestVote':
      return { type, ...envelope, lastLogIndex: number(), lastLogTerm: number(), leadershipTransfer: yes() };
    case 'PreVoteResponse':
    case 'RequestVoteResponse':
      return { type, ...envelope, voteGranted: yes() };
    case 'AppendEntries': {
      const prevLogIndex = number();
      const entries = Array.from({ length: random.below(5) }, (_, i): Entry => {
        const data = Buffer.from(random.bytes(random.below(50)));
        return { index: prevLogIndex + 1 + i, term: number(), type: yes() ? 'data' : 'noop', data };
      });
      return { type, ...envelope, prevLogIndex, prevLogTerm: number(), entries, leaderCommit: number() };
    }
    case 'AppendEntriesResponse': {
      const agree = { conflictIndex: number(), conflictTerm: number() };
      return { type, ...envelope, success: yes(), prevLogIndex: number(), matchIndex: number(), ...agree };
    }
    case 'Heartbeat':
      return {
        ...{ type, ...envelope, leaderCommit: number(), readRound: number() },
        ...{ configurationIndex: number(), allMatchedIndex: number() },
      };
    case 'HeartbeatResponse':
      return { type, ...envelope, readRound: number() };
    case 'ReadIndex':
      return { type, ...envelope, context: number() };
    case 'ReadIndexResponse':
      return { type, ...envelope, context: number(), index: number() };
    case 'TransferLeadership':
    case 'TimeoutNow':
      return { type, ...envelope };
  }
}

function encoded(...messages: Message[]): Uint8Array {
  const out = new ByteWriter();
  for (const message of messages) encodeMessage(out, message);
  return out.copy();
}

describe.each(TYPES)('%s', (type) => {
  test('comes back as it was, alone and one after the other', () => {
    const random = new SimRandom(7);
    for (let i = 0; i < 200; i++) {
      const [first, second] = [anyMessage(random, type), anyMessage(random, random.pick(TYPES))];
      const reader = new ByteReader(encoded(first, second));
      expect(decodeMessage(reader)).toEqual(first);
      expect(decodeMessage(reader)).toEqual(second);
      expect(reader.remaining).toBe(0);
    }
  });

  test('cut at any byte is refused', () => {
    const random = new SimRandom(8);
    for (let i = 0; i < 20; i++) {
      const bytes = encoded(anyMessage(random, type));
      for (let cut = 0; cut < bytes.length; cut++) {
        expect(() => decodeMessage(new ByteReader(bytes.subarray(0, cut))), `cut at ${cut}`).toThrow(
          MalformedError,
        );
      }
    }
  });

  test('with any byte changed is refused or is some other message, and nothing else happens', () => {
    const random = new SimRandom(9);
    for (let i = 0; i < 20; i++) {
      const bytes = encoded(anyMessage(random, type));
      for (let at = 0; at < bytes.length; at++) {
        const changed = bytes.slice();
        changed[at] = random.below(256);
        try {
          expect(TYPES).toContain(decodeMessage(new ByteReader(changed)).type);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }
    }
  });
});

test('a message or an entry of unknown type is refused', () => {
  const bytes = encoded({ type: 'TimeoutNow', group: 1, from: 1, to: 2, term: 3 });
  bytes[0] = TYPES.length;
  expect(() => decodeMessage(new ByteReader(bytes))).toThrow(MalformedError);
});

test('only AppendEntries with entries take the way of bulk', () => {
  const random = new SimRandom(10);
  for (let i = 0; i < 300; i++) {
    const message = anyMessage(random, random.pick(TYPES));
    expect(isBulk(message)).toBe(message.type === 'AppendEntries' && message.entries.length > 0);
  }
});
