/**
 * One request of a simulated client at one server, and what came of it.
 */
import type { Transaction } from '../../src/kv/batch.ts';
import { watchedVersions } from '../../src/kv/internal-commands.ts';
import { findDataCommand } from '../../src/kv/table.ts';
import { fromLatin1, latin1 } from '../../src/lib/bytes.ts';
import { ErrorReply, type Reply } from '../../src/resp/reply.ts';
import type { Cluster, SimServer } from './cluster.ts';
import type { Operation } from './linearizability.ts';

export type Request =
  | { readonly kind: 'command'; readonly argv: readonly string[] }
  /** What WATCH asks. */
  | { readonly kind: 'versions'; readonly keys: readonly string[] }
  | { readonly kind: 'transaction'; readonly transaction: Transaction };

/** What the swarm needs to know of a client, whatever it does. */
export interface SwarmClient {
  readonly done: boolean;
  /** Operations answered, and those of unknown outcome. */
  readonly operations: number;
  readonly unknown: number;
}

/** How often a client looks whether its connection still is there. */
const LOOK_EVERY_MS = 50;

/** `done` comes once: with the reply, or with undefined when the server is down or falls before it has replied. */
export function call(
  cluster: Cluster,
  server: SimServer,
  request: Request,
  done: (reply: Reply | undefined) => void,
): void {
  const { scheduler } = cluster;
  const { replica, life } = server;
  let settled = false;
  const settle = (reply: Reply | undefined): void => {
    if (settled) return;
    settled = true;
    done(reply);
  };
  const look = (): void => {
    if (settled) return;
    if (replica !== undefined && life?.alive) scheduler.after(LOOK_EVERY_MS, undefined, look);
    else settle(undefined);
  };
  scheduler.after(LOOK_EVERY_MS, undefined, look);
  if (replica === undefined) return;
  const waiter = { resolve: settle };
  if (request.kind === 'transaction') replica.transact(request.transaction, waiter);
  else if (request.kind === 'versions') {
    replica.read(0, watchedVersions, ['hstore.versions', ...request.keys].map(fromLatin1), waiter);
  } else {
    const argv = request.argv.map(fromLatin1);
    const row = findDataCommand(argv)!;
    if (row.kind === 'write') replica.write(0, argv, waiter);
    else replica.read(0, row, argv, waiter);
  }
}

/** `not executed` is a promise; what is `unknown` may have happened, or may yet. */
export type Outcome = 'replied' | 'not executed' | 'unknown';

export function outcomeOf(reply: Reply | undefined): Outcome {
  if (reply === undefined) return 'unknown';
  if (!(reply instanceof ErrorReply)) return 'replied';
  if (reply.code === 'CLUSTERDOWN') return 'not executed';
  return reply.code === 'TIMEOUT' ? 'unknown' : 'replied';
}

export function textOf(reply: Reply): string | null {
  return reply instanceof Uint8Array ? latin1(reply) : null;
}

/** The history of one client. */
export class History<Op> {
  readonly operations: Operation<Op>[] = [];
  readonly #cluster: Cluster;
  readonly #client: number;
  unknown = 0;

  constructor(cluster: Cluster, client: number) {
    this.#cluster = cluster;
    this.#client = client;
  }

  /** Returned now. */
  enter(callMs: number, op: Op): void {
    this.operations.push({ client: this.#client, op, callMs, returnMs: this.#cluster.scheduler.nowMs });
  }

  enterUnknown(callMs: number, op: Op): void {
    this.unknown++;
    this.operations.push({ client: this.#client, op, callMs, returnMs: Number.POSITIVE_INFINITY });
  }
}
