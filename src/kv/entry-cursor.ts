/**
 * Walks through the operations of a log entry (format: batch.ts) and allocates next to nothing: one cursor serves all
 * entries, and the arguments become views of the entry only when they are asked for.
 *
 * The entry is committed, a majority of servers has it and each run was validated before it was proposed. What is
 * malformed here is our own bug, so it is asserted and not reported.
 */
import type { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import { asBuffer } from '../lib/bytes.ts';
import {
  ADVANCE,
  COMMAND,
  ENTRY_FORMAT,
  ENTRY_HEADER_BYTES,
  NO_SESSION,
  type OnceNumber,
  OPEN_SESSION,
  RUN_HEADER_BYTES,
  SKIP,
  TRANSACTION,
  type Transaction,
  type TransactionCommand,
  type WatchedKey,
} from './batch.ts';

const HIGH = 0x1_0000_0000;
const NOTHING = asBuffer(new Uint8Array(0));
const NO_TRANSACTION: Transaction = { watched: [], commands: [] };

export class EntryCursor {
  /** Of the entry. */
  atMs = 0;
  /** Of the present run. */
  session = NO_SESSION;
  firstSeq = 0;
  /** Of the present operation: its kind, its place in the session, and what its kind has. */
  kind = SKIP;
  seq = 0;
  db = 0;
  argc = 0;
  nonce = 0;
  /** Its parts are views of the entry. */
  transaction: Transaction = NO_TRANSACTION;

  #data: Buffer = NOTHING;
  /** Where the next thing to read stands. */
  #offset = 0;
  #runEnd = 0;
  /** Operations of this run not yet read. */
  #left = 0;
  #nextSeq = 0;
  /** Offset and length of each argument in turn; longer than argc when an earlier operation had more. */
  readonly #places: number[] = [];

  open(data: Uint8Array): void {
    this.#data = asBuffer(data);
    assert(this.#data.length >= ENTRY_HEADER_BYTES, 'an entry has a header', this.#data.length);
    assert(this.#data[0] === ENTRY_FORMAT, 'an entry has the format that this server knows', this.#data[0]);
    this.atMs = this.#u64(1);
    this.#offset = ENTRY_HEADER_BYTES;
    this.#runEnd = ENTRY_HEADER_BYTES;
    this.#left = 0;
  }

  /** Goes on from where `other` stands, behind its present operation. */
  follow(other: EntryCursor): void {
    this.#data = other.#data;
    this.atMs = other.atMs;
    this.session = other.session;
    this.firstSeq = other.firstSeq;
    this.#offset = other.#offset;
    this.#runEnd = other.#runEnd;
    this.#left = other.#left;
    this.#nextSeq = other.#nextSeq;
  }

  /** Lets go of the entry. */
  close(): void {
    this.#data = NOTHING;
    this.transaction = NO_TRANSACTION;
    this.#offset = 0;
    this.#runEnd = 0;
    this.#left = 0;
  }

  /** Goes to the next run, past what is left of the present one. False when there is none. */
  nextRun(): boolean {
    this.#offset = this.#runEnd;
    if (this.#offset === this.#data.length) return false;
    const start = this.#offset;
    assert(start + RUN_HEADER_BYTES <= this.#data.length, 'a run has a header', start, this.#data.length);
    this.session = this.#u64(start);
    this.firstSeq = this.#u64(start + 8);
    this.#nextSeq = this.firstSeq;
    this.#left = this.#data.readUInt32LE(start + 16);
    this.#offset = start + RUN_HEADER_BYTES;
    this.#runEnd = this.#offset + this.#data.readUInt32LE(start + 20);
    assert(this.#runEnd <= this.#data.length, 'a run fits in its entry', this.#runEnd, this.#data.length);
    return true;
  }

  /** Goes to the next operation of this run. False when there is none. */
  nextOp(): boolean {
    if (this.#left === 0) {
      assert(this.#offset === this.#runEnd, 'a run ends with its last operation', this.#offset, this.#runEnd);
      return false;
    }
    this.#left--;
    assert(this.#offset < this.#runEnd, 'an operation lies in its run', this.#offset, this.#runEnd);
    this.kind = this.#data[this.#offset++]!;
    this.seq = this.#nextSeq;
    if (this.session !== NO_SESSION) this.#nextSeq++;
    if (this.kind === COMMAND) this.#readCommand();
    else if (this.kind === TRANSACTION) this.#readTransaction();
    else if (this.kind === OPEN_SESSION) this.#readNonce();
    else assert(this.kind === SKIP || this.kind === ADVANCE, 'an operation is of a known kind', this.kind);
    return true;
  }

  /** Passes over what is left of the present run. */
  skipRun(): void {
    this.#offset = this.#runEnd;
    this.#left = 0;
  }

  /** Argument `i` of the present command, a view of the entry. 0 is the name. */
  arg(i: number): Buffer {
    const start = this.#places[2 * i]!;
    return this.#data.subarray(start, start + this.#places[2 * i + 1]!);
  }

  /** The same as a string, one character per byte, without a view between. */
  argLatin1(i: number): string {
    const start = this.#places[2 * i]!;
    return this.#data.toString('latin1', start, start + this.#places[2 * i + 1]!);
  }

  #readCommand(): void {
    assert(this.#offset + 5 <= this.#runEnd, 'a command has a header', this.#offset, this.#runEnd);
    this.db = this.#data[this.#offset]!;
    this.argc = this.#data.readUInt32LE(this.#offset + 1);
    assert(this.argc > 0, 'a command has a name');
    let offset = this.#offset + 5;
    for (let i = 0; i < this.argc; i++) {
      assert(offset + 4 <= this.#runEnd, 'an argument lies in its run', offset, this.#runEnd);
      const length = this.#data.readUInt32LE(offset);
      this.#places[2 * i] = offset + 4;
      this.#places[2 * i + 1] = length;
      offset += 4 + length;
    }
    assert(offset <= this.#runEnd, 'a command lies in its run', offset, this.#runEnd);
    this.#offset = offset;
  }

  #readTransaction(): void {
    const once = this.#data[this.#offset++] === 1 ? this.#readOnce() : undefined;
    const watched: WatchedKey[] = [];
    for (let left = this.#readU32(); left > 0; left--) {
      const db = this.#data[this.#offset]!;
      const version = this.#u64(this.#offset + 1);
      this.#offset += 9;
      const length = this.#readU32();
      const key = this.#data.subarray(this.#offset, this.#offset + length);
      this.#offset += length;
      watched.push({ db, key, version });
    }
    const commands: TransactionCommand[] = [];
    for (let left = this.#readU32(); left > 0; left--) {
      this.#readCommand();
      commands.push({ db: this.db, argv: Array.from({ length: this.argc }, (_, i) => this.arg(i)) });
    }
    this.transaction = { once, watched, commands };
  }

  #readOnce(): OnceNumber {
    assert(this.#offset + 24 <= this.#runEnd, 'three numbers lie in their run', this.#offset, this.#runEnd);
    const at = this.#offset;
    this.#offset += 24;
    return { session: this.#u64(at), seq: this.#u64(at + 8), ack: this.#u64(at + 16) };
  }

  #readU32(): number {
    assert(this.#offset + 4 <= this.#runEnd, 'a number lies in its run', this.#offset, this.#runEnd);
    const value = this.#data.readUInt32LE(this.#offset);
    this.#offset += 4;
    return value;
  }

  #readNonce(): void {
    assert(this.#offset + 8 <= this.#runEnd, 'an openSession has a nonce', this.#offset, this.#runEnd);
    this.nonce = this.#u64(this.#offset);
    this.#offset += 8;
  }

  #u64(offset: number): number {
    const value = this.#data.readUInt32LE(offset + 4) * HIGH + this.#data.readUInt32LE(offset);
    assert(Number.isSafeInteger(value), 'a number of an entry is below 2^53', offset);
    return value;
  }
}
