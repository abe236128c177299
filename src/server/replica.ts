/**
 * This server's replica of a group, whole: consensus core, log, store, state machine, and the ways in for clients'
 * commands. It knows no socket and no client; `server.ts` puts those around it, the simulator other things.
 *
 *   write -> Writes --run--> Proposer (on the leader) --entry--> RaftHost -> log and peers
 *                                                                   | committed
 *   reply <- Writes <--applied-- KvStateMachine <-------------------+        Checkpointer -> store
 *   read  -> Reads --> RaftHost (read index) --> KvStateMachine
 */

import type { Transaction } from '../kv/batch.ts';
import { keyIndexes, type ReadCommand, type ScanCommand } from '../kv/command.ts';
import { REMOVE_EXPIRED } from '../kv/internal-commands.ts';
import { type KvOptions, KvStateMachine } from '../kv/state-machine.ts';
import { accepts } from '../kv/table.ts';
import { assert } from '../lib/assert.ts';
import { fromLatin1 } from '../lib/bytes.ts';
import type { Env, Store, Timer } from '../lib/env.ts';
import { CorruptionError } from '../lib/errors.ts';
import type { Configuration, MembershipChange } from '../raft/configuration.ts';
import type { ConfigurationAt } from '../raft/configuration-log.ts';
import { RaftHost } from '../raft/host.ts';
import type { RaftLimits } from '../raft/limits.ts';
import { EMPTY_LOG } from '../raft/log.ts';
import type { Message } from '../raft/messages.ts';
import { Raft } from '../raft/raft.ts';
import { type GroupId, NOBODY, type NodeId } from '../raft/types.ts';
import { Wal } from '../raft/wal.ts';
import type { Reply } from '../resp/reply.ts';
import { type ObserverTarget, observe } from './apply-observer.ts';
import type { Checkpointer, CheckpointLimits, CheckpointStatus } from './checkpointer.ts';
import { DiskFull } from './disk-full.ts';
import { KeyViews } from './key-views.ts';
import { Membership } from './membership.ts';
import type { PeerMessage, PeerTransport } from './peer-message.ts';
import { Proposer } from './proposer.ts';
import { type ReadQuery, Reads } from './reads.ts';
import { configurationOf, ReplicaState } from './replica-state.ts';
import type { OpenStream } from './snapshot-sender.ts';
import { Snapshots } from './snapshots.ts';
import { type Waiter, Writes } from './writes.ts';

export interface ReplicaOptions {
  readonly group: GroupId;
  readonly id: NodeId;
  /** The configuration until the log tells of another. */
  readonly founding: Configuration;
  /** The founding configuration holds, whatever the log tells: see --force-new-cluster. */
  readonly forced?: boolean;
  /** The server's data directory; exists. */
  readonly directory: string;
  readonly store: Store;
  readonly limits: RaftLimits;
  readonly walSegmentBytes: number;
  /** Of the log that the store has too, for followers that lag. */
  readonly walKeepBytes: number;
  readonly memoryBytesMax: number;
  readonly commandTimeoutMs: number;
  readonly reads: 'linearizable' | 'local';
  readonly checkpoints: CheckpointLimits;
  readonly transport: PeerTransport & { openStream: OpenStream };
  readonly snapshotBytesPerSecond: () => number;
  /** A member's name, for the log. */
  readonly nameOf: (id: NodeId) => string;
  /** The disk failed or is corrupt: the process must end, after it has said so. */
  readonly onFatal: (error: Error) => void;
  /** Whether a change of the members makes sense to the owner; whoever leads asks. */
  readonly isSound?: (configuration: Configuration, change: MembershipChange) => boolean;
  /** Another configuration is in force, or the one in force has been applied here. */
  readonly onConfiguration?: (at: ConfigurationAt) => void;
  /** Clients that were held back may go on. */
  readonly onRoom: () => void;
}

