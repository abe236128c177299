/**
 * Gathers slices of one server's map outputs in one file, one behind the other. After a break it goes on with those that
 * are not whole; what came of them before stays in the file, and nothing refers to it.
 *
 * It gives up when so many tries in a row have brought no slice, and tells what is the matter: outputs that the server does
 * not have any more are lost, and so is one that comes damaged twice. A server that is busy is waited for.
 */
import { BulkFileError, type BulkFiles, type BulkWriter } from '../lib/bulk.ts';
import type { BulkNetwork } from '../lib/bulk-network.ts';
import { crc32 } from '../lib/checksum.ts';
import type { Address, Timer } from '../lib/env.ts';
import { HstoreError } from '../lib/errors.ts';
import { FetchFailed } from './fetch-failed.ts';
import type { RunSlice } from './run-format.ts';
import { ShuffleClient, type ShuffleEnd } from './shuffle-client.ts';
import { FETCH_OUTPUTS_MAX, type MapOutput, type SliceAnswer, type SliceStatus } from './shuffle-format.ts';

const TRIES_MAX = 3;
/** Before the second try; twice as long before the third. */
const RETRY_MS = 250;
const BUSY_RETRY_MS = 200;
const BUSY_MS_MAX = 120_000;

export interface GathererOptions {
  readonly files: BulkFiles;
  readonly bulk: BulkNetwork;
  readonly node: number;
  readonly address: Address;
  readonly job: string;
  readonly key: Uint8Array;
  readonly partition: number;
  /** Of map tasks that are all different. */
  readonly outputs: readonly MapOutput[];
  /** Where they are gathered. The file is there when it has begun, and is not removed. */
  readonly path: string;
  /** A sign of life. */
  onBytes(bytes: number): void;
  /** Exactly once, last; not after `stop`. */
  onEnd(error: Error | null): void;
}

export class ShuffleGatherer {
  /** By map task: where its slice lies in the file, when it is whole. */
  readonly slices = new Map<number, RunSlice>();
  readonly #options: GathererOptions;
  readonly #file: BulkWriter;
  #fileBytes = 0;
  /** What is coming: whose, what the server says of it, and the checksum so far. */
  #coming: { readonly output: MapOutput; readonly slice: RunSlice } | undefined;
  #sum = 0;
  /** Map tasks whose slices have come damaged. */
  readonly #damaged = new Set<number>();
  /** Of the fetch under way: what cannot be had any more, and what could not be read. */
  #lost: { readonly map: number; readonly status: SliceStatus }[] = [];
  #unread: number[] = [];
  /** In a row, without a slice that came whole. */
  #failures = 0;
  #busySinceMs: number | undefined;
  #client: ShuffleClient | undefined;
  #timer: Timer | undefined;
  #over = false;

  /** Throws BulkFileError. */
  constructor(options: GathererOptions) {
    this.#options = options;
    this.#file = options.files.create(options.path);
    this.#try();
  }

  /** Harmless when it is over. */
  stop(): void {
    if (this.#over) return;
    this.#over = true;
    this.#timer?.cancel();
    this.#client?.destroy();
    this.#file.close();
  }

  #end(error: Error | null): void {
    if (this.#over) return;
    this.stop();
    this.#options.onEnd(error);
  }

  #fail(maps: readonly number[], message: string): void {
    this.#end(new FetchFailed(this.#options.node, maps, message));
  }

