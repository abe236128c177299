/**
 * A coordinator's hold on the system database: what it writes counts only as long as no other coordinator has taken over.
 *
 * To take over is to count `mr:reign` up. Every write watches the version that this has given the key, in the same
 * operation of the log; so when another server takes over, all that an older coordinator still has under way comes to
 * nothing, however late it arrives (a fencing token, as in Chubby's sequencers). Whoever finds that, or does not learn what
 * became of a write, gives up, and whoever leads begins again from what the log says.
 */
import { Buffer } from 'node:buffer';
import { assert } from '../../lib/assert.ts';
import { HstoreError } from '../../lib/errors.ts';
import type { Reply } from '../../resp/reply.ts';
import type { ServiceCommand, ServiceHost } from '../../server/service.ts';
import {
  decodeFacts,
  decodeRecord,
  encodeFacts,
  encodeRecord,
  type Fact,
  JOBS_KEY,
  JOURNAL_PIECE_BYTES_MAX,
  type JobId,
  type JobIndex,
  type JobRecord,
  jobKey,
  journalKey,
  NO_JOBS,
  REIGN_KEY,
} from './records.ts';
import { command, transact, versionOf } from './system-keys.ts';

/** Another server coordinates now. */
export class ReignLostError extends HstoreError {
  override readonly name = 'ReignLostError';
  constructor() {
    super('REIGN_LOST', 'not-done', 'another server coordinates the jobs now');
  }
}

/** A job that the log has as active, with what it knows of it. */
export interface KeptJob {
  readonly record: JobRecord;
  readonly version: number;
  readonly facts: readonly Fact[];
}

/** Where the journal of a job is written on. */
interface JournalEnd {
  piece: number;
  bytes: number;
}

export class Reign {
  /** Larger than that of all before. */
  readonly number: number;
  readonly #host: ServiceHost;
  readonly #version: number;
  readonly #journals = new Map<JobId, JournalEnd>();
  #index: JobIndex;

  private constructor(host: ServiceHost, number: number, version: number, index: JobIndex) {
    this.#host = host;
    this.number = number;
    this.#version = version;
    this.#index = index;
  }

  /** Takes over. Throws ReignLostError, and as `transact` does. */
  static async take(host: ServiceHost): Promise<Reign> {
    const counted = await transact(host, [command('INCR', REIGN_KEY)]);
    const number = counted?.[0];
    assert(typeof number === 'number', 'a reign has a number', number);
    const version = await versionOf(host, REIGN_KEY);
    // The version may be that of somebody who has taken over since.
    const seen = await transact(
      host,
      [command('GET', REIGN_KEY), command('GET', JOBS_KEY)],
      [{ key: REIGN_KEY, version }],
    );
    if (seen === undefined || textOf(seen[0]!) !== `${number}`) throw new ReignLostError();
    return new Reign(host, number, version, seen[1] === null ? NO_JOBS : decodeRecord(seen[1] as Uint8Array));
  }

  /** All jobs. As the log has it, but for what is under way. */
  get index(): JobIndex {
    return this.#index;
  }

  /** Of all active jobs, in their order. Once, at first. Throws ReignLostError, CorruptionError, and as transact does. */
  async load(): Promise<KeptJob[]> {
    const kept: KeptJob[] = [];
    for (const { id, state } of this.#index.jobs) if (state === 'active') kept.push(await this.#load(id));
    return kept;
  }

  async #load(id: JobId): Promise<KeptJob> {
    const key = jobKey(id);
    const version = await versionOf(this.#host, key);
    const [record] = await this.write([command('GET', key)]);
    assert(record instanceof Uint8Array, 'an active job has a record', id);
    const facts: Fact[] = [];
    const end = { piece: 0, bytes: 0 };
    for (;;) {
      const [piece] = await this.write([command('GET', journalKey(id, end.piece))]);
      if (piece === null) break;
      facts.push(...decodeFacts(piece as Uint8Array));
      end.bytes = (piece as Uint8Array).length;
      end.piece++;
    }
    this.#journals.set(id, end.piece === 0 ? end : { piece: end.piece - 1, bytes: end.bytes });
    return { record: decodeRecord(record), version, facts };
  }

  /** Whether nobody has taken over: what is known here holds. Throws StoreError. */
  async holds(): Promise<boolean> {
    return (await versionOf(this.#host, REIGN_KEY)) === this.#version;
  }

  /** All of it, or it throws ReignLostError, or as `transact` does. */
  async write(commands: readonly ServiceCommand[]): Promise<readonly Reply[]> {
    const replies = await transact(this.#host, commands, [{ key: REIGN_KEY, version: this.#version }]);
    if (replies === undefined) throw new ReignLostError();
    return replies;
  }

  /** A new job, which `index` has. The version of its record. */
  async submit(record: JobRecord, index: JobIndex): Promise<number> {
    const key = jobKey(record.id);
    await this.write([
      command('SET', key, encodeRecord(record)),
      command('SET', JOBS_KEY, encodeRecord(index)),
    ]);
    this.#journals.set(record.id, { piece: 0, bytes: 0 });
    const version = await versionOf(this.#host, key);
    this.#index = index;
    return version;
  }

  /** Facts of several jobs. */
  async append(facts: readonly { readonly job: JobId; readonly fact: Fact }[]): Promise<void> {
    const byJob = new Map<JobId, Fact[]>();
    for (const { job, fact } of facts) byJob.set(job, [...(byJob.get(job) ?? []), fact]);
    const commands: ServiceCommand[] = [];
    const ends: (readonly [JobId, JournalEnd])[] = [];
    for (const [job, own] of byJob) {
      const bytes = encodeFacts(own);
      const end = this.#journals.get(job);
      assert(end !== undefined, 'facts are of jobs that are active', job);
      const isFull = end.bytes > 0 && end.bytes + bytes.length > JOURNAL_PIECE_BYTES_MAX;
      const next = isFull
        ? { piece: end.piece + 1, bytes: bytes.length }
        : { ...end, bytes: end.bytes + bytes.length };
      commands.push(command('APPEND', journalKey(job, next.piece), bytes));
      ends.push([job, next]);
    }
    await this.write(commands);
    for (const [job, end] of ends) this.#journals.set(job, end);
  }

  /** The index changes, and with it what `more` says. */
  async change(index: JobIndex, more: readonly ServiceCommand[] = []): Promise<void> {
    await this.write([command('SET', JOBS_KEY, encodeRecord(index)), ...more]);
    this.#index = index;
  }

  /** The commands that forget a job's record and journal. */
  forget(id: JobId): ServiceCommand[] {
    const end = this.#journals.get(id);
    this.#journals.delete(id);
    const pieces = Array.from({ length: (end?.piece ?? -1) + 1 }, (_, piece) => journalKey(id, piece));
    return [command('DEL', jobKey(id), ...pieces)];
  }
}

function textOf(reply: Reply): string {
  return reply instanceof Uint8Array ? Buffer.from(reply).toString() : String(reply);
}
