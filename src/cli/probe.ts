/** A look at a server from outside, over its client port: does it answer, and does it know a leader? */
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { TlsOptions } from '../io/tls.ts';
import { MalformedError } from '../lib/bytes.ts';
import { ReplyDecoder } from '../resp/decode.ts';
import { ErrorReply, type Reply, VerbatimReply } from '../resp/reply.ts';

const HOST = '127.0.0.1';
const PROBE_MS_MAX = 1000;

export interface Probed {
  /** It answers PING with PONG. */
  readonly answers: boolean;
  /** The name of the leader it knows; empty while there is none. */
  readonly leader: string;
}

const NOTHING: Probed = { answers: false, leader: '' };

export interface ProbeOptions {
  readonly port: number;
  readonly password: string;
  /** As the server has it; undefined: it does not speak TLS there. */
  readonly tls?: TlsOptions | undefined;
}

/** Never fails: what cannot be reached does not answer. */
export async function probe({ port, password, tls }: ProbeOptions): Promise<Probed> {
  const auth = password === '' ? [] : [['AUTH', password]];
  const socket = tls === undefined ? connect({ host: HOST, port }) : secureSocket(port, tls);
  const replies = await ask(socket, [...auth, ['PING'], ['INFO', 'raft']]);
  const [pong, info] = replies.slice(auth.length);
  if (pong !== 'PONG') return NOTHING;
  return { answers: true, leader: /^raft_leader_id:(.*?)\r?$/m.exec(textOf(info))?.[1] ?? '' };
}

/** It is this machine, and the server is our own: its certificate may name any other address. */
function secureSocket(port: number, { credentials }: TlsOptions): Socket {
  return connectTls({ ...credentials, host: HOST, port, rejectUnauthorized: false });
}

/** The replies that came in time. */
function ask(socket: Socket, commands: readonly (readonly string[])[]): Promise<Reply[]> {
  return new Promise((resolve) => {
    const replies: Reply[] = [];
    const finish = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(replies);
    };
    const timer = setTimeout(finish, PROBE_MS_MAX);
    const decoder = new ReplyDecoder((reply) => {
      replies.push(reply);
      if (replies.length === commands.length) finish();
    });
    socket.on('error', finish);
    socket.on('close', finish);
    socket.on('data', (bytes: Uint8Array) => {
      try {
        decoder.feed(bytes);
      } catch (error) {
        if (!(error instanceof MalformedError)) throw error;
        finish();
      }
    });
    for (const command of commands) socket.write(encodeCommand(command));
  });
}

/** A request as bulk strings. */
export function encodeCommand(words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
}

function textOf(reply: Reply | undefined): string {
  if (reply instanceof Uint8Array) return Buffer.from(reply).toString();
  if (reply instanceof VerbatimReply) return reply.text;
  return reply instanceof ErrorReply ? '' : String(reply ?? '');
}
