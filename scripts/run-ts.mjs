/**
 * `node scripts/run-ts.mjs FILE [arguments...]` runs a TypeScript file of this repository under any supported
 * Node: Node 20 cannot strip types, so esbuild bundles the file first (packages stay outside) into
 * node_modules/.cache. `import.meta.url` is FILE's in every module of the bundle.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const [file, ...args] = process.argv.slice(2);
if (file === undefined) {
  console.error('usage: node scripts/run-ts.mjs FILE [arguments...]');
  process.exit(2);
}
const source = resolve(file);
if (!existsSync(source)) {
  console.error(`run-ts: there is no ${file}`);
  process.exit(2);
}

const directory = join(root, 'node_modules', '.cache', 'hstore-scripts');
const bundled = await build({
  entryPoints: [source],
  bundle: true,
  write: false,
  outfile: join(directory, 'out.mjs'),
  platform: 'node',
  target: 'node20',
  format: 'esm',
  packages: 'external',
  sourcemap: 'inline',
  define: { 'import.meta.url': JSON.stringify(pathToFileURL(source).href) },
  logLevel: 'warning',
});
const { contents } = bundled.outputFiles[0];
const hash = createHash('sha256').update(contents).digest('hex').slice(0, 16);
// Named by content, and renamed into place: several may run at once.
const output = join(directory, `${basename(source, '.ts')}-${hash}.mjs`);
if (!existsSync(output)) {
  mkdirSync(directory, { recursive: true });
  removeOld();
  writeFileSync(`${output}.${process.pid}`, contents);
  renameSync(`${output}.${process.pid}`, output);
}

/** What was bundled from sources of days ago. */
function removeOld() {
  const oldestMs = Date.now() - 24 * 3600 * 1000;
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    if (statSync(path, { throwIfNoEntry: false })?.mtimeMs < oldestMs) rmSync(path, { force: true });
  }
}

process.setSourceMapsEnabled(true);
process.argv = [process.argv[0], source, ...args];
await import(pathToFileURL(output).href);
