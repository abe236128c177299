/**
 * A job from what the user has asked for to its output: finds the inputs, plans the splits, runs the tasks in threads of
 * this machine, and writes the result. Everything that can be known to be wrong is said before any work begins.
 */
import type { BulkFiles, Threads } from '../lib/bulk.ts';
import { BulkFileError } from '../lib/bulk.ts';
import type { Clock } from '../lib/env.ts';
import { ConfigError } from '../lib/errors.ts';
import { findInputs, type InputFile } from './inputs.ts';
import { type JobOutcome, type JobProgress, LocalJob } from './local.ts';
import type { JobFailure } from './master.ts';
import { type OutputOrder, type WriteBlock, writeOutput } from './output.ts';
import { checkDirectory, commitDirectory, successText } from './output-directory.ts';
import { SequentialJob } from './sequential-job.ts';
import { planSplits } from './splits.ts';
import type { Counters, JobName, JobSpec, Split, TaskFailure } from './tasks.ts';

export interface JobRequest {
  readonly job: JobName;
  readonly args: Readonly<Record<string, string>>;
  /** Files, directories and patterns; `-` is standard input, at most once. */
  readonly inputs: readonly string[];
  /** Undefined: as many as workers. */
  readonly reducers: number | undefined;
  /** Undefined: as many as pay off, up to one per core. */
  readonly workers: number | undefined;
  readonly memoryBytes: number;
  /** Undefined: by the size of the input. */
  readonly splitBytes: number | undefined;
  /** One thread, one task after the other. */
  readonly sequential: boolean;
  readonly output:
    | ({ readonly kind: 'stream' } & OutputOrder)
    | { readonly kind: 'directory'; readonly path: string; readonly force: boolean };
}

export interface JobWorld {
  readonly files: BulkFiles;
  readonly threads: Threads;
  readonly clock: Clock;
  /** What a record is to the job. Throws ConfigError when there is no such job, or it cannot be loaded. */
  recordsOf(spec: JobSpec): Promise<'lines' | 'whole' | 'chunk'>;
  /** A new directory for this job alone; where there is an output directory, on its file system. */
  makeTemporary(): string;
  /** Writes all that comes from standard input into a new file. */
  spoolInput(path: string): Promise<void>;
  /** To standard output. */
  readonly write: WriteBlock;
}

export interface RunDone {
  readonly outcome: 'done';
  readonly maps: number;
  readonly reduces: number;
  readonly bytes: number;
  readonly counters: Counters;
}

export type RunOutcome =
  | RunDone
  | { readonly outcome: 'failed'; readonly failure: JobFailure | TaskFailure }
  | { readonly outcome: 'cancelled' };

/** Below so much input for each of them, threads cost more to start and to warm up than they save. */
const WORKER_BYTES_BUILTIN = 64 << 20;
/** The user's own code is slower than ours. */
const WORKER_BYTES_MODULE = 4 << 20;
const STANDARD_INPUT = '-';
const GZIP_MAGIC = [0x1f, 0x8b];
const CANCELLED = { outcome: 'cancelled' } as const;

export class JobRun {
  readonly #request: JobRequest;
  readonly #world: JobWorld;
  #job: LocalJob | SequentialJob | undefined;
  #cancelled = false;
  #onCancel: (() => void) | undefined;

  constructor(request: JobRequest, world: JobWorld) {
    this.#request = request;
    this.#world = world;
  }

  /** Undefined before the tasks are known. */
  get progress(): JobProgress | undefined {
    return this.#job?.progress;
  }

  /** `run` comes to its end soon, cleans up, and tells that it was cancelled. */
  cancel(): void {
    this.#cancelled = true;
    this.#onCancel?.();
    this.#job?.cancel();
  }

  /** Once. Throws ConfigError for what is wrong from the start, BulkFileError for what could not be written. */
  async run(): Promise<RunOutcome> {
    const world = this.#world;
    const inputs = this.#findInputs();
    if (this.#cancelled) return CANCELLED;
    const temporary = beforeWork(() => world.makeTemporary());
    try {
      return await this.#runIn(temporary, inputs);
    } finally {
      world.files.removeDirectory(temporary);
    }
  }

  /** Standard input is undefined: it has no file yet. */
  #findInputs(): (InputFile | undefined)[] {
    const { inputs, output } = this.#request;
    const { files } = this.#world;
    return beforeWork(() => {
      if (output.kind === 'directory') checkDirectory(output.path, { force: output.force, files });
      return inputs.flatMap((input) => (input === STANDARD_INPUT ? [undefined] : findInputs([input], files)));
    });
  }

