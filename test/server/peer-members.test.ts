/** Peers that come, go and move while the links serve; guests; servers that were removed. */
import { expect, test } from 'vitest';
import { encodeFrame, FrameReader } from '../../src/server/peer-frame.ts';
import { AcceptorHandshake, type RefusalReason, refusedFrame } from '../../src/server/peer-handshake.ts';
import type { AdvertisedAddress } from '../../src/server/peer-hello.ts';
import type { PeerLinksOptions } from '../../src/server/peer-links.ts';
import {
  addressOf,
  advertisedBy,
  append,
  CLIENT_PORT,
  heartbeat,
  identityOf,
  PeerWorld,
  peersOf,
  type TestServer,
} from './peer-world.ts';

const NOBODY: ReadonlySet<number> = new Set();

/** Notes what the owner of the links is told. */
function watch() {
  const addresses: { from: number; name: string; address: AdvertisedAddress }[] = [];
  const told = { addresses, removals: 0 };
  const options: Partial<PeerLinksOptions> = {
    onAddress: (from, name, address) => void addresses.push({ from, name, address }),
    onRemoved: () => {
      told.removals++;
    },
  };
  return { told, options };
}

const connected = (a: TestServer, b: TestServer) =>
  a.links.status(b.id).connected && b.links.status(a.id).connected;

async function expectExchange(world: PeerWorld, a: TestServer, b: TestServer): Promise<void> {
  await world.until(() => connected(a, b));
  // The bulk links too.
  await world.run(2500);
  const [before, back] = [b.received.length, a.received.length];
  a.links.send(b.id, [heartbeat(a.id, b.id), append(a.id, b.id, 1, 100)]);
  b.links.send(a.id, [heartbeat(b.id, a.id), append(b.id, a.id, 1, 100)]);
  await world.run(100);
  expect([b.received.length - before, a.received.length - back]).toEqual([2, 2]);
}

test('a peer that is added is connected, and one that is gone is left, with what waited for it', async () => {
  const world = new PeerWorld();
  const [a, b] = [
    await world.server(1, { peers: peersOf(1, 2) }),
    await world.server(2, { peers: peersOf(1, 2) }),
  ];
  await expectExchange(world, a, b);
  const c = await world.server(3);
  for (const server of [a, b]) server.links.setPeers(peersOf(1, 2, 3), NOBODY);
  await expectExchange(world, a, c);
  await expectExchange(world, b, c);
  const before = b.received.length;
  a.links.send(2, [heartbeat(1, 2)]);
  a.links.setPeers(peersOf(1, 3), NOBODY);
  b.links.setPeers(peersOf(2, 3), NOBODY);
  a.links.send(2, [heartbeat(1, 2)]);
  await world.run(3000);
  expect(b.received.length).toBe(before);
  expect(a.links.status(2)).toEqual({
    connected: false,
    lastHeardMs: undefined,
    pingSentWallMs: 0,
    pongReceivedWallMs: 0,
  });
  expect(world.streams.between(1, 2)).toEqual([]);
  expect(a.unreachable).toEqual([]);
  await expectExchange(world, a, c);
});

test('a message to a server that nobody knows is dropped', async () => {
  const world = new PeerWorld();
  const [a] = await world.pair();
  a.links.send(77, [heartbeat(1, 77)]);
  await world.run(100);
  expect(a.unreachable).toEqual([]);
});

test('peers that are set before the start are those that are dialled', async () => {
  const world = new PeerWorld();
  const a = await world.server(1, { peers: peersOf(1, 2, 3) }, 1, (links) =>
    links.setPeers(peersOf(1, 2), NOBODY),
  );
  const b = await world.server(2, { peers: peersOf(1, 2) });
  await expectExchange(world, a, b);
  expect(a.logged('cannot reach a peer')).toEqual([]);
});

test('a peer whose configured address changes is dialled there, and no more where it was', async () => {
  const world = new PeerWorld();
  const [a, b] = await world.pair();
  const before = b.received.length;
  world.crash(b, 'killed');
  // Silent: it dials nobody, so that nobody learns where it is.
  const moved = await world.server(2, { peers: peersOf(2) }, 12);
  await world.run(5000);
  expect(a.links.status(2).connected).toBe(false);
  a.links.setPeers(new Map([...peersOf(3), [2, { name: 'n2', address: addressOf(12) }]]), NOBODY);
  await expectExchange(world, a, moved);
  expect(b.received.length).toBe(before);
  expect(a.links.status(2).connected).toBe(true);
});

