/**
 * The write-ahead log: one per server, shared by all its groups, so that one synced write makes durable whatever every
 * group has gathered since the last one (group commit). One write is under way at a time; what is saved meanwhile
 * forms the next. The slower the disk, the more it carries per write, without any timer.
 *
 * The log is a row of preallocated segments (format: wal-format.ts). The next one is made in advance, so changing to
 * it costs one small write. When it cannot be made the disk is full: `full` says so while the rest of the present
 * segment is still there, and the server stops taking writes from clients; it tries again every second.
 *
 * A segment begins with a record of each group's hard state and of where its log ends. All segments before it can go
 * when nobody needs an entry up to there any more, and the log then simply begins with it.
 *
 * Purpose of an own log under a store that has one: LevelDB's is not checked on recovery (a flipped byte loses records
 * from the middle without an error), and one synced write here costs a fraction. A failed write leaves nobody knowing
 * what the disk holds, so it is fatal: the process ends, and a restart reads what is really there.
 */
import { assert } from '../lib/assert.ts';
import { ByteWriter } from '../lib/bytes.ts';
import type { Clock, Disk, Log, LogFile, Random, Timer } from '../lib/env.ts';
import { CorruptionError, DiskFullError } from '../lib/errors.ts';
import type { Save } from './ready.ts';
import type { Entry, GroupId, HardState } from './types.ts';
import {
  align,
  encodeRecord,
  encodeSegmentHeader,
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  type WalItem,
} from './wal-format.ts';
import { ReadPoints } from './wal-read.ts';
import { LogRebuilder, type RecoveredGroup } from './wal-recovery.ts';
import { type LogEnds, openSegments, REPLACED, type Segment, segmentName } from './wal-segments.ts';

export interface WalOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly directory: string;
  readonly segmentBytes: number;
  /** Up to where the store has each group's entries applied. */
  readonly appliedIndexOf: (group: GroupId) => number;
  /** The disk failed. Nothing is reported as saved any more; the process must end. */
  readonly onFatal: (error: Error) => void;
}

export const WAL_SEGMENT_BYTES = 16 << 20;
/** One write carries at most so much, or one save that is larger. */
const WRITE_BYTES_MAX = 4 << 20;
const SEAL_AFTER_MS = 1000;
const RETRY_WHEN_FULL_MS = 1000;
/** An upper bound of what an item takes besides its entries, and an entry besides its data. */
const ITEM_OVERHEAD_BYTES = 32;
const ENTRY_HEADER_BYTES = 13;
const NEW_GROUP = { hardState: { term: 0, votedFor: 0 }, lastIndex: 0, lastTerm: 0, compactableTo: 0 };

interface GroupState {
  hardState: HardState;
  lastIndex: number;
  lastTerm: number;
  /** Entries up to here are needed by nobody. */
  compactableTo: number;
  readonly points: ReadPoints;
}

interface Pending {
  readonly items: readonly WalItem[];
  readonly bytes: number;
  readonly done: () => void;
}

export class Wal {
  readonly #options: WalOptions;
  readonly #groups = new Map<GroupId, GroupState>();
  readonly #segments: Segment[] = [];
  readonly #logEnds = new Map<number, LogEnds>();
  #offset = 0;
  /** Up to here the present segment is on the disk; behind it a write may be under way. */
  #durableOffset = 0;
  #nextSequence = 0;
  readonly #out = new ByteWriter(1 << 16);
  #pending: Pending[] = [];
  #writing: Pending[] = [];
  #busySinceMs: number | undefined;
  /** Busy, but with waiting for a segment. */
  #rolling = false;
  #spare: LogFile | undefined;
  #makingSpare = false;
  #full = false;
  #unsealed = false;
  #sealTimer: Timer | undefined;
  #readsUnderWay = 0;
  /** Segments that are no longer needed are being removed. */
  #removal: Promise<void> = Promise.resolve();
  #closing = false;
  #onSettled: (() => void) | undefined;
  /** A change of segment waits for the spare that is being made. */
  #afterSpare: (() => void) | undefined;

  private constructor(options: WalOptions) {
    this.#options = options;
  }

  /** Reads the log that is there, or begins one. Throws CorruptionError, DiskFullError. */
  static async open(
    options: WalOptions,
  ): Promise<{ wal: Wal; recovered: ReadonlyMap<GroupId, RecoveredGroup> }> {
    assert(options.segmentBytes % 4096 === 0, 'a segment is whole pages', options.segmentBytes);
    const wal = new Wal(options);
    await options.disk.makeDirectory(options.directory);
    const recovered = await wal.#recover();
    if (wal.#segments.length === 0) await wal.#begin();
    wal.#makeSpare();
    return { wal, recovered };
  }

  /** Whether the disk has no room for the next segment: clients' writes must be refused. */
  get full(): boolean {
    return this.#full;
  }

  /** Since when the disk has been at one and the same write, or has had no room for it; undefined when it is idle. */
  get busySinceMs(): number | undefined {
    return this.#busySinceMs;
  }

  get #busy(): boolean {
    return this.#busySinceMs !== undefined;
  }

