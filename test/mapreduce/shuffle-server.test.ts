/** The shuffle server lets in who has the key, and stands whatever else comes to its port. */
import { Buffer } from 'node:buffer';
import { describe, expect, test } from 'vitest';
import { MalformedError } from '../../src/lib/bytes.ts';
import type { Connection } from '../../src/lib/env.ts';
import {
  decodeFetch,
  decodeHello,
  decodeRefusal,
  decodeSlice,
  encodeFetch,
  encodeProof,
  encodeRefusal,
  encodeShuffleFrame,
  encodeSlice,
  FETCH_BODY_BYTES_MAX,
  type MapOutput,
  ShuffleFrameReader,
  type ShuffleFrameType,
  sealOf,
} from '../../src/mapreduce/shuffle-format.ts';
import { CONNECTIONS_MAX } from '../../src/mapreduce/shuffle-server.ts';
import { QUEUED_BYTES_MAX } from '../../src/mapreduce/shuffle-session.ts';
import { SimRandom } from '../sim/random.ts';
import { bigPartition, JOB, KEY, rowsOf, SELF, ShuffleWorld } from './shuffle-world.ts';

/** A client by hand. */
class Visitor {
  readonly connection: Connection;
  readonly frames: { type: ShuffleFrameType; payload: Buffer }[] = [];
  closed = false;
  readonly #reader = new ShuffleFrameReader(1024);

  constructor(world: ShuffleWorld) {
    this.connection = world.bulk.network.connect(world.address(1), {
      onConnect: () => {},
      onData: (bytes) => {
        this.#reader.feed(bytes);
        for (let frame = this.#reader.next(); frame !== undefined; frame = this.#reader.next()) {
          this.frames.push({ type: frame.type, payload: Buffer.from(frame.payload) });
        }
      },
      onClose: () => {
        this.closed = true;
      },
    });
  }

  get types(): ShuffleFrameType[] {
    return this.frames.map(({ type }) => type);
  }

  get refusal(): string | undefined {
    const refused = this.frames.find(({ type }) => type === 'refused');
    return refused === undefined ? undefined : decodeRefusal(refused.payload);
  }

  prove(job = JOB, key: Uint8Array = KEY): void {
    const greeting = {
      job,
      serverNonce: decodeHello(this.frames[0]!.payload),
      clientNonce: Buffer.alloc(16, 'c'),
    };
    this.connection.write(encodeProof(greeting, sealOf(key, 'client', greeting)));
  }

  fetch(outputs: readonly MapOutput[], partition = 0): void {
    this.connection.write(encodeFetch({ partition, outputs }));
  }
}

async function worldWith(keys: number): Promise<ShuffleWorld> {
  const world = new ShuffleWorld();
  await world.start(1);
  world.put(1, 1, [bigPartition(keys, 1), [['x', 1]]]);
  return world;
}

async function visit(world: ShuffleWorld): Promise<Visitor> {
  const visitor = new Visitor(world);
  await world.run(20);
  return visitor;
}

