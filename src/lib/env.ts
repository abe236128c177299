/**
 * The wall between hstore and the world: time, chance, disk, network, store and log come through these interfaces and
 * through nothing else.
 *
 * `io` implements them with the operating system; `test/sim` with a simulated world that one seed decides. Because of
 * that the same code runs in production and in a whole cluster inside one process in virtual time. The rules that make
 * a run repeatable: promises only while a server starts and stops; in service, callbacks, each called exactly once on
 * every path, and never before the call that took it has returned.
 */

export interface Env {
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  readonly network: Network;
  /** The same network over TLS; undefined when there is no certificate. */
  readonly secure?: SecureNetworks;
  readonly stores: Stores;
  readonly system: System;
  readonly log: Log;
}

export interface Clock {
  /** Milliseconds since some fixed instant, with fractions, never going back. For intervals and deadlines. */
  monotonicMs(): number;
  /** Whole milliseconds since 1970 as this machine believes. May jump either way; only log entries carry it on. */
  wallMs(): number;
  /** Calls `callback` once, when at least `delayMs` have passed. */
  after(delayMs: number, callback: () => void): Timer;
  /**
   * Calls `callback` once, when everything that has arrived in this turn of the event loop has been handed out. This
   * is where batches form: what came from fifty sockets in one turn becomes one log entry, one write, one fsync.
   */
  endOfTurn(callback: () => void): void;
}

export interface Timer {
  /** After this the callback is not called. Harmless when it already was. */
  cancel(): void;
}

export interface Random {
  /** A whole number in [0, bound), 1 <= bound <= 2^48. */
  below(bound: number): number;
  /** `count` bytes that nobody can guess (in the simulator: that the seed decides). */
  bytes(count: number): Uint8Array;
}

/** Files. Paths are absolute or relative to the process; a missing parent directory is the caller's mistake. */
export interface Disk {
  /** Makes `path` and its parents; durable when it returns. */
  makeDirectory(path: string): Promise<void>;
  /** Names (not paths) in the directory, sorted; empty when there is no such directory. */
  list(path: string): Promise<string[]>;
  /** The whole file, or undefined when there is none. */
  readFile(path: string): Promise<Uint8Array | undefined>;
  /** All or nothing, also across a power loss: temporary file, fsync, rename, fsync of the directory. */
  replaceFile(path: string, content: Uint8Array): Promise<void>;
  /** Removes the file; durable when it returns. No error when there is none. */
  removeFile(path: string): Promise<void>;
  /**
   * Makes a file of `bytes` zero bytes, all of them really written, so that a later write inside it changes no
   * metadata and one synced write costs one disk write. Durable, name included, when it returns. Throws DiskFullError,
   * and then leaves no file behind. An existing file of this name is replaced.
   */
  createLogFile(path: string, bytes: number): Promise<LogFile>;
  /** Opens an existing file for reading and writing at its present size. */
  openLogFile(path: string): Promise<LogFile>;
}

/** A file of fixed size in which every write is durable (O_DSYNC) before it is reported. */
export interface LogFile {
  readonly bytes: number;
  /**
   * Writes `chunks` one after the other at `offset` and calls `done` once they are durable. They must fit, and stay
   * unchanged until then. One write at a time: the caller waits for `done` before the next. After an error nobody
   * knows what the disk holds: the caller must not go on.
   */
  write(offset: number, chunks: readonly Uint8Array[], done: (error: Error | null) => void): void;
  /** Calls `done` with exactly `length` bytes, which are the callee's to keep. They must lie inside the file. */
  read(offset: number, length: number, done: (error: Error | null, content: Uint8Array) => void): void;
  close(): Promise<void>;
}

/** Ordered key-value stores on disk (classic-level). */
export interface Stores {
  /** Opens the store in the directory `path`, making it when missing. Throws InUseError, CorruptionError, DiskFullError. */
  open(path: string): Promise<Store>;
}

