/** TLS as a `Network`: who gets in, who does not, and connections that behave as those without TLS do. */
import { Buffer } from 'node:buffer';
import { readFileSync } from 'node:fs';
import * as net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import * as tls from 'node:tls';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { createLog } from '../../src/io/log.ts';
import { TlsNetwork, type TlsOptions } from '../../src/io/tls.ts';
import { readCredentials } from '../../src/io/tls-credentials.ts';
import type { Connection, ConnectionEvents, Listener, Log } from '../../src/lib/env.ts';
import { ConfigError, InUseError } from '../../src/lib/errors.ts';
import { Authority, type Certificate, KEY_PASSWORD } from './certificates.ts';

let authority: Authority;
let strangers: Authority;
let server: Certificate;
let client: Certificate;
let foreign: Certificate;
beforeAll(() => {
  authority = new Authority();
  strangers = new Authority();
  server = authority.issue('server');
  client = authority.issue('client');
  foreign = strangers.issue('foreign');
});
afterAll(() => {
  authority.remove();
  strangers.remove();
});

const LOOPBACK = { host: '127.0.0.1', port: 0 };
const quiet = createLog({ level: 'warning' });

function networkOf(
  certificate: Certificate,
  options: Partial<TlsOptions> = {},
  log: Log = quiet,
): TlsNetwork {
  const { caCertFile } = authority;
  return new TlsNetwork(
    log,
    { keepAliveMs: 300_000 },
    {
      credentials: readCredentials({ ...certificate, keyFilePass: '', caCertFile }),
      ...{ minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3', verify: 'yes' },
      ...options,
    },
  );
}

/** One end of a connection that writes down what happens to it. */
class End implements ConnectionEvents {
  readonly calls: string[] = [];
  received = '';
  connection!: Connection;
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
  onClose(): void {
    this.#note('close');
  }

  async until(condition: (end: End) => boolean): Promise<void> {
    while (!condition(this)) await new Promise<void>((resolve) => this.#watchers.push(resolve));
  }
  did(call: string): Promise<void> {
    return this.until(({ calls }) => calls.includes(call));
  }

  #note(call: string): void {
    if (call !== 'data' || this.calls.at(-1) !== 'data') this.calls.push(call);
    for (const watcher of this.#watchers.splice(0)) watcher();
  }
}

interface Door {
  readonly listener: Listener;
  readonly accepted: End[];
  readonly first: Promise<End>;
}

/** Listens; what comes is sent back, or only heard. */
async function open(network: TlsNetwork, does: 'hear' | 'echo' = 'hear'): Promise<Door> {
  const accepted: End[] = [];
  let onFirst: (end: End) => void = () => {};
  const first = new Promise<End>((resolve) => {
    onFirst = resolve;
  });
  const listener = await network.listen(LOOPBACK, (connection) => {
    const end = new End();
    end.connection = connection;
    const echo = {
      onData: (bytes: Uint8Array) => connection.write(bytes),
      onClose: () => end.onClose(),
    };
    connection.handle(does === 'echo' ? echo : end);
    accepted.push(end);
    onFirst(end);
  });
  onTestFinished(() => {
    listener.close();
    for (const end of accepted) end.connection.destroy();
  });
  return { listener, accepted, first };
}

function dial(network: TlsNetwork, { listener }: Door): End {
  const end = new End();
  end.connection = network.connect(listener.address, end);
  onTestFinished(() => end.connection.destroy());
  return end;
}

/** Any client of TLS, with what it likes to show; resolves with whether it got an answer. */
function visit({ listener }: Door, options: tls.ConnectionOptions): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = tls.connect({ ...listener.address, rejectUnauthorized: false, ...options }, () => {
      socket.write('hello');
    });
    socket.on('data', () => resolve(true));
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(false));
    onTestFinished(() => void socket.destroy());
  });
}

function shown({ certFile, keyFile }: Certificate): { cert: Buffer; key: Buffer } {
  return { cert: readFileSync(certFile), key: readFileSync(keyFile) };
}

