/**
 * Every timeout and bound of the consensus core, with its unit in its name, and the relations between them that the
 * code relies on. Values after etcd/raft and TiKV; a small profile for the simulator makes the edges common.
 */
import { assert } from '../lib/assert.ts';

export interface RaftLimits {
  /** A follower that hears no leader for this long, to twice this long (at random), asks for an election. (§5.2) */
  readonly electionTimeoutMs: number;
  readonly heartbeatIntervalMs: number;
  /** Entries in one AppendEntries stop at this many bytes; one larger entry goes alone. */
  readonly appendBytesMax: number;
  /** AppendEntries on the way to one follower, not yet acknowledged. */
  readonly inflightMessagesMax: number;
  readonly inflightBytesMax: number;
  /** Entries of the leader that are not committed; over it, proposals are refused until the followers catch up. */
  readonly uncommittedBytesMax: number;
  /** Committed entries handed to the state machine at once. */
  readonly applyBytesMax: number;
  /** Entries kept in memory behind the applied index, for followers that lag a little; older ones come from the disk. */
  readonly logMemoryBytesMax: number;
}

export const DEFAULT_LIMITS: RaftLimits = {
  electionTimeoutMs: 1000,
  heartbeatIntervalMs: 100,
  appendBytesMax: 256 << 10,
  inflightMessagesMax: 256,
  inflightBytesMax: 16 << 20,
  uncommittedBytesMax: 64 << 20,
  applyBytesMax: 4 << 20,
  logMemoryBytesMax: 32 << 20,
};

/** Bytes an entry is counted as besides its data, so that empty entries too fill a bound. */
export const ENTRY_OVERHEAD_BYTES = 32;

export function checkLimits(limits: RaftLimits): void {
  for (const [name, value] of Object.entries(limits)) {
    assert(Number.isSafeInteger(value) && value > 0, 'a limit is a whole number above zero', name, value);
  }
  assert(
    limits.heartbeatIntervalMs * 3 <= limits.electionTimeoutMs,
    'a follower misses three heartbeats before it suspects the leader',
    limits.heartbeatIntervalMs,
    limits.electionTimeoutMs,
  );
  assert(
    limits.appendBytesMax <= limits.inflightBytesMax,
    'the window holds at least one full message',
    limits.appendBytesMax,
    limits.inflightBytesMax,
  );
}
