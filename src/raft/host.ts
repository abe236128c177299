/**
 * The home of this server's replicas: joins each consensus core with the log on disk, the links to the peers, and the
 * state machine, and does so in turns.
 *
 * Nothing is acted on the moment it arrives. Messages, proposals, finished writes and timeouts only change the cores;
 * once everything that has arrived in this turn of the event loop is in, one pass per group follows:
 *
 *   apply what is committed -> let the owner propose what has gathered -> send -> write -> (durable) send the rest
 *
 * So all commands of a turn become one entry, one message per peer and one disk write, and what is committed travels
 * with the next entries. After TigerBeetle ("don't do things directly in reaction to external events").
 */
import { assert } from '../lib/assert.ts';
import type { Clock, Timer } from '../lib/env.ts';
import type { MembershipChange } from './configuration.ts';
import type { ConfigurationAt } from './configuration-log.ts';
import type { Message } from './messages.ts';
import type { Raft } from './raft.ts';
import type { ChangeProposed, Proposed, Save } from './ready.ts';
import { type GroupId, NOBODY, type NodeId, type StateMachine } from './types.ts';
import type { Wal } from './wal.ts';

export interface Transport {
  /** Sends to `peer`, now or never: messages may be lost, doubled or late, and are then sent again by Raft. */
  send(peer: NodeId, messages: readonly Message[]): void;
}

/** What the host does with the log on disk; `Wal` is the one there is. */
export type HostLog = Pick<Wal, 'save' | 'read' | 'compact' | 'busySinceMs' | 'bytes' | 'keepBytes'>;

/** For a follower that is being sent a snapshot the log may grow to so many times what is kept else; not more. */
const HELD_LOG_FACTOR = 16;

export interface RaftHostOptions {
  readonly clock: Clock;
  readonly wal: HostLog;
  readonly transport: Transport;
}

export interface ReplicaOptions {
  readonly raft: Raft;
  readonly stateMachine: StateMachine;
  /** Called once a turn, before anything is sent: the time to propose what has gathered. */
  readonly onTurn?: () => void;
  /** The leader, or the term, has changed; `leaderId` is NOBODY while there is none. */
  readonly onLeaderChange?: (leaderId: NodeId, term: number) => void;
  /** Another configuration is in force, or the one in force has been applied. */
  readonly onConfiguration?: (at: ConfigurationAt) => void;
  /** A follower needs a snapshot. `snapshotEnded` must follow, whatever comes of it. */
  readonly onSnapshotNeeded?: (to: NodeId) => void;
  /** Entries behind this one are kept, for a follower that is being sent a snapshot. */
  readonly heldIndex?: () => number;
}

interface ReadBatch {
  readonly context: number;
  readonly waiters: readonly (() => void)[];
}

interface Replica extends ReplicaOptions {
  stateMachine: StateMachine;
  /** It does and hears nothing, as if it were cut off: its state machine is being replaced. */
  suspended: boolean;
  /** The store has everything up to here. */
  checkpointedIndex: number;
  savesUnderWay: number;
  /** Messages that leave when the last save handed to the disk is durable. */
  afterLastSave: Message[];
  applying: boolean;
  /** Reads not yet put to the leader; those that are; those that wait for the state machine. */
  readsWaiting: (() => void)[];
  readsAsked: ReadBatch | undefined;
  readsConfirmed: { readonly index: number; readonly waiters: readonly (() => void)[] }[];
  seenLeaderId: NodeId;
  seenTerm: number;
  seenConfiguration: ConfigurationAt | undefined;
  seenConfigurationApplied: boolean;
}

export class RaftHost {
  readonly #options: RaftHostOptions;
  readonly #replicas = new Map<GroupId, Replica>();
  #turnComing = false;
  #timer: Timer | undefined;
  #timerDueMs = Number.POSITIVE_INFINITY;
  #stopped = false;

  constructor(options: RaftHostOptions) {
    this.#options = options;
  }

  add(options: ReplicaOptions): void {
    const replica: Replica = {
      ...options,
      ...{ suspended: false, checkpointedIndex: options.stateMachine.appliedIndex },
      ...{ savesUnderWay: 0, afterLastSave: [], applying: false },
      ...{ seenConfiguration: undefined, seenConfigurationApplied: false },
      ...{ readsWaiting: [], readsAsked: undefined, readsConfirmed: [] },
      ...{ seenLeaderId: NOBODY, seenTerm: options.raft.term },
    };
    this.#replicas.set(options.raft.group, replica);
    this.#turnSoon();
  }

  /** No more turns: nothing is sent, written, applied or answered any more. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** Messages from a peer. */
  step(messages: readonly Message[]): void {
    for (const message of messages) {
      const replica = this.#replicas.get(message.group);
      if (replica === undefined || replica.suspended || message.to !== replica.raft.id) continue;
      this.#tick(replica);
      replica.raft.step(message);
    }
    this.#turnSoon();
  }

  /** See `Raft.propose`. From within `onTurn` the entry still leaves in this turn. */
  propose(group: GroupId, data: Uint8Array): Proposed {
    const proposed = this.#replica(group).raft.propose(data);
    if (proposed.accepted) this.#turnSoon();
    return proposed;
  }

