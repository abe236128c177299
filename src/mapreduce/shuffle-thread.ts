/**
 * The thread of the shuffle server, and what it and the server's main thread say to each other.
 *
 *   to the thread     jobs        these jobs' files are served, to who has their keys; what is left of others is removed
 *   from the thread   listening   on this port; or
 *                     failed      it cannot listen
 *                     swept       what it was told of last is so: nothing is left of jobs but of so many
 *                     served      so many bytes in all; at most once a second, when there were more
 *                     log         a line for the server's log
 */
import { BulkFileError, type BulkFiles, type WorkerSide } from '../lib/bulk.ts';
import type { BulkNetwork, BulkTls, OpenBulkNetwork } from '../lib/bulk-network.ts';
import type { Address, Log, LogFields } from '../lib/env.ts';
import { JOB_NAME, ShuffleServer } from './shuffle-server.ts';

/** The part of the program that a thread is when it is the shuffle server. */
export const MAPREDUCE_SHUFFLE = 'mapreduce-shuffle';

export interface ShuffleMission {
  /** The directories of the jobs are in it. */
  readonly root: string;
  readonly listen: Address;
  readonly tls?: BulkTls | undefined;
}

export interface ToShuffle {
  readonly kind: 'jobs';
  /** By the names of their directories. */
  readonly jobs: readonly (readonly [job: string, key: Uint8Array])[];
}

export type FromShuffle =
  | { readonly kind: 'listening'; readonly port: number }
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'swept'; readonly jobs: number }
  | { readonly kind: 'served'; readonly bytes: number }
  | {
      readonly kind: 'log';
      readonly level: keyof Log;
      readonly event: string;
      readonly fields?: LogFields | undefined;
    };

const SERVED_EVERY_MS = 1000;
/** Strangers must not keep the main thread busy. */
const LOG_LINES_MAX = 10;

/** Lives until the other side ends the thread. */
export function runShuffleThread(side: WorkerSide, files: BulkFiles, open: OpenBulkNetwork): void {
  const { root, listen, tls } = side.data as ShuffleMission;
  const post = (message: FromShuffle) => side.post(message);
  const log = new ForwardedLog(post);
  const bulk = open(tls, log);
  const server = new ShuffleServer({ root, files, bulk, log });
  side.onMessage((message) => {
    const { jobs } = message as ToShuffle;
    server.serve(jobs);
    sweep(root, new Set(jobs.map(([job]) => job)), { files, log });
    if (server.servedBytes > 0) post({ kind: 'served', bytes: server.servedBytes });
    post({ kind: 'swept', jobs: jobs.length });
  });
  server.listen(listen).then(
    ({ port }) => {
      post({ kind: 'listening', port });
      reportEverySecond(server, bulk, log, post);
    },
    (error: unknown) =>
      post({ kind: 'failed', message: error instanceof Error ? error.message : String(error) }),
  );
}

/** Removes the directories of other jobs. What cannot be removed stays until the next time. */
function sweep(
  root: string,
  jobs: ReadonlySet<string>,
  { files, log }: { files: BulkFiles; log: Log },
): void {
  try {
    const names = files.stat(root) === undefined ? [] : files.list(root);
    for (const name of names) {
      if (JOB_NAME.test(name) && !jobs.has(name)) files.removeDirectory(`${root}/${name}`);
    }
  } catch (error) {
    if (!(error instanceof BulkFileError)) throw error;
    log.warning('files of a job that is over cannot be removed', { error: error.message });
  }
}

function reportEverySecond(
  server: ShuffleServer,
  { clock }: BulkNetwork,
  log: ForwardedLog,
  post: (message: FromShuffle) => void,
): void {
  let told = 0;
  const tell = (): void => {
    log.allowMore();
    if (server.servedBytes > told) {
      told = server.servedBytes;
      post({ kind: 'served', bytes: told });
    }
    clock.after(SERVED_EVERY_MS, tell);
  };
  clock.after(SERVED_EVERY_MS, tell);
}

/** So many lines a second; more are left out. */
class ForwardedLog implements Log {
  readonly #post: (message: FromShuffle) => void;
  #left = LOG_LINES_MAX;

  constructor(post: (message: FromShuffle) => void) {
    this.#post = post;
  }

  allowMore(): void {
    this.#left = LOG_LINES_MAX;
  }

  debug(event: string, fields?: LogFields): void {
    this.#forward('debug', event, fields);
  }

  verbose(event: string, fields?: LogFields): void {
    this.#forward('verbose', event, fields);
  }

  notice(event: string, fields?: LogFields): void {
    this.#forward('notice', event, fields);
  }

  warning(event: string, fields?: LogFields): void {
    this.#forward('warning', event, fields);
  }

  #forward(level: keyof Log, event: string, fields: LogFields | undefined): void {
    if (this.#left === 0) return;
    this.#left--;
    this.#post({ kind: 'log', level, event, fields });
  }
}
