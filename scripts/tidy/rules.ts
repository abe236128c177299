/**
 * The rules of the code's shape, as tables, and what checks one file against them.
 *
 * The direction of imports is what keeps the parts apart: consensus that has never heard of a command,
 * commands that have never heard of a server, and everything but `io` free of the operating system, so that a
 * simulated one can take its place. A rule that is only written down erodes; these run with the tests.
 */
import { dirname, join, normalize } from 'node:path/posix';
import { findBodies, findImports, type Import, isProperty, isWord } from './syntax.ts';
import { type Source, tokenize } from './tokens.ts';

export interface Finding {
  readonly file: string;
  readonly line: number;
  readonly rule: string;
  readonly message: string;
}

interface Area {
  /** Other areas, or single files of them, that it may import. */
  readonly imports: readonly string[];
  readonly packages: readonly string[];
  /** Whether the operating system may be touched: `node:*`, process, timers, the clock, chance. */
  readonly system: boolean;
  readonly console: boolean;
}

const closed = { packages: [], system: false, console: false };

/**
 * The folders of src; `main` is the one file beside them. `config` stands beside `server`, not in it: the command line
 * needs the table of directives too, for flags and --help, and knows nothing else of a server.
 */
const AREAS: Readonly<Record<string, Area>> = {
  lib: { ...closed, imports: [] },
  io: { imports: ['lib'], packages: ['classic-level', 'pino'], system: true, console: false },
  resp: { ...closed, imports: ['lib'], packages: ['redis-parser'] },
  raft: { ...closed, imports: ['lib'] },
  kv: { ...closed, imports: ['lib', 'resp', 'raft/types'] },
  config: { ...closed, imports: ['lib', 'resp'] },
  server: { ...closed, imports: ['lib', 'config', 'resp', 'raft', 'kv'] },
  mapreduce: { ...closed, imports: ['lib', 'resp', 'server/service'], packages: ['ioredis'] },
  gateway: { ...closed, imports: ['lib', 'resp'] },
  // A library of its own, for programs that use a cluster: it shares no code with the server.
  client: { imports: [], packages: ['ioredis'], system: true, console: false },
  cli: {
    imports: ['lib', 'config', 'io', 'resp', 'client'],
    packages: ['ioredis'],
    system: true,
    console: true,
  },
  main: {
    imports: ['lib', 'config', 'io', 'resp', 'raft', 'kv', 'server', 'mapreduce', 'gateway', 'cli'],
    packages: [],
    system: true,
    console: true,
  },
};

/** Bytes are data: naming them does nothing, and needs nothing of the world. */
const DATA_MODULE = 'node:buffer';
/** What `lib` may have of Node besides: checksums and hashes, the same everywhere and every time. */
const LIB_MODULES: Readonly<Record<string, readonly string[] | 'all'>> = {
  'node:zlib': 'all',
  'node:crypto': ['createHash', 'createHmac', 'timingSafeEqual'],
};

const SYSTEM_WORDS = [
  ...['process', 'Deno', 'globalThis', 'Date', 'performance', 'crypto'],
  ...['setTimeout', 'setInterval', 'setImmediate', 'clearTimeout', 'clearInterval', 'clearImmediate'],
];

/** Pure code gets time inside the entry and its bytes from its caller. */
const WORLD_WORDS = ['Env', 'Clock', 'Disk', 'Network'];

