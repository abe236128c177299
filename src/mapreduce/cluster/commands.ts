/**
 * MR.*: what clients ask of jobs, on any server. The coordinator is asked for what it knows and decides; results are read
 * from the store.
 */
import { Buffer } from 'node:buffer';
import type { Threads } from '../../lib/bulk.ts';
import { ConfigError } from '../../lib/errors.ts';
import { ErrorReply, type Reply } from '../../resp/reply.ts';
import { SERVICE_PAYLOAD_BYTES_MAX, type ServiceHost, type ServiceRequest } from '../../server/service.ts';
import { ASK_MS_MAX, type Asked, askCoordinator } from './asking.ts';
import { statusReply, summaryReply, text } from './job-replies.ts';
import { encodeMessage, type JobView, type Question } from './messages.ts';
import { type Plan, planInThread } from './planning.ts';
import type { JobId, JobOrderRecord } from './records.ts';
import { BEGIN, chunkOf, pageOf, resultOf } from './results.ts';
import { readSubmission, type Submission } from './submission.ts';
import { readFrom } from './system-keys.ts';

export interface CommandsOptions {
  readonly host: ServiceHost;
  readonly threads: Threads;
  /** Threads that work, of one server. */
  readonly slots: number;
  /** Where modules of the operator's choice are; empty: nowhere. Absolute. */
  readonly modules: string;
  /** Whether jobs may read files that the server can read: `local`: if the client is on this machine. */
  readonly files: 'no' | 'local' | 'yes';
}

const STATES = ['active', 'done', 'failed', 'cancelled'];
const LIST_MAX = 1_000_000;
const PAGE_LINES = 10;
const PAGE_LINES_MAX = 10_000;
const WAIT_MS_MAX = 86_400_000;
/** How often the state of a job is asked for by who waits for its end: soon at first, for small jobs are quick. */
const WAIT_MS_FIRST = 20;
const WAIT_MS_EACH = 500;
/** Ranges of slots that stored keys are split into: some for each thread, none for a few keys. */
const KEYS_SPLITS_MAX = 128;
const SPLITS_PER_THREAD = 4;
const KEYS_PER_SPLIT = 2000;
/** A part more pays off from here on. */
const BYTES_PER_REDUCE = 16 << 20;
const KEYS_PER_REDUCE = 20_000;
const TOKEN_BYTES = 16;
/** Each has a thread that looks for the files. */
const SUBMISSIONS_MAX = 4;
/** Questions to the coordinator: of those that a server may have under way, some are for its work. */
const ASKING_MAX = 32;
const TURN_MS = 50;

const HELP = [
  'MR.SUBMIT job FILES numfiles file [file ...] | KEYS pattern [REDUCES n] [OUT STORE | OUT KEYS prefix]',
  '    [ARGS numargs name value ...] [MEMORY bytes] [SPLIT bytes] [NAME name] [TOKEN token] [SHA256 hex] [CWD dir]',
  '    Submit a job: wc, ii, grep (with ARGS 1 pattern P), sort, or the name of a module in mr-modules. Returns its id.',
  '    The same TOKEN again returns the same id, and submits nothing.',
  'MR.STATUS id',
  '    What the job is, how far it has come, what it has counted, and why it has failed.',
  'MR.LIST [STATE active|done|failed|cancelled] [COUNT n]',
  '    Jobs, the newest first.',
  'MR.WAIT id timeout-ms',
  '    Wait until the job has ended, and return its state; nil when it has not ended by then.',
  'MR.RESULT id [CURSOR cursor] [COUNT n]',
  '    Lines of the result in the order of their keys, and the cursor for more: 0 at the end.',
  'MR.RESULT id PART part CHUNK chunk',
  '    A piece of a part of the result, as it is stored; nil behind the last.',
  'MR.CANCEL id',
  '    Cancel a job that is under way: 1, or 0 when it had ended.',
  'MR.PURGE id',
  '    Remove a job that has ended, with its result.',
];

export class Commands {
  readonly #options: CommandsOptions;
  #submissions = 0;
  #asking = 0;

