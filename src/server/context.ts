/**
 * What the commands that concern a server may see of it, and the kind of rows they are.
 */

import type { Config } from '../config/config.ts';
import type { CommandRow, ReadCommand, ScanCommand, WriteCommand } from '../kv/command.ts';
import type { Clock, Log, Random, System } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';
import type { Client } from '../resp/client.ts';
import type { ErrorReply, Reply } from '../resp/reply.ts';
import type { Request } from '../resp/request.ts';
import type { ClientPause } from './client-pause.ts';
import type { Member } from './member.ts';
import type { Monitors } from './monitor.ts';
import type { Node, PeerStatus } from './node.ts';
import type { Replica } from './replica.ts';
import type { RunningTotals, Stats } from './stats.ts';

export interface ServerContext {
  readonly version: string;
  /** 40 random hexadecimal digits, new at every start. */
  readonly runId: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly system: System;
  readonly log: Log;
  readonly config: Config;
  readonly clusterId: string;
  readonly self: Member;
  readonly members: readonly Member[];
  readonly node: Node;
  readonly replica: Replica;
  /** Why no data can be had here, if so. */
  readonly unavailable: ErrorReply | undefined;
  readonly clients: ReadonlyMap<number, Client>;
  readonly monitors: Monitors;
  readonly transactions: TransactionState;
  readonly service: ServiceDoor;
  readonly pause: ClientPause;
  readonly stats: Stats;
  readonly commands: ReadonlyMap<string, AnyCommand>;
  /** By the monotonic and by the wall clock. */
  readonly startedAt: { readonly monotonicMs: number; readonly wallMs: number };
  peerStatus(id: NodeId): PeerStatus;
  runningTotals(): RunningTotals;
  /** Writes what CONFIG SET has changed into the configuration file, which there is. `done` comes later, once. */
  rewriteConfigFile(done: (error: Error | null) => void): void;
  /** Stops the server in order, and ends the process. */
  shutdown(): void;
  /** DEBUG SET-ACTIVE-EXPIRE: whether keys whose time is over are removed before anybody asks for them. */
  setActiveExpire(active: boolean, done: (reply: Reply) => void): void;
}

/** What MULTI, EXEC and their like do: see transactions.ts. */
export interface TransactionState {
  multi(client: Client): Reply;
  /** Answers the request, now or later. */
  exec(request: Request): void;
  discard(client: Client): Reply;
  /** Undefined: it answers the call's request later. */
  watch(call: Call): Reply | undefined;
  unwatch(client: Client): Reply;
  /** Whatever was queued and watched is forgotten. */
  drop(client: Client): void;
}

/** The service in this server, if there is one: see service-slot.ts. */
export interface ServiceDoor {
  /** `name`: of its command, in lower case and without the prefix. Undefined: it answers the request, now or later. */
  execute(name: string, call: Call): Reply | undefined;
  /** None without a service. */
  info(): readonly (readonly [string, string | number])[];
}

export interface Call {
  readonly argv: readonly Uint8Array[];
  readonly client: Client;
  readonly server: ServerContext;
  /** To be resolved by a function that returned `undefined`. */
  readonly request: Request;
}

/** A command on a server or a connection. `barrier`: it changes how what follows on the connection is understood. */
export interface ServerCommand extends CommandRow {
  readonly kind: 'local' | 'barrier';
  readonly run: (call: Call) => Reply | undefined;
  readonly subcommands?: readonly ServerCommand[];
}

export type AnyCommand = ReadCommand | WriteCommand | ScanCommand | ServerCommand;

/** A member's id as the CLUSTER commands show it: 40 hexadecimal digits, as Redis's are. */
export function memberIdText(id: NodeId): string {
  return id.toString(16).padStart(40, '0');
}
