/**
 * A thread that works for one job of a cluster: executes the map and reduce tasks that its server was given, as a worker
 * of one machine does (worker.ts), after what only a cluster has: stored keys come from the server in blocks, and the
 * input of a reduce task lies on other servers.
 */
import { assert } from '../../lib/assert.ts';
import type { BulkFiles, BulkWriter, WorkerSide } from '../../lib/bulk.ts';
import type { BulkNetwork, OpenBulkNetwork } from '../../lib/bulk-network.ts';
import type { Log } from '../../lib/env.ts';
import { FetchFailed } from '../fetch-failed.ts';
import { fetchPartition } from '../shuffle-fetch.ts';
import type { Task } from '../tasks.ts';
import { failureOf } from '../worker.ts';
import { type LoadedJob, loadJob, runTask } from '../worker-task.ts';
import type { ClusterMission, FromClusterWorker, ToClusterWorker } from './cluster-worker-protocol.ts';

/** Blocks of stored keys, on their way to a file. */
interface Spool {
  readonly task: number;
  readonly attempt: number;
  readonly path: string;
  readonly writer: BulkWriter;
  bytes: number;
}

/** What goes wrong is said in failures of tasks. */
const NO_LOG: Log = { debug() {}, verbose() {}, notice() {}, warning() {} };

/** Lives until the other side ends the thread. */
export function runClusterWorker(side: WorkerSide, files: BulkFiles, open: OpenBulkNetwork): void {
  const mission = side.data as ClusterMission;
  const post = (message: FromClusterWorker, transfer?: readonly ArrayBuffer[]) =>
    side.post(message, transfer);
  const prepare = async (): Promise<LoadedJob> => {
    files.makeDirectory(mission.spec.temporary);
    return loadJob(mission.spec, files);
  };
  prepare().then(
    (job) => {
      const worker = new ClusterWorker(mission, job, { files, bulk: open(mission.tls, NO_LOG), post });
      side.onMessage((message) => worker.execute(message as ToClusterWorker));
      post({ kind: 'ready' });
    },
    (error: unknown) => post({ kind: 'unable', failure: { ...failureOf(error), local: true } }),
  );
}

interface WorkerTools {
  readonly files: BulkFiles;
  readonly bulk: BulkNetwork;
  post(message: FromClusterWorker, transfer?: readonly ArrayBuffer[]): void;
}

class ClusterWorker {
  readonly #mission: ClusterMission;
  readonly #job: LoadedJob;
  readonly #tools: WorkerTools;
  #spool: Spool | undefined;

  constructor(mission: ClusterMission, job: LoadedJob, tools: WorkerTools) {
    this.#mission = mission;
    this.#job = job;
    this.#tools = tools;
  }

  execute(order: ToClusterWorker): void {
    switch (order.kind) {
      case 'map':
        return this.#attempt(order.task.attempt, () => this.#run(order.task));
      case 'records':
        return this.#attempt(order.attempt, () => this.#beginSpool(order));
      case 'block':
        return this.#block(order);
      case 'reduce':
        void this.#reduce(order);
        return;
      case 'read':
        return this.#attempt(order.attempt, () => this.#read(order));
    }
  }

  #attempt(attempt: number, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#tools.post({ kind: 'failed', attempt, failure: failureOf(error) });
    }
  }

  #run(task: Task): void {
    const { files, post } = this.#tools;
    const { attempt } = task;
    const report = (bytes: number) => post({ kind: 'progress', attempt, bytes });
    const done = runTask({ spec: this.#mission.spec, job: this.#job, files, report }, task);
    post({ kind: 'done', attempt, done });
  }

  // Stored keys

  #beginSpool({ task, attempt }: ToClusterWorker & { kind: 'records' }): void {
    assert(this.#spool === undefined, 'a worker does one task at a time', task);
    const path = `${this.#mission.spec.temporary}/records-${task}-${attempt}`;
    this.#spool = { task, attempt, path, writer: this.#tools.files.create(path), bytes: 0 };
    this.#tools.post({ kind: 'taken', attempt });
  }

  #block({ block, isLast }: ToClusterWorker & { kind: 'block' }): void {
    const spool = this.#spool;
    // The task has failed, and this was on its way.
    if (spool === undefined) return;
    this.#attempt(spool.attempt, () => {
      try {
        spool.writer.write(block);
        spool.bytes += block.length;
        if (!isLast) return this.#tools.post({ kind: 'taken', attempt: spool.attempt });
        spool.writer.close();
        this.#spool = undefined;
        this.#runSpooled(spool);
      } catch (error) {
        this.#dropSpool();
        throw error;
      }
    });
  }

  #runSpooled({ task, attempt, path, bytes }: Spool): void {
    try {
      this.#run({ phase: 'map', task, attempt, split: { kind: 'records', path, fileBytes: bytes } });
    } finally {
      this.#tools.files.remove(path);
    }
  }

  #dropSpool(): void {
    const spool = this.#spool;
    this.#spool = undefined;
    if (spool === undefined) return;
    spool.writer.close();
    this.#tools.files.remove(spool.path);
  }

  // Reduce tasks

  async #reduce(order: ToClusterWorker & { kind: 'reduce' }): Promise<void> {
    const { files, bulk, post } = this.#tools;
    const { spec, job, key, node } = this.#mission;
    const { task, attempt } = order;
    const fetch = fetchPartition(
      order.sources.map(([map, by, at]) => ({ map, attempt: by, node: at })),
      {
        ...{ files, bulk, self: node, job, key, directory: spec.temporary, partition: task },
        path: `${spec.temporary}/input-${task}-${attempt}`,
        addresses: new Map(order.addresses.map(([id, host, port]) => [id, { host, port }])),
        onBytes: () => post({ kind: 'progress', attempt, bytes: 0 }),
      },
    );
    try {
      const sources = await fetch.fetched;
      post({ kind: 'fetched', attempt });
      this.#run({ phase: 'reduce', task, attempt, files: sources });
    } catch (error) {
      const failed = error instanceof FetchFailed ? error : fetch.blame(error);
      if (failed === undefined) post({ kind: 'failed', attempt, failure: failureOf(error) });
      else {
        const { node: from, maps, message } = failed;
        post({ kind: 'unfetched', attempt, node: from, maps, message });
      }
    } finally {
      fetch.dispose();
    }
  }

  /** Throws when the part is shorter than that. */
  #read({ attempt, path, offset, bytes }: ToClusterWorker & { kind: 'read' }): void {
    const { files, post } = this.#tools;
    const piece = new Uint8Array(bytes);
    const reader = files.open(path);
    try {
      const read = reader.read(piece, 0, bytes, offset);
      if (read < bytes) throw new Error(`${path} ends at byte ${offset + read}`);
    } finally {
      reader.close();
    }
    post({ kind: 'piece', attempt, bytes: piece }, [piece.buffer]);
  }
}
