/** Servers that answer by a script, or not at all, and to a client's greetings as any would. */
import { createServer, type Server, type Socket } from 'node:net';
import { latin1 } from '../../src/lib/bytes.ts';
import { DEFAULT_REQUEST_LIMITS, RequestParser } from '../../src/resp/request-parser.ts';

/** What a server answers to a command; undefined: nothing. */
export type Script = (name: string, argv: readonly string[]) => string | undefined;

const NODES = '$1\r\n\n\r\n';
const COMMANDS = ['get', 'readonly', 'incr', 'write']
  .reduce<string[]>((rows, word, i, all) => {
    if (i % 2 === 0) rows.push(`*3\r\n$${word.length}\r\n${word}\r\n:2\r\n*1\r\n+${all[i + 1]}\r\n`);
    return rows;
  }, [])
  .join('');

export class ScriptedServer {
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

export const SILENT = '';

function defaultReply(name: string): string | undefined {
  if (name === 'cluster') return NODES;
  if (name === 'command') return `*2\r\n${COMMANDS}`;
  if (name === 'hstore.session') return ':7\r\n';
  if (name === 'hello') return '%1\r\n+proto\r\n:3\r\n';
  // ioredis says who it is.
  if (name === 'client') return '+OK\r\n';
  return undefined;
}
