import { expect, test } from 'vitest';
import type { PeerMessage } from '../../src/server/peer-message.ts';
import { SimRandom } from '../sim/random.ts';
import { append, heartbeat, numberOf, PeerWorld, type TestServer } from './peer-world.ts';

const numbersOf = (count: number, from = 1) => Array.from({ length: count }, (_, i) => from + i);

function send(server: TestServer, to: number, messages: readonly PeerMessage[]): void {
  server.links.send(to, messages);
}

test('servers that were started find each other, and messages arrive in the order of their kind', async () => {
  const world = new PeerWorld();
  const servers = [await world.server(1), await world.server(2), await world.server(3)];
  await world.until(() =>
    servers.every(({ id, links }) => [1, 2, 3].every((to) => to === id || links.status(to).connected)),
  );
  await world.run(500);
  for (let turn = 0; turn < 20; turn++) {
    for (const { id, links } of servers) {
      for (const to of [1, 2, 3]) {
        if (to === id) continue;
        links.send(to, [append(id, to, turn + 1, 3000), heartbeat(id, to, turn)]);
      }
    }
    await world.run(2);
  }
  await world.run(500);
  for (const server of servers) {
    expect(server.unreachable).toEqual([]);
    for (const from of [1, 2, 3]) {
      if (from === server.id) continue;
      expect(server.numbers(from, 'Heartbeat')).toEqual(numbersOf(20, 0));
      expect(server.numbers(from, 'AppendEntries')).toEqual(numbersOf(20));
    }
  }
});

test('all messages of a turn to one peer become one write per connection', async () => {
  const world = new PeerWorld();
  const [a, b] = await world.pair();
  // Away from the pings.
  await world.run(100);
  const before = world.streams.writes;
  for (let i = 0; i < 1000; i++) send(a, 2, [heartbeat(1, 2, i)]);
  await world.run(20);
  expect(world.streams.writes - before).toBe(1);
  for (let i = 0; i < 100; i++) send(a, 2, [heartbeat(1, 2, 1000 + i), append(1, 2, i + 1, 100)]);
  await world.run(20);
  expect(world.streams.writes - before).toBe(3);
  expect(b.numbers(1, 'Heartbeat')).toEqual(numbersOf(1100, 0));
});

test('a heartbeat overtakes a bulk message of many megabytes', async () => {
  const world = new PeerWorld();
  const [a, b] = await world.pair();
  send(a, 2, [append(1, 2, 1, 8 << 20), heartbeat(1, 2, 7)]);
  await world.until(() => b.received.length === 2, 60_000);
  const [first, second] = b.received;
  expect(numberOf(first!.message)).toBe(7);
  expect(second!.atMs - first!.atMs).toBeGreaterThan(20);
});

test('a bulk connection that takes long for what is on it is not taken for dead', async () => {
  const world = new PeerWorld();
  const [a, b] = await world.pair();
  world.roads.faults = { ...world.roads.faults, delayMinMs: 40 };
  send(a, 2, [append(1, 2, 1, 10 << 20)]);
  await world.until(() => b.received.length === 1, 60_000);
  expect(world.scheduler.nowMs).toBeGreaterThan(5000);
  expect(a.logged('lost a peer')).toEqual([]);
});

test('connections that break at any moment, within frames too, lose messages and nothing else', async () => {
  for (let seed = 1; seed <= 12; seed++) {
    const world = new PeerWorld(seed);
    const random = new SimRandom(seed);
    const [a, b] = await world.pair();
    let sent = 0;
    for (let turn = 0; turn < 300; turn++) {
      send(a, 2, [append(1, 2, ++sent, random.below(20_000)), heartbeat(1, 2, sent)]);
      if (random.chance(0.05)) world.streams.reset(1, 2);
      await world.run(random.between(0, 20));
    }
    await world.run(5000);
    send(a, 2, [append(1, 2, ++sent, 10), heartbeat(1, 2, sent)]);
    await world.run(100);
    for (const type of ['AppendEntries', 'Heartbeat'] as const) {
      const numbers = b.numbers(1, type);
      expect(numbers).toEqual([...new Set(numbers)].sort((x, y) => x - y));
      expect(numbers.at(-1)).toBe(sent);
      expect(numbers.length).toBeGreaterThan(20);
    }
    expect([...a.log, ...b.log].filter(({ fields }) => /malformed/.test(String(fields.reason)))).toEqual([]);
    // Whoever lost something was told so.
    if (b.received.length < 2 * sent) expect(a.unreachable.length).toBeGreaterThan(0);
  }
});

