/** Jobs of MapReduce on a cluster of processes: submitted, watched, and compared with what a naive program says. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ProcessCluster, redisCli, type ServerProcess, until } from './processes.ts';

/** A job whose tasks take time without taking the processor: so that something can happen in the middle of each phase. */
const SLOW_COUNT = `
const wait = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(ms ?? 0));
export function map(record, emit, context) {
  if (record.text.startsWith('pause')) return wait(context.args.mapMs);
  for (const word of record.text.match(/\\p{L}+/gu) ?? []) emit(word, 1);
}
export const combine = 'sum';
let paused = false;
export function reduce(key, values, write, context) {
  if (!paused) wait(context.args.reduceMs);
  paused = true;
  for (const count of values) write(key + ': ' + count);
}
`;
const FILES = 12;
const LINES = 2000;
const WORDS = 500;
/** Of a part of the result. */
const LINES_AT_ONCE = 5000;

export interface JobState {
  readonly state: string;
  readonly phase: string;
  readonly [field: string]: string;
}

/** Texts, and how often each word is in them. */
export class JobWorld {
  readonly cluster: ProcessCluster;
  readonly directory: string;
  readonly files: readonly string[];
  /** Of the slow job, lines `word: count` in the order of the words' bytes. */
  readonly expected: string;

  private constructor(cluster: ProcessCluster, directory: string) {
    this.cluster = cluster;
    this.directory = directory;
    ({ files: this.files, expected: this.expected } = writeTexts(this.inputs));
  }

  static async start(count: number, flags: readonly string[] = []): Promise<JobWorld> {
    const directory = mkdtempSync(join(tmpdir(), 'hstore-jobs-'));
    const modules = join(directory, 'modules');
    mkdirSync(modules);
    writeFileSync(join(modules, 'slow.js'), SLOW_COUNT);
    const jobs = ['--mr-threads', '2', '--mr-modules', modules];
    return new JobWorld(await ProcessCluster.start(count, [...jobs, ...flags]), directory);
  }

  async end(): Promise<void> {
    rmSync(this.directory, { recursive: true, force: true });
    await this.cluster.end();
  }

  get inputs(): string {
    return join(this.directory, 'input');
  }

  get modules(): string {
    return join(this.directory, 'modules');
  }

  /** It runs and does not answer. */
  stopped: ServerProcess | undefined;

  /** A server that answers. */
  get anyone(): ServerProcess {
    const server = this.cluster.servers.find(
      (each) => each.running && each !== this.stopped && redisCli(each.port, 'ping').output === 'PONG\n',
    );
    if (server === undefined) throw new Error('no server answers');
    return server;
  }

  /** Each file takes `mapMs`, each reduce task `reduceMs`. */
  submitSlow({ mapMs, reduceMs }: { mapMs: number; reduceMs: number }, at = this.anyone): number {
    const { length } = this.files;
    const args = ['ARGS', '2', 'mapMs', `${mapMs}`, 'reduceMs', `${reduceMs}`];
    return this.submit(['slow.js', 'FILES', `${length}`, ...this.files, 'REDUCES', '3', ...args], at);
  }

  submit(args: readonly string[], at = this.anyone): number {
    const { output } = redisCli(at.port, 'mr.submit', ...args);
    if (!/^\d+\n$/.test(output)) throw new Error(`not submitted: ${output}`);
    return Number(output);
  }

  status(job: number, at = this.anyone): JobState {
    const { output } = redisCli(at.port, 'mr.status', `${job}`);
    const lines = output.split('\n');
    const fields: Record<string, string> = {};
    for (let i = 0; i + 1 < lines.length; i += 2) fields[lines[i]!] = lines[i + 1]!;
    const { state = output, phase = '' } = fields;
    return { ...fields, state, phase };
  }

  async reaches(job: number, holds: (state: JobState) => boolean, withinMs = 30_000): Promise<JobState> {
    let found: JobState | undefined;
    await until(() => {
      found = this.status(job);
      return holds(found);
    }, withinMs);
    return found!;
  }

  async ends(job: number, withinMs = 60_000): Promise<JobState> {
    return this.reaches(job, ({ state }) => ['done', 'failed', 'cancelled'].includes(state), withinMs);
  }

  result(job: number, at = this.anyone): string {
    let lines = '';
    for (let cursor = '0'; ; ) {
      const { output } = redisCli(
        at.port,
        'mr.result',
        `${job}`,
        'cursor',
        cursor,
        'count',
        `${LINES_AT_ONCE}`,
      );
      const end = output.indexOf('\n');
      cursor = output.slice(0, end);
      lines += output.slice(end + 1);
      if (cursor === '0') return lines;
    }
  }
}

function writeTexts(directory: string): { files: string[]; expected: string } {
  mkdirSync(directory);
  const counts = new Map<string, number>();
  const files = Array.from({ length: FILES }, (_, file) => {
    const lines = ['pause'];
    for (let i = 0; i < LINES; i++) {
      const words = [0, 1, 2, 3].map((k) => wordOf((file * 7919 + i * 31 + k * k * 977) % WORDS));
      for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
      lines.push(words.join(' '));
    }
    const path = join(directory, `text-${String(file).padStart(2, '0')}`);
    writeFileSync(path, `${lines.join('\n')}\n`);
    return path;
  });
  return { files, expected: linesOf(counts) };
}

/** `hstore mapreduce` with these arguments and nothing piped in, to its end. */
export async function runProgram(
  program: string,
  args: readonly string[],
): Promise<{ stdout: string; stderr: string; status: number }> {
  const stdio = ['ignore', 'pipe', 'pipe'] as const;
  const child = spawn(process.execPath, [program, 'mapreduce', ...args], { stdio: [...stdio] });
  const told = { stdout: '', stderr: '' };
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    told.stdout += text;
  });
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    told.stderr += text;
  });
  const [status] = (await once(child, 'close')) as [number];
  return { ...told, status };
}

function wordOf(n: number): string {
  let word = '';
  for (let rest = n + 27; rest > 0; rest = Math.floor(rest / 26))
    word += String.fromCharCode(97 + (rest % 26));
  return word;
}

function linesOf(counts: ReadonlyMap<string, number>): string {
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([word, count]) => `${word}: ${count}\n`)
    .join('');
}
