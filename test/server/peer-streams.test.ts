/** Streams between servers: bytes in order, held back at will, ended in order or not at all. */
import { expect, test } from 'vitest';
import { encodeFrame, STREAM_PAYLOAD_BYTES_MAX } from '../../src/server/peer-frame.ts';
import type { PeerLinksOptions } from '../../src/server/peer-links.ts';
import type { PeerStream, PeerStreamEvents } from '../../src/server/peer-stream.ts';
import { SimRandom } from '../sim/random.ts';
import { append, PeerWorld, peersOf, shakeHands, type TestServer } from './peer-world.ts';

/** One side of a stream, and all that it was told. */
class Side implements PeerStreamEvents {
  stream: PeerStream | undefined;
  opened = false;
  readonly frames: Uint8Array[] = [];
  drains = 0;
  /** At most one. */
  readonly closes: (string | null)[] = [];
  onFrameToo: (payload: Uint8Array) => void = () => {};

  onOpen(stream: PeerStream): void {
    expect(stream).toBe(this.stream);
    this.opened = true;
  }

  onFrame(payload: Uint8Array): void {
    expect(this.closes).toEqual([]);
    this.frames.push(payload);
    this.onFrameToo(payload);
  }

  onDrain(): void {
    expect(this.closes).toEqual([]);
    this.drains++;
  }

  onClose(reason: string | null): void {
    this.closes.push(reason);
  }

  get bytes(): number {
    return this.frames.reduce((sum, { length }) => sum + length, 0);
  }
}

class StreamWorld extends PeerWorld {
  readonly accepted: Side[] = [];
  onAccept: (side: Side) => void = () => {};

  readonly accepting: Partial<PeerLinksOptions> = {
    onStream: (stream) => {
      const side = new Side();
      side.stream = stream;
      this.accepted.push(side);
      this.onAccept(side);
      return side;
    },
  };

  open(from: TestServer, to: number): Side {
    const side = new Side();
    side.stream = from.links.openStream(to, side);
    expect(side.opened).toBe(false);
    return side;
  }

  /** Server 1 has opened a stream to server 2. */
  async opened(
    options: Partial<PeerLinksOptions> = {},
  ): Promise<{ a: TestServer; b: TestServer; near: Side; far: Side }> {
    const [a, b] = await this.pair({ ...this.accepting, ...options });
    const near = this.open(a, 2);
    await this.until(() => near.opened);
    return { a, b, near, far: this.accepted.at(-1)! };
  }
}

const payloadOf = (number: number, bytes: number) =>
  Uint8Array.from({ length: bytes }, (_, i) => (number * 31 + i) & 0xff);

test('frames of any size go both ways in order, and both sides learn of the orderly end', async () => {
  const world = new StreamWorld();
  const { near, far } = await world.opened();
  expect([near.stream!.peer, far.stream!.peer]).toEqual([2, 1]);
  const sizes = [0, 1, 100, 70_000, STREAM_PAYLOAD_BYTES_MAX, 5];
  const payloads = sizes.map((bytes, i) => payloadOf(i, bytes));
  far.onFrameToo = (payload) => far.stream!.send(payload.slice(0, 10));
  for (const payload of payloads) {
    near.stream!.send(payload);
    // Sent is sent.
    payload.fill(payload[0] ?? 0, 0, 0);
  }
  near.stream!.send(Uint8Array.of(7));
  await world.until(() => near.frames.length === sizes.length + 1, 60_000);
  near.stream!.end();
  expect(near.closes).toEqual([]);
  await world.run(1000);
  expect(
    far.frames.map((each) => Buffer.compare(each, payloads[far.frames.indexOf(each)] ?? Uint8Array.of(7))),
  ).toEqual(Array.from({ length: sizes.length + 1 }, () => 0));
  expect(near.frames.map(({ length }) => length)).toEqual([0, 1, 10, 10, 10, 5, 1]);
  expect([near.closes, far.closes]).toEqual([[null], [null]]);
  expect(near.drains).toBeGreaterThan(0);
  // Four connections for messages are left.
  expect(world.streams.between(1, 2)).toHaveLength(4);
});

