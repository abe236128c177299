/**
 * Brings the state machine's changes to the store now and then, so that the log can be cut and a restart is short.
 *
 * A checkpoint begins when enough has changed, or when the last one is a while ago. It is gathered slice by slice, one
 * a turn, and written as one atomic, synced batch. A full disk is waited out: what has changed stays in memory, and the
 * log keeps it; when too much has gathered so, `overfull` asks for clients' writes to be refused.
 *
 * BGSAVE asks for one with `request`, SAVE with `flush`. Both mean one that holds everything applied before they asked,
 * so one that was under way then may not be enough.
 *
 * A view (key-views.ts) asks with `cut` for one of this very index, in the middle of a batch of entries: when one is under
 * way, nothing may be applied until that has ended.
 */

import type { Checkpoint, StateContents } from '../kv/checkpoint.ts';
import type { KvStateMachine } from '../kv/state-machine.ts';
import { assert } from '../lib/assert.ts';
import type { Clock, Log, Store, StoreBatch, Timer } from '../lib/env.ts';
import { DiskFullError } from '../lib/errors.ts';

/** A checkpoint begins when one of these is reached. */
export interface CheckpointLimits {
  readonly dirtyBytesMax: number;
  readonly entriesMax: number;
  readonly intervalMs: number;
}

export const DEFAULT_CHECKPOINTS: CheckpointLimits = {
  dirtyBytesMax: 32 << 20,
  entriesMax: 100_000,
  intervalMs: 10_000,
};

export interface CheckpointerOptions {
  readonly limits: CheckpointLimits;
  readonly clock: Clock;
  readonly log: Log;
  readonly store: Store;
  readonly stateMachine: KvStateMachine;
  /** What the store has of it: without a word, all. */
  readonly checkpointedIndex?: number;
  /** The state after entry `index` is durable in the store. */
  readonly onCheckpoint: (index: number) => void;
  readonly onFatal: (error: Error) => void;
}

/** For INFO. */
export interface CheckpointStatus {
  /** By the monotonic clock, while one is under way. */
  readonly beganMs: number | undefined;
  readonly finishedCount: number;
  /** When the last one finished, by the wall clock: before the first, when this process began. */
  readonly lastWallMs: number;
  readonly lastDurationMs: number | undefined;
  readonly lastFailed: boolean;
}

/** Who wants the state of one index in the store, and of no other. */
export interface Cut {
  /**
   * The store holds it now, and no later one before this returns. Undefined: it never will. Once, later.
   */
  readonly done: (written: StateContents | undefined) => void;
  /** The checkpoint has begun, or will not: applying may go on. Once, after `cut` has said false. */
  readonly resume: () => void;
}

interface Flush {
  readonly index: number;
  readonly done: (error: Error | null) => void;
}

interface CheckpointRun {
  readonly checkpoint: Checkpoint;
  /** Who wanted it. */
  readonly cut: Cut | undefined;
}

const SLICE_ENTRIES = 200;
const RETRY_AFTER_FULL_MS = 1000;
/** Changes in memory that the disk does not take. */
const OVERFULL_BYTES = 256 << 20;
/** So long a cut waits for the checkpoint that is under way, and with it all that is to be applied. */
const CUT_WAITS_MS_MAX = 10_000;

export class Checkpointer {
  readonly #options: CheckpointerOptions;
  #underWay = false;
  #checkpointedIndex: number;
  #lastMs: number;
  #notBeforeMs = 0;
  #stopped = false;
  #onIdle: (() => void) | undefined;
  /** A checkpoint of this index is wanted, or there was one. */
  #requestedIndex = 0;
  /** Who waits for a checkpoint. A client at most once: it waits for the answer. */
  #flushes: Flush[] = [];
  /** It waits for the end of the checkpoint that is under way. */
  #waitingCut: { readonly cut: Cut; readonly timer: Timer } | undefined;
  #status: CheckpointStatus;

