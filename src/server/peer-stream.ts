/**
 * A stream: a connection between two servers of its own for something large, such as a snapshot, so that it delays no
 * message, can be held back by who takes it, and ends when it is done.
 *
 *   calling --welcome--> open --end()--> ending --the other side's `end`--> closed
 *      |                   |                |
 *      +-------------------+----------------+---- any failure, or destroy(): closed
 *
 * An orderly end is said, and answered: who is told that its stream has ended without a reason knows that the other side
 * has read all of it. A connection that merely closes (a process that was killed) is a failure.
 *
 * Both sides ping once a second, read or not; a side that hears nothing for long gives the stream up. While it is paused
 * itself it hears nothing, and does not judge.
 */
import { assert } from '../lib/assert.ts';
import type { Clock } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';
import { type CallFailure, type CallOptions, type CallTarget, PeerCall } from './peer-call.ts';
import type { ChannelOwner, PeerChannel } from './peer-channel.ts';
import { encodeFrame, type Frame, forKeeping, STREAM_PAYLOAD_BYTES_MAX } from './peer-frame.ts';
import type { PeerLimits } from './peer-limits.ts';

export interface PeerStream {
  readonly peer: NodeId;
  /** At most 512 KiB; it may be changed afterwards. Only after `onOpen`; after `end` or close it does nothing. */
  send(payload: Uint8Array): void;
  /** Sent, and not yet taken by the operating system. */
  readonly backlogBytes: number;
  /** No more frames until `resume`: the other side is held back. */
  pause(): void;
  resume(): void;
  /** Flushes, then closes. What the other side has still to say is not heard. */
  end(): void;
  /** Closes at once. */
  destroy(): void;
}

/** None of them comes from within a call of the stream. */
export interface PeerStreamEvents {
  /** `payload` belongs to the callee. */
  onFrame(payload: Uint8Array): void;
  /** `backlogBytes` has come down to zero. */
  onDrain(): void;
  /**
   * Exactly once, last, whoever closed it. Null: ended in order, by either side, and all that was sent before has been
   * read; or destroyed by this side.
   */
  onClose(reason: string | null): void;
}

export type OpenStreamEvents = PeerStreamEvents & { onOpen(stream: PeerStream): void };

export interface StreamOptions {
  readonly clock: Clock;
  readonly limits: PeerLimits;
  /** It is closed; before `onClose`. */
  readonly onOver: (stream: StreamLink) => void;
  /** The links are stopped: no event comes any more. */
  readonly isStopped: () => boolean;
}

const PING = encodeFrame('ping');
const END = encodeFrame('end');

export class StreamLink implements PeerStream, ChannelOwner {
  readonly peer: NodeId;
  readonly #options: StreamOptions;
  #events: PeerStreamEvents | undefined;
  #state: 'calling' | 'open' | 'ending' | 'closed' = 'calling';
  #call: PeerCall | undefined;
  #channel: PeerChannel | undefined;
  #paused = false;
  #pingDueMs = 0;
  /** Before this, silence does not count. */
  #sinceMs = 0;

  constructor(options: StreamOptions, peer: NodeId) {
    this.#options = options;
    this.peer = peer;
  }

