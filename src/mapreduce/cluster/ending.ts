/**
 * The end of a job, as the log has it: one operation makes its result the result (or says why there is none), forgets what
 * was to be done, and, when the output is keys, writes them. So nobody sees a part of an output, and no output twice.
 *
 * What attempts that do not count have left in the store is cleared afterwards, and again by the next coordinator if this
 * one does not come to it.
 */
import { Buffer } from 'node:buffer';
import { CorruptionError } from '../../lib/errors.ts';
import type { ServiceCommand, ServiceHost } from '../../server/service.ts';
import { PartReader } from '../parts.ts';
import type { ActiveJob } from './active-job.ts';
import { fromBase64 } from './active-job.ts';
import {
  chunkKey,
  decodeRecord,
  type EndedBy,
  encodeRecord,
  type JobEnd,
  type JobId,
  type JobIndex,
  type JobOut,
  type JobResult,
  type JobSummary,
  resultKey,
  uploadsKey,
} from './records.ts';
import type { Reign } from './reign.ts';
import { command } from './system-keys.ts';

/** Of a result that becomes keys: it is one operation of the log, with the prefix for each of them. */
const KEYS_BYTES_MAX = 16 << 20;
/** What a pair takes in the log besides. */
const PAIR_BYTES = 8;
const TOO_MANY_KEYS: EndedBy = {
  message: `the result is over ${KEYS_BYTES_MAX} bytes, too much to become keys at once: use OUT STORE`,
  deterministic: true,
};
const PAIRS_PER_COMMAND = 500;
const CHUNKS_AT_ONCE = 64;
/** Of pairs, between which others have their turn. */
const PAIRS_PER_TURN = 2000;
const SEPARATOR = Buffer.from(': ');
const NEWLINE = Buffer.from('\n');

export interface Ending {
  readonly state: JobEnd;
  readonly failure?: EndedBy;
}

/** Why the job's result cannot be kept, if so. */
export function tooLarge(job: ActiveJob, resultBytesMax: number): EndedBy | undefined {
  const isKeys = job.record.out.kind === 'keys';
  const bytesMax = isKeys ? Math.min(KEYS_BYTES_MAX, resultBytesMax) : resultBytesMax;
  const { resultBytes } = job;
  if (resultBytes <= bytesMax) return undefined;
  if (bytesMax < resultBytesMax) return TOO_MANY_KEYS;
  return { message: `the result is over ${bytesMax} bytes (mr-result-max)`, deterministic: true };
}

/** Throws ReignLostError, and as `transact` does: then the job may be as it was. */
export async function endJob(host: ServiceHost, reign: Reign, job: ActiveJob, ending: Ending): Promise<void> {
  const { id, record } = job;
  const isDone = ending.state === 'done';
  const result = isDone ? job.result : undefined;
  const commands: ServiceCommand[] = [];
  if (result !== undefined && record.out.kind === 'keys') {
    const keys = await keyCommands({ host, reign }, id, result, record.out);
    if (keys === undefined) return endJob(host, reign, job, { state: 'failed', failure: TOO_MANY_KEYS });
    commands.push(...keys);
  } else if (result !== undefined) {
    commands.push(command('SET', resultKey(id), encodeRecord(result)));
  }
  const ended: Partial<JobSummary> = {
    ...{ state: ending.state, endedMs: host.clock.wallMs(), unclean: true },
    ...(record.input.kind === 'keys' ? { bytes: job.bytesDone } : {}),
    ...(isDone ? { counters: job.counters } : {}),
    ...(ending.failure === undefined ? {} : { failure: ending.failure }),
  };
  await reign.change(changed(reign.index, id, ended), [...commands, ...reign.forget(id)]);
}

/** Clears the chunks that do not count of a job that has ended, or all, when it was removed. Throws as `endJob` does. */
export async function clearChunks(reign: Reign, id: JobId, state: JobEnd | 'active'): Promise<void> {
  const kept = new Set<string>();
  // In the log, as a write: what a read shows may be older where `reads local` is set.
  const [stored, uploads] = await reign.write([
    command('GET', resultKey(id)),
    command('GET', uploadsKey(id)),
  ]);
  if (stored instanceof Uint8Array && state === 'done') {
    const { parts } = decodeRecord<JobResult>(stored);
    parts.forEach(([attempt], task) => {
      kept.add(`${task} ${attempt}`);
    });
  }
  const lines = uploads instanceof Uint8Array ? Buffer.from(uploads).toString().split('\n') : [];
  for (const line of new Set(lines)) {
    if (line === '' || kept.has(line)) continue;
    const [task, attempt] = line.split(' ').map(Number) as [number, number];
    await deleteChunks(reign, { id, task, attempt });
  }
}

