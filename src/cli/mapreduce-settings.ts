/**
 * The arguments of `hstore mapreduce JOB [PATTERN] [INPUT...] [flags]`, in any order, with the environment and the
 * configuration file. Behind `--` nothing is a flag.
 */
import { createHash } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseAddress } from '../client/members.ts';
import type { Directive } from '../config/directive.ts';
import { didYouMean } from '../config/nearest.ts';
import {
  type Environment,
  type FlagForms,
  gatherSettings,
  parseFlags,
  variableName,
} from '../config/sources.ts';
import { DIRECTIVES } from '../config/table.ts';
import { ConfigError } from '../lib/errors.ts';
import { ACCESS_DIRECTIVES, type ClusterAccess, readAccess, withoutAccess } from './mapreduce-access.ts';
import { CONFIG_FLAG, readConfigFile } from './settings.ts';
import { isHere } from './this-machine.ts';

const REDUCES_MAX = 10_000;
const WORKERS_MAX = 256;
const KB = 1024;
const GB = 1024 ** 3;

const startup = { change: 'startup' } as const;

export const MAPREDUCE_DIRECTIVES: readonly Directive[] = [
  {
    ...{ name: 'out', type: { kind: 'text' }, default: '', argument: 'DIR|keys:PREFIX', ...startup },
    help: 'write part-r-00000 ... and _SUCCESS into this new directory, at once when all is done; with --nodes, keys:PREFIX stores the value of each key of the result under PREFIX and the key',
    defaultHelp: 'standard output, in the order of the keys',
  },
  {
    ...{ name: 'force', type: { kind: 'boolean' }, default: 'no', ...startup },
    help: 'replace what is in the directory that --out names',
  },
  {
    ...{ name: 'top', type: { kind: 'integer', min: 1, max: 1_000_000_000 }, default: '1', ...startup },
    help: 'only the first N lines',
    defaultHelp: 'all',
  },
  {
    ...{ name: 'sort', type: { kind: 'choice', values: ['key', 'count'] }, default: 'key', ...startup },
    help: 'order of the lines: by key, or the largest count first',
  },
  {
    ...{ name: 'reduces', type: { kind: 'integer', min: 1, max: REDUCES_MAX }, default: '1', ...startup },
    help: 'parts of the output, and tasks that make them',
    defaultHelp: 'as many as workers',
  },
  {
    ...{ name: 'workers', type: { kind: 'integer', min: 1, max: WORKERS_MAX }, default: '1', ...startup },
    help: 'threads that work',
    defaultHelp: 'one per core, fewer for small inputs',
  },
  {
    ...{ name: 'memory', type: { kind: 'memory', min: 64 * KB, max: 2 * GB }, default: '64mb', ...startup },
    help: 'what a worker gathers before it writes to the disk',
  },
  {
    ...{ name: 'split', type: { kind: 'memory', min: 1 * KB, max: 1024 * GB }, default: '64mb', ...startup },
    help: 'input of one map task',
    defaultHelp: 'by the size of the input, 4mb to 512mb',
  },
  {
    ...{ name: 'sequential', type: { kind: 'boolean' }, default: 'no', ...startup },
    help: 'one thread does all, one after the other: slow, and simple enough to check the others by',
  },
];

export const ARG_FLAG = 'arg';

const TABLE = [...MAPREDUCE_DIRECTIVES, ...ACCESS_DIRECTIVES];
const isSwitch = ({ type }: Directive): boolean => type.kind === 'boolean';
const FLAGS: FlagForms = {
  valued: [...TABLE.filter((each) => !isSwitch(each)).map(({ name }) => name), ...[ARG_FLAG, CONFIG_FLAG]],
  switches: TABLE.filter(isSwitch).map(({ name }) => name),
};

const BUILTINS = ['wc', 'ii', 'grep', 'sort'] as const;
type Builtin = (typeof BUILTINS)[number];
/** What they write has a count, by which it can be sorted, and a key. */
const COUNTING: readonly Builtin[] = ['wc', 'ii'];
/** What they write does not say where it was read. */
const NAMELESS: readonly Builtin[] = ['wc', 'sort'];
const STANDARD_INPUT = '-';
const KEYS_PREFIX = 'keys:';
/** Meant for types that are to come: not to be taken for directories. */
const TYPE_PREFIX = /^(hash|zset):/;

interface CommonOrder {
  readonly job:
    | { readonly kind: 'builtin'; readonly name: Builtin }
    | { readonly kind: 'module'; readonly path: string; readonly sha256: string };
  readonly args: Readonly<Record<string, string>>;
  /** Empty: none are named. `-` is standard input. */
  readonly inputs: readonly string[];
  /** Undefined: as many as workers. */
  readonly reducers: number | undefined;
  readonly memoryBytes: number;
  readonly splitBytes: number | undefined;
}

