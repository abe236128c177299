/** What comes to the peer port from those who are not peers, or whose memory is not sound. */
import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Connection } from '../../src/lib/env.ts';
import { encodeFrame, type Frame, MessageFrames, messageBytes } from '../../src/server/peer-frame.ts';
import { DiallerHandshake } from '../../src/server/peer-handshake.ts';
import type { PeerLinksOptions } from '../../src/server/peer-links.ts';
import type { PeerMessage } from '../../src/server/peer-message.ts';
import { append, heartbeat, identityOf, PeerWorld, shakeHands, type TestServer } from './peer-world.ts';

const CLOSED = 'closed a connection of a peer';

/** The pair still serves. */
async function expectService(world: PeerWorld, [a, b]: [TestServer, TestServer]): Promise<void> {
  const before = b.received.length;
  a.links.send(2, [heartbeat(1, 2), append(1, 2, 1, 1000)]);
  await world.run(100);
  expect(b.received.length).toBe(before + 2);
  expect(a.logged('lost a peer')).toEqual([]);
  expect(b.logged('lost a peer')).toEqual([]);
}

function framesOf(...messages: PeerMessage[]): Uint8Array {
  const frames = new MessageFrames();
  for (const message of messages) frames.add(message, messageBytes(message));
  return frames.take();
}

/** Server 1 with its own settings dials server 2; what each wrote to its log about it. */
async function refusal(ofDialler: Partial<PeerLinksOptions>, ofAcceptor: Partial<PeerLinksOptions> = {}) {
  const world = new PeerWorld();
  const [a, b] = [await world.server(1, ofDialler), await world.server(2, ofAcceptor)];
  await world.run(20_000);
  expect(a.links.status(2).connected).toBe(false);
  if (ofAcceptor.id === undefined && ofAcceptor.peers === undefined)
    expect(b.links.status(1).connected).toBe(false);
  return { world, a, b };
}

test('servers of different clusters refuse each other, and both say so once', async () => {
  const { a, b } = await refusal({ clusterId: 'another' });
  expect(a.logged('cannot reach a peer', 'the peer refuses: wrong cluster')).toHaveLength(1);
  expect(b.logged('refused a peer', 'wrong cluster')).toHaveLength(1);
  expect(b.logged('refused a peer')[0]!.fields).toMatchObject({ peer: 'n1', id: 1, cluster: 'another' });
});

test('a server with another secret is refused, and both say so once a minute', async () => {
  const { world, a, b } = await refusal({ secret: 'guessed' });
  expect(a.logged('cannot reach a peer', 'the peer refuses: wrong secret')).toHaveLength(1);
  expect(b.logged('refused a peer', 'wrong secret')).toHaveLength(1);
  await world.run(70_000);
  const again = a.logged('cannot reach a peer', 'the peer refuses: wrong secret');
  expect(again).toHaveLength(2);
  expect(again[1]!.fields.leftOut).toBeGreaterThan(10);
});

test('a server at whose address another one lives is refused', async () => {
  const moved = await refusal({}, { id: 3 });
  expect(moved.a.logged('cannot reach a peer', 'the peer refuses: not the server meant')).toHaveLength(1);
});

test('a dialler that is refused backs off', async () => {
  const { world } = await refusal({ clusterId: 'another' });
  const before = world.streams.writes;
  await world.run(60_000);
  // Four diallers, at most one dial a second each, two writes per dial.
  expect(world.streams.writes - before).toBeLessThan(4 * 60 * 2);
});

test('silence ends within the time of a handshake, before and after the hello', async () => {
  const world = new PeerWorld();
  const pair = await world.pair();
  const [silent, greeting] = [world.stranger(2), world.stranger(2)];
  const self = { ...identityOf(3), secret: 'guess' };
  greeting.send(new DiallerHandshake(self, 2, 'control', world.random.split()).opening);
  await world.run(1500);
  expect([silent.closed, greeting.closed]).toEqual([false, false]);
  expect(greeting.frames.map(({ type }) => type)).toEqual(['challenge']);
  await world.run(1500);
  expect([silent.closed, greeting.closed]).toEqual([true, true]);
  await expectService(world, pair);
});

