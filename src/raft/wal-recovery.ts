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
 */

import { MalformedError } from '../lib/bytes.ts';
import { CorruptionError } from '../lib/errors.ts';
import type { LogStart } from './log.ts';
import type { Entry, GroupId, HardState } from './types.ts';
import {
  decodeRecord,
  decodeSegmentHeader,
  isZero,
  mayBeRecord,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  WAL_VERSION,
  type WalItem,
  type WalRecord,
} from './wal-format.ts';

export interface RecoveredGroup {
  hardState: HardState;
  log: LogStart;
}

/** One segment file, in the order of the numbers in their names. */
export interface SegmentContent {
  readonly name: string;
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

/** Told of every record in order, with where it stands. */
export type RecordVisitor = (record: WalRecord, at: { segment: SegmentHeader; offset: number }) => void;

/**
 * Walks through the segments, one at a time so that only one need be in memory. Feed it every segment file in order.
 * Throws CorruptionError.
 */
export class WalScanner {
  readonly segments: ScannedSegment[] = [];
  /** Names of files without a header: made in advance and never put into use, or torn while they were. */
  readonly unused: string[] = [];
  nextSequence = 0;
  readonly #visit: RecordVisitor;

  constructor(visit: RecordVisitor) {
    this.#visit = visit;
  }

  add(segment: SegmentContent): void {
    const header = decodeSegmentHeader(segment.content);
    if (header === undefined) {
      this.#addUnused(segment);
      return;
    }
    if (header.version !== WAL_VERSION) {
      throw new CorruptionError(
        `${segment.name} is of log format ${header.version}, this program reads format ${WAL_VERSION}`,
      );
    }
    this.#checkPlace(segment, header);
    this.#scan(segment, header);
  }

  #addUnused(segment: SegmentContent): void {
    if (!isZero(segment.content.subarray(0, SEGMENT_HEADER_BYTES)) && holdsRecordsOfItsOwn(segment)) {
      throw new CorruptionError(`${segment.name}: the header is damaged, and it was in use`);
    }
    this.unused.push(segment.name);
  }

  #checkPlace(segment: SegmentContent, header: SegmentHeader): void {
    const { name } = segment;
    const previous = this.segments.at(-1);
    if (this.unused.length > 0) {
      throw new CorruptionError(`${this.unused[0]} lies before ${name} and its header is damaged or missing`);
    }
    if (previous === undefined) {
      this.nextSequence = header.firstSequence;
      return;
    }
    if (header.number !== previous.header.number + 1) {
      throw new CorruptionError(`the segment between ${previous.name} and ${name} is missing`);
    }
    if (header.firstSequence !== this.nextSequence) {
      throw new CorruptionError(
        `${previous.name} is damaged at byte ${previous.end}: record ${this.nextSequence} is not readable, ` +
          `but ${name} was begun after it with record ${header.firstSequence}`,
      );
    }
  }

  #scan(segment: SegmentContent, header: SegmentHeader): void {
    const { name, content } = segment;
    let offset = SEGMENT_HEADER_BYTES;
    for (;;) {
      const record = readRecord(segment, offset, header.seed);
      if (record === 'empty' || record === 'bad' || record.sequence !== this.nextSequence) break;
      this.#visit(record, { segment: header, offset });
      this.nextSequence++;
      offset = record.end;
    }
    const tornTail = !isZero(content, offset);
    if (tornTail) this.#refuseIfDurable(segment, header, offset);
    if (offset === SEGMENT_HEADER_BYTES) {
      // Torn at its first write, behind the header: without its first record the log could never begin with it.
      this.unused.push(name);
      return;
    }
    this.segments.push({ name, header, bytes: content.length, end: offset, tornTail });
  }

  #refuseIfDurable(segment: SegmentContent, header: SegmentHeader, end: number): void {
    for (let offset = end + 8; offset < segment.content.length; offset += 8) {
      if (segment.content[offset] === 0) continue;
      const record = readRecord(segment, offset, header.seed);
      if (record === 'empty' || record === 'bad' || record.sequence <= this.nextSequence) continue;
      throw new CorruptionError(
        `${segment.name} is damaged at byte ${end}: record ${this.nextSequence} is not readable, but record ` +
          `${record.sequence} at byte ${offset}, which was written when ${this.nextSequence} was durable, is`,
      );
    }
  }
}

