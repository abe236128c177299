/**
 * What a job leaves in the system database, so that it outlives every server: JSON under these keys.
 *
 *   mr:reign                     how often a coordinator has taken over; writes watch its version (reign.ts)
 *   mr:jobs                      all jobs, with how each ended
 *   mr:job:ID                    what is to be done; there as long as the job is active, so that what is late finds it gone
 *   mr:journal:ID:N              facts, a line each, in the order in which they count; a new piece when one is full
 *   mr:uploads:ID                every attempt that has begun to bring a part of the result here
 *   mr:out:ID:TASK:ATTEMPT:N     a part of the result, in chunks
 *   mr:result:ID                 which attempts' chunks are the result
 *
 * Facts are what cannot be found out again: which attempt of a task counts, where its output is, that it was lost. Who works
 * on what is in the coordinator's memory alone, and is forgotten with it.
 */
import { Buffer } from 'node:buffer';
import { CorruptionError } from '../../lib/errors.ts';
import type { Counters, JobName, Split, TaskFailure } from '../tasks.ts';

export type JobId = number;

export type JobInput =
  | { readonly kind: 'files'; readonly splits: readonly Split[] }
  /** String values under keys that match; `pattern` in base64. Cut into so many ranges of slots. */
  | { readonly kind: 'keys'; readonly db: number; readonly pattern: string; readonly splits: number };

export type JobOut =
  /** Kept until it is purged. */
  | { readonly kind: 'store' }
  /** Becomes keys of the database, at once when the job is done; `prefix` in base64. */
  | { readonly kind: 'keys'; readonly db: number; readonly prefix: string };

/** What is to be done. Of a module `path` is its name in the directory of modules. */
export interface JobOrderRecord {
  /** What a second submission of the same has too. */
  readonly token: string;
  /** For people. */
  readonly name: string;
  readonly job: JobName;
  readonly args: Readonly<Record<string, string>>;
  readonly reducers: number;
  readonly memoryBytes: number;
  readonly input: JobInput;
  readonly out: JobOut;
  /** Of the input, as far as it is known. */
  readonly bytes: number;
}

export interface JobRecord extends JobOrderRecord {
  readonly id: JobId;
  /** With which a server proves that it may have map outputs: 32 bytes, hexadecimal. */
  readonly secret: string;
  readonly submittedMs: number;
}

/** Of another epoch than the job's own a fact counts for nothing. */
export type Fact =
  | {
      readonly fact: 'map';
      readonly epoch: number;
      readonly task: number;
      readonly attempt: number;
      /** Where its output is. */
      readonly node: number;
      readonly bytes: number;
      /** Of stored keys that it has read; 0 where the input is files. */
      readonly inputBytes: number;
      readonly counters: Counters;
    }
  | {
      readonly fact: 'reduce';
      readonly epoch: number;
      readonly task: number;
      readonly attempt: number;
      readonly node: number;
      readonly bytes: number;
      readonly chunks: number;
      readonly counters: Counters;
    }
  /** The outputs of these map tasks cannot be had any more. */
  | { readonly fact: 'maps-lost'; readonly epoch: number; readonly tasks: readonly number[] }
  /** All begins anew, on this view of the keys: the first one, or the one before is gone. Epochs are 1, 2, ... */
  | { readonly fact: 'epoch'; readonly epoch: number; readonly view: string };

/** `removed`: what is left of it is being cleared. */
export type JobEnd = 'done' | 'failed' | 'cancelled' | 'removed';

export interface JobSummary {
  readonly id: JobId;
  readonly token: string;
  readonly name: string;
  /** `wc`, or the module's name. */
  readonly job: string;
  readonly state: 'active' | JobEnd;
  readonly submittedMs: number;
  readonly endedMs?: number;
  readonly maps: number;
  readonly reduces: number;
  readonly bytes: number;
  readonly out: JobOut['kind'];
  readonly counters?: Counters;
  readonly failure?: EndedBy;
  /** Chunks of attempts that do not count may still be there. */
  readonly unclean?: boolean;
}

/** Why a job has failed. */
export interface EndedBy extends TaskFailure {
  readonly phase?: 'map' | 'reduce';
  readonly task?: number;
  readonly attempts?: number;
}

export interface JobIndex {
  readonly lastId: JobId;
  /** In the order in which they were submitted. */
  readonly jobs: readonly JobSummary[];
}

export interface JobResult {
  /** Of each part: the attempt whose chunks it is, how many, and its bytes. */
  readonly parts: readonly (readonly [attempt: number, chunks: number, bytes: number])[];
}

export const NO_JOBS: JobIndex = { lastId: 0, jobs: [] };

/** What a part of the journal may grow to: appending to a value copies it. */
export const JOURNAL_PIECE_BYTES_MAX = 32 << 10;
export const CHUNK_BYTES = 512 << 10;

const FORMAT = 1;

export const REIGN_KEY = Buffer.from('mr:reign');
export const JOBS_KEY = Buffer.from('mr:jobs');
export const jobKey = (id: JobId): Buffer => Buffer.from(`mr:job:${id}`);
export const journalKey = (id: JobId, piece: number): Buffer => Buffer.from(`mr:journal:${id}:${piece}`);
export const uploadsKey = (id: JobId): Buffer => Buffer.from(`mr:uploads:${id}`);
export const resultKey = (id: JobId): Buffer => Buffer.from(`mr:result:${id}`);
export const chunkKey = (id: JobId, task: number, attempt: number, chunk: number): Buffer =>
  Buffer.from(`mr:out:${id}:${task}:${attempt}:${chunk}`);

export function mapCount({ input }: Pick<JobOrderRecord, 'input'>): number {
  return input.kind === 'files' ? input.splits.length : input.splits;
}

export function jobText(job: JobName): string {
  return job.kind === 'builtin' ? job.name : job.path;
}

export function encodeRecord(value: JobIndex | JobRecord | JobResult): Buffer {
  return Buffer.from(JSON.stringify({ format: FORMAT, ...value }));
}

/** Throws CorruptionError. */
export function decodeRecord<T extends JobIndex | JobRecord | JobResult>(bytes: Uint8Array): T {
  const value: unknown = parsed(bytes);
  const format = typeof value === 'object' && value !== null && 'format' in value ? value.format : undefined;
  if (format !== FORMAT) throw new CorruptionError(`a record of MapReduce has the format ${String(format)}`);
  return value as T;
}

export function encodeFacts(facts: readonly Fact[]): Buffer {
  return Buffer.from(facts.map((fact) => `${JSON.stringify(fact)}\n`).join(''));
}

/** Throws CorruptionError. */
export function decodeFacts(bytes: Uint8Array): Fact[] {
  const lines = Buffer.from(bytes).toString('utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => parsed(Buffer.from(line)) as Fact);
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (error) {
    throw new CorruptionError('a record of MapReduce in the store makes no sense', error);
  }
}
