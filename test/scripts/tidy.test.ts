import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { findCycles } from '../../scripts/tidy/cycles.ts';
import { checkFile, viewFile, warnFile } from '../../scripts/tidy/rules.ts';
import { temporaryDirectory } from '../io/temporary.ts';

/** The findings in one file, as `line rule`. */
function check(path: string, text: string): string[] {
  return checkFile(viewFile(path, text)).map(({ line, rule }) => `${line} ${rule}`);
}

function cycles(files: Readonly<Record<string, string>>): string[] {
  const views = Object.entries(files).map(([path, text]) => viewFile(path, text));
  return findCycles(views).map(({ file, line, message }) => `${file}:${line} ${message}`);
}

const lines = (count: number, line = '  step();\n') => line.repeat(count);

/** The words that the rules look for, so that this file does not hold them itself. */
const LEFT_OPEN = ['TO', 'DO'].join('');

test.each([
  ['raft', "import { row } from '../kv/table.ts';"],
  ['raft', "import type { Row } from '../kv/table.ts';"],
  ['raft', "import { type Row } from '../resp/reply.ts';"],
  ['raft', "let row: import('../kv/table.ts').Row;"],
  ['raft', "const table = import('../kv/table.ts');"],
  ['raft', "import '../server/server.ts';"],
  ['kv', "import type { Raft } from '../raft/raft.ts';"],
  ['kv', "import { peers } from '../server/peers.ts';"],
  ['lib', "import { clock } from '../io/clock.ts';"],
  ['io', "import { Reply } from '../resp/reply.ts';"],
  ['resp', "import { row } from '../kv/table.ts';"],
  ['server', "import { SystemClock } from '../io/clock.ts';"],
  ['cli', "import { server } from '../server/server.ts';"],
  ['mapreduce', "import { raft } from '../raft/raft.ts';"],
  ['cli', "import { tidy } from '../../scripts/tidy.ts';"],
  ['server', "import { main } from '../main.ts';"],
])('an import against the direction is found: %s, %s', (area, line) => {
  expect(check(`src/${area}/file.ts`, `\n${line}\n`)).toEqual(['2 import']);
});

test.each([
  ['kv', "import type { Entry } from '../raft/types.ts';"],
  ['kv', "import { OK } from '../resp/reply.ts';"],
  ['server', "import { Raft } from '../raft/raft.ts';"],
  ['server', "import { table } from '../kv/table.ts';"],
  ['raft', "import { assert } from '../lib/assert.ts';"],
  ['raft', "import { Log } from './log.ts';"],
])('an import in the direction is allowed: %s, %s', (area, line) => {
  expect(check(`src/${area}/file.ts`, line)).toEqual([]);
});

test('main may import everything', () => {
  const areas = ['lib', 'io', 'resp', 'raft', 'kv', 'server', 'cli', 'mapreduce', 'gateway'];
  expect(check('src/main.ts', areas.map((area) => `import './${area}/x.ts';\n`).join(''))).toEqual([]);
});

test('a folder that no rule knows is found', () => {
  expect(check('src/helpers2/file.ts', '')).toEqual(['1 area']);
});

test.each([
  ['server', "import { ClassicLevel } from 'classic-level';"],
  ['kv', "import Parser from 'redis-parser';"],
  ['io', "import { Redis } from 'ioredis';"],
  ['raft', "import { pino } from 'pino';"],
  ['lib', "const level = await import('classic-level/binding.js');"],
  ['raft', "const x = require('lodash');"],
])('a package outside its area is found: %s, %s', (area, line) => {
  expect(check(`src/${area}/wal.ts`, line)).toEqual(['1 package']);
});

test.each([
  ['io', "import { ClassicLevel } from 'classic-level';"],
  ['resp', "import Parser from 'redis-parser';"],
  ['cli', "import { Redis } from 'ioredis';"],
])('a package in its area is allowed: %s, %s', (area, line) => {
  expect(check(`src/${area}/file.ts`, line)).toEqual([]);
});

test.each([
  ['server', "import * as net from 'node:net';"],
  ['raft', "import type { Socket } from 'node:net';"],
  ['lib', "import { readFileSync } from 'node:fs';"],
  ['lib', "import { createHash, randomBytes } from 'node:crypto';"],
  ['lib', "import { createHash as hash, type randomInt } from 'node:crypto';"],
  ['lib', "import * as crypto from 'node:crypto';"],
  ['kv', "import { createHash } from 'node:crypto';"],
])('a module of Node outside io, cli and main is found: %s, %s', (area, line) => {
  expect(check(`src/${area}/file.ts`, line)).toContain('1 node');
});

test('bytes are data, and may be named everywhere', () => {
  expect(check('src/kv/file.ts', "import { Buffer } from 'node:buffer';")).toEqual([]);
});