  /** Makes `save` durable, then calls `done`. Saves become durable in the order of the calls. */
  save(group: GroupId, save: Save, done: () => void): void {
    assert(!this.#closing, 'an open log takes saves');
    const items: WalItem[] = [];
    if (save.hardState !== undefined) items.push({ type: 'hardState', group, hardState: save.hardState });
    if (save.truncateFrom !== undefined) {
      items.push({ type: 'entries', group, from: save.truncateFrom, entries: save.entries });
    }
    const entriesBytes = save.entries.reduce((sum, entry) => sum + entry.data.length + ENTRY_HEADER_BYTES, 0);
    const bytes = items.length * ITEM_OVERHEAD_BYTES + entriesBytes;
    this.#pending.push({ items, bytes, done });
    this.#flush();
  }

  /**
   * Entries of `group` from `from` on, at least one, read back from the disk; they may stop anywhere. Calls `done`
   * with none if `from` is not (or no longer) there.
   */
  read(group: GroupId, from: number, done: (entries: readonly Entry[]) => void): void {
    const extent = this.#groups.get(group)?.points.extentOf(from);
    const segment = this.#segments.find((candidate) => candidate.number === extent?.segment);
    if (extent === undefined || segment === undefined) {
      this.#options.clock.endOfTurn(() => done([]));
      return;
    }
    // What is wanted is durable. What is being written can be seen half, and would look damaged.
    const written = segment === this.#segments.at(-1) ? this.#durableOffset : segment.file.bytes;
    const end = Math.max(extent.offset, Math.min(extent.endOffset ?? segment.file.bytes, written));
    this.#readsUnderWay++;
    segment.file.read(extent.offset, end - extent.offset, (error, content) => {
      this.#readsUnderWay--;
      if (error !== null) return this.#options.onFatal(error);
      const entries = extent.collect({ group, from, content, seed: segment.seed });
      if (entries === 'corrupt') {
        const where = `segment ${segment.number} between bytes ${extent.offset} and ${end}`;
        return this.#options.onFatal(new CorruptionError(`the write-ahead log is damaged in ${where}`));
      }
      done(entries);
    });
  }

  /**
   * Nobody needs the group's entries up to `index` any more. Drops the segments that hold nothing else and returns
   * where the log now begins: the last index that is no longer in it.
   */
  compact(group: GroupId, index: number): number {
    const state = this.#groups.get(group);
    if (state === undefined) return 0;
    state.compactableTo = Math.max(state.compactableTo, index);
    if (this.#readsUnderWay === 0) {
      for (let drop = this.#unneededSegments(); drop > 0; drop--) this.#dropOldest();
    }
    return this.#segments[0]!.logEnds.get(group) ?? 0;
  }

  /** How many segments lie before the last one with which the log may begin. */
  #unneededSegments(): number {
    const groups = [...this.#groups];
    const mayBeFirst = ({ begun, logEnds }: Segment) =>
      begun && groups.every(([group, { compactableTo }]) => (logEnds.get(group) ?? 0) <= compactableTo);
    return Math.max(0, this.#segments.findLastIndex(mayBeFirst));
  }

  #dropOldest(): void {
    const oldest = this.#segments.shift()!;
    this.#logEnds.delete(oldest.number);
    for (const state of this.#groups.values()) state.points.dropSegment(oldest.number);
    const { disk, directory, onFatal } = this.#options;
    const remove = async () => {
      await oldest.file.close();
      await disk.removeFile(`${directory}/${segmentName(oldest.number)}`);
    };
    // One after the other: a crash in between must leave no gap.
    this.#removal = this.#removal.then(remove).catch(onFatal);
  }

  /** Writes what is under way and, if there is room, what is waiting, then a seal, and lets go of the files. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#sealTimer?.cancel();
    await this.#settled();
    if (this.#unsealed) {
      this.#seal();
      await this.#settled();
    }
    await this.#removal;
    for (const segment of this.#segments) await segment.file.close();
    await this.#spare?.close();
  }

  /** No write is under way, and none waits; while closing, no segment is being made either. */
  #settled(): Promise<void> {
    return new Promise((resolve) => {
      this.#onSettled = resolve;
      this.#checkSettled();
    });
  }

  #checkSettled(): void {
    if (!this.#busy && !(this.#closing && this.#makingSpare)) this.#onSettled?.();
  }

  // Writing

  #flush(): void {
    if (this.#busy || this.#pending.length === 0) return;
    let count = 1;
    let bytes = this.#pending[0]!.bytes;
    while (count < this.#pending.length && bytes + this.#pending[count]!.bytes <= WRITE_BYTES_MAX) {
      bytes += this.#pending[count]!.bytes;
      count++;
    }
    const needed = align(RECORD_HEADER_BYTES + bytes);
    if (this.#offset + needed > this.#segments.at(-1)!.file.bytes) {
      this.#roll(needed);
      return;
    }
    this.#writing = this.#pending.splice(0, count);
    this.#writeRecord(
      this.#writing.flatMap((pending) => pending.items),
      () => {
        const written = this.#writing;
        this.#writing = [];
        for (const pending of written) pending.done();
      },
    );
  }

  /** Writes one record into the present segment, where there is room for it. */
  #writeRecord(items: readonly WalItem[], done: () => void): void {
    const segment = this.#segments.at(-1)!;
    const offset = this.#offset;
    this.#out.reset(WRITE_BYTES_MAX);
    encodeRecord(this.#out, { seed: segment.seed, sequence: this.#nextSequence, items });
    const bytes = this.#out.view();
    assert(offset + bytes.length <= segment.file.bytes, 'a record fits its segment', offset, bytes.length);
    this.#nextSequence++;
    this.#offset += bytes.length;
    const at = { segment: segment.number, offset, end: this.#offset };
    for (const item of items) this.#note(item, at);
    this.#unsealed = items.length > 0;
    this.#write(segment.file, offset, bytes, done);
  }

  #write(file: LogFile, offset: number, bytes: Uint8Array, done: () => void): void {
    assert(!this.#busy, 'one write is under way at a time');
    this.#busySinceMs = this.#options.clock.monotonicMs();
    file.write(offset, [bytes], (error) => {
      // After a failed write nobody knows what the disk holds: nothing may ever be reported as saved again.
      if (error !== null) return this.#options.onFatal(error);
      this.#busySinceMs = undefined;
      this.#durableOffset = this.#offset;
      done();
      this.#flush();
      if (this.#busy) return;
      this.#sealLater();
      this.#checkSettled();
    });
  }

  /** What a record has changed: for the next segment's beginning, and for reading entries back. */
  #note(item: WalItem, at: { segment: number; offset: number; end: number }): void {
    const state = this.#group(item.group);
    if (item.type === 'hardState') {
      state.hardState = item.hardState;
    } else if (item.type === 'entries') {
      const last = item.entries.at(-1)!;
      state.points.add({ from: item.from, last: last.index, ...at });
      for (const logEnds of this.#logEnds.values()) {
        if ((logEnds.get(item.group) ?? 0) >= item.from) logEnds.set(item.group, REPLACED);
      }
      state.lastIndex = last.index;
      state.lastTerm = last.term;
    }
  }

  #group(group: GroupId): GroupState {
    let state = this.#groups.get(group);
    if (state === undefined) {
      state = { ...NEW_GROUP, points: new ReadPoints() };
      this.#groups.set(group, state);
    }
    return state;
  }

  #sealLater(): void {
    if (!this.#unsealed || this.#closing) return;
    this.#sealTimer?.cancel();
    this.#sealTimer = this.#options.clock.after(SEAL_AFTER_MS, () => {
      if (this.#unsealed && !this.#busy && !this.#closing) this.#seal();
    });
  }