function readRecord(segment: SegmentContent, offset: number, seed: number): WalRecord | 'empty' | 'bad' {
  try {
    return decodeRecord(segment.content, offset, seed);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    throw new CorruptionError(
      `${segment.name}: the record at byte ${offset} has a good checksum and bad content`,
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

/** Builds each group's log from the items of its records, in their order. */
export class LogRebuilder {
  readonly groups = new Map<GroupId, GroupLog>();
  readonly #appliedIndexOf: (group: GroupId) => number;

  /** `appliedIndexOf` tells up to where the checkpoint has each group's entries: those are not kept in memory. */
  constructor(appliedIndexOf: (group: GroupId) => number) {
    this.#appliedIndexOf = appliedIndexOf;
  }

  take(item: WalItem): void {
    let log = this.groups.get(item.group);
    if (log === undefined) {
      log = new GroupLog(this.#appliedIndexOf(item.group));
      this.groups.set(item.group, log);
    }
    log.take(item);
  }
}

class GroupLog {
  hardState: HardState = { term: 0, votedFor: 0 };
  readonly #appliedIndex: number;
  #compacted = { index: 0, term: 0 };
  #begun = false;
  /** The log cannot begin here: what the segment's first record told of was replaced. It begins with a later one. */
  #replaced = false;
  #lastIndex = 0;
  #runs: { from: number; term: number }[] = [];
  #entries: Entry[] = [];

  constructor(appliedIndex: number) {
    this.#appliedIndex = appliedIndex;
  }

  take(item: WalItem): void {
    if (item.type === 'hardState') {
      this.hardState = item.hardState;
    } else if (item.type === 'logEnd') {
      this.#logEnd(item.lastIndex, item.lastTerm);
    } else {
      this.#append(item.from, item.entries);
    }
    this.#begun = true;
  }

  /** At the beginning of the oldest segment it tells where the log begins; later ones repeat what is known. */
  #logEnd(lastIndex: number, lastTerm: number): void {
    if (!this.#begun || this.#replaced) {
      this.#compacted = { index: lastIndex, term: lastTerm };
      this.#lastIndex = lastIndex;
      this.#runs = [];
      this.#entries = [];
      this.#replaced = false;
    } else if (lastIndex !== this.#lastIndex || lastTerm !== this.#lastTerm) {
      throw new CorruptionError(`the log was at ${lastIndex}, but its records lead to ${this.#lastIndex}`);
    }
  }

  get #lastTerm(): number {
    return this.#runs.at(-1)?.term ?? this.#compacted.term;
  }

  #append(from: number, entries: readonly Entry[]): void {
    // Only compaction makes a segment the first, and it lets none be that in which this happens: it was interrupted.
    if (from <= this.#compacted.index) this.#replaced = true;
    if (this.#replaced) return;
    if (from > this.#lastIndex + 1) {
      throw new CorruptionError(
        `entries from ${from} on do not join the log, which runs from ${this.#compacted.index} to ${this.#lastIndex}`,
      );
    }
    while (this.#runs.length > 0 && this.#runs.at(-1)!.from >= from) this.#runs.pop();
    while (this.#entries.length > 0 && this.#entries.at(-1)!.index >= from) this.#entries.pop();
    for (const entry of entries) {
      if (entry.term !== this.#lastTerm || this.#runs.length === 0) {
        this.#runs.push({ from: entry.index, term: entry.term });
      }
      // A copy, or one entry would keep the whole segment in memory.
      if (entry.index > this.#appliedIndex)
        this.#entries.push({ ...entry, data: Uint8Array.from(entry.data) });
      this.#lastIndex = entry.index;
    }
  }

  finish(): RecoveredGroup {
    if (this.#lastIndex < this.#appliedIndex) {
      throw new CorruptionError(
        `the log ends at ${this.#lastIndex}, but the store holds the state after entry ${this.#appliedIndex}: ` +
          'one of the two is of another time or place',
      );
    }
    const { index: compactedIndex, term: compactedTerm } = this.#compacted;
    if (compactedIndex > this.#appliedIndex || this.#replaced) {
      throw new CorruptionError(
        `the log begins behind entry ${compactedIndex}, but the store holds the state after entry ` +
          `${this.#appliedIndex}: segments are missing, or the store is of another time or place`,
      );
    }
    const { hardState } = this;
    const log = { compactedIndex, compactedTerm, termRuns: this.#runs, lastIndex: this.#lastIndex };
    return { hardState, log: { ...log, appliedIndex: this.#appliedIndex, entries: this.#entries } };
  }
}