test('what was sent before the end arrives, however slowly the other side takes it', async () => {
  const world = new StreamWorld();
  const { near, far } = await world.opened();
  for (let i = 0; i < 20; i++) near.stream!.send(payloadOf(i, 100_000));
  near.stream!.end();
  far.onFrameToo = () => {
    far.stream!.pause();
    world.scheduler.after(4000, undefined, () => far.stream!.resume());
  };
  await world.run(60_000);
  expect(near.closes).toEqual([]);
  await world.run(40_000);
  expect(far.bytes).toBe(2_000_000);
  expect([near.closes, far.closes]).toEqual([[null], [null]]);
});

test('nothing is handed over between pause and resume, and then everything, in order', async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const world = new StreamWorld(seed);
    const random = new SimRandom(seed);
    const { near, far } = await world.opened();
    let paused = false;
    far.onFrameToo = () => {
      expect(paused).toBe(false);
      if (!random.chance(0.3)) return;
      paused = true;
      far.stream!.pause();
      world.scheduler.after(random.between(0, 50), undefined, () => {
        paused = false;
        far.stream!.resume();
        if (random.chance(0.2)) far.stream!.pause();
        far.stream!.resume();
      });
    };
    for (let i = 0; i < 200; i++) {
      near.stream!.send(payloadOf(i, random.below(5000)).fill(i, 0, 1));
      if (random.chance(0.1)) await world.run(5);
    }
    near.stream!.end();
    await world.run(20_000);
    expect(far.frames).toHaveLength(200);
    expect(far.frames.every((frame, i) => frame.length === 0 || frame[0] === i)).toBe(true);
    expect([near.closes, far.closes]).toEqual([[null], [null]]);
  }
});

test('a large transfer delays no message', async () => {
  const world = new StreamWorld();
  const { a, b, near, far } = await world.opened();
  for (let i = 0; i < 10; i++) near.stream!.send(payloadOf(i, STREAM_PAYLOAD_BYTES_MAX));
  const sentMs = world.scheduler.nowMs;
  a.links.send(2, [append(1, 2, 1, 1000)]);
  await world.until(() => b.received.length === 1);
  expect(b.received[0]!.atMs - sentMs).toBeLessThan(10);
  expect(far.frames.length).toBeLessThan(10);
});

test('small frames that came in one chunk are not held by it', async () => {
  const world = new StreamWorld();
  const { near, far } = await world.opened();
  world.roads.cut(1, 2);
  for (let i = 0; i < 100; i++) near.stream!.send(payloadOf(i, 20));
  world.roads.mendAll();
  await world.until(() => far.frames.length === 100);
  expect(Math.max(...far.frames.map(({ buffer }) => buffer.byteLength))).toBeLessThan(1000);
});

test('a stream to nobody, or to a peer that is down, or accepts none, is closed and not opened', async () => {
  const world = new StreamWorld();
  const a = await world.server(1);
  await world.server(2);
  const sides = [99, 3, 2].map((to) => world.open(a, to));
  expect(sides.map(({ closes }) => closes.length)).toEqual([0, 0, 0]);
  await world.run(5000);
  expect(sides.map(({ opened }) => opened)).toEqual([false, false, false]);
  expect(sides[0]!.closes).toEqual(['no such peer']);
  expect(sides[1]!.closes).toHaveLength(1);
  expect(sides[2]!.closes).toEqual(['the peer refuses: not served']);
});

test('a stream to a machine without power is given up', async () => {
  const world = new StreamWorld();
  const [a, b] = await world.pair(world.accepting);
  world.crash(b, 'power lost');
  const side = world.open(a, 2);
  await world.run(3000);
  expect(side.closes).toEqual(['no answer to the dial']);
});

test('destroying closes both sides: here without a reason, there with one', async () => {
  const world = new StreamWorld();
  const { near, far } = await world.opened();
  near.stream!.send(payloadOf(1, 500_000));
  near.stream!.destroy();
  near.stream!.destroy();
  near.stream!.send(payloadOf(1, 5));
  near.stream!.end();
  near.stream!.resume();
  expect(near.closes).toEqual([]);
  await world.run(1000);
  expect(near.closes).toEqual([null]);
  expect(far.closes).toHaveLength(1);
  expect(far.closes[0]).not.toBe(null);
});

