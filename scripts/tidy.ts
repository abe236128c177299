/**
 * `npm run tidy`: checks the shape of the code, see tidy/rules.ts. Prints one line per finding, and fails if
 * there is one. `scripts/run-ts.mjs scripts/tidy.ts DIRECTORY` looks at another tree.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findCycles } from './tidy/cycles.ts';
import { checkFile, type Finding, viewFile, warnFile } from './tidy/rules.ts';

const root = process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url));

const files = ['src', 'test', 'scripts']
  .flatMap((folder) => listFiles(folder))
  .filter((path) => /\.(ts|mjs)$/.test(path))
  .map((path) => viewFile(path, readFileSync(join(root, path), 'utf8')));

const findings = [...files.flatMap(checkFile), ...findCycles(files)];
for (const warning of files.flatMap(warnFile)) console.log(`warning: ${format(warning)}`);
for (const finding of findings) console.log(format(finding));
console.log(`tidy: ${files.length} files, ${findings.length} findings`);
process.exitCode = findings.length === 0 ? 0 : 1;

function listFiles(folder: string): string[] {
  const path = join(root, folder);
  if (!existsSync(path)) return [];
  const names = readdirSync(path, { recursive: true, encoding: 'utf8' });
  return names.map((name) => `${folder}/${name.split(sep).join('/')}`).sort();
}

function format({ file, line, rule, message }: Finding): string {
  return `${file}:${line} ${rule}: ${message}`;
}
