/**
 * Questions between services: over packets that get lost, come twice and late, and over the real links.
 */
import { describe, expect, test } from 'vitest';
import { ByteReader, ByteWriter, fromLatin1, latin1 } from '../../src/lib/bytes.ts';
import {
  decodePeerMessage,
  encodePeerMessage,
  isServiceMessage,
  type PeerTransport,
} from '../../src/server/peer-message.ts';
import { SERVICE_PAYLOAD_BYTES_MAX } from '../../src/server/service.ts';
import { ServiceCalls, type ServiceCallsOptions } from '../../src/server/service-calls.ts';
import { SimClock } from '../sim/clock.ts';
import { SimNetwork } from '../sim/network.ts';
import { SimRandom } from '../sim/random.ts';
import { type Life, Scheduler } from '../sim/scheduler.ts';
import { PeerWorld } from './peer-world.ts';

type OnCall = ServiceCallsOptions['onCall'];

const echo: OnCall = (from, payload, answer) => answer(fromLatin1(`${from}: ${latin1(payload)}`));

class World {
  readonly scheduler = new Scheduler();
  readonly random: SimRandom;
  readonly network: SimNetwork;

  constructor(seed = 1) {
    this.random = new SimRandom(seed);
    this.network = new SimNetwork(this.scheduler, this.random.split());
  }

  server(id: number, onCall: OnCall, deadlineMs?: number): ServiceCalls {
    const life: Life = { alive: true, paused: false, held: [] };
    const transport: PeerTransport = {
      send: (to, messages) => {
        const out = new ByteWriter();
        for (const message of messages) encodePeerMessage(out, message);
        this.network.send(id, to, out.copy());
      },
    };
    const calls = new ServiceCalls({
      clock: new SimClock(this.scheduler, life, { rate: 1, wallSkewMs: 0 }, this.random.split()),
      ...{ random: this.random.split(), self: id, transport, onCall },
      ...(deadlineMs === undefined ? {} : { deadlineMs }),
    });
    this.network.attach(id, (from, packet) => {
      const message = decodePeerMessage(new ByteReader(packet));
      if (!isServiceMessage(message)) throw new Error(`an unexpected ${message.kind}`);
      calls.receive(from, message);
    });
    return calls;
  }

  run(ms: number): Promise<void> {
    return this.scheduler.run(this.scheduler.nowMs + ms);
  }
}

/** Asks, and notes what comes back. */
function ask(calls: ServiceCalls, member: number, question: string, answers: (string | undefined)[]): void {
  const before = answers.length;
  calls.call(member, fromLatin1(question), (answer) =>
    answers.push(answer === undefined ? undefined : latin1(answer)),
  );
  if (answers.length !== before) throw new Error('the answer came before the call had returned');
}

