/**
 * What a map task emits, until it lies in one file, sorted and by partition (run-format.ts).
 *
 * It is gathered in memory. When the memory is used up, what is there is sorted and spilled to a run; at the end the runs
 * are merged into one, and that is renamed into place. Counts do not grow further when most keys are new: a table that
 * counts nothing twice saves no work, and one that fits the processor's caches is faster. Then new words are put off
 * (put-off-words.ts), or, where that cannot be, the table is spilled early.
 */
import { assert } from '../lib/assert.ts';
import type { BulkFiles } from '../lib/bulk.ts';
import { CountTable } from './count-table.ts';
import { FAN_IN_MAX, type MergeOptions, mergeRuns, type ValueCombiner, writeRun } from './merge.ts';
import type { Partitioner } from './partition.ts';
import { PutOffWords } from './put-off-words.ts';
import { RecordBuffer } from './record-buffer.ts';
import type { RunKind } from './run-format.ts';
import type { RunWriter } from './run-writer.ts';
import { openKernel } from './word-kernel.ts';
import { countWords } from './words.ts';

export interface MapOutputOptions {
  readonly files: BulkFiles;
  /** Where it is put at the end. Meanwhile there are files whose names begin with it. */
  readonly path: string;
  readonly partitions: number;
  /** For what is gathered, and for sorting it. */
  readonly memoryBytes: number;
  readonly partitioner?: Partitioner | undefined;
}

export interface MapOutputDone {
  /** Of each partition. */
  readonly partitionBytes: readonly number[];
  readonly bytes: number;
  /** How often, and how much, went to the disk before the end. */
  readonly spills: number;
  readonly spilledBytes: number;
}

const MEMORY_BYTES_MIN = 64 << 10;
/** Spill early from so many keys on, if they are more than this share of what was counted. */
const EARLY_KEYS = 150_000;
const EARLY_SHARE = 0.5;
/** With less memory, that of the kernel would be much of it. */
const PUT_OFF_BYTES_MIN = 4 << 20;
/** A table in the kernel's memory is below 4 GiB. */
const TABLE_BYTES_MAX = 2 ** 30;
const READ_BYTES_MIN = 4 << 10;
const READ_BYTES_MAX = 64 << 10;

/** Of a job whose values are counts, and that sums them. */
export class CountOutput {
  #table = new CountTable();
  readonly #spills: Spills;
  readonly #putOff: PutOffWords;
  readonly #options: MapOutputOptions;
  #counted = 0;
  /** Words that were put off are being counted. */
  #isLater = false;

  constructor(options: MapOutputOptions) {
    this.#options = options;
    this.#spills = new Spills('counts', options);
    this.#putOff = new PutOffWords(options.files, options.path);
  }

