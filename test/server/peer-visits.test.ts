/** Visits: how a server asks another one who it is, and asks it in. */
import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Connection } from '../../src/lib/env.ts';
import { encodeFrame, FrameReader, VISIT_PAYLOAD_BYTES_MAX } from '../../src/server/peer-frame.ts';
import { AcceptorHandshake } from '../../src/server/peer-handshake.ts';
import type { PeerLinksOptions } from '../../src/server/peer-links.ts';
import type { Visit, VisitError } from '../../src/server/peer-visit.ts';
import {
  addressOf,
  advertisedBy,
  heartbeat,
  identityOf,
  PeerWorld,
  shakeHands,
  type TestServer,
} from './peer-world.ts';

const bytesOf = (text: string) => new Uint8Array(Buffer.from(text));
const textOf = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString();

/** A server alone that shows a card, and answers every invitation unless it is told not to. */
class HostWorld extends PeerWorld {
  readonly invitations: string[] = [];
  answer: ((bytes: Uint8Array) => void)[] = [];
  answers = true;

  readonly hosting: Partial<PeerLinksOptions> = {
    peers: new Map(),
    clusterId: 'its own cluster',
    card: () => bytesOf('the card'),
    onInvitation: (invitation, answer) => {
      this.invitations.push(textOf(invitation));
      if (this.answers) answer(bytesOf(`answer to ${textOf(invitation)}`));
      else this.answer.push(answer);
    },
  };

  /** The visitor, and the host, which is server 5. */
  async both(options: Partial<PeerLinksOptions> = {}): Promise<[TestServer, TestServer]> {
    return [
      await this.server(1, { peers: new Map() }),
      await this.server(5, { ...this.hosting, ...options }),
    ];
  }

  visit(from: TestServer, host = 5, port = addressOf(host).port): Called<Visit> {
    const called = new Called<Visit>();
    from.links.visit({ host: `n${host}`, port }, called.done);
    expect(called.count).toBe(0);
    return called;
  }

  async visited(from: TestServer): Promise<Visit> {
    const called = this.visit(from);
    await this.until(() => called.count > 0);
    expect(called.error).toBe(null);
    return called.value!;
  }

  invite(visit: Visit, text: string): Called<Uint8Array> {
    const called = new Called<Uint8Array>();
    visit.invite(bytesOf(text), called.done);
    expect(called.count).toBe(0);
    return called;
  }
}

/** What a callback was called with, and how often. */
class Called<T> {
  count = 0;
  error: VisitError | null | undefined;
  value: T | undefined;
  readonly done = (error: VisitError | null, value: T | undefined): void => {
    this.count++;
    this.error = error;
    this.value = value;
  };

  get failure(): string {
    return `${this.count} ${this.error?.kind} ${this.error?.outcome}`;
  }
}

test('a visitor of another cluster sees the card, invites, and gets the answer', async () => {
  const world = new HostWorld();
  const [a, host] = await world.both();
  const visit = await world.visited(a);
  expect(textOf(visit.card)).toBe('the card');
  const called = world.invite(visit, 'come in');
  await world.run(100);
  expect([called.count, called.error, textOf(called.value)]).toEqual([1, null, 'answer to come in']);
  expect(world.streams.between(1, 5)).toEqual([]);
  visit.close();
  await world.run(60_000);
  expect(called.count).toBe(1);
  expect([...a.log, ...host.log]).toEqual([]);
  // Nobody is a guest for a visit.
  expect(host.links.status(1).lastHeardMs).toBe(undefined);
});

test('a visit works between servers of one cluster too, and between peers', async () => {
  const world = new HostWorld();
  const [a] = [await world.server(1), await world.server(2, { ...world.hosting, clusterId: 'test cluster' })];
  const called = world.visit(a, 2);
  await world.run(100);
  expect(textOf(called.value?.card)).toBe('the card');
});

test('card, invitation and answer may be as large as is said', async () => {
  const world = new HostWorld();
  const [a] = await world.both({
    card: () => new Uint8Array(32 << 10).fill(1),
    onInvitation: (invitation, answer) => answer(new Uint8Array(invitation.length).fill(2)),
  });
  const visit = await world.visited(a);
  expect(new Uint8Array(visit.card)).toEqual(new Uint8Array(32 << 10).fill(1));
  const called = new Called<Uint8Array>();
  visit.invite(new Uint8Array(VISIT_PAYLOAD_BYTES_MAX), called.done);
  await world.until(() => called.count > 0);
  expect(new Uint8Array(called.value!)).toEqual(new Uint8Array(VISIT_PAYLOAD_BYTES_MAX).fill(2));
});

