/**
 * The leader's side of writing: runs of writes from this server's clients and from the other servers become log entries.
 *
 * An entry takes all runs that have gathered. Usually one entry is under way at a time, and what comes meanwhile forms
 * the next (group commit over the network as well as the disk): measured on two cores this is faster than sending each
 * turn's runs at once, and costs a quarter less CPU. Where the round trip is long, a few more entries may be under way,
 * so that waiting for one does not add its whole round trip to the next.
 *
 * Who waits long for its run sends it again, since it may have been lost. What this leader has taken it has not lost, so a
 * run that it has taken before is passed over: a write of many megabytes, or one that takes long, is in the log once.
 *
 * The leader's clock is read here and nowhere later: `atMs` is the time at which everything in the entry happens.
 */
import {
  type Accepts,
  type EncodedRun,
  encodeEntry,
  NO_SESSION,
  runHeader,
  validateRun,
} from '../kv/batch.ts';
import type { Clock } from '../lib/env.ts';
import type { Proposed } from '../raft/ready.ts';

/** An entry takes runs up to this size, or one larger run. */
const ENTRY_BYTES_MAX = 256 << 10;
/** Runs waiting to become entries. Over this, more are ignored: who sent them sends them again. */
const RUNS_BYTES_MAX = 32 << 20;
/** Entries under way when the next one is full. */
const FULL_ENTRIES_UNDER_WAY_MAX = 16;
/** Entries under way when the oldest of them has been so for a while. */
const SLOW_ENTRIES_UNDER_WAY_MAX = 4;
const SLOW_AFTER_MS = 0.5;
/** There is one per server and start; more than this are not remembered. */
const TAKEN_SESSIONS_MAX = 1024;

export interface ProposerOptions {
  readonly clock: Clock;
  propose(data: Uint8Array): Proposed;
  readonly isLeader: () => boolean;
  readonly appliedIndex: () => number;
  /** The time of the newest entry applied. */
  readonly logTimeMs: () => number;
  readonly accepts: Accepts;
}

export class Proposer {
  readonly #options: ProposerOptions;
  #runs: EncodedRun[] = [];
  #runsBytes = 0;
  /** By session: numbers in a row that are in the log or on the way there. */
  readonly #taken = new Map<number, { readonly firstSeq: number; readonly lastSeq: number }>();
  /** Indexes of entries proposed and not yet applied here. */
  #underWay: number[] = [];
  #lastProposedMs = 0;
  /** A time of the log, and when by the monotonic clock it was; undefined while this server does not lead. */
  #timeBase: { readonly atMs: number; readonly whenMs: number } | undefined;

  constructor(options: ProposerOptions) {
    this.#options = options;
  }

  /** A run of this server's own clients. It stays unchanged from now on. False when it must come again. */
  offer(run: EncodedRun): boolean {
    if (!this.#options.isLeader() || this.#runsBytes > RUNS_BYTES_MAX) return false;
    if (this.#isTaken(run)) return true;
    this.#runs.push(run);
    this.#runsBytes += run.length;
    return true;
  }

  #isTaken(run: EncodedRun): boolean {
    const { session, firstSeq, count } = runHeader(run);
    if (session === NO_SESSION) return false;
    const lastSeq = firstSeq + count - 1;
    const taken = this.#taken.get(session);
    if (taken !== undefined && taken.firstSeq <= firstSeq && lastSeq <= taken.lastSeq) return true;
    if (this.#taken.size >= TAKEN_SESSIONS_MAX) this.#taken.clear();
    const follows = taken !== undefined && taken.firstSeq <= firstSeq && firstSeq <= taken.lastSeq + 1;
    // Out of order, by a detour or because one was lost: what comes next is what counts.
    this.#taken.set(session, { firstSeq: follows ? taken.firstSeq : firstSeq, lastSeq });
    return false;
  }

  /** What was taken of this session from `expectedSeq` on has been passed over by the state machine: it may come again. */
  gap(session: number, expectedSeq: number): void {
    const taken = this.#taken.get(session);
    if (taken === undefined || taken.lastSeq < expectedSeq) return;
    if (taken.firstSeq >= expectedSeq) this.#taken.delete(session);
    else this.#taken.set(session, { ...taken, lastSeq: expectedSeq - 1 });
  }

  sessionUnknown(session: number): void {
    this.#taken.delete(session);
  }

  /**
   * A run from a peer. It is proposed only if every replica can apply it: what is committed must never fail.
   * False if it is malformed.
   */
  offerFromPeer(run: EncodedRun): boolean {
    if (!this.#options.isLeader()) return true;
    if (!validateRun(run, this.#options.accepts)) return false;
    this.offer(run);
    return true;
  }

  /** Leadership is lost: those who sent the runs will send them to the next leader. */
  drop(): void {
    this.#runs = [];
    this.#runsBytes = 0;
    this.#taken.clear();
    this.#underWay = [];
    this.#timeBase = undefined;
  }

  /** Once a turn: proposes what may go. */
  flush(): void {
    const { clock, appliedIndex } = this.#options;
    if (this.#runs.length === 0) return;
    const applied = appliedIndex();
    this.#underWay = this.#underWay.filter((index) => index > applied);
    const nowMs = clock.monotonicMs();
    while (this.#runs.length > 0 && this.#mayPropose(nowMs)) {
      if (!this.#proposeNext()) return;
      this.#lastProposedMs = nowMs;
    }
  }

  #mayPropose(nowMs: number): boolean {
    const count = this.#underWay.length;
    if (count === 0) return true;
    if (this.#runsBytes >= ENTRY_BYTES_MAX) return count < FULL_ENTRIES_UNDER_WAY_MAX;
    return count < SLOW_ENTRIES_UNDER_WAY_MAX && nowMs - this.#lastProposedMs >= SLOW_AFTER_MS;
  }

  #proposeNext(): boolean {
    let count = 1;
    let bytes = this.#runs[0]!.length;
    while (count < this.#runs.length && bytes + this.#runs[count]!.length <= ENTRY_BYTES_MAX) {
      bytes += this.#runs[count]!.length;
      count++;
    }
    const atMs = this.#stamp();
    const proposed = this.#options.propose(encodeEntry(atMs, this.#runs.slice(0, count)));
    if (!proposed.accepted) return false;
    this.#runs.splice(0, count);
    this.#runsBytes -= bytes;
    this.#underWay.push(proposed.index);
    return true;
  }

  /**
   * The time of the next entry. It never goes back, and it never stands still: where this server's wall clock is behind
   * the log (a leader before it was ahead, or the clock was set back), time goes on from the log's at the pace of the
   * monotonic clock.
   */
  #stamp(): number {
    const { clock, logTimeMs } = this.#options;
    const nowMs = clock.monotonicMs();
    this.#timeBase ??= { atMs: logTimeMs(), whenMs: nowMs };
    const flowedMs = this.#timeBase.atMs + Math.floor(nowMs - this.#timeBase.whenMs);
    const wallMs = clock.wallMs();
    if (wallMs <= flowedMs) return flowedMs;
    this.#timeBase = { atMs: wallMs, whenMs: nowMs };
    return wallMs;
  }
}