type FileOutput =
  | { readonly kind: 'stream'; readonly by: 'key' | 'count'; readonly top: number | undefined }
  | { readonly kind: 'directory'; readonly path: string; readonly force: boolean };

export interface LocalOrder extends CommonOrder {
  readonly cluster: undefined;
  readonly workers: number | undefined;
  readonly sequential: boolean;
  readonly output: FileOutput;
}

export interface ClusterOrder extends CommonOrder {
  readonly cluster: ClusterAccess;
  /** A pattern: the input is stored keys, and `inputs` is empty. */
  readonly keys: string | undefined;
  readonly output: FileOutput | { readonly kind: 'keys'; readonly prefix: string };
}

/** What is to be done, in the words of the command line. */
export type JobOrder = LocalOrder | ClusterOrder;

const EXAMPLES = [
  'for example:',
  '  hstore mapreduce wc book.txt texts/*.txt --top 10 --sort count',
  '  zcat log.gz | hstore mapreduce grep "error [0-9]+" -',
].join('\n');

/** What to say to somebody who gives nothing to read. */
export function noInput(): ConfigError {
  return new ConfigError(`no input: name files, directories or patterns, or pipe something in\n${EXAMPLES}`);
}

/** Throws ConfigError. */
export function readJobOrder(args: readonly string[], environment: Environment): JobOrder {
  const { words, flagArgs } = separate(args);
  const flags = parseFlags(flagArgs, FLAGS);
  const settings = gatherSettings(TABLE, {
    flags: flags.filter(([name]) => name !== CONFIG_FLAG && name !== ARG_FLAG),
    environment: withoutAccess(withoutServers(environment)),
    // HSTORE_CONFIG names a server's file.
    file: readConfigFile(flags, {}),
  });
  const value = (name: string): string | undefined => settings.get(name)?.value;
  const number = (name: string): number | undefined => {
    const text = value(name);
    return text === undefined ? undefined : Number(text);
  };
  const { job, jobArgs, inputs } = readJob(words);
  const own = flags.filter(([name]) => name === ARG_FLAG).map(([, text]) => readArg(text));
  const common = {
    ...{ job, inputs, args: { ...Object.fromEntries(own), ...jobArgs } },
    ...{ reducers: number('reduces'), splitBytes: number('split') },
    memoryBytes: number('memory') ?? 64 * KB * KB,
  };
  const cluster = readAccess(value, environment);
  const output = readOutput(job, value, number('top'));
  if (cluster === undefined) {
    const sequential = value('sequential') === 'yes';
    return {
      ...common,
      cluster,
      workers: number('workers'),
      sequential,
      output: withoutKeys(inputs, output),
    };
  }
  const local = settings.get('workers') ?? settings.get('sequential');
  if (local !== undefined) {
    throw new ConfigError(`${local.where} is for jobs on this machine: servers have --mr-threads`);
  }
  return { ...common, cluster, ...readClusterInputs(inputs, job, cluster), output };
}

/** Standard input as the only input. Throws ConfigError when nobody there could read it. */
export function withStandardInput<T extends JobOrder>(order: T): T {
  const inputs = [STANDARD_INPUT];
  if (order.cluster !== undefined) readClusterInputs(inputs, order.job, order.cluster);
  return { ...order, inputs };
}

function withoutKeys(inputs: readonly string[], output: ClusterOrder['output']): FileOutput {
  const key = inputs.find((input) => input.startsWith(KEYS_PREFIX));
  const stored = 'stored keys are in a cluster: name its servers with --nodes HOST:PORT,...';
  if (key !== undefined) throw new ConfigError(`${key}: ${stored} (a file of this name is ./${key})`);
  if (output.kind !== 'keys') return output;
  const out = KEYS_PREFIX + output.prefix;
  throw new ConfigError(`--out ${out}: ${stored} (a directory of this name is ./${out})`);
}

function readClusterInputs(
  inputs: readonly string[],
  job: JobOrder['job'],
  { nodes }: ClusterAccess,
): Pick<ClusterOrder, 'inputs' | 'keys'> {
  const key = inputs.find((input) => input.startsWith(KEYS_PREFIX));
  if (key !== undefined && inputs.length > 1) {
    throw new ConfigError(`${key} stands alone: a job reads files, or stored keys of one pattern`);
  }
  if (key !== undefined) return { inputs: [], keys: key.slice(KEYS_PREFIX.length) };
  if (inputs.includes(STANDARD_INPUT)) {
    const elsewhere = nodes.find((node) => !isHere(parseAddress(node).host));
    if (elsewhere !== undefined) {
      throw new ConfigError(
        `standard input can be read by servers on this machine only, and ${elsewhere} is not: ` +
          'give a file that all servers have, or run the job without --nodes',
      );
    }
    const isNameless = job.kind === 'builtin' && NAMELESS.includes(job.name);
    if (inputs.length > 1 && !isNameless) {
      throw new ConfigError('standard input (-) stands alone with --nodes: put it into a file of its own');
    }
  }
  return { inputs, keys: undefined };
}