  constructor(options: CheckpointerOptions) {
    this.#options = options;
    this.#checkpointedIndex = options.checkpointedIndex ?? options.stateMachine.appliedIndex;
    this.#lastMs = options.clock.monotonicMs();
    const lastWallMs = options.clock.wallMs();
    this.#status = {
      ...{ beganMs: undefined, finishedCount: 0, lastWallMs, lastDurationMs: undefined, lastFailed: false },
    };
  }

  get status(): CheckpointStatus {
    return this.#status;
  }

  get checkpointedIndex(): number {
    return this.#checkpointedIndex;
  }

  get overfull(): boolean {
    return this.#options.stateMachine.dirtyBytes > OVERFULL_BYTES;
  }

  /** After entries were applied, and now and then. */
  consider(): void {
    const { clock, stateMachine, limits } = this.#options;
    const nowMs = clock.monotonicMs();
    const mayBegin = !this.#underWay && this.#waitingCut === undefined && !this.#stopped;
    if (!mayBegin || nowMs < this.#notBeforeMs) return;
    const entries = stateMachine.appliedIndex - this.#checkpointedIndex;
    const due =
      this.#flushes.length > 0 ||
      this.#requestedIndex > this.#checkpointedIndex ||
      stateMachine.dirtyBytes >= limits.dirtyBytesMax ||
      entries >= limits.entriesMax ||
      (entries > 0 && nowMs - this.#lastMs >= limits.intervalMs);
    if (due) this.begin();
  }

  /** Brings everything applied so far to the store as soon as that can be. */
  request(): void {
    this.#requestedIndex = this.#options.stateMachine.appliedIndex;
    this.consider();
  }

  /** Calls `done` once everything applied so far is in the store, or with the error when the disk is full. */
  flush(done: (error: Error | null) => void): void {
    const { clock, stateMachine } = this.#options;
    if (stateMachine.appliedIndex === this.#checkpointedIndex) {
      clock.endOfTurn(() => done(null));
      return;
    }
    this.#flushes.push({ index: stateMachine.appliedIndex, done });
    // Who asks now wants to know now whether the disk is still full.
    this.#notBeforeMs = 0;
    this.consider();
  }

  begin(): void {
    const checkpoint = this.#options.stateMachine.beginCheckpoint();
    if (checkpoint !== undefined) this.#began({ checkpoint, cut: undefined });
  }

  /**
   * Brings the state of now, between two entries, to the store. False: not before `cut.resume`, and until then nothing
   * may be applied.
   */
  cut(cut: Cut): boolean {
    const { clock } = this.#options;
    assert(this.#waitingCut === undefined, 'nothing is applied while a cut waits');
    if (this.#stopped) clock.endOfTurn(() => cut.done(undefined));
    else if (!this.#underWay) this.#beginCut(cut);
    else {
      const timer = clock.after(CUT_WAITS_MS_MAX, () => this.#giveUpCut());
      this.#waitingCut = { cut, timer };
      return false;
    }
    return true;
  }

  #beginCut(cut: Cut): void {
    const checkpoint = this.#options.stateMachine.beginCheckpoint();
    assert(checkpoint !== undefined, 'between two entries a checkpoint can begin when none is under way');
    this.#began({ checkpoint, cut });
  }

  #giveUpCut(): void {
    const { cut } = this.#waitingCut!;
    this.#waitingCut = undefined;
    this.#options.log.warning('a checkpoint takes too long: no view of the keys is made');
    cut.done(undefined);
    cut.resume();
  }

  #began(run: CheckpointRun): void {
    this.#underWay = true;
    this.#status = { ...this.#status, beganMs: this.#options.clock.monotonicMs() };
    this.#fill(run, this.#options.store.batch());
  }

  #fill(run: CheckpointRun, batch: StoreBatch): void {
    if (run.checkpoint.fill(batch, SLICE_ENTRIES)) {
      this.#options.clock.endOfTurn(() => this.#fill(run, batch));
      return;
    }
    batch.write((error) => {
      if (error === null) this.#finished(run);
      else this.#failed(run, error);
    });
  }

  #finished({ checkpoint, cut }: CheckpointRun): void {
    checkpoint.finished();
    // First of all: what is written from here on must not be in the view.
    cut?.done(checkpoint.contents);
    this.#checkpointedIndex = checkpoint.appliedIndex;
    this.#lastMs = this.#options.clock.monotonicMs();
    this.#status = {
      beganMs: undefined,
      finishedCount: this.#status.finishedCount + 1,
      lastWallMs: this.#options.clock.wallMs(),
      lastDurationMs: this.#lastMs - (this.#status.beganMs ?? this.#lastMs),
      lastFailed: false,
    };
    this.#idle();
    this.#settleFlushes(checkpoint.appliedIndex, null);
    if (this.#stopped) return;
    this.#options.onCheckpoint(checkpoint.appliedIndex);
    for (const garbage of this.#options.stateMachine.takeGarbage()) {
      this.#options.store.clear(garbage, (error) => {
        if (error !== null && !(error instanceof DiskFullError)) this.#options.onFatal(error);
      });
    }
    this.#goOn();
  }

  /** For those who asked while one was under way. */
  #goOn(): void {
    const waiting = this.#waitingCut;
    if (waiting === undefined) return this.consider();
    this.#waitingCut = undefined;
    waiting.timer.cancel();
    this.#beginCut(waiting.cut);
    waiting.cut.resume();
  }

  #failed({ checkpoint, cut }: CheckpointRun, error: Error): void {
    checkpoint.failed();
    cut?.done(undefined);
    this.#status = { ...this.#status, beganMs: undefined, lastFailed: true };
    this.#idle();
    this.#settleFlushes(Number.POSITIVE_INFINITY, error);
    if (!(error instanceof DiskFullError)) return this.#options.onFatal(error);
    this.#options.log.warning('the disk is full: no checkpoint could be written', { reason: error.message });
    this.#notBeforeMs = this.#options.clock.monotonicMs() + RETRY_AFTER_FULL_MS;
    if (!this.#stopped) this.#goOn();
  }

  #settleFlushes(index: number, error: Error | null): void {
    const settled = this.#flushes.filter((flush) => flush.index <= index);
    this.#flushes = this.#flushes.filter((flush) => flush.index > index);
    for (const { done } of settled) done(error);
  }

  #idle(): void {
    this.#underWay = false;
    this.#onIdle?.();
  }

  /** Lets a checkpoint under way end. None begins any more; what waits for a cut is not applied any more. */
  stop(): Promise<void> {
    this.#stopped = true;
    this.#waitingCut?.timer.cancel();
    this.#waitingCut?.cut.done(undefined);
    this.#waitingCut = undefined;
    return new Promise((resolve) => {
      if (this.#underWay) this.#onIdle = resolve;
      else resolve();
    });
  }
}
