/** MR.SUBMIT, from what the user has asked for. Its syntax: cluster/submission.ts. */
import type { JobName } from './tasks.ts';

export interface SubmittedJob {
  /** A module goes by its name: the servers have it in a directory of their own, and compare the hash. */
  readonly job: JobName;
  readonly args: Readonly<Record<string, string>>;
  /** Files, directories and patterns; `-` is standard input. */
  readonly inputs: readonly string[];
  /** Instead of them: string values whose keys match. */
  readonly keys: string | undefined;
  /** Undefined: as many as threads of the servers. */
  readonly reducers: number | undefined;
  readonly memoryBytes: number;
  readonly splitBytes: number | undefined;
}

export const STANDARD_INPUT = '-';

export interface SubmitOptions {
  readonly token: string;
  /** Of keys that the result becomes. */
  readonly prefix: string | undefined;
  readonly workingDirectory: string;
  /** Where standard input is, as a file `-`; undefined: there is none among the inputs. */
  readonly spooledIn: string | undefined;
}

export function submitWords(request: SubmittedJob, options: SubmitOptions): (string | number)[] {
  const { job, args, reducers, memoryBytes, splitBytes } = request;
  const { token, prefix } = options;
  const pairs = Object.entries(args);
  return [
    ...['MR.SUBMIT', job.kind === 'builtin' ? job.name : baseName(job.path)],
    ...inputWords(request, options),
    ...(reducers === undefined ? [] : ['REDUCES', reducers]),
    ...(prefix === undefined ? [] : ['OUT', 'KEYS', prefix]),
    ...(pairs.length === 0 ? [] : ['ARGS', pairs.length, ...pairs.flat()]),
    ...['MEMORY', memoryBytes],
    ...(splitBytes === undefined ? [] : ['SPLIT', splitBytes]),
    ...['TOKEN', token],
    ...(job.kind === 'builtin' ? [] : ['SHA256', job.sha256]),
  ];
}

function inputWords({ inputs, keys }: SubmittedJob, options: SubmitOptions): (string | number)[] {
  if (keys !== undefined) return ['KEYS', keys];
  const { spooledIn, workingDirectory } = options;
  // Seen from where the file is, it is called as records are to call it.
  const isAlone = spooledIn !== undefined && inputs.length === 1;
  const names = isAlone
    ? inputs
    : inputs.map((input) => (input === STANDARD_INPUT ? `${spooledIn}/${STANDARD_INPUT}` : input));
  return ['FILES', names.length, ...names, 'CWD', isAlone ? spooledIn : workingDirectory];
}

function baseName(path: string): string {
  return path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);
}
