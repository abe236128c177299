/** The segments of the write-ahead log: what is known of each, their names, and what is done to whole files. */
import type { Disk, Log, LogFile } from '../lib/env.ts';
import type { GroupId } from './types.ts';
import { type RecordVisitor, type ScannedSegment, scanSurely, WalScanner } from './wal-recovery.ts';

export interface Segment {
  readonly number: number;
  readonly file: LogFile;
  readonly seed: number;
  readonly logEnds: LogEnds;
  /** Up to here its records are on the disk; in the last segment a write may be under way behind it. */
  durableOffset: number;
  /** Its header and first record are durable: what it repeats is no longer needed in the segments before it. */
  begun: boolean;
  readsUnderWay: number;
}

/**
 * Where each group's log would begin if it began with this segment: behind the entry at which it ended when the segment
 * was begun, or behind a snapshot that came later. REPLACED when that entry was replaced later: then what the segment's
 * first record tells was never committed, and the log cannot begin with it.
 */
export type LogEnds = Map<GroupId, number>;
export const REPLACED = Number.POSITIVE_INFINITY;

const NAME = /^(\d{12})\.wal$/;

export function segmentName(number: number): string {
  return `${String(number).padStart(12, '0')}.wal`;
}

/** The segments' files among `names`, in their order. */
export function segmentFiles(names: readonly string[]): { readonly name: string; readonly number: number }[] {
  return names.flatMap((name) => {
    const digits = NAME.exec(name)?.[1];
    return digits === undefined ? [] : [{ name, number: Number(digits) }];
  });
}

/**
 * Opens and reads all segments that are there, in order, and tells `visit` of every record. Torn tails are wiped, files
 * that were never put into use are removed. Throws CorruptionError.
 */
export async function openSegments(
  place: { disk: Disk; directory: string; log: Log },
  visit: RecordVisitor,
): Promise<{ segments: readonly { file: LogFile; scanned: ScannedSegment }[]; nextSequence: number }> {
  const { disk, directory, log } = place;
  const scanner = new WalScanner();
  const files = new Map<string, LogFile>();
  for (const { name, number } of segmentFiles(await disk.list(directory))) {
    const path = `${directory}/${name}`;
    const file = await disk.openLogFile(path);
    files.set(path, file);
    const read = async () => ({ name: path, number, content: await readWhole(file) });
    const { scan, changed } = await scanSurely(scanner, read);
    if (changed) log.warning('the disk returned other bytes when it was asked again', { file: path });
    scanner.accept(scan, visit);
  }
  for (const path of scanner.unused) {
    await files.get(path)!.close();
    await disk.removeFile(path);
  }
  const segments = scanner.segments.map((scanned) => ({ file: files.get(scanned.name)!, scanned }));
  for (const { file, scanned } of segments) {
    if (!scanned.tornTail) continue;
    const { name, end } = scanned;
    log.notice('an unfinished write at the end of the log was cut off', { file: name, at: end });
    await wipe(file, end);
  }
  return { segments, nextSequence: scanner.nextSequence };
}

function readWhole(file: LogFile): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    file.read(0, file.bytes, (error, content) => (error === null ? resolve(content) : reject(error)));
  });
}

/** Zeros from `offset` to the end, so that nothing of a torn write is left behind the next, shorter one. */
function wipe(file: LogFile, offset: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const zeros = new Uint8Array(file.bytes - offset);
    file.write(offset, [zeros], (error) => (error === null ? resolve() : reject(error)));
  });
}
