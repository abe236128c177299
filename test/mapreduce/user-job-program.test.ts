/** Modules of the user's in the program as it is shipped: what only its own `import()` can show. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, expect, test } from 'vitest';

const directory = mkdtempSync(join(tmpdir(), 'hstore-user-job-'));
afterAll(() => rmSync(directory, { recursive: true }));
const program = resolve('dist/hstore.js');
writeFileSync(join(directory, 'text.txt'), 'one two\ntwo\n');

const COUNT = "export function map(record, emit) { emit.words(record, 1); }\nexport const combine = 'sum';\n";

function run(name: string, text: string): { status: number | null; stdout: string; stderr: string } {
  writeFileSync(join(directory, name), text);
  const args = [
    program,
    'mapreduce',
    `./${name}`,
    'text.txt',
    '--workers',
    '2',
    '--reduces',
    '2',
    '--split',
    '1kb',
  ];
  return spawnSync(process.execPath, args, { cwd: directory, encoding: 'utf8' });
}

test('a module is found whatever its path is', () => {
  expect(run('a job%20 #1?.mjs', COUNT)).toMatchObject({ stdout: 'one: 1\ntwo: 2\n', status: 0 });
});

test('a .js file is a module or CommonJS, as its text says', () => {
  expect(run('module.js', COUNT).stdout).toBe('one: 1\ntwo: 2\n');
  const common = 'exports.map = (record, emit) => emit(record.text, 1);';
  expect(run('common.js', common).stdout).toBe('one two: 1\ntwo: 1\n');
});

test('a module that does not parse is refused before any work', () => {
  const { status, stderr } = run('syntax.mjs', 'export const = 1;');
  expect(stderr).toMatch(/syntax\.mjs cannot be loaded: SyntaxError: Unexpected token/);
  expect(status).toBe(2);
});

test('a job that throws says where, in the module and in the input', () => {
  const text =
    "export function map(record) {\n  if (record.offset > 0) throw new Error('no such word');\n}\n";
  const { status, stderr } = run('throws.mjs', text);
  expect(stderr).toMatch(/throws\.mjs failed: Error: no such word at .*throws\.mjs:2:\d+/);
  expect(stderr).toContain('text.txt at byte 8');
  expect(status).toBe(1);
});