/** Keys are ordered by their bytes. Keys and values passed in must stay unchanged until `done`. */
export interface Store {
  /** Calls `done` with one value per key, in their order; undefined where the store has none. */
  getMany(
    keys: readonly Uint8Array[],
    done: (error: Error | null, values: readonly (Uint8Array | undefined)[]) => void,
  ): void;
  /** An empty batch: all of it becomes durable, or none. */
  batch(): StoreBatch;
  range(range: StoreRange, done: RangeDone): void;
  /** What the store holds now, for as long as it is not closed, whatever is written meanwhile. */
  snapshot(): StoreSnapshot;
  /** Removes all entries with from <= key < to. Not atomic: after a crash some may be left. */
  clear(range: { from: Uint8Array; to: Uint8Array }, done: (error: Error | null) => void): void;
  /** Waits for what is under way. */
  close(): Promise<void>;
}

export interface StoreSnapshot {
  /** An error may mean only that the store had to be opened again: then the snapshot is lost, and nothing else. */
  range(range: StoreRange, done: RangeDone): void;
  /** Once. Not while an answer is awaited. */
  close(): void;
}

/** At most `limit` entries with from <= key < to, in order. */
export interface StoreRange {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
  readonly limit: number;
  /** Of each value no more than so many bytes: what is behind them is left out, and takes no memory. */
  readonly valueBytes?: number;
  /**
   * Ends with the entry with which its keys and values, as far as they are given, come to so many bytes: at least one
   * entry, and of those behind it nothing is in memory.
   */
  readonly bytesMax?: number;
}

export type RangeDone = (
  error: Error | null,
  entries: readonly (readonly [Uint8Array, Uint8Array])[],
) => void;

export interface StoreBatch {
  put(key: Uint8Array, value: Uint8Array): void;
  delete(key: Uint8Array): void;
  /** Writes the batch and calls `done` when it is durable, or with the error and nothing written. Once only. */
  write(done: (error: Error | null) => void): void;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Byte streams as TCP has them: in order, exactly once, until either end or the road between breaks. */
export interface Network {
  /** Listens until `close`. Throws InUseError when the port is taken. Port 0 takes a free one, see `address`. */
  listen(address: Address, onConnection: (connection: Connection) => void): Promise<Listener>;
  /** Starts to connect. `onConnect` follows, or `onClose` with the reason. */
  connect(address: Address, events: ConnectionEvents & { onConnect: () => void }): Connection;
}

/** `peers`: both sides show a certificate of the cluster's authority. `clients`: what they must show is configured. */
export interface SecureNetworks {
  readonly clients: Network;
  readonly peers: Network;
}

export interface Listener {
  readonly address: Address;
  /** Accepts no more; connections already accepted live on. */
  close(): void;
}

export interface ConnectionEvents {
  /** `bytes` belong to the callee; they are a view of a bigger buffer, which they keep alive. */
  onData(bytes: Uint8Array): void;
  /** The other side will send no more. Writing is still possible. */
  onEnd?(): void;
  /** `backlogBytes` has come down to zero after a write. */
  onDrain?(): void;
  /** The last event of a connection, exactly once, whoever closed it. */
  onClose(error: Error | null): void;
}

export interface Connection {
  readonly remote: Address;
  readonly local: Address;
  /** Bytes written here that the operating system has not taken yet: what memory a slow reader costs. */
  readonly backlogBytes: number;
  /** A listener's connection gets its handlers here, before its `onConnection` returns; `connect` sets them itself. */
  handle(events: ConnectionEvents): void;
  /** `bytes` must stay unchanged until they are drained. After `end` or close it does nothing. */
  write(bytes: Uint8Array): void;
  /** No more `onData` until `resume`: the other side is held back by TCP. */
  pause(): void;
  resume(): void;
  /** Sends what is written, then closes. */
  end(): void;
  /** Closes at once. `onClose` follows. */
  destroy(): void;
}

/** The process and the machine, for INFO. */
export interface System {
  readonly processId: number;
  /** `Linux 6.1.0 x64`. */
  readonly operatingSystem: string;
  /** `node 20.19.0` or `deno 2.9.5`. */
  readonly runtime: string;
  readonly memoryTotalBytes: number;
  memory(): { readonly heapBytes: number; readonly residentBytes: number };
  cpu(): { readonly userSeconds: number; readonly systemSeconds: number };
}

/** Structured log. Levels as Redis has them. */
export interface Log {
  debug(event: string, fields?: LogFields): void;
  verbose(event: string, fields?: LogFields): void;
  notice(event: string, fields?: LogFields): void;
  warning(event: string, fields?: LogFields): void;
}
export type LogFields = Readonly<Record<string, string | number | boolean | null>>;
