/**
 * classic-level (LevelDB 1.20) behind `Stores` and `Store`.
 *
 * Three habits of LevelDB are mended here:
 *
 * - After a failed write (a full disk, say) LevelDB refuses all writes until it is opened again, and where it
 *   does not, the end of its log is in an unknown state, so that what is appended may be lost at recovery. So
 *   batches are written one at a time, and after a failed one the store opens itself again before the next.
 *   Opening rewrites the log as a table: without room for that it is not tried, and the old one goes on
 *   serving reads.
 * - At recovery LevelDB drops damaged pieces from the middle of its log and opens all the same, as if these
 *   batches had never been. It tells so in its text log LOG and nowhere else: that is read after opening, and
 *   a store that has lost something is refused, now and ever after (a file DAMAGED marks it). A record that a
 *   crash cut off at the very end was never acknowledged; LevelDB leaves it out silently, and rightly. (One
 *   kind of damage looks just like that and stays unseen: a broken length in the last 32 KiB of the log.)
 * - `batch([...])` takes 18 times as long on the event loop as the chained form (measured: 5.5 and 0.3
 *   microseconds per operation), so the latter is used, and made when the batch is written, over several turns when
 *   it is long.
 *
 * The module is loaded when the first store is opened: the command line needs no native code.
 */
import * as fsp from 'node:fs/promises';
import { join } from 'node:path';
import type { ClassicLevel } from 'classic-level';
import { assert } from '../lib/assert.ts';
import type { Disk, RangeDone, Store, StoreBatch, StoreRange, StoreSnapshot, Stores } from '../lib/env.ts';
import { CorruptionError, DiskFullError, InUseError, SnapshotLostError } from '../lib/errors.ts';

export type Level = ClassicLevel<Uint8Array, Uint8Array>;
type Entries = [Uint8Array, Uint8Array][];
/** What of LevelDB's iterators is used here. */
interface LevelIterator {
  all(): Promise<Entries>;
  nextv(size: number): Promise<Entries>;
  close(): Promise<void>;
}

const OPTIONS = {
  keyEncoding: 'view',
  valueEncoding: 'view',
  // A checkpoint comes as one big batch; two such buffers may be in memory, and a restart reads one from the
  // log.
  writeBufferSize: 32 << 20,
  cacheSize: 32 << 20,
  maxFileSize: 8 << 20,
} as const;

/** Put into a batch of LevelDB in one turn of the event loop: some milliseconds. */
const OPERATIONS_PER_TURN = 2000;
/** Asked of an iterator at once. */
const ENTRIES_PER_STEP = 256;
/** Where the bytes are the bound. */
const ENTRIES_PER_STEP_BY_BYTES = 4096;
const DAMAGED_MARK = 'DAMAGED';
/** What opening writes besides the rewritten log: manifest, a fresh log, its text log. */
const OPENING_BYTES = 1 << 20;