  /** For a stream that this side opens. `onFailure` is told besides `onClose`. */
  call(
    options: CallOptions,
    target: CallTarget,
    events: OpenStreamEvents,
    onFailure: (failure: CallFailure) => void,
  ): void {
    this.#events = events;
    this.#call = new PeerCall(options, target, {
      onWelcome: (channel) => {
        this.#open(channel);
        events.onOpen(this);
      },
      onFailure: (failure) => {
        this.#close(failure.reason);
        onFailure(failure);
      },
    });
  }

  /** For a stream that cannot even be tried. */
  giveUp(events: OpenStreamEvents, reason: string): void {
    this.#events = events;
    this.#closeSoon(reason);
  }

  /** For a stream that the other side has opened. */
  accept(channel: PeerChannel, eventsOf: (stream: PeerStream) => PeerStreamEvents): void {
    this.#open(channel);
    this.#events = eventsOf(this);
  }

  get backlogBytes(): number {
    return this.#channel?.backlogBytes ?? 0;
  }

  send(payload: Uint8Array): void {
    assert(this.#state !== 'calling', 'a stream is open before anything is sent', this.peer);
    assert(payload.length <= STREAM_PAYLOAD_BYTES_MAX, 'a payload fits a frame', payload.length);
    if (this.#state !== 'open') return;
    this.#channel!.write(encodeFrame('stream', payload));
    if (this.backlogBytes > this.#options.limits.streamBacklogBytesMax) {
      this.#closeSoon('the peer takes too little');
    }
  }

  pause(): void {
    if (this.#state !== 'open') return;
    this.#paused = true;
    this.#channel!.pause();
  }

  resume(): void {
    if (this.#state !== 'open' || !this.#paused) return;
    this.#readOn();
  }

  end(): void {
    if (this.#state === 'calling') return this.destroy();
    if (this.#state !== 'open') return;
    this.#channel!.write(END);
    this.#state = 'ending';
    // The answer has to be read.
    if (this.#paused) this.#readOn();
  }

  destroy(): void {
    this.#closeSoon(null);
  }

  /** Closes for a reason of this server. */
  fail(reason: string): void {
    this.#closeSoon(reason);
  }

  tick(nowMs: number): void {
    const { limits } = this.#options;
    if (this.#state === 'calling') return this.#call?.tick(nowMs);
    if (this.#state === 'closed') return;
    const channel = this.#channel!;
    if (this.#paused) this.#sinceMs = nowMs;
    if (nowMs - Math.max(this.#sinceMs, channel.heardMs) > limits.streamSilenceMs) {
      return channel.fail('nothing was heard for too long');
    }
    // What is under way already tells as much.
    if (nowMs < this.#pingDueMs || channel.backlogBytes > 0) return;
    this.#pingDueMs = nowMs + limits.pingIntervalMs;
    channel.write(PING);
  }

  forgive(ms: number): void {
    this.#call?.forgive(ms);
    this.#sinceMs = this.#options.clock.monotonicMs();
  }

  // What comes

  onFrame({ type, payload }: Frame): void {
    if (type === 'end') return this.#onEnd();
    if (type !== 'stream' && type !== 'ping') {
      return this.#channel!.fail('malformed', `a ${type} in a stream`);
    }
    if (type === 'stream' && this.#state === 'open') this.#events!.onFrame(forKeeping(payload));
  }

  onDrain(): void {
    if (this.#state === 'open') this.#events!.onDrain();
  }

  onClose(reason: string, detail?: string): void {
    this.#close(detail === undefined ? reason : `${reason}: ${detail}`);
  }

  #onEnd(): void {
    if (this.#state === 'open') this.#channel!.write(END);
    this.#channel!.end();
    this.#close(null);
  }

  #open(channel: PeerChannel): void {
    this.#call = undefined;
    this.#channel = channel;
    channel.owner = this;
    channel.frameBytesMax = 1 + STREAM_PAYLOAD_BYTES_MAX;
    this.#state = 'open';
    this.#sinceMs = this.#options.clock.monotonicMs();
  }

  #readOn(): void {
    this.#paused = false;
    this.#sinceMs = this.#options.clock.monotonicMs();
    this.#channel!.resume();
  }

  #close(reason: string | null): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#options.onOver(this);
    this.#events!.onClose(reason);
  }

  /** From within a call: the event comes later. */
  #closeSoon(reason: string | null): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#call?.cancel();
    this.#channel?.drop();
    const { clock, onOver, isStopped } = this.#options;
    onOver(this);
    clock.endOfTurn(() => {
      if (!isStopped()) this.#events!.onClose(reason);
    });
  }
}
