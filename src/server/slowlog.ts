/**
 * The slow log: the last commands that took long, for SLOWLOG. After Redis 7.0's slowlog.c.
 *
 * A command's time is that from its arrival at the door to its reply. In Redis it is the work alone; here it holds the
 * wait for the disk and for a majority too, because that is what the client waits for: while a disk is slow the log fills
 * with writes, and says so. Not counted is the time that a command was asked to wait (see stats.ts).
 *
 * An entry keeps no more than 32 arguments of 128 bytes each, so that the log is small, and no passwords.
 */
import { fromLatin1 } from '../lib/bytes.ts';
import type { Client } from '../resp/client.ts';
import { redacted } from './redaction.ts';

const ARGUMENTS_MAX = 32;
const ARGUMENT_BYTES_MAX = 128;

export interface SlowEntry {
  readonly id: number;
  readonly atSeconds: number;
  readonly usec: number;
  readonly argv: readonly Uint8Array[];
  readonly address: string;
  readonly clientName: string;
}

/** A command that has been answered. */
export interface SlowCommand {
  /** That of the table: `config|set`. */
  readonly name: string;
  readonly argv: readonly Uint8Array[];
  readonly client: Client;
  readonly usec: number;
}

export class Slowlog {
  /** Negative: nothing is slow. */
  slowerThanUsec: number;
  lengthMax: number;
  /** The oldest first. */
  #entries: SlowEntry[] = [];
  #nextId = 0;

  constructor(limits: { slowerThanUsec: number; lengthMax: number }) {
    this.slowerThanUsec = limits.slowerThanUsec;
    this.lengthMax = limits.lengthMax;
  }

  get length(): number {
    return this.#entries.length;
  }

  isSlow(usec: number): boolean {
    return this.slowerThanUsec >= 0 && usec >= this.slowerThanUsec && this.lengthMax > 0;
  }

  add({ name, argv, client, usec }: SlowCommand, wallMs: number): void {
    this.#entries.push({
      id: this.#nextId++,
      atSeconds: Math.floor(wallMs / 1000),
      usec: Math.round(usec),
      argv: shortened(redacted(name, argv)),
      address: client.address,
      clientName: client.name,
    });
    if (this.#entries.length > this.lengthMax) this.#entries.splice(0, this.#entries.length - this.lengthMax);
  }

  /** The newest first. */
  newest(count: number): SlowEntry[] {
    return count === 0 ? [] : this.#entries.slice(-count).reverse();
  }

  reset(): void {
    this.#entries = [];
  }
}

/** Copies: what a request holds is a view of what the socket gave. */
function shortened(argv: readonly Uint8Array[]): Uint8Array[] {
  const kept = argv.length > ARGUMENTS_MAX ? argv.slice(0, ARGUMENTS_MAX - 1) : argv;
  const words = kept.map((arg): Uint8Array => {
    if (arg.length <= ARGUMENT_BYTES_MAX) return new Uint8Array(arg);
    const end = fromLatin1(`... (${arg.length - ARGUMENT_BYTES_MAX} more bytes)`);
    const word = new Uint8Array(ARGUMENT_BYTES_MAX + end.length);
    word.set(arg.subarray(0, ARGUMENT_BYTES_MAX));
    word.set(end, ARGUMENT_BYTES_MAX);
    return word;
  });
  const left = argv.length - kept.length;
  if (left > 0) words.push(fromLatin1(`... (${left} more arguments)`));
  return words;
}
