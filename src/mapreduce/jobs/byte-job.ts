/**
 * A job as the tasks see it: on bytes, without a string per word. The built-in jobs are written so; a module of the user's
 * is made into one (module-job.ts).
 *
 *   counting    for each key how often it came: a table of counts gathers them, and rows are made of the sums
 *   gathering   for each key the values that came with it, in the order of the map tasks, and in each as they were emitted
 */
import type { CountOutput } from '../map-output.ts';
import type { ValueCombiner } from '../merge.ts';
import type { Partitioner } from '../partition.ts';
import type { PartRow } from '../parts.ts';

/** What may not be cut in two: a word, a line, or a whole file. */
export type RecordKind = 'lines' | 'whole' | 'chunk';

/** Bytes [from, to) of `bytes`: a piece of the input that begins and ends between records. A view, valid during the call. */
export interface Block {
  readonly bytes: Uint8Array;
  readonly from: number;
  readonly to: number;
  /** What records call the file. */
  readonly file: string;
  /** Where the input is stored keys: the key, of which the block is the whole value; `file` is its text. A view, too. */
  readonly key?: Uint8Array;
  /** Where `from` is in the file, or in the value. */
  readonly offset: number;
}

/** What a task knows, and counts. */
export interface TaskContext {
  readonly task: number;
  readonly attempt: number;
  readonly args: Readonly<Record<string, string>>;
  count(name: string, by?: number): void;
  /** To be called every so often where a single block may take long: a sign of life. */
  alive(): void;
}

export type WriteRow = (row: PartRow) => void;

/** Takes pairs of key, bytes [from, to) of `source`, and value. Copies both. */
export type Collect = (source: Uint8Array, from: number, to: number, value: Uint8Array) => void;

/** What counts keys. */
export type Counts = Pick<CountOutput, 'add' | 'addWords'>;

interface CommonJob {
  readonly records: RecordKind;
  /** By the hash of the key unless given. */
  readonly partitioner?: Partitioner | undefined;
}

export interface CountingJob extends CommonJob {
  readonly gather: 'counts';
  map(block: Block, counts: Counts, context: TaskContext): void;
  /** The rows of a key; `key` is valid during the call. */
  rows(key: Uint8Array, count: number, write: WriteRow, context: TaskContext): void;
}

export interface GatheringJob extends CommonJob {
  readonly gather: 'values';
  readonly combine?: ValueCombiner | undefined;
  /** One per map task. `memoryBytes`: what it may take besides. */
  mapper(collect: Collect, options: { context: TaskContext; memoryBytes: number }): Mapper;
  /** All values of a key: each a view that is valid until the next is asked for. */
  reduce(key: Uint8Array, values: Iterable<Uint8Array>, write: WriteRow, context: TaskContext): void;
}

export interface Mapper {
  block(block: Block): void;
  /** Behind the last block. */
  end(): void;
}

export type ByteJob = CountingJob | GatheringJob;
