/**
 * The simulated streams behave like the operating system's, as far as the links can tell: one suite, run on both. And
 * what only they can do: break in every way, alike for the same seed.
 */
import { Buffer } from 'node:buffer';
import { describe, expect, onTestFinished, test } from 'vitest';
import { TcpNetwork } from '../../src/io/tcp.ts';
import type { Address, Connection, ConnectionEvents, Listener, Log, Network } from '../../src/lib/env.ts';
import { InUseError } from '../../src/lib/errors.ts';
import { SimNetwork } from './network.ts';
import { SimRandom } from './random.ts';
import { type Life, Scheduler } from './scheduler.ts';
import { StreamNetwork } from './stream-network.ts';
import { runSeed } from './swarm.ts';

const SILENT: Log = { debug() {}, verbose() {}, notice() {}, warning() {} };

interface World {
  readonly network: Network;
  readonly anyPort: Address;
  until(holds: () => boolean): Promise<void>;
}

function simulated(seed = 1): World & { scheduler: Scheduler; streams: StreamNetwork } {
  const scheduler = new Scheduler();
  const random = new SimRandom(seed);
  const streams = new StreamNetwork(scheduler, random.split(), new SimNetwork(scheduler, random.split()));
  const life: Life = { alive: true, paused: false, held: [] };
  const until = async (holds: () => boolean) => {
    await scheduler.run(scheduler.nowMs + 60_000, holds);
    expect(holds()).toBe(true);
  };
  return { network: streams.open(1, life), anyPort: { host: 'n1', port: 0 }, until, scheduler, streams };
}

function real(): World {
  const network = new TcpNetwork(SILENT, { keepAliveMs: 300_000 });
  const until = async (holds: () => boolean) => {
    while (!holds()) await new Promise((resolve) => setImmediate(resolve));
  };
  return { network, anyPort: { host: '127.0.0.1', port: 0 }, until };
}

/** One end of a connection, and what happened to it. */
class End implements ConnectionEvents {
  connection!: Connection;
  readonly calls: string[] = [];
  readonly #chunks: Uint8Array[] = [];
  receivedBytes = 0;
  /** Undefined unless the test wants to keep its half open. */
  onEnd?: () => void;

  onConnect(): void {
    expect(this.connection).toBeDefined();
    this.calls.push('connect');
  }
  onData(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.receivedBytes += bytes.length;
  }
  onDrain(): void {
    this.calls.push('drain');
  }
  onClose(error: Error | null): void {
    this.calls.push(error === null ? 'close' : 'failed');
  }
  get received(): Buffer {
    return Buffer.concat(this.#chunks);
  }
  get closed(): boolean {
    return this.calls.includes('close') || this.calls.includes('failed');
  }
}

async function pair({ network, anyPort, until }: World): Promise<{ a: End; b: End; listener: Listener }> {
  const [a, b] = [new End(), new End()];
  let accepted = false;
  const listener = await network.listen(anyPort, (connection) => {
    b.connection = connection;
    connection.handle(b);
    accepted = true;
  });
  onTestFinished(() => listener.close());
  a.connection = network.connect(listener.address, a);
  expect(a.calls).toEqual([]);
  await until(() => accepted && a.calls.length === 1);
  expect(a.calls).toEqual(['connect']);
  onTestFinished(() => {
    a.connection.destroy();
    b.connection.destroy();
  });
  return { a, b, listener };
}

const pattern = (length: number, from = 0) =>
  Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 7 + from) & 0xff));

