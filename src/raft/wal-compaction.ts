/**
 * Which segments of the write-ahead log may go.
 *
 * Never one that the server itself still needs: entries that are not in a checkpoint, or that follow a snapshot which is
 * being sent. What only a member that lags still needs stays while the log is of bounded size, since sending the rest of
 * a log costs less than sending a snapshot; over the bound it goes, oldest first, and that member gets a snapshot.
 *
 * Whole segments go, and one can be the first only if the log can begin with it for every group (`LogEnds`).
 */
import { assert } from '../lib/assert.ts';
import type { GroupId } from './types.ts';
import { REPLACED, type Segment } from './wal-segments.ts';

/** Up to which entry a group's log is needed no more, by whom. */
export interface CompactionNeeds {
  /** By a restart: the store has it. */
  readonly checkpointedIndex: number;
  /** By the members: every one has it. */
  readonly matchedIndex: number;
  /** By a member that is being sent a snapshot: the snapshot has it. Infinity when none is. */
  readonly heldIndex: number;
}

/**
 * How many of the oldest segments may go. `bytes`: of the log as a whole; over `keepBytes`, members that lag are left
 * behind.
 */
export function countUnneeded(
  segments: readonly Segment[],
  needs: ReadonlyMap<GroupId, CompactionNeeds>,
  { bytes, keepBytes }: { bytes: number; keepBytes: number },
): number {
  let unneeded = 0;
  let bytesLeft = bytes;
  let bytesBefore = 0;
  for (let first = 1; first < segments.length; first++) {
    const oldest = segments[first - 1]!;
    // It is being read: who reads it must find the rest too.
    if (oldest.readsUnderWay > 0) break;
    bytesBefore += oldest.file.bytes;
    if (!segments[first]!.begun) break;
    const needed = (need: (of: CompactionNeeds) => number) => isNeeded(segments, first, needs, need);
    if (needed(({ checkpointedIndex, heldIndex }) => Math.min(checkpointedIndex, heldIndex))) continue;
    if (needed(({ matchedIndex }) => matchedIndex) && bytesLeft <= keepBytes) continue;
    unneeded = first;
    bytesLeft = bytes - bytesBefore;
  }
  return unneeded;
}

/** Whether some group would miss an entry, of those that it needs, if the log began with segment number `first`. */
function isNeeded(
  segments: readonly Segment[],
  first: number,
  needs: ReadonlyMap<GroupId, CompactionNeeds>,
  need: (of: CompactionNeeds) => number,
): boolean {
  for (const [group, of] of needs) {
    const beginNow = segments[0]!.logEnds.get(group) ?? 0;
    assert(beginNow !== REPLACED, 'the log can begin where it does', group);
    const begin = segments[first]!.logEnds.get(group) ?? 0;
    // What is gone already nobody can miss.
    if (begin > Math.max(need(of), beginNow)) return true;
  }
  return false;
}
