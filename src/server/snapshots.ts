/**
 * Snapshots of this server's replica: those it sends as the leader, and the one it is sent; and how that takes the place
 * of the state.
 *
 *   1  the snapshot is whole in the store, beside the present state, and adds up          (snapshot-receiver.ts)
 *   2  the replica is cut off from everything; a checkpoint under way is waited for
 *   3  one batch of the store makes the snapshot the state that a restart would find
 *   4  a state machine on it takes the place of the old one, and Raft's log begins anew behind it, first in memory
 *   5  the log on the disk follows with the next write
 *
 * A crash before 3 leaves the old state, after 3 the new one: then the log is found to end before it, or to be another, and
 * recovery does 5 (wal-rebuild.ts).
 */
import { SnapshotWriter } from '../kv/snapshot-writer.ts';
import { type KvOptions, KvStateMachine } from '../kv/state-machine.ts';
import { MalformedError } from '../lib/bytes.ts';
import type { Env, Store } from '../lib/env.ts';
import { CorruptionError, DiskFullError, SnapshotLostError } from '../lib/errors.ts';
import type { Configuration } from '../raft/configuration.ts';
import type { RaftHost } from '../raft/host.ts';
import type { Raft } from '../raft/raft.ts';
import type { NodeId } from '../raft/types.ts';
import type { PeerStream, PeerStreamEvents } from './peer-stream.ts';
import { configurationOf, type ReplicaState } from './replica-state.ts';
import type { SnapshotOffer } from './snapshot-frames.ts';
import { SnapshotReceiver, type SnapshotReception } from './snapshot-receiver.ts';
import { type OpenStream, SnapshotSender, type SnapshotTransfer } from './snapshot-sender.ts';

export interface SnapshotsOptions {
  readonly store: Store;
  readonly raft: Raft;
  readonly host: RaftHost;
  readonly founding: Configuration;
  readonly openStream: OpenStream;
  readonly bytesPerSecond: () => number;
  readonly nameOf: (id: NodeId) => string;
  readonly onFatal: (error: Error) => void;
  /** Of the state machine to be recovered. */
  readonly machineOptions: () => KvOptions;
  readonly state: () => ReplicaState;
  /** `checkpointedIndex`: what the store has of it. */
  readonly replaceState: (stateMachine: KvStateMachine, checkpointedIndex: number) => void;
  /** The state is that of a snapshot. */
  readonly onRestored: () => void;
}

/** `refusal`: why the snapshot was not installed. */
type Installed = (refusal: string | undefined) => void;

const TRY_AGAIN_MS = 10;
const BEING_STOPPED = 'this server is being stopped';

export class Snapshots {
  readonly #env: Env;
  readonly #options: SnapshotsOptions;
  readonly #sender: SnapshotSender;
  readonly #receiver: SnapshotReceiver;
  #stopped = false;

  constructor(env: Env, options: SnapshotsOptions) {
    this.#env = env;
    this.#options = options;
    this.#sender = this.#makeSender();
    this.#receiver = this.#makeReceiver();
  }

  /** The followers that are being sent one. */
  get sent(): readonly SnapshotTransfer[] {
    return this.#sender.transfers;
  }

  /** The one that this server is being sent. */
  get received(): SnapshotReception | undefined {
    return this.#receiver.reception;
  }

  /** The log is kept from here on, for followers that are being sent a snapshot. */
  get heldIndex(): number {
    return this.#sender.heldIndex;
  }

  send(follower: NodeId): void {
    this.#sender.send(follower);
  }

  /** A peer has opened a stream: a snapshot will come. */
  accept(stream: PeerStream): PeerStreamEvents {
    return this.#receiver.accept(stream);
  }

  /** Whether a snapshot up to that entry holds what this server does not know to be committed. */
  isNeeded(index: number): boolean {
    return index > this.#options.raft.log.commitIndex;
  }

  leadershipLost(): void {
    this.#sender.abandonAll();
  }

  stop(): void {
    this.#stopped = true;
    this.#sender.stop();
    this.#receiver.stop();
  }

  #makeSender(): SnapshotSender {
    const { store, raft, host, openStream, bytesPerSecond, nameOf, onFatal } = this.#options;
    const { clock, random, log } = this.#env;
    return new SnapshotSender({
      ...{ clock, random, log, store, group: raft.group, nameOf, bytesPerSecond, openStream, onFatal },
      term: () => raft.term,
      matchIndexOf: (follower) => raft.leader?.progressOf(follower)?.matchIndex ?? 0,
      compactedIndex: () => raft.log.compactedIndex,
      onEnded: (follower, index) => host.snapshotEnded(raft.group, follower, index),
    });
  }

  #makeReceiver(): SnapshotReceiver {
    const { store, raft, nameOf, onFatal } = this.#options;
    return new SnapshotReceiver({
      ...{ clock: this.#env.clock, log: this.#env.log, nameOf, onFatal },
      refusal: (from, offer) => this.#refusal(from, offer),
      open: (offer, done) => SnapshotWriter.open(store, raft.group, offer, done),
      install: (writer, done) => this.#install(writer, done),
      isOperational: (error) =>
        error instanceof DiskFullError ||
        error instanceof CorruptionError ||
        error instanceof MalformedError ||
        error instanceof SnapshotLostError,
    });
  }

  #refusal(from: NodeId, { group, term, index }: SnapshotOffer): string | undefined {
    const { raft } = this.#options;
    if (group !== raft.group) return 'this server has no such group';
    if (from !== raft.leaderId || term !== raft.term) return 'this server follows another leader';
    return this.isNeeded(index) ? undefined : 'it is not needed: the log has as much';
  }

  #install(writer: SnapshotWriter, done: Installed): void {
    const { raft, host, state, onFatal } = this.#options;
    if (this.#stopped) return done(BEING_STOPPED);
    if (!this.isNeeded(writer.index)) return done('it is not needed any more: the log has as much');
    if (raft.role === 'leader') return done('this server leads');
    if (!host.suspend(raft.group)) {
      this.#env.clock.after(TRY_AGAIN_MS, () => this.#install(writer, done));
      return;
    }
    state()
      .retire()
      .then(() => writer.flip((error) => this.#flipped(writer, error, done)), onFatal);
  }

  #flipped(writer: SnapshotWriter, error: Error | null, done: Installed): void {
    const { store, raft, host, state, machineOptions, replaceState, onFatal } = this.#options;
    if (this.#stopped) return done(BEING_STOPPED);
    if (error === null) {
      KvStateMachine.recover(store, machineOptions()).then(
        (machine) => this.#recovered(writer, machine, done),
        onFatal,
      );
      return;
    }
    if (!(error instanceof DiskFullError)) return onFatal(error);
    // Nothing was written: all goes on as it was.
    const { stateMachine, checkpointer } = state();
    replaceState(stateMachine, checkpointer.checkpointedIndex);
    host.resume(raft.group);
    done(error.message);
  }

  #recovered(writer: SnapshotWriter, stateMachine: KvStateMachine, done: Installed): void {
    const { raft, host, founding, state, replaceState, onRestored } = this.#options;
    if (this.#stopped) return done(BEING_STOPPED);
    const before = state().stateMachine;
    const { index, term } = writer;
    replaceState(stateMachine, index);
    before.replaced();
    const configuration = configurationOf(stateMachine.configuration, founding);
    host.resume(raft.group, { stateMachine, index, term, configuration });
    onRestored();
    this.#env.log.notice('took over a snapshot', { index });
    done(undefined);
  }
}