test('lib may have bytes, checksums and hashes of Node', () => {
  const text = `import { Buffer } from 'node:buffer';
    import { crc32 } from 'node:zlib';
    import { createHash, createHmac as hmac, timingSafeEqual } from 'node:crypto';`;
  expect(check('src/lib/file.ts', text)).toEqual([]);
});

test.each([
  'const now = Date.now();',
  'const now = performance.now();',
  'setTimeout(() => {}, 1);',
  'const id = setInterval(tick, 5);',
  'const { env } = process;',
  'const all = { ...process };',
  'const drawn = Math.random();',
  'const id = crypto.randomUUID();',
  'let at: Date;',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of a program
  'const text = `now ${Date.now()}`;',
])('the operating system is found outside io: %s', (line) => {
  expect(check('src/server/file.ts', line)).toEqual(['1 system']);
  expect(check('src/io/file.ts', line)).toEqual([]);
});

test.each([
  '// Date.now() and process are in a comment',
  'const text = "process.exit";',
  'const text = `Date.now() in a template`;',
  'const pattern = /process|Date/;',
  'const time = entry.process + row.Date;',
  'const row = { process: 1, performance: 2 };',
])('what only looks like the operating system is not found: %s', (line) => {
  expect(check('src/raft/file.ts', line)).toEqual([]);
});

test.each(['src/kv/string.ts', 'src/raft/raft.ts', 'src/raft/snapshots.ts'])(
  'promises and the world are found in pure code: %s',
  (path) => {
    const text = `import type { Clock, Disk } from '../lib/env.ts';
async function f(network: Network) {
  await g();
}`;
    expect(check(path, text)).toEqual(['1 pure', '1 pure', '2 pure', '2 pure', '3 pure']);
  },
);

test.each(['src/raft/host.ts', 'src/raft/wal.ts', 'src/raft/wal-recovery.ts'])(
  'the host and the log of raft may use promises and the world: %s',
  (path) => {
    expect(
      check(path, "import type { Disk } from '../lib/env.ts';\nasync function f(disk: Disk) {}"),
    ).toEqual([]);
  },
);

test('a cycle is found, of types too, and named in full', () => {
  const files = {
    'src/raft/a.ts': "import { b } from './b.ts';",
    'src/raft/b.ts': "\nimport type { C } from './c.ts';",
    'src/raft/c.ts': "import { a } from './a.ts';",
    'src/raft/d.ts': "import { a } from './a.ts';\nimport { b } from './b.ts';",
  };
  expect(cycles(files)).toEqual([
    'src/raft/c.ts:1 src/raft/a.ts -> src/raft/b.ts -> src/raft/c.ts -> src/raft/a.ts',
  ]);
  expect(cycles({ ...files, 'src/raft/c.ts': '' })).toEqual([]);
});

test('a barrel is found', () => {
  expect(check('src/kv/file.ts', "export * from './table.ts';\nexport const x = 1;")).toEqual(['1 barrel']);
  expect(check('src/kv/file.ts', "export { a } from './a.ts';\nexport type { B } from './b.ts';")).toEqual([
    '1 barrel',
  ]);
  expect(check('src/kv/file.ts', "export { a } from './a.ts';\nexport const b = 1;")).toEqual([]);
  expect(check('src/kv/index.ts', '')).toEqual(['1 name']);
});

test('a default export is found', () => {
  expect(check('test/kv/file.ts', '\nexport default 1;')).toEqual(['2 default-export']);
});

test('an import that does not end in .ts is found', () => {
  expect(check('test/kv/file.ts', "import { a } from './a';\nimport { b } from './b.js';")).toEqual([
    '1 import-ending',
    '2 import-ending',
  ]);
  expect(check('test/kv/file.ts', "import { a } from './a.ts';\nimport { b } from 'b';")).toEqual([]);
});

test('any is found, the word in other places not', () => {
  expect(check('src/kv/file.ts', 'let a: any;\nconst b = a as any;\nlet c: Map<string, any[]>;')).toEqual([
    '1 any',
    '2 any',
    '3 any',
  ]);
  expect(check('src/kv/file.ts', "// any\nconst a = 'any';\nPromise.any([]);")).toEqual([]);
});

test('a silenced compiler is found', () => {
  const silence = ['@ts', 'ignore'].join('-');
  expect(check('test/kv/file.ts', `\n// ${silence}\n`)).toEqual(['2 type-check']);
});

test('what was left open is found in comments', () => {
  expect(check('scripts/file.ts', `let a;\n// ${LEFT_OPEN}: more\n/* ${LEFT_OPEN} */`)).toEqual([
    '2 left-open',
    '3 left-open',
  ]);
  expect(check('scripts/file.ts', `const a = '${LEFT_OPEN}';`)).toEqual([]);
});