test('garbage closes its connection, byte by byte too, and nothing is answered', async () => {
  const world = new PeerWorld();
  const pair = await world.pair();
  const garbage = [
    'GET / HTTP/1.1\r\n\r\n',
    '*1\r\n$4\r\nPING\r\n',
    '\0'.repeat(50),
    '\x16\x03\x01\x02\0\x01\0\x01',
  ];
  for (const text of garbage) {
    const [whole, bytewise] = [world.stranger(2), world.stranger(2)];
    whole.send(Buffer.from(text, 'latin1'));
    for (const byte of Buffer.from(text, 'latin1')) {
      bytewise.send(Uint8Array.of(byte));
      await world.run(1);
    }
    await world.run(20);
    expect([whole.closed, bytewise.closed, ...whole.bytes, ...bytewise.bytes]).toEqual([true, true]);
  }
  await expectService(world, pair);
});

test('a length over the bound closes the connection, by the length alone', async () => {
  const world = new PeerWorld();
  const pair = await world.pair();
  const stranger = world.stranger(2);
  stranger.send(Uint8Array.of(1, 4, 0, 0, 0, 0, 0, 0));
  const peer = world.stranger(2);
  shakeHands(world, peer, 3);
  await world.run(50);
  expect(stranger.closed).toBe(true);
  expect(peer.frames.map(({ type }) => type)).toEqual(['challenge', 'welcome']);
  peer.send(Uint8Array.of(0, 0, 0, 6, 0, 0, 0, 0));
  await world.run(50);
  expect(peer.closed).toBe(false);
  const bolder = world.stranger(2);
  shakeHands(world, bolder, 3);
  await world.run(50);
  bolder.send(Uint8Array.of(1, 0, 0, 6, 0, 0, 0, 0));
  await world.run(50);
  expect(bolder.closed).toBe(true);
  await expectService(world, pair);
});

test('a recorded hello and proof get a challenge and a refusal', async () => {
  const world = new PeerWorld();
  const pair = await world.pair();
  const first = world.stranger(2);
  const recorded: Uint8Array[] = [];
  const { send } = first;
  first.send = (bytes) => {
    recorded.push(bytes);
    send.call(first, bytes);
  };
  shakeHands(world, first, 3);
  await world.run(50);
  expect(first.frames.map(({ type }) => type)).toEqual(['challenge', 'welcome']);
  const second = world.stranger(2);
  for (const bytes of recorded) second.send(bytes);
  await world.run(50);
  expect(second.frames.map(({ type }) => type)).toEqual(['challenge', 'refused']);
  expect(pair[1].logged('refused a peer', 'wrong secret')).toHaveLength(1);
  await expectService(world, pair);
});

test('any bytes at all, before or after the handshake, crash nothing and disturb nobody else', async () => {
  const world = new PeerWorld();
  const pair = await world.pair();
  const frame = fc
    .tuple(
      fc.constantFrom(
        'hello',
        'challenge',
        'proof',
        'welcome',
        'refused',
        'messages',
        'ping',
        'pong',
        'stream',
        'end',
        'card',
        'invitation',
        'answer',
      ),
      fc.uint8Array({ maxLength: 200 }),
    )
    .map(([type, payload]) => encodeFrame(type as Frame['type'], payload));
  const real = framesOf(heartbeat(3, 2), append(3, 2, 1, 100));
  const message = fc.uint8Array({ maxLength: 8 }).map((bytes) => {
    const payload = Uint8Array.from(real.subarray(9));
    for (const [i, byte] of bytes.entries()) payload[(byte * 37 + i * 11) % payload.length] = byte;
    return encodeFrame('messages', payload);
  });
  const input = fc.array(fc.oneof(fc.uint8Array({ maxLength: 100 }), frame, message), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(fc.boolean(), input, async (handshake, chunks) => {
      const stranger = world.stranger(2);
      if (handshake) shakeHands(world, stranger, 3);
      await world.run(10);
      for (const chunk of chunks) stranger.send(chunk);
      await world.run(10);
      stranger.connection.destroy();
    }),
    { numRuns: 300 },
  );
  await expectService(world, pair);
  // Each kind of line once, whatever the bytes were.
  expect(pair[1].log.length).toBeLessThan(20);
});

