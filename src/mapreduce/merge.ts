/**
 * Merges sorted runs: keys in the order of their bytes, each once, with all its values, those of the first run first.
 *
 * A tournament of cursors: the smallest key has won, and each match remembers its loser, so that the next key costs one
 * comparison a level. At most FAN_IN_MAX files are open and buffered at a time; more are merged in
 * several passes, neighbours first, so that the order of values stays. (Knuth, The Art of Computer Programming 3, 5.4.1.)
 */
import { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import type { BulkFiles } from '../lib/bulk.ts';
import { CorruptionError } from '../lib/errors.ts';
import type { RunKind } from './run-format.ts';
import { compareRest, RunCursor, RunFile } from './run-reader.ts';
import { RunWriter } from './run-writer.ts';

export const FAN_IN_MAX = 64;

/** Makes one value of all values of a key that are at hand; may be applied to what it has made. Views: valid during it. */
export type ValueCombiner = (key: Uint8Array, values: Iterable<Uint8Array>) => Uint8Array;

export interface MergeOptions {
  readonly files: BulkFiles;
  /** What paths of files made meanwhile begin with. They are gone at the end. */
  readonly temporary: string;
  readonly combine?: ValueCombiner | undefined;
  readonly fanInMax?: number;
  /** Of each file. */
  readonly bufferBytes?: number;
}

/** Stands on one key after the other, and in each on one value after the other. */
export class Merge {
  /** The key is the first `keyLength` bytes; valid until the next key. */
  key: Buffer = Buffer.alloc(256);
  keyLength = 0;
  readonly #cursors: readonly RunCursor[];
  /** The winner first, then the loser of each match; match i is between the winners of matches 2i and 2i + 1. */
  readonly #tree: Int32Array;
  /** Of each cursor: its key's first eight bytes, and whether it has come to its end. */
  readonly #high: Int32Array;
  readonly #low: Int32Array;
  readonly #ended: Uint8Array;
  #left: number;
  #top: RunCursor | undefined;
  #state: 'before' | 'inside' | 'after' = 'after';

  /** The cursors stand before their first entries. Of equal keys, the values of an earlier one come first. */
  constructor(cursors: readonly RunCursor[]) {
    const count = cursors.length;
    this.#cursors = cursors;
    this.#left = count;
    this.#high = new Int32Array(count);
    this.#low = new Int32Array(count);
    this.#ended = new Uint8Array(count);
    for (let i = 0; i < count; i++) this.#step(i);
    this.#tree = new Int32Array(Math.max(1, count)).fill(-1);
    // Each climbs to a match whose other side is not known yet, and waits there; the last one wins.
    for (let i = 0; i < count; i++) this.#climb(i);
    this.#top = cursors[this.#tree[0]!];
  }

  /** Goes on to the next key, over values of this one that were not asked for. False at the end. */
  nextKey(): boolean {
    while (this.#state !== 'after') this.nextValue();
    const top = this.#top;
    if (this.#left === 0 || top === undefined) return false;
    if (top.keyLength > this.key.length) this.key = Buffer.alloc(top.keyLength * 2);
    for (let i = 0; i < top.keyLength; i++) this.key[i] = top.key[i]!;
    this.keyLength = top.keyLength;
    this.#state = 'before';
    return true;
  }

  /** Goes on to the next value of the key: `count` or `value`. False at the last. */
  nextValue(): boolean {
    if (this.#state === 'after') return false;
    if (this.#state === 'before') {
      this.#state = 'inside';
      return true;
    }
    const winner = this.#tree[0]!;
    this.#step(winner);
    this.#climb(winner);
    const top = this.#cursors[this.#tree[0]!]!;
    this.#top = top;
    if (this.#left > 0 && this.#isKeyOf(top)) return true;
    this.#state = 'after';
    return false;
  }

  get count(): number {
    return this.#top!.count;
  }

  /** A view; valid until the next value. */
  get value(): Uint8Array {
    const top = this.#top!;
    return top.block.subarray(top.valueFrom, top.valueTo);
  }

  /** The values of the key that are left, each a view that is valid until the next. */
  *values(): Generator<Uint8Array> {
    while (this.nextValue()) yield this.value;
  }

  /** Of the key's counts that are left. */
  sum(): number {
    let sum = 0;
    while (this.nextValue()) sum += this.#top!.count;
    assert(Number.isSafeInteger(sum), 'a count stays below 2^53', sum);
    return sum;
  }

  #isKeyOf(cursor: RunCursor): boolean {
    if (cursor.keyLength !== this.keyLength) return false;
    for (let i = this.keyLength - 1; i >= 0; i--) if (cursor.key[i] !== this.key[i]) return false;
    return true;
  }

  #step(i: number): void {
    const cursor = this.#cursors[i]!;
    if (cursor.next()) {
      this.#high[i] = cursor.high;
      this.#low[i] = cursor.low;
    } else {
      this.#high[i] = 0x7fffffff;
      this.#low[i] = 0x7fffffff;
      this.#ended[i] = 1;
      this.#left--;
    }
  }

  /** Cursor `i` plays from its leaf on. */
  #climb(i: number): void {
    const tree = this.#tree;
    const high = this.#high;
    const low = this.#low;
    let winner = i;
    for (let match = (i + tree.length) >> 1; match > 0; match >>= 1) {
      const other = tree[match]!;
      if (other < 0) {
        tree[match] = winner;
        return;
      }
      const differs = high[other] === high[winner] ? low : high;
      const isBefore =
        differs[other] === differs[winner] ? this.#wins(other, winner) : differs[other]! < differs[winner]!;
      if (isBefore) {
        tree[match] = winner;
        winner = other;
      }
    }
    tree[0] = winner;
  }

  /** Of two whose first eight bytes are equal. */
  #wins(a: number, b: number): boolean {
    if (this.#ended[a] !== this.#ended[b]) return this.#ended[a] === 0;
    if (this.#ended[a] === 1) return a < b;
    const order = compareRest(this.#cursors[a]!, this.#cursors[b]!);
    return order < 0 || (order === 0 && a < b);
  }
}

/** Merges whole runs of the same partitions into one, which is written. */
export function mergeRuns(paths: readonly string[], writer: RunWriter, options: MergeOptions): void {
  withRuns(paths, options, (runs) => {
    const cursors = runs.map((run) => new RunCursor(run, options.bufferBytes));
    for (const { path, partitions } of runs) {
      if (partitions !== writer.partitions) throw new CorruptionError(`${path} has ${partitions} partitions`);
    }
    for (let partition = 0; partition < writer.partitions; partition++) {
      for (const cursor of cursors) cursor.begin(partition);
      writeMerged(new Merge(cursors), runs[0]!.kind, writer, partition, options.combine);
    }
  });
}

/**
 * Merges one partition of the runs, in their order, and gives it to `visit`: in one call, during which files are open.
 * Nothing is sure before `visit` has come to the end of the merge. Throws CorruptionError, BulkFileError.
 */
export function mergePartition<T>(
  paths: readonly string[],
  partition: number,
  options: MergeOptions,
  visit: (merge: Merge, kind: RunKind) => T,
): T {
  const fanInMax = options.fanInMax ?? FAN_IN_MAX;
  assert(fanInMax >= 2, 'two runs can be merged', fanInMax);
  if (paths.length <= fanInMax) return visitMerged(paths, partition, options, visit);
  const made: string[] = [];
  try {
    for (let first = 0; first < paths.length; first += fanInMax) {
      const path = `${options.temporary}.merge-${made.length}`;
      made.push(path);
      visitMerged(paths.slice(first, first + fanInMax), partition, options, (merge, kind) => {
        writeRun(path, kind, 1, options.files, (run) => writeMerged(merge, kind, run, 0, options.combine));
      });
    }
    // What was made has one partition.
    return mergePartition(made, 0, { ...options, temporary: `${options.temporary}.merge` }, visit);
  } finally {
    for (const path of made) options.files.remove(path);
  }
}

/** Writes a run into a new file, which is removed again if that fails. The bytes of each partition. */
export function writeRun(
  path: string,
  kind: RunKind,
  partitions: number,
  files: BulkFiles,
  write: (run: RunWriter) => void,
): number[] {
  const file = files.create(path);
  let whole = false;
  try {
    const run = new RunWriter(file, kind, partitions);
    write(run);
    const bytes = run.finish();
    whole = true;
    return bytes;
  } finally {
    file.close();
    if (!whole) files.remove(path);
  }
}

function visitMerged<T>(
  paths: readonly string[],
  partition: number,
  options: MergeOptions,
  visit: (merge: Merge, kind: RunKind) => T,
): T {
  return withRuns(paths, options, (runs) => {
    const cursors = runs.map((run) => {
      const cursor = new RunCursor(run, options.bufferBytes);
      if (partition >= run.partitions) throw new CorruptionError(`${run.path} has no partition ${partition}`);
      cursor.begin(partition);
      return cursor;
    });
    return visit(new Merge(cursors), runs[0]?.kind ?? 'counts');
  });
}

function withRuns<T>(paths: readonly string[], { files }: MergeOptions, use: (runs: RunFile[]) => T): T {
  const runs: RunFile[] = [];
  try {
    for (const path of paths) runs.push(new RunFile(path, files));
    const strange = runs.find(({ kind }) => kind !== runs[0]!.kind);
    if (strange !== undefined) throw new CorruptionError(`${strange.path} is a run of ${strange.kind}`);
    return use(runs);
  } finally {
    for (const run of runs) run.close();
  }
}

function writeMerged(
  merge: Merge,
  kind: RunKind,
  writer: RunWriter,
  partition: number,
  combine: ValueCombiner | undefined,
): void {
  while (merge.nextKey()) {
    const { key, keyLength } = merge;
    if (kind === 'counts') {
      writer.count(partition, key, 0, keyLength, merge.sum());
    } else if (combine !== undefined) {
      const value = combine(key.subarray(0, keyLength), merge.values());
      writer.value(partition, key, 0, keyLength, value, 0, value.length);
    } else {
      while (merge.nextValue()) {
        const { value } = merge;
        writer.value(partition, key, 0, keyLength, value, 0, value.length);
      }
    }
  }
}
