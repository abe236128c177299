/**
 * The next segment's file, made in advance: a change of segment then costs one small write. When it cannot be made the
 * disk is full; that is said while the rest of the present segment is still there, and it is tried again every second.
 */
import { assert } from '../lib/assert.ts';
import type { Clock, Disk, Log, LogFile } from '../lib/env.ts';
import { DiskFullError } from '../lib/errors.ts';
import { segmentName } from './wal-segments.ts';

export interface SpareOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: Log;
  readonly directory: string;
  readonly segmentBytes: number;
  readonly onFatal: (error: Error) => void;
  /** Nothing is being made any more: the spare is ready, or the log is closing and there is no room. */
  readonly onIdle: () => void;
}

const RETRY_WHEN_FULL_MS = 1000;

export class SpareSegment {
  readonly #options: SpareOptions;
  #spare: LogFile | undefined;
  #making = false;
  #full = false;
  #closing = false;
  /** The change of segment that waits for the spare that is being made. */
  #waiting: (() => void) | undefined;

  constructor(options: SpareOptions) {
    this.#options = options;
  }

  /** There was no room for the file that is being made. */
  get full(): boolean {
    return this.#full;
  }

  get making(): boolean {
    return this.#making;
  }

  get bytes(): number {
    return this.#spare?.bytes ?? 0;
  }

  /** Has the file of segment `number` ready before it is needed. */
  prepare(number: number): void {
    if (this.#spare !== undefined || this.#making || this.#closing) return;
    this.#create(number, this.#options.segmentBytes, (file) => {
      this.#spare = file;
      const waiting = this.#waiting;
      this.#waiting = undefined;
      if (waiting !== undefined) waiting();
      else this.#options.onIdle();
    });
  }

  /** Hands over the file of segment `number`, of at least `bytes`, at once if it can. While there is no room it waits. */
  take(number: number, bytes: number, done: (file: LogFile) => void): void {
    const spare = this.#spare;
    if (spare !== undefined && spare.bytes >= bytes) {
      this.#spare = undefined;
      done(spare);
      return;
    }
    if (this.#making) {
      assert(this.#waiting === undefined, 'one change of segment waits at a time', number);
      this.#waiting = () => this.take(number, bytes, done);
      return;
    }
    if (spare !== undefined) {
      // The larger one takes its name, and with it its place on the disk.
      this.#spare = undefined;
      spare.close().catch(this.#options.onFatal);
    }
    this.#create(number, Math.max(this.#options.segmentBytes, Math.ceil(bytes / 4096) * 4096), done);
  }

  /** Makes no more of them. What waits for room is given up when there is none the next time it is tried. */
  beginClose(): void {
    this.#closing = true;
  }

  async close(): Promise<void> {
    assert(!this.#making, 'nothing is being made when it is closed');
    await this.#spare?.close();
  }

  #create(number: number, bytes: number, done: (file: LogFile) => void): void {
    const { disk, directory, onFatal, log } = this.#options;
    this.#making = true;
    disk.createLogFile(`${directory}/${segmentName(number)}`, bytes).then(
      (file) => {
        if (this.#full) log.notice('the disk has room again', { directory });
        this.#full = false;
        this.#making = false;
        done(file);
      },
      (error: Error) => {
        if (!(error instanceof DiskFullError)) return onFatal(error);
        if (!this.#full) log.warning('no room on the disk for the next log segment', { directory, bytes });
        this.#full = true;
        this.#tryAgain(number, bytes, done);
      },
    );
  }

  #tryAgain(number: number, bytes: number, done: (file: LogFile) => void): void {
    if (this.#closing) {
      this.#making = false;
      this.#options.onIdle();
      return;
    }
    this.#options.clock.after(RETRY_WHEN_FULL_MS, () => this.#create(number, bytes, done));
  }
}
