/** The links over real sockets on the loopback interface. */
import { Buffer } from 'node:buffer';
import * as net from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { SystemClock } from '../../src/io/clock.ts';
import { SystemRandom } from '../../src/io/random.ts';
import { TcpNetwork } from '../../src/io/tcp.ts';
import type { Address } from '../../src/lib/env.ts';
import { FrameReader } from '../../src/server/peer-frame.ts';
import { AcceptorHandshake } from '../../src/server/peer-handshake.ts';
import { PeerLinks, type PeerLinksOptions } from '../../src/server/peer-links.ts';
import type { PeerMessage } from '../../src/server/peer-message.ts';
import type { PeerStream, PeerStreamEvents } from '../../src/server/peer-stream.ts';
import type { Visit, VisitError } from '../../src/server/peer-visit.ts';
import { append, heartbeat, type LogLine, numberOf, recordLog } from './peer-world.ts';

const LOOPBACK = { host: '127.0.0.1', port: 0 };

class Server {
  readonly links: PeerLinks;
  readonly received: PeerMessage[] = [];
  readonly unreachable: number[] = [];
  readonly log: LogLine[] = [];
  #watchers: (() => void)[] = [];

  constructor(
    id: number,
    listen: Address,
    peers: readonly (readonly [number, Address])[],
    more: Partial<PeerLinksOptions> = {},
  ) {
    const log = recordLog(this.log);
    const clock = new SystemClock();
    this.links = new PeerLinks({
      env: { clock, random: new SystemRandom(), log, network: new TcpNetwork(log, { keepAliveMs: 300_000 }) },
      ...{ clusterId: 'test cluster', id, name: `n${id}`, secret: 'a secret', listen },
      advertised: { host: '', port: 0, peerPort: 0 },
      peers: new Map(peers.map(([peer, address]) => [peer, { name: `n${peer}`, address }])),
      onMessages: (_, messages) => this.#note(() => this.received.push(...messages)),
      onUnreachable: (peer) => this.#note(() => this.unreachable.push(peer)),
      ...more,
    });
    onTestFinished(() => this.links.stop());
  }

  #note(change: () => void): void {
    change();
    for (const watcher of this.#watchers.splice(0)) watcher();
  }

  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => this.#watchers.push(resolve));
  }
}

/** An address that was free a moment ago. */
async function freeAddress(): Promise<Address> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(LOOPBACK, resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return { host: '127.0.0.1', port };
}

async function pair(): Promise<[Server, Server]> {
  const [one, two] = [await freeAddress(), await freeAddress()];
  const servers: [Server, Server] = [new Server(1, one, [[2, two]]), new Server(2, two, [[1, one]])];
  await Promise.all(servers.map(({ links }) => links.start()));
  return servers;
}

/** Sends again and again until both kinds have come through. */
async function connect([a, b]: [Server, Server]): Promise<void> {
  const kinds = () =>
    new Set(b.received.map(({ kind, ...m }) => kind + ('message' in m ? m.message.type : '')));
  const timer = setInterval(() => a.links.send(2, [heartbeat(1, 2), append(1, 2, 1, 1)]), 10);
  await b.until(() => kinds().size === 2);
  clearInterval(timer);
}

test('two servers connect over TCP, and large and small messages arrive whole and in order', async () => {
  const [a, b] = await pair();
  await connect([a, b]);
  b.received.length = 0;
  const sizes = [5 << 20, ...Array.from({ length: 500 }, (_, i) => i * 10), 300_000];
  sizes.forEach((size, i) => void a.links.send(2, [append(1, 2, i + 100, size), heartbeat(1, 2, i)]));
  const appends = () => b.received.filter((m) => m.kind === 'raft' && m.message.type === 'AppendEntries');
  await b.until(() => appends().filter((m) => numberOf(m) >= 100).length === sizes.length);
  const arrived = appends().filter((m) => numberOf(m) >= 100);
  expect(arrived.map(numberOf)).toEqual(sizes.map((_, i) => i + 100));
  for (const [i, m] of arrived.entries()) {
    if (m.kind !== 'raft' || m.message.type !== 'AppendEntries') continue;
    const { data } = m.message.entries[0]!;
    expect(
      Buffer.compare(
        data,
        Uint8Array.from({ length: sizes[i]! }, (_, k) => (i + 100 + k) & 0xff),
      ),
    ).toBe(0);
    // A few bytes do not keep a chunk of the socket alive.
    expect(data.buffer.byteLength).toBeLessThanOrEqual(2 * data.length + (300 << 10));
  }
});

test('a stream of garbage on the peer port closes its connection, and the server serves on', async () => {
  const [a, b] = await pair();
  await connect([a, b]);
  for (const garbage of [
    'PING PING PING\r\n',
    'GET / HTTP/1.0\r\n\r\n',
    'x'.repeat(200_000),
    '\0'.repeat(200_000),
  ]) {
    const { port } = b.links.address;
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(Buffer.from(garbage, 'latin1'));
    await new Promise((resolve) => socket.on('close', resolve));
  }
  const before = b.received.length;
  a.links.send(2, [heartbeat(1, 2)]);
  await b.until(() => b.received.length > before);
  expect(a.log.filter(({ event }) => event === 'lost a peer')).toEqual([]);
});

