/**
 * The write-ahead log: one per server, shared by all its groups, so that one synced write makes durable whatever every
 * group has gathered since the last one (group commit). One write is under way at a time; what is saved meanwhile
 * forms the next. The slower the disk, the more it carries per write, without any timer.
 *
 * The log is a row of preallocated segments (format: wal-format.ts; making them: wal-spare.ts). A segment begins with a
 * record of each group's hard state and of where its log ends. All segments before it can go when nobody needs an entry
 * up to there any more (wal-compaction.ts), and the log then simply begins with it.
 *
 * When a snapshot from the leader has taken the place of a group's state, its log begins anew behind it: a record says
 * so, and whatever the log held of the group before is void.
 *
 * Purpose of an own log under a store that has one: LevelDB's is not checked on recovery (a flipped byte loses records
 * from the middle without an error), and one synced write here costs a fraction. A failed write leaves nobody knowing
 * what the disk holds, so it is fatal: the process ends, and a restart reads what is really there.
 */
import { assert } from '../lib/assert.ts';
import { ByteWriter } from '../lib/bytes.ts';
import type { Clock, Disk, Log, LogFile, Random, Timer } from '../lib/env.ts';
import type { Save } from './ready.ts';
import type { Entry, GroupId } from './types.ts';
import { type CompactionNeeds, countUnneeded } from './wal-compaction.ts';
import { damageError } from './wal-damage.ts';
import {
  align,
  encodeRecord,
  encodeSegmentHeader,
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  type WalItem,
} from './wal-format.ts';
import { WalGroups } from './wal-groups.ts';
import { ITEM_OVERHEAD_BYTES, itemsOf, SaveQueue, WRITE_BYTES_MAX } from './wal-queue.ts';
import type { Extent } from './wal-read.ts';
import { LogRebuilder, type RecoveredGroup, type StateOf } from './wal-rebuild.ts';
import { openSegments, REPLACED, type Segment, segmentName } from './wal-segments.ts';
import { SpareSegment } from './wal-spare.ts';

export interface WalOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly directory: string;
  readonly segmentBytes: number;
  /** Over this size, give or take a little, the log leaves behind members that lag. */
  readonly keepBytes: number;
  /** What the store holds of each group. */
  readonly stateOf: StateOf;
  /** The disk failed. Nothing is reported as saved any more; the process must end. */
  readonly onFatal: (error: Error) => void;
}

export const WAL_SEGMENT_BYTES = 16 << 20;
export const WAL_KEEP_BYTES = 64 << 20;
/** `keepBytes` is larger by up to so much, by chance, so that not all servers compact at once. */
const KEEP_JITTER_MAX = 0.25;
const SEAL_AFTER_MS = 1000;

export class Wal {
  readonly #options: WalOptions;
  /** The size over which the log leaves behind members that lag. */
  readonly keepBytes: number;
  readonly #groups = new WalGroups();
  readonly #segments: Segment[] = [];
  #offset = 0;
  #nextSequence = 0;
  readonly #out = new ByteWriter(1 << 16);
  readonly #queue = new SaveQueue();
  #busySinceMs: number | undefined;
  /** Busy, but with waiting for a segment. */
  #rolling = false;
  readonly #spare: SpareSegment;
  #unsealed = false;
  #sealTimer: Timer | undefined;
  /** Segments that are no longer needed are being removed. */
  #removal: Promise<void> = Promise.resolve();
  #closing = false;
  #onSettled: (() => void) | undefined;

  private constructor(options: WalOptions) {
    this.#options = options;
    const jitter = (options.random.below(1000) / 1000) * KEEP_JITTER_MAX;
    this.keepBytes = Math.floor(options.keepBytes * (1 + jitter));
    this.#spare = new SpareSegment({ ...options, onIdle: () => this.#spareIdle() });
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
    wal.#prepareSpare();
    await wal.#finishInstalls(recovered);
    return { wal, recovered };
  }

  /** Whether the disk has no room for the next segment: clients' writes must be refused. */
  get full(): boolean {
    return this.#spare.full;
  }

  /** What all segments take on the disk, the one made in advance included. */
  get bytes(): number {
    return this.#segments.reduce((sum, { file }) => sum + file.bytes, this.#spare.bytes);
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
    this.#queue.add(itemsOf(group, save), done);
    this.#flush();
  }

