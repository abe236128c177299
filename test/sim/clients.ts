/**
 * Clients of a simulated cluster, and the history of what they saw.
 *
 * Each client is connected to one server at a time, sends a command or a short pipeline of them, and waits. What a
 * crash or TIMEOUT leaves open is entered with an unknown outcome, and CLUSTERDOWN leaves no trace, since it promises
 * that nothing was executed: if it was, some later read shows it and the history is not linearizable.
 */

import { dataCommands } from '../../src/kv/table.ts';
import { unreachable } from '../../src/lib/assert.ts';
import { fromLatin1, latin1 } from '../../src/lib/bytes.ts';
import { ErrorReply, type Reply } from '../../src/resp/reply.ts';
import type { SwarmClient } from './calls.ts';
import type { Cluster, SimServer } from './cluster.ts';
import type { KvReply, StoreCommand, StoreOp } from './kv-models.ts';
import type { Operation } from './linearizability.ts';
import type { SimRandom } from './random.ts';
import type { Life } from './scheduler.ts';

export interface Workload {
  readonly keys: number;
  readonly operationsPerClient: number;
  readonly pauseMeanMs: number;
  /** Commands sent at once, at most. */
  readonly pipelineMax: number;
  readonly multiKey: boolean;
}

interface Pending {
  readonly command: StoreCommand;
  readonly callMs: number;
  settled: boolean;
}

export class SimClient implements SwarmClient {
  readonly id: number;
  /** What came of it: closed operations, and those of unknown outcome. */
  readonly history: Operation<StoreOp>[] = [];
  done = false;
  notExecuted = 0;
  unknown = 0;
  readonly #cluster: Cluster;
  readonly #random: SimRandom;
  readonly #workload: Workload;
  #server: SimServer;
  #life: Life | undefined;
  #pending: Pending[] = [];
  #left: number;
  #token = 0;

  constructor(cluster: Cluster, id: number, workload: Workload) {
    this.#cluster = cluster;
    this.id = id;
    this.#random = cluster.random.split();
    this.#workload = workload;
    this.#left = workload.operationsPerClient;
    this.#server = this.#random.pick(cluster.serving);
    this.#later();
  }

  get operations(): number {
    return this.history.length;
  }

  #later(): void {
    const pauseMs = this.#random.exponential(this.#workload.pauseMeanMs);
    this.#cluster.scheduler.after(pauseMs, undefined, () => this.#next());
  }

  #next(): void {
    if (this.#left <= 0) {
      this.done = true;
      return;
    }
    const { replica, life } = this.#server;
    if (replica === undefined || this.#random.chance(0.02)) {
      this.#server = this.#random.pick(this.#cluster.serving);
      this.#later();
      return;
    }
    this.#life = life;
    const count = 1 + this.#random.below(this.#workload.pipelineMax);
    const reads = this.#random.chance(0.4);
    for (let i = 0; i < count; i++) this.#send(this.#generate(reads));
    this.#watch();
  }

  /** A pipeline is all reads or all writes: a connection waits in between. */
  #generate(read: boolean): StoreCommand {
    const { multiKey, keys } = this.#workload;
    const key = `k${this.#random.below(keys)}`;
    const counter = `n${this.#random.below(2)}`;
    const value = `${this.id}.${this.#token++};`;
    if (read) {
      if (multiKey && this.#random.chance(0.2)) return { name: 'MGET', keys: ['k0', 'k1', 'k2'] };
      return { name: 'GET', key: this.#random.chance(0.15) ? counter : key };
    }
    if (multiKey && this.#random.chance(0.15)) {
      return { name: 'MSET', pairs: [0, 1, 2].map((i) => [`k${i}`, value] as const) };
    }
    const name = this.#random.pick([
      'SET',
      'APPEND',
      'APPEND',
      'APPEND',
      'DEL',
      'INCR',
      'SETNX',
      'GETSET',
    ] as const);
    switch (name) {
      case 'INCR':
        return { name, key: counter };
      case 'DEL':
        return { name, key };
      case 'SET':
      case 'APPEND':
      case 'SETNX':
      case 'GETSET':
        return { name, key, value };
      default:
        return unreachable(name);
    }
  }

  #send(command: StoreCommand): void {
    this.#left--;
    const pending: Pending = { command, callMs: this.#cluster.scheduler.nowMs, settled: false };
    this.#pending.push(pending);
    const argv = argvOf(command).map(fromLatin1);
    const row = dataCommands.get(command.name.toLowerCase())!;
    const resolve = (reply: Reply) => this.#settled(pending, reply);
    if (row.kind === 'read') this.#server.replica!.read(0, row, argv, { resolve });
    else this.#server.replica!.write(0, argv, { resolve });
  }

  #settled(pending: Pending, reply: Reply): void {
    if (pending.settled) return;
    pending.settled = true;
    if (reply instanceof ErrorReply && reply.code === 'CLUSTERDOWN') this.#refused();
    else if (reply instanceof ErrorReply && reply.code === 'TIMEOUT') this.#enterUnknown(pending);
    else this.#enter(pending, this.#cluster.scheduler.nowMs, kvReply(reply));
    this.#pending = this.#pending.filter((other) => !other.settled);
    if (this.#pending.length === 0) this.#later();
  }

  /** It may know no leader any more: perhaps another server does. */
  #refused(): void {
    this.notExecuted++;
    if (this.#random.chance(0.5)) this.#server = this.#random.pick(this.#cluster.serving);
  }

  #enter(pending: Pending, returnMs: number, reply: KvReply | undefined): void {
    const op: StoreOp = { ...pending.command, reply };
    this.history.push({ client: this.id, op, callMs: pending.callMs, returnMs });
  }

  #enterUnknown(pending: Pending): void {
    this.unknown++;
    this.#enter(pending, Number.POSITIVE_INFINITY, undefined);
  }

  /** A server that crashes takes its connections with it. */
  #watch(): void {
    const life = this.#life;
    const look = () => {
      if (this.#pending.length === 0 || this.#life !== life) return;
      if (life?.alive) {
        this.#cluster.scheduler.after(50, undefined, look);
        return;
      }
      for (const pending of this.#pending) {
        pending.settled = true;
        this.#enterUnknown(pending);
      }
      this.#pending = [];
      this.#later();
    };
    this.#cluster.scheduler.after(50, undefined, look);
  }
}

function argvOf(command: StoreCommand): string[] {
  if (command.name === 'MGET') return [command.name, ...command.keys];
  if (command.name === 'MSET') return [command.name, ...command.pairs.flat()];
  const value = 'value' in command ? [command.value] : [];
  return [command.name, command.key, ...value];
}

function kvReply(reply: Reply): KvReply {
  if (reply === null || typeof reply === 'string' || typeof reply === 'number') return reply;
  if (reply instanceof Uint8Array) return latin1(reply);
  if (reply instanceof ErrorReply) return `-${reply.code} ${reply.message}`;
  return (reply as readonly Reply[]).map((part) => kvReply(part) as string | null);
}
