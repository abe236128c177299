import { Buffer } from 'node:buffer';
import * as net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { createLog } from '../../src/io/log.ts';
import { TcpNetwork } from '../../src/io/tcp.ts';
import type { Connection, ConnectionEvents, Listener } from '../../src/lib/env.ts';
import { InUseError } from '../../src/lib/errors.ts';

const network = new TcpNetwork(createLog({ level: 'warning' }), { keepAliveMs: 300_000 });
const LOOPBACK = { host: '127.0.0.1', port: 0 };

/** One end of a connection that writes down what happens to it. */
class End implements ConnectionEvents {
  readonly calls: string[] = [];
  connection!: Connection;
  received = '';
  #watchers: (() => void)[] = [];

  onConnect(): void {
    this.#note('connect');
  }
  onData(bytes: Uint8Array): void {
    this.received += Buffer.from(bytes).toString('latin1');
    this.#note('data');
  }
  onEnd(): void {
    this.#note('end');
  }
  onDrain(): void {
    this.#note('drain');
  }
  onClose(error: Error | null): void {
    this.#note(error === null ? 'close' : `close ${(error as NodeJS.ErrnoException).code}`);
  }

  /** Resolves once `condition` holds; checked after every event. */
  async until(condition: (end: End) => boolean): Promise<void> {
    while (!condition(this)) await new Promise<void>((resolve) => this.#watchers.push(resolve));
  }
  closed(): Promise<void> {
    return this.until((end) => end.calls.at(-1)?.startsWith('close') === true);
  }

  #note(call: string): void {
    if (call !== 'data' || this.calls.at(-1) !== 'data') this.calls.push(call);
    for (const watcher of this.#watchers.splice(0)) watcher();
  }
}

async function listen(onConnection: (connection: Connection) => void): Promise<Listener> {
  const listener = await network.listen(LOOPBACK, onConnection);
  onTestFinished(() => listener.close());
  return listener;
}

/** A client and the server's end of the same connection. */
async function pair(serverEvents?: (end: End) => ConnectionEvents): Promise<{ client: End; server: End }> {
  const server = new End();
  const listener = await listen((connection) => {
    server.connection = connection;
    connection.handle(serverEvents?.(server) ?? server);
    server.onConnect();
  });
  const client = new End();
  client.connection = network.connect(listener.address, client);
  await Promise.all([client, server].map((end) => end.until(({ calls }) => calls.includes('connect'))));
  server.calls.length = 0;
  onTestFinished(() => {
    client.connection.destroy();
    server.connection.destroy();
  });
  return { client, server };
}

const bytes = (text: string) => Buffer.from(text, 'latin1');

test('port 0 takes a free port, which the listener tells', async () => {
  const listener = await listen(() => {});
  expect(listener.address.host).toBe('127.0.0.1');
  expect(listener.address.port).toBeGreaterThan(0);
});

test('a port that is taken is in use', async () => {
  const { address } = await listen(() => {});
  await expect(network.listen(address, () => {})).rejects.toBeInstanceOf(InUseError);
  await expect(network.listen(address, () => {})).rejects.toThrow(
    `127.0.0.1:${address.port} is already in use`,
  );
});

test('a closed listener accepts no more, its connections live on, its port is free', async () => {
  const { client, server } = await pair();
  const listener = await network.listen(LOOPBACK, () => {});
  listener.close();
  const again = await network.listen(listener.address, () => {});
  again.close();
  client.connection.write(bytes('still here'));
  await server.until(({ received }) => received === 'still here');
});

test('bytes go both ways, and both ends know the addresses', async () => {
  const { client, server } = await pair();
  client.connection.write(bytes('ping'));
  await server.until(({ received }) => received === 'ping');
  server.connection.write(bytes('po'));
  server.connection.write(bytes('ng'));
  await client.until(({ received }) => received === 'pong');
  expect(server.connection.remote).toEqual(client.connection.local);
  expect(server.connection.local).toEqual(client.connection.remote);
});

test('what is written before the connection stands is sent once it does', async () => {
  const server = new End();
  const { address } = await listen((connection) => connection.handle(server));
  const client = new End();
  client.connection = network.connect(address, client);
  client.connection.write(bytes('early'));
  expect(client.connection.backlogBytes).toBe(5);
  await server.until(({ received }) => received === 'early');
  client.connection.destroy();
});

test('a refused connection closes with the reason, once, after connect has returned', async () => {
  const listener = await network.listen(LOOPBACK, () => {});
  listener.close();
  const client = new End();
  client.connection = network.connect(listener.address, client);
  expect(client.calls).toEqual([]);
  await client.closed();
  expect(client.calls).toEqual(['close ECONNREFUSED']);
});

test('a client that has closed its side still gets its replies', async () => {
  const { address } = await listen((connection) => {
    connection.handle({
      onData: () => {},
      onEnd: () => {
        connection.write(bytes('reply'));
        connection.end();
      },
      onClose: () => {},
    });
  });
  const socket = net.connect({ ...address, allowHalfOpen: true });
  socket.end('request');
  let received = '';
  for await (const chunk of socket) received += chunk;
  expect(received).toBe('reply');
});

test('without onEnd our side closes as soon as the other has', async () => {
  const { client, server } = await pair((end) => ({
    onData: (content) => end.onData(content),
    onClose: (error) => end.onClose(error),
  }));
  client.connection.end();
  await server.closed();
  await client.closed();
  expect(server.calls).toEqual(['close']);
  expect(client.calls).toEqual(['connect', 'close']);
});

test('end sends everything that was written, however much', async () => {
  const { client, server } = await pair();
  const bytesTotal = 20 * 1024 * 1024;
  server.connection.write(Buffer.alloc(bytesTotal, 'x'));
  server.connection.end();
  server.connection.write(bytes('too late'));
  await client.until(({ calls }) => calls.includes('end'));
  expect(client.received.length).toBe(bytesTotal);
  client.connection.end();
  await Promise.all([client.closed(), server.closed()]);
  expect(server.calls).toEqual(['close']);
});

test('the last reply arrives even when the client keeps sending', async () => {
  const { client, server } = await pair();
  server.connection.write(bytes('-ERR goodbye\r\n'));
  server.connection.end();
  for (let i = 0; i < 50; i++) {
    client.connection.write(Buffer.alloc(64 * 1024));
    await sleep(1);
  }
  await client.until(({ received }) => received === '-ERR goodbye\r\n');
  expect(server.calls).toEqual([]);
});

test('an ended connection closes though the other side never does', async () => {
  const { client, server } = await pair();
  server.connection.end();
  await client.until(({ calls }) => calls.includes('end'));
  await server.closed();
  expect(server.calls).toEqual(['close']);
});

test('destroy closes at once, but onClose comes after it has returned', async () => {
  const { client, server } = await pair();
  server.connection.destroy();
  expect(server.calls).toEqual([]);
  server.connection.write(bytes('nothing'));
  server.connection.end();
  server.connection.destroy();
  await server.closed();
  expect(server.calls).toEqual(['close']);
  await client.until(({ calls }) => calls.includes('end'));
  expect(client.received).toBe('');
});

test('a paused connection gives no data, holds the other side back, and goes on when resumed', async () => {
  const { client, server } = await pair();
  server.connection.pause();
  const piece = Buffer.alloc(1024 * 1024);
  for (let i = 0; i < 64; i++) client.connection.write(piece);
  await sleep(50);
  expect(server.received).toBe('');
  expect(client.connection.backlogBytes).toBeGreaterThan(32 * 1024 * 1024);
  expect(client.calls).toEqual(['connect']);
  server.connection.resume();
  await server.until(({ received }) => received.length === 64 * piece.length);
  await client.until(({ calls }) => calls.includes('drain'));
  expect(client.connection.backlogBytes).toBe(0);
});

test('a reset by the other side is a close with a reason', async () => {
  const server = new End();
  const { address } = await listen((connection) => connection.handle(server));
  const socket = net.connect(address, () => socket.resetAndDestroy());
  await server.closed();
  expect(server.calls).toEqual(['close ECONNRESET']);
});
