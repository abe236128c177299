/**
 * A log for what comes again and again while something is wrong: the same line at most once a minute, with the number of
 * those that were left out. Strangers may choose part of the keys, so the number of keys is bounded: beyond it, new ones
 * are not logged until old ones have run out.
 */
import type { Clock, Log, LogFields } from '../lib/env.ts';

const QUIET_MS = 60_000;
const KEYS_MAX = 256;

interface Line {
  readonly saidMs: number;
  leftOut: number;
}

export class QuietLog {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #lines = new Map<string, Line>();

  constructor(log: Log, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** `about` tells lines of the same event apart: a peer, a reason. */
  warning(event: string, about: string, fields: LogFields): void {
    const leftOut = this.#maySay(`${event} ${about}`);
    if (leftOut === undefined) return;
    this.#log.warning(event, leftOut === 0 ? fields : { ...fields, leftOut });
  }

  /** How many lines of this key were left out since the last one; undefined when this one is to be too. */
  #maySay(key: string): number | undefined {
    const nowMs = this.#clock.monotonicMs();
    const line = this.#lines.get(key);
    if (line !== undefined && nowMs - line.saidMs < QUIET_MS) {
      line.leftOut++;
      return undefined;
    }
    if (line === undefined && this.#lines.size >= KEYS_MAX && !this.#makeRoom(nowMs)) return undefined;
    this.#lines.set(key, { saidMs: nowMs, leftOut: 0 });
    return line?.leftOut ?? 0;
  }

  #makeRoom(nowMs: number): boolean {
    for (const [key, { saidMs }] of this.#lines) if (nowMs - saidMs >= QUIET_MS) this.#lines.delete(key);
    return this.#lines.size < KEYS_MAX;
  }
}
