/**
 * Known bugs of consensus implementations, to be planted into the real code, so that the simulator itself is tested: it
 * must find each of them. A bug replaces one method; `plant` returns what takes it out again.
 */
import { Leader } from '../../src/raft/leader.ts';
import { RaftLog } from '../../src/raft/log.ts';
import { Quorum } from '../../src/raft/quorum.ts';
import { Raft } from '../../src/raft/raft.ts';
import type { Ready } from '../../src/raft/ready.ts';
import { NOBODY } from '../../src/raft/types.ts';
import { LogRebuilder } from '../../src/raft/wal-rebuild.ts';
import { Writes } from '../../src/server/writes.ts';
import { MEMBERSHIP_BUGS } from './planted-membership-bugs.ts';
import { SERVICE_BUGS } from './planted-service-bugs.ts';
import { SNAPSHOT_BUGS } from './planted-snapshot-bugs.ts';
import { type PlantedBug, replace } from './planting.ts';

function replaceReady(change: (ready: Ready) => Ready): () => void {
  const { ready } = Raft.prototype;
  return replace(Raft.prototype, 'ready', {
    value(this: Raft) {
      return change(ready.call(this));
    },
  });
}

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: 'acknowledges before its disk has the entries',
    source: 'etcd issue 14370',
    plant: () =>
      replaceReady((ready) => ({
        ...ready,
        messages: [...ready.messages, ...ready.messagesAfterSave],
        messagesAfterSave: [],
      })),
  },
  {
    name: 'counts its own log before its disk has it',
    source: 'etcd issue 14370',
    fromSeed: 18,
    plant: () =>
      replace(RaftLog.prototype, 'stableIndex', {
        get(this: RaftLog) {
          return this.lastIndex;
        },
      }),
  },
  {
    name: 'commits with one server less than a majority',
    source: 'Raft §5.3',
    plant: () =>
      replace(Quorum.prototype, 'reachedByMajority', {
        value(this: Quorum, reached: (voter: number) => number) {
          const numbers = this.voters.map(reached).sort((a, b) => b - a);
          return numbers[Math.max(0, this.majority - 2)]!;
        },
      }),
  },
  {
    name: 'votes without looking at the log',
    source: 'Raft §5.4.1',
    plant: () => replace(RaftLog.prototype, 'isUpToDate', { value: () => true }),
  },
  {
    name: 'forgets its vote in a crash',
    source: 'hashicorp/raft issue 661',
    fromSeed: 50,
    plant: () =>
      replaceReady((ready) => {
        if (ready.save?.hardState === undefined) return ready;
        const hardState = { ...ready.save.hardState, votedFor: NOBODY };
        return { ...ready, save: { ...ready.save, hardState } };
      }),
  },
  {
    name: 'lets a late AppendEntries cut off what was acknowledged',
    source: 'willemt/raft issue 37',
    plant: () => {
      const { merge } = RaftLog.prototype;
      return replace(RaftLog.prototype, 'merge', {
        value(this: RaftLog, entries: Parameters<typeof merge>[0]) {
          merge.call(this, entries);
          const last = entries.at(-1)?.index;
          if (last !== undefined && last < this.lastIndex && last >= this.commitIndex)
            this.truncateFrom(last + 1);
        },
      });
    },
  },
  {
    name: 'reads without asking the others whether it still leads',
    source: 'etcd issue 741',
    fromSeed: 16,
    // A leader that steps down when it hears no majority hides the bug nearly always, so that goes too.
    plant: () => {
      const undo = replace(Leader.prototype, 'hearsMajority', { value: () => true });
      const undoToo = replace(Leader.prototype, 'confirmedReads', {
        value(this: Leader) {
          return this.reads.confirm(this.reads.round);
        },
      });
      return () => {
        undo();
        undoToo();
      };
    },
  },
  {
    name: 'reads before an entry of its own term is committed',
    source: 'etcd issue 7331, redisraft issues 18 and 19',
    plant: () => replace(Leader.prototype, 'commitIsCurrent', { get: () => true }),
  },
  {
    name: 'reads before the replica has caught up',
    source: 'Raft thesis 6.4, step 4',
    fromSeed: 10,
    plant: () =>
      replaceReady((ready) => ({ ...ready, reads: ready.reads.map((read) => ({ ...read, index: 0 })) })),
  },
  {
    name: 'executes a write again that was sent again',
    source: 'redisraft issue 13',
    plant: () => {
      const { leaderChanged } = Writes.prototype;
      return replace(Writes.prototype, 'leaderChanged', {
        value(this: Writes, leaderId: number) {
          this.renumber();
          leaderChanged.call(this, leaderId);
        },
      });
    },
  },
  {
    name: 'does not read its vote back from the log',
    source: 'Raft figure 2, persistent state',
    fromSeed: 50,
    plant: () => {
      const { take } = LogRebuilder.prototype;
      return replace(LogRebuilder.prototype, 'take', {
        value(this: LogRebuilder, item: Parameters<typeof take>[0]) {
          if (item.type === 'hardState') {
            take.call(this, { ...item, hardState: { ...item.hardState, votedFor: NOBODY } });
          } else take.call(this, item);
        },
      });
    },
  },
  ...SERVICE_BUGS,
  ...SNAPSHOT_BUGS,
  ...MEMBERSHIP_BUGS,
];
