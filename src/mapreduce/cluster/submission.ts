/**
 * What MR.SUBMIT asks for, read from its arguments:
 *
 *   MR.SUBMIT job FILES numfiles file [file ...] | KEYS pattern
 *     [REDUCES n] [OUT STORE | OUT KEYS prefix] [ARGS numargs name value ...]
 *     [MEMORY bytes] [SPLIT bytes] [NAME name] [TOKEN token] [SHA256 hex] [CWD directory]
 */
import { Buffer } from 'node:buffer';
import { ConfigError } from '../../lib/errors.ts';
import { builtinJob } from '../jobs/builtin.ts';
import { type BuiltinName, type JobName, REDUCERS_MAX } from '../tasks.ts';
import type { JobOut } from './records.ts';

export interface Submission {
  /** Of a module `path` is its name in the directory of modules, and `sha256` may be empty: whatever it has. */
  readonly job: JobName;
  readonly input:
    | { readonly kind: 'files'; readonly files: readonly string[] }
    | { readonly kind: 'keys'; readonly pattern: Uint8Array };
  /** Undefined: as many as threads. */
  readonly reducers: number | undefined;
  readonly out: JobOut;
  readonly args: Readonly<Record<string, string>>;
  readonly memoryBytes: number;
  readonly splitBytes: number | undefined;
  /** Empty: none was given. */
  readonly name: string;
  readonly token: string;
  readonly workingDirectory: string | undefined;
}

const BUILTINS: readonly BuiltinName[] = ['wc', 'ii', 'grep', 'sort'];
/** Whose lines have a key in front, which can name a stored key. */
const KEYED: readonly BuiltinName[] = ['wc', 'ii'];
const MEMORY_BYTES = 64 << 20;
const MEMORY_BYTES_MIN = 64 << 10;
const MEMORY_BYTES_MAX = 512 << 20;
const SPLIT_BYTES_MIN = 1 << 10;
const SPLIT_BYTES_MAX = 2 ** 40;
const FILES_MAX = 100_000;
const ARGS_MAX = 1000;
/** All of them: they go with every task. */
const ARGS_BYTES_MAX = 64 << 10;
const TEXT_BYTES_MAX = 256;
const PATTERN_BYTES_MAX = 64 << 10;
const SHA256 = /^[0-9a-f]{64}$/;
/** A name, and no path. */
const MODULE = /^[^/\\\0]+\.[cm]?[jt]s$/;

/** `args`: behind the command's name. `db`: the client's. Throws ConfigError, with the text for the client. */
export function readSubmission(args: readonly Uint8Array[], db: number): Submission {
  const words = new Words(args);
  const jobText = words.text('a job');
  const input = readInput(words);
  const options = readOptions(words, db);
  const job = jobOf(jobText, options.sha256);
  if (job.kind === 'builtin') builtinJob(job.name, options.args);
  if (job.kind === 'builtin' && options.out.kind === 'keys' && !KEYED.includes(job.name)) {
    throw new ConfigError(`OUT KEYS: the lines of ${job.name} have no keys`);
  }
  const { sha256: _, ...rest } = options;
  return { job, input, ...rest };
}

function jobOf(text: string, sha256: string): JobName {
  const builtin = BUILTINS.find((each) => each === text);
  if (builtin !== undefined) {
    if (sha256 !== '') throw new ConfigError(`SHA256 is for a module of your own, not for ${text}`);
    return { kind: 'builtin', name: builtin };
  }
  if (MODULE.test(text)) return { kind: 'module', path: text, sha256 };
  throw new ConfigError(
    `unknown job '${text}': jobs are ${BUILTINS.join(', ')}, or the name of a module in mr-modules, such as job.js`,
  );
}

function readInput(words: Words): Submission['input'] {
  const kind = words.text('FILES or KEYS').toUpperCase();
  if (kind === 'KEYS') {
    const pattern = words.bytes('a pattern of keys');
    if (pattern.length > PATTERN_BYTES_MAX) throw new ConfigError('the pattern of keys is too long');
    return { kind: 'keys', pattern };
  }
  if (kind !== 'FILES') throw new ConfigError(`FILES or KEYS is expected behind the job, not '${kind}'`);
  const count = words.number('numfiles', 1, FILES_MAX);
  return { kind: 'files', files: Array.from({ length: count }, () => words.text('a file')) };
}

