/**
 * Planted bugs in changes of the members (§6 of the paper, chapter 4 of the thesis).
 */

import { KvStateMachine } from '../../src/kv/state-machine.ts';
import { Configuration } from '../../src/raft/configuration.ts';
import { ConfigurationLog } from '../../src/raft/configuration-log.ts';
import { Leader } from '../../src/raft/leader.ts';
import { Quorum } from '../../src/raft/quorum.ts';
import { type PlantedBug, replace } from './planting.ts';

type Reached = Parameters<Configuration['reachedByMajority']>[0];

/** Decides by one majority of those who are given. */
function decideBy(idsOf: (configuration: Configuration) => readonly number[]): () => void {
  const quorumOf = (configuration: Configuration) => {
    const ids = idsOf(configuration);
    return ids.length === 0 ? undefined : new Quorum(ids);
  };
  const undo = replace(Configuration.prototype, 'reachedByMajority', {
    value(this: Configuration, reached: Reached) {
      return quorumOf(this)?.reachedByMajority(reached) ?? 0;
    },
  });
  const undoToo = replace(Configuration.prototype, 'hasMajority', {
    value(this: Configuration, isSo: (voter: number) => boolean) {
      return quorumOf(this)?.hasMajority(isSo) ?? false;
    },
  });
  return () => {
    undo();
    undoToo();
  };
}

export const MEMBERSHIP_BUGS: readonly PlantedBug[] = [
  {
    name: 'decides in a joint configuration by the new majority alone',
    source: 'Raft §6: separate majorities of the old and the new configuration',
    plant: () =>
      decideBy(({ members }) =>
        members.filter(({ role }) => role === 'voter' || role === 'incoming').map(({ id }) => id),
      ),
  },
  {
    name: 'decides in a joint configuration by one majority of all',
    source: 'Raft §6: separate majorities of the old and the new configuration',
    plant: () => decideBy(({ voters }) => voters),
  },
  {
    name: 'counts learners for commitment',
    source: 'Raft thesis 4.2.1: a new server is not counted towards majorities',
    plant: () =>
      replace(Configuration.prototype, 'reachedByMajority', {
        value(this: Configuration, reached: Reached) {
          return this.members.length === 0
            ? 0
            : new Quorum(this.members.map(({ id }) => id)).reachedByMajority(reached);
        },
      }),
  },
  {
    name: 'begins a change while another is under way',
    source: 'Raft thesis 4.1: one change at a time',
    plant: () => {
      const { after } = Configuration.prototype;
      const undo = replace(Leader.prototype, 'changePending', { get: () => false });
      const undoToo = replace(Configuration.prototype, 'after', {
        value(this: Configuration, change: Parameters<typeof after>[0]) {
          return this.joint ? 'already' : after.call(this, change);
        },
      });
      return () => {
        undo();
        undoToo();
      };
    },
  },
  {
    name: 'begins a change before an entry of its own term is committed',
    source: 'Ongaro, raft-dev 2015: bug in single-server membership changes',
    plant: () => {
      const { changeMembers } = Leader.prototype;
      return replace(Leader.prototype, 'changeMembers', {
        value(this: Leader, change: Parameters<typeof changeMembers>[0]) {
          const undo = replace(Leader.prototype, 'commitIsCurrent', { get: () => true });
          try {
            return changeMembers.call(this, change);
          } finally {
            undo();
          }
        },
      });
    },
  },
  {
    name: 'keeps a configuration whose entry is truncated',
    source: 'etcd, hashicorp/raft: configuration is rolled back with the log',
    fromSeed: 38,
    plant: () => replace(ConfigurationLog.prototype, 'truncatedFrom', { value: () => {} }),
  },
  {
    name: 'goes on leading when it is removed',
    source: 'Raft §6: the leader steps down once it has committed C_new',
    plant: () => replace(Leader.prototype, 'isRemoved', { get: () => false }),
  },
  {
    name: 'forgets the configuration at a restart and in a snapshot',
    source: 'redisraft issue 48',
    plant: () =>
      replace(KvStateMachine.prototype, 'configuration', {
        get: () => ({ index: 0, data: new Uint8Array() }),
      }),
  },
];