/** When its chunks are cleared. */
export function forgetCommands(id: JobId): ServiceCommand[] {
  return [command('DEL', uploadsKey(id), resultKey(id))];
}

/** They were written one after the other, and go in the other direction: behind a gap there are none at any time. */
async function deleteChunks(
  reign: Reign,
  { id, task, attempt }: { id: JobId; task: number; attempt: number },
): Promise<void> {
  const batch = (first: number) =>
    Array.from({ length: CHUNKS_AT_ONCE }, (_, i) => chunkKey(id, task, attempt, first + i));
  let first = 0;
  for (;;) {
    const [there] = await reign.write([command('EXISTS', ...batch(first))]);
    if ((there as number) < CHUNKS_AT_ONCE) break;
    first += CHUNKS_AT_ONCE;
  }
  for (; first >= 0; first -= CHUNKS_AT_ONCE) await reign.write([command('DEL', ...batch(first))]);
}

export function changed(index: JobIndex, id: JobId, change: Partial<JobSummary>): JobIndex {
  return { ...index, jobs: index.jobs.map((job) => (job.id === id ? { ...job, ...change } : job)) };
}

export function without(index: JobIndex, id: JobId): JobIndex {
  return { ...index, jobs: index.jobs.filter((job) => job.id !== id) };
}

/** A key for each key of the result: what its lines say behind `key: `. Undefined: that is too much for one operation. */
async function keyCommands(
  { host, reign }: { host: ServiceHost; reign: Reign },
  id: JobId,
  result: JobResult,
  out: JobOut & { kind: 'keys' },
): Promise<ServiceCommand[] | undefined> {
  const prefix = fromBase64(out.prefix);
  const commands: ServiceCommand[] = [];
  let pairs: Uint8Array[] = [];
  let bytes = 0;
  let count = 0;
  const flush = (): void => {
    if (pairs.length > 0) commands.push({ db: out.db, ...command('MSET', ...pairs) });
    pairs = [];
  };
  for (const [task, [attempt, chunks]] of result.parts.entries()) {
    for (const [key, value] of valuesOf(await partBytes(reign, { id, task, attempt, chunks }))) {
      pairs.push(Buffer.concat([prefix, key]), value);
      bytes += prefix.length + key.length + value.length + PAIR_BYTES;
      if (bytes > KEYS_BYTES_MAX) return undefined;
      if (++count % PAIRS_PER_TURN === 0) await new Promise<void>((resolve) => host.clock.after(0, resolve));
      if (pairs.length >= 2 * PAIRS_PER_COMMAND) flush();
    }
  }
  flush();
  return commands;
}

/** A part of the result, whole. */
async function partBytes(
  reign: Reign,
  { id, task, attempt, chunks }: { id: JobId; task: number; attempt: number; chunks: number },
): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for (let chunk = 0; chunk < chunks; chunk++) {
    const [bytes] = await reign.write([command('GET', chunkKey(id, task, attempt, chunk))]);
    if (!(bytes instanceof Uint8Array))
      throw new CorruptionError(`a part of the result of job ${id} is gone`);
    all.push(bytes);
  }
  return Buffer.concat(all);
}

/** Lines of one key come one after the other, and become one value. */
function* valuesOf(part: Buffer): Generator<readonly [key: Buffer, value: Buffer]> {
  const reader = new PartReader({
    bytes: part.length,
    read: (target, offset, length, position) => {
      const piece = part.subarray(position, position + length);
      target.set(piece, offset);
      return piece.length;
    },
    close: () => {},
  });
  let key: Buffer | undefined;
  let lines: Buffer[] = [];
  const joined = () => Buffer.concat(lines.flatMap((line, i) => (i === 0 ? [line] : [NEWLINE, line])));
  for (let row = reader.next(); row !== undefined; row = reader.next()) {
    if (key === undefined || !key.equals(row.key)) {
      if (key !== undefined) yield [key, joined()];
      key = Buffer.from(row.key);
      lines = [];
    }
    lines.push(behindKey(key, Buffer.from(row.line)));
  }
  if (key !== undefined) yield [key, joined()];
}

function behindKey(key: Buffer, line: Buffer): Buffer {
  const head = key.length + SEPARATOR.length;
  const hasHead = line.length >= head && line.subarray(0, key.length).equals(key);
  return hasHead && line.subarray(key.length, head).equals(SEPARATOR) ? line.subarray(head) : line;
}
