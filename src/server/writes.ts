/**
 * The writes of this server's clients, from their arrival to their reply.
 *
 *   gathering --(turn)--> unsent --(to the leader)--> sent --(applied here)--> reply
 *
 * Writes of one turn form a run. A run gets its numbers in this server's session when it is first sent, and from then
 * on it may be sent again as often as needed, to whichever leader: the state machine executes each number once, in
 * order. This server applies the log too, so it sees with its own eyes what became of each number, and computed the
 * reply while it did. An election is therefore a pause, not an error.
 *
 * What is not settled by its deadline gets an error that says which of the two it is. A run that was never sent was
 * certainly not executed: CLUSTERDOWN. One that was sent may have been, or may yet be: TIMEOUT. Its numbers must still
 * be settled before later ones can be, so it is sent again with its commands taken out (skips).
 *
 * If the session is unknown to the state machine (it expired), everything unsettled was not executed and never will be
 * under the old numbers: it starts over in a new session. Source: RIFL (SOSP 2015), thesis 6.3; see kv/sessions.ts.
 */

import {
  type EncodedRun,
  encodeAdvanceOp,
  encodeCommandOp,
  encodeOpenSessionOp,
  encodeRun,
  encodeSkipOp,
  encodeTransactionOp,
  NO_SESSION,
  type Transaction,
} from '../kv/batch.ts';
import { assert } from '../lib/assert.ts';
import { ByteWriter } from '../lib/bytes.ts';
import type { Clock, Random } from '../lib/env.ts';
import { NOBODY, type NodeId } from '../raft/types.ts';
import { ErrorReply, type Reply } from '../resp/reply.ts';

/** Somebody who waits for a reply; called exactly once. */
export interface Waiter {
  resolve(reply: Reply): void;
}

export interface WritesOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly commandTimeoutMs: number;
  /**
   * To the leader, be it this server or a peer. May be lost; true: it cannot be, as long as the leader is the same and
   * tells of no gap.
   */
  readonly send: (leader: NodeId, run: EncodedRun) => boolean;
  readonly turnSoon: () => void;
  /** There is room again after `congested`. */
  readonly onRoom: () => void;
}

/** Over these, clients are held back. */
const OUTSTANDING_BYTES_MAX = 16 << 20;
const OUTSTANDING_WRITES_MAX = 65_536;
/** A larger turn makes several runs, so that entries have their size. */
const RUN_BYTES_MAX = 128 << 10;
/**
 * Numbers sent and not settled. Over this nothing new is sent: where so much is not confirmed, more would not be, and
 * what was not sent can be refused with certainty.
 */
const UNSETTLED_WRITES_MAX = 2 * OUTSTANDING_WRITES_MAX;
const RETRY_MS = 500;
const RETRY_MS_MAX = 4000;
/** What is large takes its time: this many bytes wait a millisecond longer before they are sent again. */
const RETRY_BYTES_PER_MS = 16_384;

const NOTHING = new Uint8Array();

interface Run {
  /** Both empty once the waiters were told TIMEOUT: then the run is sent as skips. */
  ops: Uint8Array;
  /** One per operation. */
  waiters: readonly Waiter[];
  count: number;
  /** So many of them, from the first on, have their reply. */
  settled: number;
  readonly deadlineMs: number;
  /** 0 while unsent. */
  firstSeq: number;
  /** The leader has it for certain. */
  safe: boolean;
}

export class Writes {
  readonly #options: WritesOptions;
  readonly #gathering = new ByteWriter(4096);
  #gatheringWaiters: Waiter[] = [];
  #unsent: Run[] = [];
  #sent: Run[] = [];
  #outstandingBytes = 0;
  #outstandingWrites = 0;
  #congested = false;

  #session = NO_SESSION;
  /** Not 0 while a session is being opened. */
  #openingNonce = 0;
  #nextSeq = 1;
  #settledSeq = 0;
  #leaderId: NodeId = NOBODY;
  #retryMs = RETRY_MS;
  #retryDueMs = Number.POSITIVE_INFINITY;
  #resentForGapAt = 0;

  constructor(options: WritesOptions) {
    this.#options = options;
  }

  /** Whether so much is outstanding that no more should be submitted; `onRoom` follows. */
  get congested(): boolean {
    return this.#congested;
  }

  /** Nothing is waiting for anything. */
  get idle(): boolean {
    return this.#outstandingWrites === 0 && this.#sent.length === 0 && this.#openingNonce === 0;
  }

  get outstanding(): number {
    return this.#outstandingWrites;
  }

