/**
 * What must hold of the members of a group, whatever happens: configurations follow each other by the rules of joint
 * consensus (§6 of the paper), an id is never used twice, only voters are counted, and who was removed never leads.
 */
import { assert } from '../../src/lib/assert.ts';
import {
  type Configuration,
  decodeConfiguration,
  encodeConfiguration,
} from '../../src/raft/configuration.ts';
import type { ConfigurationAt } from '../../src/raft/configuration-log.ts';
import type { Entry, NodeId } from '../../src/raft/types.ts';
import type { Cluster, SimServer } from './cluster.ts';

interface Committed {
  readonly configuration: Configuration;
  readonly bytes: string;
}

export class ConfigurationInvariants {
  readonly #cluster: Cluster;
  /** By the index of its entry. */
  readonly #committed = new Map<number, Committed>();
  /** Indexes of `#committed`, in order. */
  readonly #indexes: number[] = [];
  readonly #removed = new Set<NodeId>();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** Committed ones, the founding one left out. */
  get count(): number {
    return this.#indexes.length;
  }

  /** The last that is known to be committed. */
  get last(): ConfigurationAt {
    const index = this.#indexes.at(-1);
    if (index === undefined) return { index: 0, configuration: this.#cluster.founding };
    return { index, configuration: this.#committed.get(index)!.configuration };
  }

  isRemoved(id: NodeId): boolean {
    return this.#removed.has(id);
  }

  /** A server knows that this entry is committed. */
  committed(entry: Entry): void {
    if (entry.type === 'configuration') this.#take(entry.index, decodeConfiguration(entry.data));
  }

  /** The configuration that a server's state was applied with. */
  applied({ index, configuration }: ConfigurationAt): void {
    if (index > 0) this.#take(index, configuration);
  }

  #take(index: number, configuration: Configuration): void {
    const bytes = Buffer.from(encodeConfiguration(configuration)).toString('latin1');
    const known = this.#committed.get(index);
    assert(known === undefined || known.bytes === bytes, 'configurations are equal at equal index', index);
    if (known !== undefined) return;
    const before = this.last;
    assert(index > before.index, 'no configuration was passed over', index);
    this.#committed.set(index, { configuration, bytes });
    this.#indexes.push(index);
    checkStep(before.configuration, configuration, index);
    for (const id of configuration.removed) this.#removed.add(id);
    for (const { id } of configuration.members) {
      assert(!this.#removed.has(id), 'an id is never used again', id, index);
    }
  }

  /**
   * A majority of each side has voted for it, itself included. Who was removed may be elected only as long as it does not
   * know that this is committed: it might be the only one who has the entry (thesis 4.2.2).
   */
  elected(leader: SimServer, hasVoted: (voter: NodeId) => boolean): void {
    const { configuration, term, log } = leader.replica!.raft;
    const knows = log.configuration.index <= log.commitIndex;
    assert(!this.isRemoved(leader.id) || !knows, 'who knows that it was removed is not elected', leader.id);
    assert(
      majorities(configuration, hasVoted),
      'a leader has the votes of a majority of the voters',
      `leader ${leader.id} of term ${term}, voters ${configuration.voters.join(' ')}`,
    );
  }

  /** `knownCommit`: what any server knows to be committed. */
  checkPending(leader: SimServer, knownCommit: number): void {
    const { log } = leader.replica!.raft;
    const from = Math.max(knownCommit, log.compactedIndex) + 1;
    if (from > log.lastIndex) return;
    const pending = (log.slice(from, Number.MAX_SAFE_INTEGER) ?? []).filter(
      ({ type }) => type === 'configuration',
    );
    assert(
      pending.length <= 1,
      'one change of the members is under way at a time',
      leader.id,
      pending.length,
    );
    const { term } = leader.replica!.raft;
    if (pending[0]?.term !== term) return;
    assert(
      log.termAt(log.commitIndex) === term,
      'a leader changes the members when an entry of its term is committed (Ongaro, 2015)',
      `leader ${leader.id} of term ${term}, entry ${pending[0].index}, commit ${log.commitIndex}`,
    );
  }

  /**
   * What a leader commits is on the disks of a majority of each side; of a server that is down nobody knows. `before`: the
   * configuration that it had before this event, which may have begun a change after it had counted.
   */
  checkCounted(leader: SimServer, index: number, before: Configuration): void {
    const { raft } = leader.replica!;
    const term = raft.log.termAt(index);
    const mayHave = (id: NodeId) => {
      const log = this.#find(id)?.replica?.raft.log;
      if (log === undefined || log.compactedIndex >= index) return true;
      return log.stableIndex >= index && log.termAt(index) === term;
    };
    assert(
      majorities(raft.configuration, mayHave) || majorities(before, mayHave),
      'what is committed is on the disks of a majority of the voters',
      `leader ${leader.id}, index ${index}, voters ${raft.configuration.voters.join(' ')}`,
    );
  }

  #find(id: NodeId): SimServer | undefined {
    return this.#cluster.servers.find((server) => server.id === id);
  }
}

/** Of the old voters and of the new ones, counted here by their roles alone. */
function majorities(configuration: Configuration, isSo: (voter: NodeId) => boolean): boolean {
  const sides = [sideOf(configuration, 'voter', 'outgoing'), sideOf(configuration, 'voter', 'incoming')];
  return sides.every((side) => side.filter(isSo).length > side.length / 2);
}

function checkStep(before: Configuration, after: Configuration, index: number): void {
  if (before.joint) {
    const expected = encodeConfiguration(before.afterJoint());
    const is = encodeConfiguration(after);
    assert(Buffer.compare(expected, is) === 0, 'what follows C_old,new is C_new', index);
    return;
  }
  const [wasVoter, isOld, isNew] = [
    sideOf(before, 'voter'),
    sideOf(after, 'voter', 'outgoing'),
    sideOf(after, 'voter', 'incoming'),
  ];
  assert(
    wasVoter.join() === isOld.join(),
    'C_old,new has all of C_old',
    index,
    wasVoter.join(),
    isOld.join(),
  );
  const gone = isOld.filter((id) => !isNew.includes(id)).length;
  const come = isNew.filter((id) => !isOld.includes(id)).length;
  assert(gone + come <= 1, 'voters change one at a time', index, gone, come);
}

function sideOf({ members }: Configuration, ...roles: string[]): NodeId[] {
  return members
    .filter(({ role }) => roles.includes(role))
    .map(({ id }) => id)
    .sort((a, b) => a - b);
}
