/**
 * The network of the labs (src/labrpc/labrpc.go) for Raft's messages.
 *
 * A call is a request and its reply; here each is a message of its own, and nobody is blocked while a call is out: what
 * labrpc calls a long delay (a call to a disabled end returns false after up to seven seconds) is a message that never
 * arrives. An RPC is a request; answers are not counted, as in `rpcCount` of the labs.
 *
 *   unreliable       a request is late by 0 to 26 ms, and lost in one case of ten; so is an answer lost
 *   long reordering  two answers of three are late by 200 to 2200 ms, skewed to the low end
 *
 * Harsher than labrpc: a message from an earlier life of a server may still arrive.
 */
import { ByteReader, ByteWriter } from '../../src/lib/bytes.ts';
import type { Message } from '../../src/raft/messages.ts';
import { decodeMessage, encodeMessage } from '../../src/raft/wire.ts';
import type { SimRandom } from '../sim/random.ts';
import type { Scheduler } from '../sim/scheduler.ts';

export class LabNetwork {
  reliable = true;
  longReordering = false;
  /** Bytes of all requests and answers. */
  bytesTotal = 0;
  readonly #rpcCounts = new Map<number, number>();
  readonly #connected = new Set<number>();
  readonly #scheduler: Scheduler;
  readonly #random: SimRandom;
  readonly #receive: (to: number, message: Message) => void;

  constructor(scheduler: Scheduler, random: SimRandom, receive: (to: number, message: Message) => void) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.#receive = receive;
  }

  connect(server: number): void {
    this.#connected.add(server);
  }

  disconnect(server: number): void {
    this.#connected.delete(server);
  }

  connected(server: number): boolean {
    return this.#connected.has(server);
  }

  /** Requests that `server` was sent and got. */
  rpcCount(server: number): number {
    return this.#rpcCounts.get(server) ?? 0;
  }

  send(from: number, to: number, message: Message): void {
    const out = new ByteWriter();
    encodeMessage(out, message);
    const packet = out.copy();
    if (!this.connected(from) || !this.connected(to)) return;
    this.bytesTotal += packet.length;
    const request = isRequest(message);
    if (!this.reliable && this.#random.chance(0.1)) return;
    this.#scheduler.after(this.#delayMs(request), undefined, () => {
      if (!this.connected(from) || !this.connected(to)) return;
      if (request) this.#rpcCounts.set(to, this.rpcCount(to) + 1);
      this.#receive(to, decodeMessage(new ByteReader(packet)));
    });
  }

  #delayMs(request: boolean): number {
    const random = this.#random;
    const wireMs = random.between(0.05, 0.5);
    if (request) return wireMs + (this.reliable ? 0 : random.below(27));
    const late = this.longReordering && random.below(900) < 600;
    return wireMs + (late ? 200 + random.below(1 + random.below(2000)) : 0);
  }
}

function isRequest({ type }: Message): boolean {
  return !type.endsWith('Response');
}
