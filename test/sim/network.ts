/**
 * A simulated network between servers that carries packets, not streams: what TCP would hide (loss, doubles, reordering,
 * packets from before a restart) may happen to every one of them, independently in each direction. Raft must stand all
 * of it; the streams of the real links are tested on their own.
 *
 * Every packet is encoded by the sender and decoded by the receiver, so the real wire format is in the loop.
 */
import type { SimRandom } from './random.ts';
import type { Scheduler } from './scheduler.ts';

export interface NetworkFaults {
  /** Of every packet. */
  lossChance: number;
  doubleChance: number;
  /** Delays are minMs plus an exponential one of this mean: packets overtake each other. */
  delayMinMs: number;
  delayMeanMs: number;
  /** Chance of a delay of hundreds of milliseconds. */
  longDelayChance: number;
}

export const GOOD_NETWORK: NetworkFaults = {
  lossChance: 0,
  doubleChance: 0,
  delayMinMs: 0.1,
  delayMeanMs: 0.2,
  longDelayChance: 0,
};

export class SimNetwork {
  faults: NetworkFaults;
  /** Packets offered, by kind, for the tests that count. */
  sentPackets = 0;
  sentBytes = 0;
  readonly #scheduler: Scheduler;
  readonly #random: SimRandom;
  readonly #receivers = new Map<number, (from: number, packet: Uint8Array) => void>();
  /** Ways from one server to another that are cut. */
  readonly #cut = new Set<string>();

  constructor(scheduler: Scheduler, random: SimRandom, faults: NetworkFaults = { ...GOOD_NETWORK }) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.faults = faults;
  }

  /** Whoever `id` is from now on; undefined while it is down. */
  attach(id: number, receive: ((from: number, packet: Uint8Array) => void) | undefined): void {
    if (receive === undefined) this.#receivers.delete(id);
    else this.#receivers.set(id, receive);
  }

  send(from: number, to: number, packet: Uint8Array): void {
    this.sentPackets++;
    this.sentBytes += packet.length;
    const copies = this.#random.chance(this.faults.doubleChance) ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      if (this.#random.chance(this.faults.lossChance)) continue;
      this.#scheduler.after(this.#delayMs(), undefined, () => this.#arrive(from, to, packet));
    }
  }

  #delayMs(): number {
    if (this.#random.chance(this.faults.longDelayChance)) return this.#random.between(200, 2200);
    return this.faults.delayMinMs + this.#random.exponential(this.faults.delayMeanMs);
  }

  #arrive(from: number, to: number, packet: Uint8Array): void {
    if (!this.connected(from, to)) return;
    this.#receivers.get(to)?.(from, packet.slice());
  }

  connected(from: number, to: number): boolean {
    return !this.#cut.has(`${from}>${to}`);
  }

  cut(from: number, to: number): void {
    this.#cut.add(`${from}>${to}`);
  }

  mend(from: number, to: number): void {
    this.#cut.delete(`${from}>${to}`);
  }

  mendAll(): void {
    this.#cut.clear();
  }

  /** Only servers of the same side hear each other. */
  partition(...sides: readonly (readonly number[])[]): void {
    this.mendAll();
    for (const side of sides) {
      for (const other of sides) {
        if (side === other) continue;
        for (const a of side) for (const b of other) this.cut(a, b);
      }
    }
  }
}
