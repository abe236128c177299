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
/** What the blocks of all parts may take together. */
const MERGE_BYTES = 64 << 20;
const PART_BYTES_MIN = 4 << 10;
const PART_BYTES_MAX = 256 << 10;
/** Files that are kept open; more parts than that are opened anew for each block, so that no limit is met. */
const OPEN_MAX = 128;

interface Cursor {
  readonly reader: PartReader;
  row: PartRow;
}

/** Writes the lines of the keyed parts. */
export async function writeOutput(
  parts: readonly string[],
  order: OutputOrder,
  { files, write }: { files: BulkFiles; write: WriteBlock },
): Promise<void> {
  const rows = mergedRows(parts, files);
  const wanted = order.by === 'key' ? first(rows, order.top) : byCount(rows, order.top);
  let block = Buffer.allocUnsafe(BLOCK_BYTES);
  let used = 0;
  for (const { line } of wanted) {
    if (used + line.length + 1 > block.length) {
      if (used > 0 && !(await write(block.subarray(0, used)))) return;
      // The last one is not ours any more.
      block = Buffer.allocUnsafe(Math.max(BLOCK_BYTES, line.length + 1));
      used = 0;
    }
    // A row is a view that the next one overwrites.
    block.set(line, used);
    used += line.length;
    block[used++] = NEWLINE;
  }
  if (used > 0) await write(block.subarray(0, used));
}

/** Rows in the order of their keys; each is good until the next is asked for. */
export function* mergedRows(parts: readonly string[], files: BulkFiles): Generator<PartRow> {
  const cursors: Cursor[] = [];
  const fair = Math.floor(MERGE_BYTES / Math.max(1, parts.length));
  const blockBytes = Math.min(Math.max(fair, PART_BYTES_MIN), PART_BYTES_MAX);
  const open = (part: string) => (parts.length > OPEN_MAX ? openEachTime(part, files) : files.open(part));
  try {
    for (const part of parts) {
      const reader = new PartReader(open(part), blockBytes);
      const row = reader.next();
      if (row === undefined) reader.close();
      else push(cursors, { reader, row });
    }
    while (cursors.length > 0) {
      const smallest = cursors[0]!;
      yield smallest.row;
      const next = smallest.reader.next();
      if (next === undefined) smallest.reader.close();
      replaceFirst(cursors, next === undefined ? undefined : { reader: smallest.reader, row: next });
    }
  } finally {
    for (const { reader } of cursors) reader.close();
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

function isBefore(a: Cursor, b: Cursor): boolean {
  return Buffer.compare(a.row.key, b.row.key) < 0;
}

// A heap by key, the smallest first.

function push(heap: Cursor[], cursor: Cursor): void {
  let at = heap.push(cursor) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!isBefore(cursor, heap[parent]!)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = cursor;
}

/** Undefined: with nothing, so that there is one less. */
function replaceFirst(heap: Cursor[], cursor: Cursor | undefined): void {
  const last = cursor ?? heap.pop()!;
  if (heap.length === 0) return;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
    if (!isBefore(heap[child]!, last)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
}

function* first(rows: Iterable<PartRow>, top = Number.POSITIVE_INFINITY): Generator<PartRow> {
  let left = top;
  if (left <= 0) return;
  for (const row of rows) {
    yield row;
    if (--left <= 0) return;
  }
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
