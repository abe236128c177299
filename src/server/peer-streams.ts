/**
 * All streams of this server: those it has opened, and those it has accepted, of which each peer may have a few.
 */
import type { Clock } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';
import type { CallOptions } from './peer-call.ts';
import type { PeerChannel } from './peer-channel.ts';
import type { PeerLimits } from './peer-limits.ts';
import type { PeerLink } from './peer-link.ts';
import { type OpenStreamEvents, type PeerStream, type PeerStreamEvents, StreamLink } from './peer-stream.ts';

export interface PeerStreamsOptions {
  readonly clock: Clock;
  readonly limits: PeerLimits;
  /** Undefined: none is accepted. */
  readonly onStream: ((stream: PeerStream) => PeerStreamEvents) | undefined;
  readonly onRemoved: () => void;
}

export class PeerStreams {
  readonly #options: PeerStreamsOptions;
  readonly #opened = new Set<StreamLink>();
  readonly #accepted = new Set<StreamLink>();
  #stopped = false;

  constructor(options: PeerStreamsOptions) {
    this.#options = options;
  }

  /** `link` undefined: such a peer is not known. */
  open(
    options: CallOptions | undefined,
    peer: NodeId,
    link: PeerLink | undefined,
    events: OpenStreamEvents,
  ): PeerStream {
    const stream = this.#add(this.#opened, peer);
    if (options === undefined || link === undefined) stream.giveUp(events, 'no such peer');
    else {
      const target = { address: link.address, to: peer, kind: 'stream' as const };
      stream.call(options, target, events, ({ removed }) => {
        if (removed) this.#options.onRemoved();
      });
    }
    return stream;
  }

  /** Why one more cannot be accepted from the peer, if so. */
  refusal(peer: NodeId): 'too many' | 'not served' | undefined {
    const { onStream, limits } = this.#options;
    if (onStream === undefined) return 'not served';
    let count = 0;
    for (const stream of this.#accepted) if (stream.peer === peer) count++;
    return count < limits.streamsPerPeerMax ? undefined : 'too many';
  }

  accept(channel: PeerChannel, peer: NodeId): void {
    this.#add(this.#accepted, peer).accept(channel, this.#options.onStream!);
  }

  /** The process that has opened them is no more. */
  closeAccepted(peer: NodeId, reason: string): void {
    for (const stream of this.#accepted) if (stream.peer === peer) stream.fail(reason);
  }

  closeAll(peer: NodeId, reason: string): void {
    this.closeAccepted(peer, reason);
    for (const stream of this.#opened) if (stream.peer === peer) stream.fail(reason);
  }

  tick(nowMs: number): void {
    for (const streams of [this.#opened, this.#accepted]) for (const stream of streams) stream.tick(nowMs);
  }

  forgive(ms: number): void {
    for (const streams of [this.#opened, this.#accepted]) for (const stream of streams) stream.forgive(ms);
  }

  stop(): void {
    this.#stopped = true;
    for (const streams of [this.#opened, this.#accepted]) for (const stream of streams) stream.destroy();
  }

  #add(streams: Set<StreamLink>, peer: NodeId): StreamLink {
    const { clock, limits } = this.#options;
    const onOver = (stream: StreamLink) => void streams.delete(stream);
    const stream = new StreamLink({ clock, limits, onOver, isStopped: () => this.#stopped }, peer);
    streams.add(stream);
    return stream;
  }
}
