/**
 * A swarm of bare cores, in which everything happens by chance: members come and go, logs are cut off, snapshots are
 * late or lost, leadership moves, messages are lost, doubled and overtaken, servers crash. After every step the promises
 * of figure 3 of the paper are checked; at the end all is healed, and the group must come to rest with one leader.
 */
import { assert } from '../../src/lib/assert.ts';
import type { MembershipChange } from '../../src/raft/configuration.ts';
import { NOBODY } from '../../src/raft/types.ts';
import { SimRandom } from '../sim/random.ts';
import { type Core, Cores } from './cores.ts';

/** A snapshot on its way: the state of the sender at the time. */
interface Transfer {
  readonly from: number;
  readonly to: number;
  readonly state: Pick<Core, 'applied' | 'configuration'>;
}

export class Swarm {
  readonly cores = new Cores();
  /** How often each thing happened, to see that the swarm does what it is for. */
  readonly counts = new Map<string, number>();
  readonly #random: SimRandom;
  readonly #leaders = new Map<number, number>();
  /** The terms of all entries that were ever committed, from index 1. */
  readonly #committed: number[] = [];
  readonly #seen = new Map<Core, { raft: unknown; commitIndex: number; leads: boolean }>();
  #transfers: Transfer[] = [];
  #nextId: number;

  constructor(seed: number) {
    this.#random = new SimRandom(seed);
    const count = 1 + this.#random.below(5);
    const voters = Array.from({ length: count }, (_, i) => i + 1);
    for (const id of voters) this.#add(id, voters);
    this.#nextId = count + 1;
  }

  get ids(): number[] {
    return [...this.cores.cores.keys()];
  }

  #add(id: number, voters: readonly number[]): void {
    const limits = { inflightMessagesMax: 4, appendBytesMax: 150, uncommittedBytesMax: 2000 };
    this.cores.add({ id, voters, limits, random: this.#random.split() });
  }

  #count(name: string): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
  }

  /** A little time passes for everybody, more or less, and sometimes something happens. */
  step(): void {
    const random = this.#random;
    for (const id of this.ids) {
      if (random.chance(0.8)) this.cores.tick(id, random.below(40));
      for (let i = random.below(6); i > 0; i--) this.#deliver();
      if (random.chance(0.7)) this.#turn(id);
    }
    this.#event(random.pick(this.ids), random.below(100));
    this.#check();
  }

  #event(id: number, dice: number): void {
    if (dice < 30) this.#propose();
    else if (dice < 45) this.#change();
    else if (dice < 55) this.#endTransfer();
    else if (dice < 65) this.#compact(id);
    else if (dice < 71) this.#network(id);
    else if (dice < 74) this.#restart(id);
    else if (dice < 77) this.cores.raft(id).unreachable(this.#random.pick(this.ids));
    else if (dice < 80) this.#transfer();
  }

