/** The segments of the write-ahead log: what is known of each, their names, and what is done to a whole file. */
import type { LogFile } from '../lib/env.ts';
import type { GroupId } from './types.ts';

export interface Segment {
  readonly number: number;
  readonly file: LogFile;
  readonly seed: number;
  readonly logEnds: LogEnds;
  /** Its header and first record are durable: what it repeats is no longer needed in the segments before it. */
  begun: boolean;
}

/**
 * Where each group's log ended when a segment began. REPLACED when that entry was replaced later: then what the
 * segment's first record tells was never committed, and the log cannot begin with it.
 */
export type LogEnds = Map<GroupId, number>;
export const REPLACED = Number.POSITIVE_INFINITY;

export function segmentName(number: number): string {
  return `${String(number).padStart(12, '0')}.wal`;
}

export function isSegmentName(name: string): boolean {
  return /^\d{12}\.wal$/.test(name);
}

export function readWhole(file: LogFile): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    file.read(0, file.bytes, (error, content) => (error === null ? resolve(content) : reject(error)));
  });
}

/** Zeros from `offset` to the end, so that nothing of a torn write is left behind the next, shorter one. */
export function wipe(file: LogFile, offset: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const zeros = new Uint8Array(file.bytes - offset);
    file.write(offset, [zeros], (error) => (error === null ? resolve() : reject(error)));
  });
}
