/** A job as plain functions on text, without any thought of speed or memory: what sequential.ts carries out. */
import type { Buffer } from 'node:buffer';
import type { PartRow } from '../parts.ts';
import type { Counters } from '../tasks.ts';
import type { RecordKind } from './byte-job.ts';

export interface JobMeaning {
  readonly records: RecordKind;
  /** One piece of a file: what begins and ends between lines; the whole file where records are whole. */
  piece(piece: Buffer, file: string, offset: number): void;
  /** Behind the last piece: all rows, in the order of the keys' bytes. */
  rows(): Iterable<PartRow>;
  partition?(key: Uint8Array, reducers: number): number;
  readonly counters: Counters;
}
