/**
 * Gathers the input of a reduce task: its partition of all map outputs, those of this server where they lie, those of
 * others by their shuffle servers (shuffle-format.ts), a few servers at a time, into one file each. What is remote is
 * never whole in memory.
 */
import { assert } from '../lib/assert.ts';
import { BulkFileError, type BulkFiles } from '../lib/bulk.ts';
import type { BulkNetwork } from '../lib/bulk-network.ts';
import type { Address } from '../lib/env.ts';
import { HstoreError } from '../lib/errors.ts';
import { FetchFailed } from './fetch-failed.ts';
import type { MergeSource } from './merge.ts';
import { RunDamagedError, type RunSlice } from './run-format.ts';
import { RunFile } from './run-reader.ts';
import { type MapOutput, mapOutputName } from './shuffle-format.ts';
import { ShuffleGatherer } from './shuffle-gatherer.ts';

export const SERVERS_AT_ONCE_MAX = 4;
const REPORT_EVERY_MS = 200;

/** A map output, and the server that has it. */
export interface FetchSource extends MapOutput {
  readonly node: number;
}

export interface FetchOptions {
  readonly files: BulkFiles;
  readonly bulk: BulkNetwork;
  /** This server. Its own outputs are not copied. */
  readonly self: number;
  /** Of the other servers' shuffle servers. */
  readonly addresses: ReadonlyMap<number, Address>;
  /** As the shuffle servers know it: the name of its directory, and KEY_BYTES. */
  readonly job: string;
  readonly key: Uint8Array;
  /** Of the job, on this server. */
  readonly directory: string;
  readonly partition: number;
  /** What the paths of fetched files begin with. Their directory is there. */
  readonly path: string;
  /** So many bytes more have come; now and then, also as a sign of life, perhaps of none. */
  onBytes(bytes: number): void;
}

export interface PartitionFetch {
  /**
   * In the order of the sources. Rejects with FetchFailed, with BulkFileError of the own disk, and with HstoreError: BUSY
   * when a server has had no time for minutes, CANCELLED after `dispose`.
   */
  readonly fetched: Promise<readonly MergeSource[]>;
  /** What an error of merging `fetched` says about map outputs; undefined: nothing. */
  blame(error: unknown): FetchFailed | undefined;
  /** Ends it, if it is under way, and removes what was fetched. Harmless when it was done before. */
  dispose(): void;
}

/** `sources`: of map tasks that are all different. */
export function fetchPartition(sources: readonly FetchSource[], options: FetchOptions): PartitionFetch {
  return new Fetching(sources, options);
}

class Fetching implements PartitionFetch {
  readonly fetched: Promise<readonly MergeSource[]>;
  readonly #sources: readonly FetchSource[];
  readonly #options: FetchOptions;
  #resolve!: (sources: readonly MergeSource[]) => void;
  #reject!: (error: Error) => void;
  /** By map task. */
  readonly #found = new Map<number, MergeSource>();
  /** By path: the map tasks of the outputs of this server. */
  readonly #own = new Map<string, number>();
  #waiting: { readonly node: number; readonly outputs: readonly FetchSource[] }[] = [];
  readonly #gatherers = new Set<ShuffleGatherer>();
  readonly #made: string[] = [];
  #over = false;
  #untoldBytes = 0;
  #toldMs: number;

