/**
 * Planted bugs in snapshots, their install, and compaction (§7 of the paper).
 */
import { Sessions } from '../../src/kv/sessions.ts';
import { ChunkDecoder } from '../../src/kv/snapshot-format.ts';
import { SnapshotReader } from '../../src/kv/snapshot-reader.ts';
import { SnapshotWriter } from '../../src/kv/snapshot-writer.ts';
import { StateSum } from '../../src/kv/state-sum.ts';
import type { ByteReader } from '../../src/lib/bytes.ts';
import type { Store } from '../../src/lib/env.ts';
import { RaftHost } from '../../src/raft/host.ts';
import { RaftLog } from '../../src/raft/log.ts';
import { Wal } from '../../src/raft/wal.ts';
import type { CompactionNeeds } from '../../src/raft/wal-compaction.ts';
import { Snapshots } from '../../src/server/snapshots.ts';
import { GROUP } from './cluster.ts';
import { type PlantedBug, replace } from './planting.ts';
import { SimStore } from './store.ts';

function all(...undos: (() => void)[]): () => void {
  return () => {
    for (const undo of undos) undo();
  };
}

/** What came is not compared with what was sent: other bugs of snapshots are seldom found behind that. */
function unverified(): () => void {
  return replace(StateSum.prototype, 'differences', { value: () => [] });
}

function compactWith(change: (needs: CompactionNeeds) => CompactionNeeds): () => void {
  const { compact } = Wal.prototype;
  return replace(Wal.prototype, 'compact', {
    value(this: Wal, group: number, needs: CompactionNeeds) {
      return compact.call(this, group, change(needs));
    },
  });
}

/** What is written while a snapshot is sent is kept for nobody: the next one is needed when it has arrived. */
export function holdNothing(): () => void {
  return compactWith((needs) => ({ ...needs, heldIndex: Number.POSITIVE_INFINITY }));
}

/** The pointer and the meta record as they were, the data as they are now. */
function looseSnapshots(): () => void {
  const { open } = SimStore.prototype;
  return replace(SimStore.prototype, 'open', {
    value(this: SimStore, life: Parameters<typeof open>[0]): Store {
      const store = open.call(this, life);
      const snapshot = () => {
        const view = store.snapshot();
        const range: Store['range'] = (wanted, done) =>
          wanted.limit === 1 ? view.range(wanted, done) : store.range(wanted, done);
        return { range, close: () => view.close() };
      };
      return { ...store, snapshot };
    },
  });
}

/** Before the store is flipped, the log on the disk is made to begin behind the snapshot. */
function resetLogFirst(): () => void {
  const { flip } = SnapshotWriter.prototype;
  const { suspend, snapshotEnded } = RaftHost.prototype;
  const { compact } = Wal.prototype;
  let last: Wal | undefined;
  /** Of the servers that are about to flip. */
  const wals: Wal[] = [];
  return all(
    replace(SnapshotWriter.prototype, 'flip', {
      value(this: SnapshotWriter, done: (error: Error | null) => void) {
        const { index, term } = this;
        const save = { token: 0, hardState: undefined, truncateFrom: undefined, entries: [] };
        wals.shift()!.save(GROUP, { ...save, snapshot: { index, term } }, () => flip.call(this, done));
      },
    }),
    replace(Wal.prototype, 'compact', {
      value(this: Wal, group: number, needs: CompactionNeeds) {
        last = this;
        return compact.call(this, group, needs);
      },
    }),
    replace(RaftHost.prototype, 'suspend', {
      value(this: RaftHost, group: number) {
        const suspended = suspend.call(this, group);
        // Has the host's log compact, which shows which one it is.
        snapshotEnded.call(this, group, 0, undefined);
        if (suspended) wals.push(last!);
        return suspended;
      },
    }),
  );
}

export const SNAPSHOT_BUGS: readonly PlantedBug[] = [
  {
    name: 'installs a snapshot that is older than what it knows to be committed',
    source: 'camunda issue 14367',
    plant: () => replace(Snapshots.prototype, 'isNeeded', { value: () => true }),
  },
  {
    name: 'keeps its old log on the disk after an install',
    source: 'redisraft issues 42 and 51',
    plant: () => replace(RaftLog.prototype, 'takeUnsavedSnapshot', { value: () => undefined }),
  },
  {
    name: 'sends the meta record of one view of the store with the data of another',
    source: 'the rule of snapshot-reader.ts',
    plant: () => all(looseSnapshots(), unverified()),
  },
  {
    name: 'forgets sessions in a snapshot and at a restart',
    source: 'Raft thesis 6.3: the table is part of the snapshot',
    plant: () => {
      const { decode } = Sessions.prototype;
      return replace(Sessions.prototype, 'decode', {
        value(this: Sessions, reader: ByteReader) {
          decode.call(new Sessions(), reader);
        },
      });
    },
  },
  {
    name: 'loses an entry between two chunks of a snapshot, and does not verify what came',
    source: 'a transfer gone on with one entry too far',
    plant: () => {
      const { take } = ChunkDecoder.prototype;
      return all(
        unverified(),
        replace(ChunkDecoder.prototype, 'take', {
          value(this: ChunkDecoder, chunk: Uint8Array) {
            return take.call(this, chunk).slice(1);
          },
        }),
      );
    },
  },
  {
    name: 'takes a snapshot for whole when its transfer breaks',
    source: 'hashicorp/raft: a snapshot is length-checked',
    fromSeed: 18,
    plant: () => {
      const { next } = SnapshotReader.prototype;
      const begun = new WeakSet<SnapshotReader>();
      return all(
        unverified(),
        replace(SnapshotReader.prototype, 'next', {
          value(this: SnapshotReader, done: Parameters<typeof next>[0]) {
            next.call(this, (error, chunk) => {
              if (error !== null || !begun.has(this)) {
                begun.add(this);
                return done(error, chunk);
              }
              done(null, undefined);
            });
          },
        }),
      );
    },
  },
  {
    name: 'compacts past what the store has',
    source: 'etcd issue 13766',
    fromSeed: 16,
    plant: () => compactWith((needs) => ({ ...needs, checkpointedIndex: Number.POSITIVE_INFINITY })),
  },
  {
    name: 'resets its log before the store has the snapshot',
    source: 'redisraft issue 654, tikv issue 12470',
    fromSeed: 70,
    plant: resetLogFirst,
  },
];