test('an answer may come later', async () => {
  const world = new HostWorld();
  const [a] = await world.both();
  world.answers = false;
  const called = world.invite(await world.visited(a), 'come in');
  await world.run(9000);
  expect(called.count).toBe(0);
  world.answer[0]!(bytesOf('at last'));
  await world.run(100);
  expect(textOf(called.value)).toBe('at last');
});

test('a visitor who only looks leaves without a trace', async () => {
  const world = new HostWorld();
  const [a] = await world.both();
  const visit = await world.visited(a);
  visit.close();
  visit.close();
  await world.run(100);
  expect(world.streams.between(1, 5)).toEqual([]);
  expect(world.invitations).toEqual([]);
});

test('why a visit comes to nothing is told: nobody there, wrong secret, another server, itself', async () => {
  const world = new HostWorld();
  const [a] = await world.both({ secret: 'another secret' });
  await world.server(6, { peers: new Map() });
  const dead = await world.server(7, { peers: new Map() });
  world.crash(dead, 'power lost');
  await world.impostor(8, (connection) => {
    connection.handle({ onData: () => {}, onClose: () => {} });
    connection.write(bytesOf('-ERR unknown command\r\n'));
  });
  const visits = [
    world.visit(a, 5),
    world.visit(a, 5, 1),
    world.visit(a, 6),
    world.visit(a, 7),
    world.visit(a, 8),
    world.visit(a, 1),
  ];
  await world.run(5000);
  expect(visits.map(({ failure }) => failure)).toEqual([
    '1 wrong secret not-done',
    '1 unreachable not-done',
    '1 refused not-done',
    '1 unreachable not-done',
    '1 no server not-done',
    '1 self not-done',
  ]);
  expect(visits[0]!.error!.message).toBe('n5:16379: the server there has another secret');
  expect(visits[3]!.error!.message).toBe('n7:16379: no answer to the dial');
});

test('a server without the secret is no host: its card is not seen', async () => {
  const world = new HostWorld();
  const a = await world.server(1, { peers: new Map() });
  await host(world, (_, handshake) => [handshake.welcome], 'guessed', true);
  const called = world.visit(a);
  await world.run(3000);
  expect(called.failure).toBe('1 wrong secret not-done');
});

/** Somebody else at the place of server 5: `answers` says what it writes when the visitor has proved itself. */
async function host(
  world: HostWorld,
  answers: (connection: Connection, handshake: AcceptorHandshake) => Uint8Array[],
  secret = 'a secret',
  lenient = false,
): Promise<void> {
  await world.impostor(5, (connection) => {
    const self = { ...identityOf(5), secret };
    const handshake = new AcceptorHandshake(self, () => undefined, world.random);
    const reader = new FrameReader(VISIT_PAYLOAD_BYTES_MAX);
    connection.handle({
      onClose: () => {},
      onData: (bytes) => {
        reader.feed(bytes);
        for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
          if (frame.type === 'invitation') continue;
          const step = handshake.step(frame);
          if (step.next === 'wait') connection.write(step.send);
          if (step.next === 'refuse' && lenient) connection.write(encodeFrame('welcome', new Uint8Array(32)));
          if (step.next === 'done') for (const each of answers(connection, handshake)) connection.write(each);
        }
      },
    });
  });
}

test('a host that goes silent at any step is given up', async () => {
  const silences: [((handshake: AcceptorHandshake) => Uint8Array[]) | undefined, string][] = [
    [undefined, 'no end of the handshake'],
    [() => [], 'no end of the handshake'],
    [(handshake) => [handshake.welcome], 'no card'],
  ];
  for (const [answers, reason] of silences) {
    const world = new HostWorld();
    const a = await world.server(1, { peers: new Map() });
    if (answers !== undefined) await host(world, (_, handshake) => answers(handshake));
    else await world.impostor(5, (connection) => connection.handle({ onData: () => {}, onClose: () => {} }));
    const called = world.visit(a);
    await world.run(3000);
    expect(called.count).toBe(1);
    expect(called.error!.message).toBe(`n5:16379: ${reason}`);
    expect(world.streams.between(1, 5)).toEqual([]);
  }
});

test('a host that does not answer an invitation leaves its outcome unknown', async () => {
  for (const how of ['silent', 'closed'] as const) {
    const world = new HostWorld();
    const [a, b] = await world.both();
    world.answers = false;
    const called = world.invite(await world.visited(a), 'come in');
    await world.run(1000);
    if (how === 'closed') world.crash(b, 'killed');
    await world.run(10_000);
    expect(called.failure).toBe('1 unreachable unknown');
  }
});

test('an answer that comes when the visitor is gone, or the host stopped, does nothing', async () => {
  const world = new HostWorld();
  const [a, b] = await world.both();
  world.answers = false;
  for (let i = 0; i < 2; i++) world.invite(await world.visited(a), 'come in').done(null, undefined);
  await world.run(12_000);
  world.answer[0]!(bytesOf('too late'));
  expect(() => world.answer[0]!(bytesOf('again'))).toThrow('answered once');
  b.links.stop();
  world.answer[1]!(bytesOf('too late'));
});

