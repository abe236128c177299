/**
 * What a job is made of, as plain values that travel to threads and, later, to other servers: the job, its splits, its
 * tasks, and what comes of a task.
 *
 *   inputs -> splits -> map tasks -> one intermediate file each, by partition -> reduce tasks -> one output part each
 */
import type { MergeSource } from './merge.ts';

/** `wc`, `ii`, `grep`, `sort`, or a module of the user's. */
export type JobName =
  | { readonly kind: 'builtin'; readonly name: BuiltinName }
  /** `path` is absolute; `sha256` of its bytes, so that all run the same. */
  | { readonly kind: 'module'; readonly path: string; readonly sha256: string };

export type BuiltinName = 'wc' | 'ii' | 'grep' | 'sort';

export interface JobSpec {
  readonly job: JobName;
  /** What the job is told: `pattern` for grep; what `--arg` gives. */
  readonly args: Readonly<Record<string, string>>;
  /** Partitions of the keys, and parts of the output: 1 to REDUCERS_MAX. */
  readonly reducers: number;
  /** Of one worker, for what it gathers before it spills. */
  readonly memoryBytes: number;
  /** What a part of the output is: lines for people, or lines with their keys, so that parts can be merged (parts.ts). */
  readonly output: 'lines' | 'keyed';
  /** Where intermediate files lie; a directory of this job alone, removed at its end. */
  readonly temporary: string;
}

export const REDUCERS_MAX = 10_000;

/** A piece of the input. */
export type Split =
  /** A byte range of a file. What the file was when the job was planned is checked when it is read. */
  | {
      readonly kind: 'range';
      readonly path: string;
      /** What records call the file, where that is not its path. */
      readonly name?: string;
      readonly from: number;
      readonly to: number;
      readonly fileBytes: number;
      readonly modifiedMs: number;
    }
  /** A file compressed with gzip, or one that cannot be read at will: whole. */
  | {
      readonly kind: 'gzip';
      readonly path: string;
      readonly name?: string;
      readonly fileBytes: number;
      readonly modifiedMs: number;
    }
  /** Stored keys with their values, in a file that is this attempt's alone (stored-records.ts). */
  | { readonly kind: 'records'; readonly path: string; readonly fileBytes: number }
  /** Bytes that were read already (standard input): handed over with the task. */
  | { readonly kind: 'bytes'; readonly name: string; readonly offset: number; readonly bytes: Uint8Array };

export interface MapTask {
  readonly phase: 'map';
  readonly task: number;
  readonly attempt: number;
  readonly split: Split;
}

export interface ReduceTask {
  readonly phase: 'reduce';
  /** The partition. */
  readonly task: number;
  readonly attempt: number;
  /** What all map tasks have left for it, in their order: intermediate files, or what was fetched of them. */
  readonly files: readonly (string | MergeSource)[];
}

export type Task = MapTask | ReduceTask;

/** By name; shown at the end, summed over the committed attempts. */
export type Counters = Readonly<Record<string, number>>;

export interface TaskDone {
  /** A map task's intermediate file, or a reduce task's part. */
  readonly file: string;
  readonly bytes: number;
  readonly counters: Counters;
}

/** Why an attempt failed. `deterministic`: it would fail again in the same way, so it is not tried again. */
export interface TaskFailure {
  readonly message: string;
  /** Where: the file, and the offset of the record, if that is known. */
  readonly file?: string;
  readonly offset?: number;
  readonly deterministic: boolean;
  /** What is wrong may be so on this machine only: a file that is not there. */
  readonly local?: boolean;
}
