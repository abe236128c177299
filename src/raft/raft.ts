/**
 * The consensus core of one group on one server: elections, replication, commitment.
 *
 * It is a synchronous state machine without I/O. Whoever owns it (`host.ts` in production, a test, the simulator) calls
 * `tick`, `step`, `propose`, `read`, and at the end of a turn takes `ready()`, messages and entries to write, and
 * `takeCommitted()`, entries to apply. It does them and reports back with `persisted` and `applied`. Nothing waits in
 * here, so no two things can be half done at once, and the same code runs in production and in a test.
 *
 * The safe order is in the data. `messages` may leave at once: what a leader sends. `messagesAfterSave` only once
 * `save` is durable: votes, vote requests, acknowledgements. Nobody can acknowledge before the disk by forgetting a
 * rule. The leader's own acknowledgement, and a candidate's vote for itself, are counted in `persisted` and nowhere else.
 *
 * Sources: Ongaro & Ousterhout 2014 (the paper; § numbers), Ongaro's thesis, and the shape of etcd/raft (Ready, Step,
 * asynchronous storage writes). Always on: pre-vote (thesis 9.6), check-quorum and leader stickiness (6.2, 4.2.3).
 */
import { assert, unreachable } from '../lib/assert.ts';
import type { Random } from '../lib/env.ts';
import type { Configuration, MembershipChange } from './configuration.ts';
import type { ConfigurationAt } from './configuration-log.ts';
import { ElectionTimer } from './election-timer.ts';
import { type AppendEntriesAnswer, REFUSED_OLD_TERM, takeCommit, takeEntries } from './follower.ts';
import { Leader } from './leader.ts';
import { checkLimits, type RaftLimits } from './limits.ts';
import { type LogStart, RaftLog } from './log.ts';
import type { AppendEntries, Heartbeat, Message, PreVote, RequestVote } from './messages.ts';
import { Outbox } from './outbox.ts';
import { PendingReads } from './pending-reads.ts';
import type { ChangeProposed, Proposed, Ready, Save } from './ready.ts';
import { type Entry, type GroupId, type HardState, NOBODY, type NodeId } from './types.ts';
import { Votes } from './votes.ts';

export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader';

export interface RaftOptions {
  readonly group: GroupId;
  readonly id: NodeId;
  /** Of the state that the log's `appliedIndex` tells; later ones are in the log. */
  readonly configuration: ConfigurationAt;
  /** The first leader writes that configuration into the log: it was not the log that told of it, but an operator. */
  readonly forced?: boolean | undefined;
  readonly limits: RaftLimits;
  readonly hardState: HardState;
  readonly log: LogStart;
  readonly random: Random;
  readonly nowMs: number;
}

export class Raft {
  readonly group: GroupId;
  readonly id: NodeId;
  readonly limits: RaftLimits;
  readonly log: RaftLog;
  /** What this turn has brought about so far. */
  readonly out = new Outbox();

  role: Role = 'follower';
  term: number;
  votedFor: NodeId;
  leaderId: NodeId = NOBODY;
  /** While this server leads. */
  leader: Leader | undefined;
  nowMs: number;
  #votes: Votes;
  /** When a leader of this term was heard last. */
  #leaderContactMs = Number.NEGATIVE_INFINITY;
  readonly #electionTimer: ElectionTimer;
  #diskStalled = false;

  /** Every member of that configuration has at least this on its disk. */
  #allMatched = { configurationIndex: 0, index: 0 };

  #savedHardState: HardState;
  #lastToken = 0;
  #persistedToken = 0;
  /** The save that makes the vote for oneself durable. */
  #ownVoteToken = 0;
  #applyingTo: number;
  readonly #pendingReads: PendingReads;
  #forced: boolean;

  constructor(options: RaftOptions) {
    checkLimits(options.limits);
    this.group = options.group;
    this.id = options.id;
    this.limits = options.limits;
    this.log = new RaftLog(options.log, options.configuration);
    this.term = options.hardState.term;
    this.votedFor = options.hardState.votedFor;
    assert(
      this.term >= this.log.lastTerm,
      'no entry is of a term still to come',
      this.term,
      this.log.lastTerm,
    );
    this.nowMs = options.nowMs;
    this.#electionTimer = new ElectionTimer(options.limits.electionTimeoutMs, options.random);
    this.#savedHardState = options.hardState;
    this.#forced = options.forced ?? false;
    this.#applyingTo = this.log.appliedIndex;
    this.#votes = new Votes(this.configuration);
    this.#pendingReads = new PendingReads(options.random);
    this.#electionTimer.reset(this.nowMs);
    // Alone there is nobody to wait for.
    const { voters } = this.configuration;
    if (voters.length === 1 && voters[0] === this.id) this.#electionTimer.dueMs = this.nowMs;
  }

