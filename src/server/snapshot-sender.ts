/**
 * The leader's side of snapshots: a follower that needs what the log no longer has gets the state as the store holds it.
 *
 *   waiting --(fewer than two under way)--> opening a view of the store --> offered --> streaming --> ended
 *
 * What is sent is a view of the last checkpoint that LevelDB keeps consistent while the server goes on writing. It is read
 * a chunk at a time, and the next is read when the socket has taken the last and the rate allows it, so nothing gathers
 * here however large the state is or slow the follower. The log is kept from the view's index on until the follower has
 * caught up with it (`heldIndex`), or the snapshot would be of no use when it has arrived.
 *
 * When the connection breaks the view is kept for a while: the follower says how far it came, and only the rest is sent.
 *
 * The paper's InstallSnapshot (§7) sends chunks as requests of their own; here a stream carries them, as in dragonboat.
 */
import { SnapshotReader } from '../kv/snapshot-reader.ts';
import { MalformedError } from '../lib/bytes.ts';
import type { Clock, Log, Random, Store, Timer } from '../lib/env.ts';
import { CorruptionError } from '../lib/errors.ts';
import type { GroupId, NodeId } from '../raft/types.ts';
import type { PeerStream, PeerStreamEvents } from './peer-stream.ts';
import { SNAPSHOT_ID_BYTES, SnapshotFrames, sendSnapshotFrame } from './snapshot-frames.ts';

/** `onOpen` comes before all others, and nothing may be sent before; `onClose` alone if the peer cannot be reached. */
export type OpenStream = (
  peer: NodeId,
  events: PeerStreamEvents & { onOpen(stream: PeerStream): void },
) => PeerStream;

export interface SnapshotSenderOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly store: Store;
  readonly group: GroupId;
  readonly openStream: OpenStream;
  /** This server's, while it leads. */
  readonly term: () => number;
  readonly bytesPerSecond: () => number;
  readonly nameOf: (id: NodeId) => string;
  /** How far the follower's log is known to reach. */
  readonly matchIndexOf: (follower: NodeId) => number;
  /** The last entry that the log no longer has. */
  readonly compactedIndex: () => number;
  /** The store is damaged. */
  readonly onFatal: (error: Error) => void;
  /** Exactly once per `send`; `index`: the last entry of the snapshot that was installed, undefined when none was. */
  readonly onEnded: (follower: NodeId, index: number | undefined) => void;
}

/** A follower that is sent a snapshot, for INFO. */
export interface SnapshotTransfer {
  readonly follower: NodeId;
  readonly index: number;
  readonly sentBytes: number;
}

/** A consistent view of the store, and its name. */
interface View {
  readonly id: Uint8Array;
  readonly reader: SnapshotReader;
}

interface Transfer {
  readonly follower: NodeId;
  readonly beganMs: number;
  view: View | undefined;
  stream: PeerStream | undefined;
  state: 'opening' | 'offered' | 'streaming' | 'finishing' | 'over';
  sentBytes: number;
  /** When the other side was last seen to do something. */
  movedMs: number;
  reading: boolean;
  readonly frames: SnapshotFrames;
  timer: Timer | undefined;
}

/** The log is kept for it still: it has the snapshot, and not yet what came behind it; or it was cut off. */
interface Held {
  readonly index: number;
  readonly untilMs: number;
  readonly view: View | undefined;
}

const TRANSFERS_MAX = 2;
/** Over this the socket is given no more. */
const BACKLOG_BYTES_MAX = 1 << 20;
/** A failed transfer is not tried again at once. */
const RETRY_MS = 1000;
const STALLED_MS = 60_000;
/** How long the log, and after a failure the view, is kept for a follower that is not being sent anything. */
const HELD_MS = 60_000;
const WATCH_EVERY_MS = 1000;

export class SnapshotSender {
  readonly #options: SnapshotSenderOptions;
  readonly #waiting: NodeId[] = [];
  readonly #transfers = new Map<NodeId, Transfer>();
  readonly #held = new Map<NodeId, Held>();
  /** The rate is kept by when the next chunk may leave. */
  #nextChunkMs = 0;
  #watch: Timer | undefined;
  /** Counts the times that this server has led. */
  #leadership = 0;
  #stopped = false;

  constructor(options: SnapshotSenderOptions) {
    this.#options = options;
  }

