/**
 * Bare consensus cores whose surroundings are the test's hands: nothing is sent, written, applied or delivered, and no
 * time passes, unless the test says so. What a core hands out is kept here: messages on their way, writes not yet
 * durable, what is on each disk. Everything that changes is told as a line of text, for transcripts.
 */
import { assert } from '../../src/lib/assert.ts';
import type { Random } from '../../src/lib/env.ts';
import { Configuration, decodeConfiguration, type MembershipChange } from '../../src/raft/configuration.ts';
import type { ConfigurationAt } from '../../src/raft/configuration-log.ts';
import { DEFAULT_LIMITS, type RaftLimits } from '../../src/raft/limits.ts';
import type { LogStart } from '../../src/raft/log.ts';
import type { Message } from '../../src/raft/messages.ts';
import { Raft } from '../../src/raft/raft.ts';
import type { ChangeProposed, Save } from '../../src/raft/ready.ts';
import type { Entry, HardState, NodeId } from '../../src/raft/types.ts';

export const GROUP = 1;

/** No chance at all: timeouts are the shortest that there are, and contexts count from 1. */
const NO_CHANCE: Random = { below: () => 0, bytes: (count) => new Uint8Array(count) };

export interface CoreOptions {
  readonly id: number;
  /** Of the founding configuration; none: it does not know to whom it belongs. */
  readonly voters: readonly number[];
  readonly limits?: Partial<RaftLimits>;
  readonly hardState?: HardState;
  /** What its disk holds at the start. */
  readonly entries?: readonly Entry[];
  readonly appliedIndex?: number;
  readonly random?: Random;
}

/** A write that is not durable yet, and what leaves when it is. */
interface PendingSave {
  readonly save: Save;
  readonly messages: Message[];
}

export class Core {
  raft: Raft;
  nowMs = 0;
  readonly options: CoreOptions;
  readonly saves: PendingSave[] = [];
  /** What survives a crash. */
  hardState: HardState;
  /** The log on its disk begins behind this entry. */
  compacted = { index: 0, term: 0 };
  stable: Entry[];
  applied: Entry[];
  /** As its state machine has applied it. */
  configuration: ConfigurationAt;
  /** Contexts of reads that may run, with their index. */
  readonly reads: { context: number; index: number }[] = [];

  constructor(options: CoreOptions) {
    this.options = options;
    this.hardState = options.hardState ?? { term: 0, votedFor: 0 };
    this.stable = [...(options.entries ?? [])];
    this.applied = this.stable.slice(0, options.appliedIndex ?? 0);
    this.configuration = { index: 0, configuration: foundingOf(options.voters) };
    this.raft = this.#start();
  }

  #start(): Raft {
    const { id, limits, random } = this.options;
    return new Raft({
      ...{ group: GROUP, id, limits: { ...DEFAULT_LIMITS, ...limits } },
      configuration: this.configuration,
      hardState: this.hardState,
      log: logOf(this.stable, this.applied.length, this.compacted),
      random: random ?? NO_CHANCE,
      nowMs: this.nowMs,
    });
  }

  /** A crash: what was not durable is gone. */
  restart(): void {
    this.saves.length = 0;
    this.#finishInstall();
    this.raft = this.#start();
  }

  /** As recovery does (wal-rebuild.ts): a log that lacks the last entry of the state begins anew behind it. */
  #finishInstall(): void {
    const last = this.applied.at(-1);
    if (last === undefined) return;
    const { index, term } = last;
    const here = index === this.compacted.index ? this.compacted.term : this.#stableTermAt(index);
    if (here === term) return;
    this.compacted = { index, term };
    this.stable = [];
    if (term > this.hardState.term) this.hardState = { term, votedFor: 0 };
  }

  #stableTermAt(index: number): number | undefined {
    return this.stable[index - this.compacted.index - 1]?.term;
  }

  write({ hardState, snapshot, truncateFrom, entries }: Save): void {
    if (hardState !== undefined) this.hardState = hardState;
    if (snapshot !== undefined) {
      this.compacted = snapshot;
      this.stable = [];
    }
    if (truncateFrom === undefined) return;
    const kept = truncateFrom - this.compacted.index - 1;
    assert(kept >= 0 && kept <= this.stable.length, 'the disk gets a log without gaps', truncateFrom);
    this.stable.length = kept;
    this.stable.push(...entries);
  }

  apply(entries: readonly Entry[]): void {
    this.applied.push(...entries);
    for (const { type, index, data } of entries) {
      if (type === 'configuration') this.configuration = { index, configuration: decodeConfiguration(data) };
    }
  }

  /** The disk lets go of what is applied up to `index`. */
  compact(index: number): void {
    const term = this.raft.log.termAt(index)!;
    this.stable.splice(0, index - this.compacted.index);
    this.compacted = { index, term };
    this.raft.compacted(index);
  }

  /** It takes over the state of another: entries, configuration, and its log begins anew if it must. */
  install({ applied, configuration }: Pick<Core, 'applied' | 'configuration'>): void {
    const last = applied.at(-1)!;
    this.applied = [...applied];
    this.configuration = configuration;
    this.raft.restore({ index: last.index, term: last.term, configuration: this.configuration });
  }
}