test('a half-open connection is noticed within four seconds and replaced', async () => {
  const world = new PeerWorld();
  const [a, b] = await world.pair();
  for (const socket of world.streams.between(1, 2)) {
    socket.outgoing.vanishes = true;
    socket.peer!.outgoing.vanishes = true;
  }
  await world.run(4700);
  expect(a.logged('lost a peer', 'no answer to a ping')).toHaveLength(1);
  expect(a.unreachable).toContain(2);
  send(a, 2, [heartbeat(1, 2, 5), append(1, 2, 5, 5)]);
  send(b, 1, [heartbeat(2, 1, 6)]);
  await world.run(50);
  expect(b.numbers(1)).toEqual([5, 5]);
  expect(a.numbers(2)).toEqual([6]);
});

test('a stall shorter than the pong takes to be missed breaks nothing', async () => {
  const world = new PeerWorld();
  const [a, b] = await world.pair();
  world.roads.cut(1, 2);
  send(a, 2, [heartbeat(1, 2, 1)]);
  await world.run(1500);
  expect(b.received).toEqual([]);
  world.roads.mendAll();
  send(a, 2, [heartbeat(1, 2, 2)]);
  await world.run(1000);
  expect(b.numbers(1)).toEqual([1, 2]);
  expect(a.logged('lost a peer')).toEqual([]);
});

test('across a partition dials are given up, and soon after it has healed the servers are connected', async () => {
  const world = new PeerWorld();
  const [a, b] = await world.pair();
  world.roads.partition([1], [2]);
  await world.run(20_000);
  expect(a.links.status(2).connected).toBe(false);
  expect(a.logged('cannot reach a peer', 'no answer to the dial')).toHaveLength(1);
  world.roads.mendAll();
  await world.until(() => a.links.status(2).connected && b.links.status(1).connected, 5000);
});

test('what is sent to a peer that is down is dropped at once, and said once per turn', async () => {
  const world = new PeerWorld();
  const a = await world.server(1);
  for (let i = 0; i < 10; i++) send(a, 2, [heartbeat(1, 2, i), append(1, 2, i + 1, 10)]);
  send(a, 3, [heartbeat(1, 3)]);
  // Never from within `send`.
  expect(a.unreachable).toEqual([]);
  await world.run(5);
  expect(a.unreachable).toEqual([2, 3]);
  const b = await world.server(2);
  await world.until(() => a.links.status(2).connected, 5000);
  await world.run(1000);
  expect(b.received).toEqual([]);
});

test('toward a peer that reads nothing the backlog is bounded, and it is told as unreachable', async () => {
  const world = new PeerWorld();
  const limits = { bulkBacklogBytesMax: 1 << 20, controlBacklogBytesMax: 100_000 };
  const [a, b] = await world.pair({ limits });
  b.life.paused = true;
  for (let i = 0; i < 2000; i++) {
    send(a, 2, [append(1, 2, i + 1, 10_000), heartbeat(1, 2, i)]);
    await world.run(1);
    const backlogs = world.streams.between(1, 2).map(({ backlogBytes }) => backlogBytes);
    expect(Math.max(...backlogs)).toBeLessThanOrEqual(1 << 20);
  }
  expect(a.logged('a peer takes too little; messages were dropped')).not.toEqual([]);
  expect(new Set(a.unreachable)).toEqual(new Set([2]));
  expect(a.unreachable.length).toBeLessThanOrEqual(2000);
  world.scheduler.resume(b.life);
  await world.until(() => a.links.status(2).connected);
  await world.run(3000);
  const numbers = b.numbers(1, 'AppendEntries');
  expect(numbers).toEqual(numbersOf(numbers.length));
});

test('one message larger than the backlog may be still goes when nothing else waits', async () => {
  const world = new PeerWorld();
  const [a, b] = await world.pair({ limits: { bulkBacklogBytesMax: 10_000 } });
  send(a, 2, [append(1, 2, 1, 50_000), append(1, 2, 2, 10)]);
  await world.run(500);
  expect(b.numbers(1)).toEqual([1]);
  expect(a.unreachable).toEqual([2]);
});

