/**
 * A connection that stays open, in raw bytes: for what several clients do to each other, where the order of events on
 * different connections matters. (`converse` in wire.ts is for one client that says everything at once.)
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import { encode, replyEnd, type Step } from './wire.ts';

/** How long anything that must happen may take. */
const WAIT_MS_MAX = 10_000;

export class Talk {
  readonly socket: Socket;
  received = '';
  closed = false;
  #wake: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (bytes: Buffer) => {
      this.received += bytes.toString('latin1');
      this.#wake?.();
    });
    const onEnd = () => {
      this.closed = true;
      this.#wake?.();
    };
    socket.on('end', onEnd);
    socket.on('close', onEnd);
    // That it was reset is seen by its close.
    socket.on('error', () => {});
  }

  static async start(port: number): Promise<Talk> {
    const socket = connect({ port, host: '127.0.0.1' });
    const talk = new Talk(socket);
    await once(socket, 'connect');
    return talk;
  }

  get address(): string {
    return `127.0.0.1:${this.socket.localPort}`;
  }

  send(...steps: Step[]): this {
    this.socket.write(steps.map(encode).join(''), 'latin1');
    return this;
  }

  /** The next replies, or lines of MONITOR, each as its bytes. */
  async replies(count: number): Promise<string[]> {
    const replies: string[] = [];
    while (replies.length < count) {
      const end = this.received === '' ? -1 : replyEnd(this.received, 0);
      if (end < 0) {
        await this.#more(() => `${replies.length} of ${count} replies, and ${JSON.stringify(this.received)}`);
      } else {
        replies.push(this.received.slice(0, end));
        this.received = this.received.slice(end);
      }
    }
    return replies;
  }

  async ask(...step: string[]): Promise<string> {
    return (await this.send(step).replies(1))[0]!;
  }

  async end(): Promise<void> {
    while (!this.closed) await this.#more(() => `no end; received ${JSON.stringify(this.received)}`);
  }

  destroy(): void {
    this.socket.destroy();
  }

  #more(soFar: () => string): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.closed) reject(new Error(`closed after ${soFar()}`));
      const timer = setTimeout(
        () => reject(new Error(`not within ${WAIT_MS_MAX} ms: ${soFar()}`)),
        WAIT_MS_MAX,
      );
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** A connection until the test ends. */
export async function talk(port: number): Promise<Talk> {
  const one = await Talk.start(port);
  onTestFinished(() => one.destroy());
  return one;
}
