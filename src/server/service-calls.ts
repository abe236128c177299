/**
 * Questions between the services of the servers: each is asked once, and answered once or not at all.
 *
 *   call --(call, id)--> the peer's service --(answer, id)--> done(answer)
 *     |   both may be lost, or come late
 *     +--(deadline)--> done(undefined)
 *
 * Nothing is sent again: who asks knows whether asking twice does harm. What a question asked of this server itself
 * carries is not copied, and goes the same way otherwise. Ids begin at random, so that the answer to a question of this
 * server's last life is none to a question of this one.
 */
import { assert } from '../lib/assert.ts';
import type { Clock, Random, Timer } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';
import type { PeerTransport, ServiceMessage } from './peer-message.ts';
import { SERVICE_PAYLOAD_BYTES_MAX } from './service.ts';

/** Over this, a server is not asked. */
const OUTSTANDING_PER_PEER_MAX = 64;
const DEADLINE_MS = 2000;

type Answered = (answer: Uint8Array | undefined) => void;

export interface ServiceCallsOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** This server. */
  readonly self: NodeId;
  readonly transport: PeerTransport;
  readonly deadlineMs?: number;
  /** A question; `payload` is a view of what came. `answer` is called once or not at all. */
  readonly onCall: (from: NodeId, payload: Uint8Array, answer: (payload: Uint8Array) => void) => void;
}

interface Outstanding {
  readonly member: NodeId;
  readonly done: Answered;
  readonly deadline: Timer;
}

export class ServiceCalls {
  readonly #options: ServiceCallsOptions;
  readonly #outstanding = new Map<number, Outstanding>();
  readonly #outstandingOf = new Map<NodeId, number>();
  #lastId: number;
  #stopped = false;

  constructor(options: ServiceCallsOptions) {
    this.#options = options;
    this.#lastId = options.random.below(2 ** 48);
  }

  /** `done` comes once, later; but not any more after `stop`. See `ServiceHost.call`. */
  call(member: NodeId, payload: Uint8Array, done: Answered): void {
    const { clock, deadlineMs = DEADLINE_MS } = this.#options;
    checkPayload(payload);
    if (this.#stopped) return;
    const count = this.#outstandingOf.get(member) ?? 0;
    if (count >= OUTSTANDING_PER_PEER_MAX) {
      clock.after(0, () => {
        if (!this.#stopped) done(undefined);
      });
      return;
    }
    const id = ++this.#lastId;
    const deadline = clock.after(deadlineMs, () => this.#settle(member, id, undefined));
    this.#outstanding.set(id, { member, done, deadline });
    this.#outstandingOf.set(member, count + 1);
    this.#send(member, { kind: 'call', id, payload });
  }

  receive(from: NodeId, { kind, id, payload }: ServiceMessage): void {
    if (this.#stopped) return;
    if (kind === 'answer') return this.#settle(from, id, payload);
    let answered = false;
    this.#options.onCall(from, payload, (answer) => {
      assert(!answered, 'a question is answered once', id);
      answered = true;
      checkPayload(answer);
      if (!this.#stopped) this.#send(from, { kind: 'answer', id, payload: answer });
    });
  }

  /** Nobody is told anything any more. */
  stop(): void {
    this.#stopped = true;
    for (const { deadline } of this.#outstanding.values()) deadline.cancel();
    this.#outstanding.clear();
    this.#outstandingOf.clear();
  }

  #send(to: NodeId, message: ServiceMessage): void {
    const { clock, self, transport } = this.#options;
    if (to === self) clock.after(0, () => this.receive(self, message));
    else transport.send(to, [message]);
  }

  /** Too late, or from somebody who was not asked: nobody waits for it. */
  #settle(from: NodeId, id: number, answer: Uint8Array | undefined): void {
    const outstanding = this.#outstanding.get(id);
    if (outstanding === undefined || outstanding.member !== from) return;
    this.#outstanding.delete(id);
    outstanding.deadline.cancel();
    const left = this.#outstandingOf.get(from)! - 1;
    if (left === 0) this.#outstandingOf.delete(from);
    else this.#outstandingOf.set(from, left);
    outstanding.done(answer);
  }
}

function checkPayload({ length }: Uint8Array): void {
  assert(length <= SERVICE_PAYLOAD_BYTES_MAX, 'a question and an answer are within their bound', length);
}
