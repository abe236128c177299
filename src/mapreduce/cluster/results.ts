/**
 * The result of a job, read from the store on any server: page by page, all parts merged in the order of their keys, or by
 * chunks of a part, as they are, for those who take it all.
 *
 * A cursor says how far each part is read, so no server need remember anything about who reads what. As with SCAN `0` is
 * the beginning, and the end.
 */
import { Buffer } from 'node:buffer';
import { assert } from '../../lib/assert.ts';
import { ByteReader, ByteWriter, MalformedError } from '../../lib/bytes.ts';
import { ConfigError } from '../../lib/errors.ts';
import type { ServiceHost } from '../../server/service.ts';
import { type PartRow, rowAt } from '../parts.ts';
import { CHUNK_BYTES, chunkKey, decodeRecord, type JobId, type JobResult, resultKey } from './records.ts';
import { read } from './system-keys.ts';

export interface Page {
  readonly cursor: string;
  readonly lines: readonly Uint8Array[];
}

export const BEGIN = '0';
const PAGE_BYTES_MAX = 1 << 20;
const WINDOW_BYTES = 4 << 10;
const READS_AT_ONCE = 64;

/** Undefined: there is none. Throws StoreError, CorruptionError. */
export async function resultOf(host: ServiceHost, id: JobId): Promise<JobResult | undefined> {
  const bytes = await read(host, 'GET', resultKey(id));
  return bytes === null ? undefined : decodeRecord<JobResult>(bytes as Uint8Array);
}

/** Undefined: the part has fewer. Throws StoreError, ConfigError. */
export async function chunkOf(
  host: ServiceHost,
  { id, result }: { id: JobId; result: JobResult },
  { part, chunk }: { part: number; chunk: number },
): Promise<Uint8Array | undefined> {
  const found = result.parts[part];
  if (found === undefined) throw new ConfigError(`job ${id} has ${result.parts.length} parts, from 0 on`);
  const [attempt, chunks] = found;
  if (chunk >= chunks) return undefined;
  const bytes = await read(host, 'GET', chunkKey(id, part, attempt, chunk));
  if (bytes === null) throw removed(id);
  return bytes as Uint8Array;
}

/** At most `count` lines, and fewer when they are long. Throws StoreError, ConfigError. */
export async function pageOf(
  host: ServiceHost,
  { id, result }: { id: JobId; result: JobResult },
  { cursor, count }: { cursor: string; count: number },
): Promise<Page> {
  const offsets = cursor === BEGIN ? result.parts.map(() => 0) : decodeCursor(cursor, result);
  const parts = offsets.map((offset, part) => new PartWindow(host, { id, part, result, offset }));
  for (let i = 0; i < parts.length; i += READS_AT_ONCE) {
    await Promise.all(parts.slice(i, i + READS_AT_ONCE).map((part) => part.load()));
  }
  const waiting = parts.filter(({ row }) => row !== undefined).sort(byKey);
  const lines: Uint8Array[] = [];
  let bytes = 0;
  while (waiting.length > 0 && lines.length < count && bytes < PAGE_BYTES_MAX) {
    const first = waiting.shift()!;
    lines.push(Uint8Array.from(first.row!.line));
    bytes += first.row!.line.length;
    await first.advance();
    if (first.row !== undefined) insert(waiting, first);
  }
  const isOver = waiting.length === 0;
  return { cursor: isOver ? BEGIN : encodeCursor(parts.map(({ offset }) => offset)), lines };
}

function byKey(a: PartWindow, b: PartWindow): number {
  return Buffer.compare(a.row!.key, b.row!.key);
}

/** Into those that are sorted already. */
function insert(sorted: PartWindow[], part: PartWindow): void {
  let [from, to] = [0, sorted.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (byKey(sorted[middle]!, part) <= 0) from = middle + 1;
    else to = middle;
  }
  sorted.splice(from, 0, part);
}

interface PartPlace {
  readonly id: JobId;
  readonly part: number;
  readonly result: JobResult;
  readonly offset: number;
}

/** A row of a part, and some of what comes behind it. */
class PartWindow {
  readonly #host: ServiceHost;
  readonly #id: JobId;
  readonly #part: number;
  readonly #attempt: number;
  readonly #bytes: number;
  /** Of the row. */
  offset: number;
  row: PartRow | undefined;
  #end = 0;
  #window: Buffer = Buffer.alloc(0);
  #windowFrom = 0;

  constructor(host: ServiceHost, { id, part, result, offset }: PartPlace) {
    const [attempt, , bytes] = result.parts[part]!;
    this.#host = host;
    this.#id = id;
    this.#part = part;
    this.#attempt = attempt;
    this.#bytes = bytes;
    this.offset = offset;
  }

  advance(): Promise<void> {
    this.offset = this.#end;
    return this.load();
  }

  /** The row at `offset`; none at the end of the part. */
  async load(): Promise<void> {
    this.row = undefined;
    for (let wanted = WINDOW_BYTES; this.offset < this.#bytes; wanted *= 4) {
      const found = rowAt(this.#window, this.offset - this.#windowFrom);
      if (found !== undefined) {
        this.row = found.row;
        this.#end = this.#windowFrom + found.end;
        return;
      }
      const isAll = this.#windowFrom === this.offset && this.offset + this.#window.length === this.#bytes;
      if (isAll) throw new ConfigError(`the cursor is not one of job ${this.#id}`);
      this.#window = await this.#read(this.offset, Math.min(wanted, this.#bytes - this.offset));
      this.#windowFrom = this.offset;
    }
  }

  async #read(offset: number, bytes: number): Promise<Buffer> {
    const pieces: Uint8Array[] = [];
    for (let at = offset; at < offset + bytes; ) {
      const chunk = Math.floor(at / CHUNK_BYTES);
      const from = at - chunk * CHUNK_BYTES;
      const to = Math.min(CHUNK_BYTES, from + offset + bytes - at);
      const key = chunkKey(this.#id, this.#part, this.#attempt, chunk);
      const piece = await read(this.#host, 'GETRANGE', key, from, to - 1);
      if (!(piece instanceof Uint8Array) || piece.length < to - from) throw removed(this.#id);
      pieces.push(piece);
      at += to - from;
    }
    const all = Buffer.concat(pieces);
    assert(all.length === bytes, 'a window is read whole', all.length, bytes);
    return all;
  }
}

function removed(id: JobId): ConfigError {
  return new ConfigError(`the result of job ${id} has been removed`);
}

function encodeCursor(offsets: readonly number[]): string {
  const out = new ByteWriter();
  for (const offset of offsets) out.u64(offset);
  return out.take().toString('base64');
}

/** Throws ConfigError. */
function decodeCursor(cursor: string, { parts }: JobResult): number[] {
  const wrong = new ConfigError('the cursor is not one that MR.RESULT has given for this job');
  const reader = new ByteReader(Buffer.from(cursor, 'base64'));
  try {
    const offsets = parts.map(() => reader.u64());
    if (reader.remaining > 0 || offsets.some((offset, part) => offset > parts[part]![2])) throw wrong;
    return offsets;
  } catch (error) {
    throw error instanceof MalformedError ? wrong : error;
  }
}
