/**
 * The data of a log entry: one batch of operations, from every client of every server that spoke in the same turn.
 *
 *   entry   version u8 | atMs u64 | run ...
 *   run     session u64 | firstSeq u64 | count u32 | byteLength u32 | op ...       byteLength: of the ops
 *   op      kind u8, then
 *     0 command       db u8 | argc u32 | argc times: length u32, bytes
 *     1 skip          fills the sequence number of a command that was given up before it was proposed
 *     2 openSession   nonce u64          only in a run of session 0
 *     3 advance       nothing but the time passes
 *     4 transaction   once u8 (0, or 1 and then session u64, seq u64, ack u64 of a client: see client-sessions.ts) |
 *                     watched u32 | watched times: db u8, version u64, key bytes |
 *                     commands u32 | commands times: db u8, argc u32, argc times: length u32, bytes
 *
 * A run is what one server session sends, numbered firstSeq, firstSeq + 1, ...  The server at which a command arrives
 * encodes it once; from there on the bytes of whole runs travel unchanged, through the peer link into the leader's entry.
 * All numbers are little-endian.
 */
import { Buffer } from 'node:buffer';
import { assert } from '../lib/assert.ts';
import { ByteReader, type ByteWriter, MalformedError } from '../lib/bytes.ts';

export const ENTRY_FORMAT = 1;
export const ENTRY_HEADER_BYTES = 9;
export const RUN_HEADER_BYTES = 24;

/** SELECT knows 0 to 15, as in Redis. */
export const DATABASES = 16;
/**
 * One more, that no client can name: what services of the servers keep (server/service.ts). It is logged, hashed,
 * checkpointed and sent with snapshots as the others are; FLUSHALL leaves it alone, and nothing in it expires.
 */
export const SYSTEM_DATABASE = DATABASES;
export const ALL_DATABASES = DATABASES + 1;

/** The session of a run that needs none: its operations may be applied twice without harm. */
export const NO_SESSION = 0;

export const COMMAND = 0;
export const SKIP = 1;
export const OPEN_SESSION = 2;
export const ADVANCE = 3;
export const TRANSACTION = 4;

/** A key of which a transaction depends: it runs only if the key's version still is this. */
export interface WatchedKey {
  readonly db: number;
  readonly key: Uint8Array;
  /** 0: there was no such key. */
  readonly version: number;
}

export interface TransactionCommand {
  readonly db: number;
  readonly argv: readonly Uint8Array[];
}

/** A client's number for what is to run once: see client-sessions.ts. */
export interface OnceNumber {
  readonly session: number;
  readonly seq: number;
  readonly ack: number;
}

/** MULTI ... EXEC: all of it happens in one operation, or nothing. */
export interface Transaction {
  /** HSTORE.DO ... EXEC. */
  readonly once?: OnceNumber | undefined;
  readonly watched: readonly WatchedKey[];
  readonly commands: readonly TransactionCommand[];
}

/** Whether there is such a command with so many arguments, the name, as typed, included; `word` is the one behind it. */
export type Accepts = (name: string, argc: number, inTransaction: boolean, word?: string) => boolean;

/** A whole run, header included. */
export type EncodedRun = Uint8Array;

export interface RunHeader {
  readonly session: number;
  readonly firstSeq: number;
  /** Operations in the run, at least one. */
  readonly count: number;
}

export function encodeCommandOp(writer: ByteWriter, db: number, argv: readonly Uint8Array[]): void {
  writer.u8(COMMAND);
  encodeCommand(writer, db, argv);
}

function encodeCommand(writer: ByteWriter, db: number, argv: readonly Uint8Array[]): void {
  assert(db >= 0 && db < ALL_DATABASES, 'a database is one of those that there are', db);
  assert(argv.length > 0, 'a command has a name');
  writer.u8(db);
  writer.u32(argv.length);
  for (const arg of argv) writer.bytes(arg);
}

export function encodeTransactionOp(writer: ByteWriter, { once, watched, commands }: Transaction): void {
  writer.u8(TRANSACTION);
  writer.u8(once === undefined ? 0 : 1);
  if (once !== undefined) {
    writer.u64(once.session);
    writer.u64(once.seq);
    writer.u64(once.ack);
  }
  writer.u32(watched.length);
  for (const { db, key, version } of watched) {
    writer.u8(db);
    writer.u64(version);
    writer.bytes(key);
  }
  writer.u32(commands.length);
  for (const { db, argv } of commands) encodeCommand(writer, db, argv);
}

export function encodeSkipOp(writer: ByteWriter): void {
  writer.u8(SKIP);
}

