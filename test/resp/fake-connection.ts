/**
 * A connection and a clock driven by hand: the test is the network, the other side and the event loop.
 */
import { Buffer } from 'node:buffer';
import { assert } from '../../src/lib/assert.ts';
import type { Address, Clock, Connection, ConnectionEvents, Timer } from '../../src/lib/env.ts';

export class HandClock implements Clock {
  nowMs = 0;
  #callbacks: (() => void)[] = [];

  monotonicMs(): number {
    return this.nowMs;
  }

  wallMs(): number {
    return this.nowMs;
  }

  after(): Timer {
    throw new Error('no timers here');
  }

  endOfTurn(callback: () => void): void {
    this.#callbacks.push(callback);
  }

  /** Ends the turn, and those that follow from it: as many as there were. */
  endTurns(): number {
    let turns = 0;
    while (this.#callbacks.length > 0) {
      const callbacks = this.#callbacks;
      this.#callbacks = [];
      for (const callback of callbacks) callback();
      turns++;
    }
    return turns;
  }
}

export class HandConnection implements Connection {
  readonly remote: Address = { host: '127.0.0.1', port: 50_000 };
  readonly local: Address = { host: '127.0.0.1', port: 6379 };
  backlogBytes = 0;
  /** How many bytes the other side still takes. */
  window = Number.POSITIVE_INFINITY;
  paused = false;
  pauses = 0;
  /** What each `write` held. */
  writes: Buffer[] = [];
  state: 'open' | 'ended' | 'destroyed' | 'closed' = 'open';
  #events: ConnectionEvents | undefined;
  #arriving: Buffer[] = [];

  get sent(): string {
    return Buffer.concat(this.writes).toString('latin1');
  }

  handle(events: ConnectionEvents): void {
    assert(this.#events === undefined, 'handlers are set once');
    this.#events = events;
  }

  write(bytes: Uint8Array): void {
    if (this.state !== 'open') return;
    this.writes.push(Buffer.from(bytes));
    const taken = Math.min(this.window, bytes.length);
    this.window -= taken;
    this.backlogBytes += bytes.length - taken;
  }

  pause(): void {
    assert(!this.paused, 'a paused connection is not paused again');
    this.paused = true;
    this.pauses++;
  }

  resume(): void {
    assert(this.paused, 'only a paused connection is resumed');
    this.paused = false;
  }

  end(): void {
    assert(this.state === 'open', 'an open connection is ended, once');
    this.state = 'ended';
  }

  destroy(): void {
    this.state = 'destroyed';
  }

  /** Bytes from the other side; they wait while the connection is paused. */
  receive(...chunks: (string | Uint8Array)[]): void {
    for (const chunk of chunks) this.#arriving.push(Buffer.from(chunk as string, 'latin1'));
    this.deliver();
  }

  deliver(): void {
    while (!this.paused && this.#arriving.length > 0) this.#events!.onData(this.#arriving.shift()!);
  }

  receiveEnd(): void {
    this.#events!.onEnd?.();
  }

  /** The other side takes everything that waits, and `window` bytes more. */
  drain(window = Number.POSITIVE_INFINITY): void {
    const waited = this.backlogBytes > 0;
    this.backlogBytes = 0;
    this.window = window;
    if (waited) this.#events!.onDrain?.();
  }

  close(): void {
    this.state = 'closed';
    this.#events!.onClose(null);
  }
}