  constructor(sources: readonly FetchSource[], options: FetchOptions) {
    this.#sources = sources;
    this.#options = options;
    this.#toldMs = options.bulk.clock.monotonicMs();
    const maps = new Set(sources.map(({ map }) => map));
    assert(maps.size === sources.length, 'each map task has one output', maps.size, sources.length);
    this.fetched = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#attempt(() => {
      this.#findOwn();
      this.#waiting = this.#remote();
      this.#startMore();
    });
  }

  blame(error: unknown): FetchFailed | undefined {
    if (!isLoss(error)) return undefined;
    const map = this.#own.get(error.path);
    return map === undefined ? undefined : new FetchFailed(this.#options.self, [map], error.message);
  }

  dispose(): void {
    this.#fail(new HstoreError('CANCELLED', 'not-done', 'the fetch was cancelled'));
    this.#remove();
  }

  /** Looks at all, so that all that are lost are told at once. */
  #findOwn(): void {
    const { self, files, directory, partition } = this.#options;
    const lost: { readonly map: number; readonly error: FetchFailed }[] = [];
    for (const { node, map, attempt } of this.#sources) {
      if (node !== self) continue;
      const path = `${directory}/${mapOutputName({ map, attempt })}`;
      this.#own.set(path, map);
      try {
        this.#found.set(map, { path, slice: sliceOf(path, partition, files) });
      } catch (error) {
        const blamed = this.blame(error);
        if (blamed === undefined) throw error;
        lost.push({ map, error: blamed });
      }
    }
    if (lost.length === 0) return;
    throw new FetchFailed(
      self,
      lost.map(({ map }) => map),
      lost[0]!.error.message,
    );
  }

  /** By server. Each reduce task begins with another one. */
  #remote(): { node: number; outputs: readonly FetchSource[] }[] {
    const { self, partition } = this.#options;
    const byNode = new Map<number, FetchSource[]>();
    for (const source of this.#sources) {
      if (source.node === self) continue;
      const outputs = byNode.get(source.node);
      if (outputs === undefined) byNode.set(source.node, [source]);
      else outputs.push(source);
    }
    const servers = [...byNode].sort(([a], [b]) => a - b).map(([node, outputs]) => ({ node, outputs }));
    const first = servers.length === 0 ? 0 : partition % servers.length;
    return [...servers.slice(first), ...servers.slice(0, first)];
  }

  #startMore(): void {
    while (!this.#over && this.#gatherers.size < SERVERS_AT_ONCE_MAX && this.#waiting.length > 0) {
      const { node, outputs } = this.#waiting.shift()!;
      this.#start(node, outputs);
    }
    if (this.#over || this.#gatherers.size > 0) return;
    this.#over = true;
    this.#tell();
    this.#resolve(this.#sources.map(({ map }) => this.#found.get(map)!));
  }

  #start(node: number, outputs: readonly FetchSource[]): void {
    const { files, bulk, addresses, job, key, partition } = this.#options;
    const address = addresses.get(node);
    if (address === undefined) throw new FetchFailed(node, [], `server ${node} serves no map outputs now`);
    const path = `${this.#options.path}.fetch-${this.#made.length}`;
    this.#made.push(path);
    const gatherer = new ShuffleGatherer({
      ...{ files, bulk, node, address, job, key, partition, outputs, path },
      onBytes: (bytes) => this.#onBytes(bytes),
      onEnd: (error) =>
        this.#attempt(() => {
          this.#gatherers.delete(gatherer);
          if (error !== null) throw error;
          for (const [map, slice] of gatherer.slices) this.#found.set(map, { path, slice });
          this.#startMore();
        }),
    });
    this.#gatherers.add(gatherer);
  }

  /** An error of the world is the end of it. */
  #attempt(step: () => void): void {
    try {
      step();
    } catch (error) {
      if (!(error instanceof HstoreError) && !(error instanceof BulkFileError)) throw error;
      this.#fail(error);
      this.#remove();
    }
  }

  #fail(error: Error): void {
    if (this.#over) return;
    this.#over = true;
    for (const gatherer of this.#gatherers) gatherer.stop();
    this.#gatherers.clear();
    this.#reject(error);
  }

  #remove(): void {
    for (const path of this.#made.splice(0)) this.#options.files.remove(path);
  }

  #onBytes(bytes: number): void {
    this.#untoldBytes += bytes;
    if (this.#options.bulk.clock.monotonicMs() - this.#toldMs >= REPORT_EVERY_MS) this.#tell();
  }

  #tell(): void {
    this.#options.onBytes(this.#untoldBytes);
    this.#untoldBytes = 0;
    this.#toldMs = this.#options.bulk.clock.monotonicMs();
  }
}

function sliceOf(path: string, partition: number, files: BulkFiles): RunSlice {
  const run = new RunFile(path, files);
  try {
    return run.slice(partition);
  } finally {
    run.close();
  }
}

/** The file is gone, or is not what was written. */
function isLoss(error: unknown): error is BulkFileError | RunDamagedError {
  return error instanceof RunDamagedError || (error instanceof BulkFileError && error.code === 'ENOENT');
}
