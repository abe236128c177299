/**
 * Merges sorted runs: keys in the order of their bytes, each once, with all its values, those of the first run first.
 *
 * A tournament of cursors: the smallest key has won, and each match remembers its loser, so that the next key costs one
 * comparison a level. At most FAN_IN_MAX of them are open and buffered at a time; more are merged in
 * several passes, neighbours first, so that the order of values stays. (Knuth, The Art of Computer Programming 3, 5.4.1.)
 */
import { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import type { BulkFiles } from '../lib/bulk.ts';
import { RunDamagedError, type RunKind, type RunSlice } from './run-format.ts';
import { compareRest, RunCursor, RunFile, type SliceFile } from './run-reader.ts';
import { RunWriter } from './run-writer.ts';

export const FAN_IN_MAX = 64;

/** Makes one value of all values of a key that are at hand; may be applied to what it has made. Views: valid during it. */
export type ValueCombiner = (key: Uint8Array, values: Iterable<Uint8Array>) => Uint8Array;

/** A partition of a run; or the same, as it was copied into some file. */
export type MergeSource =
  | { readonly path: string; readonly partition: number }
  | { readonly path: string; readonly slice: RunSlice };

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
  withOpenFiles(options.files, (open) => {
    const runs = paths.map((path) => open.run(path));
    checkKinds(runs);
    for (const { path, partitions } of runs) {
      if (partitions === writer.partitions) continue;
      throw new RunDamagedError(path, `${path} has ${partitions} partitions`);
    }
    const cursors = runs.map((run) => new RunCursor(run, options.bufferBytes));
    for (let partition = 0; partition < writer.partitions; partition++) {
      cursors.forEach((cursor, i) => {
        cursor.begin(runs[i]!.slice(partition));
      });
      writeMerged(new Merge(cursors), runs[0]!.kind, writer, partition, options.combine);
    }
  });
}

/**
 * Merges one partition of the sources, in their order, and gives it to `visit`: in one call, during which files are open.
 * A path alone is that of a run, of which `partition` is meant. Nothing is sure before `visit` has come to the end of the
 * merge. Throws RunDamagedError, BulkFileError.
 */
export function mergePartition<T>(
  sources: readonly (string | MergeSource)[],
  partition: number,
  options: MergeOptions,
  visit: (merge: Merge, kind: RunKind) => T,
): T {
  const whole = sources.map((source) => (typeof source === 'string' ? { path: source, partition } : source));
  return mergeSources(whole, options, visit);
}

function mergeSources<T>(
  sources: readonly MergeSource[],
  options: MergeOptions,
  visit: (merge: Merge, kind: RunKind) => T,
): T {
  const fanInMax = options.fanInMax ?? FAN_IN_MAX;
  assert(fanInMax >= 2, 'two runs can be merged', fanInMax);
  if (sources.length <= fanInMax) return visitMerged(sources, options, visit);
  // Of those that are empty one is enough, to tell the kind.
  const filled = sources.filter((source, i) => i === 0 || !('slice' in source) || source.slice.entries > 0);
  if (filled.length <= fanInMax) return visitMerged(filled, options, visit);
  const made: MergeSource[] = [];
  try {
    for (let first = 0; first < filled.length; first += fanInMax) {
      const path = `${options.temporary}.merge-${made.length}`;
      made.push({ path, partition: 0 });
      visitMerged(filled.slice(first, first + fanInMax), options, (merge, kind) => {
        writeRun(path, kind, 1, options.files, (run) => writeMerged(merge, kind, run, 0, options.combine));
      });
    }
    return mergeSources(made, { ...options, temporary: `${options.temporary}.merge` }, visit);
  } finally {
    for (const { path } of made) options.files.remove(path);
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
  sources: readonly MergeSource[],
  options: MergeOptions,
  visit: (merge: Merge, kind: RunKind) => T,
): T {
  return withOpenFiles(options.files, (open) => {
    const slices = sources.map((source) => open.slice(source));
    checkKinds(slices);
    const cursors = slices.map(({ file, slice }) => {
      const cursor = new RunCursor(file, options.bufferBytes);
      cursor.begin(slice);
      return cursor;
    });
    return visit(new Merge(cursors), slices[0]?.kind ?? 'counts');
  });
}

interface OpenSlice {
  readonly path: string;
  readonly kind: RunKind;
  readonly file: SliceFile;
  readonly slice: RunSlice;
}

function checkKinds(runs: readonly { readonly path: string; readonly kind: RunKind }[]): void {
  const strange = runs.find(({ kind }) => kind !== runs[0]!.kind);
  if (strange === undefined) return;
  throw new RunDamagedError(strange.path, `${strange.path} is a run of ${strange.kind}`);
}

function withOpenFiles<T>(files: BulkFiles, use: (open: OpenFiles) => T): T {
  const open = new OpenFiles(files);
  try {
    return use(open);
  } finally {
    open.close();
  }
}

class OpenFiles {
  readonly #files: BulkFiles;
  readonly #runs: RunFile[] = [];
  /** Of slices, which share their files. */
  readonly #shared = new Map<string, SliceFile>();

  constructor(files: BulkFiles) {
    this.#files = files;
  }

  run(path: string): RunFile {
    const run = new RunFile(path, this.#files);
    this.#runs.push(run);
    return run;
  }

  slice(source: MergeSource): OpenSlice {
    const { path } = source;
    if ('slice' in source) {
      const { slice } = source;
      return { path, kind: slice.kind, file: this.#sharedFile(path), slice };
    }
    const run = this.run(path);
    return { path, kind: run.kind, file: run, slice: run.slice(source.partition) };
  }

  close(): void {
    for (const run of this.#runs) run.close();
    for (const { reader } of this.#shared.values()) reader.close();
  }

  #sharedFile(path: string): SliceFile {
    let file = this.#shared.get(path);
    if (file === undefined) {
      file = { path, reader: this.#files.open(path) };
      this.#shared.set(path, file);
    }
    return file;
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
