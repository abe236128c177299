/**
 * The replicated state on this server with what works on it: checkpoints, and the removal of expired keys. When a
 * snapshot takes the state's place, all of it is replaced as one.
 */
import type { KvStateMachine } from '../kv/state-machine.ts';
import type { Env, Store } from '../lib/env.ts';
import { type Configuration, decodeConfiguration } from '../raft/configuration.ts';
import type { ConfigurationAt } from '../raft/configuration-log.ts';
import { Checkpointer, type CheckpointLimits } from './checkpointer.ts';
import { Expirer } from './expirer.ts';
import type { Waiter } from './writes.ts';

export interface ReplicaStateOptions {
  readonly store: Store;
  readonly checkpoints: CheckpointLimits;
  readonly onCheckpoint: (index: number) => void;
  readonly onFatal: (error: Error) => void;
  /** Whether this server leads, and has room on its disk. */
  readonly mayWrite: () => boolean;
  readonly write: (db: number, argv: readonly Uint8Array[], waiter: Waiter) => void;
}

export class ReplicaState {
  readonly stateMachine: KvStateMachine;
  readonly checkpointer: Checkpointer;
  readonly #expirer: Expirer;

  /** `checkpointedIndex`: what the store has of the state. */
  constructor(
    env: Env,
    options: ReplicaStateOptions,
    stateMachine: KvStateMachine,
    checkpointedIndex = stateMachine.appliedIndex,
  ) {
    const { clock, log } = env;
    const { store, checkpoints, onCheckpoint, onFatal, mayWrite, write } = options;
    this.stateMachine = stateMachine;
    this.checkpointer = new Checkpointer({
      ...{ clock, log, store, stateMachine, limits: checkpoints, onCheckpoint, onFatal },
      checkpointedIndex,
    });
    this.#expirer = new Expirer({ clock, stateMachine, mayWrite, write });
  }

  /** Nothing of it writes any more once this resolves: a checkpoint under way is waited for. */
  retire(): Promise<void> {
    this.#expirer.stop();
    return this.checkpointer.stop();
  }
}

/** What the state machine keeps of configurations, read; before the first one, the founding one. */
export function configurationOf(
  { index, data }: { index: number; data: Uint8Array },
  founding: Configuration,
): ConfigurationAt {
  return index === 0
    ? { index, configuration: founding }
    : { index, configuration: decodeConfiguration(data) };
}
