/**
 * Builds dist/hstore.js (and its source map): the whole program in one file that runs wherever it is put; and
 * dist/client.js with its types, the library `hstore/client`; and the types of `hstore/mapreduce`, for jobs of one's own.
 *
 * It is "polyglot": no import, no export, so Node runs it as CommonJS or as a module, whatever the
 * package.json above it says, and Deno and a single executable run it too. All of it sits in one function,
 * whose parameters are what CommonJS gives; as a module it makes them itself (`process.getBuiltinModule`).
 *
 * classic-level's native code is inside as well: its loader is replaced by src/io/native.ts, with the
 * prebuilt addons of the platforms below as compressed strings.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants } from 'node:zlib';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const output = join(root, 'dist', 'hstore.js');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** Where classic-level keeps the addon for which targets. */
const PREBUILDS = {
  'linux-x64/classic-level.node': ['linux-x64-glibc'],
  'linux-x64/classic-level.musl.node': ['linux-x64-musl'],
  'linux-arm64/classic-level.armv8.node': ['linux-arm64-glibc'],
  'darwin-x64+arm64/classic-level.node': ['darwin-x64', 'darwin-arm64'],
  'win32-x64/classic-level.node': ['win32-x64'],
};

const BANNER = `#!/usr/bin/env node
;(function (require, module, exports, __filename, __selfUrl) { "use strict";`;

// __filename serves packages that look at it when they load; argv[1] may be a symbolic link, which is as
// good.
const FOOTER = `}).apply(null, (function () {
  if (typeof require === 'function' && typeof module === 'object') {
    return [require, module, exports, __filename, require('node:url').pathToFileURL(__filename).href];
  }
  var builtin = process.getBuiltinModule, self = process.argv[1];
  var made = { exports: {} };
  var url = builtin('node:url').pathToFileURL(self).href;
  return [builtin('node:module').createRequire(self), made, made.exports, self, url];
})());`;

const prebuilds = Object.entries(PREBUILDS).map(([file, targets]) => {
  const home = dirname(createRequire(import.meta.url).resolve('classic-level/package.json'));
  const content = readFileSync(join(home, 'prebuilds', file));
  return { targets, sha256: createHash('sha256').update(content).digest('hex'), bytes: content };
});

/** Puts src/io/native.ts and the addons where classic-level looks for its binding. */
const nativeAddon = {
  name: 'native-addon',
  setup(plugin) {
    plugin.onResolve({ filter: /^\.\/binding$/ }, ({ importer }) =>
      importer.includes('classic-level') ? { path: 'classic-level', namespace: 'native' } : undefined,
    );
    plugin.onLoad({ filter: /.*/, namespace: 'native' }, () => ({
      resolveDir: root,
      contents: `
        import { loadNative } from './src/io/native.ts';
        module.exports = loadNative('classic-level', ${JSON.stringify(prebuilds.map(toRow))});`,
    }));
  },
};

/**
 * A row of the table in the program, with a placeholder: inside the build the source map would hold the
 * addons too.
 */
function toRow({ targets, sha256 }) {
  return { targets, sha256, content: placeholder(sha256) };
}

function placeholder(sha256) {
  return `@addon ${sha256}@`;
}

/**
 * Puts the addons in place of their placeholders. Quality 9 is nearly as small as 11, and takes a tenth of
 * the time.
 */
function embedAddons(javascript) {
  let embedded = javascript;
  for (const { sha256, bytes } of prebuilds) {
    const params = { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
    const content = brotliCompressSync(bytes, { params }).toString('base64');
    embedded = embedded.replace(placeholder(sha256), content);
  }
  return embedded;
}

/** The colours that the package `debug` would use on a terminal if they were installed. */
const noColours = {
  name: 'no-colours',
  setup(plugin) {
    plugin.onResolve({ filter: /^supports-color$/ }, ({ path }) => ({ path, namespace: 'empty' }));
    plugin.onLoad({ filter: /.*/, namespace: 'empty' }, () => ({ contents: 'module.exports = false;' }));
  },
};

const { outputFiles } = await build({
  absWorkingDir: root,
  entryPoints: ['src/main.ts'],
  outfile: output,
  write: false,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  sourcemap: 'linked',
  legalComments: 'inline',
  define: { 'import.meta.url': '__selfUrl', HSTORE_VERSION: JSON.stringify(version) },
  plugins: [nativeAddon, noColours],
  banner: { js: BANNER },
  footer: { js: FOOTER },
  logLevel: 'warning',
});

/** Renamed into place: whoever starts the program meanwhile gets the old one or the new one, whole. */
function put(path, content, mode) {
  writeFileSync(`${path}.${process.pid}`, content, { mode });
  renameSync(`${path}.${process.pid}`, path);
}

mkdirSync(dirname(output), { recursive: true });
const [map, javascript] = ['.js.map', '.js'].map((ending) =>
  outputFiles.find(({ path }) => path.endsWith(ending)),
);
put(map.path, map.contents, 0o644);
put(javascript.path, embedAddons(javascript.text), 0o755);

// The client is a library among others: it shares ioredis with whoever has it.
await build({
  absWorkingDir: root,
  entryPoints: ['src/client/connect.ts'],
  outfile: join(root, 'dist', 'client.js'),
  bundle: true,
  packages: 'external',
  platform: 'node',
  target: 'node20',
  format: 'esm',
  logLevel: 'warning',
});

/** Types, in one file each: what is inside shows nothing to the outside. */
const TYPES = { 'src/client/connect.ts': 'client.d.ts', 'src/mapreduce/job.ts': 'mapreduce.d.ts' };
const types = mkdtempSync(join(tmpdir(), 'hstore-types-'));
const compiler = createRequire(import.meta.url).resolve('typescript/package.json');
const tsc = join(dirname(compiler), 'bin', 'tsc');
const options = ['--declaration', '--emitDeclarationOnly', '--strict', '--skipLibCheck', '--types', 'node'];
const modules = ['--target', 'es2023', '--module', 'nodenext', '--allowImportingTsExtensions'];
const { status } = spawnSync(
  process.execPath,
  [
    tsc,
    '--ignoreConfig',
    ...options,
    ...modules,
    '--rootDir',
    'src',
    '--outDir',
    types,
    ...Object.keys(TYPES),
  ],
  { cwd: root, stdio: ['ignore', 2, 2] },
);
if (status !== 0) throw new Error('the types of the libraries could not be made');
for (const [source, name] of Object.entries(TYPES)) {
  const declarations = source.replace(/^src\//, '').replace(/\.ts$/, '.d.ts');
  put(join(root, 'dist', name), readFileSync(join(types, declarations)), 0o644);
}
rmSync(types, { recursive: true });
