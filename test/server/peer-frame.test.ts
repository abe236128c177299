import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteReader, MalformedError } from '../../src/lib/bytes.ts';
import {
  encodeFrame,
  type Frame,
  FrameReader,
  forKeeping,
  MessageFrames,
  messageBytes,
} from '../../src/server/peer-frame.ts';
import { decodePeerMessage, type PeerMessage } from '../../src/server/peer-message.ts';
import { append, heartbeat, numberOf } from './peer-world.ts';

const text = (frame: Frame | undefined) => `${frame?.type} ${Buffer.from(frame?.payload ?? []).toString()}`;

function readAll(reader: FrameReader, chunks: readonly Uint8Array[]): Frame[] {
  const frames: Frame[] = [];
  for (const chunk of chunks) {
    reader.feed(chunk);
    for (let frame = reader.next(); frame !== undefined; frame = reader.next()) frames.push(frame);
  }
  return frames;
}

/** `bytes` cut at the given places. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  const chunks: Uint8Array[] = [];
  let start = 0;
  for (const end of [...ends, bytes.length]) {
    if (end > start) chunks.push(bytes.slice(start, end));
    start = Math.max(start, end);
  }
  return chunks;
}

const THREE = Buffer.concat([
  encodeFrame('hello', Buffer.from('first')),
  encodeFrame('ping'),
  encodeFrame('proof', Buffer.from('the third')),
]);
const THREE_TEXTS = ['hello first', 'ping ', 'proof the third'];

test('frames are read alike from one chunk, byte by byte, and cut in two at every byte', () => {
  expect(readAll(new FrameReader(1000), [THREE]).map(text)).toEqual(THREE_TEXTS);
  const bytes = [...THREE].map((byte) => Uint8Array.of(byte));
  expect(readAll(new FrameReader(1000), bytes).map(text)).toEqual(THREE_TEXTS);
  for (let at = 0; at <= THREE.length; at++) {
    expect(readAll(new FrameReader(1000), cut(THREE, [at])).map(text)).toEqual(THREE_TEXTS);
  }
});

test('messages are read alike however their frames are cut', () => {
  const message = fc.oneof(
    fc.nat(1000).map((n) => heartbeat(1, 2, n)),
    fc.tuple(fc.integer({ min: 1, max: 1000 }), fc.nat(5000)).map(([n, bytes]) => append(1, 2, n, bytes)),
  );
  const places = fc.array(fc.nat(), { maxLength: 20 });
  fc.assert(
    fc.property(fc.array(message, { minLength: 1, maxLength: 30 }), places, (messages, at) => {
      const frames = new MessageFrames();
      for (const each of messages) frames.add(each, messageBytes(each));
      const read = readAll(new FrameReader(1 << 20), cut(frames.take(), at));
      expect(read.flatMap(decodeAll)).toEqual(messages.map(plain));
    }),
    { numRuns: 200 },
  );
});

/** Entries' data as plain arrays: how their memory is held is not compared. */
function plain(message: PeerMessage): PeerMessage {
  return JSON.parse(
    JSON.stringify(message, (_, value) => (value instanceof Uint8Array ? [...value] : value)),
  );
}

function decodeAll(frame: Frame): PeerMessage[] {
  const reader = new ByteReader(frame.payload);
  const messages: PeerMessage[] = [];
  while (reader.remaining > 0) {
    const message = decodePeerMessage(reader);
    if (message.kind !== 'raft' || message.message.type !== 'AppendEntries') messages.push(plain(message));
    else {
      const entries = message.message.entries.map((entry) => ({
        ...entry,
        data: new Uint8Array(entry.data),
      }));
      messages.push(plain({ kind: 'raft', message: { ...message.message, entries } }));
    }
  }
  return messages;
}

test('a turn of messages makes frames of 256 KiB at most, and a larger message one of its own', () => {
  const frames = new MessageFrames();
  const sizes = [...Array.from({ length: 40 }, () => 20_000), 3_000_000, 10, 10];
  sizes.forEach((size, i) => {
    const message = append(1, 2, i + 1, size);
    frames.add(message, messageBytes(message));
  });
  const read = readAll(new FrameReader(4 << 20), [frames.take()]);
  expect(read.flatMap(decodeAll).map(numberOf)).toEqual(sizes.map((_, i) => i + 1));
  const bodies = read.map(({ payload }) => payload.length);
  expect(bodies.filter((bytes) => bytes > 256 << 10)).toHaveLength(1);
  expect(read).toHaveLength(6);
  expect(frames.bytes).toBe(0);
  expect(frames.take()).toHaveLength(0);
});

test('the description in a change of the members is counted, in whatever letters it is', () => {
  const change = { type: 'describe', id: 7, description: '\u4e09'.repeat(1000) } as const;
  const message: PeerMessage = { kind: 'change', group: 1, request: 1, change };
  const frames = new MessageFrames();
  frames.add(message, messageBytes(message));
  expect(readAll(new FrameReader(1 << 20), [frames.take()]).flatMap(decodeAll)).toEqual([message]);
});

test('a length over the bound is refused by the length alone', () => {
  const reader = new FrameReader(1000);
  reader.feed(Uint8Array.of(0xe9, 3, 0, 0, 0, 0, 0));
  expect(reader.next()).toBeUndefined();
  reader.feed(Uint8Array.of(0));
  expect(() => reader.next()).toThrow(MalformedError);
  const huge = new FrameReader(96 << 20);
  huge.feed(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0));
  expect(() => huge.next()).toThrow('a frame of 4294967295 bytes');
});

test('a frame of no bytes, of unknown type, or with any bit flipped behind its length is refused', () => {
  expect(() => readAll(new FrameReader(1000), [new Uint8Array(9)])).toThrow(MalformedError);
  const frame = encodeFrame('hello', Buffer.from('some payload'));
  for (let bit = 32; bit < frame.length * 8; bit++) {
    const flipped = Uint8Array.from(frame);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    expect(() => readAll(new FrameReader(1000), [flipped])).toThrow(MalformedError);
  }
});

test('random bytes end in a MalformedError or in waiting, never in anything else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4000 }), fc.array(fc.nat()), (bytes, places) => {
      try {
        for (const frame of readAll(new FrameReader(1000), cut(bytes, places))) decodeAll(frame);
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedError);
      }
    }),
    { numRuns: 500 },
  );
});

test('a frame in one chunk is not copied, and one in many takes exactly its own memory', () => {
  const chunk = Uint8Array.from(THREE);
  const [first] = readAll(new FrameReader(1000), [chunk]);
  expect(first!.payload.buffer).toBe(chunk.buffer);
  const frames = new MessageFrames();
  const message = append(1, 2, 1, 1_000_000);
  frames.add(message, messageBytes(message));
  const bytes = frames.take();
  const chunks = cut(
    bytes,
    Array.from({ length: 100 }, (_, i) => i * 9973),
  );
  const [joined] = readAll(new FrameReader(2 << 20), chunks);
  expect(joined!.payload.buffer.byteLength).toBe(bytes.length);
});

test('what is kept does not keep a much larger chunk alive', () => {
  const chunk = new Uint8Array(64 << 10).fill(7);
  const small = forKeeping(chunk.subarray(100, 200));
  expect(small).toEqual(new Uint8Array(100).fill(7));
  expect(small.buffer.byteLength).toBe(100);
  expect(forKeeping(chunk.subarray(100)).buffer).toBe(chunk.buffer);
});