  constructor(options: CommandsOptions) {
    this.#options = options;
  }

  /** Throws ConfigError for a client's mistake, StoreError and CorruptionError for what happens. */
  async execute(request: ServiceRequest): Promise<Reply> {
    const { name, args } = request;
    switch (name) {
      case 'submit':
        return this.#submit(request);
      case 'status':
        return statusReply(await this.#job(idOf(args[0]!)), this.#options.host.clock.wallMs());
      case 'list':
        return this.#list(args);
      case 'wait':
        return this.#wait(request);
      case 'result':
        return this.#result(args);
      case 'cancel':
      case 'purge':
        return this.#change(name === 'cancel' ? 'cancel' : 'remove', idOf(args[0]!));
      default:
        return HELP;
    }
  }

  // Submitting

  async #submit(request: ServiceRequest): Promise<Reply> {
    if (this.#submissions >= SUBMISSIONS_MAX) {
      throw new ConfigError(`${SUBMISSIONS_MAX} other jobs are being submitted here: try again`);
    }
    this.#submissions++;
    try {
      return await this.#submitOne(request);
    } finally {
      this.#submissions--;
    }
  }

  async #submitOne({ args, db, loopback }: ServiceRequest): Promise<Reply> {
    const { host } = this.#options;
    const submission = readSubmission(args, db);
    const threads = this.#options.slots * Math.max(1, host.members.length);
    this.#checkFiles(submission, loopback);
    const plan = await this.#plan(submission, threads);
    const keys = submission.input.kind === 'keys' ? await this.#keysOf(db) : 0;
    const order = orderOf(submission, plan, { db, threads, keys, token: this.#newToken() });
    const question = { ask: 'submit', order } as const;
    if (encodeMessage(question).length > SERVICE_PAYLOAD_BYTES_MAX) {
      throw new ConfigError('the names of the files take too much room: name fewer files at a time');
    }
    const asked = await this.#ask(question);
    if (asked.answer === 'submitted') return asked.id;
    return failedReply(asked, `the same with TOKEN ${order.token} tells its id, or submits it`);
  }

  /** Of the database, about. */
  async #keysOf(db: number): Promise<number> {
    const size = await readFrom(this.#options.host, db, 'DBSIZE');
    return typeof size === 'number' ? size : 0;
  }

  #newToken(): string {
    return Buffer.from(this.#options.host.random.bytes(TOKEN_BYTES)).toString('hex');
  }

  /** Throws ConfigError. */
  #checkFiles({ input }: Submission, loopback: boolean): void {
    const { files } = this.#options;
    if (input.kind !== 'files' || files === 'yes' || (files === 'local' && loopback)) return;
    const why =
      files === 'no'
        ? 'jobs do not read files here (mr-files no)'
        : 'only clients on the machine of the server may have files read (mr-files local; see mr-files yes)';
    throw new ConfigError(why);
  }

  /** Throws ConfigError. */
  async #plan({ job, args, input, ...rest }: Submission, threads: number): Promise<Plan> {
    const { modules, host } = this.#options;
    const isModule = job.kind === 'module';
    if (isModule && modules === '') {
      throw new ConfigError('this server runs no code of its users: start it with --mr-modules DIR');
    }
    if (!isModule && input.kind === 'keys') return { job, splits: [], files: 0, bytes: 0 };
    const located = isModule ? { ...job, path: `${modules}/${job.path}` } : job;
    const mission = {
      ...{ job: located, args, threads, splitBytes: rest.splitBytes },
      inputs: input.kind === 'files' ? input.files : [],
      workingDirectory: rest.workingDirectory,
    };
    const outcome = await planInThread(mission, this.#options.threads, host.clock);
    if (outcome.outcome === 'refused') throw new ConfigError(outcome.message);
    const { plan } = outcome;
    // Other servers have it in a directory of their own.
    return isModule ? { ...plan, job: { ...plan.job, path: job.path } as Plan['job'] } : plan;
  }

  // Asking

