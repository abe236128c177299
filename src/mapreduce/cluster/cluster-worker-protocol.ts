/**
 * What a thread that works for a cluster's job and the server's main thread (slot.ts) say to each other; beyond what a
 * worker of one machine says (worker-protocol.ts):
 *
 *   to the worker      map       a map task over files
 *                      records   one over stored keys: block after block follows, each when the one before is taken
 *                      reduce    a reduce task: first its input is fetched
 *                      read      a piece of a part, to be brought into the store
 *   from the worker    fetched   all the input of the reduce task is here
 *                      taken, unfetched, piece
 */

import type { BulkTls } from '../../lib/bulk-network.ts';
import type { JobSpec, MapTask } from '../tasks.ts';
import type { FromWorker } from '../worker-protocol.ts';
import type { Source } from './messages.ts';

/** The part of the program that such a thread is. */
export const MAPREDUCE_CLUSTER_WORKER = 'mapreduce-cluster';

export interface ClusterMission {
  readonly spec: JobSpec;
  /** The name of its directory, by which shuffle servers know it. */
  readonly job: string;
  /** With which map outputs can be had. */
  readonly key: Uint8Array;
  /** This server. */
  readonly node: number;
  readonly tls: BulkTls | undefined;
}

export type ToClusterWorker =
  | { readonly kind: 'map'; readonly task: MapTask }
  | { readonly kind: 'records'; readonly task: number; readonly attempt: number }
  | { readonly kind: 'block'; readonly block: Uint8Array; readonly isLast: boolean }
  | {
      readonly kind: 'reduce';
      readonly task: number;
      readonly attempt: number;
      readonly sources: readonly Source[];
      readonly addresses: readonly (readonly [node: number, host: string, port: number])[];
    }
  | {
      readonly kind: 'read';
      readonly attempt: number;
      readonly path: string;
      readonly offset: number;
      readonly bytes: number;
    };

export type FromClusterWorker =
  | FromWorker
  | { readonly kind: 'taken' | 'fetched'; readonly attempt: number }
  | {
      readonly kind: 'unfetched';
      readonly attempt: number;
      readonly node: number;
      readonly maps: readonly number[];
      readonly message: string;
    }
  | { readonly kind: 'piece'; readonly attempt: number; readonly bytes: Uint8Array };

/** Of all of a task, as text: what a job may count is less. */
const COUNTERS_LENGTH_MAX = 128 << 10;

const KINDS: readonly FromClusterWorker['kind'][] = [
  ...(['ready', 'unable', 'progress', 'done', 'failed'] as const),
  ...(['taken', 'fetched', 'unfetched', 'piece'] as const),
];

/** Undefined: it is none of these. Code of users runs in the thread, and could send anything. */
export function readWorkerMessage(message: unknown): FromClusterWorker | undefined {
  if (!isObject(message) || !KINDS.some((kind) => kind === message.kind)) return undefined;
  const { kind, attempt, done, failure, maps, node, bytes } = message;
  const isSound =
    (kind === 'ready' || kind === 'unable' || Number.isSafeInteger(attempt)) &&
    (kind !== 'done' || isDone(done)) &&
    ((kind !== 'failed' && kind !== 'unable') ||
      (isObject(failure) && typeof failure.message === 'string')) &&
    (kind !== 'progress' || Number.isSafeInteger(bytes)) &&
    (kind !== 'piece' || bytes instanceof Uint8Array) &&
    (kind !== 'unfetched' || (Array.isArray(maps) && Number.isSafeInteger(node)));
  return isSound ? (message as unknown as FromClusterWorker) : undefined;
}

function isDone(done: unknown): boolean {
  if (!isObject(done) || typeof done.file !== 'string' || !Number.isSafeInteger(done.bytes)) return false;
  const { counters } = done;
  if (!isObject(counters) || JSON.stringify(counters).length > COUNTERS_LENGTH_MAX) return false;
  return Object.values(counters).every((count) => Number.isFinite(count));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
