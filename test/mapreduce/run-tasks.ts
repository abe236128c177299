/** Jobs on files in memory, through the tasks or sequentially, to their merged output. */
import { Buffer } from 'node:buffer';
import type { InputFile } from '../../src/mapreduce/inputs.ts';
import { builtinJob } from '../../src/mapreduce/jobs/builtin.ts';
import { builtinMeaning } from '../../src/mapreduce/jobs/builtin-meaning.ts';
import type { ByteJob } from '../../src/mapreduce/jobs/byte-job.ts';
import type { JobMeaning } from '../../src/mapreduce/jobs/job-meaning.ts';
import { mergedRows } from '../../src/mapreduce/output.ts';
import { runSequential } from '../../src/mapreduce/sequential.ts';
import type { BuiltinName, Counters, JobSpec, Split } from '../../src/mapreduce/tasks.ts';
import { runTask } from '../../src/mapreduce/worker-task.ts';
import { MemoryFiles } from './memory-files.ts';

export interface TestJob {
  readonly tasks: ByteJob;
  readonly meaning: JobMeaning;
}

export interface TestInput {
  readonly [path: string]: string | Uint8Array;
}

export interface TestOptions {
  readonly args?: JobSpec['args'];
  readonly reducers?: number;
  readonly memoryBytes?: number;
  /** Of a file of so many bytes: where it is cut. */
  readonly cuts?: (bytes: number) => readonly number[];
}

export interface TestOutput {
  readonly text: string;
  readonly bytes: Buffer;
  readonly counters: Counters;
  /** Lines of each part. */
  readonly parts: readonly string[];
  /** Files that are left in the temporary directory besides the parts. */
  readonly left: readonly string[];
}

export function builtin(name: BuiltinName, args: JobSpec['args'] = {}): TestJob {
  return { tasks: builtinJob(name, args), meaning: builtinMeaning(name, args) };
}

export function filesOf(input: TestInput): { files: MemoryFiles; inputs: InputFile[] } {
  const files = new MemoryFiles();
  for (const [path, content] of Object.entries(input)) files.put(path, Buffer.from(content as string));
  const inputs = Object.keys(input).map((path) => {
    const { bytes, modifiedMs } = files.stat(path)!;
    return { path, bytes, modifiedMs, gzip: path.endsWith('.gz') };
  });
  return { files, inputs };
}

/** Every map task, then every reduce task, of a job on these files. */
export function viaTasks(
  { tasks: job }: Pick<TestJob, 'tasks'>,
  input: TestInput,
  options: TestOptions = {},
): TestOutput {
  const { files, inputs } = filesOf(input);
  const spec = specOf(options);
  const splits = inputs.flatMap((each) => splitsOf(each, job.records === 'whole' ? undefined : options.cuts));
  const counters = new Map<string, number>();
  const run = (task: Parameters<typeof runTask>[1]) => {
    const done = runTask({ spec, job, files, report: () => {} }, task);
    for (const [name, by] of Object.entries(done.counters))
      counters.set(name, (counters.get(name) ?? 0) + by);
    return done.file;
  };
  const maps = splits.map((split, task) => run({ phase: 'map', task, attempt: task + 1, split }));
  const parts = Array.from({ length: spec.reducers }, (_, task) =>
    run({ phase: 'reduce', task, attempt: 1000 + task, files: maps }),
  );
  const left = files.paths.filter((path) => path.startsWith('/tmp/') && ![...maps, ...parts].includes(path));
  return { ...outputOf(parts, files), counters: Object.fromEntries(counters), left };
}

/** The output, as bytes one by one, of a job on stored records. */
export function viaStored({ tasks: job }: Pick<TestJob, 'tasks'>, records: Buffer): string {
  const files = new MemoryFiles();
  files.put('/records', records);
  const situation = { spec: specOf({}), job, files, report: () => {} };
  const split: Split = { kind: 'records', path: '/records', fileBytes: records.length };
  const map = runTask(situation, { phase: 'map', task: 0, attempt: 1, split });
  const part = runTask(situation, { phase: 'reduce', task: 0, attempt: 2, files: [map.file] });
  return outputOf([part.file], files).bytes.toString('latin1');
}

export function viaSequential(
  { meaning }: Pick<TestJob, 'meaning'>,
  input: TestInput,
  options: TestOptions = {},
): TestOutput {
  const { files, inputs } = filesOf(input);
  const { parts, counters } = runSequential({ spec: specOf(options), job: meaning, files }, inputs);
  return { ...outputOf(parts, files), counters, left: [] };
}

export function splitsOf(input: InputFile, cuts?: TestOptions['cuts']): Split[] {
  const { path, bytes, modifiedMs } = input;
  const file = { path, fileBytes: bytes, modifiedMs };
  if (bytes === 0) return [];
  if (input.gzip) return [{ kind: 'gzip', ...file }];
  const places = [0, ...(cuts?.(bytes) ?? []), bytes];
  return places.slice(1).map((to, i) => ({ kind: 'range', ...file, from: places[i]!, to }));
}

export function specOf({ args = {}, reducers = 1, memoryBytes = 1 << 20 }: TestOptions): JobSpec {
  const job = { kind: 'builtin', name: 'wc' } as const;
  return { job, args, reducers, memoryBytes, output: 'keyed', temporary: '/tmp' };
}

function outputOf(
  parts: readonly string[],
  files: MemoryFiles,
): Pick<TestOutput, 'text' | 'bytes' | 'parts'> {
  const linesOf = (paths: readonly string[]) => {
    const lines: Uint8Array[] = [];
    for (const { line } of mergedRows(paths, files)) lines.push(Buffer.from(line), Buffer.from('\n'));
    return Buffer.concat(lines);
  };
  const bytes = linesOf(parts);
  return {
    bytes,
    text: bytes.toString('utf8'),
    parts: parts.map((part) => linesOf([part]).toString('utf8')),
  };
}
