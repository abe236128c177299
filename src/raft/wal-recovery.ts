/**
 * Reading the write-ahead log at start: what is there, where it ends, and whether to believe it.
 *
 * A crash in the middle of a write leaves a torn record at the end. It was not acknowledged, so it is cut off. A bad
 * record anywhere else was durable once and has rotted; entries that this server acknowledged may be gone, and a server
 * that forgets what it acknowledged can help to elect a leader without it. The two look alike except for what follows:
 * one write is under way at a time, so a record is begun only when all before it are durable. A good record behind a
 * bad one is therefore proof that the bad one was durable: the durable mark. (The last record has none behind it; the
 * log writes an empty record, a seal, when it falls idle, so that lasts a second.) On proof of corruption the log
 * refuses to open, and the server cannot vote. After TigerBeetle's recovery and "Protocol-Aware Recovery" (FAST 2018).
 *
 * A disk may also return what is not there: a flipped bit, the bytes of another place. So looking at a segment (`scan`)
 * is apart from believing it (`accept`), and one that does not end in zeros is read once more in between.
 */
import { MalformedError } from '../lib/bytes.ts';
import { CorruptionError } from '../lib/errors.ts';
import { damageError } from './wal-damage.ts';
import {
  decodeRecord,
  decodeSegmentHeader,
  isZero,
  mayBeRecord,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  WAL_VERSION,
  type WalRecord,
} from './wal-format.ts';

/** One segment file as it was read. */
export interface SegmentContent {
  readonly name: string;
  /** The number in its name. */
  readonly number: number;
  readonly content: Uint8Array;
}

export interface ScannedSegment {
  readonly name: string;
  readonly header: SegmentHeader;
  readonly bytes: number;
  /** Behind its last record. */
  readonly end: number;
  /** Bytes behind `end` are not all zero: a torn record, to be wiped before the segment is written again. */
  readonly tornTail: boolean;
}

/** What was found in a segment file, if that reading of it is to be believed. */
export interface SegmentScan {
  readonly name: string;
  /** Views of what was read. */
  readonly records: readonly { readonly record: WalRecord; readonly offset: number }[];
  /** Undefined for a file made in advance and never put into use, or torn while it was. */
  readonly segment: ScannedSegment | undefined;
  /** It cannot be as it was written. */
  readonly damage: CorruptionError | undefined;
}

/** Told of every record in order, with where it stands. */
export type RecordVisitor = (record: WalRecord, at: { segment: SegmentHeader; offset: number }) => void;

/**
 * Scans the next segment, and if it does not look whole once more, for the disk may have returned what is not there.
 * `changed`: it did.
 */
export async function scanSurely(
  scanner: WalScanner,
  read: () => Promise<SegmentContent>,
): Promise<{ readonly scan: SegmentScan; readonly changed: boolean }> {
  const first = scanner.scan(await read());
  if (!isDoubtful(first)) return { scan: first, changed: false };
  const scan = betterScan(first, scanner.scan(await read()));
  return { scan, changed: scan !== first };
}

function isDoubtful({ damage, segment }: SegmentScan): boolean {
  return damage !== undefined || segment === undefined || segment.tornTail;
}

/** Of two scans of one segment that which found more. */
function betterScan(one: SegmentScan, other: SegmentScan): SegmentScan {
  if ((one.damage === undefined) !== (other.damage === undefined)) {
    return one.damage === undefined ? one : other;
  }
  return (other.segment?.end ?? 0) > (one.segment?.end ?? 0) ? other : one;
}

/**
 * Walks through the segments, one at a time so that only one need be in memory. Scan every segment file in order, and
 * accept each before the next.
 */
export class WalScanner {
  readonly segments: ScannedSegment[] = [];
  /** Names of files that were never put into use. */
  readonly unused: string[] = [];
  nextSequence = 0;

  /** Looks, and changes nothing. */
  scan(file: SegmentContent): SegmentScan {
    const header = decodeSegmentHeader(file.content);
    if (header === undefined) {
      const inUse = !isZero(file.content.subarray(0, SEGMENT_HEADER_BYTES)) && holdsRecordsOfItsOwn(file);
      const damage = inUse
        ? damageError(`${file.name}: the header is damaged, and it was in use`)
        : undefined;
      return { name: file.name, records: [], segment: undefined, damage };
    }
    const damage = this.#checkPlace(file, header);
    if (damage !== undefined) return { name: file.name, records: [], segment: undefined, damage };
    const firstSequence = this.segments.length === 0 ? header.firstSequence : this.nextSequence;
    return scanRecords(file, header, firstSequence);
  }

