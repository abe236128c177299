/**
 * What the commands that concern a server may see of it, and the kind of rows they are.
 */
import type { CommandRow, ReadCommand, WriteCommand } from '../kv/command.ts';
import type { Clock, System } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';
import type { Client } from '../resp/client.ts';
import type { ErrorReply, Reply } from '../resp/reply.ts';
import type { Request } from '../resp/request.ts';
import type { Config } from './config.ts';
import type { Replica } from './replica.ts';

export interface Member {
  readonly id: NodeId;
  readonly name: string;
  readonly host: string;
  /** For clients. */
  readonly port: number;
  readonly peerPort: number;
}

export interface PeerStatus {
  readonly connected: boolean;
  /** By the monotonic clock; undefined: never. */
  readonly lastHeardMs: number | undefined;
}

/** Counters since the server started, or since CONFIG RESETSTAT. */
export class Stats {
  connectionsReceived = 0;
  connectionsRejected = 0;
  commandsProcessed = 0;
  errorReplies = 0;
  readonly errorsByCode = new Map<string, number>();
  bytesIn = 0;
  bytesOut = 0;

  countError(error: ErrorReply): void {
    this.errorReplies++;
    // Codes are ours, so their number is small.
    this.errorsByCode.set(error.code, (this.errorsByCode.get(error.code) ?? 0) + 1);
  }

  reset(): void {
    this.connectionsReceived = 0;
    this.connectionsRejected = 0;
    this.commandsProcessed = 0;
    this.errorReplies = 0;
    this.errorsByCode.clear();
    this.bytesIn = 0;
    this.bytesOut = 0;
  }
}

export interface ServerContext {
  readonly version: string;
  /** 40 random hexadecimal digits, new at every start. */
  readonly runId: string;
  readonly clock: Clock;
  readonly system: System;
  readonly config: Config;
  readonly clusterId: string;
  readonly self: Member;
  readonly members: readonly Member[];
  readonly replica: Replica;
  readonly clients: ReadonlyMap<number, Client>;
  readonly stats: Stats;
  readonly commands: ReadonlyMap<string, AnyCommand>;
  /** By the monotonic and by the wall clock. */
  readonly startedAt: { readonly monotonicMs: number; readonly wallMs: number };
  peerStatus(id: NodeId): PeerStatus;
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

export type AnyCommand = ReadCommand | WriteCommand | ServerCommand;

/** A member's id as the CLUSTER commands show it: 40 hexadecimal digits, as Redis's are. */
export function memberIdText(id: NodeId): string {
  return id.toString(16).padStart(40, '0');
}
