/**
 * The follower's side of snapshots: what the leader sends is written beside the present state, and when it is whole and
 * adds up, it takes the present state's place in one step.
 *
 *   offered --resume--> receiving --end--> verified --install--> installed
 *
 * The socket is read no faster than the store takes it: while a chunk is being written, the stream is paused. When the
 * connection breaks, or this server does, what has been written stays, and the next offer of the same view goes on there.
 */
import type { SnapshotWriter } from '../kv/snapshot-writer.ts';
import { MalformedError } from '../lib/bytes.ts';
import type { Clock, Log, Timer } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';
import type { PeerStream, PeerStreamEvents } from './peer-stream.ts';
import {
  type SnapshotFrame,
  SnapshotFrames,
  type SnapshotOffer,
  sendSnapshotFrame,
} from './snapshot-frames.ts';

export interface SnapshotReceiverOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly nameOf: (id: NodeId) => string;
  /** Why this snapshot is not wanted; undefined when it is. */
  readonly refusal: (from: NodeId, offer: SnapshotOffer) => string | undefined;
  readonly open: (
    offer: { id: Uint8Array; header: Uint8Array },
    done: (error: Error | null, writer: SnapshotWriter | undefined) => void,
  ) => void;
  /** Makes the state that the writer has written, and verified, the present one. `refusal`: why it was not done. */
  readonly install: (writer: SnapshotWriter, done: (refusal: string | undefined) => void) => void;
  readonly onFatal: (error: Error) => void;
  /** The disk is full, or what came is damaged: worth a line, and another try. */
  readonly isOperational: (error: Error) => boolean;
}

/** For INFO. */
export interface SnapshotReception {
  readonly from: NodeId;
  readonly index: number;
  readonly receivedBytes: number;
  readonly receivedEntries: number;
  readonly totalEntries: number;
}

interface Reception {
  readonly stream: PeerStream;
  state: 'waiting' | 'receiving' | 'installing' | 'over';
  writer: SnapshotWriter | undefined;
  /** A call that will answer is under way; then the writer is closed only by that answer. */
  busy: boolean;
  index: number;
  /** Frames that came while a chunk was being written; the stream is paused then, so they are few. */
  readonly frames: SnapshotFrame[];
  readonly joiner: SnapshotFrames;
  movedMs: number;
}

const STALLED_MS = 60_000;
const WATCH_EVERY_MS = 1000;
/** A sender that goes on although it is held back. */
const FRAMES_MAX = 64;

export class SnapshotReceiver {
  readonly #options: SnapshotReceiverOptions;
  /** One at a time: the newest, since that is the leader's last word. */
  #reception: Reception | undefined;
  #watch: Timer | undefined;
  #stopped = false;

  constructor(options: SnapshotReceiverOptions) {
    this.#options = options;
  }

  get reception(): SnapshotReception | undefined {
    const { writer, stream } = this.#reception ?? {};
    if (writer === undefined || stream === undefined) return undefined;
    const { index, receivedBytes, receivedEntries, totalEntries } = writer;
    return { from: stream.peer, index, receivedBytes, receivedEntries, totalEntries };
  }

  /** A peer has opened a stream. */
  accept(stream: PeerStream): PeerStreamEvents {
    const reception: Reception = {
      ...{ stream, state: 'waiting' as const, writer: undefined, busy: false, index: 0, frames: [] },
      joiner: new SnapshotFrames(),
      movedMs: this.#options.clock.monotonicMs(),
    };
    return {
      onFrame: (payload) => this.#onPayload(reception, payload),
      onDrain: () => {},
      onClose: () => this.#end(reception),
    };
  }

  stop(): void {
    this.#stopped = true;
    this.#watch?.cancel();
    if (this.#reception !== undefined) this.#end(this.#reception);
  }

  #onPayload(reception: Reception, payload: Uint8Array): void {
    if (reception.state === 'over') return;
    reception.movedMs = this.#options.clock.monotonicMs();
    try {
      const frame = reception.joiner.take(payload);
      if (frame !== undefined) reception.frames.push(frame);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      return this.#refuse(reception, error.message);
    }
    if (reception.frames.length > FRAMES_MAX) return this.#refuse(reception, 'too much at once');
    this.#next(reception);
  }

