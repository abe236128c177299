import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { SystemBulkFiles } from '../../src/io/bulk-files.ts';
import type { Job } from '../../src/mapreduce/job.ts';
import { moduleJob } from '../../src/mapreduce/jobs/module-job.ts';
import { moduleMeaning } from '../../src/mapreduce/jobs/module-meaning.ts';
import { TaskError } from '../../src/mapreduce/task-error.ts';
import type { TaskFailure } from '../../src/mapreduce/tasks.ts';
import { checkJob, loadUserModule } from '../../src/mapreduce/user-module.ts';
import { type TestInput, type TestOptions, viaSequential, viaTasks } from './run-tasks.ts';

const PATH = '/jobs/job.js';
const directory = mkdtempSync(join(tmpdir(), 'hstore-user-job-'));
afterAll(() => rmSync(directory, { recursive: true }));

/** Through the tasks with all sorts of splits, which must be what sequential execution gives. */
function run<V>(job: Job<V>, input: TestInput, options: TestOptions = {}): string {
  const own = job as Job;
  const { text } = viaSequential({ meaning: moduleMeaning(own, PATH, options.args ?? {}) }, input, options);
  const cuts = (bytes: number) => [Math.floor(bytes / 3), Math.floor(bytes / 2)];
  for (const more of [{}, { cuts }, { cuts, reducers: 5, memoryBytes: 1 }]) {
    expect(viaTasks({ tasks: moduleJob(own, PATH) }, input, { ...options, ...more }).text).toBe(text);
  }
  return text;
}

function failure(job: Job, input: TestInput): TaskFailure {
  try {
    viaTasks({ tasks: moduleJob(job, PATH) }, input);
  } catch (error) {
    if (error instanceof TaskError) return error.failure;
    throw error;
  }
  throw new Error('the job did not fail');
}

describe('a job of the user', () => {
  const text = { 'a.txt': 'the cat the dog\nthe end\n', 'b.txt': 'cat\n' };

  test('counts words by strings, by bytes and by words alike', () => {
    const counts = 'cat: 2\ndog: 1\nend: 1\nthe: 3\n';
    const byStrings: Job<number> = {
      map: ({ text: line }, emit) => {
        for (const word of line.split(/\s+/)) if (word !== '') emit(word, 1);
      },
      combine: 'sum',
    };
    expect(run(byStrings, text)).toBe(counts);
    expect(run<number>({ map: (record, emit) => emit.words(record, 1), combine: 'sum' }, text)).toBe(counts);
    expect(run({ map: (record, emit) => emit.words(record, 'x'), combine: 'count' }, text)).toBe(counts);
    const byBytes: Job<number> = {
      input: 'chunk',
      map: ({ bytes }, emit) => {
        for (let at = 0; at < bytes.length; ) {
          let end = at;
          while (end < bytes.length && bytes[end]! > 0x20) end++;
          if (end > at) emit.bytes(bytes, at, end, 1);
          at = end + 1;
        }
      },
      combine: 'sum',
    };
    expect(run(byBytes, text)).toBe(counts);
  });

  test('gets all values of a key together, in the order of the input', () => {
    const job: Job<string> = {
      map: ({ text: line, file, offset }, emit) => emit(line.slice(0, 1), `${file}@${offset}`),
      reduce: (key, values, write) => write(`${key} ${[...values].join(' ')}`),
    };
    expect(run(job, { 'b.txt': 'xa\ny\nxb\n', 'a.txt': 'xc' })).toBe(
      'x b.txt@0 b.txt@5 a.txt@0\ny b.txt@3\n',
    );
  });

  test('writes each value as a line where it has neither reduce nor combine', () => {
    const job: Job = {
      map: ({ text: line }, emit) => emit('k', line === '' ? { empty: [1.5] } : line.length),
    };
    expect(run(job, { 'a.txt': 'abc\n\n' })).toBe('k: 3\nk: {"empty":[1.5]}\n');
  });

  test('combines numbers by name: fractions, negative ones and zero too', () => {
    const input = { 'a.txt': '-5\n0.5\n3\n', 'b.txt': '0\n7\n' };
    const numbers = (combine: 'sum' | 'min' | 'max' | 'count'): Job<number> => ({
      map: ({ text: line }, emit) => emit('n', Number(line)),
      combine,
    });
    expect(run(numbers('sum'), input)).toBe('n: 5.5\n');
    expect(run(numbers('min'), input)).toBe('n: -5\n');
    expect(run(numbers('max'), input)).toBe('n: 7\n');
    expect(run(numbers('count'), input)).toBe('n: 5\n');
  });

  test('combines by a function, and reduce then gets one value', () => {
    const job: Job<string[]> = {
      map: ({ text: line }, emit) => emit(line.slice(0, 1), [line]),
      combine: (_, values) => [...new Set([...values].flat())].sort(),
      reduce: (key, values, write) => {
        const [all, ...more] = [...values];
        write(`${key} ${all!.join('|')} ${more.length}`);
      },
    };
    expect(run(job, { 'a.txt': 'xb\nxa\nxb\ny\nxc' })).toBe('x xa|xb|xc 0\ny y 0\n');
  });

  test('takes whole files, empty lines, and bytes that are no text', () => {
    const job: Job<number> = { input: 'whole', map: ({ bytes, file }, emit) => emit(file, bytes.length) };
    expect(run(job, { 'a.txt': 'ab\ncd', 'b.txt': Uint8Array.of(0xff, 0, 10) })).toBe('a.txt: 5\nb.txt: 3\n');
  });

  test('parts its keys itself', () => {
    const job: Job<number> = {
      map: ({ text: line }, emit) => emit(line, 1),
      combine: 'sum',
      partition: (key) => key[0]! % 2,
    };
    const { parts } = viaTasks(
      { tasks: moduleJob(job as Job, PATH) },
      { 'a.txt': 'a\nb\nc\n' },
      { reducers: 2 },
    );
    expect(parts).toEqual(['b: 1\n', 'a: 1\nc: 1\n']);
  });

  test('gets its arguments, and counts', () => {
    const job: Job<number> = {
      map: ({ text: line }, emit, context) => {
        context.count('seen');
        if (line.includes(context.args.want!)) emit(line, 1);
      },
    };
    const options = { args: { want: 'b' } };
    const { text: lines, counters } = viaTasks(
      { tasks: moduleJob(job as Job, PATH) },
      { 'a.txt': 'ab\nc\n' },
      options,
    );
    expect(lines).toBe('ab: 1\n');
    expect(counters).toEqual({ seen: 2, records: 2, keys: 1 });
  });

  test('that throws fails with the file and the offset of the record, for good if it throws again', () => {
    const input = { 'a.txt': 'fine\nbad\n' };
    const always: Job = {
      map: ({ text: line }) => {
        if (line === 'bad') throw new RangeError('no such thing');
      },
    };
    expect(failure(always, input)).toEqual({
      message: `map in ${PATH} failed: RangeError: no such thing`,
      ...{ file: 'a.txt', offset: 5, deterministic: true },
    });
    let times = 0;
    const once: Job = {
      map: () => {
        if (times++ === 1) throw new Error('a bad day');
      },
    };
    expect(failure(once, input)).toMatchObject({ deterministic: false, offset: 5 });
    const inReduce: Job = { map: (_, emit) => emit('k', 1), reduce: () => notThere() };
    expect(failure(inReduce, input).message).toContain(
      'reduce of the key "k" in /jobs/job.js failed: ReferenceError',
    );
  });

  test('that emits what is no key or no value is told so', () => {
    const emits = (key: unknown, value: unknown, combine?: 'sum'): string =>
      failure({ map: (_, emit) => emit(key as string, value), ...(combine && { combine }) } as Job, {
        a: 'x',
      }).message;
    expect(emits(5, 1)).toContain('emit takes a key that is a string, not number');
    expect(emits('k', undefined)).toContain('a value is a number, a string, or what JSON can hold');
    expect(emits('k', '1', 'sum')).toContain("combine = 'sum' takes numbers, and string was emitted");
    const promise: Job = { map: (() => Promise.resolve()) as unknown as Job['map'] };
    expect(failure(promise, { a: 'x' }).message).toContain('map returned a promise');
  });
});

