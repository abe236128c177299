/**
 * Brings the state machine's changes to the store now and then, so that the log can be cut and a restart is short.
 *
 * A checkpoint begins when enough has changed, or when the last one is a while ago. It is gathered slice by slice, one
 * a turn, and written as one atomic, synced batch. A full disk is waited out: what has changed stays in memory, and the
 * log keeps it; when too much has gathered so, `overfull` asks for clients' writes to be refused.
 *
 * BGSAVE asks for one with `request`, SAVE with `flush`. Both mean one that holds everything applied before they asked,
 * so one that was under way then may not be enough.
 */

import type { Checkpoint } from '../kv/checkpoint.ts';
import type { KvStateMachine } from '../kv/state-machine.ts';
import type { Clock, Log, Store, StoreBatch } from '../lib/env.ts';
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

interface Flush {
  readonly index: number;
  readonly done: (error: Error | null) => void;
}

const SLICE_ENTRIES = 200;
const RETRY_AFTER_FULL_MS = 1000;
/** Changes in memory that the disk does not take. */
const OVERFULL_BYTES = 256 << 20;

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
    if (this.#underWay || this.#stopped || nowMs < this.#notBeforeMs) return;
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
    if (checkpoint === undefined) return;
    this.#underWay = true;
    this.#status = { ...this.#status, beganMs: this.#options.clock.monotonicMs() };
    this.#fill(checkpoint, this.#options.store.batch());
  }

  #fill(checkpoint: Checkpoint, batch: StoreBatch): void {
    if (checkpoint.fill(batch, SLICE_ENTRIES)) {
      this.#options.clock.endOfTurn(() => this.#fill(checkpoint, batch));
      return;
    }
    batch.write((error) => {
      if (error === null) this.#finished(checkpoint);
      else this.#failed(checkpoint, error);
    });
  }

  #finished(checkpoint: Checkpoint): void {
    checkpoint.finished();
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
    // For those who asked while it was under way.
    this.consider();
  }

  #failed(checkpoint: Checkpoint, error: Error): void {
    checkpoint.failed();
    this.#status = { ...this.#status, beganMs: undefined, lastFailed: true };
    this.#idle();
    this.#settleFlushes(Number.POSITIVE_INFINITY, error);
    if (!(error instanceof DiskFullError)) return this.#options.onFatal(error);
    this.#options.log.warning('the disk is full: no checkpoint could be written', { reason: error.message });
    this.#notBeforeMs = this.#options.clock.monotonicMs() + RETRY_AFTER_FULL_MS;
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

  /** Lets a checkpoint under way end. None begins any more. */
  stop(): Promise<void> {
    this.#stopped = true;
    return new Promise((resolve) => {
      if (this.#underWay) this.#onIdle = resolve;
      else resolve();
    });
  }
}