describe('a connection', () => {
  test('carries bytes both ways, and ends as one without TLS does', async () => {
    const network = networkOf(server);
    const door = await open(network);
    const mine = dial(network, door);
    await mine.did('connect');
    const theirs = await door.first;
    mine.connection.write(Buffer.from('question'));
    await theirs.until(({ received }) => received === 'question');
    const bytesTotal = 8 * 1024 * 1024;
    theirs.connection.write(Buffer.alloc(bytesTotal, 'x'));
    theirs.connection.end();
    await mine.did('end');
    expect(mine.received.length).toBe(bytesTotal);
    mine.connection.end();
    await Promise.all([mine.did('close'), theirs.did('close')]);
    expect(theirs.calls).toEqual(['data', 'close']);
  });

  test('whose other side has said all it will can still be answered', async () => {
    const network = networkOf(server);
    const door = await open(network);
    const socket = tls.connect(
      { ...door.listener.address, ...shown(client), rejectUnauthorized: false },
      () => socket.end('question'),
    );
    let answer = '';
    socket.on('data', (bytes: Buffer) => {
      answer += bytes.toString();
    });
    const closed = new Promise((resolve) => socket.on('close', resolve));
    const theirs = await door.first;
    await theirs.did('end');
    theirs.connection.write(Buffer.from('answer'));
    theirs.connection.end();
    await closed;
    expect(theirs.received).toBe('question');
    expect(answer).toBe('answer');
  });

  test('that is paused holds the other side back', async () => {
    const network = networkOf(server);
    const door = await open(network);
    const mine = dial(network, door);
    await mine.did('connect');
    const theirs = await door.first;
    theirs.connection.pause();
    const piece = Buffer.alloc(1024 * 1024);
    for (let i = 0; i < 32; i++) mine.connection.write(piece);
    await sleep(50);
    expect(mine.connection.backlogBytes).toBeGreaterThan(8 * 1024 * 1024);
    theirs.connection.resume();
    await theirs.until(({ received }) => received.length === 32 * piece.length);
    await mine.did('drain');
    expect(mine.connection.backlogBytes).toBe(0);
  });

  test('a port that is taken is in use', async () => {
    const { listener } = await open(networkOf(server));
    await expect(networkOf(server).listen(listener.address, () => {})).rejects.toBeInstanceOf(InUseError);
  });
});

describe('who may connect', () => {
  test('with verify yes only who shows a certificate of the authority', async () => {
    const reasons: unknown[] = [];
    const log: Log = { ...quiet, verbose: (_, fields) => void reasons.push(fields?.reason) };
    const door = await open(networkOf(server, { verify: 'yes' }, log), 'echo');
    expect(await visit(door, shown(client))).toBe(true);
    expect(await visit(door, {})).toBe(false);
    expect(await visit(door, shown(foreign))).toBe(false);
    expect(await visit(door, shown(authority.issue('late', { days: -1 })))).toBe(false);
    expect(door.accepted.length).toBe(1);
    expect(reasons).toEqual([
      'peer did not return a certificate',
      'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      'CERT_HAS_EXPIRED',
    ]);
  });

  test('with verify optional also who shows none, but not who shows a bad one', async () => {
    const door = await open(networkOf(server, { verify: 'optional' }), 'echo');
    expect(await visit(door, shown(client))).toBe(true);
    expect(await visit(door, {})).toBe(true);
    expect(await visit(door, { maxVersion: 'TLSv1.2' })).toBe(true);
    expect(await visit(door, shown(foreign))).toBe(false);
    expect(await visit(door, { ...shown(foreign), maxVersion: 'TLSv1.2' })).toBe(false);
    expect(door.accepted.length).toBe(3);
  });

  test('with verify no everybody', async () => {
    const door = await open(networkOf(server, { verify: 'no' }), 'echo');
    expect(await visit(door, {})).toBe(true);
    expect(await visit(door, shown(foreign))).toBe(true);
  });

  test('nobody is let in by a session of before', async () => {
    const door = await open(networkOf(server, { verify: 'optional' }), 'echo');
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const sessions: Buffer[] = [];
      const socket = tls.connect({
        ...door.listener.address,
        rejectUnauthorized: false,
        maxVersion: version,
      });
      socket.on('session', (session) => sessions.push(session));
      socket.write('hello');
      await new Promise((resolve) => socket.once('data', resolve));
      socket.destroy();
      for (const session of sessions) {
        const again = tls.connect({
          ...door.listener.address,
          rejectUnauthorized: false,
          session,
          maxVersion: version,
        });
        await new Promise((resolve) => again.once('secureConnect', resolve));
        expect(again.isSessionReused()).toBe(false);
        again.destroy();
      }
    }
  });

  test('nobody who speaks an older version than is asked for', async () => {
    const door = await open(networkOf(server, { verify: 'no', minVersion: 'TLSv1.3' }), 'echo');
    expect(await visit(door, { maxVersion: 'TLSv1.2' })).toBe(false);
    expect(await visit(door, { minVersion: 'TLSv1.3' })).toBe(true);
  });

  test.each([
    ['its name', undefined],
    ['its name, and whatever the environment says', '0'],
  ])('who is connected to must show a certificate of the authority, whatever %s', async (_, reject) => {
    const name = 'NODE_TLS_REJECT_UNAUTHORIZED';
    if (reject !== undefined) process.env[name] = reject;
    onTestFinished(() => void delete process.env[name]);
    const door = await open(networkOf(server, { verify: 'no' }));
    const mine = dial(networkOf(client), door);
    await mine.did('connect');
    const impostor = tls.createServer(shown(foreign));
    await new Promise<void>((resolve) => impostor.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void impostor.close());
    const { port } = impostor.address() as net.AddressInfo;
    const deceived = new End();
    deceived.connection = networkOf(client).connect({ host: '127.0.0.1', port }, deceived);
    await deceived.did('close');
    expect(deceived.calls).toEqual(['close']);
  });
});