test('a message that no peer would take is dropped with a warning', async () => {
  const world = new PeerWorld();
  const [a, b] = await world.pair({ limits: { frameBytesMax: 10_000 } });
  send(a, 2, [append(1, 2, 1, 10_000), append(1, 2, 2, 9000)]);
  await world.run(500);
  expect(b.numbers(1)).toEqual([2]);
  expect(a.logged('a message is too large for any peer; it was dropped')).toHaveLength(1);
});

test('servers that stood still, with their machine, do not take each other for silent', async () => {
  const world = new PeerWorld();
  const [a, b] = await world.pair();
  await world.until(() => a.links.status(2).pingSentWallMs > 0);
  for (const { life } of [a, b]) life.paused = true;
  await world.run(12_000);
  for (const { life } of [a, b]) world.scheduler.resume(life);
  await world.run(2000);
  expect([...a.logged('lost a peer'), ...b.logged('lost a peer')]).toEqual([]);
  send(a, 2, [heartbeat(1, 2, 3)]);
  await world.run(10);
  expect(b.numbers(1)).toEqual([3]);
});

test('entries that came with many others in one chunk do not keep it alive', async () => {
  const world = new PeerWorld();
  const [a, b] = await world.pair();
  world.roads.cut(1, 2);
  for (let i = 1; i <= 300; i++) {
    send(a, 2, [append(1, 2, i, 100)]);
    await world.run(1);
  }
  world.roads.mendAll();
  await world.until(() => b.received.length === 300);
  for (const { message } of b.received) {
    if (message.kind !== 'raft' || message.message.type !== 'AppendEntries') continue;
    expect(message.message.entries[0]!.data.buffer.byteLength).toBeLessThan(1000);
  }
});

test('once a new life of a peer is welcomed, nothing of an older one is delivered', async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const world = new PeerWorld(seed);
    const [old, b] = await world.pair();
    // Written by the old process, and late.
    send(old, 2, [heartbeat(1, 2, 1), append(1, 2, 1, 30_000)]);
    await world.run(1);
    for (const socket of world.streams.between(1, 2))
      socket.outgoing.stalledUntilMs = world.scheduler.nowMs + 3000;
    world.crash(old, 'killed');
    const a = await world.server(1);
    await world.until(() => a.links.status(2).connected);
    const before = b.received.length;
    await world.run(500);
    send(a, 2, [heartbeat(1, 2, 2), append(1, 2, 2, 10)]);
    await world.run(5000);
    expect(b.received.slice(before).map(({ message }) => numberOf(message))).toEqual([2, 2]);
    expect(b.logged('a peer was started anew')).toHaveLength(1);
  }
});

test('the status tells of pings and of what was heard', async () => {
  const world = new PeerWorld();
  const a = await world.server(1);
  const nothing = { connected: false, lastHeardMs: undefined, pingSentWallMs: 0, pongReceivedWallMs: 0 };
  expect(a.links.status(2)).toEqual(nothing);
  const b = await world.server(2);
  await world.run(5000);
  const status = a.links.status(2);
  expect(status.connected).toBe(true);
  expect(world.scheduler.nowMs - status.lastHeardMs!).toBeLessThan(1500);
  expect(status.pongReceivedWallMs).toBeGreaterThan(0);
  expect(status.pingSentWallMs).toBe(0);
  world.crash(b, 'power lost');
  await world.run(2500);
  expect(a.links.status(2).pingSentWallMs).toBeGreaterThan(status.pongReceivedWallMs);
  await world.run(2500);
  expect(a.links.status(2)).toMatchObject({ connected: false, pingSentWallMs: 0 });
});

test('an idle pair of servers writes eight times a second', async () => {
  const world = new PeerWorld();
  await world.pair();
  const before = world.streams.writes;
  await world.run(60_000);
  // Four connections, each with a ping and a pong; a tick may come a little late.
  expect(world.streams.writes - before).toBeLessThanOrEqual(8 * 60);
});

test('after stop nothing comes any more, and the peer notices', async () => {
  const world = new PeerWorld();
  const [a, b] = await world.pair();
  send(b, 1, [heartbeat(2, 1)]);
  a.links.stop();
  a.links.stop();
  a.links.send(2, [heartbeat(1, 2)]);
  await world.run(5000);
  expect(a.received).toEqual([]);
  expect(a.unreachable).toEqual([]);
  expect(b.links.status(1).connected).toBe(false);
  expect(world.streams.between(1, 2)).toEqual([]);
});
