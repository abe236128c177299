/**
 * Errors that happen: the leader is gone, the disk is full, the deadline has passed.
 *
 * There are three kinds of error in hstore. A client's mistake is a reply value (`ErrorReply` in resp). A thing that
 * happens is a class of this file, with a stable `code` and an `outcome`: `not-done` means that nothing was changed and
 * a retry is safe, `unknown` means that it may have been done. Our own bug is a failed `assert`, which stops the server.
 */

export type Outcome = 'not-done' | 'unknown';

export class HstoreError extends Error {
  override readonly name: string = 'HstoreError';
  readonly code: string;
  readonly outcome: Outcome;

  constructor(code: string, outcome: Outcome, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.outcome = outcome;
  }
}

/** What was found on the disk is not what was written there: a checksum, an order or a count does not hold. */
export class CorruptionError extends HstoreError {
  override readonly name = 'CorruptionError';
  constructor(message: string, cause?: unknown) {
    super('CORRUPT', 'not-done', message, cause);
  }
}

/** The disk has no room left. Nothing was written; what was there is untouched. */
export class DiskFullError extends HstoreError {
  override readonly name = 'DiskFullError';
  constructor(message: string, cause?: unknown) {
    super('DISK_FULL', 'not-done', message, cause);
  }
}

/** The store had to be opened again, and what a snapshot of it showed is gone. Begin anew. */
export class SnapshotLostError extends HstoreError {
  override readonly name = 'SnapshotLostError';
  constructor() {
    super('SNAPSHOT_LOST', 'not-done', 'the snapshot of the store was lost when the store was opened again');
  }
}

/** Another process holds what can be held only once: the data directory, or a port. */
export class InUseError extends HstoreError {
  override readonly name = 'InUseError';
  constructor(message: string, cause?: unknown) {
    super('IN_USE', 'not-done', message, cause);
  }
}

/** A flag, a file or a data directory does not fit: the server refuses to start, and says what to do. */
export class ConfigError extends HstoreError {
  override readonly name = 'ConfigError';
  constructor(message: string, cause?: unknown) {
    super('CONFIG', 'not-done', message, cause);
  }
}