  async #ask(question: Question): Promise<Asked> {
    const { clock } = this.#options.host;
    for (const endMs = clock.monotonicMs() + ASK_MS_MAX; this.#asking >= ASKING_MAX; ) {
      if (clock.monotonicMs() >= endMs) return { answer: 'none', mayBeDone: false };
      await new Promise<void>((resolve) => clock.after(TURN_MS, resolve));
    }
    this.#asking++;
    try {
      return await askCoordinator(this.#options.host, question);
    } finally {
      this.#asking--;
    }
  }

  async #jobs(id?: JobId): Promise<readonly JobView[]> {
    const asked = await this.#ask(id === undefined ? { ask: 'jobs' } : { ask: 'jobs', id });
    if (asked.answer === 'jobs') return asked.jobs;
    throw new UnansweredError(failedReply(asked, ''));
  }

  async #job(id: JobId): Promise<JobView> {
    const job = (await this.#jobs(id))[0];
    if (job === undefined) throw new ConfigError(`there is no job ${id}: see MR.LIST`);
    return job;
  }

  async #list(args: readonly Uint8Array[]): Promise<Reply> {
    const options = optionsOf(args, ['STATE', 'COUNT']);
    const state = options.get('STATE')?.toLowerCase();
    if (state !== undefined && !STATES.includes(state)) {
      throw new ConfigError(`STATE is one of ${STATES.join(', ')}, not '${state}'`);
    }
    const count = numberOf('COUNT', options.get('COUNT') ?? String(LIST_MAX), 1, LIST_MAX);
    const jobs = (await this.#jobs()).filter((job) => state === undefined || job.state === state);
    return [...jobs].reverse().slice(0, count).map(summaryReply);
  }

  async #wait(request: ServiceRequest): Promise<Reply> {
    const { clock } = this.#options.host;
    const id = idOf(request.args[0]!);
    const timeoutMs = numberOf('the timeout in milliseconds', textOf(request.args[1]!), 0, WAIT_MS_MAX);
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    for (let pauseMs = WAIT_MS_FIRST; ; pauseMs = Math.min(2 * pauseMs, WAIT_MS_EACH)) {
      const state = await this.#stateOf(id);
      if (state !== undefined && state !== 'active') return text(state);
      const leftMs = deadlineMs - clock.monotonicMs();
      if (leftMs <= 0 || request.closed) return null;
      await new Promise<void>((resolve) => clock.after(Math.min(pauseMs, leftMs), resolve));
    }
  }

  /** Undefined: nobody knows at present. */
  async #stateOf(id: JobId): Promise<string | undefined> {
    try {
      return (await this.#job(id)).state;
    } catch (error) {
      if (error instanceof UnansweredError) return undefined;
      throw error;
    }
  }

  async #change(ask: 'cancel' | 'remove', id: JobId): Promise<Reply> {
    const asked = await this.#ask({ ask, id });
    if (asked.answer === 'changed') return asked.changed ? 1 : 0;
    return failedReply(asked, 'it may be asked for again');
  }

  // Results

  async #result(args: readonly Uint8Array[]): Promise<Reply> {
    const { host } = this.#options;
    const id = idOf(args[0]!);
    const options = optionsOf(args.slice(1), ['CURSOR', 'COUNT', 'PART', 'CHUNK']);
    const [part, chunk] = [options.get('PART'), options.get('CHUNK')];
    if ((part === undefined) !== (chunk === undefined)) throw new ConfigError('PART and CHUNK go together');
    if (part !== undefined && options.size > 2) throw new ConfigError('CURSOR and COUNT are not for chunks');
    const result = await resultOf(host, id);
    if (result === undefined) throw await this.#noResult(id);
    if (part !== undefined && chunk !== undefined) {
      const place = {
        part: numberOf('PART', part, 0, LIST_MAX),
        chunk: numberOf('CHUNK', chunk, 0, LIST_MAX),
      };
      return (await chunkOf(host, { id, result }, place)) ?? null;
    }
    const page = await pageOf(
      host,
      { id, result },
      {
        cursor: options.get('CURSOR') ?? BEGIN,
        count: numberOf('COUNT', options.get('COUNT') ?? String(PAGE_LINES), 1, PAGE_LINES_MAX),
      },
    );
    return [text(page.cursor), page.lines];
  }

  async #noResult(id: JobId): Promise<ConfigError> {
    const { state, out } = await this.#job(id);
    if (state === 'active') return new ConfigError(`job ${id} is under way: wait for its end with MR.WAIT`);
    if (state === 'done' && out === 'keys') {
      return new ConfigError(`the result of job ${id} has become keys: read these`);
    }
    if (state === 'done')
      return new ConfigError(`the result of job ${id} has not arrived here yet: ask again`);
    return new ConfigError(
      `job ${id} has no result: it has ${state === 'failed' ? 'failed' : 'been cancelled'}`,
    );
  }
}

