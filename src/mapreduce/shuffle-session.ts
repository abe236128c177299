/**
 * One connection at the server's end of the shuffle (shuffle-format.ts): lets in who has the key of a job, and answers its
 * fetches, one after the other.
 *
 * What is read from the disk waits for the network: at most QUEUED_BYTES_MAX are written ahead, however slow the other side
 * reads. One connection has a turn of so many bytes, then the others have theirs.
 */
import { Buffer } from 'node:buffer';
import { unreachable } from '../lib/assert.ts';
import type { BulkFiles } from '../lib/bulk.ts';
import type { BulkNetwork } from '../lib/bulk-network.ts';
import { MalformedError } from '../lib/bytes.ts';
import type { Connection, Log } from '../lib/env.ts';
import { timingSafeEqual } from '../lib/hmac.ts';
import {
  decodeFetch,
  decodeProof,
  encodeHello,
  encodeRefusal,
  encodeShuffleFrame,
  FETCH_BODY_BYTES_MAX,
  FRAME_BYTES_MAX,
  GREETING_BODY_BYTES_MAX,
  NONCE_BYTES,
  type ShuffleFrame,
  ShuffleFrameReader,
  type ShuffleRefusal,
  sealOf,
} from './shuffle-format.ts';
import { SliceStream } from './shuffle-slices.ts';
import { Silence } from './silence.ts';

export const QUEUED_BYTES_MAX = 1 << 20;
const TURN_BYTES_MAX = 1 << 20;
/** Between two requests, and before the first. */
const IDLE_MS_MAX = 10_000;
/** For what is queued to be taken. */
const STALL_MS_MAX = 30_000;

export interface ShuffleSessionHost {
  readonly files: BulkFiles;
  readonly bulk: BulkNetwork;
  readonly log: Log;
  /** Undefined: the job is not served. */
  keyOf(job: string): Uint8Array | undefined;
  directoryOf(job: string): string;
  onServed(bytes: number): void;
  /** Last, once. */
  onClose(session: ShuffleSession): void;
}

export class ShuffleSession {
  readonly #host: ShuffleSessionHost;
  readonly #connection: Connection;
  readonly #reader = new ShuffleFrameReader(GREETING_BODY_BYTES_MAX);
  readonly #nonce: Uint8Array;
  readonly #silence: Silence;
  #state: 'greeted' | 'ready' | 'sending' | 'over' = 'greeted';
  /** Proved to be known. */
  #job: string | undefined;
  #slices: SliceStream | undefined;
  /** For reading into; undefined while the network has it. */
  #buffer: Buffer | undefined;
  #turnDue = false;

  constructor(connection: Connection, host: ShuffleSessionHost) {
    this.#host = host;
    this.#connection = connection;
    this.#nonce = host.bulk.random.bytes(NONCE_BYTES);
    this.#silence = new Silence(host.bulk.clock, IDLE_MS_MAX, () => this.destroy());
    connection.handle({
      onData: (bytes) => this.#onData(bytes),
      onDrain: () => this.#send(),
      onClose: () => this.#onClose(),
    });
    connection.write(encodeHello(this.#nonce));
  }

  /** The job that the other side has proved to know; undefined: it has not yet. */
  get job(): string | undefined {
    return this.#job;
  }

  destroy(): void {
    this.#connection.destroy();
  }

  refuse(reason: ShuffleRefusal, detail: string = reason): void {
    this.#host.log.verbose('a shuffle client was refused', {
      address: this.#connection.remote.host,
      reason: detail,
    });
    this.#finish();
    this.#connection.write(encodeRefusal(reason));
    this.#connection.end();
  }

  #onData(bytes: Uint8Array): void {
    try {
      this.#reader.feed(bytes);
      for (let frame = this.#reader.next(); frame !== undefined; frame = this.#reader.next()) {
        this.#take(frame);
        if (this.#state === 'over') return;
      }
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.refuse('malformed', error.message);
    }
  }

  #take({ type, payload }: ShuffleFrame): void {
    const state = this.#state;
    switch (state) {
      case 'greeted':
        if (type === 'proof') return this.#admit(payload);
        break;
      case 'ready':
        if (type === 'fetch') return this.#answer(payload);
        break;
      case 'sending':
      case 'over':
        break;
      default:
        unreachable(state);
    }
    throw new MalformedError(`a ${type} where there is none`);
  }

  #admit(payload: Uint8Array): void {
    const { job, nonce, seal } = decodeProof(payload);
    const key = this.#host.keyOf(job);
    if (key === undefined) return this.refuse('unknown job');
    const greeting = { job, serverNonce: this.#nonce, clientNonce: nonce };
    if (!timingSafeEqual(seal, sealOf(key, 'client', greeting))) return this.refuse('wrong key');
    this.#job = job;
    this.#state = 'ready';
    this.#reader.bodyBytesMax = FETCH_BODY_BYTES_MAX;
    this.#silence.heard();
    this.#connection.write(encodeShuffleFrame('welcome', sealOf(key, 'server', greeting)));
  }

  #answer(payload: Uint8Array): void {
    const { files, directoryOf } = this.#host;
    this.#slices = new SliceStream(files, directoryOf(this.#job!), decodeFetch(payload));
    this.#state = 'sending';
    this.#silence.heard(STALL_MS_MAX);
    this.#send();
  }

  #send(): void {
    const connection = this.#connection;
    let turnBytes = 0;
    while (this.#slices !== undefined && connection.backlogBytes <= QUEUED_BYTES_MAX - FRAME_BYTES_MAX) {
      if (turnBytes >= TURN_BYTES_MAX) {
        // Else it goes on when what is queued has drained.
        if (connection.backlogBytes === 0) this.#sendNextTurn();
        return;
      }
      const buffer = this.#buffer ?? Buffer.allocUnsafeSlow(FRAME_BYTES_MAX);
      const bytes = this.#slices.fill(buffer);
      if (bytes === 0) return this.#endAnswer();
      connection.write(buffer.subarray(0, bytes));
      // The operating system may have taken all of it at once.
      this.#buffer = connection.backlogBytes === 0 ? buffer : undefined;
      this.#silence.heard();
      this.#host.onServed(bytes);
      turnBytes += bytes;
    }
  }

  #sendNextTurn(): void {
    if (this.#turnDue) return;
    this.#turnDue = true;
    this.#host.bulk.clock.endOfTurn(() => {
      this.#turnDue = false;
      this.#send();
    });
  }

  #endAnswer(): void {
    this.#slices = undefined;
    this.#buffer = undefined;
    this.#state = 'ready';
    this.#silence.heard(IDLE_MS_MAX);
  }

  #finish(): void {
    this.#state = 'over';
    this.#silence.stop();
    this.#slices?.close();
    this.#slices = undefined;
    this.#buffer = undefined;
  }

  #onClose(): void {
    this.#finish();
    this.#host.onClose(this);
  }
}