  /**
   * Calls `done` when a read on this server's replica is linearizable, that is, sees everything that was acknowledged
   * before this call. While there is no leader it waits, without a deadline.
   */
  read(group: GroupId, done: () => void): void {
    this.#replica(group).readsWaiting.push(done);
    this.#turnSoon();
  }

  /** `done` of an earlier `read` is not wanted any more. It may still be called if the question has left already. */
  cancelRead(group: GroupId, done: () => void): void {
    const { readsWaiting } = this.#replica(group);
    const at = readsWaiting.indexOf(done);
    if (at >= 0) readsWaiting.splice(at, 1);
  }

  transferLeadership(group: GroupId, to: NodeId): void {
    this.#replica(group).raft.transferLeadership(to);
    this.#turnSoon();
  }

  /** See `Raft.requestLeadership`. */
  requestLeadership(group: GroupId): void {
    this.#replica(group).raft.requestLeadership();
    this.#turnSoon();
  }

  /** See `Raft.forceElection`. */
  forceElection(group: GroupId): void {
    const replica = this.#replica(group);
    if (replica.suspended) return;
    this.#tick(replica);
    replica.raft.forceElection();
    this.#turnSoon();
  }

  /** See `Raft.changeMembers`. */
  changeMembers(group: GroupId, change: MembershipChange): ChangeProposed {
    const proposed = this.#replica(group).raft.changeMembers(change);
    if (proposed.accepted) this.#turnSoon();
    return proposed;
  }

  /** See `Raft.snapshotEnded`. */
  snapshotEnded(group: GroupId, to: NodeId, index: number | undefined): void {
    const replica = this.#replica(group);
    replica.raft.snapshotEnded(to, index);
    this.#compact(replica);
    this.#turnSoon();
  }

  /**
   * Cuts the replica off from everything, until `resume`: false when it cannot be done now, because it leads, or asks
   * for votes, or is in the middle of applying or writing.
   */
  suspend(group: GroupId): boolean {
    const replica = this.#replica(group);
    // A write under way too: what it makes durable, a term above all, comes before the state of a snapshot.
    const busy = replica.applying || replica.savesUnderWay > 0;
    if (replica.raft.role !== 'follower' || busy) return false;
    replica.suspended = true;
    return true;
  }

  /** After `suspend`. With `restored`, the state machine is another one: that of a leader's snapshot, in the store. */
  resume(
    group: GroupId,
    restored?: {
      readonly stateMachine: StateMachine;
      readonly index: number;
      readonly term: number;
      readonly configuration: ConfigurationAt;
    },
  ): void {
    const replica = this.#replica(group);
    assert(replica.suspended, 'a replica that was suspended is resumed', group);
    replica.suspended = false;
    if (restored !== undefined) {
      assert(
        restored.stateMachine.appliedIndex === restored.index,
        'the snapshot is the state',
        restored.index,
      );
      replica.stateMachine = restored.stateMachine;
      replica.raft.restore(restored);
      this.#releaseReads(replica);
      this.checkpointed(group, restored.index);
    }
    this.#turnSoon();
  }

  /** A link to `peer` broke, and what was on it may be lost. */
  unreachable(peer: NodeId): void {
    for (const replica of this.#replicas.values()) replica.raft.unreachable(peer);
    this.#turnSoon();
  }

  /** The state machine's state after entry `index` is durable elsewhere: the log need not hold it for this server. */
  checkpointed(group: GroupId, index: number): void {
    const replica = this.#replica(group);
    assert(index <= replica.raft.log.appliedIndex, 'only what is applied is in a checkpoint', index);
    replica.checkpointedIndex = index;
    this.#compact(replica);
  }

  #compact({ raft, checkpointedIndex, heldIndex }: Replica): void {
    const { wal } = this.#options;
    const mayHold = wal.bytes <= HELD_LOG_FACTOR * wal.keepBytes;
    const needs = {
      checkpointedIndex,
      matchedIndex: raft.allMatchedIndex,
      heldIndex: mayHold && heldIndex !== undefined ? heldIndex() : Number.POSITIVE_INFINITY,
    };
    const begin = wal.compact(raft.group, needs);
    if (begin > raft.log.compactedIndex) raft.compacted(begin);
  }

  /** Something the owner holds back may be possible now: have a turn. */
  turnSoon(): void {
    this.#turnSoon();
  }

