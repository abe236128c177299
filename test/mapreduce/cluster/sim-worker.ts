/**
 * A thread that works for a job, as cluster-worker.ts but without the engine: counts words naively, and takes its time, or
 * fails, as its world wants it. The outputs of map tasks lie in the memory of its server, and reduce tasks fetch them from
 * there, if they can.
 */
import { BulkFileError } from '../../../src/lib/bulk.ts';
import type {
  ClusterMission,
  FromClusterWorker,
  ToClusterWorker,
} from '../../../src/mapreduce/cluster/cluster-worker-protocol.ts';
import { eachStoredRecord } from '../../../src/mapreduce/stored-records.ts';
import type { Task } from '../../../src/mapreduce/tasks.ts';
import { failureOf } from '../../../src/mapreduce/worker.ts';
import { MemoryFiles } from '../memory-files.ts';
import { runNaively } from '../naive-task.ts';
import type { Fortune } from './sim-fortune.ts';

/** What a worker sees of its thread, and of the world. */
export interface WorkerThread {
  readonly machine: {
    readonly node: number;
    readonly files: MemoryFiles;
    readonly world: {
      readonly fortune: Fortune;
      /** The shuffle server that listens there, as far as `from` can reach it now. */
      reach(from: number, to: number, port: number): FetchedFrom | undefined;
    };
  };
  after(ms: number, run: () => void): void;
  say(message: unknown): void;
  die(reason: string): void;
}

export interface FetchedFrom {
  readonly files: MemoryFiles;
  /** The keys of the jobs that it serves, by the names of their directories. */
  readonly jobs: ReadonlyMap<string, string>;
}

type ReduceOrder = ToClusterWorker & { readonly kind: 'reduce' };

/** Where the jobs' directories are on each server. */
export const ROOT = 'data/mapreduce';
/** A text with one of these words cannot be counted: by a map task, by a reduce task. */
export const POISON = 'poison';
export const VENOM = 'venom';
/** So long a fetch tries to reach a server. */
const UNREACHABLE_MS = 1000;
const FETCH_MS = 2;
const BLOCK_MS = 0.5;

export class SimClusterWorker {
  readonly mission: ClusterMission;
  readonly #thread: WorkerThread;
  #spool: { readonly task: number; readonly attempt: number; readonly blocks: Uint8Array[] } | undefined;

  constructor(thread: WorkerThread, mission: ClusterMission) {
    this.mission = mission;
    this.#thread = thread;
    thread.machine.files.makeDirectory(ROOT);
    thread.machine.files.makeDirectory(mission.spec.temporary);
    this.#say({ kind: 'ready' });
  }

  execute(message: unknown): void {
    const order = message as ToClusterWorker;
    switch (order.kind) {
      case 'map':
        return this.#work(order.task);
      case 'records':
        this.#spool = { task: order.task, attempt: order.attempt, blocks: [] };
        return this.#say({ kind: 'taken', attempt: order.attempt });
      case 'block':
        return this.#block(order);
      case 'reduce':
        return this.#fetch(order, []);
      case 'read':
        return this.#read(order);
    }
  }

