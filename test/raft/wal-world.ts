/** A write-ahead log on a simulated disk in virtual time, whose files a test can copy, damage and open again. */
import { assert } from '../../src/lib/assert.ts';
import type { Disk, LogFile } from '../../src/lib/env.ts';
import type { Save } from '../../src/raft/ready.ts';
import type { Entry, HardState } from '../../src/raft/types.ts';
import { Wal, type WalOptions } from '../../src/raft/wal.ts';
import type { CompactionNeeds } from '../../src/raft/wal-compaction.ts';
import type { RecoveredGroup, StoredState } from '../../src/raft/wal-rebuild.ts';
import { SimClock } from '../sim/clock.ts';
import { SimDisk } from '../sim/disk.ts';
import { SimRandom } from '../sim/random.ts';
import { type Life, Scheduler } from '../sim/scheduler.ts';

export const GROUP = 1;
const DIRECTORY = 'wal';
const nothing = () => {};
export const SILENT = { debug: nothing, verbose: nothing, notice: nothing, warning: nothing };

export type Files = ReadonlyMap<string, Uint8Array>;

export interface OpenLog {
  readonly wal: Wal;
  readonly recovered: ReadonlyMap<number, RecoveredGroup>;
}

/** A write that the log has asked the disk for. */
export interface SeenWrite {
  readonly path: string;
  readonly offset: number;
  readonly bytes: number;
}

export class WalWorld {
  readonly scheduler = new Scheduler();
  readonly random: SimRandom;
  readonly disk: SimDisk;
  readonly writes: SeenWrite[] = [];
  /** The most writes that were under way at one time. */
  underWayMax = 0;
  /** What the log has called fatal. */
  fatal: Error[] = [];
  #life: Life = { alive: true, paused: false, held: [] };
  #underWay = 0;

  constructor(options: { readonly seed?: number; readonly files?: Files } = {}) {
    this.random = new SimRandom(options.seed ?? 1);
    this.disk = new SimDisk(this.scheduler, this.random.split());
    for (const [path, content] of options.files ?? []) this.disk.files.set(path, content.slice());
  }

  async open(options: Partial<WalOptions> = {}): Promise<OpenLog> {
    return this.until(
      Wal.open({
        disk: this.#watched(this.disk.open(this.#life)),
        clock: new SimClock(this.scheduler, this.#life, { rate: 1, wallSkewMs: 0 }, this.random.split()),
        random: this.random.split(),
        log: SILENT,
        directory: DIRECTORY,
        segmentBytes: 4096,
        keepBytes: 1 << 30,
        stateOf: () => stateAt(0),
        onFatal: (error) => void this.fatal.push(error),
        ...options,
      }),
    );
  }

  /** The disk with every write of a log file noted. */
  #watched(disk: Disk): Disk {
    const watch = (path: string, file: LogFile): LogFile => ({
      bytes: file.bytes,
      read: (offset, length, done) => file.read(offset, length, done),
      close: () => file.close(),
      write: (offset, chunks, done) => {
        this.writes.push({ path, offset, bytes: chunks.reduce((sum, { length }) => sum + length, 0) });
        this.underWayMax = Math.max(this.underWayMax, ++this.#underWay);
        file.write(offset, chunks, (error) => {
          this.#underWay--;
          done(error);
        });
      },
    });
    return {
      ...disk,
      createLogFile: async (path, bytes) => watch(path, await disk.createLogFile(path, bytes)),
      openLogFile: async (path) => watch(path, await disk.openLogFile(path)),
    };
  }

  /** Lets the world go on until `promise` settles. */
  async until<T>(promise: Promise<T>, withinMs = 60_000): Promise<T> {
    let settled = false;
    const settle = () => {
      settled = true;
    };
    promise.then(settle, settle);
    // A promise that settles without an event needs a turn to say so.
    await new Promise((resolve) => setImmediate(resolve));
    if (!settled) await this.scheduler.run(this.scheduler.nowMs + withinMs, () => settled);
    assert(settled, 'what was waited for happens in time', withinMs);
    return promise;
  }

  async run(ms: number): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    await this.scheduler.run(this.scheduler.nowMs + ms);
  }

  save(wal: Wal, save: Save): Promise<void> {
    return this.until(new Promise((resolve) => wal.save(GROUP, save, resolve)));
  }

  read(wal: Wal, from: number): Promise<readonly Entry[]> {
    return this.until(new Promise((resolve) => wal.read(GROUP, from, resolve)));
  }

  /** The power fails. What the disk holds then; the log before it is dead. */
  crash(): Files {
    this.#life.alive = false;
    this.disk.crash();
    this.#life = { alive: true, paused: false, held: [] };
    this.#underWay = 0;
    return this.files();
  }

  /** A copy. */
  files(): Files {
    return new Map([...this.disk.files].map(([path, content]) => [path, content.slice()]));
  }
}

export function segmentPath(number: number): string {
  return `${DIRECTORY}/${String(number).padStart(12, '0')}.wal`;
}

export function entry(index: number, term: number, data: string | Uint8Array = `entry ${index}`): Entry {
  return { index, term, type: 'data', data: typeof data === 'string' ? Buffer.from(data) : data };
}

export function saveOf(save: {
  hardState?: HardState;
  snapshot?: { index: number; term: number };
  entries?: readonly Entry[];
}): Save {
  const { hardState, snapshot, entries = [] } = save;
  return { token: 0, hardState, snapshot, truncateFrom: entries[0]?.index, entries };
}

/** A store that has applied everything up to an entry, and was never sent a snapshot. */
export function stateAt(appliedIndex: number, appliedTerm = Math.min(appliedIndex, 1)): StoredState {
  return { appliedIndex, appliedTerm, installed: undefined };
}

/** A store whose state came from a leader's snapshot, and nothing was applied behind it. */
export function installedAt(index: number, term: number): StoredState {
  return { appliedIndex: index, appliedTerm: term, installed: { index, term } };
}

/** Nobody needs the entries up to `index` any more. */
export function upTo(index: number): CompactionNeeds {
  return { checkpointedIndex: index, matchedIndex: index, heldIndex: Number.POSITIVE_INFINITY };
}

/** Entries as text, to compare: `3@1 entry 3`. */
export function texts(entries: readonly Entry[]): string[] {
  return entries.map(({ index, term, data }) => `${index}@${term} ${Buffer.from(data).toString('latin1')}`);
}

export function recoveredTexts(log: OpenLog): string[] {
  return texts(log.recovered.get(GROUP)?.log.entries ?? []);
}

/** `files` with one of them changed. */
export function damaged(files: Files, path: string, damage: (content: Uint8Array) => void): Files {
  const copy = new Map(files);
  const content = files.get(path)!.slice();
  damage(content);
  return copy.set(path, content);
}
