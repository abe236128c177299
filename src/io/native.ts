/**
 * Loads a native addon that is carried inside the program: hstore is one file, and the operating system loads
 * shared libraries from files only. So the addon is written once into a cache directory, under a name that
 * holds its hash, and loaded from there by every later start.
 *
 * A cached file is code that we are about to run: its directory must be ours and writable by nobody else, and
 * its content must have the right hash, else it is written anew. It comes to its name by rename, so processes
 * that start together do not see each other's halves. A directory that cannot be used (read-only, mounted
 * noexec) is passed over for the next.
 *
 * Used by the bundle only (scripts/build.mjs puts it in place of classic-level's own loader), before any Env
 * exists: therefore synchronous, and alone with the file system.
 */
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';

/** One build of the addon. */
export interface Prebuild {
  /** `linux-x64-glibc`, `darwin-arm64`, ...: all that it runs on. */
  readonly targets: readonly string[];
  /** Of the decompressed file, in hex. */
  readonly sha256: string;
  /** Brotli, in base64. */
  readonly content: string;
}

/** The addon's exports. Throws an error that says what was tried. */
export function loadNative(name: string, prebuilds: readonly Prebuild[]): unknown {
  const target = currentTarget();
  const prebuild = prebuilds.find(({ targets }) => targets.includes(target));
  if (prebuild === undefined) {
    const known = prebuilds.flatMap(({ targets }) => targets).join(', ');
    throw new Error(`this hstore carries no ${name} for ${target}, only for ${known}`);
  }
  const failures: string[] = [];
  for (const directory of cacheDirectories()) {
    try {
      return loadFrom(directory, `${name}-${target}`, prebuild);
    } catch (error) {
      failures.push(`${directory}: ${error instanceof Error ? error.message : error}`);
    }
  }
  throw new Error(
    `cannot load ${name}; HSTORE_CACHE_DIR names another directory\n  ${failures.join('\n  ')}`,
  );
}

function currentTarget(): string {
  const target = `${process.platform}-${process.arch}`;
  if (process.platform !== 'linux') return target;
  // The loaded C library shows in the memory map. (process.report knows it too, but takes 100 times as long.)
  const musl = fs.readFileSync('/proc/self/maps', 'latin1').includes('/ld-musl-');
  return `${target}-${musl ? 'musl' : 'glibc'}`;
}

/** In order of preference. /dev/shm is the last resort of a container whose disks are all read-only. */
function cacheDirectories(): string[] {
  const { HSTORE_CACHE_DIR, XDG_CACHE_HOME } = process.env;
  const user = process.getuid?.() ?? 'user';
  const directories: string[] = [];
  if (HSTORE_CACHE_DIR) directories.push(HSTORE_CACHE_DIR);
  if (XDG_CACHE_HOME) directories.push(join(XDG_CACHE_HOME, 'hstore'));
  const home = homedir();
  if (home !== '' && home !== '/') directories.push(join(home, '.cache', 'hstore'));
  directories.push(join(tmpdir(), `hstore-${user}`));
  if (process.platform === 'linux') directories.push(`/dev/shm/hstore-${user}`);
  return directories;
}

function loadFrom(directory: string, name: string, prebuild: Prebuild): unknown {
  fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
  refuseForeign(directory);
  const path = join(directory, `${name}-${prebuild.sha256.slice(0, 16)}.node`);
  if (!isWhole(path, prebuild.sha256)) extract(path, prebuild);
  const loaded: { exports: unknown } = { exports: {} };
  process.dlopen(loaded, path);
  return loaded.exports;
}

function refuseForeign(directory: string): void {
  const user = process.getuid?.();
  if (user === undefined) return;
  const { uid, mode } = fs.statSync(directory);
  if (uid !== user) throw new Error('the directory belongs to another user');
  if ((mode & 0o022) !== 0) throw new Error('the directory is writable by others');
}

function isWhole(path: string, sha256: string): boolean {
  try {
    return createHash('sha256').update(fs.readFileSync(path)).digest('hex') === sha256;
  } catch {
    return false;
  }
}

function extract(path: string, prebuild: Prebuild): void {
  const temporary = `${path}.${process.pid}`;
  fs.rmSync(temporary, { force: true });
  try {
    const content = brotliDecompressSync(Buffer.from(prebuild.content, 'base64'));
    fs.writeFileSync(temporary, content, { flag: 'wx', mode: 0o700 });
    fs.renameSync(temporary, path);
  } finally {
    fs.rmSync(temporary, { force: true });
  }
}