describe('a question', () => {
  test('is answered by the service of the server that it is asked of', async () => {
    const world = new World();
    const one = world.server(1, echo);
    world.server(2, echo);
    const answers: (string | undefined)[] = [];
    ask(one, 2, 'who asks?', answers);
    await world.run(100);
    expect(answers).toEqual(['1: who asks?']);
  });

  test('may be answered later, or not at all: then its deadline ends it', async () => {
    const world = new World();
    const one = world.server(1, echo, 500);
    const later: (() => void)[] = [];
    world.server(2, (_from, payload, answer) => {
      if (latin1(payload) === 'later') later.push(() => answer(fromLatin1('now')));
    });
    const answers: (string | undefined)[] = [];
    ask(one, 2, 'never', answers);
    ask(one, 2, 'later', answers);
    await world.run(400);
    expect(answers).toEqual([]);
    later[0]!();
    await world.run(50);
    expect(answers).toEqual(['now']);
    await world.run(100);
    expect(answers).toEqual(['now', undefined]);
  });

  test('has two seconds, unless told otherwise', async () => {
    const world = new World();
    const answers: (string | undefined)[] = [];
    ask(world.server(1, echo), 2, 'anybody?', answers);
    await world.run(1999);
    expect(answers).toEqual([]);
    await world.run(20);
    expect(answers).toEqual([undefined]);
  });

  test("that is answered too late has no answer, and the late one is nobody else's", async () => {
    const world = new World();
    const one = world.server(1, echo, 500);
    const late: (() => void)[] = [];
    world.server(2, (from, payload, answer) => {
      if (latin1(payload) === 'late') late.push(() => answer(fromLatin1('too late')));
      else echo(from, payload, answer);
    });
    const answers: (string | undefined)[] = [];
    ask(one, 2, 'late', answers);
    await world.run(600);
    ask(one, 2, 'next', answers);
    late[0]!();
    await world.run(1000);
    expect(answers).toEqual([undefined, '1: next']);
  });

  test('can be asked of this server itself, whose service gets the very bytes in a later turn', async () => {
    const world = new World();
    const question = fromLatin1('myself');
    const heard: [number, boolean][] = [];
    const one = world.server(1, (from, payload, answer) => {
      heard.push([from, payload === question]);
      answer(payload);
    });
    let answered: Uint8Array | undefined;
    one.call(1, question, (answer) => {
      answered = answer;
    });
    expect(heard).toEqual([]);
    await world.run(100);
    expect(heard).toEqual([[1, true]]);
    expect(answered).toBe(question);
    expect(world.network.sentPackets).toBe(0);
  });

  test('is not asked when 64 of that server are unanswered; others are asked still', async () => {
    const world = new World();
    let asked = 0;
    const one = world.server(1, echo, 500);
    world.server(2, () => asked++);
    world.server(3, echo);
    const answers: (string | undefined)[] = [];
    for (let i = 0; i < 70; i++) ask(one, 2, `${i}`, answers);
    ask(one, 3, 'and you?', answers);
    await world.run(100);
    expect(asked).toBe(64);
    expect(answers.filter((answer) => answer === undefined)).toHaveLength(6);
    expect(answers.filter((answer) => answer !== undefined)).toEqual(['1: and you?']);
    await world.run(500);
    expect(answers).toHaveLength(71);
    ask(one, 2, 'again', answers);
    await world.run(100);
    expect(asked).toBe(65);
  });

  test('too large is a bug of who asks, and so is an answer', async () => {
    const world = new World();
    const tooLarge = new Uint8Array(SERVICE_PAYLOAD_BYTES_MAX + 1);
    const one = world.server(1, echo);
    expect(() => one.call(2, tooLarge, () => {})).toThrow('a question and an answer are within their bound');
    world.server(2, (_from, _payload, answer) => answer(tooLarge));
    one.call(2, fromLatin1('how much?'), () => {});
    await expect(world.run(100)).rejects.toThrow('a question and an answer are within their bound');
  });

  test('is not settled by an answer of somebody who was not asked', async () => {
    const world = new World();
    const one = world.server(1, echo, 500);
    const answers: (string | undefined)[] = [];
    world.server(2, () => {});
    world.network.attach(3, undefined);
    let id = 0;
    world.network.attach(2, (_from, packet) => {
      const message = decodePeerMessage(new ByteReader(packet));
      id = isServiceMessage(message) ? message.id : 0;
    });
    ask(one, 2, 'secret?', answers);
    await world.run(100);
    expect(id).toBeGreaterThan(0);
    one.receive(3, { kind: 'answer', id, payload: fromLatin1('a lie') });
    expect(answers).toEqual([]);
    await world.run(500);
    expect(answers).toEqual([undefined]);
  });

  test.each([1, 2, 3, 4, 5])(
    'comes back once, with its own answer or none, over a bad network (seed %i)',
    async (seed) => {
      const world = new World(seed);
      Object.assign(world.network.faults, { lossChance: 0.2, doubleChance: 0.2, longDelayChance: 0.1 });
      const servers = [1, 2, 3].map((id) => world.server(id, echo));
      const comebacks: number[] = Array(300).fill(0);
      let answered = 0;
      for (let i = 0; i < comebacks.length; i++) {
        const from = world.random.below(3);
        servers[from]!.call(1 + world.random.below(3), fromLatin1(`${i}`), (answer) => {
          comebacks[i]!++;
          if (answer === undefined) return;
          expect(latin1(answer)).toBe(`${from + 1}: ${i}`);
          answered++;
        });
        await world.run(world.random.below(20));
      }
      await world.run(5000);
      expect(comebacks.every((count) => count === 1)).toBe(true);
      expect(answered).toBeGreaterThan(100);
      expect(answered).toBeLessThan(300);
    },
  );
});

test('a server that has stopped tells nobody anything, and answers nothing', async () => {
  const world = new World();
  const one = world.server(1, echo);
  const answers: (string | undefined)[] = [];
  const pending: (() => void)[] = [];
  const two = world.server(2, (_from, payload, answer) => pending.push(() => answer(payload)));
  ask(one, 2, 'first', answers);
  await world.run(100);
  const { sentPackets } = world.network;
  two.stop();
  pending[0]!();
  one.stop();
  ask(one, 2, 'second', answers);
  await world.run(5000);
  expect(answers).toEqual([]);
  expect(world.network.sentPackets).toBe(sentPackets);
});

test('questions and answers of the largest size go over the links, beside the heartbeats', async () => {
  const world = new PeerWorld();
  const [a, b] = await world.pair();
  const transport = (server: typeof a): ServiceCallsOptions => ({
    clock: new SimClock(world.scheduler, server.life, { rate: 1, wallSkewMs: 0 }, world.random.split()),
    ...{ random: world.random.split(), self: server.id, transport: server.links },
    onCall: (_from, payload, answer) => answer(payload.slice().reverse()),
  });
  const [one, two] = [new ServiceCalls(transport(a)), new ServiceCalls(transport(b))];
  const question = Uint8Array.from({ length: SERVICE_PAYLOAD_BYTES_MAX }, (_, i) => i * 7);
  let answered: Uint8Array | undefined;
  one.call(2, question, (answer) => {
    answered = answer;
  });
  const delivered = [0, 0];
  await world.until(() => {
    for (const [i, [server, calls]] of (
      [
        [a, one],
        [b, two],
      ] as const
    ).entries()) {
      for (; delivered[i]! < server.received.length; delivered[i]!++) {
        const { from, message } = server.received[delivered[i]!]!;
        if (isServiceMessage(message)) calls.receive(from, message);
      }
    }
    return answered !== undefined;
  });
  expect(Buffer.compare(answered!, question.slice().reverse())).toBe(0);
});
