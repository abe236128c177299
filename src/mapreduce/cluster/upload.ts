/**
 * Brings a part of the result, which an attempt has left in a file, into the store: chunk after chunk, each an operation of
 * the log, so that the part outlives the server. Which attempts have begun is written down first (`mr:uploads:ID`), so that
 * what does not count in the end can be found and removed.
 *
 * Each write watches the record of the job: when that is gone the job has ended, and nothing is left behind by a write that
 * comes late. A chunk is written again until it is known to be there; that does no harm, for it has a key of its own.
 */
import { CorruptionError, HstoreError } from '../../lib/errors.ts';
import type { ServiceCommand, ServiceHost } from '../../server/service.ts';
import type { Order } from './messages.ts';
import { CHUNK_BYTES, chunkKey, jobKey, uploadsKey } from './records.ts';
import { command, transact } from './system-keys.ts';

export interface PartSource {
  readonly bytes: number;
  /** False: the attempt was given up, and nothing more is to be done. */
  isWanted(): boolean;
  read(offset: number, bytes: number): Promise<Uint8Array>;
  onProgress(): void;
}

export type UploadOutcome =
  | { readonly outcome: 'stored'; readonly chunks: number }
  | { readonly outcome: 'failed'; readonly message: string }
  /** The job has ended, or the attempt was given up. */
  | { readonly outcome: 'unwanted' };

/** A chunk that cannot be written for so long: there is no majority, or no room. */
const CHUNK_MS_MAX = 60_000;
const AGAIN_MS = 250;
const UNWANTED = { outcome: 'unwanted' } as const;

export async function uploadPart(
  host: ServiceHost,
  order: Order,
  source: PartSource,
): Promise<UploadOutcome> {
  const { job, task, attempt } = order;
  const chunks = Math.ceil(source.bytes / CHUNK_BYTES);
  for (let chunk = 0; chunk < chunks; chunk++) {
    const offset = chunk * CHUNK_BYTES;
    const piece = await source.read(offset, Math.min(CHUNK_BYTES, source.bytes - offset));
    if (!source.isWanted()) return UNWANTED;
    const commands = [command('SET', chunkKey(job, task, attempt, chunk), piece)];
    if (chunk === 0) commands.unshift(command('APPEND', uploadsKey(job), `${task} ${attempt}\n`));
    const written = await write(host, order, commands, source);
    if (written !== 'written') return written;
    source.onProgress();
  }
  return { outcome: 'stored', chunks };
}

async function write(
  host: ServiceHost,
  { job, brief }: Order,
  commands: readonly ServiceCommand[],
  source: PartSource,
): Promise<'written' | UploadOutcome> {
  const { clock } = host;
  const deadlineMs = clock.monotonicMs() + CHUNK_MS_MAX;
  for (;;) {
    let message: string;
    try {
      const replies = await transact(host, commands, [{ key: jobKey(job), version: brief.recordVersion }]);
      return replies === undefined || !source.isWanted() ? UNWANTED : 'written';
    } catch (error) {
      if (!(error instanceof HstoreError) || error instanceof CorruptionError) throw error;
      message = error.message;
    }
    if (!source.isWanted()) return UNWANTED;
    if (clock.monotonicMs() >= deadlineMs) {
      return { outcome: 'failed', message: `a part of the result cannot be stored: ${message}` };
    }
    // It is the cluster that is slow, and not the worker.
    source.onProgress();
    await new Promise<void>((resolve) => clock.after(AGAIN_MS, resolve));
  }
}
