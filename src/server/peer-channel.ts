/**
 * A connection that carries frames, from either side of it. It changes hands: who shook hands over it hands it on to
 * whoever the connection is for.
 */
import { assert } from '../lib/assert.ts';
import { MalformedError } from '../lib/bytes.ts';
import type { Address, Clock, Connection, ConnectionEvents } from '../lib/env.ts';
import { type Frame, FrameReader, SMALL_FRAME_BYTES_MAX } from './peer-frame.ts';

export interface ChannelOwner {
  onFrame(frame: Frame): void;
  onDrain?(): void;
  /** The last event, unless the owner dropped the channel: then none comes. */
  onClose(reason: string, detail?: string): void;
}

export class PeerChannel {
  owner: ChannelOwner;
  /** When bytes last came, by the monotonic clock. */
  heardMs: number;
  readonly #clock: Clock;
  readonly #connection: Connection;
  readonly #reader = new FrameReader(SMALL_FRAME_BYTES_MAX);
  /** `ending`: nothing is heard any more, what was written still goes out. */
  #state: 'open' | 'ending' | 'closed' = 'open';
  #paused = false;
  #failed = false;

  /** `open` makes a connection with these events, or hands them to one. */
  constructor(clock: Clock, owner: ChannelOwner, open: (events: ConnectionEvents) => Connection) {
    this.owner = owner;
    this.#clock = clock;
    this.heardMs = clock.monotonicMs();
    this.#connection = open({
      onData: (bytes) => this.#onData(bytes),
      onDrain: () => {
        if (this.#state === 'open') this.owner.onDrain?.();
      },
      onClose: (error) => this.#closed(error?.message ?? 'the peer closed the connection'),
    });
  }

  get remote(): Address {
    return this.#connection.remote;
  }

  get backlogBytes(): number {
    return this.#connection.backlogBytes;
  }

  get open(): boolean {
    return this.#state === 'open';
  }

  /** This side has closed it for a reason, see `fail`. */
  get failed(): boolean {
    return this.#failed;
  }

  /** A longer frame is refused by its length alone. */
  set frameBytesMax(bytes: number) {
    this.#reader.bodyBytesMax = bytes;
  }

  write(bytes: Uint8Array): void {
    if (this.#state === 'open') this.#connection.write(bytes);
  }

  /** No more frames until `resume`. */
  pause(): void {
    this.#paused = true;
    this.#connection.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    // Not from within the call, and first what came before the pause.
    this.#clock.endOfTurn(() => {
      if (this.#readable) this.#read();
      if (this.#readable) this.#connection.resume();
    });
  }

  /** What `read` makes of the bytes of a frame; undefined, and the channel closed, when they make no sense. */
  parse<T>(read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.fail('malformed', error.message);
      return undefined;
    }
  }

  /** Closes at once, and tells the owner. */
  fail(reason: string, detail?: string): void {
    if (this.#state === 'closed') return;
    this.#failed = true;
    this.#connection.destroy();
    this.#closed(reason, detail);
  }

  /** Sends what is written, then closes. The owner hears of that, and of nothing else. */
  end(): void {
    if (this.#state !== 'open') return;
    this.#state = 'ending';
    if (this.#paused) this.#connection.resume();
    this.#connection.end();
  }

  /** Closes at once, and the owner hears nothing more. */
  drop(): void {
    this.#state = 'closed';
    this.#connection.destroy();
  }

  get #readable(): boolean {
    return this.#state === 'open' && !this.#paused;
  }

  #onData(bytes: Uint8Array): void {
    if (this.#state !== 'open') return;
    assert(!this.#paused, 'a paused connection says nothing');
    this.heardMs = this.#clock.monotonicMs();
    this.#reader.feed(bytes);
    this.#read();
  }

  #read(): void {
    while (this.#readable) {
      const frame = this.parse(() => this.#reader.next());
      if (frame === undefined) return;
      this.owner.onFrame(frame);
    }
  }

  #closed(reason: string, detail?: string): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.owner.onClose(reason, detail);
  }
}