describe('strangers', () => {
  const lines: unknown[] = [];
  const log: Log = { ...quiet, verbose: (event, fields) => void lines.push({ event, ...fields }) };

  /** A TCP connection that says nothing, or nonsense. */
  async function lurk(
    { listener }: Door,
    words = '',
  ): Promise<{ socket: net.Socket; closed: Promise<void> }> {
    const socket = net.connect(listener.address);
    socket.on('error', () => {});
    const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.write(words);
    socket.resume();
    onTestFinished(() => void socket.destroy());
    return { socket, closed };
  }

  test('one who says nothing is sent away after a while, and that is logged with its address', async () => {
    const door = await open(networkOf(server, { handshakeMsMax: 50 }, log));
    const { socket, closed } = await lurk(door);
    const address = `127.0.0.1:${socket.localPort}`;
    await closed;
    expect(lines).toContainEqual({
      ...{ event: 'a TLS handshake failed', address },
      reason: 'TLS handshake timeout',
    });
    expect(door.accepted).toEqual([]);
  });

  test('one who does not speak TLS is sent away', async () => {
    const door = await open(networkOf(server, {}, log));
    const { closed } = await lurk(door, '*1\r\n$4\r\nPING\r\n');
    await closed;
    expect(door.accepted).toEqual([]);
  });

  test('they go with the listener, and those who are in stay', async () => {
    const door = await open(networkOf(server, { verify: 'no' }, log), 'echo');
    const { closed } = await lurk(door);
    const mine = dial(networkOf(server), door);
    await mine.did('connect');
    await door.first;
    door.listener.close();
    await closed;
    mine.connection.write(Buffer.from('still here'));
    await mine.until(({ received }) => received === 'still here');
  });

  test('of too many the one who has been there longest goes', async () => {
    const door = await open(networkOf(server, { handshakesMax: 2, verify: 'no' }, log), 'echo');
    const first = await lurk(door);
    const others = [await lurk(door), await lurk(door)];
    await first.closed;
    expect(others.map(({ socket }) => socket.readyState)).toEqual(['open', 'open']);
    expect(await visit(door, {})).toBe(true);
    // Who is in is no stranger, and does not go.
    const more = [await lurk(door), await lurk(door), await lurk(door)];
    await more[0]!.closed;
    expect(door.accepted[0]!.calls).toEqual([]);
  });
});

describe('files that cannot be used are refused in one line:', () => {
  function problem(files: Partial<Parameters<typeof readCredentials>[0]>): string {
    try {
      readCredentials({ ...server, keyFilePass: '', caCertFile: '', ...files });
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError);
      const { message } = error as ConfigError;
      expect(message).not.toContain('\n');
      return message.replaceAll(authority.directory, 'DIR').replaceAll(strangers.directory, 'OTHER');
    }
    return 'none';
  }

  test('a file that is missing', () => {
    const missing = `${authority.directory}/nosuch`;
    expect(problem({ certFile: missing })).toMatch(/^cannot read tls-cert-file DIR\/nosuch: ENOENT/);
    expect(problem({ keyFile: missing })).toMatch(/^cannot read tls-key-file DIR\/nosuch: ENOENT/);
    expect(problem({ caCertFile: missing })).toMatch(/^cannot read tls-ca-cert-file DIR\/nosuch: ENOENT/);
  });

  test('a key of another certificate', () => {
    expect(problem({ keyFile: foreign.keyFile })).toBe(
      'tls-cert-file DIR/server.crt and tls-key-file OTHER/foreign.key: the key is not that of the certificate',
    );
  });

  test('a file with something else in it', () => {
    const nonsense = authority.write('nonsense', 'nonsense\n');
    expect(problem({ certFile: nonsense })).toBe('tls-cert-file DIR/nonsense holds no certificate in PEM');
    expect(problem({ certFile: server.keyFile })).toBe(
      'tls-cert-file DIR/server.key holds no certificate in PEM',
    );
    expect(problem({ caCertFile: nonsense })).toBe(
      'tls-ca-cert-file DIR/nonsense holds no certificate in PEM',
    );
    expect(problem({ keyFile: nonsense })).toMatch(/^tls-key-file DIR\/nonsense cannot be used: /);
    const damaged = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
    const path = authority.write('damaged', damaged);
    expect(problem({ certFile: path })).toMatch(/^tls-cert-file DIR\/damaged holds a damaged certificate: /);
  });

  test('a certificate that has expired', () => {
    const expired = authority.issue('expired', { days: -1 });
    expect(problem(expired)).toMatch(
      /^the certificate in tls-cert-file DIR\/expired.crt has expired on .* GMT$/,
    );
  });

  test('an encrypted key without its password', () => {
    const encrypted = authority.encrypt(server);
    expect(problem({ ...encrypted, keyFilePass: KEY_PASSWORD })).toBe('none');
    expect(problem(encrypted)).toBe(
      'tls-key-file DIR/server.key.enc cannot be used: it is encrypted: give --tls-key-file-pass',
    );
    expect(problem({ ...encrypted, keyFilePass: 'wrong' })).toBe(
      'tls-key-file DIR/server.key.enc cannot be used: is tls-key-file-pass right?',
    );
  });
});
