/**
 * A place for one attempt at a time on a server, with the thread that executes it. The thread belongs to a job, and is
 * ended when the next attempt is of another: what a job of somebody's own has left in memory is gone with it.
 *
 *   start(order) --> thread has the job --> map                                    --> ended: done
 *                                       --> records: block after block of a view   --> ended: done
 *                                       --> reduce --> upload of the part (upload.ts) --> ended: done
 *
 * A thread that dies, or says nothing for long, has failed its attempt, and is replaced. No bytes of the input pass through
 * the server's own thread but blocks of stored keys, which are handed over without being looked at.
 */
import { Buffer } from 'node:buffer';
import { assert } from '../../lib/assert.ts';
import type { Thread, Threads } from '../../lib/bulk.ts';
import type { ServiceHost } from '../../server/service.ts';
import { Silence } from '../silence.ts';
import type { TaskDone, TaskFailure } from '../tasks.ts';
import { fromBase64 } from './active-job.ts';
import {
  type ClusterMission,
  type FromClusterWorker,
  MAPREDUCE_CLUSTER_WORKER,
  readWorkerMessage,
  type ToClusterWorker,
} from './cluster-worker-protocol.ts';
import type { AttemptEnd, ClusterSplit, Order, RunningAttempt } from './messages.ts';
import { type PartSource, uploadPart } from './upload.ts';

export interface SlotOptions {
  readonly host: ServiceHost;
  readonly threads: Threads;
  /** What a thread for the job of this order is told; a failure: there can be none on this server. */
  readonly mission: (order: Order) => ClusterMission | TaskFailure;
  /** Of a part of a result. */
  readonly partBytesMax: () => number;
  /** The slot is free again. Undefined: nobody wants to know, for the job is over. */
  readonly onEnd: (order: Order, end: AttemptEnd | undefined) => void;
}

interface Worker {
  readonly job: string;
  readonly thread: Thread;
  ready: boolean;
}

interface Run {
  readonly order: Order;
  readonly silence: Silence;
  bytes: number;
  fetching: boolean;
  /** Of a reduce task that is done: who waits for a piece of its part. */
  onPiece: ((bytes: Uint8Array) => void) | undefined;
  /** In the view, behind the last block. */
  after: Uint8Array | undefined;
}

type KeysSplit = ClusterSplit & { readonly kind: 'keys' };

/**
 * A thread speaks every megabyte or so. It may be held up by a slow disk, by sorting what fills its memory, and by all that
 * has a higher priority.
 */
const SILENT_MS_MAX = 120_000;
/** Of what is said about a failure: the list of all jobs has it. */
const MESSAGE_LENGTH_MAX = 1000;
/** Outputs that a task could not have: the rest will be found out by the next attempt. */
const MAPS_TOLD_MAX = 500;

export class Slot {
  readonly #options: SlotOptions;
  #worker: Worker | undefined;
  #run: Run | undefined;

  constructor(options: SlotOptions) {
    this.#options = options;
  }

  get running(): RunningAttempt | undefined {
    const run = this.#run;
    if (run === undefined) return undefined;
    const { order, bytes, fetching } = run;
    const { job, epoch, phase, task, attempt } = order;
    return { job, epoch, phase, task, attempt, bytes, ...(fetching ? { fetching } : {}) };
  }

  /** Of the job whose thread it holds. */
  get job(): string | undefined {
    return this.#worker?.job;
  }

  start(order: Order): void {
    assert(this.#run === undefined, 'a slot has one attempt at a time', order.job, order.task);
    const silence = new Silence(this.#options.host.clock, SILENT_MS_MAX, () => {
      this.#dropThread();
      this.#fail(`a worker has not moved for ${SILENT_MS_MAX / 1000} s`);
    });
    const fetching = order.phase === 'reduce';
    this.#run = { order, silence, bytes: 0, fetching, onPiece: undefined, after: undefined };
    const name = jobDirectory(order);
    if (this.#worker?.job !== name) {
      this.#dropThread();
      const mission = this.#options.mission(order);
      if ('message' in mission) return this.#end({ end: 'unable', failure: mission });
      this.#startThread(name, mission);
    } else if (this.#worker.ready) {
      this.#begin();
    }
  }

  /** Nothing comes of what it is doing. A thread cannot be interrupted but by ending it. */
  abort(): void {
    if (this.#run === undefined) return;
    this.#run.silence.stop();
    this.#run = undefined;
    this.#dropThread();
  }

  /** Its job is over, or it is to stop. */
  close(): void {
    this.abort();
    this.#dropThread();
  }

  // The thread

  #startThread(job: string, mission: ClusterMission): void {
    const thread = this.#options.threads.start(MAPREDUCE_CLUSTER_WORKER, mission, {
      onMessage: (message) => {
        if (this.#worker !== worker) return;
        const said = readWorkerMessage(message);
        if (said !== undefined) return this.#heard(said);
        this.#dropThread();
        this.#fail('the code of the job has sent a message of its own from its thread');
      },
      onExit: (error) => {
        if (this.#worker !== worker) return;
        this.#worker = undefined;
        this.#fail(error === null ? 'a worker ended by itself' : `a worker has died: ${error.message}`);
      },
    });
    const worker: Worker = { job, thread, ready: false };
    this.#worker = worker;
  }

