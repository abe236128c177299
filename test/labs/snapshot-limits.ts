/**
 * How the labs' limits on the log map onto ours.
 *
 * The labs keep Raft's state as one blob, of at most twice `maxraftstate` = 1000 bytes, and a test that finds 2000 bytes or
 * more fails. Ours is a row of files of fixed size, made in advance, the smallest of one page; entries leave it a whole
 * file at a time. So what is measured is the files, of one page each, with nothing kept for members that lag: the one being
 * written, the one made in advance, and those that hold what the last checkpoint does not have yet: up to ten entries, with
 * whatever so many clients write at once, and what came while it was written.
 */
import { expect } from 'vitest';
import type { Cluster, ClusterOptions } from '../sim/cluster.ts';

const SEGMENT_BYTES = 4 << 10;
const SEGMENTS_MAX = 8;
/** "Snapshot every 10 entries". */
const SNAPSHOT_INTERVAL = 10;

export const SNAPSHOTS_OFTEN: Partial<ClusterOptions> = {
  walSegmentBytes: SEGMENT_BYTES,
  walKeepBytes: SEGMENT_BYTES,
  checkpoints: { dirtyBytesMax: 1 << 20, entriesMax: SNAPSHOT_INTERVAL, intervalMs: 10_000 },
};

function logBytes(cluster: Cluster): number {
  const sizes = cluster.servers.map(({ disk }) =>
    [...disk.files.values()].reduce((sum, { length }) => sum + length, 0),
  );
  return Math.max(...sizes);
}

export function checkLogBytes(cluster: Cluster, segmentsMax = SEGMENTS_MAX): void {
  expect(logBytes(cluster), 'bytes of the largest log').toBeLessThanOrEqual(segmentsMax * SEGMENT_BYTES);
}
