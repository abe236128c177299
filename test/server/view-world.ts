/**
 * One replica's state machine with its checkpoints and its views of the keys, over a store and a clock that the test turns
 * by hand.
 */
import type { ApplyObserver } from '../../src/kv/applier.ts';
import { FREEZE } from '../../src/kv/internal-commands.ts';
import { SLOTS } from '../../src/kv/slot.ts';
import type { KvOptions } from '../../src/kv/state-machine.ts';
import { fromLatin1 } from '../../src/lib/bytes.ts';
import type { Clock, Store, StoreBatch, StoreSnapshot, Timer } from '../../src/lib/env.ts';
import { DiskFullError, SnapshotLostError } from '../../src/lib/errors.ts';
import type { Reply } from '../../src/resp/reply.ts';
import { Checkpointer } from '../../src/server/checkpointer.ts';
import { KeyViews } from '../../src/server/key-views.ts';
import type { KeyRange, KeyView } from '../../src/server/service.ts';
import { LogScript } from '../kv/log-script.ts';
import { command, type Op } from '../kv/replica.ts';

export type Pair = readonly [key: string, value: string];

export interface Block {
  readonly error: Error | null;
  readonly block: Uint8Array;
  readonly after: Uint8Array | undefined;
}

/** Records of a block as `KeyBlockDone` describes them. */
export function pairsOf(block: Uint8Array): Pair[] {
  const bytes = Buffer.from(block.buffer, block.byteOffset, block.length);
  const pairs: Pair[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const keyEnd = offset + 8 + bytes.readUInt32LE(offset);
    const end = keyEnd + bytes.readUInt32LE(offset + 4);
    pairs.push([bytes.toString('latin1', offset + 8, keyEnd), bytes.toString('latin1', keyEnd, end)]);
    offset = end;
  }
  return pairs;
}

export function rangeOf(range: Partial<Omit<KeyRange, 'pattern'>> & { pattern?: string } = {}): KeyRange {
  const { db = 0, pattern = '*', fromSlot = 0, toSlot = SLOTS } = range;
  return { db, pattern: fromLatin1(pattern), fromSlot, toSlot };
}

const SILENT = { debug: () => {}, verbose: () => {}, notice: () => {} };

export class ViewWorld {
  readonly script: LogScript;
  readonly checkpointer: Checkpointer;
  readonly views: KeyViews;
  /** `reopened`: snapshots of the store are lost. */
  readonly disk = { full: false, reopened: false };
  readonly warnings: string[] = [];
  readonly fatal: Error[] = [];
  readonly written: string[] = [];
  closedSnapshots = 0;
  readonly #timers = new Map<() => void, number>();
  #nowMs = 0;

  constructor(options: Partial<KvOptions> = {}) {
    const observer: ApplyObserver = {
      wants: () => true,
      applied: (_session, _seq, reply) => void this.script.replica.replies.push(reply),
      gap: () => {},
      sessionUnknown: () => {},
      sessionOpened: () => {},
      cut: (...event) => this.views.cut(...event),
    };
    this.script = new LogScript({ ...options, observer });
    const { machine } = this.script.replica;
    const log = { ...SILENT, warning: (event: string) => void this.warnings.push(event) };
    const onFatal = (error: Error) => void this.fatal.push(error);
    const parts = { clock: this.#clock(), log, store: this.#store(), onFatal };
    this.checkpointer = new Checkpointer({
      ...parts,
      limits: { dirtyBytesMax: 1e9, entriesMax: 1e9, intervalMs: 1e9 },
      stateMachine: machine,
      onCheckpoint: () => {},
    });
    this.views = new KeyViews({
      ...parts,
      diskFull: () => this.disk.full,
      write: (_db, argv, waiter) => {
        this.written.push(argv.map((arg) => Buffer.from(arg).toString()).join(' '));
        this.#later(() => waiter.resolve('OK'));
      },
      cut: (cut) => this.checkpointer.cut(cut),
    });
  }

  #clock(): Clock {
    return {
      monotonicMs: () => this.#nowMs,
      wallMs: () => this.#nowMs,
      endOfTurn: (callback) => this.#later(callback),
      after: (delayMs, callback): Timer => {
        this.#timers.set(callback, this.#nowMs + delayMs);
        return { cancel: () => void this.#timers.delete(callback) };
      },
    };
  }

  /** It says that it is full, while it is. */
  #store(): Store {
    const { store } = this.script.replica;
    const batch = (): StoreBatch => {
      const made = store.batch();
      const full = (done: (error: Error | null) => void) =>
        this.#later(() => done(new DiskFullError('no space left')));
      return { ...made, write: (done) => (this.disk.full ? full(done) : made.write(done)) };
    };
    return {
      batch,
      getMany: (...asked) => store.getMany(...asked),
      range: (...asked) => store.range(...asked),
      snapshot: () => this.#snapshot(store.snapshot()),
      clear: (...asked) => store.clear(...asked),
      close: () => store.close(),
    };
  }

  #snapshot(snapshot: StoreSnapshot): StoreSnapshot {
    return {
      range: (range, done) => {
        if (this.disk.reopened) this.#later(() => done(new SnapshotLostError(), []));
        else snapshot.range(range, done);
      },
      close: () => {
        this.closedSnapshots++;
        snapshot.close();
      },
    };
  }

  #later(callback: () => void): void {
    this.script.replica.later.push(callback);
  }

  /** Timers that are set. */
  get timers(): number {
    return this.#timers.size;
  }

  /** Everything that was asked for happens, but no time passes. */
  settle(): void {
    const { later, store } = this.script.replica;
    for (;;) {
      const next = later.shift();
      if (next !== undefined) next();
      else if (!store.turn()) return;
    }
  }

  pass(ms: number): void {
    this.tick(ms);
    this.settle();
  }

  /** Timers fire, and nothing else happens: the store does not answer. */
  tick(ms: number): void {
    this.#nowMs += ms;
    for (const [callback, dueMs] of [...this.#timers]) {
      if (dueMs > this.#nowMs) continue;
      this.#timers.delete(callback);
      callback();
    }
  }

  /** An entry that freezes, after these operations in the same entry. */
  freeze(id: string, ...before: Op[]): Reply {
    return this.script.run(...before, command(FREEZE, id));
  }

  read(view: KeyView, range = rangeOf(), after?: Uint8Array): Block {
    let answer: Block | undefined;
    view.read(range, after, (error, block, next) => {
      answer = { error, block, after: next };
    });
    if (answer !== undefined) throw new Error('the answer came before the call had returned');
    this.settle();
    if (answer === undefined) throw new Error('no answer');
    return answer;
  }

  blocks(view: KeyView, range = rangeOf()): Uint8Array[] {
    const blocks: Uint8Array[] = [];
    let after: Uint8Array | undefined;
    do {
      const answer = this.read(view, range, after);
      if (answer.error !== null) throw answer.error;
      blocks.push(answer.block);
      after = answer.after;
    } while (after !== undefined);
    return blocks;
  }

  /** In their order. */
  pairs(id: string, range = rangeOf()): Pair[] {
    const view = this.views.view(id);
    if (view === undefined) throw new Error(`there is no view ${id}`);
    return this.blocks(view, range).flatMap(pairsOf);
  }

  /** All that is in a view, sorted by key. */
  contents(id: string, db = 0): Record<string, string> {
    return Object.fromEntries([...this.pairs(id, rangeOf({ db }))].sort());
  }
}