describe('a module', () => {
  const files = new SystemBulkFiles();
  const write = (name: string, text: string) => {
    const path = join(directory, name);
    writeFileSync(path, text);
    return { path, sha256: createHash('sha256').update(readFileSync(path)).digest('hex') };
  };

  test('is loaded by its exports, or by what a default export has', async () => {
    const named = write(
      'named.mjs',
      "export function map(r, emit) { emit('k', 1); }\nexport const combine = 'sum';",
    );
    expect(await loadUserModule(named, files)).toMatchObject({ combine: 'sum' });
    const common = write('job.cjs', "module.exports = { input: 'whole', map(r, emit) {} };");
    expect(await loadUserModule(common, files)).toMatchObject({ input: 'whole' });
    const byDefault = write('default.mjs', 'export default { map(r, emit) {} };');
    expect((await loadUserModule(byDefault, files)).map).toBeTypeOf('function');
  });

  test('that has changed since it was named, does not parse, or throws is refused', async () => {
    const changed = { ...write('changed.mjs', 'export const map = () => {};'), sha256: 'other' };
    await expect(loadUserModule(changed, files)).rejects.toThrow('has changed since the job was started');
    await expect(loadUserModule(write('syntax.mjs', 'export const = 1;'), files)).rejects.toThrow(
      'syntax.mjs cannot be loaded',
    );
    await expect(loadUserModule(write('throws.mjs', "throw new Error('oh');"), files)).rejects.toThrow(
      'Error: oh',
    );
  });

  test('that is no job is refused with what is wrong', () => {
    const map = () => {};
    expect(() => checkJob({}, PATH)).toThrow(`${PATH} is no job: it does not export a function map`);
    expect(() => checkJob({ map: 1 }, PATH)).toThrow('map is a function, not number');
    expect(() => checkJob({ map: async () => {} }, PATH)).toThrow('map is AsyncFunction');
    expect(() => checkJob({ map, input: 'line' }, PATH)).toThrow(
      "input is one of lines, whole, chunk, not 'line'",
    );
    expect(() => checkJob({ map, combine: 'avg' }, PATH)).toThrow(
      "combine is a function, or one of sum, min, max, count, not 'avg'",
    );
    expect(() => checkJob({ map, reduce: 'x' }, PATH)).toThrow("reduce is a function, not 'x'");
  });
});

declare function notThere(): void;