type Options = Omit<Submission, 'job' | 'input'> & { readonly sha256: string };
type Changeable<T> = { -readonly [K in keyof T]: T[K] };

function readOptions(words: Words, db: number): Options {
  const options: Changeable<Options> = {
    ...{
      reducers: undefined,
      out: { kind: 'store' },
      args: {},
      memoryBytes: MEMORY_BYTES,
      splitBytes: undefined,
    },
    ...{ name: '', token: '', sha256: '', workingDirectory: undefined },
  };
  const seen = new Set<string>();
  while (words.hasMore) {
    const option = words.text('an option').toUpperCase();
    if (seen.has(option)) throw new ConfigError(`${option} is given twice`);
    seen.add(option);
    readOption(option, options, words, db);
  }
  return options;
}

function readOption(option: string, options: Changeable<Options>, words: Words, db: number): void {
  switch (option) {
    case 'REDUCES':
      options.reducers = words.number('REDUCES', 1, REDUCERS_MAX);
      return;
    case 'OUT':
      options.out = readOut(words, db);
      return;
    case 'ARGS':
      options.args = readArgs(words);
      return;
    case 'MEMORY':
      options.memoryBytes = words.number('MEMORY', MEMORY_BYTES_MIN, MEMORY_BYTES_MAX);
      return;
    case 'SPLIT':
      options.splitBytes = words.number('SPLIT', SPLIT_BYTES_MIN, SPLIT_BYTES_MAX);
      return;
    case 'NAME':
    case 'TOKEN':
      options[option === 'NAME' ? 'name' : 'token'] = words.text(option, TEXT_BYTES_MAX);
      return;
    case 'SHA256': {
      const hash = words.text('SHA256').toLowerCase();
      if (!SHA256.test(hash)) throw new ConfigError('SHA256 is 64 hexadecimal digits');
      options.sha256 = hash;
      return;
    }
    case 'CWD': {
      const directory = words.text('CWD');
      if (!directory.startsWith('/') && !/^[A-Za-z]:/.test(directory)) {
        throw new ConfigError('CWD is an absolute path');
      }
      options.workingDirectory = directory;
      return;
    }
    default:
      throw new ConfigError(`unknown option '${option}': see MR.HELP`);
  }
}

function readOut(words: Words, db: number): JobOut {
  const kind = words.text('STORE or KEYS').toUpperCase();
  if (kind === 'STORE') return { kind: 'store' };
  if (kind !== 'KEYS') throw new ConfigError(`STORE or KEYS is expected behind OUT, not '${kind}'`);
  const prefix = words.bytes('a prefix');
  if (prefix.length > PATTERN_BYTES_MAX) throw new ConfigError('the prefix is too long');
  return { kind: 'keys', db, prefix: Buffer.from(prefix).toString('base64') };
}

function readArgs(words: Words): Record<string, string> {
  const count = words.number('numargs', 0, ARGS_MAX);
  const args = Object.fromEntries(
    Array.from({ length: count }, () => [words.text('the name of an argument'), words.text('its value')]),
  );
  if (Buffer.byteLength(JSON.stringify(args)) > ARGS_BYTES_MAX)
    throw new ConfigError('the arguments are too long');
  return args;
}

/** The arguments, one after the other. */
class Words {
  readonly #args: readonly Uint8Array[];
  #at = 0;

  constructor(args: readonly Uint8Array[]) {
    this.#args = args;
  }

  get hasMore(): boolean {
    return this.#at < this.#args.length;
  }

  bytes(what: string): Uint8Array {
    const arg = this.#args[this.#at++];
    if (arg === undefined) throw new ConfigError(`${what} is missing: see MR.HELP`);
    return arg;
  }

  text(what: string, bytesMax = PATTERN_BYTES_MAX): string {
    const bytes = this.bytes(what);
    if (bytes.length > bytesMax) throw new ConfigError(`${what} is over ${bytesMax} bytes`);
    const text = Buffer.from(bytes).toString('utf8');
    // What stands for nothing would name something else.
    if (!Buffer.from(text).equals(bytes)) throw new ConfigError(`${what} is not valid UTF-8`);
    return text;
  }

  number(what: string, min: number, max: number): number {
    const text = this.text(what);
    const number = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (number >= min && number <= max) return number;
    throw new ConfigError(`${what} is a whole number from ${min} to ${max}, not '${text}'`);
  }
}