export function encodeOpenSessionOp(writer: ByteWriter, nonce: number): void {
  writer.u8(OPEN_SESSION);
  writer.u64(nonce);
}

export function encodeAdvanceOp(writer: ByteWriter): void {
  writer.u8(ADVANCE);
}

/** Writes a run whose operations were encoded before. */
export function encodeRun(writer: ByteWriter, run: RunHeader & { readonly ops: Uint8Array }): void {
  assert(run.count > 0, 'a run holds an operation');
  assert(
    run.session !== NO_SESSION || run.firstSeq === 0,
    'without a session nothing is numbered',
    run.firstSeq,
  );
  writer.u64(run.session);
  writer.u64(run.firstSeq);
  writer.u32(run.count);
  writer.u32(run.ops.length);
  writer.raw(run.ops);
}

/** `atMs`: whole milliseconds since 1970 by the leader's clock. The entry's bytes are the caller's. */
export function encodeEntry(atMs: number, runs: readonly EncodedRun[]): Uint8Array {
  assert(Number.isSafeInteger(atMs) && atMs >= 0, 'the time is whole milliseconds since 1970', atMs);
  let length = ENTRY_HEADER_BYTES;
  for (const run of runs) length += run.length;
  const entry = Buffer.allocUnsafeSlow(length);
  entry[0] = ENTRY_FORMAT;
  entry.writeUInt32LE(atMs % 0x1_0000_0000, 1);
  entry.writeUInt32LE(Math.floor(atMs / 0x1_0000_0000), 5);
  let offset = ENTRY_HEADER_BYTES;
  for (const run of runs) {
    entry.set(run, offset);
    offset += run.length;
  }
  return entry;
}

/** Who sent a run that `validateRun` has accepted, and what it is numbered. */
export function runHeader(run: EncodedRun): RunHeader {
  const reader = new ByteReader(run);
  return { session: reader.u64(), firstSeq: reader.u64(), count: reader.u32() };
}

/**
 * Whether `run` is one whole well-formed run. For what a peer sends, before it is proposed: once committed, every
 * replica must be able to apply it.
 */
export function validateRun(run: Uint8Array, accepts?: Accepts): boolean {
  const reader = new ByteReader(run);
  try {
    const session = reader.u64();
    const firstSeq = reader.u64();
    const count = reader.u32();
    if (reader.u32() !== reader.remaining || count === 0) return false;
    if (session === NO_SESSION ? firstSeq !== 0 : firstSeq === 0) return false;
    if (!Number.isSafeInteger(firstSeq + count)) return false;
    for (let op = 0; op < count; op++) {
      if (!validOp(reader, session, accepts)) return false;
    }
  } catch (error) {
    if (error instanceof MalformedError) return false;
    throw error;
  }
  return reader.remaining === 0;
}

function validOp(reader: ByteReader, session: number, accepts: Accepts | undefined): boolean {
  switch (reader.u8()) {
    case COMMAND:
      return session !== NO_SESSION && validCommand(reader, accepts, false);
    case TRANSACTION:
      return session !== NO_SESSION && validTransaction(reader, accepts);
    case SKIP:
      return session !== NO_SESSION;
    case OPEN_SESSION:
      reader.u64();
      return session === NO_SESSION;
    case ADVANCE:
      return true;
    default:
      return false;
  }
}

function validCommand(reader: ByteReader, accepts: Accepts | undefined, inTransaction: boolean): boolean {
  if (reader.u8() >= ALL_DATABASES) return false;
  const argc = reader.u32();
  if (argc === 0) return false;
  const name = reader.bytes();
  const word = argc > 1 ? reader.bytes() : undefined;
  for (let i = 2; i < argc; i++) reader.raw(reader.u32());
  return (
    accepts === undefined || accepts(name.toString('latin1'), argc, inTransaction, word?.toString('latin1'))
  );
}

function validTransaction(reader: ByteReader, accepts: Accepts | undefined): boolean {
  const once = reader.u8();
  if (once > 1) return false;
  if (once === 1) {
    const [session, seq, ack] = [reader.u64(), reader.u64(), reader.u64()];
    if (![session, seq, ack].every(Number.isSafeInteger) || ack >= seq) return false;
  }
  for (let watched = reader.u32(); watched > 0; watched--) {
    if (reader.u8() >= ALL_DATABASES) return false;
    if (!Number.isSafeInteger(reader.u64())) return false;
    reader.raw(reader.u32());
  }
  for (let commands = reader.u32(); commands > 0; commands--) {
    if (!validCommand(reader, accepts, true)) return false;
  }
  return true;
}
