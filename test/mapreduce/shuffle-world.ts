/** Servers with map outputs, and a reduce task that fetches them, in a simulated network and virtual time. */
import { Buffer } from 'node:buffer';
import { BulkFileError, type BulkFiles } from '../../src/lib/bulk.ts';
import type { BulkNetwork } from '../../src/lib/bulk-network.ts';
import type { Address, Log } from '../../src/lib/env.ts';
import { type MergeSource, mergePartition, writeRun } from '../../src/mapreduce/merge.ts';
import { type FetchOptions, type FetchSource, fetchPartition } from '../../src/mapreduce/shuffle-fetch.ts';
import { ShuffleServer } from '../../src/mapreduce/shuffle-server.ts';
import { SimClock } from '../sim/clock.ts';
import { SimNetwork } from '../sim/network.ts';
import { SimRandom } from '../sim/random.ts';
import { type Life, Scheduler } from '../sim/scheduler.ts';
import { StreamNetwork } from '../sim/stream-network.ts';
import { MemoryFiles } from './memory-files.ts';

export const SILENT: Log = { debug() {}, verbose() {}, notice() {}, warning() {} };
export const JOB = 'job-7-1';
export const KEY = Buffer.alloc(32, 'k');
/** Where the reduce task is. */
export const SELF = 9;
const PORT = 7000;

/** Words with counts, in as many partitions as there are lists. */
export type Partitions = readonly (readonly (readonly [key: string, count: number])[])[];

export function writeOutput(files: BulkFiles, path: string, partitions: Partitions): void {
  writeRun(path, 'counts', partitions.length, files, (run) => {
    partitions.forEach((rows, partition) => {
      for (const [key, count] of rows)
        run.count(partition, Buffer.from(key), 0, Buffer.byteLength(key), count);
    });
  });
}

/** `key count`, as a reduce task finds them. */
export function rowsOf(
  files: BulkFiles,
  sources: readonly (string | MergeSource)[],
  partition = 0,
): string[] {
  return mergePartition(sources, partition, { files, temporary: 'rows' }, (merge) => {
    const rows: string[] = [];
    while (merge.nextKey()) rows.push(`${merge.key.toString('utf8', 0, merge.keyLength)} ${merge.sum()}`);
    return rows;
  });
}

/** As many keys, which do not compress, so that a slice has about `keys` * 40 bytes. */
export function bigPartition(keys: number, seed: number): (readonly [string, number])[] {
  const random = new SimRandom(seed);
  const made = new Set<string>();
  while (made.size < keys) made.add(Buffer.from(random.bytes(20)).toString('hex'));
  return [...made].sort().map((key, i) => [key, i + 1]);
}

export interface ServerNode {
  readonly id: number;
  readonly life: Life;
  readonly server: ShuffleServer;
}

/** Files that fail as a test wants them to: `fail` is asked before each read of `path`. */
export class FailingFiles extends MemoryFiles {
  fail: (path: string, position: number) => 'EIO' | 'ends' | undefined = () => undefined;
  /** Bytes that can be written before the disk is full. */
  roomBytes = Number.POSITIVE_INFINITY;

  override open(path: string): ReturnType<MemoryFiles['open']> {
    const reader = super.open(path);
    return {
      bytes: reader.bytes,
      read: (target, offset, length, position) => {
        const failure = this.fail(path, position);
        if (failure === 'EIO') throw new BulkFileError(path, 'EIO', `cannot read ${path}: the disk failed`);
        return failure === 'ends' ? 0 : reader.read(target, offset, length, position);
      },
      close: () => reader.close(),
    };
  }

  override create(path: string): ReturnType<MemoryFiles['create']> {
    const writer = super.create(path);
    return {
      ...writer,
      write: (chunk) => {
        this.roomBytes -= chunk.length;
        if (this.roomBytes < 0) {
          throw new BulkFileError(path, 'ENOSPC', `cannot write ${path}: the disk is full`);
        }
        writer.write(chunk);
      },
    };
  }
}