test('a change of address that only confirms where a peer is connected breaks nothing', async () => {
  const world = new PeerWorld();
  const a = await world.server(1);
  const b = await world.server(2, {}, 12);
  await expectExchange(world, a, b);
  a.links.setPeers(new Map([...peersOf(3), [2, { name: 'n2', address: addressOf(12) }]]), NOBODY);
  await world.run(1000);
  expect(connected(a, b)).toBe(true);
  expect([a.logged('lost a peer'), a.unreachable]).toEqual([[], []]);
});

test('a server that was started elsewhere is found by its own word, and the owner is told once', async () => {
  const world = new PeerWorld();
  const { told, options } = watch();
  const a = await world.server(1, options);
  const b = await world.server(2, {}, 12);
  await expectExchange(world, a, b);
  const address = { host: 'n12', port: CLIENT_PORT, peerPort: 16_379 };
  expect(told.addresses).toEqual([{ from: 2, name: 'n2', address }]);
  world.crash(b, 'killed');
  const back = await world.server(2);
  await expectExchange(world, a, back);
  expect(told.addresses).toHaveLength(1);
});

test('a port for clients that differs from a known one is told too', async () => {
  const world = new PeerWorld();
  const { told, options } = watch();
  const entry = { name: 'n2', address: addressOf(2), clientPort: 7000 };
  const a = await world.server(1, { ...options, peers: new Map([[2, entry]]) });
  await expectExchange(world, a, await world.server(2));
  expect(told.addresses).toEqual([{ from: 2, name: 'n2', address: advertisedBy(2) }]);
});

test('a peer that tells no host is looked for where its connections come from', async () => {
  const world = new PeerWorld();
  const a = await world.server(1);
  const b = await world.server(2, { advertised: { host: '', port: 0, peerPort: 0 } }, 12);
  await expectExchange(world, a, b);
});

test('a peer that tells an address of no use is still found at the configured one', async () => {
  const world = new PeerWorld();
  const a = await world.server(1);
  const advertised = { host: 'n40', port: CLIENT_PORT, peerPort: 1 };
  const b = await world.server(2, { advertised });
  await expectExchange(world, a, b);
  world.streams.reset(1, 2);
  await world.run(200);
  for (const socket of world.streams.between(1, 2)) socket.breakOff();
  await expectExchange(world, a, b);
});

test('a newcomer who knows nobody answers the server that dials it, as a guest', async () => {
  const world = new PeerWorld();
  const [a, b] = await world.pair();
  const { told, options } = watch();
  const newcomer = await world.server(9, { ...options, peers: new Map() });
  a.links.setPeers(peersOf(1, 2, 9), NOBODY);
  await expectExchange(world, a, newcomer);
  expect(newcomer.links.status(2).connected).toBe(false);
  expect(told.addresses).toEqual([]);
  // What it was, a guest, becomes a peer without a break.
  newcomer.links.setPeers(peersOf(1, 2, 9), NOBODY);
  b.links.setPeers(peersOf(1, 2, 9), NOBODY);
  await expectExchange(world, b, newcomer);
  await expectExchange(world, a, newcomer);
  expect(newcomer.logged('lost a peer')).toEqual([]);
});

test('a guest is forgotten when it is silent, and not before', async () => {
  const world = new PeerWorld();
  const a = await world.server(1, { peers: peersOf(1) });
  const guest = await world.server(9, { peers: peersOf(1) });
  await expectExchange(world, a, guest);
  await world.run(60_000);
  expect(connected(a, guest)).toBe(true);
  world.crash(guest, 'killed');
  let dials = 0;
  await world.impostor(9, (connection) => {
    dials++;
    connection.handle({ onData: () => {}, onClose: () => {} });
    connection.destroy();
  });
  await world.run(9000);
  expect(dials).toBeGreaterThan(3);
  await world.run(4000);
  dials = 0;
  await world.run(60_000);
  expect(dials).toBe(0);
});

test('guests are bounded, and keep no peer out', async () => {
  const world = new PeerWorld();
  const host = await world.server(2, { limits: { guestsMax: 3 } });
  const guests: TestServer[] = [];
  for (let id = 20; id < 25; id++) guests.push(await world.server(id, { peers: peersOf(2) }));
  await world.run(3000);
  const inside = guests.filter(({ id }) => host.links.status(id).connected);
  expect(inside).toHaveLength(3);
  expect(host.logged('refused a peer', 'too many').length).toBeGreaterThan(0);
  const a = await world.server(1);
  await expectExchange(world, a, host);
  // One leaves, and another finds its place.
  inside[0]!.links.stop();
  await world.run(20_000);
  expect(guests.filter(({ id }) => host.links.status(id).connected)).toHaveLength(3);
});