/** How often deadlines and retries are looked at; they are that much late at most. */
const TICK_MS = 50;
/** The same while nobody waits for anything. */
const IDLE_TICK_MS = 1000;
const REMOVE_EXPIRED_NAME = fromLatin1(REMOVE_EXPIRED);

export class Replica {
  readonly raft: Raft;
  readonly writes: Writes;
  readonly #env: Env;
  readonly #options: ReplicaOptions;
  readonly #host: RaftHost;
  readonly #wal: Wal;
  readonly #proposer: Proposer;
  readonly #reads: Reads;
  readonly #machineOptions: KvOptions;
  #state: ReplicaState;
  #memoryBytesMax: number;
  readonly #membership: Membership;
  readonly snapshots: Snapshots;
  readonly views: KeyViews;
  readonly #diskFull: DiskFull;
  #ticker: Timer | undefined;
  #idle = false;
  #stopped = false;

  private constructor(env: Env, options: ReplicaOptions, parts: ReplicaParts) {
    this.#env = env;
    this.#options = options;
    this.raft = parts.raft;
    this.#wal = parts.wal;
    this.#machineOptions = parts.machineOptions;
    this.#memoryBytesMax = options.memoryBytesMax;
    this.#state = this.#makeState(parts.stateMachine);
    this.#host = new RaftHost({ clock: env.clock, wal: parts.wal, transport: this.#raftTransport() });
    this.#diskFull = this.#makeDiskFull();
    this.#proposer = this.#makeProposer();
    this.writes = this.#makeWrites();
    parts.observer.proposer = this.#proposer;
    parts.observer.writes = this.writes;
    this.views = this.#makeViews();
    parts.observer.views = this.views;
    this.#reads = this.#makeReads();
    this.#membership = this.#makeMembership();
    this.snapshots = this.#makeSnapshots();
    this.#host.add({
      raft: this.raft,
      stateMachine: this.stateMachine,
      onTurn: () => this.#turn(),
      onLeaderChange: (leaderId) => this.#leaderChanged(leaderId),
      onConfiguration: (at) => this.#configurationChanged(at),
      onSnapshotNeeded: (follower) => this.snapshots.send(follower),
      heldIndex: () => this.snapshots.heldIndex,
    });
    this.#tick();
  }

  /** Recovers what the directory holds, or begins anew. Throws CorruptionError, DiskFullError. */
  static async start(env: Env, options: ReplicaOptions): Promise<Replica> {
    const observer: Partial<ObserverTarget> = {};
    const machineOptions: KvOptions = {
      group: options.group,
      observer: observe(observer),
      onFatal: options.onFatal,
      memoryBytesMax: options.memoryBytesMax,
      later: (callback) => void env.clock.after(0, callback),
      chance: () => env.random.below(2 ** 32) / 2 ** 32,
    };
    const stateMachine = await KvStateMachine.recover(options.store, machineOptions);
    const { wal, recovered } = await Wal.open({
      ...{ disk: env.disk, clock: env.clock, random: env.random, log: env.log, onFatal: options.onFatal },
      directory: `${options.directory}/wal`,
      segmentBytes: options.walSegmentBytes,
      keepBytes: options.walKeepBytes,
      stateOf: () => stateMachine,
    });
    const known = recovered.get(options.group);
    if (known === undefined && stateMachine.appliedIndex > 0) {
      throw new CorruptionError(`${options.directory} has a store and no log: the log was removed or lost`);
    }
    const raft = new Raft({
      ...{ group: options.group, id: options.id, limits: options.limits },
      configuration: options.forced
        ? { index: known?.log.lastIndex ?? 0, configuration: options.founding }
        : configurationOf(stateMachine.configuration, options.founding),
      forced: options.forced,
      hardState: known?.hardState ?? { term: 0, votedFor: NOBODY },
      log: known?.log ?? EMPTY_LOG,
      random: env.random,
      nowMs: env.clock.monotonicMs(),
    });
    return new Replica(env, options, { raft, stateMachine, machineOptions, wal, observer });
  }

  get stateMachine(): KvStateMachine {
    return this.#state.stateMachine;
  }

  get #checkpointer(): Checkpointer {
    return this.#state.checkpointer;
  }

  /** For records in memory, by estimate. */
  set memoryBytesMax(bytes: number) {
    this.#memoryBytesMax = bytes;
    this.stateMachine.memoryBytesMax = bytes;
  }

  // Ways in

  /** Whether clients' writes are refused because there is no room for them. */
  get diskFull(): boolean {
    return this.#diskFull.full;
  }

  /** The log entry up to which the store has everything. */
  get checkpointedIndex(): number {
    return this.#checkpointer.checkpointedIndex;
  }

  /** Of all files of the log. */
  get logBytes(): number {
    return this.#wal.bytes;
  }

  get checkpoints(): CheckpointStatus {
    return this.#checkpointer.status;
  }

  /** Everything applied so far is brought to the store as soon as that can be. */
  requestCheckpoint(): void {
    this.#checkpointer.request();
  }

  /** Calls `done`, not before this returns, once everything applied so far is in the store; or with the error. */
  flush(done: (error: Error | null) => void): void {
    this.#checkpointer.flush(done);
  }

  write(db: number, argv: readonly Uint8Array[], waiter: Waiter): void {
    assert(!this.#stopped, 'a replica that runs takes writes');
    this.writes.submit(db, argv, waiter);
    if (this.#idle) this.#wake();
  }

  transact(transaction: Transaction, waiter: Waiter): void {
    assert(!this.#stopped, 'a replica that runs takes transactions');
    this.writes.submitTransaction(transaction, waiter);
    if (this.#idle) this.#wake();
  }

  read(db: number, command: ReadCommand | ScanCommand, argv: readonly Uint8Array[], waiter: Waiter): void {
    assert(!this.#stopped, 'a replica that runs takes reads');
    this.#reads.submit({ db, command, argv }, waiter);
    if (this.#idle) this.#wake();
  }

  /** See `Membership.change`. */
  changeMembers(...[change, done]: Parameters<Membership['change']>): void {
    assert(!this.#stopped, 'a replica that runs takes changes of the members');
    this.#membership.change(change, done);
    if (this.#idle) this.#wake();
  }

  /** See `Membership.takeOver`. */
  takeOver(...[how, done]: Parameters<Membership['takeOver']>): void {
    this.#membership.takeOver(how, done);
  }

  receive(from: NodeId, messages: readonly PeerMessage[]): void {
    if (this.#stopped) return;
    for (const message of messages) {
      this.#receive(from, message);
    }
  }

  #receive(from: NodeId, message: PeerMessage): void {
    switch (message.kind) {
      case 'raft':
        return this.#step(message.message);
      case 'writes':
        return this.#peerWrites(from, message.run);
      case 'diskFull':
        if (from === this.raft.leaderId) this.#diskFull.heard(message.full);
        return;
      case 'change':
        return this.#membership.asked(from, message.request, message.change);
      case 'noChange':
        return this.#membership.refused(message.request, message.reason);
    }
  }

  #step(message: Message): void {
    try {
      this.#host.step([message]);
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      // This server has lost what it acknowledged: no bug, but it must end.
      this.#options.onFatal(error);
    }
  }

  #peerWrites(from: NodeId, run: Uint8Array): void {
    if (!this.#proposer.offerFromPeer(run)) {
      this.#env.log.warning('a peer sent writes that make no sense; they were ignored', {
        peer: this.#options.nameOf(from),
      });
      return;
    }
    if (this.diskFull) this.#tellDiskFull(from, true);
    this.#host.turnSoon();
  }

  peerUnreachable(peer: NodeId): void {
    if (!this.#stopped) this.#host.unreachable(peer);
  }

  /** Hands leadership, if this server has it, to the peer whose log is nearest to whole. Harmless to call again. */
  giveUpLeadership(): void {
    const { leader, group } = this.raft;
    if (leader === undefined || leader.transferTarget !== NOBODY) return;
    const successor = leader.bestSuccessor();
    if (successor !== undefined) this.#host.transferLeadership(group, successor);
  }

  /** Ends service: a last checkpoint if the disk allows, then everything is closed but the store. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#ticker?.cancel();
    this.#host.stop();
    this.snapshots.stop();
    this.views.stop();
    this.#checkpointer.begin();
    await this.#state.retire();
    await this.#wal.close();
    this.#membership.stop();
    this.writes.giveUp();
    this.#reads.giveUp();
  }

  // The parts

  #makeProposer(): Proposer {
    return new Proposer({
      clock: this.#env.clock,
      propose: (data) => this.#host.propose(this.raft.group, data),
      isLeader: () => this.raft.role === 'leader',
      appliedIndex: () => this.stateMachine.appliedIndex,
      logTimeMs: () => this.stateMachine.logTimeMs,
      accepts,
    });
  }

  #makeWrites(): Writes {
    const { commandTimeoutMs, onRoom, transport } = this.#options;
    return new Writes({
      ...{ clock: this.#env.clock, random: this.#env.random, commandTimeoutMs, onRoom },
      turnSoon: () => this.#host.turnSoon(),
      send: (leader, run) => {
        if (leader === this.raft.id) return this.#proposer.offer(run);
        transport.send(leader, [{ kind: 'writes', group: this.raft.group, run }]);
        return false;
      },
    });
  }

  #makeReads(): Reads {
    return new Reads({
      clock: this.#env.clock,
      commandTimeoutMs: this.#options.commandTimeoutMs,
      mode: this.#options.reads,
      whenReadable: (done) => this.#host.read(this.raft.group, done),
      cancel: (done) => this.#host.cancelRead(this.raft.group, done),
      read: (query, done) => this.#read(query, done),
      removeExpired: ({ db, command, argv }, waiter) => {
        const { first, last, step } = keyIndexes(command.keys, argv.length);
        const keys: Uint8Array[] = [];
        for (let i = first; i <= last; i += step) keys.push(argv[i]!);
        if (keys.length === 0) this.writes.submitAdvance(waiter);
        else this.writes.submit(db, [REMOVE_EXPIRED_NAME, ...keys], waiter);
      },
    });
  }

  #makeState(stateMachine: KvStateMachine, checkpointedIndex = stateMachine.appliedIndex): ReplicaState {
    const { store, checkpoints, onFatal } = this.#options;
    return new ReplicaState(
      this.#env,
      {
        ...{ store, checkpoints, onFatal },
        // One for a view may be in the middle of what is being applied.
        onCheckpoint: (index) =>
          this.#host.checkpointed(this.raft.group, Math.min(index, this.raft.log.appliedIndex)),
        mayWrite: () => this.raft.role === 'leader' && !this.diskFull,
        write: (db, argv, waiter) => this.write(db, argv, waiter),
      },
      stateMachine,
      checkpointedIndex,
    );
  }

  #makeViews(): KeyViews {
    const { store, onFatal } = this.#options;
    return new KeyViews({
      ...{ clock: this.#env.clock, log: this.#env.log, store, onFatal },
      diskFull: () => this.diskFull,
      write: (db, argv, waiter) => this.write(db, argv, waiter),
      cut: (cut) => this.#checkpointer.cut(cut),
    });
  }

  #makeDiskFull(): DiskFull {
    return new DiskFull({
      clock: this.#env.clock,
      isLeader: () => this.raft.role === 'leader',
      isFull: () => this.#wal.full || this.#checkpointer.overfull,
      peers: () => this.raft.configuration.others(this.raft.id),
      tell: (peer, full) => this.#tellDiskFull(peer, full),
    });
  }

  #tellDiskFull(peer: NodeId, full: boolean): void {
    this.#options.transport.send(peer, [{ kind: 'diskFull', group: this.raft.group, full }]);
  }

  #makeMembership(): Membership {
    const { commandTimeoutMs, transport, isSound } = this.#options;
    return new Membership({
      ...{ clock: this.#env.clock, random: this.#env.random, timeoutMs: commandTimeoutMs, transport },
      ...{ raft: this.raft, host: this.#host },
      configuration: () => this.configuration.configuration,
      isSound: isSound ?? (() => true),
    });
  }

  #makeSnapshots(): Snapshots {
    const { store, transport, snapshotBytesPerSecond, nameOf, onFatal, founding } = this.#options;
    return new Snapshots(this.#env, {
      ...{ store, nameOf, onFatal, founding, bytesPerSecond: snapshotBytesPerSecond },
      ...{ raft: this.raft, host: this.#host },
      openStream: (peer, events) => transport.openStream(peer, events),
      machineOptions: () => ({ ...this.#machineOptions, memoryBytesMax: this.#memoryBytesMax }),
      state: () => this.#state,
      replaceState: (stateMachine, checkpointedIndex) => {
        if (stateMachine !== this.stateMachine) this.views.clear();
        this.#state = this.#makeState(stateMachine, checkpointedIndex);
      },
      onRestored: () => this.writes.restored((session) => this.stateMachine.lastSeqOf(session)),
    });
  }

  /** What was begun on a state that has been replaced since is begun anew: the old one is being removed. */
  #read(query: ReadQuery & { nowMs: number }, done: (reply: Reply | undefined) => void): void {
    const { stateMachine } = this;
    stateMachine.read(query, (reply) => {
      if (stateMachine === this.stateMachine) done(reply);
      else this.#read(query, done);
    });
  }

  #raftTransport(): { send(peer: NodeId, messages: readonly Message[]): void } {
    const { transport } = this.#options;
    return {
      send: (peer, messages) =>
        transport.send(
          peer,
          messages.map((message) => ({ kind: 'raft' as const, message })),
        ),
    };
  }

  #turn(): void {
    this.writes.flush();
    this.#proposer.flush();
    this.#checkpointer.consider();
  }

  #leaderChanged(leaderId: NodeId): void {
    this.#diskFull.leaderChanged();
    if (this.raft.role !== 'leader') {
      this.#proposer.drop();
      this.snapshots.leadershipLost();
    }
    this.writes.leaderChanged(leaderId);
    const { term } = this.raft;
    this.#membership.leaderChanged();
    if (leaderId === NOBODY) this.#env.log.notice('there is no leader', { term });
    else if (leaderId === this.raft.id) this.#env.log.notice('became leader', { term });
    else this.#env.log.notice('follows a leader', { term, leader: this.#options.nameOf(leaderId) });
  }

  /** As it is applied here. */
  get configuration(): ConfigurationAt {
    return configurationOf(this.stateMachine.configuration, this.#options.founding);
  }

  #configurationChanged(at: ConfigurationAt): void {
    this.#membership.configurationApplied();
    this.#options.onConfiguration?.(at);
  }

  #tick(): void {
    this.#membership.tick();
    this.writes.tick();
    this.#reads.tick();
    this.#checkpointer.consider();
    this.#diskFull.tick();
    this.#idle = this.writes.idle && this.#reads.idle && this.#membership.idle;
    this.#ticker = this.#env.clock.after(this.#idle ? IDLE_TICK_MS : TICK_MS, () => this.#tick());
  }

  #wake(): void {
    this.#idle = false;
    this.#ticker?.cancel();
    this.#ticker = this.#env.clock.after(TICK_MS, () => this.#tick());
  }
}

interface ReplicaParts {
  readonly raft: Raft;
  readonly stateMachine: KvStateMachine;
  readonly machineOptions: KvOptions;
  readonly wal: Wal;
  readonly observer: Partial<ObserverTarget>;
}
