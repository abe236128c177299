/**
 * What only a leader has and does: the progress of the others, the commit rule, rounds of reads, a transfer, changes of
 * the members.
 *
 * It exists from the election to the step down ("volatile state on leaders, reinitialized after election", figure 2):
 * a new leader starts from a new object, so nothing of an earlier term can be left in it. It sends nothing by itself;
 * `flush`, called once at the end of a turn, sends to every follower what has become due, so that everything proposed
 * in one turn leaves in one message.
 */
import { assert } from '../lib/assert.ts';
import { CatchUp } from './catch-up.ts';
import { type Configuration, encodeConfiguration, type MembershipChange } from './configuration.ts';
import type { RaftLimits } from './limits.ts';
import { entryBytes, type RaftLog } from './log.ts';
import type { AppendEntriesResponse, HeartbeatResponse } from './messages.ts';
import type { Outbox } from './outbox.ts';
import { Progress } from './progress.ts';
import { type ConfirmedRead, type ReadRequest, ReadRounds } from './read-index.ts';
import type { ChangeProposed } from './ready.ts';
import { type Entry, type GroupId, NOBODY, type NodeId } from './types.ts';

/** What the leader needs of the core around it. */
export interface LeaderContext {
  readonly group: GroupId;
  readonly id: NodeId;
  readonly term: number;
  readonly log: RaftLog;
  readonly limits: RaftLimits;
  readonly nowMs: number;
  /** What is known of earlier leaders' followers, by the configuration in force. */
  readonly allMatchedIndex: number;
  /** Fetched entries come back by `Leader.fetched`, the end of a snapshot's transfer by `Leader.snapshotEnded`. */
  readonly out: Outbox;
}

export class Leader {
  readonly reads = new ReadRounds();
  transferTarget: NodeId = NOBODY;

  readonly #raft: LeaderContext;
  readonly #followers = new Map<NodeId, Progress>();
  /** The first entry of this term: once it is committed, so is everything before it. (§5.4.2) */
  readonly #firstIndexOfTerm: number;
  #heartbeatDueMs: number;
  #transferAsked = false;
  #transferDeadlineMs = 0;
  #uncommittedBytes = 0;
  #allMatchedIndex: number;
  /** Of the configuration that the followers are taken from. */
  #configurationIndex: number;
  readonly #catchingUp = new Map<NodeId, CatchUp>();

  constructor(raft: LeaderContext) {
    this.#raft = raft;
    this.#firstIndexOfTerm = raft.log.lastIndex + 1;
    this.#heartbeatDueMs = raft.nowMs;
    this.#allMatchedIndex = raft.allMatchedIndex;
    this.#configurationIndex = raft.log.configuration.index;
    this.#takeMembers(raft.log.lastIndex + 1);
  }

