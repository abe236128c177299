/**
 * Parts of the output: what a reduce task writes, one file per partition, in the order of the keys' bytes.
 *
 *   lines    the lines as they are, each with its end: what `--out DIR` keeps
 *   keyed    row ...: key length varint | count varint | line length varint | key | line: to be merged into one output,
 *            since the order of lines need not be that of their keys (`a!: 1` is before `a: 1`, and `a` before `a!`)
 *
 * `count` is what `--sort count` and `--top` go by; 0 where a job counts nothing.
 */
import { Buffer } from 'node:buffer';
import type { BulkReader, BulkWriter } from '../lib/bulk.ts';

export interface PartRow {
  readonly key: Uint8Array;
  readonly count: number;
  /** Without its end. */
  readonly line: Uint8Array;
}

const BLOCK_BYTES = 256 << 10;
const NEWLINE = 0x0a;
const SHORT_BYTES = 64;
const VARINT_BYTES_MAX = 8;

export class PartWriter {
  readonly #writer: BulkWriter;
  readonly #kind: 'lines' | 'keyed';
  #block = Buffer.allocUnsafe(BLOCK_BYTES);
  #length = 0;
  /** Written so far. */
  bytes = 0;

  constructor(writer: BulkWriter, kind: 'lines' | 'keyed') {
    this.#writer = writer;
    this.#kind = kind;
  }

  /** Bytes are copied. */
  row({ key, count, line }: PartRow): void {
    const keyed = this.#kind === 'keyed';
    const needed = line.length + 1 + (keyed ? key.length + 3 * VARINT_BYTES_MAX : 0);
    this.#makeRoom(needed);
    if (keyed) {
      this.#varint(key.length);
      this.#varint(count);
      this.#varint(line.length);
      this.#raw(key);
      this.#raw(line);
    } else {
      this.#raw(line);
      this.#block[this.#length++] = NEWLINE;
    }
  }

  /** What is buffered is written. The file is the caller's to sync and close. */
  flush(): void {
    this.#writer.write(this.#block.subarray(0, this.#length));
    this.bytes += this.#length;
    this.#length = 0;
  }

  #makeRoom(bytes: number): void {
    if (this.#length + bytes <= this.#block.length) return;
    this.flush();
    if (bytes > this.#block.length) this.#block = Buffer.allocUnsafe(bytes);
  }

  #varint(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.#block[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#block[this.#length++] = rest;
  }

  #raw(bytes: Uint8Array): void {
    // A call costs more than a few bytes.
    if (bytes.length > SHORT_BYTES) this.#block.set(bytes, this.#length);
    else for (let i = 0; i < bytes.length; i++) this.#block[this.#length + i] = bytes[i]!;
    this.#length += bytes.length;
  }
}

/** Of a keyed part: stands on one row after the other. */
export class PartReader {
  /** The row's key is bytes [keyFrom, lineFrom) of `block`, its line [lineFrom, lineTo); until the next row. */
  block: Buffer;
  keyFrom = 0;
  lineFrom = 0;
  lineTo = 0;
  count = 0;
  readonly #reader: BulkReader;
  #from = 0;
  #to = 0;
  #position = 0;

  /** `blockBytes`: read at a time, at least; as much is held. */
  constructor(reader: BulkReader, blockBytes = BLOCK_BYTES) {
    this.#reader = reader;
    this.block = Buffer.allocUnsafe(blockBytes);
  }

  /** Goes on to the next row. False at the end. */
  advance(): boolean {
    this.#need(3 * VARINT_BYTES_MAX);
    if (this.#from === this.#to) return false;
    const keyLength = this.#varint();
    this.count = this.#varint();
    const lineLength = this.#varint();
    this.#need(keyLength + lineLength);
    this.keyFrom = this.#from;
    this.lineFrom = this.keyFrom + keyLength;
    this.lineTo = this.lineFrom + lineLength;
    this.#from = this.lineTo;
    return true;
  }

  /** The row as views of the block. */
  get row(): PartRow {
    const key = this.block.subarray(this.keyFrom, this.lineFrom);
    return { key, count: this.count, line: this.block.subarray(this.lineFrom, this.lineTo) };
  }

  /** The next row; a view, good until the next call. */
  next(): PartRow | undefined {
    return this.advance() ? this.row : undefined;
  }

  close(): void {
    this.#reader.close();
  }

  /** As many bytes in the block, or as there are. */
  #need(bytes: number): void {
    if (this.#to - this.#from >= bytes) return;
    const rest = this.block.subarray(this.#from, this.#to);
    const block = bytes > this.block.length ? Buffer.allocUnsafe(2 * bytes) : this.block;
    block.set(rest, 0);
    this.block = block;
    this.#from = 0;
    this.#to = rest.length;
    const read = this.#reader.read(block, this.#to, block.length - this.#to, this.#position);
    this.#position += read;
    this.#to += read;
  }

  #varint(): number {
    let value = 0;
    let factor = 1;
    for (;;) {
      const byte = this.block[this.#from++]!;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      factor *= 0x80;
    }
  }
}

/** The row of a keyed part that begins at `at`, views of `bytes`, and where it ends; undefined: it ends behind `bytes`. */
export function rowAt(
  bytes: Buffer,
  at: number,
): { readonly row: PartRow; readonly end: number } | undefined {
  let next = at;
  const varint = (): number | undefined => {
    let value = 0;
    const last = Math.min(bytes.length, next + VARINT_BYTES_MAX);
    for (let factor = 1; next < last; factor *= 0x80) {
      const byte = bytes[next++]!;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    return undefined;
  };
  const [keyLength, count, lineLength] = [varint(), varint(), varint()];
  if (keyLength === undefined || count === undefined || lineLength === undefined) return undefined;
  const end = next + keyLength + lineLength;
  if (end > bytes.length) return undefined;
  const key = bytes.subarray(next, next + keyLength);
  return { row: { key, count, line: bytes.subarray(next + keyLength, end) }, end };
}
