/**
 * The views of the keys that this server has (kv/view.ts): each is the state at one place of the log, the same on every
 * server that has it.
 *
 *   freeze(id)   an entry of the log
 *   cut          every server, when it has applied that entry: a checkpoint of this very index begins (checkpointer.ts)
 *   the checkpoint is written: the store's snapshot of that moment is the view
 *
 * So a server may come to a view later than others, and some never do: whose disk is full, who was down, who was given a
 * snapshot of a later state. A view holds room on the disk, for what was overwritten since; so there are few, and one that
 * nobody reads is let go.
 */
import type { StateContents } from '../kv/checkpoint.ts';
import { FREEZE, isViewId } from '../kv/internal-commands.ts';
import { View } from '../kv/view.ts';
import { assert } from '../lib/assert.ts';
import { fromLatin1, latin1 } from '../lib/bytes.ts';
import type { Clock, Log, Store, Timer } from '../lib/env.ts';
import { CorruptionError } from '../lib/errors.ts';
import type { Reply } from '../resp/reply.ts';
import type { Cut } from './checkpointer.ts';
import { DISK_FULL } from './replies.ts';
import type { KeyView } from './service.ts';
import type { Waiter } from './writes.ts';

export interface KeyViewsOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly store: Store;
  /** Clients' writes are refused. */
  readonly diskFull: () => boolean;
  readonly write: (db: number, argv: readonly Uint8Array[], waiter: Waiter) => void;
  /** See `Checkpointer.cut`. */
  readonly cut: (cut: Cut) => boolean;
  readonly onFatal: (error: Error) => void;
}

/** The oldest is let go for one more. */
export const VIEWS_MAX = 4;
const UNUSED_MS_MAX = 600_000;
const LOOK_EVERY_MS = 10_000;
const NAME = fromLatin1(FREEZE);

interface Kept {
  readonly view: View;
  usedAtMs: number;
}

export class KeyViews {
  readonly #options: KeyViewsOptions;
  /** By id, the oldest first. */
  readonly #kept = new Map<string, Kept>();
  /** Those not yet made, by id: the last entry that asked for it. */
  readonly #awaited = new Map<string, number>();
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: KeyViewsOptions) {
    this.#options = options;
  }

  /** Ids of those that can be read. */
  get views(): string[] {
    return [...this.#kept.keys()].map((id) => textOf(id));
  }

  /** See `ServiceHost.freeze`. `id`: at most 64 bytes of UTF-8. */
  freeze(id: string, done: (reply: true | Reply) => void): void {
    const { clock, diskFull, write } = this.#options;
    assert(!this.#stopped, 'a server that runs makes views');
    const argument = fromLatin1(nameOf(id));
    assert(isViewId(argument), 'the id of a view is not empty, and not too long', id);
    if (diskFull()) {
      clock.endOfTurn(() => done(DISK_FULL));
      return;
    }
    write(0, [NAME, argument], { resolve: (reply) => done(reply === 'OK' ? true : reply) });
  }

  view(id: string): KeyView | undefined {
    return this.#kept.get(nameOf(id))?.view;
  }

  /** Also of one that is about to be made. Harmless when there is none. */
  release(id: string): void {
    this.#release(nameOf(id));
  }

  /** See `ApplyObserver.cut`. */
  cut(ids: readonly string[], index: number, resume: () => void): boolean {
    if (this.#stopped) return true;
    // More would push each other out.
    const wanted = ids.slice(-VIEWS_MAX);
    for (const id of wanted) {
      this.#release(id);
      this.#awaited.set(id, index);
    }
    return this.#options.cut({ done: (contents) => this.#made(wanted, index, contents), resume });
  }

  #made(ids: readonly string[], index: number, contents: StateContents | undefined): void {
    const { log } = this.#options;
    for (const id of ids) {
      // Released meanwhile, or wanted anew at a later place.
      if (this.#awaited.get(id) !== index) continue;
      this.#awaited.delete(id);
      if (contents !== undefined) this.#keep(id, contents);
      else log.warning('no view of the keys could be made', { id: textOf(id), index });
    }
  }

  #keep(id: string, contents: StateContents): void {
    const { clock, log, store, onFatal } = this.#options;
    const [oldest] = this.#kept.keys();
    if (this.#kept.size === VIEWS_MAX && oldest !== undefined) this.#release(oldest);
    const view = new View({
      ...contents,
      snapshot: store.snapshot(),
      later: (callback) => clock.endOfTurn(callback),
      onUse: () => {
        kept.usedAtMs = clock.monotonicMs();
      },
      onBroken: (error) => {
        this.#release(id);
        log.warning('a view of the keys was lost', { id: textOf(id), reason: error.message });
        // It is the store that is damaged.
        if (error instanceof CorruptionError) onFatal(error);
      },
    });
    const kept: Kept = { view, usedAtMs: clock.monotonicMs() };
    this.#kept.set(id, kept);
    log.verbose('a view of the keys was made', { id: textOf(id), index: view.index });
    this.#lookSoon();
  }

  #release(id: string): void {
    this.#awaited.delete(id);
    this.#kept.get(id)?.view.close();
    this.#kept.delete(id);
  }

  /** Lets go of what nobody reads. */
  #lookSoon(): void {
    const { clock, log } = this.#options;
    if (this.#timer !== undefined || this.#kept.size === 0) return;
    this.#timer = clock.after(LOOK_EVERY_MS, () => {
      this.#timer = undefined;
      for (const [id, { usedAtMs }] of [...this.#kept]) {
        if (clock.monotonicMs() - usedAtMs < UNUSED_MS_MAX) continue;
        log.notice('a view of the keys was not used for too long, and is let go', { id: textOf(id) });
        this.#release(id);
      }
      this.#lookSoon();
    });
  }

  /** All are gone: another state has taken the place of the one that they are of. */
  clear(): void {
    for (const id of [...this.#kept.keys(), ...this.#awaited.keys()]) this.#release(id);
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** Before the store is closed. What is read now ends with an error. */
  stop(): void {
    this.#stopped = true;
    this.clear();
  }
}

/** As the log has the id: one character per byte. */
function nameOf(id: string): string {
  return latin1(new TextEncoder().encode(id));
}

function textOf(name: string): string {
  return new TextDecoder().decode(fromLatin1(name));
}