  get #configuration(): Configuration {
    return this.#raft.log.configuration.configuration;
  }

  /** The followers are those of the configuration in force; `nextIndex` is what the new ones are sent first. */
  #takeMembers(nextIndex: number): void {
    const { nowMs, limits, id } = this.#raft;
    const others = this.#configuration.others(id);
    for (const other of others) {
      if (this.#followers.has(other)) continue;
      this.#followers.set(other, new Progress({ nextIndex, contactMs: nowMs, limits }));
    }
    for (const follower of this.#followers.keys()) {
      if (!others.includes(follower)) this.#followers.delete(follower);
    }
    for (const learner of this.#catchingUp.keys()) {
      if (!this.#configuration.learners.includes(learner)) this.#catchingUp.delete(learner);
    }
  }

  progressOf(follower: NodeId): Progress | undefined {
    return this.#followers.get(follower);
  }

  /** The least that any member of the configuration in force has on its disk. */
  get allMatchedIndex(): number {
    return this.#allMatchedIndex;
  }

  get heartbeatDueMs(): number {
    return this.#heartbeatDueMs;
  }

  /** Whether the leader still hears a majority, itself counted. Without it, it must not think that it leads. (thesis 6.2) */
  hearsMajority(): boolean {
    const { id, nowMs, limits } = this.#raft;
    const oldestMs = nowMs - limits.electionTimeoutMs;
    return this.#configuration.hasMajority(
      (voter) => voter === id || this.#followers.get(voter)!.contactMs > oldestMs,
    );
  }

  /** Whether an entry of this term is committed, so that the commit index is known to be current. (§8) */
  get commitIsCurrent(): boolean {
    return this.#raft.log.commitIndex >= this.#firstIndexOfTerm;
  }

  /** Room for `bytes` more? One entry is let in always, or one larger than the bound would never be. */
  admits(bytes: number): boolean {
    return (
      this.#uncommittedBytes === 0 || this.#uncommittedBytes + bytes <= this.#raft.limits.uncommittedBytesMax
    );
  }

  append(entry: Entry): void {
    this.#raft.log.append(entry);
    this.#uncommittedBytes += entryBytes(entry);
  }

  /**
   * "If there exists an N > commitIndex such that a majority of matchIndex[i] >= N, and log[N].term == currentTerm:
   * set commitIndex = N" (figure 2). The leader's own entries count once they are on its own disk.
   */
  advanceCommit(): void {
    const { log, id, term } = this.#raft;
    const reached = (member: NodeId) =>
      member === id ? log.stableIndex : this.#followers.get(member)!.matchIndex;
    const index = this.#configuration.reachedByMajority(reached);
    this.#allMatchedIndex = Math.max(this.#allMatchedIndex, this.#leastMatched());
    if (index <= log.commitIndex || !this.mayCommit(index, term)) return;
    const before = log.commitIndex;
    log.commitTo(index);
    this.#countCommitted(before, index);
  }

  #leastMatched(): number {
    let least = this.#raft.log.stableIndex;
    for (const { matchIndex } of this.#followers.values()) least = Math.min(least, matchIndex);
    return least;
  }

  /** Only an entry of the own term is committed by counting; older ones are with it. (§5.4.2 and figure 8) */
  mayCommit(index: number, term: number): boolean {
    return this.#raft.log.matches(index, term);
  }

  #countCommitted(before: number, index: number): void {
    const from = Math.max(before + 1, this.#firstIndexOfTerm);
    if (from > index) return;
    const committed = this.#raft.log.slice(from, Number.MAX_SAFE_INTEGER, index);
    assert(committed !== undefined, 'what was not committed is in memory', from, index);
    for (const entry of committed) this.#uncommittedBytes -= entryBytes(entry);
    assert(this.#uncommittedBytes >= 0, 'only what was counted in is counted out', this.#uncommittedBytes);
  }

  appendEntriesResponse(m: AppendEntriesResponse): void {
    const progress = this.#followers.get(m.from);
    if (progress === undefined) return;
    progress.contactMs = this.#raft.nowMs;
    if (m.success) {
      assert(m.matchIndex <= this.#raft.log.lastIndex, 'nobody matches more than there is', m.matchIndex);
      if (progress.acknowledged(m.matchIndex, this.#raft.nowMs)) this.advanceCommit();
      // It has come by what it lacked in another way.
      if (progress.state === 'snapshot' && m.matchIndex >= this.#raft.log.compactedIndex) {
        progress.becomeReplicate();
      }
      return;
    }
    const { log } = this.#raft;
    // Both sides skip whole terms: the follower named its last entry not above our term there, we answer with our
    // last entry not above its term there. Where our log no longer reaches there is nothing to compare.
    const agreeIndex =
      m.conflictIndex < log.compactedIndex
        ? m.conflictIndex
        : log.findConflictByTerm(m.conflictIndex, m.conflictTerm).index;
    progress.refused(m.prevLogIndex, agreeIndex);
  }

  heartbeatResponse(m: HeartbeatResponse): void {
    const progress = this.#followers.get(m.from);
    if (progress === undefined) return;
    progress.contactMs = this.#raft.nowMs;
    progress.readRound = Math.max(progress.readRound, m.readRound);
    if (progress.state === 'snapshot' || progress.matchIndex === this.#raft.log.lastIndex) return;
    if (!progress.stalled(this.#raft.nowMs)) return;
    progress.lossSuspected(this.#raft.nowMs);
    // A message without entries brings an answer that shows where the follower's log ends. A full window stays so: if
    // nothing was lost, the follower is slow, and more would only fill its memory.
    if (progress.windowFull && !this.#needsSnapshot(m.from, progress)) this.#send(m.from, progress, []);
    else if (!progress.paused) this.#sendAppend(m.from, progress);
  }

  /** Reads that a majority has confirmed by now. */
  confirmedReads(): ConfirmedRead[] {
    const reached = (voter: NodeId) =>
      voter === this.#raft.id ? this.reads.round : this.#followers.get(voter)!.readRound;
    return this.reads.confirm(this.#configuration.reachedByMajority(reached));
  }

  requestRead(request: ReadRequest): void {
    this.reads.request(request);
  }

  unreachable(follower: NodeId): void {
    const progress = this.#followers.get(follower);
    if (progress?.state === 'replicate') progress.becomeProbe();
  }

  /** The transfer of a snapshot has ended; `index`: the last entry in it, undefined when it failed. */
  snapshotEnded(follower: NodeId, index: number | undefined): void {
    const progress = this.#followers.get(follower);
    if (progress?.state !== 'snapshot') return;
    progress.becomeProbe();
    // Where it stands is asked for, not believed.
    progress.nextIndex = Math.max(progress.nextIndex, (index ?? this.#raft.log.lastIndex) + 1);
  }

  // Changes of the members (§6)

  /**
   * Begins a change. One at a time; and only when an entry of this term is committed, or two leaders could each change
   * the configuration that the other does not know of (the bug of single-server changes found in 2015).
   */
  changeMembers(change: MembershipChange): ChangeProposed {
    if (!this.commitIsCurrent) return { accepted: false, reason: 'not-ready' };
    if (this.transferTarget !== NOBODY) return { accepted: false, reason: 'transferring' };
    if (this.changePending) return { accepted: false, reason: 'pending' };
    const next = this.#configuration.after(change);
    if (typeof next === 'string') return { accepted: false, reason: next };
    return this.#appendConfiguration(next);
  }

  get changePending(): boolean {
    const { log } = this.#raft;
    return this.#configuration.joint || log.configuration.index > log.commitIndex;
  }

  /** Leadership has ended by the configuration: "the leader steps down once it has committed the C_new log entry". */
  get isRemoved(): boolean {
    return !this.changePending && !this.#configuration.isVoter(this.#raft.id);
  }

  /** What the configuration asks of its leader: out of the joint one once that is committed; learners that can vote. */
  pursueChange(): void {
    const { log, nowMs, limits } = this.#raft;
    const { joint, learners } = this.#configuration;
    if (this.transferTarget !== NOBODY || !this.commitIsCurrent) return;
    if (log.configuration.index > log.commitIndex) return;
    if (joint) {
      this.#appendConfiguration(this.#configuration.afterJoint());
      return;
    }
    const { lastIndex } = log;
    for (const learner of learners) {
      const round = this.#catchingUp.get(learner) ?? new CatchUp(lastIndex, nowMs);
      this.#catchingUp.set(learner, round);
      const { matchIndex } = this.#followers.get(learner)!;
      if (!round.hasCaughtUp({ matchIndex, lastIndex, nowMs }, limits.electionTimeoutMs)) continue;
      this.changeMembers({ type: 'promote', id: learner });
      return;
    }
  }

  /** Writes the configuration in force into the log again. */
  writeConfiguration(): void {
    this.#appendConfiguration(this.#configuration);
  }

  #appendConfiguration(next: Configuration): ChangeProposed {
    const { log, term } = this.#raft;
    const index = log.lastIndex + 1;
    this.append({ index, term, type: 'configuration', data: encodeConfiguration(next) });
    this.#configurationIndex = index;
    // What the members of another configuration have says nothing of those of this one.
    this.#allMatchedIndex = 0;
    this.#takeMembers(index);
    return { accepted: true, index, term };
  }

  // Transfer of leadership (thesis 3.10)

  /** Asks `target`, a voter to stay, to take over once it has the whole log; proposals are refused meanwhile. */
  transferTo(target: NodeId): void {
    assert(this.#followers.has(target), 'leadership goes to another voter', target);
    // Asked again, it does not begin anew: proposals would be refused for as long as somebody asks.
    if (this.transferTarget === target) return;
    this.transferTarget = target;
    this.#transferAsked = false;
    this.#transferDeadlineMs = this.#raft.nowMs + this.#raft.limits.electionTimeoutMs;
  }

  #pursueTransfer(): void {
    if (this.transferTarget === NOBODY) return;
    if (this.#raft.nowMs >= this.#transferDeadlineMs) {
      this.transferTarget = NOBODY;
      return;
    }
    const { matchIndex } = this.#followers.get(this.transferTarget)!;
    if (this.#transferAsked || matchIndex < this.#raft.log.lastIndex) return;
    this.#askToTakeOver(this.transferTarget);
    this.#transferAsked = true;
  }

  #askToTakeOver(to: NodeId): void {
    const { group, id, term } = this.#raft;
    this.#raft.out.send({ type: 'TimeoutNow', group, from: id, to, term });
  }

  /** The voter to whom leadership goes best: heard just now, and with the longest log. */
  bestSuccessor(): NodeId | undefined {
    const { nowMs, limits } = this.#raft;
    const candidates = [...this.#followers].filter(
      ([id, { contactMs }]) =>
        this.#configuration.staysVoter(id) && nowMs - contactMs < 3 * limits.heartbeatIntervalMs,
    );
    candidates.sort(([, a], [, b]) => b.matchIndex - a.matchIndex);
    return candidates[0]?.[0];
  }

  /** The last act of a leader that is no longer a member: nobody should have to notice that it is gone. */
  handOver(): void {
    const successor = this.bestSuccessor();
    if (successor !== undefined) this.#askToTakeOver(successor);
  }

  /** The end of a turn: sends what has become due. */
  flush(): void {
    const roundBegins = this.reads.wanted && this.commitIsCurrent;
    if (roundBegins) this.reads.begin(this.#raft.log.commitIndex);
    const due = this.#raft.nowMs >= this.#heartbeatDueMs;
    if (due) this.#heartbeatDueMs = this.#raft.nowMs + this.#raft.limits.heartbeatIntervalMs;
    for (const [follower, progress] of this.#followers) {
      if (due || roundBegins) this.#sendHeartbeat(follower, progress);
      this.#sendEntries(follower, progress);
      // News of a commit waits for no timer: with no entries left to carry it, it travels alone.
      if (Math.min(progress.matchIndex, this.#raft.log.commitIndex) > progress.sentCommit) {
        this.#sendHeartbeat(follower, progress);
      }
    }
    this.#pursueTransfer();
  }

  #sendEntries(follower: NodeId, progress: Progress): void {
    while (!progress.paused && progress.nextIndex <= this.#raft.log.lastIndex) {
      if (!this.#sendAppend(follower, progress)) return;
    }
  }

  /** One AppendEntries from nextIndex on, empty if there is nothing. False when the entries are not in memory. */
  #sendAppend(follower: NodeId, progress: Progress): boolean {
    const { log, limits } = this.#raft;
    if (this.#needsSnapshot(follower, progress)) return false;
    const from = progress.nextIndex;
    const entries = from > log.lastIndex ? [] : log.slice(from, limits.appendBytesMax);
    if (entries === undefined) {
      progress.fetching = true;
      this.#raft.out.fetch({ to: follower, from, bytesMax: limits.appendBytesMax });
      return false;
    }
    this.#send(follower, progress, entries);
    return true;
  }

  /** Whether what the follower needs next is no longer in the log; that is reported, once, and when it was heard lately. */
  #needsSnapshot(follower: NodeId, progress: Progress): boolean {
    const { log, nowMs, limits } = this.#raft;
    if (progress.nextIndex > log.compactedIndex) return false;
    if (nowMs - progress.contactMs >= limits.electionTimeoutMs) return true;
    progress.becomeSnapshot();
    this.#raft.out.needSnapshot(follower);
    return true;
  }

  /** Entries that were read from the disk for `follower`. What has changed in between makes them useless, not wrong. */
  fetched(follower: NodeId, entries: readonly Entry[]): void {
    const progress = this.#followers.get(follower);
    const first = entries[0];
    // None: the next heartbeat's answer lets it ask again.
    if (progress === undefined || first === undefined) return;
    progress.fetching = false;
    if (first.index !== progress.nextIndex || progress.paused) return;
    if (this.#needsSnapshot(follower, progress)) return;
    if (!entries.every((entry) => this.#raft.log.matches(entry.index, entry.term))) return;
    this.#send(follower, progress, entries);
  }

  #send(to: NodeId, progress: Progress, entries: readonly Entry[]): void {
    const { group, id, term, log } = this.#raft;
    const prevLogIndex = progress.nextIndex - 1;
    const prevLogTerm = log.termAt(prevLogIndex);
    assert(
      prevLogTerm !== undefined,
      'the entry before what is sent is known',
      prevLogIndex,
      log.compactedIndex,
    );
    const leaderCommit = log.commitIndex;
    this.#raft.out.send({
      type: 'AppendEntries',
      ...{ group, from: id, to, term, prevLogIndex, prevLogTerm, entries, leaderCommit },
    });
    const lastIndex = prevLogIndex + entries.length;
    const bytes = entries.reduce((sum, entry) => sum + entryBytes(entry), 0);
    progress.sent(lastIndex, bytes, this.#raft.nowMs);
    // A probe may be refused, and then its commit index is not taken.
    if (progress.state !== 'replicate') return;
    progress.sentCommit = Math.max(progress.sentCommit, Math.min(leaderCommit, lastIndex));
  }

  #sendHeartbeat(to: NodeId, progress: Progress): void {
    const { group, id, term, log } = this.#raft;
    const leaderCommit = Math.min(progress.matchIndex, log.commitIndex);
    progress.sentCommit = Math.max(progress.sentCommit, leaderCommit);
    const { round: readRound } = this.reads;
    const configurationIndex = this.#configurationIndex;
    const allMatchedIndex = this.#allMatchedIndex;
    this.#raft.out.send({
      type: 'Heartbeat',
      ...{ group, from: id, to, term, leaderCommit, readRound, configurationIndex, allMatchedIndex },
    });
  }
}