test('a proved peer that speaks for another, or sends what does not decode, is cut off', async () => {
  const world = new PeerWorld();
  const pair = await world.pair();
  const bad = [framesOf(heartbeat(1, 2)), encodeFrame('messages', Uint8Array.of(9)), encodeFrame('welcome')];
  for (const bytes of bad) {
    const mad = world.stranger(2);
    shakeHands(world, mad, 3);
    await world.run(20);
    mad.send(framesOf(append(3, 2, 1, 10)));
    mad.send(bytes);
    mad.send(framesOf(append(3, 2, 2, 10)));
    await world.run(20);
    expect(mad.closed).toBe(true);
  }
  expect(pair[1].numbers(3)).toEqual([1, 1, 1]);
  await expectService(world, pair);
});

test('a proved peer that pings without reading is cut off before its pongs fill the memory', async () => {
  const world = new PeerWorld();
  const pair = await world.pair();
  const mad = world.stranger(2);
  shakeHands(world, mad, 3);
  await world.run(20);
  mad.connection.pause();
  const pings = Buffer.concat(Array.from({ length: 1000 }, () => encodeFrame('ping')));
  for (let i = 0; i < 100; i++) mad.send(pings);
  await world.run(2000);
  expect(pair[1].logged(CLOSED, 'the peer sends pings and reads no pongs')).toHaveLength(1);
  await expectService(world, pair);
});

test('a handshake that ends after one that began later was welcomed is refused, in either life', async () => {
  for (const incarnation of [5, 6]) {
    const world = new PeerWorld();
    const [, b] = await world.pair();
    let prove = () => {};
    const [late, next] = [world.stranger(2), world.stranger(2)];
    shakeHands(world, late, 3, {
      mayProve: (now) => {
        prove = now;
      },
    });
    await world.run(50);
    shakeHands(world, next, 3, { incarnation });
    await world.run(50);
    expect(next.frames.map(({ type }) => type)).toEqual(['challenge', 'welcome']);
    prove();
    late.send(framesOf(append(3, 2, 1, 10)));
    await world.run(50);
    expect(late.frames.map(({ type }) => type)).toEqual(['challenge', 'refused']);
    next.send(framesOf(append(3, 2, 2, 10)));
    await world.run(50);
    expect(b.numbers(3)).toEqual([2]);
    expect(next.closed).toBe(false);
  }
});

test('a new connection of the same life and kind takes the place of the old one', async () => {
  const world = new PeerWorld();
  const [, b] = await world.pair();
  const [old, next] = [world.stranger(2), world.stranger(2)];
  shakeHands(world, old, 3);
  await world.run(50);
  shakeHands(world, next, 3);
  await world.run(50);
  expect([old.closed, next.closed]).toEqual([true, false]);
  next.send(framesOf(append(3, 2, 1, 10)));
  await world.run(50);
  expect(b.numbers(3)).toEqual([1]);
});

test('a peer from which nothing is heard is closed after ten seconds', async () => {
  const world = new PeerWorld();
  const pair = await world.pair();
  const silent = world.stranger(2);
  shakeHands(world, silent, 3);
  await world.run(9500);
  expect(silent.closed).toBe(false);
  await world.run(1500);
  expect(silent.closed).toBe(true);
  await expectService(world, pair);
});

test('strangers are bounded, and do not keep a peer from connecting', async () => {
  const world = new PeerWorld();
  const b = await world.server(2);
  const strangers = Array.from({ length: 300 }, () => world.stranger(2));
  const a = await world.server(1);
  await world.run(300);
  expect(strangers.filter(({ closed }) => !closed).length).toBeLessThanOrEqual(64);
  expect(a.links.status(2).connected).toBe(true);
  expect(b.log.length).toBeLessThan(10);
});

test('an impostor at the address of a peer learns nothing, and is left', async () => {
  const world = new PeerWorld();
  const heard: Buffer[] = [];
  let connections = 0;
  const answers = [
    encodeFrame('challenge', new Uint8Array(64)),
    encodeFrame('welcome'),
    encodeFrame('pong'),
    new Uint8Array(5000),
  ];
  await world.impostor(2, (connection: Connection) => {
    const answer = answers[connections++ % answers.length]!;
    connection.handle({
      onData: (bytes) => {
        heard.push(Buffer.from(bytes));
        connection.write(answer);
      },
      onClose: () => {},
    });
  });
  const a = await world.server(1);
  a.links.send(2, [heartbeat(1, 2)]);
  await world.run(20_000);
  expect(connections).toBeGreaterThan(8);
  expect(a.links.status(2).connected).toBe(false);
  expect(Buffer.concat(heard).includes('a secret')).toBe(false);
  expect(a.received).toEqual([]);
});
