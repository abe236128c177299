/**
 * Finding entries in the write-ahead log again, for a follower that lags so far behind that memory no longer has them.
 *
 * Per group a sparse row of points, each saying "from this record on, entries from this index on": one every so many
 * bytes. Entries that replaced earlier ones always begin a point, and the points they replaced are dropped; reading
 * from one point to the next therefore never meets an entry that was replaced later, but for those that were replaced
 * within their own record.
 *
 * A disk may return the good bytes of another place, which have a good checksum too. So a point knows the number of its
 * record, and those behind it must count on.
 */
import { assert } from '../lib/assert.ts';
import { MalformedError } from '../lib/bytes.ts';
import type { Entry, GroupId } from './types.ts';
import { decodeRecord, type WalItem, type WalRecord } from './wal-format.ts';

/** The record at [offset, end) of a segment holds entries [from, last]. */
export interface ReadPoint {
  readonly from: number;
  readonly last: number;
  readonly segment: number;
  readonly offset: number;
  readonly end: number;
  /** The record's number. */
  readonly sequence: number;
}

const POINT_EVERY_BYTES = 128 << 10;

export class ReadPoints {
  #points: ReadPoint[] = [];
  #lastIndex = 0;

  /** Notes the entries of a record, in the order in which they were written. */
  add(point: ReadPoint): void {
    const replaces = point.from <= this.#lastIndex;
    while (this.#points.length > 0 && this.#points.at(-1)!.from >= point.from) this.#points.pop();
    const last = this.#points.at(-1);
    this.#lastIndex = point.last;
    if (last !== undefined && !replaces && last.segment === point.segment) {
      if (point.offset - last.offset < POINT_EVERY_BYTES) return;
    }
    this.#points.push(point);
  }

  /** A snapshot has taken the place of all entries so far. */
  clear(): void {
    this.#points = [];
    this.#lastIndex = 0;
  }

  dropSegment(segment: number): void {
    this.#points = this.#points.filter((point) => point.segment !== segment);
  }

  /** Where to read to find entry `from`. */
  extentOf(from: number): Extent | undefined {
    const at = this.#points.findLastIndex((point) => point.from <= from);
    const point = this.#points[at];
    if (point === undefined) return undefined;
    return new Extent(point, this.#points[at + 1]);
  }
}

export class Extent {
  readonly segment: number;
  readonly offset: number;
  /** Undefined: to the end of what is written in the segment. */
  readonly endOffset: number | undefined;
  readonly #before: number;
  readonly #sequence: number;

  constructor(point: ReadPoint, next: ReadPoint | undefined) {
    this.segment = point.segment;
    this.offset = point.offset;
    // The record of the next point belongs to both: it may begin with entries of this one.
    this.endOffset = next?.segment === point.segment ? next.end : undefined;
    this.#before = next?.from ?? Number.MAX_SAFE_INTEGER;
    this.#sequence = point.sequence;
  }

  /**
   * The entries of `group` from `from` on that `content`, the bytes of this extent, holds; or the offset in `content`
   * from which on it is not what was written.
   */
  collect(read: {
    group: GroupId;
    from: number;
    content: Uint8Array;
    seed: number;
  }): { readonly entries: readonly Entry[] } | { readonly damagedAt: number } {
    const found: Entry[] = [];
    let sequence = this.#sequence;
    for (let offset = 0; offset < read.content.length; sequence++) {
      const record = readRecord(read.content, offset, read.seed);
      if (record?.sequence !== sequence) return { damagedAt: offset };
      for (const item of record.items) {
        if (item.group === read.group) this.#collectItem(item, read.from, found);
      }
      offset = record.end;
    }
    return { entries: found };
  }

  #collectItem(item: WalItem, from: number, found: Entry[]): void {
    if (item.type === 'snapshot') found.length = 0;
    if (item.type !== 'entries') return;
    // Several saves may have gone into one record, and a later one of them may replace entries of an earlier one.
    while (found.length > 0 && found.at(-1)!.index >= item.from) found.pop();
    for (const entry of item.entries) {
      if (entry.index < from || entry.index >= this.#before) continue;
      const follows = found.length === 0 || entry.index === found.at(-1)!.index + 1;
      assert(follows, 'entries between two points follow each other', entry.index);
      found.push({ ...entry, data: Uint8Array.from(entry.data) });
    }
  }
}

function readRecord(content: Uint8Array, offset: number, seed: number): WalRecord | undefined {
  try {
    const record = decodeRecord(content, offset, seed);
    return record === 'empty' || record === 'bad' ? undefined : record;
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}