  /** The configuration in force, committed or not (§6). */
  get configuration(): Configuration {
    return this.log.configuration.configuration;
  }

  /** Every member has at least this on its disk, as far as this server knows. */
  get allMatchedIndex(): number {
    const { configurationIndex, index } = this.#allMatched;
    return configurationIndex === this.log.configuration.index ? index : 0;
  }

  /** When `tick` is due, if nothing happens before. */
  get deadlineMs(): number {
    if (this.leader !== undefined) return this.leader.heartbeatDueMs;
    if (this.#pendingReads.size === 0) return this.#electionTimer.dueMs;
    return Math.min(this.#electionTimer.dueMs, this.nowMs + this.limits.heartbeatIntervalMs);
  }

  /** Time has come to `nowMs`; call it at the beginning of every turn too. */
  tick(nowMs: number): void {
    assert(nowMs >= this.nowMs, 'time never goes back', nowMs, this.nowMs);
    this.nowMs = nowMs;
    if (this.leader === undefined) {
      this.#askAgainForReads();
      if (nowMs >= this.#electionTimer.dueMs) this.#electionTimeout();
      return;
    }
    if (!this.leader.hearsMajority() || this.#diskStalled) this.#becomeFollower(this.term, NOBODY);
  }

  /** The disk has (not) finished a write for so long that this server should not lead. */
  diskStalled(stalled: boolean): void {
    this.#diskStalled = stalled;
  }

  propose(data: Uint8Array): Proposed {
    const leader = this.leader;
    if (leader === undefined) return { accepted: false, reason: 'not-leader' };
    if (leader.transferTarget !== NOBODY) return { accepted: false, reason: 'transferring' };
    if (!leader.admits(data.length)) return { accepted: false, reason: 'full' };
    const index = this.log.lastIndex + 1;
    leader.append({ index, term: this.term, type: 'data', data });
    return { accepted: true, index, term: this.term };
  }

  /**
   * Asks for an index to read at; a later `Ready.reads` carries the returned context once. If leadership is lost or no
   * leader is known, the question is put to the next one: there is no deadline in here.
   */
  read(): number {
    const context = this.#pendingReads.add();
    if (this.leader !== undefined) this.leader.requestRead({ from: this.id, context });
    else this.#askAgainForReads();
    return context;
  }

  /** Hands leadership to `to`; nothing happens unless this server leads and `to` is another voter, to stay. */
  transferLeadership(to: NodeId): void {
    if (to !== this.id && this.configuration.staysVoter(to)) this.leader?.transferTo(to);
  }

  /** Asks whoever leads to hand leadership to this server, a voter. */
  requestLeadership(): void {
    assert(this.configuration.staysVoter(this.id), 'a voter asks for leadership', this.id);
    if (this.leaderId === NOBODY || this.role === 'leader') return;
    this.out.send({ type: 'TransferLeadership', ...this.#to(this.leaderId) });
  }

  /** Asks for votes at once, whether or not a leader is alive: for an operator who knows that it is of no use. */
  forceElection(): void {
    if (this.role !== 'leader' && this.#mayCampaign) this.#campaign(true);
  }

  changeMembers(change: MembershipChange): ChangeProposed {
    return this.leader?.changeMembers(change) ?? { accepted: false, reason: 'not-leader' };
  }

  /** A message to `peer` could not be sent. */
  unreachable(peer: NodeId): void {
    this.leader?.unreachable(peer);
  }

  fetched(to: NodeId, entries: readonly Entry[]): void {
    this.leader?.fetched(to, entries);
  }

  /** The transfer of a snapshot to `to` has ended; `index`: the last entry in it, undefined when it failed. */
  snapshotEnded(to: NodeId, index: number | undefined): void {
    this.leader?.snapshotEnded(to, index);
  }

  /** The state machine has taken over a snapshot of a leader, durably; nothing is being applied. */
  restore(snapshot: { index: number; term: number; configuration: ConfigurationAt }): void {
    assert(this.role !== 'leader', 'a leader needs no snapshot', this.term);
    assert(snapshot.term <= this.term, 'no snapshot is of a term to come', snapshot.term, this.term);
    this.log.restore(snapshot);
    this.#applyingTo = this.log.appliedIndex;
  }

  /** Everything handed out up to this `Save.token` is durable. */
  persisted(token: number): void {
    assert(token > this.#persistedToken, 'saves finish in order', token, this.#persistedToken);
    this.#persistedToken = token;
    this.log.saved(token);
    if (this.role === 'candidate' && token >= this.#ownVoteToken) this.#countVote(this.id, true);
    this.leader?.advanceCommit();
  }

  applied(index: number): void {
    this.log.appliedTo(index);
    this.log.trimMemory(this.limits.logMemoryBytesMax);
  }

  /** The disk has let go of all entries up to `index`. */
  compacted(index: number): void {
    this.log.compactTo(index);
  }

  /** What the turn has brought about. The caller must do all of it. */
  ready(): Ready {
    if (this.leader !== undefined) this.#lead(this.leader);
    return { save: this.#takeSave(), ...this.out.take() };
  }

  #lead(leader: Leader): void {
    if (leader.isRemoved) {
      leader.handOver();
      this.#becomeFollower(this.term, NOBODY);
      return;
    }
    leader.pursueChange();
    leader.flush();
    this.#noteAllMatched(this.log.configuration.index, leader.allMatchedIndex);
    for (const read of leader.confirmedReads()) this.#readConfirmed(read.from, read.context, read.index);
  }

  #noteAllMatched(configurationIndex: number, index: number): void {
    if (configurationIndex !== this.log.configuration.index || index <= this.allMatchedIndex) return;
    this.#allMatched = { configurationIndex, index };
  }

  #takeSave(): Save | undefined {
    const { term, votedFor } = this;
    const changed = term !== this.#savedHardState.term || votedFor !== this.#savedHardState.votedFor;
    const token = this.#lastToken + 1;
    const snapshot = this.log.takeUnsavedSnapshot();
    const unsaved = this.log.takeUnsaved(token);
    if (!changed && snapshot === undefined && unsaved === undefined) return undefined;
    this.#lastToken = token;
    if (changed) this.#savedHardState = { term, votedFor };
    const hardState = changed ? this.#savedHardState : undefined;
    return { token, hardState, snapshot, truncateFrom: unsaved?.from, entries: unsaved?.entries ?? [] };
  }

  /** To be applied, in order, each handed out once; the next ones come after `applied`. */
  takeCommitted(): readonly Entry[] {
    if (this.#applyingTo > this.log.appliedIndex) return [];
    const entries = this.log.nextToApply(this.limits.applyBytesMax);
    if (entries.length > 0) this.#applyingTo = entries.at(-1)!.index;
    return entries;
  }

  // Messages. First what the term alone decides, then by type.

  step(m: Message): void {
    assert(m.group === this.group && m.to === this.id, 'a message is for this replica', m.group, m.to);
    // Whoever speaks may be a member of a configuration that has not come here yet: what it asks is answered (§6).
    if (m.term < this.term) return this.#stepOlderTerm(m);
    if (m.term > this.term && !this.#stepNewerTerm(m)) return;
    switch (m.type) {
      case 'PreVote':
        return this.#preVote(m);
      case 'PreVoteResponse':
        // A grant of our present term answers an earlier question.
        if (this.role === 'preCandidate' && (!m.voteGranted || m.term > this.term)) {
          this.#countVote(m.from, m.voteGranted);
        }
        return;
      case 'RequestVote':
        return this.#requestVote(m);
      case 'RequestVoteResponse':
        if (this.role === 'candidate') this.#countVote(m.from, m.voteGranted);
        return;
      case 'AppendEntries':
        return this.#appendEntries(m);
      case 'AppendEntriesResponse':
        return this.leader?.appendEntriesResponse(m);
      case 'Heartbeat':
        return this.#heartbeat(m);
      case 'HeartbeatResponse':
        return this.leader?.heartbeatResponse(m);
      case 'ReadIndex':
        if (this.configuration.member(m.from) === undefined) return;
        return this.leader?.requestRead({ from: m.from, context: m.context });
      case 'ReadIndexResponse':
        return this.#readAnswered(m.context, m.index);
      case 'TransferLeadership':
        return this.transferLeadership(m.from);
      case 'TimeoutNow':
        return this.forceElection();
      default:
        unreachable(m);
    }
  }

  /** The sender is behind: if it asks for something, the answer carries our term, and that will bring it up. */
  #stepOlderTerm(m: Message): void {
    if (m.type === 'PreVote') {
      this.out.send({ type: 'PreVoteResponse', ...this.#to(m.from), voteGranted: false });
    } else if (m.type === 'RequestVote') {
      this.out.sendAfterSave({ type: 'RequestVoteResponse', ...this.#to(m.from), voteGranted: false });
    } else if (m.type === 'AppendEntries' || m.type === 'Heartbeat') {
      this.#answer(m.from, REFUSED_OLD_TERM);
    }
  }

  /** The sender is ahead of us. False if that is of no concern. */
  #stepNewerTerm(m: Message): boolean {
    const asksForVote = m.type === 'PreVote' || m.type === 'RequestVote';
    const transfer = m.type === 'RequestVote' && m.leadershipTransfer;
    // A server that just heard a leader helps nobody to depose it: it may be the asker that is cut off. (thesis 4.2.3)
    if (asksForVote && !transfer && this.#leaderIsAlive()) return false;
    // A pre-vote is about a term to come, which begins only with the real election.
    if (m.type === 'PreVote') return true;
    if (m.type === 'PreVoteResponse' && m.voteGranted) return m.term === this.term + 1;
    const fromLeader = m.type === 'AppendEntries' || m.type === 'Heartbeat';
    this.#becomeFollower(m.term, fromLeader ? m.from : NOBODY);
    return true;
  }

  #leaderIsAlive(): boolean {
    if (this.leaderId === this.id) return true;
    return this.leaderId !== NOBODY && this.nowMs - this.#leaderContactMs < this.limits.electionTimeoutMs;
  }

  #to(to: NodeId): { group: GroupId; from: NodeId; to: NodeId; term: number } {
    return { group: this.group, from: this.id, to, term: this.term };
  }

  // Elections (§5.2, §5.4.1; pre-vote: thesis 9.6)

  #electionTimeout(): void {
    this.#electionTimer.reset(this.nowMs);
    if (this.#mayCampaign) this.#preCampaign();
  }

  get #mayCampaign(): boolean {
    return !this.#diskStalled && this.log.mayLead(this.id);
  }

  #otherVoters(): NodeId[] {
    return this.configuration.voters.filter((voter) => voter !== this.id);
  }

  #preCampaign(): void {
    assert(this.role !== 'leader', 'a leader does not campaign', this.term);
    this.role = 'preCandidate';
    this.leaderId = NOBODY;
    this.#votes = new Votes(this.configuration);
    const { lastIndex: lastLogIndex, lastTerm: lastLogTerm } = this.log;
    for (const to of this.#otherVoters()) {
      this.out.send({ type: 'PreVote', ...this.#to(to), term: this.term + 1, lastLogIndex, lastLogTerm });
    }
    this.#countVote(this.id, true);
  }

  #campaign(leadershipTransfer: boolean): void {
    assert(this.role !== 'leader', 'a leader does not campaign', this.term);
    this.role = 'candidate';
    this.term++;
    this.votedFor = this.id;
    this.leaderId = NOBODY;
    this.#votes = new Votes(this.configuration);
    this.#electionTimer.retrySoon(this.nowMs);
    // The requests too wait for the disk. If they left first and this server crashed, it could wake up in the old term
    // with a shorter log, ask again for the same term, and count votes that were given to its previous, longer log.
    this.#ownVoteToken = this.#lastToken + 1;
    const { lastIndex: lastLogIndex, lastTerm: lastLogTerm } = this.log;
    const request = { type: 'RequestVote' as const, lastLogIndex, lastLogTerm, leadershipTransfer };
    for (const to of this.#otherVoters()) this.out.sendAfterSave({ ...request, ...this.#to(to) });
  }

  #countVote(voter: NodeId, granted: boolean): void {
    this.#votes.record(voter, granted);
    const { outcome } = this.#votes;
    if (outcome === 'lost') this.#becomeFollower(this.term, NOBODY);
    else if (outcome === 'won' && this.role === 'preCandidate') this.#campaign(false);
    else if (outcome === 'won') this.#becomeLeader();
  }

  #preVote(m: PreVote): void {
    const voteGranted = m.term > this.term && this.log.isUpToDate(m.lastLogIndex, m.lastLogTerm);
    const term = voteGranted ? m.term : this.term;
    this.out.send({ type: 'PreVoteResponse', ...this.#to(m.from), term, voteGranted });
  }

  #requestVote(m: RequestVote): void {
    const free = this.votedFor === m.from || (this.votedFor === NOBODY && this.leaderId === NOBODY);
    const voteGranted = free && this.log.isUpToDate(m.lastLogIndex, m.lastLogTerm);
    if (voteGranted) {
      this.votedFor = m.from;
      this.#electionTimer.reset(this.nowMs);
    }
    this.out.sendAfterSave({ type: 'RequestVoteResponse', ...this.#to(m.from), voteGranted });
  }

  // Roles. These two, #preCampaign and #campaign are the only places where the role changes.

  #becomeFollower(term: number, leaderId: NodeId): void {
    assert(term >= this.term, 'terms never go back', term, this.term);
    const wasLeader = this.leader;
    if (term > this.term) this.votedFor = NOBODY;
    this.term = term;
    this.role = 'follower';
    this.leaderId = leaderId;
    this.leader = undefined;
    this.#votes = new Votes(this.configuration);
    // One that has lost an election keeps its timer: it was set for the next try.
    if (wasLeader !== undefined || leaderId !== NOBODY) this.#electionTimer.reset(this.nowMs);
    if (leaderId === NOBODY) return;
    this.#leaderContactMs = this.nowMs;
    this.#pendingReads.forgetAsked();
    this.#askAgainForReads();
  }

  #becomeLeader(): void {
    assert(this.role === 'candidate', 'a leader was a candidate', this.role);
    assert(this.votedFor === this.id, 'a leader has voted for itself', this.votedFor);
    this.role = 'leader';
    this.leaderId = this.id;
    this.#votes = new Votes(this.configuration);
    this.leader = new Leader(this);
    // An entry of its own term, at once: what came before can be committed only together with it. (§5.4.2, §8)
    const noop = {
      index: this.log.lastIndex + 1,
      term: this.term,
      type: 'noop' as const,
      data: new Uint8Array(),
    };
    this.leader.append(noop);
    if (this.#forced) this.leader.writeConfiguration();
    this.#forced = false;
    for (const context of this.#pendingReads.contexts) this.leader.requestRead({ from: this.id, context });
  }

  // The follower's side of replication (§5.3)

  /** A message that only the leader of this term can have sent. */
  #heardLeader(from: NodeId): void {
    assert(this.role !== 'leader', 'a term has one leader (§5.2)', from, this.id, this.term);
    if (this.leaderId !== from || this.role !== 'follower') this.#becomeFollower(this.term, from);
    this.#leaderContactMs = this.nowMs;
    this.#electionTimer.reset(this.nowMs);
  }

  #appendEntries(m: AppendEntries): void {
    this.#heardLeader(m.from);
    this.#answer(m.from, takeEntries(this.log, m));
  }

  /** The entries must be durable before the sender learns of them; with a refusal the term must, as with a vote. */
  #answer(to: NodeId, answer: AppendEntriesAnswer): void {
    this.out.sendAfterSave({ type: 'AppendEntriesResponse', ...this.#to(to), ...answer });
  }

  #heartbeat(m: Heartbeat): void {
    this.#heardLeader(m.from);
    takeCommit(this.log, m);
    this.#noteAllMatched(m.configurationIndex, m.allMatchedIndex);
    this.out.send({ type: 'HeartbeatResponse', ...this.#to(m.from), readRound: m.readRound });
  }

  // Reads (thesis 6.4): this server's own, whoever leads

  /** Puts every unanswered question to the leader, once per heartbeat interval. */
  #askAgainForReads(): void {
    if (this.leaderId === NOBODY || this.leader !== undefined) return;
    for (const context of this.#pendingReads.takeDue(this.nowMs, this.limits.heartbeatIntervalMs)) {
      this.out.send({ type: 'ReadIndex', ...this.#to(this.leaderId), context });
    }
  }

  #readConfirmed(asker: NodeId, context: number, index: number): void {
    if (asker === this.id) return this.#readAnswered(context, index);
    this.out.send({ type: 'ReadIndexResponse', ...this.#to(asker), context, index });
  }

  #readAnswered(context: number, index: number): void {
    if (this.#pendingReads.answered(context)) this.out.confirmRead({ context, index });
  }
}