export function foundingOf(voters: readonly number[]): Configuration {
  return Configuration.founding(voters.map((id) => ({ id, description: `s${id}` })));
}

export function logOf(
  entries: readonly Entry[],
  appliedIndex: number,
  compacted = { index: 0, term: 0 },
): LogStart {
  const termRuns: { from: number; term: number }[] = [];
  for (const { index, term } of entries)
    if (termRuns.at(-1)?.term !== term) termRuns.push({ from: index, term });
  const lastIndex = compacted.index + entries.length;
  const { index: compactedIndex, term: compactedTerm } = compacted;
  return { compactedIndex, compactedTerm, termRuns, lastIndex, appliedIndex, entries };
}

/** Entries with the given terms, from index 1. */
export function entriesOf(...terms: number[]): Entry[] {
  return terms.map((term, i) => ({ index: i + 1, term, type: 'data', data: Buffer.from(`${i + 1}`) }));
}

export class Cores {
  readonly cores = new Map<number, Core>();
  /** Messages on their way, in the order in which they left. */
  transit: Message[] = [];
  /** Told of every change, in words. */
  tell: (line: string) => void = () => {};
  /** Whom `ready` has named as in need of a snapshot, in order. */
  readonly snapshotsNeeded: NodeId[] = [];
  readonly #cut = new Set<string>();

  add(options: CoreOptions): Core {
    const core = new Core(options);
    this.cores.set(options.id, core);
    return core;
  }

  /** Cores 1 to `count`, all with the same options. */
  static of(count: number, options: Partial<CoreOptions> = {}): Cores {
    const cores = new Cores();
    const voters = Array.from({ length: count }, (_, i) => i + 1);
    for (const id of voters) cores.add({ voters, ...options, id });
    return cores;
  }

  core(id: number): Core {
    const core = this.cores.get(id);
    assert(core !== undefined, 'there is such a server', id);
    return core;
  }

  raft(id: number): Raft {
    return this.core(id).raft;
  }

  /** Runs `change` on a core, and tells what it has changed. */
  change(id: number, change: (raft: Raft) => void): void {
    const { raft } = this.core(id);
    const before = stateOf(raft);
    change(raft);
    for (const line of differences(before, stateOf(raft))) this.tell(`${id} ${line}`);
  }

  // Time and tasks

  tick(id: number, ms: number): void {
    const core = this.core(id);
    core.nowMs += ms;
    this.change(id, (raft) => raft.tick(core.nowMs));
  }

  /** Time passes for `ids`, a heartbeat interval at a time, and they do what there is to do. */
  pass(ms: number, ids: readonly number[] = [...this.cores.keys()]): void {
    for (let left = ms; left > 0; left -= 100) {
      for (const id of ids) this.tick(id, Math.min(left, 100));
      this.stabilize(ids);
    }
  }

  /** Lets so much time pass for `id` that it asks for an election. */
  campaign(id: number): void {
    const core = this.core(id);
    assert(core.raft.role !== 'leader', 'a leader does not campaign', id);
    // A timer counts from the last time that the core knows of.
    this.tick(id, Math.max(0, core.raft.deadlineMs - core.nowMs));
  }

  propose(id: number, data: string | Uint8Array): ReturnType<Raft['propose']> {
    let proposed: ReturnType<Raft['propose']> | undefined;
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    this.change(id, (raft) => {
      proposed = raft.propose(bytes);
    });
    return proposed!;
  }

  changeMembers(id: number, change: MembershipChange): ChangeProposed {
    let proposed: ChangeProposed | undefined;
    this.change(id, (raft) => {
      proposed = raft.changeMembers(change);
    });
    return proposed!;
  }

  /** The configuration in force at `id`, in words. */
  members(id: number): string {
    return describeConfiguration(this.raft(id).configuration);
  }

  step(message: Message): void {
    const core = this.core(message.to);
    this.change(message.to, (raft) => {
      raft.tick(core.nowMs);
      raft.step(message);
    });
  }

  // What a turn brings, piece by piece