test('a peer that proves itself and then reads nothing costs a bounded backlog', async () => {
  const self = { clusterId: 'test cluster', id: 2, name: 'n2', incarnation: 1, secret: 'a secret' };
  const held: net.Socket[] = [];
  const deaf = net.createServer((socket) => {
    held.push(socket);
    const handshake = new AcceptorHandshake(self, () => undefined, new SystemRandom());
    const reader = new FrameReader(1024);
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      reader.feed(bytes);
      for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
        const step = handshake.step(frame);
        if (step.next === 'wait') socket.write(step.send);
        if (step.next === 'done') {
          socket.pause();
          socket.write(handshake.welcome);
          return;
        }
      }
    });
  });
  await new Promise<void>((resolve) => deaf.listen(LOOPBACK, resolve));
  onTestFinished(() => {
    for (const socket of held) socket.destroy();
    deaf.close();
  });
  const { port } = deaf.address() as net.AddressInfo;
  const limits = { bulkBacklogBytesMax: 4 << 20 };
  const a = new Server(1, LOOPBACK, [[2, { host: '127.0.0.1', port }]], { limits });
  await a.links.start();
  const tooLittle = () => a.log.filter(({ event }) => event.startsWith('a peer takes too little'));
  const message = append(1, 2, 1, 1 << 20);
  while (tooLittle().length === 0) {
    a.links.send(2, [message]);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(tooLittle()[0]!.fields.waitingBytes).toBeLessThanOrEqual(4 << 20);
  await a.until(() => a.unreachable.length > 0);
});

test('a server that is restarted on its port is found again', async () => {
  const [one, two] = [await freeAddress(), await freeAddress()];
  const a = new Server(1, one, [[2, two]]);
  const first = new Server(2, two, [[1, one]]);
  await Promise.all([a.links.start(), first.links.start()]);
  await connect([a, first]);
  first.links.stop();
  await a.until(() => a.unreachable.includes(2));
  const second = new Server(2, two, [[1, one]]);
  await second.links.start();
  await connect([a, second]);
  await connectBack(second, a);
});

async function connectBack(from: Server, to: Server): Promise<void> {
  const timer = setInterval(() => from.links.send(1, [heartbeat(2, 1, 99)]), 10);
  await to.until(() => to.received.some((m) => numberOf(m) === 99));
  clearInterval(timer);
}

test('a stream of many megabytes goes through, held back by who reads it, and ends in order on both sides', async () => {
  const [one, two] = [await freeAddress(), await freeAddress()];
  const received: Uint8Array[] = [];
  const ends: (string | null)[] = [];
  const onStream = (stream: PeerStream): PeerStreamEvents => ({
    onFrame: (payload) => {
      received.push(payload);
      if (received.length % 10 !== 0) return;
      stream.pause();
      setImmediate(() => stream.resume());
    },
    onDrain: () => {},
    onClose: (reason) => ends.push(reason),
  });
  const a = new Server(1, one, [[2, two]]);
  const b = new Server(2, two, [[1, one]], { onStream });
  await Promise.all([a.links.start(), b.links.start()]);
  const chunk = new Uint8Array(512 << 10);
  let sent = 0;
  await new Promise<void>((resolve) => {
    const fill = (stream: PeerStream) => {
      while (sent < 100 && stream.backlogBytes < 2 << 20) stream.send(chunk.fill(sent++));
      if (sent === 100) stream.end();
    };
    const stream = a.links.openStream(2, {
      onOpen: fill,
      onFrame: () => {},
      onDrain: () => fill(stream),
      onClose: (reason) => {
        ends.push(reason);
        resolve();
      },
    });
  });
  expect(ends).toEqual([null, null]);
  expect(received).toHaveLength(100);
  expect(received.every((each, i) => Buffer.compare(each, chunk.fill(i)) === 0)).toBe(true);
});

test('a server is visited and invited, and where nobody listens, or the visitor itself, that is told', async () => {
  const host = new Server(5, await freeAddress(), [], {
    clusterId: 'another',
    card: () => Buffer.from('the card'),
    onInvitation: (invitation, answer) => answer(Buffer.from(`${Buffer.from(invitation)} answered`)),
  });
  const a = new Server(1, LOOPBACK, []);
  await Promise.all([a.links.start(), host.links.start()]);
  const visit = await new Promise<Visit | undefined>((resolve) => {
    a.links.visit(host.links.address, (_, value) => resolve(value));
  });
  expect(Buffer.from(visit!.card).toString()).toBe('the card');
  const answer = await new Promise((resolve) => {
    visit!.invite(Buffer.from('come in'), (_, value) => resolve(Buffer.from(value!).toString()));
  });
  expect(answer).toBe('come in answered');
  const error = await new Promise<VisitError | null>((resolve) => {
    freeAddress().then((address) => a.links.visit(address, resolve), resolve);
  });
  expect(error).toMatchObject({ kind: 'unreachable', outcome: 'not-done' });
  const self = await new Promise<VisitError | null>((resolve) => {
    a.links.visit(a.links.address, resolve);
  });
  expect(self?.kind).toBe('self');
});
