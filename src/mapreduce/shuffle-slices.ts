/**
 * The answer to one fetch, as a stream of frames: for each map output asked for what there is of it, and its bytes, read
 * from its file as there is room for them.
 */
import { assert } from '../lib/assert.ts';
import { BulkFileError, type BulkFiles } from '../lib/bulk.ts';
import type { RunSlice } from './run-format.ts';
import { RunDamagedError } from './run-format.ts';
import { RunFile } from './run-reader.ts';
import {
  encodeShuffleFrame,
  encodeSlice,
  encodeTorn,
  type FetchRequest,
  FRAME_BYTES_MAX,
  FRAME_HEADER_BYTES,
  type MapOutput,
  mapOutputName,
  SLICE_FRAME_BYTES,
  type SliceStatus,
} from './shuffle-format.ts';

/** Of one `fill`: on a slow disk each takes its time, and the other side waits for a sign of life. */
const OPENED_MAX = 64;
/** A frame of data is not begun for less, unless that is all. */
const ROOM_BYTES_MIN = 4 << 10;
const NO_SLICE: RunSlice = { kind: 'counts', offset: 0, bytes: 0, entries: 0, crc32: 0 };

export class SliceStream {
  readonly #files: BulkFiles;
  readonly #directory: string;
  readonly #request: FetchRequest;
  #next = 0;
  /** What is being sent, from where on, and how much is left. */
  #run: RunFile | undefined;
  #position = 0;
  #left = 0;
  /** An output cannot be had: no more is sent. */
  #lost = false;

  /** `directory`: of the job. */
  constructor(files: BulkFiles, directory: string, request: FetchRequest) {
    this.#files = files;
    this.#directory = directory;
    this.#request = request;
  }

  /** Writes frames to the beginning of `target`, of at least FRAME_BYTES_MAX. How many bytes; 0: there is no more. */
  fill(target: Buffer): number {
    assert(target.length >= FRAME_BYTES_MAX, 'a frame has room', target.length);
    const { outputs } = this.#request;
    let at = 0;
    for (let opened = 0; ; ) {
      if (this.#run !== undefined) {
        const room = target.length - at - FRAME_HEADER_BYTES;
        if (room < Math.min(this.#left, ROOM_BYTES_MIN)) return at;
        at += this.#data(this.#run, target, at);
      } else {
        const fits = opened < OPENED_MAX && target.length - at >= SLICE_FRAME_BYTES;
        if (this.#next === outputs.length || !fits) return at;
        at += this.#begin(outputs[this.#next++]!).copy(target, at);
        opened++;
      }
    }
  }

  close(): void {
    this.#run?.close();
    this.#run = undefined;
  }

  #begin(output: MapOutput): Buffer {
    const { map } = output;
    let run: RunFile | undefined;
    try {
      run = new RunFile(`${this.#directory}/${mapOutputName(output)}`, this.#files);
      const slice = run.slice(this.#request.partition);
      const status = this.#lost ? 'held' : 'sent';
      if (status === 'held' || slice.bytes === 0) run.close();
      else this.#run = run;
      this.#position = slice.offset;
      this.#left = slice.bytes;
      return encodeSlice({ map, status, slice: status === 'sent' ? slice : NO_SLICE });
    } catch (error) {
      run?.close();
      this.#lost = true;
      return encodeSlice({ map, status: statusOf(error), slice: NO_SLICE });
    }
  }

  /** A frame, of as much as there is room for. */
  #data(run: RunFile, target: Buffer, at: number): number {
    const from = at + FRAME_HEADER_BYTES;
    const bytes = Math.min(this.#left, target.length - from, FRAME_BYTES_MAX - FRAME_HEADER_BYTES);
    try {
      const read = run.reader.read(target, from, bytes, this.#position);
      if (read < bytes) throw new RunDamagedError(run.path, `${run.path} ends early`);
    } catch (error) {
      this.close();
      this.#lost = true;
      return encodeTorn(statusOf(error)).copy(target, at);
    }
    encodeShuffleFrame('data', undefined, bytes).copy(target, at);
    this.#position += bytes;
    this.#left -= bytes;
    if (this.#left === 0) this.close();
    return FRAME_HEADER_BYTES + bytes;
  }
}

/** Why a map output cannot be read. Throws what is none of the disk's. */
export function statusOf(error: unknown): Exclude<SliceStatus, 'sent' | 'held'> {
  if (error instanceof RunDamagedError) return 'damaged';
  if (error instanceof BulkFileError) return error.code === 'ENOENT' ? 'missing' : 'unreadable';
  throw error;
}