  async #runIn(temporary: string, inputs: readonly (InputFile | undefined)[]): Promise<RunOutcome> {
    const { output } = this.#request;
    // How the input is split depends on the job.
    const records = await this.#world.recordsOf(this.#specOf(temporary, { reducers: 1, files: 1 }));
    const spooled = inputs.includes(undefined) ? await this.#spool(temporary) : undefined;
    if (this.#cancelled) return CANCELLED;
    const found = inputs.flatMap((input) => input ?? spooled ?? []);
    const bytes = found.reduce((sum, file) => sum + file.bytes, 0);
    const workers = this.#workersFor(bytes);
    const { splitBytes } = this.#request;
    const options = { workers, splitBytes, wholeFiles: records === 'whole' };
    const splits = beforeWork(() => planSplits(found, options));
    const reduces = this.#request.reducers ?? workers;
    const spec = this.#specOf(temporary, { reducers: reduces, files: found.length });
    this.#job = this.#jobOf(spec, { found, splits, workers });
    const outcome = await this.#job.run();
    if (outcome.outcome !== 'done') return outcome;
    if (this.#cancelled) return CANCELLED;
    await this.#write(outcome, temporary);
    // A directory is there as a whole by now; what goes to standard output may have been cut short.
    if (this.#cancelled && output.kind === 'stream') return CANCELLED;
    const maps = this.#request.sequential ? found.length : splits.length;
    return { outcome: 'done', maps, reduces, bytes, counters: outcome.counters };
  }

  /** Undefined when cancelled meanwhile: somebody who types may take their time. */
  async #spool(temporary: string): Promise<InputFile | undefined> {
    const { files, spoolInput } = this.#world;
    const path = `${temporary}/standard-input`;
    const cancelled = new Promise<void>((resolve) => {
      this.#onCancel = resolve;
    });
    await Promise.race([spoolInput(path), cancelled]);
    if (this.#cancelled) return undefined;
    const { bytes, modifiedMs } = files.stat(path)!;
    return { path, name: STANDARD_INPUT, bytes, modifiedMs, gzip: isGzip(path, files) };
  }

  #workersFor(bytes: number): number {
    const { workers, sequential, job } = this.#request;
    if (sequential) return 1;
    const each = job.kind === 'builtin' ? WORKER_BYTES_BUILTIN : WORKER_BYTES_MODULE;
    const paying = Math.max(1, Math.floor(bytes / each));
    return workers ?? Math.min(this.#world.threads.cores, paying);
  }

  #specOf(temporary: string, { reducers, files }: { reducers: number; files: number }): JobSpec {
    const { job, memoryBytes } = this.#request;
    const output = this.#request.output.kind === 'stream' ? 'keyed' : 'lines';
    // As everybody's grep does it.
    const names =
      job.kind === 'builtin' && job.name === 'grep' && files > 1 ? { 'with-filename': 'yes' } : {};
    const args = { ...names, ...this.#request.args };
    return { job, args, reducers, memoryBytes, output, temporary };
  }

  #jobOf(
    spec: JobSpec,
    input: { found: readonly InputFile[]; splits: readonly Split[]; workers: number },
  ): LocalJob | SequentialJob {
    const { threads, clock } = this.#world;
    const { found, splits, workers } = input;
    if (this.#request.sequential) return new SequentialJob({ spec, inputs: found }, threads);
    return new LocalJob({ spec, splits, workers, threads, clock });
  }

  async #write(done: JobOutcome & { outcome: 'done' }, temporary: string): Promise<void> {
    const { output, job } = this.#request;
    const { files, write } = this.#world;
    const { parts, counters } = done;
    if (output.kind === 'stream') {
      const writeOn: WriteBlock = async (block) =>
        !this.#cancelled && (await write(block)) && !this.#cancelled;
      return writeOutput(parts, output, { files, write: writeOn });
    }
    const success = successText(job, parts.length, counters);
    commitDirectory({ path: output.path, force: output.force, parts, success }, temporary, files);
  }
}

/** What is wrong with the files that the user has named is a mistake of usage. */
export function beforeWork<T>(look: () => T): T {
  try {
    return look();
  } catch (error) {
    if (error instanceof BulkFileError) throw new ConfigError(error.message, error);
    throw error;
  }
}

export function isGzip(path: string, files: BulkFiles): boolean {
  const reader = files.open(path);
  try {
    const start = new Uint8Array(GZIP_MAGIC.length);
    return (
      reader.read(start, 0, start.length, 0) === start.length &&
      GZIP_MAGIC.every((byte, i) => start[i] === byte)
    );
  } finally {
    reader.close();
  }
}