  /** A write command that passed its guards. The arguments are copied. */
  submit(db: number, argv: readonly Uint8Array[], waiter: Waiter): void {
    encodeCommandOp(this.#gathering, db, argv);
    this.#submitted(waiter);
  }

  /** A transaction, whole. The arguments are copied. */
  submitTransaction(transaction: Transaction, waiter: Waiter): void {
    encodeTransactionOp(this.#gathering, transaction);
    this.#submitted(waiter);
  }

  /** Nothing but the log's time moves on; for a read that must not be the first to see that a key has expired. */
  submitAdvance(waiter: Waiter): void {
    encodeAdvanceOp(this.#gathering);
    this.#submitted(waiter);
  }

  #submitted(waiter: Waiter): void {
    this.#gatheringWaiters.push(waiter);
    this.#outstandingWrites++;
    if (this.#gatheringWaiters.length === 1) this.#options.turnSoon();
    if (this.#gathering.length >= RUN_BYTES_MAX) this.#seal();
    const bytes = this.#outstandingBytes + this.#gathering.length;
    this.#congested ||= bytes > OUTSTANDING_BYTES_MAX || this.#outstandingWrites > OUTSTANDING_WRITES_MAX;
  }

  /** Makes a run of what has gathered. */
  #seal(): void {
    const waiters = this.#gatheringWaiters;
    if (waiters.length === 0) return;
    // A copy of the right size, or, where that would cost more than it saves, the memory itself.
    const ops = this.#gathering.length > RUN_BYTES_MAX ? this.#gathering.take() : this.#gathering.copy();
    const deadlineMs = this.#options.clock.monotonicMs() + this.#options.commandTimeoutMs;
    this.#unsent.push({
      ops,
      waiters,
      count: waiters.length,
      settled: 0,
      deadlineMs,
      firstSeq: 0,
      safe: false,
    });
    this.#outstandingBytes += ops.length;
    this.#gathering.reset();
    this.#gatheringWaiters = [];
  }

  /** Once a turn: sends what may go. */
  flush(): void {
    this.#seal();
    if (this.#leaderId === NOBODY || this.#unsent.length === 0) return;
    if (this.#session === NO_SESSION) {
      if (this.#openingNonce === 0) this.#openSession();
      return;
    }
    if (this.#sent.length === 0) this.#retryLater(RETRY_MS);
    while (this.#unsent.length > 0 && this.#nextSeq - this.#settledSeq <= UNSETTLED_WRITES_MAX) {
      const run = this.#unsent.shift()!;
      run.firstSeq = this.#nextSeq;
      this.#nextSeq += run.count;
      this.#send(run);
      this.#sent.push(run);
    }
  }

  #send(run: Run): void {
    const { firstSeq, count } = run;
    let { ops } = run;
    if (run.waiters.length === 0) {
      const skips = new ByteWriter(count);
      for (let i = 0; i < count; i++) encodeSkipOp(skips);
      ops = skips.view();
    }
    const out = new ByteWriter(ops.length + 32);
    encodeRun(out, { session: this.#session, firstSeq, count, ops });
    run.safe = this.#options.send(this.#leaderId, out.view());
  }

  #openSession(): void {
    if (this.#openingNonce === 0) this.#openingNonce = this.#options.random.below(2 ** 48 - 1) + 1;
    const op = new ByteWriter(16);
    encodeOpenSessionOp(op, this.#openingNonce);
    const out = new ByteWriter(64);
    encodeRun(out, { session: NO_SESSION, firstSeq: 0, count: 1, ops: op.view() });
    this.#options.send(this.#leaderId, out.view());
    this.#retryLater(RETRY_MS);
  }

  #retryLater(retryMs: number): void {
    this.#retryMs = retryMs;
    const largeMs = this.#outstandingBytes / RETRY_BYTES_PER_MS;
    this.#retryDueMs = this.#options.clock.monotonicMs() + retryMs + largeMs;
  }

  /** Everything that may be lost, again, in order; `all`: whatever was thought to be safe. */
  #sendAgain(all: boolean): void {
    if (this.#leaderId === NOBODY) return;
    if (this.#openingNonce !== 0) this.#openSession();
    for (const run of this.#sent) if (all || !run.safe) this.#send(run);
  }

  leaderChanged(leaderId: NodeId): void {
    this.#leaderId = leaderId;
    if (leaderId === NOBODY) return;
    this.#retryLater(RETRY_MS);
    this.#sendAgain(true);
    this.#options.turnSoon();
  }

  /** Now and then: what is overdue gets its error, what may be lost is sent again. */
  tick(): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#expire(nowMs);
    if (nowMs < this.#retryDueMs) return;
    if (this.#sent.length === 0 && this.#openingNonce === 0) {
      this.#retryDueMs = Number.POSITIVE_INFINITY;
      return;
    }
    this.#sendAgain(false);
    this.#retryLater(Math.min(this.#retryMs * 2, RETRY_MS_MAX));
  }

  /** Nothing will be settled any more: whoever waits is told so. */
  giveUp(): void {
    this.#expire(Number.POSITIVE_INFINITY);
  }

  #expire(nowMs: number): void {
    const { commandTimeoutMs } = this.#options;
    this.#seal();
    while (this.#unsent.length > 0 && this.#unsent[0]!.deadlineMs <= nowMs) {
      this.#settleAll(this.#unsent.shift()!, notExecuted(commandTimeoutMs));
    }
    this.#giveUpSent(nowMs);
    this.#madeRoom();
  }

  /** Runs given up stand in front of all others, and are kept as one: however long it takes, they cost no memory. */
  #giveUpSent(nowMs: number): void {
    let givenUp = 0;
    while (givenUp < this.#sent.length && this.#sent[givenUp]!.deadlineMs <= nowMs) {
      const run = this.#sent[givenUp]!;
      if (run.waiters.length > 0) this.#settleAll(run, unknownOutcome(this.#options.commandTimeoutMs));
      givenUp++;
    }
    if (givenUp < 2) return;
    const [first, ...others] = this.#sent.splice(0, givenUp);
    for (const run of others) first!.count += run.count;
    first!.safe = false;
    this.#sent.unshift(first!);
  }

  /** One error for all of a run. */
  #settleAll(run: Run, reply: ErrorReply): void {
    const { ops } = run;
    // A run may be half applied, and wait for the store.
    const waiters = run.waiters.slice(run.settled);
    run.waiters = [];
    run.ops = NOTHING;
    this.#outstandingBytes -= ops.length;
    this.#outstandingWrites -= waiters.length;
    for (const waiter of waiters) waiter.resolve(reply);
  }

  #madeRoom(): void {
    if (!this.#congested) return;
    if (this.#outstandingBytes > OUTSTANDING_BYTES_MAX / 2) return;
    if (this.#outstandingWrites > OUTSTANDING_WRITES_MAX / 2) return;
    this.#congested = false;
    this.#options.onRoom();
  }

  // What the state machine saw (ApplyObserver)

  wants(session: number): boolean {
    return session === this.#session;
  }

  applied(session: number, seq: number, reply: Reply): void {
    if (session !== this.#session) return;
    const run = this.#sent[0];
    assert(run !== undefined && seq === this.#settledSeq + 1, 'writes are settled in their order', seq);
    this.#settledSeq = seq;
    const waiter = run.waiters[seq - run.firstSeq];
    run.settled = seq - run.firstSeq + 1;
    if (waiter !== undefined) {
      this.#outstandingWrites--;
      waiter.resolve(reply);
    }
    if (seq < run.firstSeq + run.count - 1) return;
    if (run.waiters.length > 0) this.#outstandingBytes -= run.ops.length;
    this.#sent.shift();
    this.#retryLater(RETRY_MS);
    this.#madeRoom();
  }

  gap(session: number, expectedSeq: number): void {
    // Every later run under way reports the same gap; sending again once fills it for all of them.
    if (session !== this.#session || this.#resentForGapAt === expectedSeq) return;
    this.#resentForGapAt = expectedSeq;
    this.#sendAgain(true);
  }

  sessionUnknown(session: number): void {
    if (session === this.#session) this.renumber();
  }

  /**
   * The state was replaced by a later one (a snapshot), so this server has not seen what it holds happen. What it says has
   * been executed was; what came of it is not known here.
   */
  restored(lastSeqOf: (session: number) => number | undefined): void {
    if (this.#session === NO_SESSION) return;
    const lastSeq = lastSeqOf(this.#session);
    if (lastSeq === undefined) {
      for (const run of this.#sent) if (run.waiters.length > 0) this.#settleAll(run, REPLY_MISSED);
      this.#sent = [];
      this.renumber();
      return;
    }
    const session = this.#session;
    while (this.#settledSeq < lastSeq) this.applied(session, this.#settledSeq + 1, REPLY_MISSED);
    this.#sendAgain(true);
  }

  /** Starts over in a new session with everything that is known not to have been executed, and never to be. */
  renumber(): void {
    this.#session = NO_SESSION;
    this.#nextSeq = 1;
    this.#settledSeq = 0;
    this.#resentForGapAt = 0;
    // Those whose clients were told TIMEOUT need no number any more.
    const again = this.#sent.filter((run) => run.waiters.length > 0);
    for (const run of again) run.firstSeq = 0;
    this.#sent = [];
    this.#unsent = [...again, ...this.#unsent];
    this.#options.turnSoon();
  }

  sessionOpened(nonce: number, session: number): void {
    if (nonce !== this.#openingNonce) return;
    assert(this.#session === NO_SESSION, 'a session is opened when there is none', this.#session, session);
    this.#openingNonce = 0;
    this.#session = session;
    this.#options.turnSoon();
  }
}

const REPLY_MISSED = new ErrorReply(
  'TIMEOUT',
  'The command may have been executed: this server was behind, and was given a snapshot of the state after it',
);

function notExecuted(commandTimeoutMs: number): ErrorReply {
  return new ErrorReply(
    'CLUSTERDOWN',
    `No leader within ${commandTimeoutMs} ms. The command was not executed`,
  );
}

function unknownOutcome(commandTimeoutMs: number): ErrorReply {
  return new ErrorReply(
    'TIMEOUT',
    `No majority confirmed the command within ${commandTimeoutMs} ms. Whether it was executed is unknown`,
  );
}