describe('a shuffle server', () => {
  test('greets, proves that it has the key too, and sends a slice', async () => {
    const world = await worldWith(10);
    const visitor = await visit(world);
    visitor.prove();
    await world.run(20);
    visitor.fetch([{ map: 1, attempt: 11 }], 1);
    await world.run(20);
    expect(visitor.types).toEqual(['hello', 'welcome', 'slice', 'data']);
    const answer = decodeSlice(visitor.frames[2]!.payload);
    expect(answer).toMatchObject({ map: 1, status: 'sent', slice: { kind: 'counts', bytes: 4, entries: 1 } });
  });

  test('gives exactly the attempt that is asked for', async () => {
    const world = await worldWith(10);
    const visitor = await visit(world);
    visitor.prove();
    await world.run(20);
    visitor.fetch([
      { map: 1, attempt: 12 },
      { map: 1, attempt: 11 },
    ]);
    await world.run(20);
    const answers = visitor.frames.slice(2).map(({ payload }) => decodeSlice(payload).status);
    expect(answers).toEqual(['missing', 'held']);
  });

  test('refuses a wrong key and an unknown job, and says so', async () => {
    const world = await worldWith(10);
    const wrong = await visit(world);
    wrong.prove(JOB, Buffer.alloc(32, 'w'));
    const unknown = await visit(world);
    unknown.prove('job-8-1');
    await world.run(1100);
    expect([wrong.refusal, unknown.refusal]).toEqual(['wrong key', 'unknown job']);
    expect([wrong.closed, unknown.closed]).toEqual([true, true]);
    expect(world.servers.get(1)!.server.connections).toBe(0);
  });

  test('does not take a proof that was made for another connection', async () => {
    const world = await worldWith(10);
    const [first, second] = [await visit(world), await visit(world)];
    second.frames[0] = first.frames[0]!;
    second.prove();
    await world.run(20);
    expect(second.refusal).toBe('wrong key');
  });

  test('cuts off who fetches from a job that is over', async () => {
    const world = await worldWith(100_000);
    const visitor = await visit(world);
    visitor.prove();
    await world.run(20);
    visitor.fetch([{ map: 1, attempt: 11 }]);
    await world.run(1);
    world.servers.get(1)!.server.serve([]);
    await world.run(50);
    expect(visitor.closed).toBe(true);
    expect(world.servers.get(1)!.server.connections).toBe(0);
  });

  test('queues no more than its bound for who does not read, and gives it up after half a minute', async () => {
    const world = await worldWith(200_000);
    const slow = await visit(world);
    slow.prove();
    await world.run(20);
    slow.connection.pause();
    slow.fetch([{ map: 1, attempt: 11 }]);
    await world.run(1000);
    const [socket] = world.streams.between(1, SELF);
    expect(socket!.backlogBytes).toBeGreaterThan(QUEUED_BYTES_MAX / 2);
    expect(socket!.backlogBytes).toBeLessThanOrEqual(QUEUED_BYTES_MAX);
    // Others are served meanwhile.
    expect(await world.rows(world.fetch({ partition: 1 }), 1)).toEqual(['x 1']);
    await world.run(31_000);
    expect(world.servers.get(1)!.server.connections).toBe(0);
  });

  test('sends all to who reads slowly', async () => {
    const world = await worldWith(100_000);
    const fetch = world.fetch();
    for (let step = 0; step < 20; step++) {
      await world.run(5);
      world.streams.stall(1, SELF, 2000);
      await world.run(2000);
    }
    const sources = await world.outcome(fetch.fetched);
    expect(rowsOf(world.files, sources)).toEqual(world.expected());
  });

  test('closes a connection that says nothing, and one that asks for nothing, after ten seconds', async () => {
    const world = await worldWith(10);
    const silent = await visit(world);
    const idle = await visit(world);
    idle.prove();
    await world.run(9000);
    expect([silent.closed, idle.closed]).toEqual([false, false]);
    await world.run(1100);
    expect([silent.closed, idle.closed]).toEqual([true, true]);
  });

  test('refuses what is no frame of its protocol, whatever it is', async () => {
    const world = await worldWith(10);
    const random = new SimRandom(5);
    const wrong: Buffer[] = [
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      Buffer.from([0xff, 0xff, 0xff, 0xff, 1]),
      Buffer.from([0, 0, 0, 0, 1]),
      encodeShuffleFrame('proof', Buffer.alloc(2000)),
      encodeShuffleFrame('proof', Buffer.alloc(10)),
      encodeShuffleFrame('welcome', Buffer.alloc(32)),
      encodeFetch({ partition: 0, outputs: [{ map: 1, attempt: 11 }] }),
      encodeRefusal('busy'),
      ...Array.from({ length: 100 }, () => Buffer.from(random.bytes(6 + random.below(300)))),
    ];
    for (const bytes of wrong) {
      const visitor = await visit(world);
      visitor.connection.write(bytes);
      await world.run(20);
      // Some that are random are the beginning of something long.
      if (visitor.refusal === undefined) visitor.connection.destroy();
      else expect(['malformed', 'unknown job']).toContain(visitor.refusal);
    }
    expect(await world.rows(world.fetch())).toEqual(world.expected());
  });

  test('refuses a fetch that is malformed, or comes before the last was answered', async () => {
    const world = await worldWith(100_000);
    const malformed = await visit(world);
    const early = await visit(world);
    malformed.prove();
    early.prove();
    await world.run(20);
    malformed.connection.write(encodeShuffleFrame('fetch', Buffer.alloc(8)));
    early.fetch([{ map: 1, attempt: 11 }]);
    early.fetch([{ map: 1, attempt: 11 }]);
    await world.run(3000);
    expect([malformed.refusal, early.refusal]).toEqual(['malformed', 'malformed']);
  });

  test('takes a stranger’s place for who comes later', async () => {
    const world = await worldWith(10);
    const strangers = Array.from({ length: CONNECTIONS_MAX }, () => new Visitor(world));
    await world.run(20);
    expect(await world.rows(world.fetch())).toEqual(world.expected());
    await world.run(20);
    expect(strangers.filter(({ closed }) => closed)).toHaveLength(1);
  });

  test('tells who comes when all places are taken that it is busy, and that one comes again', async () => {
    const world = await worldWith(10);
    const busy = Array.from({ length: CONNECTIONS_MAX }, () => new Visitor(world));
    await world.run(20);
    for (const visitor of busy) visitor.prove();
    await world.run(20);
    const late = await visit(world);
    expect(late.refusal).toBe('busy');
    let told = 0;
    const fetch = world.fetch({ onBytes: () => told++ });
    await world.run(5000);
    expect(told).toBeGreaterThan(5);
    for (const visitor of busy) visitor.connection.destroy();
    expect(await world.rows(fetch)).toEqual(world.expected());
  });
});

