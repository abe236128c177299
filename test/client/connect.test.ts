/**
 * The client library against servers that answer by a script, or not at all. Against real ones: e2e/exactly-once.test.ts.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { connect, DeadlineError, type HstoreClient } from '../../src/client/connect.ts';
import { latin1 } from '../../src/lib/bytes.ts';
import { DEFAULT_REQUEST_LIMITS, RequestParser } from '../../src/resp/request-parser.ts';

/** What a server answers to a command; undefined: nothing. */
type Script = (name: string, argv: readonly string[]) => string | undefined;

const NODES = '$1\r\n\n\r\n';
const COMMANDS = ['get', 'readonly', 'incr', 'write']
  .reduce<string[]>((rows, word, i, all) => {
    if (i % 2 === 0) rows.push(`*3\r\n$${word.length}\r\n${word}\r\n:2\r\n*1\r\n+${all[i + 1]}\r\n`);
    return rows;
  }, [])
  .join('');

class ScriptedServer {
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  port = 0;

  constructor(script: Script) {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      const parser = new RequestParser({
        limits: DEFAULT_REQUEST_LIMITS,
        onRequest: (argv) => {
          const words = argv.map(latin1);
          const name = words[0]!.toLowerCase();
          const reply = script(name, words) ?? defaultReply(name);
          if (reply !== undefined) socket.write(reply);
        },
        onProtocolError: () => socket.destroy(),
        onTooBig: () => socket.destroy(),
      });
      socket.on('data', (bytes) => parser.feed(bytes));
      socket.on('error', () => {});
    });
  }

  start(): Promise<this> {
    return new Promise((resolve) => {
      this.#server.listen(0, '127.0.0.1', () => {
        const address = this.#server.address();
        if (address !== null && typeof address === 'object') this.port = address.port;
        resolve(this);
      });
    });
  }

  stop(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

const SILENT = '';

function defaultReply(name: string): string | undefined {
  if (name === 'cluster') return NODES;
  if (name === 'command') return `*2\r\n${COMMANDS}`;
  if (name === 'hstore.session') return ':7\r\n';
  if (name === 'hello') return '%1\r\n+proto\r\n:3\r\n';
  // ioredis says who it is.
  if (name === 'client') return '+OK\r\n';
  return undefined;
}

const servers: ScriptedServer[] = [];
const clients: HstoreClient[] = [];
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  for (const server of servers.splice(0)) server.stop();
});

async function serverOf(script: Script): Promise<string> {
  const server = await new ScriptedServer(script).start();
  servers.push(server);
  return `127.0.0.1:${server.port}`;
}

async function clientOf(nodes: readonly string[], deadlineMs: number): Promise<HstoreClient> {
  const client = await connect({ nodes, deadlineMs });
  clients.push(client);
  return client;
}

async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}

test('a server that takes connections and says nothing holds a client up to its deadline and no longer', async () => {
  const node = await serverOf(() => SILENT);
  const error = await failureOf(connect({ nodes: [node], deadlineMs: 300 }));
  expect(error).toBeInstanceOf(DeadlineError);
  expect((error as DeadlineError).outcome).toBe('not-done');
});

test('a command that a server does not answer is sent to another one in time', async () => {
  let asked = 0;
  // Each answers only what the other has been asked before.
  const script: Script = (name) =>
    name === 'get' ? (++asked % 2 === 1 ? SILENT : '+answer\r\n') : undefined;
  const client = await clientOf([await serverOf(script), await serverOf(script)], 3000);
  expect(await client.get('k')).toBe('answer');
  expect(asked).toBe(2);
});

test('a write that nobody answers fails at its deadline, and nobody knows what became of it', async () => {
  const client = await clientOf([await serverOf((name) => (name === 'hstore.do' ? SILENT : undefined))], 300);
  const error = await failureOf(client.call('INCR', 'n'));
  expect(error).toBeInstanceOf(DeadlineError);
  expect((error as DeadlineError).outcome).toBe('unknown');
});

test('a refusal says nothing of an earlier attempt whose outcome is unknown', async () => {
  let attempts = 0;
  const script: Script = (name) => {
    if (name !== 'hstore.do') return undefined;
    return ++attempts === 1 ? '-TIMEOUT who knows\r\n' : '-MISCONF the disk is full\r\n';
  };
  const client = await clientOf([await serverOf(script)], 500);
  const error = await failureOf(client.call('INCR', 'n'));
  expect(error).toBeInstanceOf(DeadlineError);
  expect((error as DeadlineError).outcome).toBe('unknown');
  // A first attempt that is refused has not been executed.
  expect(`${await failureOf(client.call('INCR', 'n'))}`).toContain('MISCONF');
});

test('of a thousand writes at once no more are open than the servers keep replies for', async () => {
  let openMax = 0;
  const script: Script = (name, [, , seq, ack]) => {
    if (name !== 'hstore.do') return undefined;
    openMax = Math.max(openMax, Number(seq) - Number(ack));
    return `:${seq}\r\n`;
  };
  const client = await clientOf([await serverOf(script)], 5000);
  const replies = await Promise.all(Array.from({ length: 1000 }, () => client.call('INCR', 'n')));
  expect(new Set(replies).size).toBe(1000);
  expect(openMax).toBeLessThanOrEqual(128);
});

test('an expired session is replaced once, by all the writes that find it expired', async () => {
  let opened = 0;
  const script: Script = (name, [, session]) => {
    if (name === 'hstore.session') return `:${++opened}\r\n`;
    if (name !== 'hstore.do') return undefined;
    return session === '1' ? '-SESSIONEXPIRED not executed\r\n' : '+done\r\n';
  };
  const client = await clientOf([await serverOf(script)], 3000);
  const replies = await Promise.all(Array.from({ length: 20 }, () => client.call('INCR', 'n')));
  expect(replies).toEqual(Array(20).fill('done'));
  expect(opened).toBe(2);
});