export class LevelStores implements Stores {
  readonly #disk: Disk;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  async open(path: string): Promise<Store> {
    await this.#disk.makeDirectory(path);
    const { ClassicLevel } = await import('classic-level');
    const level: Level = new ClassicLevel(path, OPTIONS);
    await openLevel(level, this.#disk);
    return new LevelStore(level, this.#disk);
  }
}

async function openLevel(level: Level, disk: Disk): Promise<void> {
  try {
    await level.open();
  } catch (error) {
    throw openError(error, level.location);
  }
  const damage = await findDamage(level.location, disk);
  if (damage === undefined) return;
  await level.close();
  throw new CorruptionError(`the store ${level.location} is damaged: ${damage}`);
}

/** What LevelDB says it has dropped, now or at an earlier opening. */
async function findDamage(path: string, disk: Disk): Promise<string | undefined> {
  const mark = await disk.readFile(join(path, DAMAGED_MARK));
  if (mark !== undefined) return text(mark);
  // Another process that only tried to open the store has moved our LOG to LOG.old.
  for (const name of ['LOG', 'LOG.old']) {
    const log = text((await disk.readFile(join(path, name))) ?? new Uint8Array());
    const dropped = /dropping \d+ bytes; Corruption.*/.exec(log)?.[0];
    if (dropped === undefined) continue;
    await disk.replaceFile(join(path, DAMAGED_MARK), new TextEncoder().encode(dropped));
    return dropped;
  }
  return undefined;
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

type Write = (open: Error | null) => void;

export class LevelStore implements Store {
  readonly #level: Level;
  readonly #disk: Disk;
  /** Operations inside LevelDB now. */
  #underWay = 0;
  /** Called when `#underWay` comes down to zero. */
  #onIdle: (() => void) | null = null;
  /** Operations that wait until the store has been opened again; null when it is not being opened. */
  #waiting: Write[] | null = null;
  /** Writes behind the one under way. */
  readonly #writes: Write[] = [];
  #writing = false;
  /** The last write failed: the end of LevelDB's log is unknown, nothing may be appended to it. */
  #failed = false;
  #closed = false;

  constructor(level: Level, disk: Disk) {
    this.#level = level;
    this.#disk = disk;
  }

  getMany(
    keys: readonly Uint8Array[],
    done: (error: Error | null, values: readonly (Uint8Array | undefined)[]) => void,
  ): void {
    this.#read(
      () => this.#level.getMany(keys as Uint8Array[]),
      (error, values) => done(error, values ?? []),
    );
  }

  range(range: StoreRange, done: RangeDone): void {
    this.#read(
      () => collect(this.#level.iterator(iteratorOptions(range)), range),
      (error, entries) => done(error, entries ?? []),
    );
  }

  snapshot(): StoreSnapshot {
    // While LevelDB is being opened again there is nothing to take a picture of: the first `range` says so.
    const open = !this.#closed && this.#waiting === null && this.#level.status === 'open';
    const snapshot = open ? this.#level.snapshot() : undefined;
    return {
      range: (range, done) =>
        this.#run(
          async () => {
            if (snapshot === undefined || this.#level.status !== 'open') throw new SnapshotLostError();
            return collect(this.#level.iterator({ ...iteratorOptions(range), snapshot }), range);
          },
          (error, entries) => done(error, entries ?? []),
        ),
      // LevelDB closes it itself when it is closed. Nothing depends on the moment.
      close: () => void snapshot?.close().catch(() => {}),
    };
  }

  batch(): StoreBatch {
    return new LevelBatch(this.#level, (operation, done) => this.#write(operation, done));
  }

  clear({ from, to }: { from: Uint8Array; to: Uint8Array }, done: (error: Error | null) => void): void {
    this.#write(() => this.#level.clear({ gte: from, lt: to }), done);
  }

  async close(): Promise<void> {
    assert(!this.#closed, 'a store is closed once');
    this.#closed = true;
    while (this.#writing || this.#waiting !== null || this.#underWay > 0) await this.#idle();
    await this.#level.close();
  }

  #read<T>(operation: () => Promise<T>, done: (error: Error | null, result: T | undefined) => void): void {
    assert(!this.#closed, 'the store is open');
    if (this.#waiting === null && this.#level.status === 'open') {
      this.#run(operation, done);
      return;
    }
    // A failed attempt may have left the old one in use, good enough to read from.
    this.#openAgain((error) => {
      if (error !== null && this.#level.status !== 'open') done(error, undefined);
      else this.#run(operation, done);
    });
  }

  #write(operation: () => Promise<void>, done: (error: Error | null) => void): void {
    assert(!this.#closed, 'the store is open');
    const write = (openError: Error | null): void => {
      if (openError !== null) {
        this.#finishWrite();
        done(openError);
        return;
      }
      this.#run(operation, (error) => {
        this.#failed = error !== null;
        this.#finishWrite();
        done(error);
      });
    };
    this.#writes.push(write);
    this.#startWrite();
  }

  #startWrite(): void {
    const write = this.#writing ? undefined : this.#writes.shift();
    if (write === undefined) return;
    this.#writing = true;
    if (this.#failed || this.#waiting !== null || this.#level.status !== 'open') this.#openAgain(write);
    else write(null);
  }

  #finishWrite(): void {
    this.#writing = false;
    this.#startWrite();
    this.#noteIdle();
  }

  #run<T>(operation: () => Promise<T>, done: (error: Error | null, result: T | undefined) => void): void {
    this.#underWay++;
    const finish = (error: Error | null, result: T | undefined): void => {
      this.#underWay--;
      this.#noteIdle();
      done(error, result);
    };
    operation().then(
      (result) => finish(null, result),
      (error) => finish(storeError(error, this.#level.location), undefined),
    );
  }

  /** Closes and opens LevelDB, then calls `then`, with the reason if it could not be done. */
  #openAgain(then: Write): void {
    if (this.#waiting !== null) {
      this.#waiting.push(then);
      return;
    }
    this.#waiting = [then];
    const finish = (error: Error | null): void => {
      const waiting = this.#waiting ?? [];
      this.#waiting = null;
      for (const next of waiting) next(error);
      this.#noteIdle();
    };
    this.#reopen().then(
      () => finish(null),
      (error) => finish(storeError(error, this.#level.location)),
    );
  }

  async #reopen(): Promise<void> {
    while (this.#underWay > 0) await this.#idle();
    await needRoom(this.#level.location, this.#disk);
    await this.#level.close();
    await openLevel(this.#level, this.#disk);
    this.#failed = false;
  }

  /** Resolves when something has come to its end, which may be what the caller waits for. */
  #idle(): Promise<void> {
    const before = this.#onIdle;
    return new Promise((resolve) => {
      this.#onIdle = () => {
        before?.();
        resolve();
      };
    });
  }

  #noteIdle(): void {
    const onIdle = this.#onIdle;
    this.#onIdle = null;
    onIdle?.();
  }
}

class LevelBatch implements StoreBatch {
  readonly #level: Level;
  readonly #submit: (operation: () => Promise<void>, done: (error: Error | null) => void) => void;
  readonly #keys: Uint8Array[] = [];
  /** One per key; undefined deletes it. */
  readonly #values: (Uint8Array | undefined)[] = [];
  #written = false;

