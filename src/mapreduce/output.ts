/**
 * The output of a job in one stream: the rows of all parts, merged in the order of their keys, or by count, or the first so
 * many of them. Keys are in one part each, so a merge of sorted parts is all it takes; by count everything must be seen
 * before the first line: without a bound on the lines that is a sort in memory of what the parts hold.
 */
import { Buffer } from 'node:buffer';
import type { BulkFiles, BulkReader } from '../lib/bulk.ts';
import { PartReader, type PartRow } from './parts.ts';

export interface OutputOrder {
  readonly by: 'key' | 'count';
  /** At most so many lines; undefined: all. */
  readonly top: number | undefined;
}

/** Resolves when more may be written; false: nobody reads any more. */
export type WriteBlock = (block: Uint8Array) => Promise<boolean>;

const BLOCK_BYTES = 256 << 10;
const NEWLINE = 0x0a;
const SHORT_BYTES = 64;
/** What the blocks of all parts may take together. */
const MERGE_BYTES = 64 << 20;
const PART_BYTES_MIN = 4 << 10;
const PART_BYTES_MAX = 256 << 10;
/** Files that are kept open; more parts than that are opened anew for each block, so that no limit is met. */
const OPEN_MAX = 128;

/** Writes the lines of the keyed parts. */
export async function writeOutput(
  parts: readonly string[],
  order: OutputOrder,
  { files, write }: { files: BulkFiles; write: WriteBlock },
): Promise<void> {
  const lines = new LineBlocks(write);
  if (order.by === 'key') {
    const rows = new MergedRows(parts, files);
    try {
      for (let left = order.top ?? Number.POSITIVE_INFINITY; left > 0 && rows.advance(); left--) {
        const { block, lineFrom, lineTo } = rows.top;
        // Most lines are written without a promise.
        if (!lines.add(block, lineFrom, lineTo) && !(await lines.addTo(block, lineFrom, lineTo))) return;
      }
    } finally {
      rows.close();
    }
  } else {
    for (const { line } of byCount(mergedRows(parts, files), order.top)) {
      if (!lines.add(line, 0, line.length) && !(await lines.addTo(line, 0, line.length))) return;
    }
  }
  await lines.flush();
}

/** Lines on their way out. */
class LineBlocks {
  readonly #write: WriteBlock;
  #block = Buffer.allocUnsafe(BLOCK_BYTES);
  #used = 0;

  constructor(write: WriteBlock) {
    this.#write = write;
  }

  /** Copies bytes [from, to) of `source`, and ends the line. False: there is no room, and nothing was done. */
  add(source: Uint8Array, from: number, to: number): boolean {
    const block = this.#block;
    let at = this.#used;
    if (at + to - from + 1 > block.length) return false;
    if (to - from > SHORT_BYTES) {
      block.set(source.subarray(from, to), at);
      at += to - from;
    } else {
      for (let i = from; i < to; i++) block[at++] = source[i]!;
    }
    block[at] = NEWLINE;
    this.#used = at + 1;
    return true;
  }

  /** As `add`, with room made. False: nobody reads any more. */
  async addTo(source: Uint8Array, from: number, to: number): Promise<boolean> {
    if (!(await this.flush())) return false;
    // The last one is not ours any more.
    this.#block = Buffer.allocUnsafe(Math.max(BLOCK_BYTES, to - from + 1));
    this.#used = 0;
    return this.add(source, from, to);
  }

  async flush(): Promise<boolean> {
    return this.#used === 0 || this.#write(this.#block.subarray(0, this.#used));
  }
}

/** Rows in the order of their keys; each is good until the next is asked for. */
export function* mergedRows(parts: readonly string[], files: BulkFiles): Generator<PartRow> {
  const rows = new MergedRows(parts, files);
  try {
    while (rows.advance()) yield rows.top.row;
  } finally {
    rows.close();
  }
}

/** Stands on one row of all parts after the other, in the order of their keys: those of a heap, the smallest first. */
class MergedRows {
  readonly #heap: PartReader[] = [];
  #began = false;

  constructor(parts: readonly string[], files: BulkFiles) {
    const fair = Math.floor(MERGE_BYTES / Math.max(1, parts.length));
    const blockBytes = Math.min(Math.max(fair, PART_BYTES_MIN), PART_BYTES_MAX);
    const open = (part: string) => (parts.length > OPEN_MAX ? openEachTime(part, files) : files.open(part));
    try {
      for (const part of parts) {
        const reader = new PartReader(open(part), blockBytes);
        if (reader.advance()) push(this.#heap, reader);
        else reader.close();
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Where the row is, after `advance` returned true. */
  get top(): PartReader {
    return this.#heap[0]!;
  }

  /** False at the end. */
  advance(): boolean {
    const heap = this.#heap;
    if (this.#began) {
      const smallest = heap[0]!;
      if (smallest.advance()) {
        settle(heap, smallest);
      } else {
        smallest.close();
        const last = heap.pop()!;
        if (heap.length > 0) settle(heap, last);
      }
    }
    this.#began = true;
    return heap.length > 0;
  }

  close(): void {
    for (const reader of this.#heap) reader.close();
    this.#heap.length = 0;
  }
}

function openEachTime(path: string, files: BulkFiles): BulkReader {
  return {
    bytes: files.stat(path)?.bytes ?? 0,
    read: (target, offset, length, position) => {
      const reader = files.open(path);
      try {
        return reader.read(target, offset, length, position);
      } finally {
        reader.close();
      }
    },
    close: () => {},
  };
}

function isBefore(a: PartReader, b: PartReader): boolean {
  const [blockA, blockB] = [a.block, b.block];
  const length = Math.min(a.lineFrom - a.keyFrom, b.lineFrom - b.keyFrom);
  for (let i = 0, atA = a.keyFrom, atB = b.keyFrom; i < length; i++, atA++, atB++) {
    if (blockA[atA] !== blockB[atB]) return blockA[atA]! < blockB[atB]!;
  }
  return a.lineFrom - a.keyFrom < b.lineFrom - b.keyFrom;
}

function push(heap: PartReader[], reader: PartReader): void {
  let at = heap.push(reader) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!isBefore(reader, heap[parent]!)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = reader;
}

/** Puts it in the place of the first, and then where it belongs. */
function settle(heap: PartReader[], reader: PartReader): void {
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
    if (!isBefore(heap[child]!, reader)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = reader;
}

interface Kept {
  readonly count: number;
  /** Of two with one count the one with the smaller key comes first. */
  readonly order: number;
  readonly line: Uint8Array;
}

/** The largest counts first; with `top`, never more than twice as many are held. */
function byCount(rows: Iterable<PartRow>, top = Number.POSITIVE_INFINITY): PartRow[] {
  const key = new Uint8Array(0);
  let kept: Kept[] = [];
  let order = 0;
  let leastCount = Number.NEGATIVE_INFINITY;
  const cut = (): void => {
    kept.sort((a, b) => b.count - a.count || a.order - b.order);
    kept = kept.slice(0, top);
    if (kept.length === top) leastCount = kept.at(-1)?.count ?? leastCount;
  };
  for (const { count, line } of rows) {
    order++;
    // What comes later and has no more than the last one that counts is never among them.
    if (count <= leastCount) continue;
    kept.push({ count, order, line: Uint8Array.from(line) });
    if (kept.length >= 2 * top) cut();
  }
  cut();
  return kept.map(({ count, line }) => ({ key, count, line }));
}