  /** Takes what the core has for the world: messages leave, a write begins. Whether there was anything. */
  ready(id: number): boolean {
    const core = this.core(id);
    let busy = false;
    this.change(id, (raft) => {
      const ready = raft.ready();
      for (const message of ready.messages) this.send(message);
      if (ready.save !== undefined) {
        core.saves.push({ save: ready.save, messages: [...ready.messagesAfterSave] });
        this.tell(`${id} writes ${describeSave(ready.save)}`);
      } else if (core.saves.length > 0) core.saves.at(-1)!.messages.push(...ready.messagesAfterSave);
      else for (const message of ready.messagesAfterSave) this.send(message);
      for (const read of ready.reads) {
        core.reads.push(read);
        this.tell(`${id} may answer read ${read.context} at ${read.index}`);
      }
      for (const follower of ready.snapshots) {
        this.snapshotsNeeded.push(follower);
        this.tell(`${id} has to send ${follower} a snapshot`);
      }
      assert(ready.fetches.length === 0, 'logs are short enough for memory');
      busy = ready.messages.length + ready.messagesAfterSave.length + ready.reads.length > 0;
      busy ||= ready.save !== undefined;
    });
    return busy;
  }

  /** The oldest write is durable. */
  persist(id: number): boolean {
    const core = this.core(id);
    const pending = core.saves.shift();
    if (pending === undefined) return false;
    core.write(pending.save);
    this.tell(`${id} has written ${describeSave(pending.save)}`);
    this.change(id, (raft) => raft.persisted(pending.save.token));
    for (const message of pending.messages) this.send(message);
    return true;
  }

  apply(id: number): boolean {
    const core = this.core(id);
    const entries = core.raft.takeCommitted();
    if (entries.length === 0) return false;
    core.apply(entries);
    this.tell(`${id} applies ${entries.map(describeEntry).join(', ')}`);
    core.raft.applied(entries.at(-1)!.index);
    return true;
  }

  /** The snapshot that `leader` has to send to `follower` arrives there, and both learn of it, or only the follower. */
  sendSnapshot(leader: number, follower: number, told = true): void {
    const [from, to] = [this.core(leader), this.core(follower)];
    const { index, term } = from.applied.at(-1)!;
    const isNew = index > to.raft.log.commitIndex;
    const what = isNew ? 'takes over the state up to' : 'has no use for a snapshot up to';
    this.tell(`${follower} ${what} ${index}@${term}`);
    if (isNew) this.change(follower, () => to.install(from));
    if (told) this.change(leader, (raft) => raft.snapshotEnded(follower, index));
  }

  // The network

  send(message: Message): void {
    this.tell(`  ${describeMessage(message)}`);
    this.transit.push(message);
  }

  cut(from: number, to: number): void {
    this.#cut.add(`${from}>${to}`);
  }

  mend(from: number, to: number): void {
    this.#cut.delete(`${from}>${to}`);
  }

  /** Cuts `id` off from everybody, both ways. */
  disconnect(id: number): void {
    for (const other of this.cores.keys()) {
      this.cut(id, other);
      this.cut(other, id);
    }
  }

  connect(id: number): void {
    for (const other of this.cores.keys()) {
      this.mend(id, other);
      this.mend(other, id);
    }
  }

  /** Takes the messages that `wanted` names off their way. */
  take(wanted: (message: Message) => boolean): Message[] {
    const taken = this.transit.filter(wanted);
    this.transit = this.transit.filter((message) => !taken.includes(message));
    return taken;
  }

  /** Delivers what is on its way to `id`, unless the way is cut. */
  deliver(id: number, wanted: (message: Message) => boolean = () => true): boolean {
    const messages = this.take((message) => message.to === id && wanted(message));
    for (const message of messages) {
      if (this.#cut.has(`${message.from}>${id}`)) {
        this.tell(`${id} never gets ${describeMessage(message)}`);
        continue;
      }
      this.tell(`${id} gets ${describeMessage(message)}`);
      this.step(message);
    }
    return messages.length > 0;
  }

  /** Does everything that is to be done at `ids` until there is nothing more. */
  stabilize(ids: readonly number[] = [...this.cores.keys()]): void {
    for (let rounds = 0; rounds < 1000; rounds++) {
      let busy = false;
      for (const id of ids) {
        if (this.ready(id)) busy = true;
        while (this.persist(id)) busy = true;
        while (this.apply(id)) busy = true;
      }
      for (const id of ids) if (this.deliver(id)) busy = true;
      if (!busy) return;
    }
    assert(false, 'servers come to rest');
  }

  /** Makes `id` the leader by the votes of `voters`. Nobody has heard of that yet, and nothing else has moved. */
  win(id: number, voters: readonly number[]): void {
    const ids = [id, ...voters];
    const isVote = ({ type, from }: Message) =>
      type.endsWith('VoteResponse') || ((type === 'PreVote' || type === 'RequestVote') && from === id);
    const others = this.transit;
    for (let rounds = 0; this.raft(id).role !== 'leader'; rounds++) {
      assert(rounds < 20, 'it wins', id);
      if (rounds % 4 === 0) this.campaign(id);
      this.transit = [];
      for (const one of ids) {
        this.ready(one);
        while (this.persist(one));
      }
      for (const one of ids) this.deliver(one, (message) => isVote(message) && ids.includes(message.from));
    }
    this.transit = others;
  }

