/**
 * What the write-ahead log remembers of each group from the records it has written or read: the hard state and the end
 * of the log, which the next segment repeats; where to read entries back; and with which segments the log could begin.
 */
import type { GroupId, HardState } from './types.ts';
import type { CompactionNeeds } from './wal-compaction.ts';
import type { WalItem } from './wal-format.ts';
import { type Extent, ReadPoints } from './wal-read.ts';
import { type LogEnds, REPLACED } from './wal-segments.ts';

/** Where the record of an item lies, and its number. */
export interface RecordPlace {
  readonly segment: number;
  readonly offset: number;
  readonly end: number;
  readonly sequence: number;
}

interface GroupState {
  hardState: HardState;
  lastIndex: number;
  lastTerm: number;
  needs: CompactionNeeds;
  readonly points: ReadPoints;
}

const NEEDS_ALL: CompactionNeeds = {
  checkpointedIndex: 0,
  matchedIndex: 0,
  heldIndex: Number.POSITIVE_INFINITY,
};

export class WalGroups {
  readonly #groups = new Map<GroupId, GroupState>();
  readonly #logEnds = new Map<number, LogEnds>();

  get count(): number {
    return this.#groups.size;
  }

  /** The needs of every group; all of its log, where they were never told. */
  get needs(): ReadonlyMap<GroupId, CompactionNeeds> {
    return new Map([...this.#groups].map(([group, { needs }]) => [group, needs]));
  }

  /** False for a group of which nothing was ever written. */
  setNeeds(group: GroupId, needs: CompactionNeeds): boolean {
    const state = this.#groups.get(group);
    if (state !== undefined) state.needs = needs;
    return state !== undefined;
  }

  /** What a record on its way to the disk changes, or one that was read from there has changed. */
  note(item: WalItem, place: RecordPlace): void {
    const state = this.#group(item.group);
    switch (item.type) {
      case 'hardState':
        state.hardState = item.hardState;
        return;
      case 'logEnd':
        this.logEndsOf(place.segment).set(item.group, item.lastIndex);
        state.lastIndex = item.lastIndex;
        state.lastTerm = item.lastTerm;
        return;
      case 'snapshot':
        state.points.clear();
        state.lastIndex = item.index;
        state.lastTerm = item.term;
        return;
      case 'entries': {
        const last = item.entries.at(-1)!;
        state.points.add({ from: item.from, last: last.index, ...place });
        for (const logEnds of this.#logEnds.values()) {
          if ((logEnds.get(item.group) ?? 0) >= item.from) logEnds.set(item.group, REPLACED);
        }
        state.lastIndex = last.index;
        state.lastTerm = last.term;
        return;
      }
    }
  }

  /**
   * Items that are durable now. With whatever segment the log may begin, the log of a group that a snapshot has replaced
   * begins behind that; not before it is durable, for a crash must find what it replaces as whole as it was.
   */
  durable(items: readonly WalItem[]): void {
    for (const item of items) {
      if (item.type !== 'snapshot') continue;
      for (const logEnds of this.#logEnds.values()) logEnds.set(item.group, item.index);
    }
  }

  /** The items of the first record of a segment, noted as such. */
  beginSegment(segment: number): WalItem[] {
    const items: WalItem[] = [];
    const logEnds = this.logEndsOf(segment);
    for (const [group, { lastIndex, lastTerm, hardState }] of this.#groups) {
      logEnds.set(group, lastIndex);
      items.push({ type: 'logEnd', group, lastIndex, lastTerm }, { type: 'hardState', group, hardState });
    }
    return items;
  }

  /** The live row of a segment. */
  logEndsOf(segment: number): LogEnds {
    const logEnds = this.#logEnds.get(segment) ?? new Map<GroupId, number>();
    this.#logEnds.set(segment, logEnds);
    return logEnds;
  }

  dropSegment(segment: number): void {
    this.#logEnds.delete(segment);
    for (const state of this.#groups.values()) state.points.dropSegment(segment);
  }

  /** Where to read to find the group's entry `from`. */
  extentOf(group: GroupId, from: number): Extent | undefined {
    return this.#groups.get(group)?.points.extentOf(from);
  }

  #group(group: GroupId): GroupState {
    let state = this.#groups.get(group);
    if (state === undefined) {
      const hardState = { term: 0, votedFor: 0 };
      state = { hardState, lastIndex: 0, lastTerm: 0, needs: NEEDS_ALL, points: new ReadPoints() };
      this.#groups.set(group, state);
    }
    return state;
  }
}