  /** Goes on to the next segment, or throws the scan's CorruptionError. */
  accept({ name, records, segment, damage }: SegmentScan, visit: RecordVisitor): void {
    if (damage !== undefined) throw damage;
    if (segment === undefined) {
      this.unused.push(name);
      return;
    }
    if (this.segments.length === 0) this.nextSequence = segment.header.firstSequence;
    for (const { record, offset } of records) visit(record, { segment: segment.header, offset });
    this.nextSequence += records.length;
    this.segments.push(segment);
  }

  #checkPlace(
    { name, number }: SegmentContent,
    header: SegmentHeader & { version: number },
  ): CorruptionError | undefined {
    if (header.version !== WAL_VERSION) {
      const formats = `log format ${header.version}, this program reads format ${WAL_VERSION}`;
      return new CorruptionError(`${name} is of ${formats}`);
    }
    if (header.number !== number) {
      return damageError(`${name} holds segment ${header.number}: it is not the file that was written here`);
    }
    if (this.unused.length > 0) {
      return damageError(`${this.unused[0]} lies before ${name} and its header is damaged or missing`);
    }
    const previous = this.segments.at(-1);
    if (previous === undefined) return undefined;
    if (header.number !== previous.header.number + 1) {
      return damageError(`the segment between ${previous.name} and ${name} is missing`);
    }
    if (header.firstSequence === this.nextSequence) return undefined;
    return damageError(
      `${previous.name} is damaged at byte ${previous.end}: record ${this.nextSequence} is not readable, ` +
        `but ${name} was begun after it with record ${header.firstSequence}`,
    );
  }
}

function scanRecords(file: SegmentContent, header: SegmentHeader, firstSequence: number): SegmentScan {
  const { name, content } = file;
  const records: { record: WalRecord; offset: number }[] = [];
  let offset = SEGMENT_HEADER_BYTES;
  let tornTail = false;
  let damage: CorruptionError | undefined;
  try {
    for (;;) {
      const record = readRecord(file, offset, header.seed);
      if (record === 'empty' || record === 'bad') break;
      if (record.sequence !== firstSequence + records.length) break;
      records.push({ record, offset });
      offset = record.end;
    }
    tornTail = !isZero(content, offset);
    const nextSequence = firstSequence + records.length;
    if (tornTail) refuseIfDurable(file, { header, end: offset, nextSequence });
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error;
    damage = error;
  }
  const segment = { name, header, bytes: content.length, end: offset, tornTail };
  // Torn at its first write, behind the header: without its first record the log could never begin with it.
  return { name, records, segment: records.length === 0 ? undefined : segment, damage };
}

/** Throws CorruptionError when a record follows that was begun when the unreadable one at `end` was durable. */
function refuseIfDurable(
  file: SegmentContent,
  { header, end, nextSequence }: { header: SegmentHeader; end: number; nextSequence: number },
): void {
  for (let offset = end + 8; offset < file.content.length; offset += 8) {
    if (file.content[offset] === 0) continue;
    const record = readRecord(file, offset, header.seed);
    if (record === 'empty' || record === 'bad' || record.sequence <= nextSequence) continue;
    throw damageError(
      `${file.name} is damaged at byte ${end}: record ${nextSequence} is not readable, but record ` +
        `${record.sequence} at byte ${offset}, which was written when ${nextSequence} was durable, is`,
    );
  }
}

function readRecord(file: SegmentContent, offset: number, seed: number): WalRecord | 'empty' | 'bad' {
  try {
    return decodeRecord(file.content, offset, seed);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    throw damageError(
      `${file.name}: the record at byte ${offset} has a good checksum and bad content`,
      error,
    );
  }
}

/**
 * Without the header's seed no checksum can be tested. But the header and the first record are one write, and in it are
 * no bytes of clients: what looks like a second record is one, and was begun when that write was durable.
 */
function holdsRecordsOfItsOwn({ content }: SegmentContent): boolean {
  for (let offset = SEGMENT_HEADER_BYTES + 8; offset < content.length; offset += 8) {
    if (content[offset] !== 0 && mayBeRecord(content, offset)) return true;
  }
  return false;
}