  /** Elects `id`, and lets it reach everybody. */
  elect(id: number): void {
    this.campaign(id);
    this.stabilize();
    assert(this.raft(id).role === 'leader', 'it is elected', id);
  }
}

// In words

interface State {
  readonly role: string;
  readonly term: number;
  readonly votedFor: number;
  readonly leaderId: number;
  readonly lastIndex: number;
  readonly lastTerm: number;
  readonly commitIndex: number;
  readonly configuration: string;
}

function stateOf({ role, term, votedFor, leaderId, log, configuration: now }: Raft): State {
  const { lastIndex, lastTerm, commitIndex } = log;
  const configuration = describeConfiguration(now);
  return { role, term, votedFor, leaderId, lastIndex, lastTerm, commitIndex, configuration };
}

function differences(before: State, after: State): string[] {
  const lines: string[] = [];
  const { term } = after;
  if (before.role !== after.role) lines.push(`becomes ${after.role} in term ${term}`);
  else if (before.term !== term) lines.push(`goes to term ${term}`);
  if (before.votedFor !== after.votedFor && after.votedFor !== 0) lines.push(`votes for ${after.votedFor}`);
  if (before.leaderId !== after.leaderId && after.role === 'follower') {
    lines.push(after.leaderId === 0 ? 'follows nobody' : `follows ${after.leaderId}`);
  }
  if (before.lastIndex !== after.lastIndex || before.lastTerm !== after.lastTerm) {
    lines.push(`has a log up to ${after.lastIndex}@${after.lastTerm}`);
  }
  if (before.configuration !== after.configuration) lines.push(`has the members ${after.configuration}`);
  if (before.commitIndex !== after.commitIndex) lines.push(`commits up to ${after.commitIndex}`);
  return lines;
}

function describeEntry({ index, term, type, data }: Entry): string {
  const name = `${index}@${term}`;
  if (type === 'noop') return `${name} noop`;
  if (type === 'configuration') return `${name} members ${describeConfiguration(decodeConfiguration(data))}`;
  return data.length > 32 ? `${name} (${data.length} bytes)` : `${name} "${Buffer.from(data).toString()}"`;
}

/** `1 2 +3 -4 (5)`: 3 is coming, 4 is going, 5 is a learner. */
export function describeConfiguration({ members }: Configuration): string {
  const signs = { voter: '', incoming: '+', outgoing: '-', learner: '' };
  const name = ({ id, role }: Configuration['members'][number]) =>
    role === 'learner' ? `(${id})` : `${signs[role]}${id}`;
  return members.map(name).join(' ');
}

function describeSave({ hardState, snapshot, truncateFrom, entries }: Save): string {
  const parts: string[] = [];
  if (hardState !== undefined) parts.push(`term ${hardState.term} vote ${hardState.votedFor}`);
  if (snapshot !== undefined) parts.push(`log begins behind ${snapshot.index}@${snapshot.term}`);
  if (truncateFrom !== undefined) parts.push(`entries [${entries.map(describeEntry).join(', ')}]`);
  return parts.join(', ');
}

export function describeMessage(m: Message): string {
  return `${m.from}->${m.to} ${m.type} term ${m.term}${describeFields(m)}`;
}

function describeFields(m: Message): string {
  switch (m.type) {
    case 'PreVote':
      return ` log ${m.lastLogIndex}@${m.lastLogTerm}`;
    case 'RequestVote':
      return ` log ${m.lastLogIndex}@${m.lastLogTerm}${m.leadershipTransfer ? ' transfer' : ''}`;
    case 'PreVoteResponse':
    case 'RequestVoteResponse':
      return m.voteGranted ? ' granted' : ' refused';
    case 'AppendEntries':
      return ` after ${m.prevLogIndex}@${m.prevLogTerm} [${m.entries.map(describeEntry).join(', ')}] commit ${m.leaderCommit}`;
    case 'AppendEntriesResponse':
      if (m.success) return ` matches up to ${m.matchIndex}`;
      return ` refuses after ${m.prevLogIndex}, may agree at ${m.conflictIndex}@${m.conflictTerm}`;
    case 'Heartbeat':
      return ` commit ${m.leaderCommit} round ${m.readRound}`;
    case 'HeartbeatResponse':
      return ` round ${m.readRound}`;
    case 'ReadIndex':
      return ` context ${m.context}`;
    case 'ReadIndexResponse':
      return ` context ${m.context} index ${m.index}`;
    case 'TransferLeadership':
    case 'TimeoutNow':
      return '';
  }
}