  get transfers(): readonly SnapshotTransfer[] {
    return [...this.#transfers.values()].map(({ follower, view, sentBytes }) => ({
      ...{ follower, sentBytes, index: view?.reader.index ?? 0 },
    }));
  }

  /** Entries behind this one are wanted still. */
  get heldIndex(): number {
    let index = Number.POSITIVE_INFINITY;
    for (const { view } of this.#transfers.values()) index = Math.min(index, view?.reader.index ?? index);
    for (const held of this.#held.values()) index = Math.min(index, held.index);
    return index;
  }

  send(follower: NodeId): void {
    // One that is under way still will end, and that is all that can be wished for.
    if (this.#transfers.has(follower) || this.#waiting.includes(follower)) return;
    this.#waiting.push(follower);
    this.#startNext();
  }

  /** This server no longer leads: all that is under way is given up. */
  abandonAll(): void {
    this.#leadership++;
    this.#waiting.length = 0;
    for (const transfer of [...this.#transfers.values()]) this.#over(transfer);
    for (const follower of [...this.#held.keys()]) this.#release(follower);
    this.#watch?.cancel();
    this.#watch = undefined;
  }

  stop(): void {
    this.#stopped = true;
    this.abandonAll();
  }

  #startNext(): void {
    while (this.#transfers.size < TRANSFERS_MAX && this.#waiting.length > 0) {
      const follower = this.#waiting.shift()!;
      const nowMs = this.#options.clock.monotonicMs();
      const transfer: Transfer = {
        ...{ follower, beganMs: nowMs, view: undefined, stream: undefined, state: 'opening' as const },
        ...{ sentBytes: 0, movedMs: nowMs, reading: false, timer: undefined, frames: new SnapshotFrames() },
      };
      this.#transfers.set(follower, transfer);
      this.#openView(transfer);
    }
    this.#watchSoon();
  }

  #openView(transfer: Transfer): void {
    const { store, group, random } = this.#options;
    const kept = this.#held.get(transfer.follower);
    this.#held.delete(transfer.follower);
    if (kept?.view !== undefined && kept.index >= this.#options.compactedIndex()) {
      transfer.view = kept.view;
      this.#connect(transfer);
      return;
    }
    // It was kept for longer than the log could be: what follows it is gone, and it is of no use any more.
    kept?.view?.reader.close();
    SnapshotReader.open(store, group, (error, reader) => {
      if (transfer.state === 'over') {
        reader?.close();
        return;
      }
      if (error !== null) return this.#readFailed(transfer, error);
      if (reader === undefined) return this.#fail(transfer, 'there is no checkpoint yet');
      transfer.view = { id: random.bytes(SNAPSHOT_ID_BYTES), reader };
      this.#connect(transfer);
    });
  }

  #connect(transfer: Transfer): void {
    const { log, nameOf, openStream, group, term } = this.#options;
    const { id, reader } = transfer.view!;
    const { index, term: lastTerm, header } = reader;
    const fields = { follower: nameOf(transfer.follower), index, entries: reader.totalEntries };
    log.notice('sends a snapshot', fields);
    transfer.stream = openStream(transfer.follower, {
      onOpen: (stream) => {
        if (transfer.state === 'over') return;
        transfer.state = 'offered';
        sendSnapshotFrame(stream, { type: 'offer', group, term: term(), id, index, lastTerm, header });
      },
      onFrame: (payload) => this.#onFrame(transfer, payload),
      onDrain: () => {
        transfer.movedMs = this.#options.clock.monotonicMs();
        this.#sendMore(transfer);
      },
      onClose: (reason) => this.#fail(transfer, reason ?? 'the follower closed the connection'),
    });
  }

  #onFrame(transfer: Transfer, payload: Uint8Array): void {
    if (transfer.state === 'over') return;
    transfer.movedMs = this.#options.clock.monotonicMs();
    try {
      const frame = transfer.frames.take(payload);
      if (frame === undefined) return;
      const { state } = transfer;
      if (frame.type === 'refused') this.#fail(transfer, `the follower refuses: ${frame.reason}`);
      else if (frame.type === 'resume' && state === 'offered') this.#begin(transfer, frame.position);
      else if (frame.type === 'installed' && state === 'finishing') this.#installed(transfer, frame.index);
      else throw new MalformedError(`a frame ${frame.type} where the transfer of a snapshot has none`);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#fail(transfer, error.message);
    }
  }

  #begin(transfer: Transfer, position: Uint8Array | undefined): void {
    transfer.state = 'streaming';
    transfer.view!.reader.seek(position);
    this.#sendMore(transfer);
  }

  /** Reads the next chunk, when the socket and the rate have room for it. */
  #sendMore(transfer: Transfer): void {
    if (transfer.state !== 'streaming' || transfer.reading || transfer.timer !== undefined) return;
    if (transfer.stream!.backlogBytes > BACKLOG_BYTES_MAX) return;
    const { clock } = this.#options;
    const waitMs = this.#nextChunkMs - clock.monotonicMs();
    if (waitMs > 0) {
      transfer.timer = clock.after(waitMs, () => {
        transfer.timer = undefined;
        this.#sendMore(transfer);
      });
      return;
    }
    transfer.reading = true;
    transfer.view!.reader.next((error, chunk) => {
      transfer.reading = false;
      // Its view is let go of here: it must not be while it is read.
      if (transfer.state === 'over') return this.#letGo(transfer);
      if (error !== null) return this.#readFailed(transfer, error);
      if (chunk === undefined) return this.#finish(transfer);
      this.#sendChunk(transfer, chunk);
      this.#sendMore(transfer);
    });
  }

  #readFailed(transfer: Transfer, error: Error): void {
    // It is this server's store that is damaged: it must not lead, nor vote, with that.
    if (error instanceof CorruptionError) this.#options.onFatal(error);
    else this.#fail(transfer, error.message, true);
  }

  #sendChunk(transfer: Transfer, bytes: Uint8Array): void {
    const { clock, bytesPerSecond } = this.#options;
    sendSnapshotFrame(transfer.stream!, { type: 'chunk', bytes });
    transfer.sentBytes += bytes.length;
    transfer.movedMs = clock.monotonicMs();
    const from = Math.max(this.#nextChunkMs, clock.monotonicMs());
    this.#nextChunkMs = from + (bytes.length * 1000) / bytesPerSecond();
  }

  #finish(transfer: Transfer): void {
    transfer.state = 'finishing';
    sendSnapshotFrame(transfer.stream!, { type: 'end' });
  }

  #installed(transfer: Transfer, index: number): void {
    const { clock, log, nameOf, onEnded } = this.#options;
    const { follower, sentBytes, beganMs } = transfer;
    const nowMs = clock.monotonicMs();
    log.notice('a snapshot was installed', {
      ...{ follower: nameOf(follower), index, bytes: sentBytes, ms: Math.round(nowMs - beganMs) },
    });
    this.#over(transfer);
    this.#held.set(follower, { index, untilMs: nowMs + HELD_MS, view: undefined });
    onEnded(follower, index);
    this.#startNext();
  }

  /** `lost`: the view is of no use any more. */
  #fail(transfer: Transfer, reason: string, lost = false): void {
    if (transfer.state === 'over') return;
    const { clock, log, nameOf, onEnded } = this.#options;
    const { follower, view, sentBytes } = transfer;
    log.warning('a snapshot could not be sent', { follower: nameOf(follower), reason, bytes: sentBytes });
    const keep = view !== undefined && !lost && !transfer.reading;
    if (keep) {
      transfer.view = undefined;
      this.#held.set(follower, {
        ...{ index: view.reader.index, untilMs: clock.monotonicMs() + HELD_MS, view },
      });
    }
    this.#over(transfer);
    const leadership = this.#leadership;
    clock.after(RETRY_MS, () => {
      if (leadership === this.#leadership) onEnded(follower, undefined);
    });
    this.#startNext();
  }

  #over(transfer: Transfer): void {
    transfer.state = 'over';
    transfer.timer?.cancel();
    transfer.stream?.destroy();
    if (!transfer.reading) this.#letGo(transfer);
    this.#transfers.delete(transfer.follower);
  }

  #letGo(transfer: Transfer): void {
    transfer.view?.reader.close();
    transfer.view = undefined;
  }

  #release(follower: NodeId): void {
    this.#held.get(follower)?.view?.reader.close();
    this.#held.delete(follower);
  }

  #watchSoon(): void {
    if (this.#watch !== undefined || this.#stopped) return;
    if (this.#transfers.size === 0 && this.#held.size === 0) return;
    this.#watch = this.#options.clock.after(WATCH_EVERY_MS, () => {
      this.#watch = undefined;
      this.#lookAround();
      this.#watchSoon();
    });
  }

  #lookAround(): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const transfer of [...this.#transfers.values()]) {
      if (nowMs - transfer.movedMs > STALLED_MS) this.#fail(transfer, 'nothing has moved for too long');
    }
    for (const [follower, { index, untilMs }] of [...this.#held]) {
      if (nowMs >= untilMs || this.#options.matchIndexOf(follower) > index) this.#release(follower);
    }
  }
}
