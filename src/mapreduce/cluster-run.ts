/**
 * A job across the servers of a cluster, from what the user has asked for to its output: submitted with a token (so that it
 * may be submitted again when an answer is lost), watched until it has ended, and its result brought here and written as
 * that of a local job is, byte for byte. The servers forget the job when its result has been taken.
 *
 * The job is the servers': it goes on when this program is gone. So whoever cancels it here waits until a server has heard
 * of it, and what cannot be settled is said, with the command that settles it.
 */
import { Buffer } from 'node:buffer';
import { BulkFileError, type BulkFiles } from '../lib/bulk.ts';
import type { Clock, Random } from '../lib/env.ts';
import { ConfigError } from '../lib/errors.ts';
import { GunzipError, GunzipReader } from '../lib/gunzip.ts';
import { beforeWork, isGzip, type RunDone } from './job-run.ts';
import { type JobServers, ServersError, type Told } from './job-servers.ts';
import { type JobStatus, readStatus, type StatusFailure, type SubmittedProgress } from './job-status.ts';
import { type OutputOrder, type WriteBlock, writeOutput } from './output.ts';
import { checkDirectory, commitDirectory, successText } from './output-directory.ts';
import { bringParts, writeLines } from './result-parts.ts';
import { STANDARD_INPUT, type SubmittedJob, submitWords } from './submit-words.ts';

export interface ClusterRequest extends SubmittedJob {
  readonly output:
    | ({ readonly kind: 'stream' } & OutputOrder)
    | { readonly kind: 'directory'; readonly path: string; readonly force: boolean }
    /** Each key of the result becomes a stored key, the prefix in front of it. */
    | { readonly kind: 'keys'; readonly prefix: string };
}

export interface ClusterWorld {
  readonly files: BulkFiles;
  readonly clock: Clock;
  readonly random: Random;
  /** Absolute. Relative names of inputs begin here. */
  readonly workingDirectory: string;
  /** Throws ConfigError, or another one when no server can be reached. */
  connect(): Promise<JobServers>;
  /** As for a local job; but absolute, and where servers of this machine may read. */
  makeTemporary(): string;
  spoolInput(path: string): Promise<void>;
  readonly write: WriteBlock;
}

export type ClusterOutcome =
  | RunDone
  | { readonly outcome: 'failed'; readonly failure: StatusFailure }
  /** `note`: what is not known, and what to do about it. */
  | { readonly outcome: 'cancelled'; readonly note?: string };

const POLL_MS_FIRST = 20;
const POLL_MS_MAX = 250;
/** For a server to hear that a job is cancelled, or can be forgotten. */
const FAREWELL_MS_MAX = 5000;
const TOKEN_BYTES = 16;
const UNPACKED_BYTES = 64 << 10;
/** Seen by people who look for a job of theirs: how to ask the servers. */
const ASK = 'redis-cli MR.';

/** `cancel` was called. */
class Stopped extends Error {}

export class ClusterRun {
  readonly #request: ClusterRequest;
  readonly #world: ClusterWorld;
  readonly #stopped: Promise<never>;
  #stop: () => void = () => {};
  #isStopped = false;
  #connecting: Promise<JobServers> | undefined;
  /** Settles when it is known whether there is a job. */
  #submitting: Promise<number> | undefined;
  #progress: SubmittedProgress | undefined;