  #try(): void {
    const { bulk, address, job, key, partition } = this.#options;
    this.#unread = [];
    this.#client = new ShuffleClient(bulk, {
      ...{ address, job, key, partition },
      next: () => this.#next(),
      onSlice: (output, answer) => this.#onSlice(output, answer),
      onData: (bytes) => this.#onData(bytes),
      onSliceEnd: (status) => this.#onSliceEnd(status),
      onEnd: (end) => this.#onEnd(end),
    });
  }

  /** After the answers to one fetch, of which some may say that it makes no sense to go on. */
  #next(): readonly MapOutput[] {
    if (this.#lost.length > 0) {
      this.#failLost();
    } else if (this.#unread.length > 0) {
      this.#client?.destroy();
      this.#tryAgain(this.#unread, `it could not read ${outputsText(this.#unread)}`);
    } else {
      return this.#missing().slice(0, FETCH_OUTPUTS_MAX);
    }
    return [];
  }

  #missing(): MapOutput[] {
    return this.#options.outputs.filter(({ map }) => !this.slices.has(map));
  }

  #onSlice(output: MapOutput, { status, slice }: SliceAnswer): void {
    this.#coming = { output, slice: { ...slice, offset: this.#fileBytes } };
    this.#sum = 0;
    if (status !== 'sent') this.#note(status);
  }

  #onData(bytes: Uint8Array): void {
    this.#sum = crc32(bytes, this.#sum);
    try {
      this.#file.write(bytes);
    } catch (error) {
      if (!(error instanceof BulkFileError)) throw error;
      return this.#end(error);
    }
    this.#fileBytes += bytes.length;
    this.#options.onBytes(bytes.length);
  }

  #onSliceEnd(status: SliceStatus): void {
    if (status !== 'sent') return this.#note(status);
    const { output, slice } = this.#coming!;
    const { map } = output;
    if (this.#sum === slice.crc32) {
      this.slices.set(map, slice);
      this.#failures = 0;
      this.#busySinceMs = undefined;
    } else if (this.#damaged.has(map)) {
      this.#note('damaged');
    } else {
      this.#damaged.add(map);
    }
  }

  #note(status: SliceStatus): void {
    const { map } = this.#coming!.output;
    if (status === 'missing' || status === 'damaged') this.#lost.push({ map, status });
    else if (status === 'unreadable') this.#unread.push(map);
  }

  #failLost(): void {
    const { node } = this.#options;
    const maps = this.#lost.map(({ map }) => map);
    const all = this.#lost.every(({ status }) => status === 'missing') ? 'missing' : 'damaged or missing';
    this.#fail(maps, `${outputsText(maps)} of server ${node}: ${all}`);
  }

  #onEnd(end: ShuffleEnd): void {
    const { node, address } = this.#options;
    if (end.kind === 'done') return this.#end(null);
    if (this.#lost.length > 0) return this.#failLost();
    if (end.kind === 'broken') return this.#tryAgain([], end.message);
    if (end.kind === 'refused' && end.reason === 'busy') return this.#wait();
    // After a restart a server hears of its jobs a moment later than it listens.
    if (end.kind === 'refused' && end.reason === 'unknown job')
      return this.#tryAgain([], 'it has no such job');
    const reason = end.kind === 'refused' ? `it refused: ${end.reason}` : end.message;
    this.#fail([], `server ${node} at ${address.host}:${address.port}: ${reason}`);
  }

  /** `maps`: whose outputs are the matter; none: it is the server. */
  #tryAgain(maps: readonly number[], reason: string): void {
    const { node, address, bulk } = this.#options;
    this.#failures++;
    if (this.#failures >= TRIES_MAX) {
      const where = `server ${node} at ${address.host}:${address.port}`;
      return this.#fail(maps, `${where}, tried ${TRIES_MAX} times: ${reason}`);
    }
    const delayMs = RETRY_MS * 2 ** (this.#failures - 1);
    this.#tryAfter(delayMs + bulk.random.below(delayMs));
  }

  #wait(): void {
    const { node, bulk, onBytes } = this.#options;
    const nowMs = bulk.clock.monotonicMs();
    this.#busySinceMs ??= nowMs;
    if (nowMs - this.#busySinceMs > BUSY_MS_MAX) {
      return this.#end(new HstoreError('BUSY', 'not-done', `server ${node} is busy with other fetches`));
    }
    onBytes(0);
    this.#tryAfter(BUSY_RETRY_MS + bulk.random.below(BUSY_RETRY_MS));
  }

  #tryAfter(delayMs: number): void {
    this.#timer = this.#options.bulk.clock.after(delayMs, () => this.#try());
  }
}

function outputsText(maps: readonly number[]): string {
  const named = maps.slice(0, 5).join(', ');
  const more = maps.length > 5 ? ` and ${maps.length - 5} more` : '';
  return `output of map task${maps.length === 1 ? '' : 's'} ${named}${more}`;
}