  #dropThread(): void {
    const worker = this.#worker;
    this.#worker = undefined;
    worker?.thread.terminate();
  }

  #post(message: ToClusterWorker, transfer: readonly ArrayBuffer[] = []): void {
    this.#worker?.thread.post(message, transfer);
  }

  #heard(message: FromClusterWorker): void {
    const run = this.#run;
    if (message.kind === 'ready') {
      this.#worker!.ready = true;
      run?.silence.heard();
      if (run !== undefined) this.#begin();
      return;
    }
    if (message.kind === 'unable') {
      this.#dropThread();
      this.#end({ end: 'unable', failure: message.failure });
      return;
    }
    if (run === undefined || message.attempt !== run.order.attempt) return;
    run.silence.heard();
    switch (message.kind) {
      case 'progress':
        // Of stored keys it was counted how many were handed over.
        if (run.order.phase === 'map' && !isKeys(run.order)) run.bytes = message.bytes;
        return;
      case 'fetched':
        run.fetching = false;
        return;
      case 'taken':
        return this.#nextBlock(run);
      case 'piece': {
        const { onPiece } = run;
        run.onPiece = undefined;
        onPiece?.(message.bytes);
        return;
      }
      case 'done':
        return this.#done(run, message.done);
      case 'failed':
        return this.#end({ end: 'failed', failure: message.failure });
      case 'unfetched': {
        const { node, message: text } = message;
        const lost = new Set(message.maps);
        // Of which attempts they are: they may have been made anew since.
        const sources = run.order.sources ?? [];
        const found = sources.filter(([map, , at]) => at === node && lost.has(map)).slice(0, MAPS_TOLD_MAX);
        const maps = found.map(([map, by]) => [map, by] as const);
        return this.#end({ end: 'unfetched', node, maps, message: text });
      }
    }
  }

  // The attempt

  #begin(): void {
    const { order } = this.#run!;
    const { task, attempt, split, sources, addresses } = order;
    if (order.phase === 'reduce') {
      this.#post({ kind: 'reduce', task, attempt, sources: sources ?? [], addresses: addresses ?? [] });
    } else if (isKeys(order)) {
      this.#post({ kind: 'records', task, attempt });
    } else {
      assert(split !== undefined && split.kind !== 'keys', 'a map task has input', task);
      this.#post({ kind: 'map', task: { phase: 'map', task, attempt, split } });
    }
  }

  /** The worker waits for more stored keys. */
  #nextBlock(run: Run): void {
    const split = run.order.split as KeysSplit;
    const view = this.#options.host.view(split.view);
    if (view === undefined) {
      this.#dropThread();
      return this.#fail('this server has no view of the keys');
    }
    const range = { ...split, pattern: fromBase64(split.pattern) };
    view.read(range, run.after, (error, block, after) => {
      if (this.#run !== run) return;
      run.silence.heard();
      if (error !== null) {
        this.#dropThread();
        return this.#fail(`the stored keys cannot be read: ${error.message}`);
      }
      run.after = after;
      run.bytes += block.length;
      this.#post({ kind: 'block', block, isLast: after === undefined }, [block.buffer as ArrayBuffer]);
    });
  }

  #done(run: Run, done: TaskDone): void {
    if (run.order.phase === 'map')
      return this.#end({ end: 'done', done, chunks: 0, inputBytes: isKeys(run.order) ? run.bytes : 0 });
    const bytesMax = this.#options.partBytesMax();
    if (done.bytes > bytesMax) {
      const message = `a part of the result has ${done.bytes} bytes, over ${bytesMax} (mr-result-max)`;
      return this.#end({ end: 'failed', failure: { message, deterministic: true } });
    }
    const source: PartSource = {
      bytes: done.bytes,
      isWanted: () => this.#run === run,
      read: (offset, bytes) =>
        new Promise((resolve) => {
          run.onPiece = resolve;
          this.#post({ kind: 'read', attempt: run.order.attempt, path: done.file, offset, bytes });
        }),
      onProgress: () => run.silence.heard(),
    };
    void uploadPart(this.#options.host, run.order, source).then((outcome) => {
      if (this.#run !== run) return;
      if (outcome.outcome === 'stored')
        this.#end({ end: 'done', done, chunks: outcome.chunks, inputBytes: 0 });
      else if (outcome.outcome === 'failed') this.#fail(outcome.message);
      else this.#end(undefined);
    });
  }

  /** Of this server, not of the task. */
  #fail(message: string): void {
    this.#end({ end: 'failed', failure: { message, deterministic: false, local: true } });
  }

  #end(end: AttemptEnd | undefined): void {
    const run = this.#run;
    if (run === undefined) return;
    run.silence.stop();
    this.#run = undefined;
    const isFailure = end?.end === 'failed' || end?.end === 'unable';
    this.#options.onEnd(run.order, isFailure ? { ...end, failure: shortened(end.failure) } : end);
  }
}

function isKeys({ split }: Order): boolean {
  return split?.kind === 'keys';
}

/** The user's own code may say much. */
function shortened({ message, file, offset, deterministic, local }: TaskFailure): TaskFailure {
  return {
    ...{ message: message.slice(0, MESSAGE_LENGTH_MAX), deterministic: deterministic === true },
    ...(typeof file === 'string' ? { file: file.slice(0, MESSAGE_LENGTH_MAX) } : {}),
    ...(typeof offset === 'number' ? { offset } : {}),
    ...(local === true ? { local } : {}),
  };
}

/** The directory of a job's files; shuffle servers know the job by this name. */
export function jobDirectory({ job, epoch }: { readonly job: number; readonly epoch: number }): string {
  return `job-${job}-${epoch}`;
}

export function secretBytes(hex: string): Buffer {
  return Buffer.from(hex, 'hex');
}
