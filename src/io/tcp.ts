/**
 * TCP sockets behind `Network`. What is common to them and to TLS (tls.ts) is here too.
 *
 * Nagle's algorithm is off: whoever writes here writes once per turn, and waiting would only add delay.
 * Sockets are half open: a client may send its commands, close its side (`printf 'PING\r\n' | nc`), and still
 * gets its replies. Handlers without `onEnd` do not care for that, so for them our side closes as soon as the
 * other has.
 *
 * `end` closes slowly on purpose. A socket that is closed while bytes of the other side are unread sends RST,
 * and RST may overtake what was written last, usually the very error reply that explains the end. So after
 * our FIN what still comes is read and thrown away, for a short while, until the other side closes too.
 */
import * as net from 'node:net';
import { assert } from '../lib/assert.ts';
import type { Address, Connection, ConnectionEvents, Listener, Log, Network } from '../lib/env.ts';
import { InUseError } from '../lib/errors.ts';

/** How long the other side may take to close after we have. */
const LINGER_MS = 1000;
/** How long an ended connection may stand still with bytes that its peer does not read. */
const END_IDLE_MS = 10_000;

const NOWHERE: Address = { host: '', port: 0 };

export interface TcpOptions {
  /**
   * After this long without traffic TCP asks whether the other side is still there; 0: it never does. Redis's
   * `tcp-keepalive`.
   */
  readonly keepAliveMs: number;
}

export class TcpNetwork implements Network {
  readonly #log: Log;
  readonly #options: TcpOptions;

  constructor(log: Log, options: TcpOptions) {
    this.#log = log;
    this.#options = options;
  }

  listen(address: Address, onConnection: (connection: Connection) => void): Promise<Listener> {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      tune(socket, this.#options);
      accept(socket, onConnection);
    });
    return listenOn(server, address, this.#log);
  }

  connect(address: Address, events: ConnectionEvents & { onConnect: () => void }): Connection {
    const socket = net.connect({ host: address.host, port: address.port, allowHalfOpen: true });
    tune(socket, this.#options);
    const connection = new SocketConnection(socket, address);
    connection.handle(events);
    socket.once('connect', () => events.onConnect());
    return connection;
  }
}

/** What is asked of the operating system for a socket. */
export function tune(socket: net.Socket, { keepAliveMs }: TcpOptions): void {
  socket.setNoDelay(true);
  socket.setKeepAlive(keepAliveMs > 0, keepAliveMs);
}

/** Hands an accepted socket over. */
export function accept(socket: net.Socket, onConnection: (connection: Connection) => void): void {
  const connection = new SocketConnection(socket, remoteOf(socket));
  onConnection(connection);
  assert(connection.handled, 'an accepted connection has handlers');
}

/** The other side of a socket that is, or was just now, connected. */
export function remoteOf(socket: net.Socket): Address {
  return addressOf(socket.remoteAddress, socket.remotePort);
}

/** Throws InUseError. */
export function listenOn(server: net.Server, { host, port }: Address, log: Log): Promise<Listener> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(listenError(error, { host, port })));
    // As in Redis `::` is all addresses of IPv6 and none of IPv4, so that `0.0.0.0 ::` can be asked for.
    server.listen({ host, port, ipv6Only: net.isIPv6(host) }, () => {
      server.removeAllListeners('error');
      // Out of file descriptors, most likely. The one connection is lost, listening goes on.
      server.on('error', (error) => log.warning('accept failed', { error: error.message }));
      resolve(listenerOf(server));
    });
  });
}

function listenerOf(server: net.Server): Listener {
  const bound = server.address();
  assert(bound !== null && typeof bound === 'object', 'a listening server has an address');
  return { address: { host: bound.address, port: bound.port }, close: () => void server.close() };
}

function listenError(error: Error, { host, port }: Address): Error {
  const inUse = 'code' in error && error.code === 'EADDRINUSE';
  return inUse ? new InUseError(`address ${host}:${port} is already in use`, error) : error;
}

function addressOf(host: string | undefined, port: number | undefined): Address {
  return host === undefined || port === undefined ? NOWHERE : { host, port };
}

/** A connected socket, or one that is being connected, with or without TLS. */
export class SocketConnection implements Connection {
  readonly remote: Address;
  readonly #socket: net.Socket;
  #events: ConnectionEvents | null = null;
  #failure: Error | null = null;
  /** Set by `end` and `destroy`: from then on the owner hears `onClose` and nothing else. */
  #ending = false;
  #owesDrain = false;

  constructor(socket: net.Socket, remote: Address) {
    this.#socket = socket;
    this.remote = remote;
  }

  get local(): Address {
    return addressOf(this.#socket.localAddress, this.#socket.localPort);
  }

  get backlogBytes(): number {
    return this.#socket.writableLength;
  }

  get handled(): boolean {
    return this.#events !== null;
  }

  handle(events: ConnectionEvents): void {
    assert(this.#events === null, 'a connection gets its handlers once');
    this.#events = events;
    const socket = this.#socket;
    socket.on('data', (bytes: Uint8Array) => {
      if (!this.#ending) events.onData(bytes);
    });
    socket.on('end', () => this.#onEnd(events));
    socket.on('error', (error) => {
      this.#failure ??= error;
    });
    socket.on('close', () => events.onClose(this.#failure));
  }

  write(bytes: Uint8Array): void {
    if (this.#ending || this.#socket.destroyed) return;
    this.#socket.write(bytes, this.#onWritten);
    if (this.#socket.writableLength > 0) this.#owesDrain = true;
  }

  pause(): void {
    if (!this.#ending) this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    if (this.#ending || this.#socket.destroyed) return;
    this.#ending = true;
    const socket = this.#socket;
    socket.setTimeout(END_IDLE_MS, () => socket.destroy());
    socket.once('finish', () => setTimeout(() => socket.destroy(), LINGER_MS).unref());
    socket.end();
    socket.resume();
  }

  destroy(): void {
    this.#ending = true;
    this.#socket.destroy();
  }

  #onEnd(events: ConnectionEvents): void {
    if (this.#ending) return;
    if (events.onEnd === undefined) this.end();
    else events.onEnd();
  }

  /** One function for all writes: no closure per write. */
  readonly #onWritten = (error?: Error | null): void => {
    if (error != null || !this.#owesDrain || this.#socket.writableLength > 0) return;
    this.#owesDrain = false;
    if (!this.#ending) this.#events?.onDrain?.();
  };
}