  #next(reception: Reception): void {
    const { state, frames, busy } = reception;
    if (busy || state === 'installing' || state === 'over') return;
    const frame = frames.shift();
    if (frame === undefined) return;
    if (frame.type === 'offer' && state === 'waiting') return this.#offered(reception, frame);
    if (frame.type === 'chunk' && state === 'receiving') return this.#chunk(reception, frame.bytes);
    if (frame.type === 'end' && state === 'receiving') return this.#whole(reception);
    this.#refuse(reception, `a frame ${frame.type} where the transfer of a snapshot has none`);
  }

  #offered(reception: Reception, offer: SnapshotOffer): void {
    const { refusal, open, log, nameOf } = this.#options;
    const { stream } = reception;
    const reason = this.#stopped ? 'this server is being stopped' : refusal(stream.peer, offer);
    if (reason !== undefined) return this.#refuse(reception, reason);
    if (this.#reception?.busy || this.#reception?.state === 'installing') {
      return this.#refuse(reception, 'another one is being written');
    }
    if (this.#reception !== undefined) this.#refuse(this.#reception, 'another one was offered');
    this.#reception = reception;
    this.#watchSoon();
    reception.index = offer.index;
    reception.busy = true;
    open({ id: offer.id, header: offer.header }, (error, writer) => {
      reception.writer = writer;
      if (!this.#goesOn(reception, error)) return;
      if (writer!.index !== offer.index || writer!.term !== offer.lastTerm) {
        return this.#refuse(reception, 'the header tells of another entry than the offer');
      }
      log.notice('receives a snapshot', {
        ...{ from: nameOf(stream.peer), index: offer.index, entries: writer!.totalEntries },
        resumed: writer!.resumeAfter !== undefined,
      });
      reception.state = 'receiving';
      sendSnapshotFrame(stream, { type: 'resume', position: writer!.resumeAfter });
      this.#next(reception);
    });
  }

  #chunk(reception: Reception, bytes: Uint8Array): void {
    const { stream, writer } = reception;
    reception.busy = true;
    stream.pause();
    writer!.write(bytes, (error) => {
      if (!this.#goesOn(reception, error)) return;
      if (reception.frames.length === 0) stream.resume();
      this.#next(reception);
    });
  }

  #whole(reception: Reception): void {
    const { stream, writer } = reception;
    reception.busy = true;
    writer!.finish((error) => {
      if (!this.#goesOn(reception, error)) return;
      reception.state = 'installing';
      reception.busy = true;
      this.#options.install(writer!, (refusal) => {
        if (!this.#goesOn(reception, null)) return;
        if (refusal !== undefined) return this.#refuse(reception, refusal);
        sendSnapshotFrame(stream, { type: 'installed', index: reception.index });
        stream.end();
        this.#end(reception);
      });
    });
  }

  /** A call has answered: whether the reception goes on. */
  #goesOn(reception: Reception, error: Error | null): boolean {
    reception.busy = false;
    reception.movedMs = this.#options.clock.monotonicMs();
    if (reception.state === 'over') {
      reception.writer?.close();
      if (this.#reception === reception) this.#reception = undefined;
      return false;
    }
    if (error === null) return true;
    const { isOperational, onFatal } = this.#options;
    if (isOperational(error)) this.#refuse(reception, error.message);
    else onFatal(error);
    return false;
  }

  #refuse(reception: Reception, reason: string): void {
    if (reception.state === 'over') return;
    const { log, nameOf } = this.#options;
    const { stream } = reception;
    log.warning('a snapshot is not taken', { from: nameOf(stream.peer), reason });
    sendSnapshotFrame(stream, { type: 'refused', reason });
    stream.end();
    this.#end(reception);
  }

  /** The stream is over, or this reception is. What was written stays. A call under way goes on to its end. */
  #end(reception: Reception): void {
    if (reception.state === 'over') return;
    reception.state = 'over';
    reception.frames.length = 0;
    if (reception.busy) return;
    reception.writer?.close();
    if (this.#reception === reception) this.#reception = undefined;
  }

  #watchSoon(): void {
    if (this.#watch !== undefined || this.#stopped) return;
    this.#watch = this.#options.clock.after(WATCH_EVERY_MS, () => {
      this.#watch = undefined;
      const reception = this.#reception;
      if (reception === undefined) return;
      const silentMs = this.#options.clock.monotonicMs() - reception.movedMs;
      if (silentMs > STALLED_MS && !reception.busy && reception.state !== 'over') {
        reception.stream.destroy();
        this.#refuse(reception, 'nothing has come for too long');
      }
      this.#watchSoon();
    });
  }
}