test('console is found outside cli and main', () => {
  expect(check('src/io/file.ts', 'console.log(1);')).toEqual(['1 console']);
  expect(check('src/cli/file.ts', 'console.log(1);')).toEqual([]);
  expect(check('src/main.ts', 'console.log(1);')).toEqual([]);
});

test('a long function is found, in whatever form it is written', () => {
  const forms = [
    'function f(a: number): void {',
    'const f = (a: { b: number }): Map<string, number> => {',
    'function f(): { a: number } {',
    'function f(a: unknown): asserts a is { b: string } {',
    'const f = async () => {',
    'function* f(): Iterable<[string, { a: number }]> {',
  ];
  for (const form of forms) {
    expect(check('src/io/file.ts', `\n${form}\n${lines(68)}}\n`)).toEqual([]);
    expect(check('src/io/file.ts', `\n${form}\n${lines(69)}}\n`)).toEqual(['2 function-length']);
  }
  const method = (count: number) =>
    `class A {\n  #f(b?: string): string | { a: 1 } {\n${lines(count)}  }\n}\n`;
  expect(check('src/io/file.ts', method(68))).toEqual([]);
  expect(check('src/io/file.ts', method(69))).toEqual(['2 function-length']);
});

test('a long class, table or block is no long function', () => {
  expect(check('src/io/file.ts', `class A {\n${lines(100, '  a = 1;\n')}}\n`)).toEqual([]);
  expect(check('src/io/file.ts', `const a = {\n${lines(100, '  a: 1,\n')}};\n`)).toEqual([]);
  expect(check('src/io/file.ts', `if (a) {\n${lines(100)}}\n`)).toEqual([]);
});

test('a long file is found, one that grows long is warned of', () => {
  expect(check('src/io/file.ts', lines(500, 'a;\n'))).toEqual([]);
  expect(check('src/io/file.ts', lines(501, 'a;\n'))).toEqual(['1 file-length']);
  expect(warnFile(viewFile('src/io/file.ts', lines(400, 'a;\n')))).toEqual([]);
  expect(warnFile(viewFile('src/io/file.ts', lines(401, 'a;\n')))).toHaveLength(1);
});

test('a long line is found', () => {
  expect(check('src/io/file.ts', `\nconst a = ${'x'.repeat(99)};`)).toEqual([]);
  expect(check('src/io/file.ts', `\nconst a = ${'x'.repeat(100)};`)).toEqual(['2 line-length']);
  expect(check('src/io/file.ts', `\nconst a = '${'x'.repeat(120)}';`)).toEqual([]);
  expect(check('src/io/file.ts', `// ${'x'.repeat(122)}`)).toEqual([]);
  expect(check('src/io/file.ts', `// ${'x'.repeat(123)}`)).toEqual(['1 line-length']);
});

test('a name that is not kebab-case, or says nothing, is found', () => {
  expect(check('src/io/someFile.ts', '')).toEqual(['1 name']);
  expect(check('src/io/utils.ts', '')).toEqual(['1 name']);
  expect(check('test/io/some-file.redis.test.ts', '')).toEqual([]);
});

test('the tokenizer is not misled by templates, divisions and regular expressions', () => {
  const text = [
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of a program
    'const a = `${b / c} // ${`inner ${d} Date`} process`;',
    'const e = f / g; const h = (i) / j; const k = l[0] / 2; // Date',
    "const m = n.replace(/[/'\"`]/g, '').split(/\\//);",
    'Date.now();',
  ].join('\n');
  expect(check('src/raft/file.ts', text)).toEqual(['4 system']);
});

test('the command prints each finding and fails, and passes a clean tree', async () => {
  const tree = temporaryDirectory();
  const put = (path: string, text: string) => {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    writeFileSync(join(tree, path), text);
  };
  const tidy = () => promisify(execFile)(process.execPath, ['scripts/run-ts.mjs', 'scripts/tidy.ts', tree]);
  put('src/lib/a.ts', 'export const a = 1;\n');
  expect((await tidy()).stdout).toBe('tidy: 1 files, 0 findings\n');
  put('src/lib/deep/b.ts', "import { a } from '../a.ts';\nsetTimeout(a, 1);\n");
  put('src/lib/c.ts', "import './d.ts';\n");
  put('src/lib/d.ts', "import './c.ts';\n");
  const failure = await tidy().catch((error: { code: number; stdout: string }) => error);
  expect(failure).toMatchObject({ code: 1 });
  expect(failure.stdout.split('\n')).toEqual([
    'src/lib/deep/b.ts:2 system: setTimeout belongs behind Env, in io',
    'src/lib/d.ts:1 cycle: src/lib/c.ts -> src/lib/d.ts -> src/lib/c.ts',
    'tidy: 4 files, 2 findings',
    '',
  ]);
});