test('a stream that is destroyed or ended before it is open is never opened', async () => {
  const world = new StreamWorld();
  const [a] = await world.pair(world.accepting);
  const sides = [world.open(a, 2), world.open(a, 2)];
  sides[0]!.stream!.destroy();
  sides[1]!.stream!.end();
  await world.run(1000);
  expect(sides.map(({ opened, closes }) => [opened, closes])).toEqual([
    [false, [null]],
    [false, [null]],
  ]);
  expect(world.accepted).toEqual([]);
});

test('a side whose process ends has not ended the stream in order', async () => {
  for (const how of ['killed', 'power lost'] as const) {
    const world = new StreamWorld();
    const { a, b, near, far } = await world.opened();
    near.stream!.send(payloadOf(1, 1000));
    near.stream!.end();
    world.crash(b, how);
    await world.run(40_000);
    expect(near.closes).toHaveLength(1);
    expect(near.closes[0]).not.toBe(null);
    expect(far.closes).toEqual([]);
    expect(a.links.status(2).connected).toBe(false);
  }
});

test('a silent side is given up after half a minute, one that is held back is not', async () => {
  const world = new StreamWorld();
  const { near, far, b } = await world.opened();
  far.stream!.pause();
  for (let i = 0; i < 10; i++) near.stream!.send(payloadOf(i, 100_000));
  await world.run(120_000);
  expect([near.closes, far.closes]).toEqual([[], []]);
  far.stream!.resume();
  await world.run(5000);
  expect(far.frames).toHaveLength(10);
  b.life.paused = true;
  await world.run(29_000);
  expect(near.closes).toEqual([]);
  await world.run(3000);
  expect(near.closes).toEqual(['nothing was heard for too long']);
});

test('who stood still itself does not take the other side for silent', async () => {
  const world = new StreamWorld();
  const { a, near, far } = await world.opened();
  // The other side would judge otherwise.
  a.life.paused = true;
  await world.run(28_000);
  world.scheduler.resume(a.life);
  await world.run(5000);
  near.stream!.send(payloadOf(1, 5));
  await world.run(100);
  expect(far.frames).toHaveLength(1);
  expect([near.closes, far.closes]).toEqual([[], []]);
});

test('what a side may send without being read is bounded', async () => {
  const world = new StreamWorld();
  const { near, far } = await world.opened({ limits: { streamBacklogBytesMax: 1 << 20 } });
  far.stream!.pause();
  for (let i = 0; i < 10; i++) near.stream!.send(payloadOf(i, 200_000));
  expect(near.closes).toEqual([]);
  await world.run(10);
  expect(near.closes).toEqual(['the peer takes too little']);
});

test('of one peer four streams are accepted at a time', async () => {
  const world = new StreamWorld();
  const [a, b] = await world.pair(world.accepting);
  const sides = Array.from({ length: 6 }, () => world.open(a, 2));
  await world.run(1000);
  expect(sides.filter(({ opened }) => opened)).toHaveLength(4);
  expect(sides.flatMap(({ closes }) => closes)).toEqual(
    Array.from({ length: 2 }, () => 'the peer refuses: too many'),
  );
  expect(b.logged('refused a peer', 'too many')).toHaveLength(1);
  sides.find(({ opened }) => opened)!.stream!.end();
  await world.run(100);
  const next = world.open(a, 2);
  await world.run(100);
  expect(next.opened).toBe(true);
});

test('a guest is streamed to and from', async () => {
  const world = new StreamWorld();
  const a = await world.server(1, { ...world.accepting, peers: peersOf(1, 9) });
  const guest = await world.server(9, { ...world.accepting, peers: new Map() });
  await world.until(() => a.links.status(9).connected && guest.links.status(1).connected);
  const sides = [world.open(a, 9), world.open(guest, 1)];
  await world.run(1000);
  expect(sides.map(({ opened }) => opened)).toEqual([true, true]);
});