  /** An empty record: proof that the one before it was durable. */
  #seal(): void {
    if (this.#offset + RECORD_HEADER_BYTES > this.#segments.at(-1)!.file.bytes) return;
    this.#writeRecord([], () => {});
  }

  // Segments

  /** Changes to the next segment, which must have room for a record of `needed` bytes, and goes on. */
  #roll(needed: number): void {
    if (this.#closing && this.#full) return;
    this.#busySinceMs ??= this.#options.clock.monotonicMs();
    this.#rolling = true;
    const bytes = SEGMENT_HEADER_BYTES + this.#logEndsBytes() + needed;
    const spare = this.#spare;
    if (spare !== undefined && spare.bytes >= bytes) {
      this.#spare = undefined;
      this.#use(spare);
      return;
    }
    if (this.#makingSpare) {
      this.#afterSpare = () => this.#roll(needed);
      return;
    }
    if (spare !== undefined) {
      // The larger one takes its name, and with it its place on the disk.
      this.#spare = undefined;
      spare.close().catch(this.#options.onFatal);
    }
    this.#create(Math.max(this.#options.segmentBytes, Math.ceil(bytes / 4096) * 4096), (file) =>
      this.#use(file),
    );
  }

  #create(bytes: number, done: (file: LogFile) => void): void {
    const { disk, clock, directory, onFatal, log } = this.#options;
    const name = segmentName(this.#segments.at(-1)!.number + 1);
    this.#makingSpare = true;
    disk.createLogFile(`${directory}/${name}`, bytes).then(
      (file) => {
        if (this.#full) log.notice('the disk has room again', { directory });
        this.#full = false;
        this.#makingSpare = false;
        done(file);
      },
      (error: Error) => {
        if (!(error instanceof DiskFullError)) return onFatal(error);
        if (!this.#full) log.warning('no room on the disk for the next log segment', { directory, bytes });
        this.#full = true;
        if (this.#closing) {
          this.#makingSpare = false;
          // What waits for room is given up: it was not reported as saved.
          if (this.#rolling) this.#busySinceMs = undefined;
          this.#checkSettled();
          return;
        }
        clock.after(RETRY_WHEN_FULL_MS, () => this.#create(bytes, done));
      },
    );
  }

  /** Has the segment after the present one ready before it is needed. */
  #makeSpare(): void {
    if (this.#spare !== undefined || this.#makingSpare || this.#closing) return;
    this.#create(this.#options.segmentBytes, (file) => {
      this.#spare = file;
      const next = this.#afterSpare;
      this.#afterSpare = undefined;
      if (next !== undefined) next();
      else this.#checkSettled();
    });
  }

  /** Puts an empty file into use as the next segment. The header and the first record are one small write. */
  #use(file: LogFile): void {
    const number = (this.#segments.at(-1)?.number ?? 0) + 1;
    const seed = this.#options.random.below(2 ** 32);
    const logEnds: LogEnds = new Map();
    const items: WalItem[] = [];
    for (const [group, state] of this.#groups) {
      logEnds.set(group, state.lastIndex);
      items.push({ type: 'logEnd', group, lastIndex: state.lastIndex, lastTerm: state.lastTerm });
      items.push({ type: 'hardState', group, hardState: state.hardState });
    }
    const out = new ByteWriter(1024);
    encodeSegmentHeader(out, { number, seed, firstSequence: this.#nextSequence });
    encodeRecord(out, { seed, sequence: this.#nextSequence, items });
    const segment = { number, file, seed, logEnds, begun: false };
    this.#segments.push(segment);
    this.#logEnds.set(number, logEnds);
    this.#nextSequence++;
    this.#offset = out.length;
    this.#durableOffset = 0;
    this.#unsealed = false;
    this.#busySinceMs = undefined;
    this.#rolling = false;
    this.#write(file, 0, out.view(), () => {
      segment.begun = true;
      this.#makeSpare();
    });
  }

  #logEndsBytes(): number {
    return align(RECORD_HEADER_BYTES + this.#groups.size * 2 * ITEM_OVERHEAD_BYTES);
  }

  // Starting

  async #begin(): Promise<void> {
    const { disk, directory, segmentBytes } = this.#options;
    const file = await disk.createLogFile(`${directory}/${segmentName(1)}`, segmentBytes);
    this.#use(file);
    await this.#settled();
  }

  async #recover(): Promise<ReadonlyMap<GroupId, RecoveredGroup>> {
    const rebuilder = new LogRebuilder(this.#options.appliedIndexOf);
    const opened = await openSegments(this.#options, (record, at) => {
      for (const item of record.items) {
        rebuilder.take(item);
        this.#note(item, { segment: at.segment.number, offset: at.offset, end: record.end });
        if (item.type === 'logEnd') this.#recoverLogEnd(item, at.segment.number);
      }
    });
    for (const { file, scanned } of opened.segments) {
      const { number, seed } = scanned.header;
      this.#segments.push({ number, file, seed, logEnds: this.#logEndsOf(number), begun: true });
      this.#offset = scanned.end;
      this.#durableOffset = scanned.end;
    }
    this.#nextSequence = opened.nextSequence;
    const groups = [...rebuilder.groups].map(([group, rebuilt]) => [group, rebuilt.finish()] as const);
    // A compaction was interrupted before it came to a segment with which the log can begin.
    while ([...(this.#segments[0]?.logEnds.values() ?? [])].includes(REPLACED)) this.#dropOldest();
    return new Map(groups);
  }

  #logEndsOf(segment: number): LogEnds {
    const logEnds = this.#logEnds.get(segment) ?? new Map<GroupId, number>();
    this.#logEnds.set(segment, logEnds);
    return logEnds;
  }

  #recoverLogEnd(item: WalItem & { type: 'logEnd' }, segment: number): void {
    this.#logEndsOf(segment).set(item.group, item.lastIndex);
    const state = this.#group(item.group);
    state.lastIndex = item.lastIndex;
    state.lastTerm = item.lastTerm;
  }
}