  constructor(
    level: Level,
    submit: (operation: () => Promise<void>, done: (error: Error | null) => void) => void,
  ) {
    this.#level = level;
    this.#submit = submit;
  }

  put(key: Uint8Array, value: Uint8Array): void {
    assert(!this.#written, 'a batch is written once');
    this.#keys.push(key);
    this.#values.push(value);
  }

  delete(key: Uint8Array): void {
    assert(!this.#written, 'a batch is written once');
    this.#keys.push(key);
    this.#values.push(undefined);
  }

  write(done: (error: Error | null) => void): void {
    assert(!this.#written, 'a batch is written once');
    this.#written = true;
    this.#submit(() => this.#writeAll(), done);
  }

  async #writeAll(): Promise<void> {
    const batch = this.#level.batch();
    for (let i = 0; i < this.#keys.length; i++) {
      if (i > 0 && i % OPERATIONS_PER_TURN === 0) await nextTurn();
      const value = this.#values[i];
      if (value === undefined) batch.del(this.#keys[i]!);
      else batch.put(this.#keys[i]!, value);
    }
    await batch.write({ sync: true });
  }
}

function iteratorOptions({ from, to, limit, bytesMax }: StoreRange) {
  const options = { gte: from, lt: to, limit };
  // So many bytes LevelDB gathers at once; it looks when it has passed them.
  return bytesMax === undefined ? options : { ...options, highWaterMarkBytes: bytesMax };
}

/**
 * The iterator's entries, as many of them and of their values as are wanted. LevelDB gives a few at a time, by their
 * bytes: so a thousand values of megabytes are never in memory together.
 */
async function collect(iterator: LevelIterator, { valueBytes, bytesMax }: StoreRange): Promise<Entries> {
  if (valueBytes === undefined && bytesMax === undefined) return iterator.all();
  const entries: Entries = [];
  let bytesLeft = bytesMax ?? Number.POSITIVE_INFINITY;
  try {
    for (;;) {
      const some = await iterator.nextv(
        bytesMax === undefined ? ENTRIES_PER_STEP : ENTRIES_PER_STEP_BY_BYTES,
      );
      if (some.length === 0) return entries;
      for (const [key, whole] of some) {
        const value = valueBytes === undefined ? whole : Uint8Array.from(whole.subarray(0, valueBytes));
        entries.push([key, value]);
        bytesLeft -= key.length + value.length;
        if (bytesLeft <= 0) return entries;
      }
    }
  } finally {
    await iterator.close();
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

/** Throws DiskFullError unless the disk has room to write LevelDB's log once more. */
async function needRoom(path: string, disk: Disk): Promise<void> {
  let neededBytes = OPENING_BYTES;
  for (const name of await disk.list(path)) {
    if (name.endsWith('.log')) neededBytes += (await fsp.stat(join(path, name))).size;
  }
  const { bavail, bsize } = await fsp.statfs(path);
  if (bavail * bsize >= neededBytes) return;
  throw new DiskFullError(`no room on the disk for the store ${path}: it needs ${neededBytes} bytes`);
}

function openError(error: unknown, path: string): Error {
  // The manifest or a table that the store lists is gone.
  const incomplete = messages(error).includes('No such file or directory');
  return incomplete ? new CorruptionError(`the store ${path} is incomplete`, error) : storeError(error, path);
}

/** LevelDB's errors come as code and text, sometimes wrapped into another. */
function storeError(error: unknown, path: string): Error {
  assert(error instanceof Error, 'an error is an Error', error);
  const all = messages(error);
  if (all.includes('LEVEL_LOCKED'))
    return new InUseError(`the store ${path} is in use by another process`, error);
  if (/No space left on device|Disk quota exceeded|File too large|ENOSPC|EDQUOT|EFBIG/.test(all)) {
    return new DiskFullError(`no room on the disk for the store ${path}`, error);
  }
  if (all.includes('LEVEL_CORRUPTION'))
    return new CorruptionError(`the store ${path} is damaged: ${all}`, error);
  return error;
}

function messages(error: unknown): string {
  if (!(error instanceof Error)) return '';
  const code = 'code' in error ? `${error.code} ` : '';
  return `${code}${error.message} ${messages(error.cause)}`.trim();
}
