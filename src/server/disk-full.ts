/**
 * Whether clients' writes are refused because a disk is full: the leader's own, or, on the others, what the leader has
 * told. A leader with a full disk says so again and again, since messages may be lost; it is believed for a while.
 */
import type { Clock } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';

export interface DiskFullOptions {
  readonly clock: Clock;
  readonly isLeader: () => boolean;
  /** Of this server's own disk. */
  readonly isFull: () => boolean;
  /** All but this server. */
  readonly peers: () => readonly NodeId[];
  readonly tell: (peer: NodeId, full: boolean) => void;
}

const TELL_EVERY_MS = 1000;
const BELIEVE_MS = 4000;

export class DiskFull {
  readonly #options: DiskFullOptions;
  #leaderFullUntilMs = 0;
  #told = false;
  #tellAgainMs = 0;

  constructor(options: DiskFullOptions) {
    this.#options = options;
  }

  get full(): boolean {
    const { clock, isLeader, isFull } = this.#options;
    return isLeader() ? isFull() : clock.monotonicMs() < this.#leaderFullUntilMs;
  }

  /** Now and then: the others refuse at their door. Once more when the disk no longer is full. */
  tick(): void {
    const { clock, isLeader, peers, tell } = this.#options;
    const nowMs = clock.monotonicMs();
    const full = isLeader() && this.full;
    if (full === this.#told && (!full || nowMs < this.#tellAgainMs)) return;
    this.#told = full;
    this.#tellAgainMs = nowMs + TELL_EVERY_MS;
    if (isLeader()) for (const peer of peers()) tell(peer, full);
  }

  /** The leader has told it. */
  heard(full: boolean): void {
    this.#leaderFullUntilMs = full ? this.#options.clock.monotonicMs() + BELIEVE_MS : 0;
  }

  leaderChanged(): void {
    this.#leaderFullUntilMs = 0;
  }
}
