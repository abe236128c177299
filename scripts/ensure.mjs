/**
 * Makes the checkout ready to run: `npm start` and `npm test` call it first, and it does only what is
 * missing.
 *
 *   the packages   when package-lock.json or the platform is not what was installed
 *   dist           when a source is newer in content than what was built
 *
 * What was done last is remembered by hashes inside node_modules. Built-in modules only: there may be no
 * others yet.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE_MIN = [20, 19];

checkNode();

const root = fileURLToPath(new URL('..', import.meta.url));
const installed = { stamp: join(root, 'node_modules', '.hstore-installed'), hash: hashOfInstall() };
const built = { stamp: join(root, 'node_modules', '.cache', 'hstore-built'), hash: hashOfSources() };

if (!isDone(installed)) {
  npm(['ci', '--ignore-scripts', '--no-audit', '--no-fund']);
  note(installed);
}
if (!isDone(built) || !existsSync(join(root, 'dist', 'hstore.js'))) {
  run(process.execPath, [join(root, 'scripts', 'build.mjs')]);
  note(built);
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1])) return;
  console.error(`hstore needs Node.js ${NODE_MIN.join('.')} or newer, this is ${process.version}`);
  process.exit(1);
}

function isDone({ stamp, hash }) {
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === hash;
}

function note({ stamp, hash }) {
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, hash);
}

/** Through npm's own script where npm started us: on Windows `npm` is no program that could be spawned. */
function npm(args) {
  const script = process.env.npm_execpath;
  if (script) run(process.execPath, [script, ...args]);
  else run('npm', args);
}

function run(command, args) {
  // Standard output is for the program that runs afterwards.
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status === 0) return;
  console.error(`failed: ${[command, ...args].join(' ')}${error ? `: ${error.message}` : ''}`);
  process.exit(1);
}

function hashOfInstall() {
  return hashOf([join(root, 'package-lock.json')], `${process.platform} ${process.arch}`);
}

function hashOfSources() {
  const files = ['package.json', 'package-lock.json', 'tsconfig.json', 'scripts/build.mjs'];
  const sources = readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  return hashOf([...files.map((file) => join(root, file)), ...sources.sort()], '');
}

function hashOf(files, salt) {
  const hash = createHash('sha256').update(salt);
  for (const file of files) hash.update(`\n${file.slice(root.length)}\n`).update(readFileSync(file));
  return hash.digest('hex');
}
