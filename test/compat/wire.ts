/**
 * The Redis protocol in raw bytes, one character per byte: requests as they go over a socket, and what comes back, cut
 * into replies but otherwise as it is. No client library stands between a test and the bytes that it compares.
 */
import { connect } from 'node:net';

/** Arguments, to be sent as an array of bulk strings; or bytes, to be sent as they are: inline commands, nonsense. */
export type Step = readonly string[] | string;

/** How long a server may take to answer and close. */
const ANSWER_MS_MAX = 15_000;

export function encode(step: Step): string {
  if (typeof step === 'string') return step;
  return `*${step.length}\r\n${step.map((arg) => `$${arg.length}\r\n${arg}\r\n`).join('')}`;
}

/**
 * Sends all steps in one write on a new connection, a QUIT behind them, and gathers what comes until the server closes.
 * A server that does not close has not understood where the requests end, which is an error.
 */
export function converse(port: number, steps: readonly Step[]): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const received: Buffer[] = [];
  const output = () => Buffer.concat(received).toString('latin1');
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`not closed after ${ANSWER_MS_MAX} ms; received ${JSON.stringify(output())}`));
    }, ANSWER_MS_MAX);
    socket.on('data', (bytes) => received.push(bytes));
    const end = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(output());
    };
    // A server that closes while bytes of ours are on the way resets the connection: that is closed too.
    socket.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ECONNRESET' ? end() : reject(error),
    );
    socket.on('end', end);
    socket.write([...steps, ['QUIT']].map(encode).join(''), 'latin1');
  });
}

/** Each reply as its bytes. Bytes behind the last whole reply are an error. */
export function splitReplies(output: string): string[] {
  const replies: string[] = [];
  for (let offset = 0; offset < output.length; ) {
    const end = replyEnd(output, offset);
    if (end < 0) throw new Error(`half a reply: ${JSON.stringify(output.slice(offset))}`);
    replies.push(output.slice(offset, end));
    offset = end;
  }
  return replies;
}

/** How many replies one of this type is made of, by the count in its header. */
const MEMBERS: Readonly<Record<string, number>> = { '*': 1, '~': 1, '>': 1, '%': 2 };

/** Where the reply that begins at `offset` ends; -1 when it has not come as a whole. */
export function replyEnd(output: string, offset: number): number {
  const lineEnd = output.indexOf('\r\n', offset);
  if (lineEnd < 0) return -1;
  const type = output[offset]!;
  const count = Number(output.slice(offset + 1, lineEnd));
  let end = lineEnd + 2;
  if (type === '$' || type === '=') {
    if (count >= 0) end += count + 2;
    return end <= output.length ? end : -1;
  }
  const members = count * (MEMBERS[type] ?? 0);
  for (let i = 0; i < members; i++) {
    end = replyEnd(output, end);
    if (end < 0) return -1;
  }
  return end;
}

/** A reply as a value, for tests that look inside: a map as its keys and values in turn, states and errors as text. */
export type Parsed = string | number | null | Parsed[];
export function parseReply(reply: string): Parsed {
  let offset = 0;
  const next = (): Parsed => {
    const lineEnd = reply.indexOf('\r\n', offset);
    const type = reply[offset]!;
    const line = reply.slice(offset + 1, lineEnd);
    offset = lineEnd + 2;
    if (type === ':') return Number(line);
    if (type === '_' || (line === '-1' && '$*'.includes(type))) return null;
    const members = MEMBERS[type];
    if (members !== undefined) return Array.from({ length: Number(line) * members }, next);
    if (type !== '$' && type !== '=') return line;
    const text = reply.slice(offset, offset + Number(line));
    offset += Number(line) + 2;
    return type === '=' ? text.slice('txt:'.length) : text;
  };
  return next();
}
