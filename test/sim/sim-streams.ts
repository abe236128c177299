/**
 * Simulated streams between servers, for the clusters whose messages travel as packets: bytes in order and once, with
 * backpressure, until one end closes or crashes, or the way between them is cut.
 */
import type { PeerStream, PeerStreamEvents } from '../../src/server/peer-stream.ts';
import type { SimNetwork } from './network.ts';
import type { SimRandom } from './random.ts';
import type { Life, Scheduler } from './scheduler.ts';

type Opening = PeerStreamEvents & { onOpen(stream: PeerStream): void };

/** Who takes streams at a server that is up. */
export interface StreamHost {
  readonly life: Life;
  accept(stream: PeerStream): PeerStreamEvents;
}

export class SimStreams {
  readonly #scheduler: Scheduler;
  readonly #random: SimRandom;
  readonly #network: SimNetwork;
  readonly #hosts = new Map<number, StreamHost>();
  readonly #ends = new Set<End>();

  constructor(scheduler: Scheduler, random: SimRandom, network: SimNetwork) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.#network = network;
  }

  attach(id: number, host: StreamHost | undefined): void {
    if (host === undefined) this.#hosts.delete(id);
    else this.#hosts.set(id, host);
  }

  get count(): number {
    return this.#ends.size / 2;
  }

  /** All streams of a server break: it has crashed, or somebody has pulled the plug. */
  breakAll(id: number): void {
    for (const end of [...this.#ends]) if (end.self === id) this.#break(end, 'reset');
  }

  open(from: number, life: Life, to: number, events: Opening): PeerStream {
    const dialler = new End(this, { self: from, peer: to, life });
    this.#ends.add(dialler);
    this.#scheduler.after(this.#delayMs(), life, () => {
      if (dialler.closed) return;
      const host = this.#hosts.get(to);
      if (host === undefined || !this.connected(from, to)) {
        this.#ends.delete(dialler);
        dialler.closed = true;
        return events.onClose('the peer cannot be reached');
      }
      const acceptor = new End(this, { self: to, peer: from, life: host.life });
      this.#ends.add(acceptor);
      dialler.other = acceptor;
      acceptor.other = dialler;
      acceptor.events = host.accept(acceptor);
      dialler.events = events;
      events.onOpen(dialler);
    });
    return dialler;
  }

  connected(a: number, b: number): boolean {
    return this.#network.connected(a, b) && this.#network.connected(b, a);
  }

  #delayMs(): number {
    return 0.2 + this.#random.exponential(0.5);
  }

  /** Frames of one end arrive in their order. */
  carry(from: End, payload: Uint8Array): void {
    const to = from.other!;
    from.inFlightBytes += payload.length;
    from.lastArrivalMs = Math.max(from.lastArrivalMs, this.#scheduler.nowMs + this.#delayMs());
    this.#scheduler.at(from.lastArrivalMs, undefined, () => {
      if (from.closed && to.closed) return;
      if (!this.connected(from.self, to.self)) return this.#break(from, 'the way is cut');
      to.inbox.push(payload);
      this.#deliver(to);
    });
  }

  #deliver(end: End): void {
    this.#scheduler.after(0, end.life, () => {
      while (!end.paused && !end.closed && end.inbox.length > 0) {
        const payload = end.inbox.shift()!;
        const from = end.other!;
        from.inFlightBytes -= payload.length;
        end.events!.onFrame(payload);
        if (from.inFlightBytes === 0 && !from.closed) {
          this.#scheduler.after(0, from.life, () => {
            if (!from.closed) from.events!.onDrain();
          });
        }
      }
      if (end.inbox.length === 0 && end.ending) this.#close(end, null);
    });
  }

  resumed(end: End): void {
    this.#deliver(end);
  }

  /** `end` has said all: the other side closes when it has read it. */
  finish(end: End): void {
    const { other } = end;
    this.#close(end, null);
    if (other === undefined) return;
    this.#scheduler.at(end.lastArrivalMs, undefined, () => {
      other.ending = true;
      this.#deliver(other);
    });
  }

  abort(end: End): void {
    this.#break(end, null);
  }

  #break(end: End, reason: string | null): void {
    const { other } = end;
    this.#close(end, reason);
    if (other !== undefined) this.#close(other, reason ?? 'the other side closed the connection');
  }

  #close(end: End, reason: string | null): void {
    if (end.closed) return;
    end.closed = true;
    this.#ends.delete(end);
    this.#scheduler.after(0, end.life, () => end.events?.onClose(reason));
  }
}

class End implements PeerStream {
  readonly #streams: SimStreams;
  readonly self: number;
  readonly peer: number;
  readonly life: Life;
  other: End | undefined;
  events: PeerStreamEvents | undefined;
  inFlightBytes = 0;
  lastArrivalMs = 0;
  readonly inbox: Uint8Array[] = [];
  paused = false;
  ending = false;
  closed = false;

  constructor(streams: SimStreams, ends: { self: number; peer: number; life: Life }) {
    this.#streams = streams;
    this.self = ends.self;
    this.peer = ends.peer;
    this.life = ends.life;
  }

  get backlogBytes(): number {
    return this.inFlightBytes;
  }

  send(payload: Uint8Array): void {
    if (!this.closed) this.#streams.carry(this, payload.slice());
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    if (!this.closed) this.#streams.resumed(this);
  }

  end(): void {
    if (!this.closed) this.#streams.finish(this);
  }

  destroy(): void {
    if (!this.closed) this.#streams.abort(this);
  }
}
