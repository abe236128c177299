/** `hstore mapreduce` as people run it: the built program, real threads, files, pipes and signals. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { temporaryDirectory } from '../io/temporary.ts';
import { ensureBuilt, installInto, NODE, RUNTIMES, type Runtime } from './bundle.ts';

beforeAll(ensureBuilt);

const TEXT = 'The cat and the dog; the cat’s end.\n';
const COUNTS = 'The: 1\nand: 1\ncat: 2\ndog: 1\nend: 1\ns: 1\nthe: 2\n';

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

class Place {
  readonly cwd = temporaryDirectory();
  readonly temporary = join(this.cwd, 'tmp');
  readonly #command: readonly string[];

  constructor(runtime: Runtime) {
    this.#command = [...runtime.command, installInto(join(this.cwd, 'bin')), 'mapreduce'];
    mkdirSync(this.temporary);
  }

  put(name: string, content: string | Uint8Array): void {
    writeFileSync(join(this.cwd, name), content);
  }

  start(args: readonly string[], stdin: 'pipe' | 'ignore' = 'ignore'): ChildProcess {
    const [command, ...rest] = [...this.#command, ...args];
    const env = { ...process.env, TMPDIR: this.temporary };
    const child = spawn(command!, rest, { cwd: this.cwd, env, stdio: [stdin, 'pipe', 'pipe'] });
    onTestFinished(() => void child.kill('SIGKILL'));
    return child;
  }

  /** To its end; nothing temporary is left then. */
  async run(args: readonly string[], input?: string | Uint8Array): Promise<Ended> {
    const child = this.start(args, input === undefined ? 'ignore' : 'pipe');
    child.stdin?.end(input);
    return this.ended(child);
  }

  async ended(child: ChildProcess): Promise<Ended> {
    const [stdout, stderr]: string[][] = [[], []];
    child.stdout?.on('data', (chunk) => stdout!.push(`${chunk}`));
    child.stderr?.on('data', (chunk) => stderr!.push(`${chunk}`));
    const [code] = await once(child, 'close');
    expect(readdirSync(this.temporary), 'temporary files').toEqual([]);
    return { code, stdout: stdout!.join(''), stderr: stderr!.join('') };
  }

  async untilBegun(): Promise<void> {
    for (let i = 0; i < 1000 && readdirSync(this.temporary).length === 0; i++) await sleep(10);
    expect(readdirSync(this.temporary)).toHaveLength(1);
  }
}

describe.each(RUNTIMES)('under $name', (runtime) => {
  test('words of files are counted, and the counters go to standard error', async () => {
    const place = new Place(runtime);
    place.put('a.txt', TEXT);
    const { code, stdout, stderr } = await place.run(['wc', 'a.txt']);
    expect([code, stdout]).toEqual([0, COUNTS]);
    expect(stderr).toMatch(/^0\.0 MB in .* s.*: 1 map task, 1 reduce task\n/);
  });

  test('compressed files, patterns and standard input are counted together, whatever the shape of the job', async () => {
    const place = new Place(runtime);
    place.put('a.txt', TEXT);
    place.put('b.gz', gzipSync(TEXT));
    for (const shape of [['--workers', '3', '--reduces', '5'], ['--split', '1kb'], ['--sequential']]) {
      const { code, stdout } = await place.run(['wc', '*.txt', 'b.gz', '-', ...shape], TEXT);
      expect([code, stdout]).toEqual([0, COUNTS.replace(/\d/g, (count) => `${3 * Number(count)}`)]);
    }
  });

  test('a job that is cancelled says so, and leaves nothing behind', async () => {
    const place = new Place(runtime);
    const child = place.start(['wc', '-'], 'pipe');
    await place.untilBegun();
    child.kill('SIGINT');
    expect(await place.ended(child)).toEqual({ code: 130, stdout: '', stderr: 'hstore: cancelled\n' });
  });

  test('a reader that has seen enough ends the job quietly', async () => {
    const place = new Place(runtime);
    const letters = (n: number): string => [...`${n}`].map((digit) => 'abcdefghij'[Number(digit)]).join('');
    place.put('many.txt', Array.from({ length: 100_000 }, (_, i) => letters(i)).join(' '));
    const child = place.start(['wc', 'many.txt']);
    child.stdout?.once('data', () => child.stdout?.destroy());
    expect(await place.ended(child)).toMatchObject({ code: 0, stderr: '' });
  });

  test("a job of the user's own runs, and an endless one can be cancelled", async () => {
    const place = new Place(runtime);
    place.put('a.txt', TEXT);
    place.put(
      'lengths.mjs',
      "export function map({ text }, emit) { for (const word of text.split(' ')) emit(String(word.length), 1); }\n" +
        "export const combine = 'sum';\n",
    );
    const { code, stdout } = await place.run(['./lengths.mjs', 'a.txt']);
    expect([code, stdout]).toEqual([0, '3: 5\n4: 2\n5: 1\n']);
    place.put('endless.mjs', 'export function map() { for (;;); }');
    for (const flags of [[], ['--sequential']]) {
      const child = place.start(['./endless.mjs', 'a.txt', ...flags]);
      await place.untilBegun();
      await sleep(300);
      child.kill('SIGTERM');
      expect(await place.ended(child)).toMatchObject({ code: 130, stdout: '' });
    }
  });
});

test('the output directory has parts and _SUCCESS, is not overwritten unasked, and has no remains beside it', async () => {
  const place = new Place(NODE);
  place.put('a.txt', TEXT);
  const args = ['wc', 'a.txt', '--out', 'out', '--reduces', '3'];
  expect(await place.run(args)).toMatchObject({ code: 0, stdout: '' });
  const out = join(place.cwd, 'out');
  const parts = ['part-r-00000', 'part-r-00001', 'part-r-00002'];
  expect(readdirSync(out).sort()).toEqual(['_SUCCESS', ...parts]);
  const lines = parts.flatMap((part) => readFileSync(join(out, part), 'utf8').split('\n').filter(Boolean));
  expect(lines.sort()).toEqual(COUNTS.trim().split('\n').sort());
  const again = await place.run(args);
  expect(again).toMatchObject({ code: 2, stdout: '' });
  expect(again.stderr).toContain('--force');
  expect(await place.run([...args, '--force'])).toMatchObject({ code: 0 });
  expect(readdirSync(place.cwd).sort()).toEqual(['a.txt', 'bin', 'out', 'tmp']);
});

test.each([
  [[], 2, 'which job?'],
  [['wc'], 2, 'no input'],
  [['wc', 'nope.txt'], 2, 'there is no file nope.txt'],
  [['wc', 'a.txt', '--reduces', '0'], 2, 'between 1 and 10000'],
  [['wc', 'a.txt', '--out', 'no/such/place'], 2, 'cannot write'],
  [['./throws.mjs', 'a.txt'], 1, 'too bad'],
  [['./throws.mjs', 'a.txt', '--sequential'], 1, 'too bad'],
  [['./none.mjs', 'a.txt'], 2, 'none.mjs is no job'],
])('%j ends with status %i, and says why', async (args, status, why) => {
  const place = new Place(NODE);
  place.put('a.txt', TEXT);
  place.put('throws.mjs', "export function map() { throw new Error('too bad'); }");
  place.put('none.mjs', 'export const x = 1;');
  const { code, stdout, stderr } = await place.run(args);
  expect([code, stdout]).toEqual([status, '']);
  expect(stderr).toContain(why);
  expect(existsSync(join(place.cwd, 'out'))).toBe(false);
});