test('a guest that nobody could answer is refused', async () => {
  const world = new PeerWorld();
  const a = await world.server(1, { peers: peersOf(1) });
  const listen = { host: 'n9', port: 0 };
  await world.server(9, {
    peers: peersOf(1),
    listen,
    listenOptional: true,
    advertised: { host: '', port: 1, peerPort: 0 },
  });
  await world.run(3000);
  expect(a.logged('refused a peer', 'no address')).toHaveLength(1);
  expect(a.received).toEqual([]);
});

test('a server that is removed learns it from any member, at once when it is connected', async () => {
  const world = new PeerWorld();
  const { told, options } = watch();
  const a = await world.server(1);
  const b = await world.server(2);
  const c = await world.server(3, options);
  await expectExchange(world, a, c);
  a.links.setPeers(peersOf(1, 2), new Set([3]));
  await world.run(500);
  expect(told.removals).toBe(1);
  expect(a.logged('refused a peer', 'removed')).toHaveLength(1);
  expect(world.streams.between(1, 3)).toEqual([]);
  b.links.setPeers(peersOf(1, 2), new Set([3]));
  await world.run(5000);
  expect(told.removals).toBe(1);
  await expectExchange(world, a, b);
});

test('a removed guest is told so too', async () => {
  const world = new PeerWorld();
  const { told, options } = watch();
  const a = await world.server(1, { peers: peersOf(1) });
  const guest = await world.server(9, { ...options, peers: peersOf(1) });
  await expectExchange(world, a, guest);
  a.links.setPeers(peersOf(1), new Set([9]));
  await world.run(500);
  expect(told.removals).toBe(1);
  expect(a.links.status(9).connected).toBe(false);
});

test('a refusal without a seal, with a made-up one, or with that of an earlier handshake removes nobody', async () => {
  const world = new PeerWorld();
  const { told, options } = watch();
  const madeUp = encodeFrame('refused', Uint8Array.of(...refusalOf('removed'), ...new Uint8Array(32)));
  let recorded: Uint8Array | undefined;
  let calls = 0;
  await world.impostor(2, (connection) => {
    const call = calls++;
    const handshake = new AcceptorHandshake(identityOf(2), () => 'removed', world.random);
    const reader = new FrameReader(1024);
    connection.handle({
      onClose: () => {},
      onData: (bytes) => {
        reader.feed(bytes);
        for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
          // Before the proof.
          if (call % 4 === 0) return connection.write(call === 0 ? refusedFrame('removed') : recorded!);
          const step = handshake.step(frame);
          if (step.next === 'wait') connection.write(step.send);
          if (step.next !== 'refuse') continue;
          connection.write([madeUp, recorded ?? madeUp, refusedFrame('removed')][(call % 4) - 1]!);
          // A real one, which was not sent.
          recorded ??= step.send;
        }
      },
    });
  });
  const a = await world.server(1, { ...options, peers: peersOf(1, 2) });
  await world.run(30_000);
  expect(calls).toBeGreaterThan(8);
  expect(recorded).toHaveLength(9 + 1 + 32);
  expect(told.removals).toBe(0);
  expect(a.logged('cannot reach a peer', 'the peer refuses: removed')).toHaveLength(1);
});

function refusalOf(reason: RefusalReason): Uint8Array {
  return refusedFrame(reason).subarray(9);
}

test('a server that may be alone starts without a port, or with one that is taken', async () => {
  const world = new PeerWorld();
  await world.server(1, { peers: new Map() });
  await expect(world.server(5, { peers: new Map() }, 1)).rejects.toThrow('already in use');
  const taken = await world.server(5, { peers: new Map(), listenOptional: true }, 1);
  const none = await world.server(6, {
    peers: new Map(),
    listenOptional: true,
    listen: { host: 'n6', port: 0 },
  });
  for (const server of [taken, none]) {
    expect(server.links.listening).toBe(false);
    expect(server.logged('no other server can connect to this one')).toHaveLength(1);
  }
  const heard = await world.server(7, { peers: new Map(), listenOptional: true });
  expect(heard.links.listening).toBe(true);
  expect(heard.log).toEqual([]);
});
