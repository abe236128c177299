/**
 * What waits to be written to the write-ahead log, in the order in which it came. As much as there is goes together in
 * one record, up to a bound, or one save that is larger.
 */
import { assert } from '../lib/assert.ts';
import type { Save } from './ready.ts';
import type { GroupId } from './types.ts';
import { align, RECORD_HEADER_BYTES, type WalItem } from './wal-format.ts';

/** An upper bound of what an item takes besides its entries, and an entry besides its data. */
export const ITEM_OVERHEAD_BYTES = 32;
const ENTRY_HEADER_BYTES = 13;
/** One record carries at most so much, or one save that is larger. */
export const WRITE_BYTES_MAX = 4 << 20;

interface Waiting {
  readonly items: readonly WalItem[];
  readonly bytes: number;
  readonly done: () => void;
}

export class SaveQueue {
  #waiting: Waiting[] = [];

  get empty(): boolean {
    return this.#waiting.length === 0;
  }

  add(items: readonly WalItem[], done: () => void): void {
    let bytes = items.length * ITEM_OVERHEAD_BYTES;
    for (const item of items) {
      if (item.type !== 'entries') continue;
      for (const entry of item.entries) bytes += entry.data.length + ENTRY_HEADER_BYTES;
    }
    this.#waiting.push({ items, bytes, done });
  }

  /** How many go in the next record, and the room it takes at most. */
  next(): { readonly count: number; readonly recordBytes: number } {
    let count = 1;
    let bytes = this.#waiting[0]!.bytes;
    while (count < this.#waiting.length && bytes + this.#waiting[count]!.bytes <= WRITE_BYTES_MAX) {
      bytes += this.#waiting[count]!.bytes;
      count++;
    }
    return { count, recordBytes: align(RECORD_HEADER_BYTES + bytes) };
  }

  /** `done` is to be called when the items are durable. */
  take(count: number): { readonly items: readonly WalItem[]; readonly done: () => void } {
    const taken = this.#waiting.splice(0, count);
    const done = () => {
      for (const each of taken) each.done();
    };
    return { items: taken.flatMap(({ items }) => items), done };
  }

  /** The first of the group's entries that wait; Infinity when none do. */
  firstIndexOf(group: GroupId): number {
    let first = Number.POSITIVE_INFINITY;
    for (const { items } of this.#waiting) {
      for (const item of items) {
        if (item.type === 'entries' && item.group === group) first = Math.min(first, item.from);
      }
    }
    return first;
  }
}

/** A save as the items of one record, in the order in which they take effect. */
export function itemsOf(group: GroupId, { hardState, snapshot, truncateFrom, entries }: Save): WalItem[] {
  const items: WalItem[] = [];
  if (hardState !== undefined) items.push({ type: 'hardState', group, hardState });
  if (snapshot !== undefined) {
    const { index, term } = snapshot;
    assert(index + 1 === (truncateFrom ?? index + 1), 'entries follow the snapshot', index, truncateFrom);
    items.push({ type: 'snapshot', group, index, term });
  }
  if (truncateFrom !== undefined) items.push({ type: 'entries', group, from: truncateFrom, entries });
  return items;
}