  #turn(id: number): void {
    const random = this.#random;
    this.cores.ready(id);
    if (random.chance(0.8)) while (this.cores.persist(id));
    if (random.chance(0.8)) this.cores.apply(id);
    for (const to of this.cores.snapshotsNeeded.splice(0)) {
      const { applied, configuration } = this.cores.core(id);
      this.#count('snapshots');
      this.#transfers.push({ from: id, to, state: { applied: [...applied], configuration } });
    }
  }

  #deliver(): void {
    const random = this.#random;
    const { transit } = this.cores;
    if (transit.length === 0) return;
    const message = random.chance(0.9) ? transit[0]! : random.pick(transit);
    if (random.chance(0.05)) {
      this.cores.step(message);
      return;
    }
    this.cores.deliver(message.to, (other) => other === message);
  }

  #leader(): number | undefined {
    const leaders = this.ids.filter((id) => this.cores.raft(id).role === 'leader');
    return leaders.length === 0 ? undefined : this.#random.pick(leaders);
  }

  #propose(): void {
    const leader = this.#leader();
    if (leader !== undefined) this.cores.propose(leader, 'x'.repeat(this.#random.below(60)));
  }

  #change(): void {
    const leader = this.#leader();
    if (leader === undefined) return;
    const { members, learners } = this.cores.raft(leader).configuration;
    const random = this.#random;
    const member = random.pick(members).id;
    let change: MembershipChange = { type: 'remove', id: member };
    if (members.length < 7 && random.chance(0.55)) {
      const id = this.#nextId++;
      this.#add(id, []);
      change = { type: 'add', id, description: `s${id}`, instead: learners[0] };
    } else if (random.chance(0.1))
      change = { type: 'describe', id: member, description: `${random.below(9)}` };
    const proposed = this.cores.changeMembers(leader, change);
    this.#count(proposed.accepted ? change.type : proposed.reason);
  }

  #transfer(): void {
    const leader = this.#leader();
    const to = this.#random.pick(this.ids);
    if (leader === undefined || leader === to) return;
    if (this.#random.chance(0.5)) this.cores.raft(leader).transferLeadership(to);
    else if (this.cores.raft(to).configuration.staysVoter(to)) this.cores.raft(to).requestLeadership();
  }

  #endTransfer(): void {
    const transfer = this.#transfers.shift();
    if (transfer === undefined) return;
    if (this.#random.chance(0.2)) this.cores.raft(transfer.from).snapshotEnded(transfer.to, undefined);
    else this.#install(transfer);
  }

  #install({ from, to, state }: Transfer): void {
    const core = this.cores.core(to);
    const { raft } = core;
    const { index, term } = state.applied.at(-1)!;
    if (raft.role !== 'follower' || raft.term < term) {
      this.cores.raft(from).snapshotEnded(to, undefined);
      return;
    }
    if (index > raft.log.commitIndex) {
      if (raft.log.matches(index, term) && raft.log.lastIndex > index)
        this.#count('installs that keep a tail');
      core.install(state);
      this.#count('installs');
    } else this.#count('stale snapshots');
    // A crash before the log on the disk begins anew.
    if (this.#random.chance(0.2)) this.#restart(to);
    this.cores.raft(from).snapshotEnded(to, this.#random.chance(0.9) ? index : undefined);
  }

  #compact(id: number): void {
    const { log } = this.cores.raft(id);
    const core = this.cores.core(id);
    if (log.appliedIndex <= log.compactedIndex || core.compacted.index !== log.compactedIndex) return;
    const index = log.compactedIndex + 1 + this.#random.below(log.appliedIndex - log.compactedIndex);
    if (index <= core.compacted.index + core.stable.length && core.saves.length === 0) core.compact(index);
  }

  #network(id: number): void {
    const random = this.#random;
    if (random.chance(0.4)) for (const each of this.ids) this.cores.connect(each);
    else if (random.chance(0.5)) this.cores.disconnect(id);
    else this.cores.cut(id, random.pick(this.ids));
  }

  #restart(id: number): void {
    this.cores.core(id).restart();
    this.#count('restarts');
  }

  // The promises (figure 3)

  #check(): void {
    for (const [id, core] of this.cores.cores) {
      const { raft } = core;
      const { commitIndex } = raft.log;
      const leads = raft.role === 'leader';
      const seen = this.#seen.get(core);
      if (leads) this.#checkLeader(id);
      if (seen?.raft !== raft || seen.commitIndex !== commitIndex) this.#checkCommitted(core);
      this.#seen.set(core, { raft, commitIndex, leads });
    }
  }

  /** "Election safety: at most one leader can be elected in a given term", and "leader completeness". */
  #checkLeader(id: number): void {
    const { term, log } = this.cores.raft(id);
    const leader = this.#leaders.get(term);
    assert(leader === undefined || leader === id, 'a term has one leader', term, leader, id);
    if (leader === id) return;
    this.#leaders.set(term, id);
    this.#count('leaders');
    for (let index = log.compactedIndex + 1; index <= this.#committed.length; index++) {
      const committed = this.#committed[index - 1];
      assert(log.termAt(index) === committed, 'a leader has all that is committed', id, index, committed);
    }
  }

  /** "State machine safety": whoever commits an entry at an index, it is the same. An entry is its index and term. */
  #checkCommitted({ raft: { log }, options: { id } }: Core): void {
    for (let index = log.commitIndex; index > log.compactedIndex; index--) {
      const term = log.termAt(index)!;
      const committed = this.#committed[index - 1];
      if (committed === undefined) this.#committed[index - 1] = term;
      else assert(committed === term, `an entry is committed once: ${index} at ${id}`, committed, term);
    }
  }

  // The end

  /** All is healed: the group comes to rest. */
  rest(): void {
    for (const id of this.ids) this.cores.connect(id);
    for (let i = 0; i < 600; i++) {
      for (const id of this.ids) {
        this.cores.tick(id, 50);
        this.#turn(id);
      }
      for (const id of this.ids) while (this.cores.deliver(id));
      while (this.#transfers.length > 0) this.#install(this.#transfers.shift()!);
      this.#check();
      if (i > 20 && this.#rests()) return;
    }
    assert(false, 'the group comes to rest', this.describe());
  }

  #rests(): boolean {
    const leaders = this.ids.filter((id) => this.cores.raft(id).role === 'leader');
    if (leaders.length !== 1) return false;
    const { configuration, log, leader } = this.cores.raft(leaders[0]!);
    if (configuration.joint || configuration.learners.length > 0 || leader!.transferTarget !== NOBODY)
      return false;
    return configuration.members.every(({ id }) => {
      const raft = this.cores.raft(id);
      return raft.log.appliedIndex === log.lastIndex && raft.leaderId === leaders[0];
    });
  }

  describe(): string {
    const lines = this.ids.map((id) => {
      const { role, term, leaderId, log } = this.cores.raft(id);
      const state = `${id} ${role} term ${term} of ${leaderId}, log ${log.compactedIndex}..${log.lastIndex}@${log.lastTerm}`;
      return `${state} commit ${log.commitIndex} members ${this.cores.members(id)}`;
    });
    return `\n${lines.join('\n')}\n`;
  }
}