  /**
   * Entries of `group` from `from` on, at least one, read back from the disk; they may stop anywhere. Calls `done`
   * with none if `from` is not (or no longer) there.
   */
  read(group: GroupId, from: number, done: (entries: readonly Entry[]) => void): void {
    const extent = this.#groups.extentOf(group, from);
    const segment = this.#segments.find((candidate) => candidate.number === extent?.segment);
    if (extent === undefined || segment === undefined) {
      this.#options.clock.endOfTurn(() => done([]));
      return;
    }
    this.#readExtent({ extent, segment, tries: 2 }, { group, from, done });
  }

  #readExtent(
    at: { extent: Extent; segment: Segment; tries: number },
    wanted: { group: GroupId; from: number; done: (entries: readonly Entry[]) => void },
  ): void {
    const { extent, segment, tries } = at;
    // What is wanted is durable. What is being written can be seen half, and would look damaged.
    const { durableOffset } = segment;
    const end = Math.max(extent.offset, Math.min(extent.endOffset ?? durableOffset, durableOffset));
    segment.readsUnderWay++;
    segment.file.read(extent.offset, end - extent.offset, (error, content) => {
      segment.readsUnderWay--;
      if (error !== null) return this.#options.onFatal(error);
      const found = extent.collect({ ...wanted, content, seed: segment.seed });
      if ('entries' in found) return wanted.done(found.entries);
      if (this.#closing) return wanted.done([]);
      // The disk may have returned what is not there: it is asked once more before that is believed.
      if (tries > 1) return this.#readExtent({ ...at, tries: tries - 1 }, wanted);
      const path = `${this.#options.directory}/${segmentName(segment.number)}`;
      this.#options.onFatal(damageError(`${path} is damaged at byte ${extent.offset + found.damagedAt}`));
    });
  }

  /**
   * What is needed of the group's log has changed. Drops the segments that nobody needs and returns where the log now
   * begins: the last index that is no longer in it.
   */
  compact(group: GroupId, needs: CompactionNeeds): number {
    // The store may be ahead of the disk by a snapshot: what waits to be written may still replace entries up to there.
    const checkpointedIndex = Math.min(needs.checkpointedIndex, this.#queue.firstIndexOf(group) - 1);
    if (!this.#groups.setNeeds(group, { ...needs, checkpointedIndex })) return 0;
    const { bytes, keepBytes } = this;
    const unneeded = countUnneeded(this.#segments, this.#groups.needs, { bytes, keepBytes });
    for (let i = 0; i < unneeded; i++) this.#dropOldest();
    return this.#segments[0]!.logEnds.get(group) ?? 0;
  }

  #dropOldest(): void {
    const oldest = this.#segments.shift()!;
    this.#groups.dropSegment(oldest.number);
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
    this.#spare.beginClose();
    this.#sealTimer?.cancel();
    await this.#settled();
    if (this.#unsealed) {
      this.#seal();
      await this.#settled();
    }
    await this.#removal;
    for (const segment of this.#segments) await segment.file.close();
    await this.#spare.close();
  }

  /** No write is under way, and none waits; while closing, no segment is being made either. */
  #settled(): Promise<void> {
    return new Promise((resolve) => {
      this.#onSettled = resolve;
      this.#checkSettled();
    });
  }

  #checkSettled(): void {
    if (!this.#busy && !(this.#closing && this.#spare.making)) this.#onSettled?.();
  }

  // Writing

  #flush(): void {
    if (this.#busy || this.#queue.empty) return;
    const { count, recordBytes } = this.#queue.next();
    if (this.#offset + recordBytes > this.#segments.at(-1)!.file.bytes) {
      this.#roll(recordBytes);
      return;
    }
    const { items, done } = this.#queue.take(count);
    this.#writeRecord(items, () => {
      this.#groups.durable(items);
      done();
    });
  }

  /** Writes one record into the present segment, where there is room for it. */
  #writeRecord(items: readonly WalItem[], done: () => void): void {
    const segment = this.#segments.at(-1)!;
    const offset = this.#offset;
    this.#out.reset(WRITE_BYTES_MAX);
    const sequence = this.#nextSequence++;
    encodeRecord(this.#out, { seed: segment.seed, sequence, items });
    const bytes = this.#out.view();
    assert(offset + bytes.length <= segment.file.bytes, 'a record fits its segment', offset, bytes.length);
    this.#offset += bytes.length;
    const at = { segment: segment.number, offset, end: this.#offset, sequence };
    for (const item of items) this.#groups.note(item, at);
    this.#unsealed = items.length > 0;
    this.#write(segment, offset, bytes, done);
  }

  #write(segment: Segment, offset: number, bytes: Uint8Array, done: () => void): void {
    assert(!this.#busy, 'one write is under way at a time');
    this.#busySinceMs = this.#options.clock.monotonicMs();
    segment.file.write(offset, [bytes], (error) => {
      // After a failed write nobody knows what the disk holds: nothing may ever be reported as saved again.
      if (error !== null) return this.#options.onFatal(error);
      this.#busySinceMs = undefined;
      segment.durableOffset = this.#offset;
      done();
      this.#flush();
      if (this.#busy) return;
      this.#sealLater();
      this.#checkSettled();
    });
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
    if (this.#closing && this.#spare.full) return;
    this.#busySinceMs ??= this.#options.clock.monotonicMs();
    this.#rolling = true;
    const bytes = SEGMENT_HEADER_BYTES + this.#logEndsBytes() + needed;
    this.#spare.take(this.#nextNumber, bytes, (file) => this.#use(file));
  }

  get #nextNumber(): number {
    return (this.#segments.at(-1)?.number ?? 0) + 1;
  }

  #prepareSpare(): void {
    this.#spare.prepare(this.#nextNumber);
  }

  #spareIdle(): void {
    // What waits for room while the log is closing is given up: it was not reported as saved.
    if (this.#closing && this.#rolling && this.#spare.full) this.#busySinceMs = undefined;
    this.#checkSettled();
  }

  /** Puts an empty file into use as the next segment. The header and the first record are one small write. */
  #use(file: LogFile): void {
    const number = this.#nextNumber;
    const seed = this.#options.random.below(2 ** 32);
    const items = this.#groups.beginSegment(number);
    const logEnds = this.#groups.logEndsOf(number);
    const out = new ByteWriter(1024);
    encodeSegmentHeader(out, { number, seed, firstSequence: this.#nextSequence });
    encodeRecord(out, { seed, sequence: this.#nextSequence, items });
    const segment = { number, file, seed, logEnds, durableOffset: 0, begun: false, readsUnderWay: 0 };
    this.#segments.push(segment);
    this.#nextSequence++;
    this.#offset = out.length;
    this.#unsealed = false;
    this.#busySinceMs = undefined;
    this.#rolling = false;
    this.#write(segment, 0, out.view(), () => {
      segment.begun = true;
      this.#prepareSpare();
    });
  }

  #logEndsBytes(): number {
    return align(RECORD_HEADER_BYTES + this.#groups.count * 2 * ITEM_OVERHEAD_BYTES);
  }

  // Starting

  async #begin(): Promise<void> {
    const { disk, directory, segmentBytes } = this.#options;
    const file = await disk.createLogFile(`${directory}/${segmentName(1)}`, segmentBytes);
    this.#use(file);
    await this.#settled();
  }

  async #recover(): Promise<ReadonlyMap<GroupId, RecoveredGroup>> {
    const rebuilder = new LogRebuilder(this.#options.stateOf);
    const opened = await openSegments(this.#options, ({ items, sequence, end }, at) => {
      const place = { segment: at.segment.number, offset: at.offset, end, sequence };
      // Also that of a segment before which there was no group, or a snapshot would not find it.
      this.#groups.logEndsOf(place.segment);
      for (const item of items) {
        rebuilder.take(item);
        this.#groups.note(item, place);
        this.#groups.durable([item]);
      }
    });
    for (const { file, scanned } of opened.segments) {
      const { number, seed } = scanned.header;
      const logEnds = this.#groups.logEndsOf(number);
      const durableOffset = scanned.end;
      this.#segments.push({ number, file, seed, logEnds, durableOffset, begun: true, readsUnderWay: 0 });
      this.#offset = scanned.end;
    }
    this.#nextSequence = opened.nextSequence;
    const groups = [...rebuilder.groups].map(([group, rebuilt]) => [group, rebuilt.finish()] as const);
    // A compaction was interrupted before it came to a segment with which the log can begin.
    while ([...(this.#segments[0]?.logEnds.values() ?? [])].includes(REPLACED)) this.#dropOldest();
    return new Map(groups);
  }

  /** What a crash has kept from the log is written to it before anything else. */
  async #finishInstalls(recovered: ReadonlyMap<GroupId, RecoveredGroup>): Promise<void> {
    for (const [group, { reset }] of recovered) {
      if (reset === undefined) continue;
      const { index, term } = reset;
      this.#queue.add([{ type: 'snapshot', group, index, term }], () => {});
      this.#options.log.notice('the log begins anew behind a snapshot', { group, index });
    }
    this.#flush();
    await this.#settled();
  }
}