test('streams with a server that is no member any more are closed on both sides', async () => {
  for (const removed of [[], [2]]) {
    const world = new StreamWorld();
    const { a, b, near, far } = await world.opened();
    const back = world.open(b, 1);
    await world.until(() => back.opened);
    a.links.setPeers(peersOf(1, 3), new Set(removed));
    await world.run(1000);
    expect(near.closes).toEqual(['the peer is no member any more']);
    expect(world.accepted[1]!.closes).toEqual(['the peer is no member any more']);
    expect([far.closes.length, back.closes.length]).toEqual([1, 1]);
  }
});

test('a server that was removed learns it from a stream too', async () => {
  const world = new StreamWorld();
  let removals = 0;
  const a = await world.server(1, { ...world.accepting, peers: peersOf(1) });
  a.links.setPeers(peersOf(1), new Set([2]));
  const b = await world.server(2, { peers: peersOf(1), onRemoved: () => void removals++ });
  const side = world.open(b, 1);
  await world.run(1000);
  expect(removals).toBe(1);
  expect(side.closes).toEqual(['the peer refuses: removed']);
});

test('streams of a process that is no more are closed once its next life is welcome', async () => {
  const world = new StreamWorld();
  const { a, far } = await world.opened();
  for (const socket of world.streams.between(1, 2))
    socket.outgoing.stalledUntilMs = world.scheduler.nowMs + 5000;
  world.crash(a, 'killed');
  const next = await world.server(1);
  await world.until(() => next.links.status(2).connected);
  await world.run(500);
  expect(far.closes).toEqual(['the peer was started anew']);
});

test('connections that break at any moment end a stream with a reason, and what came is a beginning', async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const world = new StreamWorld(seed);
    const random = new SimRandom(seed);
    const { near, far } = await world.opened();
    for (let i = 0; i < 50; i++) near.stream!.send(Uint8Array.of(i, ...payloadOf(i, random.below(20_000))));
    await world.run(random.between(0, 60));
    for (const socket of world.streams.between(1, 2)) socket.breakOff();
    await world.run(5000);
    expect([near.closes.length, far.closes.length]).toEqual([1, 1]);
    expect([near.closes[0], far.closes[0]]).not.toContain(null);
    expect(far.frames.every((frame, i) => frame[0] === i)).toBe(true);
  }
});

test('a frame that does not belong into a stream closes it, and the server serves on', async () => {
  const world = new StreamWorld();
  const [a, b] = await world.pair(world.accepting);
  const bad = [
    encodeFrame('pong'),
    encodeFrame('card', new Uint8Array(5)),
    encodeFrame('hello', new Uint8Array(5)),
    Uint8Array.of(2, 0, 8, 0, 0, 0, 0, 0),
    new Uint8Array(100),
  ];
  for (const bytes of bad) {
    const mad = world.stranger(2);
    shakeHands(world, mad, 3, { kind: 'stream' });
    await world.run(20);
    mad.send(encodeFrame('stream', Uint8Array.of(1)));
    mad.send(bytes);
    mad.send(encodeFrame('stream', Uint8Array.of(2)));
    await world.run(20);
    expect(mad.closed).toBe(true);
    const side = world.accepted.at(-1)!;
    expect(side.frames).toEqual([Uint8Array.of(1)]);
    expect(side.closes).toEqual([expect.stringContaining('malformed: ')]);
  }
  a.links.send(2, [append(1, 2, 1, 10)]);
  await world.run(50);
  expect(b.numbers(1)).toEqual([1]);
});

test('after the links are stopped no stream says anything', async () => {
  const world = new StreamWorld();
  const { a, near, far } = await world.opened();
  const giveUp = world.open(a, 99);
  near.stream!.destroy();
  a.links.stop();
  const late = world.open(a, 2);
  await world.run(1000);
  expect([near.closes, giveUp.closes, late.closes]).toEqual([[], [], []]);
  expect(far.closes).toHaveLength(1);
});
