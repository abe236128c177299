/** Writes a sorted run (run-format.ts), entry by entry, in the order in which it is to be read. */
import { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import type { BulkWriter } from '../lib/bulk.ts';
import { crc32 } from '../lib/checksum.ts';
import { encodeHeader, encodeRow, encodeTrailer, type RunKind, VARINT_BYTES_MAX } from './run-format.ts';

const BLOCK_BYTES = 128 << 10;
const LENGTHS_BYTES_MAX = 3 * VARINT_BYTES_MAX;

export class RunWriter {
  readonly partitions: number;
  readonly #writer: BulkWriter;
  readonly #kind: RunKind;
  #block: Buffer;
  #length = 0;
  /** Bytes of the file before the block. */
  #written = 0;
  readonly #rows: Buffer[] = [];
  /** Of the partition that is being written: its number is how many rows there are. */
  #offset = 0;
  #entries = 0;
  #sum = 0;
  /** Where in the block that begins which is not in the sum. */
  #unsummed = 0;
  #key: Buffer = Buffer.alloc(256);
  #keyLength = 0;

  constructor(writer: BulkWriter, kind: RunKind, partitions: number, blockBytes = BLOCK_BYTES) {
    assert(partitions >= 1, 'there is a partition', partitions);
    this.#writer = writer;
    this.#kind = kind;
    this.partitions = partitions;
    this.#block = Buffer.allocUnsafeSlow(blockBytes);
    this.#raw(encodeHeader(kind));
    this.#beginPartition();
  }

  /**
   * The key is bytes [from, to) of `source`. Partitions come in order, keys in the order of their bytes in each, and each
   * once.
   */
  count(partition: number, source: Uint8Array, from: number, to: number, count: number): void {
    assert(this.#kind === 'counts', 'a count is written to a run of counts');
    this.#begin(partition, source, from, to);
    this.#varint(count);
  }

  /** As `count`, but a key may come several times in a row. The value is bytes [valueFrom, valueTo) of `valueSource`. */
  value(
    partition: number,
    source: Uint8Array,
    from: number,
    to: number,
    valueSource: Uint8Array,
    valueFrom: number,
    valueTo: number,
  ): void {
    assert(this.#kind === 'values', 'a value is written to a run of values');
    this.#begin(partition, source, from, to);
    this.#varint(valueTo - valueFrom);
    this.#copy(valueSource, valueFrom, valueTo);
  }

  /** Writes the index and the rest. The file is the caller's to sync and close. The bytes of each partition. */
  finish(): number[] {
    while (this.#rows.length < this.partitions) this.#endPartition();
    const indexOffset = this.#written + this.#length;
    for (const row of this.#rows) this.#raw(row);
    this.#raw(encodeTrailer({ kind: this.#kind, partitions: this.partitions, indexOffset }));
    this.#flush();
    return this.#rows.map((row) => row.readUInt32LE(8) + row.readUInt32LE(12) * 2 ** 32);
  }

  /** Of the file, so far. */
  get bytes(): number {
    return this.#written + this.#length;
  }

  #begin(partition: number, source: Uint8Array, from: number, to: number): void {
    assert(partition >= this.#rows.length, 'partitions come in order', partition, this.#rows.length);
    assert(partition < this.partitions, 'a key is in a partition', partition, this.partitions);
    while (this.#rows.length < partition) this.#endPartition();
    const length = to - from;
    if (length > this.#key.length) this.#key = grow(this.#key, this.#keyLength, length);
    const key = this.#key;
    const common = Math.min(length, this.#keyLength);
    let shared = 0;
    while (shared < common && key[shared] === source[from + shared]) shared++;
    if (this.#entries > 0) {
      const later =
        shared === this.#keyLength
          ? length > shared || this.#kind === 'values'
          : shared < length && source[from + shared]! > key[shared]!;
      assert(later, 'keys come in order, and counted ones once', partition, this.#entries);
    }
    for (let i = shared; i < length; i++) key[i] = source[from + i]!;
    this.#keyLength = length;
    this.#entries++;
    if (this.#length + LENGTHS_BYTES_MAX > this.#block.length) this.#flush();
    this.#varint(shared);
    this.#varint(length - shared);
    this.#copy(source, from + shared, to);
  }

  #beginPartition(): void {
    this.#offset = this.#written + this.#length;
    this.#entries = 0;
    this.#sum = 0;
    this.#unsummed = this.#length;
    this.#keyLength = 0;
  }

  #endPartition(): void {
    this.#addToSum();
    const bytes = this.#written + this.#length - this.#offset;
    const slice = { offset: this.#offset, bytes, entries: this.#entries, crc32: this.#sum };
    this.#rows.push(encodeRow(this.#rows.length, slice));
    this.#beginPartition();
  }

  #addToSum(): void {
    if (this.#unsummed < this.#length) {
      this.#sum = crc32(this.#block.subarray(this.#unsummed, this.#length), this.#sum);
    }
    this.#unsummed = this.#length;
  }

  #varint(value: number): void {
    if (this.#length + VARINT_BYTES_MAX > this.#block.length) this.#flush();
    let rest = value;
    while (rest >= 0x80) {
      this.#block[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#block[this.#length++] = rest;
  }

  #copy(source: Uint8Array, from: number, to: number): void {
    if (to - from > 64 || this.#length + to - from > this.#block.length) {
      this.#raw(source.subarray(from, to));
      return;
    }
    for (let i = from; i < to; i++) this.#block[this.#length++] = source[i]!;
  }

  #raw(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      if (this.#length === this.#block.length) this.#flush();
      const fits = Math.min(bytes.length - done, this.#block.length - this.#length);
      this.#block.set(bytes.subarray(done, done + fits), this.#length);
      this.#length += fits;
      done += fits;
    }
  }

  #flush(): void {
    this.#addToSum();
    this.#writer.write(this.#block.subarray(0, this.#length));
    this.#written += this.#length;
    this.#length = 0;
    this.#unsummed = 0;
  }
}

function grow(key: Buffer, used: number, needed: number): Buffer {
  const grown = Buffer.alloc(needed * 2);
  grown.set(key.subarray(0, used));
  return grown;
}