/** There is no answer: what the client is told. */
export class UnansweredError extends Error {
  override readonly name = 'UnansweredError';
  readonly reply: Reply;
  constructor(reply: Reply) {
    super('the coordinator has not answered');
    this.reply = reply;
  }
}

function failedReply(asked: Asked, advice: string): Reply {
  if (asked.answer === 'refused') return new ErrorReply('ERR', asked.message);
  if (asked.answer === 'none' && asked.mayBeDone && advice !== '') {
    return new ErrorReply('TIMEOUT', `The outcome of this command is unknown; ${advice}`);
  }
  return new ErrorReply('CLUSTERDOWN', 'Nobody coordinates the jobs now. The command was not executed');
}

function orderOf(
  submission: Submission,
  { job, splits, files, bytes }: Plan,
  { db, threads, keys, token }: { db: number; threads: number; keys: number; token: string },
): JobOrderRecord {
  const { input, args, out, memoryBytes } = submission;
  const jobText = job.kind === 'builtin' ? job.name : job.path;
  const isGrep = job.kind === 'builtin' && job.name === 'grep';
  // As everybody's grep does it.
  const paying = input.kind === 'files' ? bytes / BYTES_PER_REDUCE : keys / KEYS_PER_REDUCE;
  const names = isGrep && (files > 1 || input.kind === 'keys') ? { 'with-filename': 'yes' } : {};
  return {
    token: submission.token === '' ? token : submission.token,
    name: submission.name === '' ? jobText : submission.name,
    ...{ job, args: { ...names, ...args }, memoryBytes, out, bytes },
    reducers: submission.reducers ?? Math.max(1, Math.min(threads, Math.ceil(paying))),
    input:
      input.kind === 'files'
        ? { kind: 'files', splits }
        : {
            ...{ kind: 'keys', db, pattern: Buffer.from(input.pattern).toString('base64') },
            splits: splitsOf(keys, threads),
          },
  };
}

function splitsOf(keys: number, threads: number): number {
  const paying = Math.ceil(keys / KEYS_PER_SPLIT);
  return Math.max(1, Math.min(paying, threads * SPLITS_PER_THREAD, KEYS_SPLITS_MAX));
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('utf8');
}

function idOf(bytes: Uint8Array): JobId {
  return numberOf('the id of a job', textOf(bytes), 1, Number.MAX_SAFE_INTEGER);
}

function numberOf(what: string, value: string, min: number, max: number): number {
  const number = /^\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
  if (number >= min && number <= max) return number;
  throw new ConfigError(`${what} is a whole number from ${min} to ${max}, not '${value}'`);
}

/** Pairs of a name and a value. Throws ConfigError. */
function optionsOf(args: readonly Uint8Array[], known: readonly string[]): Map<string, string> {
  const options = new Map<string, string>();
  for (let i = 0; i < args.length; i += 2) {
    const name = textOf(args[i]!).toUpperCase();
    if (!known.includes(name)) throw new ConfigError(`unknown option '${name}': see MR.HELP`);
    if (options.has(name)) throw new ConfigError(`${name} is given twice`);
    if (i + 1 >= args.length) throw new ConfigError(`${name} takes a value`);
    options.set(name, textOf(args[i + 1]!));
  }
  return options;
}
