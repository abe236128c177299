/**
 * What one connection sends: bytes gather here, and leave together.
 *
 * Small things are copied into one growing buffer. A long bulk string becomes a chunk of its own, not copied: a value at
 * rest never changes, so it may wait here and in the socket as it is. `take` hands over everything gathered, and
 * with it the memory: the socket may hold on to it as long as it needs.
 */
/** From this length on, a chunk of its own costs less than a copy. */
const OWN_CHUNK_BYTES_MIN = 16 * 1024;
const FIRST_BUFFER_BYTES = 128;
const FIRST_BUFFER_BYTES_MAX = 16 * 1024;

export class ReplyWriter {
  #chunks: Uint8Array[] = [];
  /** Where small things go; [0, #from) is already in `#chunks`, [#from, #used) not yet. */
  #buffer: Uint8Array | undefined;
  #from = 0;
  #used = 0;
  /** Bytes written since the last `take`. */
  length = 0;
  /** A connection's turns are alike: the next buffer begins as long as the last one came to be. */
  #firstBytes = FIRST_BUFFER_BYTES;

  /** What it holds now, beside `length`: the open buffer, and the chunks that are finished. */
  get buffers(): {
    readonly bytes: number;
    readonly peakBytes: number;
    readonly used: number;
    readonly chunks: number;
  } {
    const bytes = this.#buffer?.length ?? 0;
    return {
      ...{ bytes, peakBytes: Math.max(bytes, this.#firstBytes) },
      ...{ used: this.#used - this.#from, chunks: this.#chunks.length },
    };
  }

  /** Latin-1, so in effect ASCII; short. */
  ascii(text: string): void {
    const buffer = this.#reserve(text.length);
    let at = this.#used;
    for (let index = 0; index < text.length; index++) buffer[at++] = text.charCodeAt(index);
    this.#used = at;
    this.length += text.length;
  }

  /** `bytes` must not change any more, unless they are shorter than `OWN_CHUNK_BYTES_MIN`. */
  bytes(bytes: Uint8Array): void {
    if (bytes.length >= OWN_CHUNK_BYTES_MIN) {
      this.#closeRun();
      this.#chunks.push(bytes);
    } else {
      this.#reserve(bytes.length).set(bytes, this.#used);
      this.#used += bytes.length;
    }
    this.length += bytes.length;
  }

  /** Everything gathered, in order; the writer is empty after it. */
  take(): Uint8Array[] {
    this.#closeRun();
    const chunks = this.#chunks;
    if (this.#buffer !== undefined) {
      this.#firstBytes = Math.min(Math.max(FIRST_BUFFER_BYTES, this.#used), FIRST_BUFFER_BYTES_MAX);
    }
    this.clear();
    return chunks;
  }

  clear(): void {
    this.#chunks = [];
    this.#buffer = undefined;
    this.#from = 0;
    this.#used = 0;
    this.length = 0;
  }

  #closeRun(): void {
    if (this.#buffer === undefined || this.#from === this.#used) return;
    this.#chunks.push(this.#buffer.subarray(this.#from, this.#used));
    this.#from = this.#used;
  }

  /** The buffer, with room for `bytes` more at `#used`. */
  #reserve(bytes: number): Uint8Array {
    if (this.#buffer !== undefined && this.#used + bytes <= this.#buffer.length) return this.#buffer;
    const run = this.#used - this.#from;
    const grown = allocate(Math.max(this.#firstBytes, run * 2, run + bytes));
    // Only the open run moves; what is before it lies in chunks that keep the old buffer.
    if (this.#buffer !== undefined) grown.set(this.#buffer.subarray(this.#from, this.#used));
    this.#buffer = grown;
    this.#from = 0;
    this.#used = run;
    return grown;
  }
}

const SLAB_BYTES = 8 * 1024;
let slab = new Uint8Array(SLAB_BYTES);
let slabUsed = 0;

/** Small buffers are cut from a common slab, a piece once only: memory of their own would cost more than their use. */
function allocate(bytes: number): Uint8Array {
  if (bytes > SLAB_BYTES / 4) return new Uint8Array(bytes);
  if (slabUsed + bytes > SLAB_BYTES) {
    slab = new Uint8Array(SLAB_BYTES);
    slabUsed = 0;
  }
  slabUsed += bytes;
  return slab.subarray(slabUsed - bytes, slabUsed);
}
