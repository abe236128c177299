/**
 * What the leader knows of one follower's log, and how much it may send to it.
 *
 *            acknowledged       sent, optimistically      not sent
 *   1 ................ match | match+1 ........ next-1 | next ........ last
 *
 * In `probe` the leader does not know where the logs agree: one AppendEntries at a time, the next one when that is
 * answered or a heartbeat was. In `replicate` it does: it sends on without waiting, up to a window of messages and
 * bytes. A refusal, or a sign that something was lost, goes back to `probe`. In `snapshot` the follower needs what is no
 * longer in the log: nothing is sent until the transfer of a snapshot has ended.
 *
 * After etcd/raft's tracker/progress.go and inflights.go. Invariant: 0 <= matchIndex < nextIndex.
 */
import { assert } from '../lib/assert.ts';
import type { RaftLimits } from './limits.ts';

interface Inflight {
  readonly lastIndex: number;
  readonly bytes: number;
}

export class Progress {
  state: 'probe' | 'replicate' | 'snapshot' = 'probe';
  matchIndex = 0;
  nextIndex: number;
  /** In probe: the one message is on its way. */
  probeSent = false;
  /** Entries for this follower are being read from the disk. */
  fetching = false;
  /** The commit index it was told last. */
  sentCommit = 0;
  /** When it was heard last. */
  contactMs: number;
  /** The newest round of ReadIndex that it has answered. */
  readRound = 0;

  readonly #limits: RaftLimits;
  #inflights: Inflight[] = [];
  #inflightBytes = 0;
  /** When the present silence began: the last news of its log, or the first message after there was nothing to send. */
  #waitingSinceMs: number;

  constructor(options: { nextIndex: number; contactMs: number; limits: RaftLimits }) {
    this.nextIndex = options.nextIndex;
    this.contactMs = options.contactMs;
    this.#limits = options.limits;
    this.#waitingSinceMs = options.contactMs;
  }

  get inflightCount(): number {
    return this.#inflights.length;
  }

  get windowFull(): boolean {
    return (
      this.#inflights.length >= this.#limits.inflightMessagesMax ||
      this.#inflightBytes >= this.#limits.inflightBytesMax
    );
  }

  /** Whether entries may be sent now. */
  get paused(): boolean {
    if (this.fetching || this.state === 'snapshot') return true;
    return this.state === 'probe' ? this.probeSent : this.windowFull;
  }

  /** Entries up to `lastIndex` have left. */
  sent(lastIndex: number, bytes: number, nowMs: number): void {
    if (bytes === 0 && this.state === 'replicate') return;
    assert(!this.paused, 'no entries are sent to a paused follower', this.state, this.nextIndex);
    if (this.#inflights.length === 0) this.#waitingSinceMs = nowMs;
    if (this.state === 'probe') {
      this.probeSent = true;
      return;
    }
    if (lastIndex < this.nextIndex) return;
    this.nextIndex = lastIndex + 1;
    this.#inflights.push({ lastIndex, bytes });
    this.#inflightBytes += bytes;
  }

  /** It has everything up to `index` on its disk. Whether that is news: answers come late, doubled and out of order. */
  acknowledged(index: number, nowMs: number): boolean {
    const news = index > this.matchIndex;
    if (news) {
      this.matchIndex = index;
      this.#waitingSinceMs = nowMs;
    }
    this.nextIndex = Math.max(this.nextIndex, index + 1);
    let freed = 0;
    while (freed < this.#inflights.length && this.#inflights[freed]!.lastIndex <= index) {
      this.#inflightBytes -= this.#inflights[freed]!.bytes;
      freed++;
    }
    if (freed > 0) this.#inflights.splice(0, freed);
    if (this.state === 'probe' && index >= this.matchIndex) this.becomeReplicate();
    return news;
  }

  /**
   * It refused entries after `prevLogIndex`; `agreeIndex` is where the logs may agree. Whether the refusal is current:
   * one that speaks of a request from before what we know by now says nothing.
   */
  refused(prevLogIndex: number, agreeIndex: number): boolean {
    if (prevLogIndex <= this.matchIndex || this.state === 'snapshot') return false;
    if (this.state === 'probe' && prevLogIndex !== this.nextIndex - 1) return false;
    const next = this.state === 'probe' ? Math.min(prevLogIndex, agreeIndex + 1) : this.matchIndex + 1;
    this.becomeProbe();
    this.nextIndex = Math.max(next, this.matchIndex + 1);
    return true;
  }

  /** Something may have been lost: start over from what is certain. */
  becomeProbe(): void {
    this.state = 'probe';
    this.probeSent = false;
    this.nextIndex = this.matchIndex + 1;
    this.#inflights = [];
    this.#inflightBytes = 0;
  }

  /** It needs entries that the log no longer has. */
  becomeSnapshot(): void {
    this.becomeProbe();
    this.state = 'snapshot';
    this.fetching = false;
  }

  becomeReplicate(): void {
    this.state = 'replicate';
    this.probeSent = false;
    this.nextIndex = this.matchIndex + 1;
  }

  /** Whether it has been silent about its log for so long that what was sent may be lost. */
  stalled(nowMs: number): boolean {
    return nowMs - this.#waitingSinceMs >= this.#limits.heartbeatIntervalMs;
  }

  /** It answers heartbeats and not entries: something was lost, or it is slow. A probe may be sent again. */
  lossSuspected(nowMs: number): void {
    this.#waitingSinceMs = nowMs;
    this.probeSent = false;
    this.fetching = false;
  }
}
