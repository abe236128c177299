/**
 * Clients of keys with a time to live, on servers whose clocks drift and jump. When a key goes is for the log's time to
 * say, which no client knows; but once anybody has seen it gone, it stays gone for all.
 */
import { unreachable } from '../../src/lib/assert.ts';
import type { Reply } from '../../src/resp/reply.ts';
import { call, History, outcomeOf, type SwarmClient, textOf } from './calls.ts';
import type { Cluster, SimServer } from './cluster.ts';
import type { Model } from './linearizability.ts';
import type { SimRandom } from './random.ts';

interface Held {
  readonly value: string;
  /** It has a time to live, so it may go at any moment. `maybe`: behind a PERSIST of which nobody knows. */
  readonly mortal: 'yes' | 'no' | 'maybe';
}

export type TtlOp = (
  | { readonly name: 'SET'; readonly value: string; readonly ttlMs: number | undefined }
  | { readonly name: 'GET' | 'DEL' | 'PERSIST' }
) & { readonly key: string; readonly reply: string | number | null | undefined };

/** An operation that finds nothing where there was something mortal is the moment of its death. */
export const ttlModel: Model<Held | null, TtlOp> = {
  initial: null,
  step: (state, op) => {
    const mayBeGone = state?.mortal !== 'no';
    switch (op.name) {
      case 'SET':
        return { value: op.value, mortal: op.ttlMs === undefined ? 'no' : 'yes' };
      case 'GET':
        if (op.reply === null) return mayBeGone ? null : undefined;
        return op.reply === state?.value ? state : undefined;
      case 'DEL':
        if (op.reply === undefined || (op.reply === 0 ? mayBeGone : state !== null)) return null;
        return undefined;
      case 'PERSIST':
        if (state === null || state.mortal === 'no') return op.reply === 1 ? undefined : state;
        if (op.reply === 1) return { ...state, mortal: 'no' };
        if (op.reply === undefined) return { ...state, mortal: 'maybe' };
        // Gone, or made to last before.
        return state.mortal === 'maybe' ? state : null;
      default:
        return unreachable(op);
    }
  },
  key: (state) => JSON.stringify(state),
  partition: (op) => op.key,
  isRead: (op) => op.name === 'GET' && op.reply !== null,
  describe: (op) => JSON.stringify(op),
};

export class TtlClient implements SwarmClient {
  readonly history: History<TtlOp>;
  readonly #id: number;
  readonly #cluster: Cluster;
  readonly #random: SimRandom;
  readonly #pauseMeanMs: number;
  #server: SimServer;
  readonly #untilMs: number;
  #token = 0;
  done = false;

  constructor(cluster: Cluster, id: number, work: { untilMs: number; pauseMeanMs: number }) {
    this.#cluster = cluster;
    this.#id = id;
    this.history = new History(cluster, id);
    this.#random = cluster.random.split();
    this.#untilMs = work.untilMs;
    this.#pauseMeanMs = work.pauseMeanMs;
    this.#server = this.#random.pick(cluster.serving);
    this.#later();
  }

  get operations(): number {
    return this.history.operations.length;
  }

  get unknown(): number {
    return this.history.unknown;
  }

  #later(): void {
    this.#cluster.scheduler.after(this.#random.exponential(this.#pauseMeanMs), undefined, () => this.#next());
  }

  #next(): void {
    if (this.#cluster.scheduler.nowMs > this.#untilMs) {
      this.done = true;
      return;
    }
    // Another server has another clock.
    if (this.#random.chance(0.5)) this.#server = this.#random.pick(this.#cluster.serving);
    const callMs = this.#cluster.scheduler.nowMs;
    const op = this.#generate();
    call(this.#cluster, this.#server, { kind: 'command', argv: argvOf(op) }, (reply) => {
      const outcome = outcomeOf(reply);
      if (outcome === 'replied') this.history.enter(callMs, { ...op, reply: plain(reply!) });
      // A read of unknown outcome says nothing.
      else if (outcome === 'unknown' && op.name !== 'GET') this.history.enterUnknown(callMs, op);
      this.#later();
    });
  }

  #generate(): TtlOp {
    const key = `t${this.#random.below(2)}`;
    const name = this.#random.pick(['SET', 'SET', 'GET', 'GET', 'GET', 'GET', 'DEL', 'PERSIST'] as const);
    if (name !== 'SET') return { name, key, reply: undefined };
    const ttlMs = this.#random.pick([undefined, 1, 100, 100, 500, 2000, 1_800_000]);
    return { name, key, value: `${this.#id}.${this.#token++}`, ttlMs, reply: undefined };
  }
}

function argvOf(op: TtlOp): string[] {
  if (op.name !== 'SET') return [op.name, op.key];
  return [op.name, op.key, op.value, ...(op.ttlMs === undefined ? [] : ['PX', `${op.ttlMs}`])];
}

function plain(reply: Reply): string | number | null {
  return typeof reply === 'number' || typeof reply === 'string' ? reply : textOf(reply);
}