for (const [name, makeWorld] of [
  ['simulated', simulated],
  ['real', real],
] as const) {
  describe(`${name} streams`, () => {
    test('bytes arrive in order and once, both ways', async () => {
      const world = makeWorld();
      const { a, b } = await pair(world);
      for (let i = 0; i < 50; i++) {
        a.connection.write(pattern(i * 1000, i));
        b.connection.write(pattern(i, i));
      }
      const total = (times: number) => (49 * 50 * times) / 2;
      await world.until(() => b.receivedBytes === total(1000) && a.receivedBytes === total(1));
      expect(
        b.received.equals(Buffer.concat(Array.from({ length: 50 }, (_, i) => pattern(i * 1000, i)))),
      ).toBe(true);
      expect(a.received.equals(Buffer.concat(Array.from({ length: 50 }, (_, i) => pattern(i, i))))).toBe(
        true,
      );
    });

    test('a dial to where nobody listens fails, and never connects', async () => {
      const world = makeWorld();
      const { listener } = await pair(world);
      listener.close();
      const c = new End();
      c.connection = world.network.connect(listener.address, c);
      await world.until(() => c.closed);
      expect(c.calls).toEqual(['failed']);
    });

    test('a port is listened on once, and is free again after', async () => {
      const world = makeWorld();
      const { listener } = await pair(world);
      expect(listener.address.port).toBeGreaterThan(0);
      await expect(world.network.listen(listener.address, () => {})).rejects.toBeInstanceOf(InUseError);
    });

    test('what was written before the end arrives, and both sides close', async () => {
      const world = makeWorld();
      const { a, b } = await pair(world);
      a.connection.write(pattern(300_000));
      a.connection.end();
      a.connection.write(pattern(10));
      await world.until(() => a.closed && b.closed);
      expect(b.received.equals(pattern(300_000))).toBe(true);
      expect([a.calls.at(-1), b.calls.at(-1)]).toEqual(['close', 'close']);
      expect(a.calls.filter((call) => call === 'close')).toHaveLength(1);
    });

    test('after the end of the other side one can still answer, with a handler for it', async () => {
      const world = makeWorld();
      const { a, b } = await pair(world);
      b.onEnd = () => {
        b.connection.write(pattern(1000));
        b.connection.end();
      };
      a.connection.write(pattern(10));
      a.connection.end();
      await world.until(() => a.closed && b.closed);
      // Who has ended hears no more.
      expect(a.receivedBytes).toBe(0);
      expect(b.receivedBytes).toBe(10);
    });

    test('the other side of a destroyed connection closes', async () => {
      const world = makeWorld();
      const { a, b } = await pair(world);
      a.connection.destroy();
      expect(a.closed).toBe(false);
      await world.until(() => a.closed && b.closed);
      expect(a.calls).toEqual(['connect', 'close']);
    });

    test('who does not read holds the writer back, whose backlog drains when it does', async () => {
      const world = makeWorld();
      const { a, b } = await pair(world);
      b.connection.pause();
      const bytes = pattern(1 << 20);
      for (let i = 0; i < 16; i++) a.connection.write(bytes);
      await world.until(() => a.connection.backlogBytes > 4 << 20);
      expect(b.receivedBytes).toBe(0);
      b.connection.resume();
      await world.until(() => b.receivedBytes === 16 << 20 && a.connection.backlogBytes === 0);
      await world.until(() => a.calls.includes('drain'));
    });
  });
}

test('a reset leaves a beginning of what was on the way', async () => {
  let partial = 0;
  for (let seed = 1; seed <= 30; seed++) {
    const world = simulated(seed);
    const { a, b } = await pair(world);
    a.connection.write(pattern(20_000));
    await world.scheduler.run(world.scheduler.nowMs + (seed % 3) * 0.3);
    expect(world.streams.reset(1, 1)).toBe(true);
    await world.until(() => a.closed && b.closed);
    expect(b.received.equals(pattern(20_000).subarray(0, b.receivedBytes))).toBe(true);
    if (b.receivedBytes > 0 && b.receivedBytes < 20_000) partial++;
    expect([a.calls.at(-1), b.calls.at(-1)]).toEqual(['failed', 'failed']);
  }
  expect(partial).toBeGreaterThan(5);
});

test('on a half-open connection everything vanishes, and nobody is told', async () => {
  const world = simulated();
  const { a, b } = await pair(world);
  world.streams.halfOpen(1, 1);
  a.connection.write(pattern(200_000));
  b.connection.write(pattern(10));
  await world.scheduler.run(world.scheduler.nowMs + 60_000);
  expect([a.receivedBytes, b.receivedBytes]).toEqual([0, 0]);
  expect([a.closed, b.closed]).toEqual([false, false]);
  expect(a.connection.backlogBytes).toBeGreaterThan(0);
});

test('a cluster over streams runs alike for the same seed', async () => {
  const lines: string[][] = [[], []];
  for (const trace of lines) {
    const { failure } = await runSeed(4, (line) => trace.push(line));
    expect(failure).toBeUndefined();
  }
  expect(lines[0]!.length).toBeGreaterThan(20);
  expect(lines[0]).toEqual(lines[1]);
});
