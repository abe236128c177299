/**
 * TLS sockets behind `Network`: the same connections as in tcp.ts, encrypted, with both sides' certificates checked as
 * the certificate authority given says.
 *
 * Who connects is a stranger until the handshake is over, and handshakes are costly: each has its time, there are only so
 * many at once, and of too many the oldest goes. A handshake that fails is a matter of the other side, and is logged so
 * that nobody can fill the log with it.
 *
 * A session is never resumed: a resumed one would be as trusted as the one before it, whatever is asked for meanwhile.
 */
import { constants } from 'node:crypto';
import type * as net from 'node:net';
import * as tls from 'node:tls';
import type { Address, Connection, ConnectionEvents, Listener, Log, Network } from '../lib/env.ts';
import { accept, listenOn, remoteOf, SocketConnection, type TcpOptions, tune } from './tcp.ts';
import type { TlsCredentials } from './tls-credentials.ts';

/** How long a client may take over its handshake. */
const HANDSHAKE_MS_MAX = 10_000;
/** Handshakes under way on one port. */
const HANDSHAKES_MAX = 512;

export type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

export interface TlsOptions {
  readonly credentials: TlsCredentials;
  readonly minVersion: TlsVersion;
  readonly maxVersion: TlsVersion;
  /**
   * Whether the other side must show a certificate of the authority. `optional`: if it shows one, that must be good. What
   * is connected to from here always must.
   */
  readonly verify: 'no' | 'optional' | 'yes';
  readonly handshakeMsMax?: number;
  readonly handshakesMax?: number;
}

type TlsSettings = Pick<
  tls.SecureContextOptions,
  'cert' | 'key' | 'passphrase' | 'ca' | 'minVersion' | 'maxVersion' | 'secureOptions'
>;

export class TlsNetwork implements Network {
  readonly #log: Log;
  readonly #tcp: TcpOptions;
  readonly #options: TlsOptions;
  readonly #settings: TlsSettings;

  constructor(log: Log, tcp: TcpOptions, options: TlsOptions) {
    this.#log = log;
    this.#tcp = tcp;
    this.#options = options;
    const { credentials, minVersion, maxVersion } = options;
    const secureOptions = constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION;
    this.#settings = { ...credentials, minVersion, maxVersion, secureOptions };
  }

  async listen(address: Address, onConnection: (connection: Connection) => void): Promise<Listener> {
    const { verify, handshakeMsMax = HANDSHAKE_MS_MAX, handshakesMax = HANDSHAKES_MAX } = this.#options;
    const server = tls.createServer({
      ...this.#settings,
      allowHalfOpen: true,
      handshakeTimeout: handshakeMsMax,
      requestCert: verify !== 'no',
      rejectUnauthorized: verify === 'yes',
    });
    const strangers = new Strangers(handshakesMax);
    server.on('connection', (socket: net.Socket) => {
      tune(socket, this.#tcp);
      strangers.add(socket);
    });
    server.on('tlsClientError', (error, socket) => {
      this.#refused(addressText(socket), `${socket.authorizationError ?? reasonOf(error)}`);
      // After a timeout nobody else does.
      socket.destroy();
    });
    server.on('secureConnection', (socket) => {
      strangers.delete(socket);
      const reason = verify === 'optional' ? flawOf(socket) : undefined;
      if (reason === undefined) {
        accept(socket, onConnection);
      } else {
        this.#refused(addressText(socket), reason);
        socket.destroy();
      }
    });
    const listener = await listenOn(server, address, this.#log);
    const close = (): void => {
      listener.close();
      strangers.clear();
    };
    return { address: listener.address, close };
  }

  connect(address: Address, events: ConnectionEvents & { onConnect: () => void }): Connection {
    const options = {
      ...this.#settings,
      host: address.host,
      port: address.port,
      allowHalfOpen: true,
      // Else NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment would let anybody in.
      rejectUnauthorized: true,
      // Who has a certificate of the authority is trusted at any address, as in Redis's cluster bus: servers move.
      checkServerIdentity: () => undefined,
    };
    const socket = tls.connect(options);
    tune(socket, this.#tcp);
    const connection = new SocketConnection(socket, address);
    connection.handle(events);
    socket.once('secureConnect', () => events.onConnect());
    return connection;
  }

  #refused(address: string, reason: string): void {
    this.#log.verbose('a TLS handshake failed', { address, reason });
  }
}

/** OpenSSL's own words, without where in its source they are said. */
function reasonOf(error: Error): string {
  return 'reason' in error ? `${error.reason}` : error.message;
}

/** What is wrong with the certificate that the other side has shown; undefined when it has shown none. */
function flawOf(socket: tls.TLSSocket): string | undefined {
  const shown = Object.keys(socket.getPeerCertificate()).length > 0;
  return socket.authorized || !shown ? undefined : `${socket.authorizationError}`;
}

/** Sockets in their handshake. A TLS socket does not tell which one it is made of, but their addresses are the same. */
class Strangers {
  readonly #max: number;
  readonly #sockets = new Map<string, net.Socket>();

  constructor(max: number) {
    this.#max = max;
  }

  add(socket: net.Socket): void {
    const address = addressText(socket);
    this.#sockets.set(address, socket);
    socket.once('close', () => this.#forget(address, socket));
    if (this.#sockets.size <= this.#max) return;
    const [oldest] = this.#sockets.values();
    oldest!.destroy();
  }

  delete(socket: tls.TLSSocket): void {
    this.#sockets.delete(addressText(socket));
  }

  clear(): void {
    for (const socket of this.#sockets.values()) socket.destroy();
  }

  #forget(address: string, socket: net.Socket): void {
    // Another connection may have come from the same address meanwhile.
    if (this.#sockets.get(address) === socket) this.#sockets.delete(address);
  }
}

function addressText(socket: net.Socket): string {
  const { host, port } = remoteOf(socket);
  return `${host}:${port}`;
}
