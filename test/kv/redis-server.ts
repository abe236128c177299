/**
 * A real redis-server to compare with, on a free port, and replies as the bytes that RESP2 makes of them.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asBuffer, fromLatin1, latin1 } from '../../src/lib/bytes.ts';
import { ErrorReply, type Reply } from '../../src/resp/reply.ts';
import { takePorts } from '../ports.ts';

/** Without one there is nothing to compare with; where the tests must all run, that is a failure. */
export function hasRedisServer(): boolean {
  if (spawnSync('redis-server', ['--version']).status === 0) return true;
  if (process.env.CI !== undefined) throw new Error('redis-server is missing');
  return false;
}

export class RedisServer {
  readonly #process: ChildProcess;
  readonly #socket: Socket;
  #received = '';
  #wake: (() => void) | undefined;

  constructor(process: ChildProcess, socket: Socket) {
    this.#process = process;
    this.#socket = socket;
    socket.on('data', (bytes) => {
      this.#received += latin1(bytes);
      this.#wake?.();
    });
  }

  static async start(): Promise<RedisServer> {
    const port = (await takePorts(1))[0]!;
    // It reads the dump that it finds where it starts: there is none.
    const server = spawn('redis-server', ['--port', String(port), '--save', '', '--appendonly', 'no'], {
      cwd: mkdtempSync(join(tmpdir(), 'redis-')),
    });
    for await (const line of server.stdout) if (String(line).includes('Ready to accept')) break;
    server.stdout.resume();
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return new RedisServer(server, socket);
  }

  async stop(): Promise<void> {
    this.#socket.destroy();
    const exit = once(this.#process, 'exit');
    this.#process.kill();
    await exit;
  }

  /** The replies to all commands, each as its bytes. */
  async run(commands: readonly (readonly string[])[]): Promise<string[]> {
    this.#received = '';
    this.#socket.write(fromLatin1(commands.map(encode).join('')));
    const replies: string[] = [];
    let offset = 0;
    while (replies.length < commands.length) {
      const end = replyEnd(this.#received, offset);
      if (end < 0) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        continue;
      }
      replies.push(this.#received.slice(offset, end));
      offset = end;
    }
    return replies;
  }
}

function encode(argv: readonly string[]): string {
  return `*${argv.length}\r\n${argv.map((arg) => `$${arg.length}\r\n${arg}\r\n`).join('')}`;
}

/** Where the reply that begins at `offset` ends; -1 when it has not come as a whole. */
function replyEnd(received: string, offset: number): number {
  const lineEnd = received.indexOf('\r\n', offset);
  if (lineEnd < 0) return -1;
  const count = Number(received.slice(offset + 1, lineEnd));
  let end = lineEnd + 2;
  if (received[offset] === '$' && count >= 0) {
    end += count + 2;
    return end <= received.length ? end : -1;
  }
  if (received[offset] !== '*') return end;
  for (let i = 0; i < count; i++) {
    end = replyEnd(received, end);
    if (end < 0) return -1;
  }
  return end;
}

/** What RESP2 makes of the replies that commands on data give. */
export function render(reply: Reply): string {
  if (typeof reply === 'number' || typeof reply === 'bigint') return `:${reply}\r\n`;
  if (typeof reply === 'string') return `+${reply}\r\n`;
  if (reply === null) return '$-1\r\n';
  if (reply instanceof ErrorReply) return `-${reply.code} ${reply.message}\r\n`;
  if (reply instanceof Uint8Array) return `$${reply.length}\r\n${asBuffer(reply).toString('latin1')}\r\n`;
  if (Array.isArray(reply)) return `*${reply.length}\r\n${reply.map(render).join('')}`;
  throw new Error('no command on data replies so');
}

/** A reply of a real server as a value, for COMMAND INFO and COMMAND DOCS. */
export type Parsed = string | number | null | Parsed[];
export function parse(reply: string): Parsed {
  let offset = 0;
  const next = (): Parsed => {
    const lineEnd = reply.indexOf('\r\n', offset);
    const type = reply[offset];
    const line = reply.slice(offset + 1, lineEnd);
    offset = lineEnd + 2;
    if (type === ':') return Number(line);
    if (type === '+' || type === '-') return line;
    if (Number(line) < 0) return null;
    if (type === '*') return Array.from({ length: Number(line) }, next);
    const text = reply.slice(offset, offset + Number(line));
    offset += Number(line) + 2;
    return text;
  };
  return next();
}