export class ShuffleWorld {
  readonly scheduler = new Scheduler();
  readonly random: SimRandom;
  readonly roads: SimNetwork;
  readonly streams: StreamNetwork;
  /** By server. They outlive it. */
  readonly disks = new Map<number, FailingFiles>();
  readonly servers = new Map<number, ServerNode>();
  readonly sources: FetchSource[] = [];
  /** Of the reduce task. */
  readonly bulk: BulkNetwork;
  readonly files: FailingFiles;
  /** That the reduce task had at a time. */
  connectionsMax = 0;

  constructor(seed = 1) {
    this.random = new SimRandom(seed);
    this.roads = new SimNetwork(this.scheduler, this.random.split());
    this.streams = new StreamNetwork(this.scheduler, this.random.split(), this.roads);
    this.bulk = this.#bulkOf(SELF, { alive: true, paused: false, held: [] });
    this.files = this.disk(SELF);
    this.scheduler.afterEvent = () => {
      this.connectionsMax = Math.max(this.connectionsMax, this.connections);
    };
  }

  /** Of the reduce task. */
  get connections(): number {
    return this.streams.host(SELF).sockets.size;
  }

  disk(id: number): FailingFiles {
    let files = this.disks.get(id);
    if (files === undefined) {
      files = new FailingFiles();
      this.disks.set(id, files);
    }
    return files;
  }

  address(id: number): Address {
    return { host: `n${id}`, port: PORT };
  }

  /** A shuffle server that knows the job, on the files that it had. */
  async start(id: number, jobs: readonly string[] = [JOB]): Promise<ServerNode> {
    const life: Life = { alive: true, paused: false, held: [] };
    const bulk = this.#bulkOf(id, life);
    const server = new ShuffleServer({ root: 'root', files: this.disk(id), bulk, log: SILENT });
    await server.listen(this.address(id));
    server.serve(jobs.map((job) => [job, KEY]));
    const node = { id, life, server };
    this.servers.set(id, node);
    return node;
  }

  kill(id: number, how: 'killed' | 'power lost' = 'killed'): void {
    this.servers.get(id)!.life.alive = false;
    this.servers.delete(id);
    this.streams.crash(id, how);
  }

  /** Map task `map` has left this on the server. */
  put(id: number, map: number, partitions: Partitions, attempt = map * 10 + 1): string {
    const path = `root/${JOB}/map-${map}-${attempt}`;
    writeOutput(this.disk(id), path, partitions);
    this.sources.push({ node: id, map, attempt });
    return path;
  }

  /** What a fetch should find. */
  expected(partition = 0): string[] {
    const all = new MemoryFiles();
    const paths = this.sources.map(({ node, map, attempt }) => {
      const path = `root/${JOB}/map-${map}-${attempt}`;
      all.put(path, this.disk(node).content(path)!);
      return path;
    });
    return rowsOf(all, paths, partition);
  }

  fetch(options: Partial<FetchOptions> = {}): ReturnType<typeof fetchPartition> {
    const nodes = new Set(this.sources.map(({ node }) => node));
    return fetchPartition(this.sources, {
      ...{ files: this.files, bulk: this.bulk, self: SELF, job: JOB, key: KEY, partition: 0 },
      addresses: new Map([...nodes].map((id) => [id, this.address(id)])),
      directory: `root/${JOB}`,
      path: 'reduce-0-1',
      onBytes: () => {},
      ...options,
    });
  }

  /** What it comes to, in at most ten minutes of the world. */
  async outcome<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const noted = promise.finally(() => {
      settled = true;
    });
    // It is awaited below.
    noted.catch(() => {});
    const endMs = this.scheduler.nowMs + 600_000;
    while (!settled && this.scheduler.nowMs < endMs) await this.run(10);
    if (!settled) throw new Error('it goes on for ten minutes');
    return noted;
  }

  /** The rows that the fetch brings. */
  async rows(fetch: ReturnType<typeof fetchPartition>, partition = 0): Promise<string[]> {
    return rowsOf(this.files, await this.outcome(fetch.fetched), partition);
  }

  async run(forMs: number): Promise<void> {
    await this.scheduler.run(this.scheduler.nowMs + forMs);
  }

  #bulkOf(id: number, life: Life): BulkNetwork {
    const random = this.random.split();
    const clock = new SimClock(this.scheduler, life, { rate: 1, wallSkewMs: 0 }, random);
    return { network: this.streams.open(id, life), clock, random };
  }
}