test('an invitation after the host has ended the visit fails, and was not sent', async () => {
  const world = new HostWorld();
  const [a] = await world.both();
  const visit = await world.visited(a);
  await world.run(31_000);
  const called = world.invite(visit, 'come in');
  await world.run(10);
  expect(called.failure).toBe('1 unreachable not-done');
  expect(world.invitations).toEqual([]);
});

test('visitors are bounded, and those who only sit there have to leave', async () => {
  const world = new HostWorld();
  const [a] = await world.both({ ...world.hosting, limits: { visitsMax: 2 } });
  const visits = [0, 1, 2].map(() => world.visit(a));
  await world.run(1000);
  expect(visits.filter(({ value }) => value !== undefined)).toHaveLength(2);
  expect(visits.filter(({ error }) => error?.kind === 'refused')).toHaveLength(1);
  await world.run(30_000);
  expect(world.streams.between(1, 5)).toEqual([]);
  await world.visited(a);
});

test('whatever a proved visitor sends, it is cut off or served, and nobody else is disturbed', async () => {
  const world = new HostWorld();
  const hosting = { ...world.hosting, clusterId: 'test cluster' };
  const [a, b] = [
    await world.server(1),
    await world.server(2, { card: hosting.card!, onInvitation: hosting.onInvitation! }),
  ];
  await world.until(() => a.links.status(2).connected);
  for (const bytes of [
    encodeFrame('ping'),
    encodeFrame('card', bytesOf('mine')),
    encodeFrame('stream', bytesOf('x')),
    Uint8Array.of(2, 0, 1, 0, 0, 0, 0, 0),
  ]) {
    const mad = world.stranger(2);
    shakeHands(world, mad, 3, { kind: 'visit' });
    await world.run(20);
    expect(mad.frames.map(({ type }) => type)).toEqual(['challenge', 'welcome', 'card']);
    mad.send(bytes);
    await world.run(20);
    expect(mad.closed).toBe(true);
  }
  const twice = world.stranger(2);
  world.answers = false;
  shakeHands(world, twice, 3, { kind: 'visit' });
  await world.run(20);
  twice.send(encodeFrame('invitation', bytesOf('one')));
  twice.send(encodeFrame('invitation', bytesOf('two')));
  await world.run(20);
  expect([twice.closed, world.invitations]).toEqual([true, ['one']]);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 5 }), async (chunks) => {
      const mad = world.stranger(2);
      shakeHands(world, mad, 3, { kind: 'visit' });
      await world.run(10);
      for (const chunk of chunks) mad.send(chunk);
      await world.run(10);
      mad.connection.destroy();
    }),
    { numRuns: 100 },
  );
  const before = b.received.length;
  a.links.send(2, [heartbeat(1, 2)]);
  await world.run(50);
  expect(b.received.length).toBe(before + 1);
});

test('whatever a proved host sends, the visit ends with a card or an error, once', async () => {
  const frames = [
    encodeFrame('ping'),
    encodeFrame('answer', bytesOf('to what')),
    encodeFrame('card', bytesOf('a card')),
    encodeFrame('invitation', bytesOf('you too')),
    bytesOf('garbage that is long enough'),
  ];
  for (const frame of frames) {
    const world = new HostWorld();
    const a = await world.server(1, { peers: new Map() });
    await host(world, (_, handshake) => [handshake.welcome, frame, frame]);
    const called = world.visit(a);
    await world.run(15_000);
    expect(called.count).toBe(1);
    expect([null, 'no server']).toContain(called.error === null ? null : called.error!.kind);
    // The second card ended it.
    if (called.value !== undefined) expect(world.streams.between(1, 5)).toEqual([]);
  }
});

test('after the links are stopped no visit says anything', async () => {
  const world = new HostWorld();
  const [a] = await world.both();
  world.answers = false;
  const invited = world.invite(await world.visited(a), 'come in');
  const called = world.visit(a);
  a.links.stop();
  await world.run(20_000);
  expect([called.count, invited.count]).toEqual([0, 0]);
});

test('a newcomer that was asked in is connected once it is a peer', async () => {
  const world = new HostWorld();
  const a = await world.server(1, { peers: new Map() });
  const newcomer = await world.server(5, { ...world.hosting, clusterId: 'test cluster' });
  const called = world.invite(await world.visited(a), 'come in');
  await world.run(100);
  expect(called.error).toBe(null);
  const { host: name, peerPort: port } = advertisedBy(5);
  a.links.setPeers(new Map([[5, { name: 'n5', address: { host: name, port } }]]), new Set());
  await world.until(() => a.links.status(5).connected && newcomer.links.status(1).connected);
});
