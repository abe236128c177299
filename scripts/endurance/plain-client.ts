/**
 * A client without a session: INCR and GET in turn over one socket, each sent when the one before it is answered. When its
 * server closes the connection it goes on at the next one, and asks again what it got no reply to: a server that ends in
 * order has not executed what it had not read. A request fails when it gets an error, or was done although it got no reply.
 */
import { createConnection, type Socket } from 'node:net';

export interface Tally {
  readonly name: string;
  requests: number;
  failed: string[];
  longestMs: number;
}

const CONNECT_AGAIN_MS = 5;

export async function plainClient(
  number: number,
  ports: readonly number[],
  state: { over: boolean },
): Promise<Tally> {
  const tally: Tally = { name: `plain ${number}`, requests: 0, failed: [], longestMs: 0 };
  let lastMs = performance.now();
  let counter = 0;
  for (let at = number; !state.over; at++) {
    const socket = await open(ports[at % ports.length]!);
    if (socket === undefined) {
      await pause(CONNECT_AGAIN_MS);
      continue;
    }
    while (!state.over) {
      const isWrite = tally.requests % 2 === 0;
      const reply = await ask(socket, isWrite ? `INCR plain${number}\r\n` : `GET plain${number}\r\n`);
      if (reply === 'closed') break;
      tally.requests++;
      if (reply.startsWith('-')) {
        tally.failed.push(reply.trim());
        continue;
      }
      const value = Number(reply.split('\r\n')[isWrite ? 0 : 1]!.replace(':', ''));
      if (isWrite) counter++;
      if (value !== counter) tally.failed.push(`${value} instead of ${counter}`);
      counter = value;
      const nowMs = performance.now();
      tally.longestMs = Math.max(tally.longestMs, nowMs - lastMs);
      lastMs = nowMs;
    }
    socket.destroy();
  }
  return tally;
}

function open(port: number): Promise<Socket | undefined> {
  return new Promise((done) => {
    const socket = createConnection({ port, host: '127.0.0.1' }, () => done(socket));
    socket.on('error', () => done(undefined));
  });
}

/** The reply; `closed` when there is none. */
function ask(socket: Socket, request: string): Promise<string> {
  return new Promise((done) => {
    if (socket.readableEnded || socket.destroyed) return done('closed');
    let text = '';
    const finish = (reply: string): void => {
      socket.off('data', onData);
      socket.off('close', onClose);
      socket.off('end', onClose);
      done(reply);
    };
    const onData = (data: Buffer): void => {
      text += data.toString('latin1');
      const lines = text.split('\r\n').length - 1;
      if (lines >= (text.startsWith('$') && !text.startsWith('$-') ? 2 : 1)) finish(text);
    };
    const onClose = (): void => finish('closed');
    socket.on('data', onData);
    socket.on('close', onClose);
    socket.on('end', onClose);
    socket.write(request);
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => void setTimeout(done, ms));
}