describe('the frames of the shuffle', () => {
  const frames = [
    encodeShuffleFrame('welcome', Buffer.alloc(32, 1)),
    encodeSlice({
      map: 3,
      status: 'sent',
      slice: { kind: 'values', bytes: 2 ** 40, entries: 2 ** 33, crc32: 0xffffffff },
    }),
    encodeShuffleFrame('data', Buffer.from('some bytes')),
    encodeRefusal('busy'),
  ];

  test('are read alike whole and byte by byte', () => {
    const stream = Buffer.concat(frames);
    for (const pieceBytes of [1, 2, 7, stream.length]) {
      const reader = new ShuffleFrameReader(1024);
      const read: [string, string][] = [];
      for (let at = 0; at < stream.length; at += pieceBytes) {
        reader.feed(stream.subarray(at, at + pieceBytes));
        for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
          const { type } = frame;
          const hex = Buffer.from(frame.payload).toString('hex');
          const last = read.at(-1);
          if (type === 'data' && last?.[0] === 'data') last[1] += hex;
          else read.push([type, hex]);
        }
      }
      expect(read, `pieces of ${pieceBytes}`).toEqual(
        ['welcome', 'slice', 'data', 'refused'].map((type, i) => [
          type,
          frames[i]!.subarray(5).toString('hex'),
        ]),
      );
    }
  });

  test('give back what was put into them', () => {
    const outputs = Array.from({ length: 1024 }, (_, i) => ({ map: i, attempt: 2 ** 40 + i }));
    const fetch = encodeFetch({ partition: 7, outputs });
    expect(fetch.length - 4).toBe(FETCH_BODY_BYTES_MAX);
    expect(decodeFetch(fetch.subarray(5))).toEqual({ partition: 7, outputs });
    expect(decodeSlice(frames[1]!.subarray(5))).toEqual({
      map: 3,
      status: 'sent',
      slice: { kind: 'values', bytes: 2 ** 40, entries: 2 ** 33, crc32: 0xffffffff },
    });
  });

  test('cut short or too long are malformed', () => {
    const slice = frames[1]!.subarray(5);
    const fetch = encodeFetch({ partition: 7, outputs: [{ map: 1, attempt: 2 }] }).subarray(5);
    for (let bytes = 0; bytes < slice.length; bytes++) {
      expect(() => decodeSlice(slice.subarray(0, bytes))).toThrow(MalformedError);
    }
    for (let bytes = 0; bytes < fetch.length; bytes++) {
      expect(() => decodeFetch(fetch.subarray(0, bytes))).toThrow(MalformedError);
    }
    expect(() => decodeSlice(Buffer.concat([slice, Buffer.alloc(1)]))).toThrow(MalformedError);
    expect(() => decodeFetch(Buffer.concat([fetch, Buffer.alloc(1)]))).toThrow(MalformedError);
    expect(() => decodeHello(Buffer.from('HSSH\x02'.padEnd(21, '\0')))).toThrow('version 2 of the shuffle');
    expect(() => decodeHello(Buffer.from('HTTP/1.1 400 Bad Request'))).toThrow('no shuffle server');
  });
});
