/**
 * Finding entries in the write-ahead log again, for a follower that lags so far behind that memory no longer has them.
 *
 * Per group a sparse row of points, each saying "from this record on, entries from this index on": one every so many
 * bytes. Entries that replaced earlier ones always begin a point, and the points they replaced are dropped; reading
 * from one point to the next therefore never meets an entry that was replaced later, but for those that were replaced
 * within their own record.
 */
import { assert } from '../lib/assert.ts';
import type { Entry, GroupId } from './types.ts';
import { decodeRecord } from './wal-format.ts';

/** The record at [offset, end) of a segment holds entries [from, last]. */
export interface ReadPoint {
  readonly from: number;
  readonly last: number;
  readonly segment: number;
  readonly offset: number;
  readonly end: number;
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
  /** Undefined: to the end of the segment. */
  readonly endOffset: number | undefined;
  readonly #before: number;

  constructor(point: ReadPoint, next: ReadPoint | undefined) {
    this.segment = point.segment;
    this.offset = point.offset;
    // The record of the next point belongs to both: it may begin with entries of this one.
    this.endOffset = next?.segment === point.segment ? next.end : undefined;
    this.#before = next?.from ?? Number.MAX_SAFE_INTEGER;
  }

  /** The entries of `group` from `from` on that `content`, the bytes of this extent, holds. */
  collect(read: { group: GroupId; from: number; content: Uint8Array; seed: number }): Entry[] | 'corrupt' {
    const found: Entry[] = [];
    let offset = 0;
    while (offset < read.content.length) {
      const record = decodeRecord(read.content, offset, read.seed);
      if (record === 'empty') break;
      if (record === 'bad') return 'corrupt';
      for (const item of record.items) {
        if (item.type !== 'entries' || item.group !== read.group) continue;
        // Several saves may have gone into one record, and a later one of them may replace entries of an earlier one.
        while (found.length > 0 && found.at(-1)!.index >= item.from) found.pop();
        for (const entry of item.entries) {
          if (entry.index < read.from || entry.index >= this.#before) continue;
          assert(
            found.length === 0 || entry.index === found.at(-1)!.index + 1,
            'entries between two points follow each other',
            entry.index,
          );
          found.push({ ...entry, data: Uint8Array.from(entry.data) });
        }
      }
      offset = record.end;
    }
    return found;
  }
}