function separate(args: readonly string[]): { words: string[]; flagArgs: string[] } {
  const words: string[] = [];
  const flagArgs: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === '--') return { words: [...words, ...args.slice(i + 1)], flagArgs };
    if (!arg.startsWith('-') || arg === STANDARD_INPUT) words.push(arg);
    else {
      flagArgs.push(arg);
      const takesNext = arg.startsWith('--') && FLAGS.valued.includes(arg.slice(2));
      if (takesNext && i + 1 < args.length) flagArgs.push(args[++i]!);
    }
  }
  return { words, flagArgs };
}

/** What servers are told through the environment is none of a job's business. */
function withoutServers(environment: Environment): Environment {
  const servers = new Set(DIRECTIVES.map(({ name }) => variableName(name)));
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !servers.has(name)));
}

function readJob(
  words: readonly string[],
): Pick<JobOrder, 'job' | 'inputs'> & { jobArgs: Record<string, string> } {
  const [name, ...rest] = words;
  if (name === undefined) {
    throw new ConfigError(`which job? ${BUILTINS.join(', ')}, or a module such as ./job.js\n${EXAMPLES}`);
  }
  const builtin = BUILTINS.find((each) => each === name);
  const job = builtin === undefined ? readModule(name) : { kind: 'builtin' as const, name: builtin };
  const pattern = builtin === 'grep' ? readPattern(rest[0]) : undefined;
  const inputs = pattern === undefined ? rest : rest.slice(1);
  if (inputs.filter((input) => input === STANDARD_INPUT).length > 1) {
    throw new ConfigError('standard input (-) can be read once only');
  }
  return { job, inputs, jobArgs: pattern === undefined ? {} : { pattern } };
}

function readModule(name: string): JobOrder['job'] {
  if (!name.includes('/') && !/\.[cm]?[jt]s$/.test(name)) {
    const meant = didYouMean(name, BUILTINS);
    const known = `jobs are ${BUILTINS.join(', ')}, or a path such as ./job.js`;
    throw new ConfigError(`unknown job '${name}'${meant === '' ? `: ${known}` : meant}`);
  }
  try {
    const path = realpathSync(name);
    return { kind: 'module', path, sha256: createHash('sha256').update(readFileSync(path)).digest('hex') };
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    throw new ConfigError(
      missing ? `there is no job ${name}` : `cannot read the job ${name}: ${error}`,
      error,
    );
  }
}

function readPattern(pattern: string | undefined): string {
  if (pattern === undefined) throw new ConfigError(`grep needs a pattern\n${EXAMPLES}`);
  try {
    new RegExp(pattern, 'u');
  } catch (error) {
    throw new ConfigError(
      `grep cannot use the pattern: ${error instanceof Error ? error.message : error}`,
      error,
    );
  }
  return pattern;
}

function readArg(text: string): [name: string, value: string] {
  const at = text.indexOf('=');
  if (at < 1) throw new ConfigError(`--${ARG_FLAG} takes NAME=VALUE, not '${text}'`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function readOutput(
  job: JobOrder['job'],
  value: (name: string) => string | undefined,
  top: number | undefined,
): ClusterOrder['output'] {
  const by = value('sort') === 'count' ? 'count' : 'key';
  const out = value('out') ?? '';
  const force = value('force') === 'yes';
  if (by === 'count' && job.kind === 'builtin' && !COUNTING.includes(job.name)) {
    throw new ConfigError(`--sort count: ${job.name} counts nothing`);
  }
  if (out === '') {
    if (force) throw new ConfigError('--force is for the directory that --out names');
    return { kind: 'stream', by, top };
  }
  if (top !== undefined || by === 'count') {
    const flag = top === undefined ? 'sort count' : 'top';
    throw new ConfigError(`--${flag} is for standard output: each part in --out is in the order of its keys`);
  }
  if (out.startsWith(KEYS_PREFIX)) {
    if (force) throw new ConfigError('--force is for the directory that --out names');
    if (job.kind === 'builtin' && !COUNTING.includes(job.name)) {
      throw new ConfigError(`--out ${out}: the lines of ${job.name} have no keys`);
    }
    return { kind: 'keys', prefix: out.slice(KEYS_PREFIX.length) };
  }
  const type = TYPE_PREFIX.exec(out)?.[1];
  if (type !== undefined) {
    const instead = `keys:PREFIX stores strings (a directory of this name is ./${out})`;
    throw new ConfigError(`--out ${out}: there are no values of the type ${type} yet; ${instead}`);
  }
  return { kind: 'directory', path: resolve(out), force };
}