  #replica(group: GroupId): Replica {
    const replica = this.#replicas.get(group);
    assert(replica !== undefined, 'the group is on this server', group);
    return replica;
  }

  #turnSoon(): void {
    if (this.#turnComing || this.#stopped) return;
    this.#turnComing = true;
    this.#options.clock.endOfTurn(() => {
      this.#turnComing = false;
      if (!this.#stopped) this.#turn();
    });
  }

  #turn(): void {
    for (const replica of this.#replicas.values()) {
      if (replica.suspended) continue;
      this.#tick(replica);
      this.#apply(replica);
      this.#noticeLeader(replica);
      this.#noticeConfiguration(replica);
      replica.onTurn?.();
      this.#askForReads(replica);
      this.#carryOut(replica);
    }
    this.#setTimer();
  }

  #tick(replica: Replica): void {
    const nowMs = this.#options.clock.monotonicMs();
    const { raft } = replica;
    const busySinceMs = this.#options.wal.busySinceMs ?? nowMs;
    raft.diskStalled(nowMs - busySinceMs > raft.limits.electionTimeoutMs);
    raft.tick(nowMs);
  }

  #apply(replica: Replica): void {
    const { raft, stateMachine } = replica;
    if (replica.applying) return;
    const entries = raft.takeCommitted();
    const last = entries.at(-1);
    if (last === undefined) return;
    replica.applying = true;
    stateMachine.apply(entries, () => {
      assert(
        stateMachine.appliedIndex === last.index,
        'all is applied',
        stateMachine.appliedIndex,
        last.index,
      );
      replica.applying = false;
      raft.applied(last.index);
      this.#releaseReads(replica);
      this.#turnSoon();
    });
  }

  #noticeLeader(replica: Replica): void {
    const { leaderId, term } = replica.raft;
    if (leaderId === replica.seenLeaderId && term === replica.seenTerm) return;
    replica.seenLeaderId = leaderId;
    replica.seenTerm = term;
    replica.onLeaderChange?.(leaderId, term);
  }

  #noticeConfiguration(replica: Replica): void {
    const at = replica.raft.log.configuration;
    const applied = at.index <= replica.stateMachine.appliedIndex;
    if (at === replica.seenConfiguration && applied === replica.seenConfigurationApplied) return;
    replica.seenConfiguration = at;
    replica.seenConfigurationApplied = applied;
    replica.onConfiguration?.(at);
  }

  /** One question is out at a time; it asks for all reads that had come when it left. */
  #askForReads(replica: Replica): void {
    if (replica.readsWaiting.length === 0 || replica.readsAsked !== undefined) return;
    const waiters = replica.readsWaiting;
    replica.readsWaiting = [];
    replica.readsAsked = { context: replica.raft.read(), waiters };
  }

  #carryOut(replica: Replica): void {
    const { raft } = replica;
    const ready = raft.ready();
    this.#send(ready.messages);
    if (ready.save !== undefined) this.#save(replica, ready.save, ready.messagesAfterSave);
    else if (replica.savesUnderWay === 0) this.#send(ready.messagesAfterSave);
    else replica.afterLastSave.push(...ready.messagesAfterSave);
    for (const fetch of ready.fetches) {
      this.#options.wal.read(raft.group, fetch.from, (entries) => {
        if (this.#stopped) return;
        raft.fetched(fetch.to, entries);
        this.#turnSoon();
      });
    }
    for (const follower of ready.snapshots) replica.onSnapshotNeeded?.(follower);
    for (const { context, index } of ready.reads) {
      assert(replica.readsAsked?.context === context, 'the question that was out is answered', context);
      replica.readsConfirmed.push({ index, waiters: replica.readsAsked.waiters });
      replica.readsAsked = undefined;
      if (replica.readsWaiting.length > 0) this.#turnSoon();
    }
    this.#releaseReads(replica);
  }

  #save(replica: Replica, save: Save, messagesAfterSave: readonly Message[]): void {
    replica.savesUnderWay++;
    // Messages of later turns that bring no save of their own speak of this one too, and join it.
    const afterSave = [...messagesAfterSave];
    replica.afterLastSave = afterSave;
    this.#options.wal.save(replica.raft.group, save, () => {
      if (this.#stopped) return;
      replica.savesUnderWay--;
      if (!replica.suspended) this.#tick(replica);
      replica.raft.persisted(save.token);
      this.#send(afterSave);
      this.#turnSoon();
    });
  }

  #send(messages: readonly Message[]): void {
    if (messages.length === 0) return;
    const byPeer = new Map<NodeId, Message[]>();
    for (const message of messages) {
      const forPeer = byPeer.get(message.to);
      if (forPeer === undefined) byPeer.set(message.to, [message]);
      else forPeer.push(message);
    }
    for (const [peer, forPeer] of byPeer) this.#options.transport.send(peer, forPeer);
  }

  #releaseReads(replica: Replica): void {
    const { appliedIndex } = replica.stateMachine;
    while (replica.readsConfirmed.length > 0 && replica.readsConfirmed[0]!.index <= appliedIndex) {
      for (const waiter of replica.readsConfirmed.shift()!.waiters) waiter();
    }
  }

  /** One timer for all groups. It is moved only forward in time; one that rings early finds nothing due and is set again. */
  #setTimer(): void {
    let dueMs = Number.POSITIVE_INFINITY;
    for (const { raft } of this.#replicas.values()) dueMs = Math.min(dueMs, raft.deadlineMs);
    if (dueMs >= this.#timerDueMs) return;
    this.#timer?.cancel();
    this.#timerDueMs = dueMs;
    const delayMs = Math.max(0, dueMs - this.#options.clock.monotonicMs());
    this.#timer = this.#options.clock.after(delayMs, () => {
      this.#timerDueMs = Number.POSITIVE_INFINITY;
      this.#turnSoon();
    });
  }
}
