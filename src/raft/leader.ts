/**
 * What only a leader has and does: the progress of the others, the commit rule, rounds of reads, a transfer.
 *
 * It exists from the election to the step down ("volatile state on leaders, reinitialized after election", figure 2):
 * a new leader starts from a new object, so nothing of an earlier term can be left in it. It sends nothing by itself;
 * `flush`, called once at the end of a turn, sends to every follower what has become due, so that everything proposed
 * in one turn leaves in one message.
 */
import { assert } from '../lib/assert.ts';
import type { RaftLimits } from './limits.ts';
import { entryBytes, type RaftLog } from './log.ts';
import type { AppendEntriesResponse, HeartbeatResponse, Message } from './messages.ts';
import { Progress } from './progress.ts';
import type { Quorum } from './quorum.ts';
import { type ConfirmedRead, type ReadRequest, ReadRounds } from './read-index.ts';
import { type Entry, type GroupId, NOBODY, type NodeId } from './types.ts';

/** What the leader needs of the core around it. */
export interface LeaderContext {
  readonly group: GroupId;
  readonly id: NodeId;
  readonly term: number;
  readonly log: RaftLog;
  readonly quorum: Quorum;
  readonly limits: RaftLimits;
  readonly nowMs: number;
  /** What is known of earlier leaders' followers. */
  readonly allMatchedIndex: number;
  send(message: Message): void;
  /** Entries that are no longer in memory are wanted for `to`; `Leader.fetched` will be called with them. */
  fetch(request: { to: NodeId; from: number; bytesMax: number }): void;
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

  constructor(raft: LeaderContext) {
    this.#raft = raft;
    this.#firstIndexOfTerm = raft.log.lastIndex + 1;
    this.#heartbeatDueMs = raft.nowMs;
    this.#allMatchedIndex = raft.allMatchedIndex;
    for (const voter of raft.quorum.voters) {
      if (voter === raft.id) continue;
      const options = { nextIndex: raft.log.lastIndex + 1, contactMs: raft.nowMs, limits: raft.limits };
      this.#followers.set(voter, new Progress(options));
    }
  }

  progressOf(follower: NodeId): Progress | undefined {
    return this.#followers.get(follower);
  }

  /** The least that any member has on its disk. */
  get allMatchedIndex(): number {
    return this.#allMatchedIndex;
  }

  get heartbeatDueMs(): number {
    return this.#heartbeatDueMs;
  }

  /** Whether the leader still hears a majority, itself counted. Without it, it must not think that it leads. (thesis 6.2) */
  hearsMajority(): boolean {
    const oldestMs = this.#raft.nowMs - this.#raft.limits.electionTimeoutMs;
    let heard = 1;
    for (const progress of this.#followers.values()) if (progress.contactMs > oldestMs) heard++;
    return this.#raft.quorum.isMajority(heard);
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
    const { log, quorum, id, term } = this.#raft;
    const reached = (voter: NodeId) =>
      voter === id ? log.stableIndex : this.#followers.get(voter)!.matchIndex;
    const index = quorum.reachedByMajority(reached);
    this.#allMatchedIndex = Math.max(this.#allMatchedIndex, Math.min(...quorum.voters.map(reached)));
    if (index <= log.commitIndex || !this.mayCommit(index, term)) return;
    const before = log.commitIndex;
    log.commitTo(index);
    this.#countCommitted(before, index);
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
      return;
    }
    // What is compacted every member has acknowledged: this is an old answer, or from one that has lost its disk. That
    // one will learn of it from `allMatchedIndex`; sending it anything would not help.
    if (m.prevLogIndex <= this.#raft.log.compactedIndex) return;
    // Both sides skip whole terms: the follower named its last entry not above our term there, we answer with our
    // last entry not above its term there.
    const agree = this.#raft.log.findConflictByTerm(m.conflictIndex, m.conflictTerm);
    progress.refused(m.prevLogIndex, agree.index);
  }

  heartbeatResponse(m: HeartbeatResponse): void {
    const progress = this.#followers.get(m.from);
    if (progress === undefined) return;
    progress.contactMs = this.#raft.nowMs;
    progress.readRound = Math.max(progress.readRound, m.readRound);
    if (progress.matchIndex === this.#raft.log.lastIndex || !progress.stalled(this.#raft.nowMs)) return;
    progress.lossSuspected(this.#raft.nowMs);
    // A message without entries brings an answer that shows where the follower's log ends. A full window stays so: if
    // nothing was lost, the follower is slow, and more would only fill its memory.
    if (progress.windowFull) this.#send(m.from, progress, []);
    else if (!progress.paused) this.#sendAppend(m.from, progress);
  }

  /** Reads that a majority has confirmed by now. */
  confirmedReads(): ConfirmedRead[] {
    const { quorum, id } = this.#raft;
    const reached = (voter: NodeId) =>
      voter === id ? this.reads.round : this.#followers.get(voter)!.readRound;
    return this.reads.confirm(quorum.reachedByMajority(reached));
  }

  requestRead(request: ReadRequest): void {
    this.reads.request(request);
  }

  unreachable(follower: NodeId): void {
    const progress = this.#followers.get(follower);
    if (progress?.state === 'replicate') progress.becomeProbe();
  }

  /** Asks `target` to take over as soon as it has the whole log; proposals are refused meanwhile. (thesis 3.10) */
  transferTo(target: NodeId): void {
    assert(this.#followers.has(target), 'leadership goes to another voter', target);
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
    const { group, id, term, log } = this.#raft;
    if (this.#transferAsked || this.#followers.get(this.transferTarget)!.matchIndex < log.lastIndex) return;
    this.#raft.send({ type: 'TimeoutNow', group, from: id, to: this.transferTarget, term });
    this.#transferAsked = true;
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

  /** One AppendEntries from nextIndex on, empty if there is nothing. False when the entries must come from the disk. */
  #sendAppend(follower: NodeId, progress: Progress): boolean {
    const { log, limits } = this.#raft;
    const from = progress.nextIndex;
    assert(from > log.compactedIndex, 'what a member still needs is not compacted', from, log.compactedIndex);
    const entries = from > log.lastIndex ? [] : log.slice(from, limits.appendBytesMax);
    if (entries === undefined) {
      progress.fetching = true;
      this.#raft.fetch({ to: follower, from, bytesMax: limits.appendBytesMax });
      return false;
    }
    this.#send(follower, progress, entries);
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
    this.#raft.send({
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
    const allMatchedIndex = this.#allMatchedIndex;
    this.#raft.send({
      type: 'Heartbeat',
      ...{ group, from: id, to, term, leaderCommit, readRound, allMatchedIndex },
    });
  }
}