  add(source: Uint8Array, from: number, to: number, count: number): void {
    this.#table.settle();
    this.#table.add(source, from, to, count);
    this.#counted++;
    if (this.#counted % 1024 === 0 || this.#table.bytes > this.#options.memoryBytes) this.#lookIfFull();
  }

  /** Counts the words of a block (see countWords): the fastest way. How many there were. */
  addWords(bytes: Uint8Array, from: number, to: number): number {
    if (this.#counted === 0 && this.#table.kernel === undefined) this.#table = new CountTable(openKernel());
    return countWords(bytes, from, to, this.#table, (words) => {
      this.#counted += words;
      this.#lookIfFull();
    });
  }

  /** Writes the file. Afterwards it is of no use, as after `abandon`. */
  finish(): MapOutputDone {
    this.#table.settle();
    const { bytes } = this.#putOff;
    if (bytes > 0) {
      this.#spill();
      this.#isLater = true;
      const endOfPile = () => {
        if (this.#table.size >= EARLY_KEYS / 2) this.#spill();
      };
      this.#putOff.takeAll((text, from, to) => void this.addWords(text, from, to), endOfPile);
    }
    const done = this.#spills.finish((run) => this.#table.writeTo(run, this.#options.partitioner));
    return { ...done, spilledBytes: done.spilledBytes + bytes };
  }

  /** Removes what it has made. */
  abandon(): void {
    this.#spills.abandon();
    this.#putOff.abandon();
  }

  #lookIfFull(): void {
    const table = this.#table;
    const { memoryBytes } = this.#options;
    // Where the kernel is not used, new words come into a frozen table too.
    if (table.frozen ? table.bytes <= memoryBytes : !this.#isFull()) return;
    table.settle();
    if (
      table.kernel !== undefined &&
      !this.#isLater &&
      this.#isMostlyNew() &&
      memoryBytes >= PUT_OFF_BYTES_MIN
    )
      table.freeze((pile, text) => this.#putOff.add(pile, text));
    else this.#spill();
  }

  #spill(): void {
    this.#spills.spill((run) => this.#table.writeTo(run, this.#options.partitioner));
    this.#table.clear(this.#table.bytes > this.#options.memoryBytes);
    this.#counted = 0;
  }

  #isMostlyNew(): boolean {
    return this.#table.size > this.#counted * EARLY_SHARE;
  }

  #isFull(): boolean {
    const { size, bytes, capacity } = this.#table;
    if (bytes > this.#options.memoryBytes) return true;
    if (size >= EARLY_KEYS && !this.#isLater && this.#isMostlyNew()) return true;
    // What it grows into is there beside the old for a moment, and then twice as large.
    return size > capacity * 0.9 && bytes * 2.5 > Math.min(this.#options.memoryBytes, TABLE_BYTES_MAX);
  }
}

/** Of any other job: pairs of key and value, as bytes. */
export class RecordOutput {
  readonly #buffer = new RecordBuffer();
  readonly #spills: Spills;
  readonly #options: MapOutputOptions & { readonly combine?: ValueCombiner | undefined };

  constructor(options: MapOutputOptions & { readonly combine?: ValueCombiner | undefined }) {
    this.#options = options;
    this.#spills = new Spills('values', options);
  }

  /** The key is bytes [from, to) of `source`. Both are copied. */
  add(source: Uint8Array, from: number, to: number, value: Uint8Array): void {
    const bytes = to - from + value.length;
    if (this.#buffer.size > 0 && this.#buffer.bytesWith(bytes) > this.#options.memoryBytes) this.#spill();
    this.#buffer.add(source, from, to, value);
  }

  /** Writes the file. Afterwards it is of no use, as after `abandon`. */
  finish(): MapOutputDone {
    return this.#spills.finish((run) => this.#write(run));
  }

  /** Removes what it has made. */
  abandon(): void {
    this.#spills.abandon();
  }

  #spill(): void {
    this.#spills.spill((run) => this.#write(run));
    this.#buffer.clear();
    // A single large pair must not make every one after it spill.
    if (this.#buffer.bytes > this.#options.memoryBytes * 0.75) this.#buffer.clear(true);
  }

  #write(run: RunWriter): void {
    this.#buffer.writeTo(run, this.#options.partitioner, this.#options.combine);
  }
}

/** The runs of a task until they are one. */
class Spills {
  readonly #kind: RunKind;
  readonly #options: MapOutputOptions & { readonly combine?: ValueCombiner | undefined };
  readonly #merging: MergeOptions;
  #paths: string[] = [];
  #made = 0;
  #spills = 0;
  #spilledBytes = 0;

  constructor(kind: RunKind, options: MapOutputOptions & { readonly combine?: ValueCombiner | undefined }) {
    const { files, path, memoryBytes, combine } = options;
    assert(memoryBytes >= MEMORY_BYTES_MIN, 'a map task has memory', memoryBytes);
    this.#kind = kind;
    this.#options = options;
    const fair = Math.floor(memoryBytes / (2 * FAN_IN_MAX));
    const bufferBytes = Math.min(Math.max(fair, READ_BYTES_MIN), READ_BYTES_MAX);
    this.#merging = { files, temporary: path, bufferBytes, combine };
  }

  spill(write: (run: RunWriter) => void): void {
    this.#spills++;
    this.#spilledBytes += this.#bytesOf(this.#make(write));
  }

  finish(writeRest: (run: RunWriter) => void): MapOutputDone {
    const { path, files } = this.#options;
    const whole = `${path}.whole`;
    let partitionBytes: number[];
    if (this.#paths.length === 0) {
      partitionBytes = this.#writeRun(whole, writeRest);
    } else {
      this.spill(writeRest);
      while (this.#paths.length > FAN_IN_MAX) this.#mergeSome();
      partitionBytes = this.#writeRun(whole, (run) => mergeRuns(this.#paths, run, this.#merging));
    }
    try {
      files.rename(whole, path);
    } catch (error) {
      files.remove(whole);
      throw error;
    }
    this.abandon();
    const bytes = this.#bytesOf(path);
    return { partitionBytes, bytes, spills: this.#spills, spilledBytes: this.#spilledBytes };
  }

  abandon(): void {
    for (const path of this.#paths) this.#options.files.remove(path);
    this.#paths = [];
  }

  /** Neighbours become one, as few of them as are too many: what is merged now is merged again. */
  #mergeSome(): void {
    const count = Math.min(FAN_IN_MAX, this.#paths.length - FAN_IN_MAX + 1);
    const some = this.#paths.slice(0, count);
    const rest = this.#paths.slice(count);
    const merged = this.#make((run) => mergeRuns(some, run, this.#merging));
    for (const path of some) this.#options.files.remove(path);
    this.#paths = [merged, ...rest];
  }

  #make(write: (run: RunWriter) => void): string {
    const path = `${this.#options.path}.spill-${this.#made++}`;
    this.#writeRun(path, write);
    this.#paths.push(path);
    return path;
  }

  #writeRun(path: string, write: (run: RunWriter) => void): number[] {
    const { partitions, files } = this.#options;
    return writeRun(path, this.#kind, partitions, files, write);
  }

  #bytesOf(path: string): number {
    return this.#options.files.stat(path)?.bytes ?? 0;
  }
}