  constructor(request: ClusterRequest, world: ClusterWorld) {
    this.#request = request;
    this.#world = world;
    this.#stopped = new Promise((_, reject) => {
      this.#stop = () => reject(new Stopped());
    });
    this.#stopped.catch(() => {});
  }

  /** Undefined before there is a job. */
  get progress(): SubmittedProgress | undefined {
    return this.#progress;
  }

  /** `run` comes to its end within some seconds, has the job cancelled, and tells that it was. */
  cancel(): void {
    this.#isStopped = true;
    this.#stop();
  }

  /** Once. Throws ConfigError for what is wrong from the start, ServersError, BulkFileError for what cannot be written. */
  async run(): Promise<ClusterOutcome> {
    const { files, makeTemporary } = this.#world;
    const { output } = this.#request;
    const temporary = beforeWork(() => {
      if (output.kind === 'directory') checkDirectory(output.path, { force: output.force, files });
      return makeTemporary();
    });
    try {
      return await this.#runIn(temporary);
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
      return await this.#giveUp();
    } finally {
      this.#connecting?.then(
        (servers) => servers.close(),
        () => {},
      );
      files.removeDirectory(temporary);
    }
  }

  async #runIn(temporary: string): Promise<ClusterOutcome> {
    this.#connecting = this.#world.connect();
    const servers = await this.#orStop(this.#connecting);
    const isSpooled = this.#request.keys === undefined && this.#request.inputs.includes(STANDARD_INPUT);
    if (isSpooled) {
      if (!servers.local) throw notHere();
      await this.#spool(temporary);
    }
    this.#submitting = this.#submit(servers, isSpooled ? temporary : undefined);
    const id = await this.#orStop(this.#submitting);
    const job = new SubmittedId(servers, id);
    const status = await this.#untilEnded(job);
    if (status.state !== 'done') return { outcome: 'failed', failure: failureOf(status, id) };
    await this.#take(job, status, temporary);
    await this.#within(FAREWELL_MS_MAX, job.tell('PURGE'));
    const { maps, reduces, bytes, counters } = status;
    return { outcome: 'done', maps, reduces, bytes, counters };
  }

  // The job

  async #submit(servers: JobServers, spooledIn: string | undefined): Promise<number> {
    const { random, workingDirectory } = this.#world;
    const { output } = this.#request;
    const told = await servers.submit(
      submitWords(this.#request, {
        token: Buffer.from(random.bytes(TOKEN_BYTES)).toString('hex'),
        prefix: output.kind === 'keys' ? output.prefix : undefined,
        ...{ workingDirectory, spooledIn },
      }),
    );
    if (told.told === 'reply' && typeof told.reply === 'number') return told.reply;
    if (told.told === 'error' && told.message.startsWith('ERR ')) {
      throw new ConfigError(told.message.slice('ERR '.length));
    }
    if (told.told === 'error') throw new ServersError(told.message);
    const why = told.told === 'nothing' ? told.message : 'its answer makes no sense';
    throw new ServersError(
      `no server has said whether the job was submitted: ${why}; ${ASK}LIST shows whether it was`,
    );
  }

  async #untilEnded(job: SubmittedId): Promise<JobStatus> {
    for (let pauseMs = POLL_MS_FIRST; ; pauseMs = Math.min(2 * pauseMs, POLL_MS_MAX)) {
      const status = await this.#orStop(job.status());
      this.#progress = status.progress;
      if (status.state !== 'active') return status;
      await this.#orStop(new Promise<void>((resolve) => this.#world.clock.after(pauseMs, resolve)));
    }
  }

  /** There is nobody who waits for the job any more. */
  async #giveUp(): Promise<ClusterOutcome> {
    let note: string | undefined = `whether the job was submitted is not known: ${ASK}LIST shows it`;
    const farewell = async (): Promise<void> => {
      // A refusal is as good as no submission.
      const id = await this.#submitting?.catch((error: unknown) =>
        error instanceof ConfigError ? undefined : Promise.reject(error),
      );
      if (id === undefined) {
        note = undefined;
        return;
      }
      note = `no server has answered, and job ${id} may go on: ${ASK}CANCEL ${id} ends it`;
      const job = new SubmittedId(await this.#connecting!, id);
      if ((await job.tell('CANCEL')).told === 'nothing') return;
      note = undefined;
      await job.tell('PURGE');
    };
    await this.#within(
      FAREWELL_MS_MAX,
      farewell().catch(() => {}),
    );
    return { outcome: 'cancelled', ...(note === undefined ? {} : { note }) };
  }

  // What comes in and goes out

  /** Unpacked where it is compressed: by its name nobody could tell. */
  async #spool(temporary: string): Promise<void> {
    const { files, spoolInput } = this.#world;
    const path = `${temporary}/${STANDARD_INPUT}`;
    await this.#orStop(spoolInput(path));
    if (!isGzip(path, files)) return;
    const packed = `${temporary}/packed`;
    files.rename(path, packed);
    await this.#unpack(packed, path);
    files.remove(packed);
  }

  async #unpack(packed: string, path: string): Promise<void> {
    const { files, clock } = this.#world;
    const [reader, writer] = [files.open(packed), files.create(path)];
    try {
      const unpacked = new GunzipReader(reader);
      const piece = Buffer.allocUnsafe(UNPACKED_BYTES);
      for (let bytes = unpacked.read(piece); bytes > 0; bytes = unpacked.read(piece)) {
        writer.write(piece.subarray(0, bytes));
        // In turns, so that signals are heard.
        await this.#orStop(new Promise<void>((resolve) => clock.endOfTurn(resolve)));
      }
    } catch (error) {
      if (!(error instanceof GunzipError)) throw error;
      throw new Error(`standard input: ${error.message}`, { cause: error });
    } finally {
      reader.close();
      writer.close();
    }
  }

  async #take(job: SubmittedId, status: JobStatus, temporary: string): Promise<void> {
    if (this.#request.output.kind === 'keys') return;
    try {
      const readChunk = (part: number, chunk: number) => this.#orStop(job.chunk(part, chunk));
      const { files } = this.#world;
      const parts = await bringParts(status.reduces, readChunk, { directory: temporary, files });
      await this.#write(parts, status, temporary);
    } catch (error) {
      throw keptResult(error, job.id);
    }
  }

  async #write(parts: readonly string[], { counters }: JobStatus, temporary: string): Promise<void> {
    const { output, job } = this.#request;
    const { files, write } = this.#world;
    if (output.kind === 'stream') {
      const writeOn: WriteBlock = async (block) => !this.#isStopped && (await write(block));
      await writeOutput(parts, output, { files, write: writeOn });
      // It may have been cut short.
      if (this.#isStopped) throw new Stopped();
      return;
    }
    if (output.kind !== 'directory') return;
    const lines = parts.map((_, i) => `${temporary}/lines-${i}`);
    for (const [i, part] of parts.entries()) {
      writeLines(part, lines[i]!, files);
      files.remove(part);
      await this.#orStop(new Promise<void>((resolve) => this.#world.clock.endOfTurn(resolve)));
    }
    const success = successText(job, lines.length, counters);
    commitDirectory({ path: output.path, force: output.force, parts: lines, success }, temporary, files);
  }

  // Waiting

  #orStop<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.#stopped]);
  }

  /** Until it has settled, or time is up. */
  async #within(ms: number, promise: Promise<unknown>): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = this.#world.clock.after(ms, resolve);
      const settled = (): void => {
        timer.cancel();
        resolve();
      };
      promise.then(settled, settled);
    });
  }
}