const FUNCTION_LINES_MAX = 70;
const FILE_LINES_MAX = 500;
const FILE_LINES_GOOD = 400;
/** The formatter keeps code to this. A long string may be longer: a text in pieces cannot be searched for. */
const CODE_COLUMNS_MAX = 110;
const LONG_STRING = /(['"`])(?:\\.|(?!\1).){50,}\1/;
const COMMENT_COLUMNS_MAX = 125;

/** State machines among what is not pure. */
const PURE_FILES = [
  'src/mapreduce/master.ts',
  ...['active-job', 'coordinator', 'records'].map((name) => `src/mapreduce/cluster/${name}.ts`),
];

const VAGUE_NAMES = ['index', 'utils', 'util', 'helpers', 'helper', 'misc', 'common', 'manager'];

/** One file with what the rules look at. */
export interface FileView {
  /** From the root of the repository, with slashes. */
  readonly path: string;
  readonly text: string;
  readonly source: Source;
  readonly imports: readonly Import[];
}

export function viewFile(path: string, text: string): FileView {
  const source = tokenize(text);
  return { path, text, source, imports: findImports(source.tokens) };
}

type Report = (line: number, rule: string, message: string) => void;

export function checkFile(file: FileView): Finding[] {
  const findings: Finding[] = [];
  const report: Report = (line, rule, message) => findings.push({ file: file.path, line, rule, message });
  checkText(file, report);
  checkWords(file, report);
  checkEndings(file, report);
  if (!file.path.startsWith('src/')) return findings;
  checkSize(file, report);
  const area = AREAS[areaOf(file.path)];
  if (area === undefined) {
    report(1, 'area', `no rule says what ${areaOf(file.path)} may import: add it to the table of areas`);
    return findings;
  }
  for (const each of file.imports) checkImport(file, area, each, report);
  checkBarrel(file, report);
  checkSystem(file, area, report);
  if (isPure(file.path)) checkPure(file, report);
  return findings;
}

/** Things worth a look that fail nothing. */
export function warnFile(file: FileView): Finding[] {
  const lines = countLines(file.text);
  if (!file.path.startsWith('src/') || lines <= FILE_LINES_GOOD || lines > FILE_LINES_MAX) return [];
  return [{ file: file.path, line: 1, rule: 'file-length', message: `${lines} lines: is it one concept?` }];
}

/** The module that a relative import means, as a path from the root; undefined for packages. */
export function resolveImport(file: FileView, specifier: string): string | undefined {
  return specifier.startsWith('.') ? normalize(join(dirname(file.path), specifier)) : undefined;
}

function areaOf(path: string): string {
  const [, first = '', second] = path.split('/');
  return second === undefined ? first.replace(/\.ts$/, '') : first;
}

function isPure(path: string): boolean {
  if (path.startsWith('src/kv/') || PURE_FILES.includes(path)) return true;
  return path.startsWith('src/raft/') && !/^src\/raft\/(host|wal[^/]*)\.ts$/.test(path);
}

function countLines(text: string): number {
  return text.split('\n').length - (text.endsWith('\n') ? 1 : 0);
}

function checkText({ path, text, source }: FileView, report: Report): void {
  if (!path.startsWith('test/')) checkColumns(text, report);
  for (const comment of source.comments) {
    const left = /\b(TODO|FIXME|XXX)\b/.exec(comment.text)?.[0];
    if (left !== undefined) report(comment.line, 'left-open', `${left}: do it, or write down why not`);
    const silenced = /@ts-(ignore|nocheck)\b/.exec(comment.text)?.[0];
    if (silenced !== undefined) report(comment.line, 'type-check', `${silenced} silences the compiler`);
  }
  const name = path.slice(path.lastIndexOf('/') + 1).replace(/(\.(test|bench))?\.\w+$/, '');
  if (!/^[a-z0-9]+([-.][a-z0-9]+)*$/.test(name)) report(1, 'name', `${name} is not kebab-case`);
  if (VAGUE_NAMES.includes(name)) report(1, 'name', `${name} says nothing: name the concept`);
}

function checkColumns(text: string, report: Report): void {
  text.split('\n').forEach((line, i) => {
    const columns = [...line].length;
    const columnsMax = /^\s*(\/\/|\/?\*)/.test(line) ? COMMENT_COLUMNS_MAX : CODE_COLUMNS_MAX;
    if (columns > columnsMax && !LONG_STRING.test(line))
      report(i + 1, 'line-length', `${columns} columns, over ${columnsMax}`);
  });
}

function checkWords({ source: { tokens } }: FileView, report: Report): void {
  tokens.forEach((token, i) => {
    if (isWord(token, 'any') && !isProperty(tokens, i))
      report(token.line, 'any', 'any switches the types off');
    if (isWord(token, 'export') && isWord(tokens[i + 1], 'default')) {
      report(token.line, 'default-export', 'a default export has no name to search for');
    }
  });
}

function checkEndings({ imports }: FileView, report: Report): void {
  for (const { specifier, line } of imports) {
    if (specifier.startsWith('.') && !/\.(ts|mjs|json)$/.test(specifier)) {
      report(line, 'import-ending', `'${specifier}' does not end in .ts`);
    }
  }
}

function checkSize({ text, source }: FileView, report: Report): void {
  const lines = countLines(text);
  if (lines > FILE_LINES_MAX) report(1, 'file-length', `${lines} lines, over ${FILE_LINES_MAX}`);
  for (const body of findBodies(source.tokens)) {
    if (body.lines <= FUNCTION_LINES_MAX) continue;
    report(body.line, 'function-length', `a function of ${body.lines} lines, over ${FUNCTION_LINES_MAX}`);
  }
}

function checkImport(file: FileView, area: Area, { specifier, line, names }: Import, report: Report): void {
  const target = resolveImport(file, specifier);
  if (target !== undefined) {
    const from = areaOf(file.path);
    const to = areaOf(target);
    const allowed = area.imports.includes(to) || area.imports.some((path) => target === `src/${path}.ts`);
    if (!target.startsWith('src/')) report(line, 'import', `${target} is outside src`);
    else if (from !== to && !allowed) report(line, 'import', `${from} must not import ${target.slice(4)}`);
  } else if (specifier.startsWith('node:')) {
    if (!area.system && !isLibModule(file, specifier, names)) {
      report(line, 'node', `'${specifier}' belongs behind Env, in io`);
    }
  } else if (!area.packages.includes(packageOf(specifier))) {
    report(line, 'package', `${areaOf(file.path)} must not import the package '${specifier}'`);
  }
}

function isLibModule(file: FileView, specifier: string, names: readonly string[] | undefined): boolean {
  if (specifier === DATA_MODULE) return true;
  const allowed = areaOf(file.path) === 'lib' ? LIB_MODULES[specifier] : undefined;
  if (allowed === undefined || allowed === 'all') return allowed === 'all';
  return names?.every((name) => allowed.includes(name)) ?? false;
}

function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

/** A barrel hides where a thing lives, and ties everything to everything. */
function checkBarrel({ source: { tokens }, imports }: FileView, report: Report): void {
  const reexports = imports.filter(({ reexport }) => reexport !== undefined);
  for (const { line } of reexports.filter(({ reexport }) => reexport === 'all')) {
    report(line, 'barrel', 'export * from: import from where the thing lives');
  }
  const inImports = imports.reduce((count, { tokens: [first, last] }) => count + last - first + 1, 0);
  const code = tokens.filter(({ kind, text }) => kind !== 'punctuation' || text !== ';').length - inImports;
  if (reexports.length > 0 && code === 0) report(1, 'barrel', 'a file of nothing but re-exports');
}

function checkSystem({ source: { tokens } }: FileView, area: Area, report: Report): void {
  tokens.forEach((token, i) => {
    if (token.kind !== 'word' || isProperty(tokens, i)) return;
    if (token.text === 'console' && !area.console)
      report(token.line, 'console', 'use Env.log, or return the text');
    if (area.system) return;
    if (SYSTEM_WORDS.includes(token.text))
      report(token.line, 'system', `${token.text} belongs behind Env, in io`);
    if (token.text === 'Math' && isWord(tokens[i + 2], 'random')) {
      report(token.line, 'system', 'Math.random belongs behind Env, in io');
    }
  });
}

function checkPure({ source: { tokens } }: FileView, report: Report): void {
  tokens.forEach((token, i) => {
    if (token.kind !== 'word' || isProperty(tokens, i)) return;
    if (['async', 'await'].includes(token.text)) report(token.line, 'pure', `${token.text} in pure code`);
    if (WORLD_WORDS.includes(token.text)) report(token.line, 'pure', `pure code must not name ${token.text}`);
  });
}
