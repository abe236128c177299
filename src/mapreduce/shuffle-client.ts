/**
 * One connection at the client's end of the shuffle (shuffle-format.ts): proves that it has the key of the job, lets the
 * server prove the same, and fetches what it is told to, until that is all. It tries nothing twice: that is for
 * shuffle-gatherer.ts.
 */
import { assert, unreachable } from '../lib/assert.ts';
import type { BulkNetwork } from '../lib/bulk-network.ts';
import { MalformedError } from '../lib/bytes.ts';
import type { Address, Connection } from '../lib/env.ts';
import { timingSafeEqual } from '../lib/hmac.ts';
import {
  decodeHello,
  decodeRefusal,
  decodeSlice,
  decodeTorn,
  encodeFetch,
  encodeProof,
  GREETING_BODY_BYTES_MAX,
  type Greeting,
  type MapOutput,
  NONCE_BYTES,
  type ShuffleFrame,
  ShuffleFrameReader,
  type ShuffleRefusal,
  type SliceAnswer,
  type SliceStatus,
  sealOf,
} from './shuffle-format.ts';
import { Silence } from './silence.ts';

/** The server has not sent a byte for so long. */
export const SILENCE_MS_MAX = 5000;

export interface ShuffleErrand {
  readonly address: Address;
  readonly job: string;
  readonly key: Uint8Array;
  readonly partition: number;
  /** What to ask for next, at most FETCH_OUTPUTS_MAX; none: that was all. Asked when all of the last has been answered. */
  next(): readonly MapOutput[];
  onSlice(output: MapOutput, answer: SliceAnswer): void;
  /** Of the slice that is being sent. */
  onData(bytes: Uint8Array): void;
  /** All bytes of the slice have come; or no more of them will, as `status` says. */
  onSliceEnd(status: SliceStatus): void;
  /** Exactly once, last; not after `destroy`. */
  onEnd(end: ShuffleEnd): void;
}

export type ShuffleEnd =
  | { readonly kind: 'done' }
  | { readonly kind: 'refused'; readonly reason: ShuffleRefusal }
  /** No connection, or none any more. */
  | { readonly kind: 'broken'; readonly message: string }
  /** What is there does not speak this protocol, or does not have the key. */
  | { readonly kind: 'stranger'; readonly message: string };

export class ShuffleClient {
  readonly #errand: ShuffleErrand;
  readonly #bulk: BulkNetwork;
  readonly #connection: Connection;
  readonly #silence: Silence;
  readonly #reader = new ShuffleFrameReader(GREETING_BODY_BYTES_MAX);
  #state: 'connected' | 'proving' | 'fetching' | 'over' = 'connected';
  #greeting: Greeting | undefined;
  /** Of the fetch under way: what was asked for, and how many of these were answered. */
  #asked: readonly MapOutput[] = [];
  #answered = 0;
  /** Of the slice that is being sent: bytes that have not come yet. */
  #left = 0;

  constructor(bulk: BulkNetwork, errand: ShuffleErrand) {
    this.#bulk = bulk;
    this.#errand = errand;
    this.#silence = new Silence(bulk.clock, SILENCE_MS_MAX, () => {
      this.#end({ kind: 'broken', message: `it was silent for ${SILENCE_MS_MAX} ms` });
    });
    this.#connection = bulk.network.connect(errand.address, {
      onConnect: () => this.#silence.heard(),
      onData: (bytes) => this.#onData(bytes),
      onClose: (error) => {
        this.#end({ kind: 'broken', message: error?.message ?? 'it closed the connection' });
      },
    });
  }

  /** Harmless when it is over. */
  destroy(): void {
    this.#state = 'over';
    this.#silence.stop();
    this.#connection.destroy();
  }

  #end(end: ShuffleEnd): void {
    if (this.#state === 'over') return;
    this.destroy();
    this.#errand.onEnd(end);
  }

  #onData(bytes: Uint8Array): void {
    if (this.#state === 'over') return;
    this.#silence.heard();
    try {
      this.#reader.feed(bytes);
      for (let frame = this.#reader.next(); frame !== undefined; frame = this.#reader.next()) {
        this.#take(frame);
        if (this.#isOver()) return;
      }
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#end({ kind: 'stranger', message: error.message });
    }
  }

  /** A method, because frames change it. */
  #isOver(): boolean {
    return this.#state === 'over';
  }

  #take({ type, payload }: ShuffleFrame): void {
    if (type === 'refused') return this.#end({ kind: 'refused', reason: decodeRefusal(payload) });
    const state = this.#state;
    switch (state) {
      case 'connected':
        if (type === 'hello') return this.#prove(payload);
        break;
      case 'proving':
        if (type === 'welcome') return this.#begin(payload);
        break;
      case 'fetching':
        return this.#takeAnswer(type, payload);
      case 'over':
        break;
      default:
        unreachable(state);
    }
    throw new MalformedError(`a ${type} where there is none`);
  }

  #prove(payload: Uint8Array): void {
    const { job, key } = this.#errand;
    const clientNonce = this.#bulk.random.bytes(NONCE_BYTES);
    const greeting = { job, clientNonce, serverNonce: decodeHello(payload) };
    this.#greeting = greeting;
    this.#state = 'proving';
    this.#connection.write(encodeProof(greeting, sealOf(key, 'client', greeting)));
  }

  #begin(seal: Uint8Array): void {
    if (!timingSafeEqual(seal, sealOf(this.#errand.key, 'server', this.#greeting!))) {
      throw new MalformedError('it does not have the key of the job');
    }
    this.#state = 'fetching';
    this.#fetch();
  }

  #fetch(): void {
    this.#asked = this.#errand.next();
    this.#answered = 0;
    if (this.#asked.length === 0) return this.#end({ kind: 'done' });
    this.#connection.write(encodeFetch({ partition: this.#errand.partition, outputs: this.#asked }));
  }

  #takeAnswer(type: ShuffleFrame['type'], payload: Uint8Array): void {
    if (this.#left > 0) {
      if (type === 'data' && payload.length <= this.#left) return this.#takeData(payload);
      if (type === 'torn') return this.#endSlice(decodeTorn(payload));
    } else if (type === 'slice') {
      return this.#takeSlice(decodeSlice(payload));
    }
    throw new MalformedError(`a ${type} where there is none`);
  }

  #takeSlice(answer: SliceAnswer): void {
    const output = this.#asked[this.#answered];
    assert(output !== undefined, 'a fetch that is answered is over', this.#answered);
    if (answer.map !== output.map) {
      throw new MalformedError(`the output of map task ${answer.map} instead of ${output.map}`);
    }
    this.#errand.onSlice(output, answer);
    if (answer.status !== 'sent') return this.#goOn();
    this.#left = answer.slice.bytes;
    if (this.#left === 0) this.#endSlice('sent');
  }

  #takeData(bytes: Uint8Array): void {
    this.#left -= bytes.length;
    this.#errand.onData(bytes);
    if (this.#left === 0 && !this.#isOver()) this.#endSlice('sent');
  }

  #endSlice(status: SliceStatus): void {
    this.#left = 0;
    this.#errand.onSliceEnd(status);
    this.#goOn();
  }

  /** The errand may have had enough meanwhile. */
  #goOn(): void {
    this.#answered++;
    if (this.#answered === this.#asked.length && !this.#isOver()) this.#fetch();
  }
}