  #say(message: FromClusterWorker): void {
    this.#thread.say(message);
  }

  /** Begins to work on what is all here. */
  #work(task: Task): void {
    const { machine } = this.#thread;
    const { phase, task: number, attempt } = task;
    const fate = machine.world.fortune.attempt(machine.node, `${this.mission.job} ${phase} ${number}`);
    switch (fate.kind) {
      case 'hangs':
        return;
      case 'dies':
        return this.#thread.after(fate.afterMs, () => this.#thread.die('out of memory'));
      case 'fails': {
        const { failure } = fate;
        return this.#thread.after(fate.afterMs, () => this.#say({ kind: 'failed', attempt, failure }));
      }
      case 'works':
        this.#say({ kind: 'progress', attempt, bytes: 1 });
        return this.#thread.after(fate.forMs, () => this.#attempt(attempt, () => this.#run(task)));
    }
  }

  #run(task: Task): void {
    const { files } = this.#thread.machine;
    const { attempt, phase } = task;
    const done = runNaively(this.mission.spec, task, files);
    const deadly = phase === 'map' ? POISON : VENOM;
    if (Buffer.from(files.content(done.file)!).includes(deadly)) {
      const failure = { message: `${deadly} cannot be counted`, deterministic: true };
      return this.#say({ kind: 'failed', attempt, failure });
    }
    this.#say({ kind: 'done', attempt, done });
  }

  #attempt(attempt: number, work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof BulkFileError)) throw error;
      this.#say({ kind: 'failed', attempt, failure: failureOf(error) });
    }
  }

  // Stored keys

  #block({ block, isLast }: ToClusterWorker & { readonly kind: 'block' }): void {
    const spool = this.#spool;
    if (spool === undefined) return;
    spool.blocks.push(block);
    const { task, attempt } = spool;
    if (!isLast) return this.#thread.after(BLOCK_MS, () => this.#say({ kind: 'taken', attempt }));
    this.#spool = undefined;
    const path = `${this.mission.spec.temporary}/records-${task}-${attempt}`;
    const text = Buffer.from(valuesOf(Buffer.concat(spool.blocks)).join('\n'));
    this.#thread.machine.files.put(path, text);
    const range = { path, from: 0, to: text.length, fileBytes: text.length, modifiedMs: 0 };
    this.#work({ phase: 'map', task, attempt, split: { kind: 'range', ...range } });
  }

  // Reduce tasks

  /** One server after the other. */
  #fetch(order: ReduceOrder, got: readonly string[]): void {
    const { attempt, task, sources } = order;
    const [map, by, node] = sources[0] ?? [];
    if (map === undefined || by === undefined || node === undefined) {
      this.#say({ kind: 'fetched', attempt });
      return this.#work({ phase: 'reduce', task, attempt, files: got });
    }
    const { machine } = this.#thread;
    const own = sources.filter((source) => source[2] === node);
    const rest = sources.filter((source) => source[2] !== node);
    if (node === machine.node) {
      const { files, lost } = this.#look(machine.files, own);
      if (lost.length > 0) return this.#unfetched(order, node, lost);
      return this.#fetch({ ...order, sources: rest }, [...got, ...files]);
    }
    this.#thread.after(FETCH_MS, () => {
      const [, , port] = order.addresses.find(([id]) => id === node) ?? [];
      const other = port === undefined ? undefined : machine.world.reach(machine.node, node, port);
      const key = Buffer.from(this.mission.key).toString('hex');
      if (other?.jobs.get(this.mission.job) !== key) {
        return this.#thread.after(UNREACHABLE_MS, () => this.#unfetched(order, node, []));
      }
      const { files, lost } = this.#look(other.files, own);
      if (lost.length > 0) return this.#unfetched(order, node, lost);
      const copies = files.map((path, i) => {
        const copy = `${this.mission.spec.temporary}/fetched-${task}-${attempt}-${node}-${i}`;
        machine.files.put(copy, other.files.content(path)!);
        return copy;
      });
      this.#fetch({ ...order, sources: rest }, [...got, ...copies]);
    });
  }

  /** The paths of the outputs, and the maps whose outputs are missing. */
  #look(files: MemoryFiles, outputs: ReduceOrder['sources']): { files: string[]; lost: number[] } {
    const paths = outputs.map(([map, by]) => `${ROOT}/${this.mission.job}/map${map}.${by}`);
    const lost = outputs.flatMap(([map], i) => (files.content(paths[i]!) === undefined ? [map] : []));
    return { files: paths, lost };
  }

  #unfetched({ attempt }: ReduceOrder, node: number, maps: readonly number[]): void {
    this.#say({ kind: 'unfetched', attempt, node, maps, message: `not to be had from ${node}` });
  }

  #read({ attempt, path, offset, bytes }: ToClusterWorker & { readonly kind: 'read' }): void {
    this.#attempt(attempt, () => {
      const piece = new Uint8Array(bytes);
      const reader = this.#thread.machine.files.open(path);
      const read = reader.read(piece, 0, bytes, offset);
      reader.close();
      if (read < bytes) throw new Error(`${path} ends at byte ${offset + read}`);
      this.#say({ kind: 'piece', attempt, bytes: piece });
    });
  }
}

/** Of stored records. */
function valuesOf(records: Uint8Array): string[] {
  const files = new MemoryFiles();
  files.put('records', records);
  const values: string[] = [];
  eachStoredRecord(files.open('records'), ({ value, valueBytes }) => {
    values.push(value.toString('latin1', 0, valueBytes));
  });
  return values;
}