/** A job that the servers have. */
class SubmittedId {
  readonly id: number;
  readonly #servers: JobServers;

  constructor(servers: JobServers, id: number) {
    this.#servers = servers;
    this.id = id;
  }

  tell(what: 'STATUS' | 'CANCEL' | 'PURGE'): Promise<Told> {
    return this.#servers.ask([`MR.${what}`, this.id]);
  }

  /** Throws ServersError. */
  async status(): Promise<JobStatus> {
    const told = await this.tell('STATUS');
    const { id } = this;
    const goesOn = `job ${id} goes on without this program: ${ASK}STATUS ${id} shows how far it is, ${ASK}CANCEL ${id} ends it`;
    return readStatus(replyOf(told, goesOn));
  }

  /** Undefined: behind the last of the part. Throws ServersError. */
  async chunk(part: number, chunk: number): Promise<Uint8Array | undefined> {
    const told = await this.#servers.ask(['MR.RESULT', this.id, 'PART', part, 'CHUNK', chunk]);
    const reply = replyOf(told);
    if (reply === null) return undefined;
    if (reply instanceof Uint8Array) return reply;
    throw new ServersError(`a chunk of the result of job ${this.id} is no bytes`);
  }
}

function replyOf(told: Told, advice = ''): unknown {
  if (told.told === 'reply') return told.reply;
  if (told.told === 'error') throw new ServersError(told.message);
  throw new ServersError(`no server has answered: ${told.message}${advice === '' ? '' : `; ${advice}`}`);
}

function notHere(): ConfigError {
  return new ConfigError(
    'the servers are on other machines and cannot read standard input from here: ' +
      'give them a file that all of them have, or run the job without --nodes',
  );
}

function failureOf({ state, failure }: JobStatus, id: number): StatusFailure {
  return failure ?? { message: `job ${id} was ${state} by somebody else` };
}

/** What keeps the result from being taken loses nothing. */
function keptResult(error: unknown, id: number): unknown {
  if (!(error instanceof Error)) return error;
  const message = `${error.message}; the servers keep the result: ${ASK}RESULT ${id} shows it, ${ASK}PURGE ${id} removes it`;
  if (error instanceof ConfigError) return new ConfigError(message, error);
  if (error instanceof ServersError) return new ServersError(message);
  if (error instanceof BulkFileError) return new BulkFileError(error.path, error.code, message);
  return error;
}
