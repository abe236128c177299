/**
 * The user's own job: loads the module into this thread, and checks that it is a job before any record is read. Named
 * exports are the job (job.ts), or a default export that has them, as CommonJS modules have.
 */
import { Buffer } from 'node:buffer';
import type { BulkFiles } from '../lib/bulk.ts';
import { sha256Hex } from '../lib/digest.ts';
import { ConfigError } from '../lib/errors.ts';
import type { Job } from './job.ts';
import { COMBINER_NAMES } from './jobs/combiners.ts';

const MODULE_BYTES_MAX = 64 << 20;
const INPUTS = ['lines', 'whole', 'chunk'];
const PARTS = ['input', 'map', 'combine', 'reduce', 'partition'];

/** `path` is absolute. Throws ConfigError, with the file, for a module that is not what was submitted or is no job. */
export async function loadUserModule(
  { path, sha256 }: { path: string; sha256: string },
  files: BulkFiles,
): Promise<Job> {
  if (sha256Hex(readModule(path, files)) !== sha256) {
    throw new ConfigError(`${path} has changed since the job was started`);
  }
  return checkJob(await importModule(path), path);
}

/** The job that the exports are. Throws ConfigError. */
export function checkJob(exports: unknown, path: string): Job {
  const job = jobIn(exports);
  if (job === undefined) {
    const example = 'export function map(record, emit) { ... }';
    throw new ConfigError(`${path} is no job: it does not export a function map, such as ${example}`);
  }
  const wrong = (what: string) => new ConfigError(`${path}: ${what}`);
  const { input, combine } = job;
  for (const name of ['map', 'reduce', 'partition']) {
    const part = job[name];
    if (part === undefined) continue;
    if (typeof part !== 'function') throw wrong(`${name} is a function, not ${describe(part)}`);
    if (part.constructor.name !== 'Function') {
      throw wrong(
        `${name} is ${part.constructor.name}: it must be a plain function, for tasks are synchronous`,
      );
    }
  }
  if (input !== undefined && !INPUTS.includes(input as string)) {
    throw wrong(`input is one of ${INPUTS.join(', ')}, not ${describe(input)}`);
  }
  const named = COMBINER_NAMES.some((name) => name === combine);
  if (combine !== undefined && typeof combine !== 'function' && !named) {
    throw wrong(`combine is a function, or one of ${COMBINER_NAMES.join(', ')}, not ${describe(combine)}`);
  }
  return Object.fromEntries(PARTS.map((name) => [name, job[name]])) as unknown as Job;
}

function jobIn(exports: unknown): Record<string, unknown> | undefined {
  if (!isRecord(exports)) return undefined;
  if (exports.map !== undefined) return exports;
  return isRecord(exports.default) && exports.default.map !== undefined ? exports.default : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function describe(value: unknown): string {
  return typeof value === 'string' ? `'${value}'` : typeof value;
}

async function importModule(path: string): Promise<unknown> {
  try {
    return await import(fileUrl(path));
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ERR_UNKNOWN_FILE_EXTENSION' && /\.[cm]?ts$/.test(path)) {
      throw new ConfigError(
        `${path}: this runtime does not run TypeScript: compile the job to JavaScript, or use Node 22.18 or Deno`,
        error,
      );
    }
    throw new ConfigError(`${path} cannot be loaded: ${errorText(error)}`, error);
  }
}

/** A path with what means something in a URL. */
function fileUrl(path: string): string {
  const slashes = path.includes('\\') && /^[A-Za-z]:/.test(path) ? `/${path.replaceAll('\\', '/')}` : path;
  const special = /[%?#\\\n\r\t]/g;
  return `file://${slashes.replace(special, (each) => encodeURIComponent(each))}`;
}

/** The message, and where in the user's code, if the stack tells. */
export function errorText(error: unknown, path?: string): string {
  if (!(error instanceof Error)) return String(error);
  const text = `${error.name}: ${error.message}`;
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  const frame = path === undefined ? undefined : frames.find((line) => line.includes(fileUrl(path)));
  return frame === undefined ? text : `${text} ${frame.trim().replace('file://', '')}`;
}

/** Throws BulkFileError, ConfigError. */
export function readModule(path: string, files: BulkFiles): Uint8Array {
  const reader = files.open(path);
  try {
    if (reader.bytes > MODULE_BYTES_MAX) throw new ConfigError(`${path} is too large to be a job`);
    const bytes = Buffer.alloc(reader.bytes);
    return bytes.subarray(0, reader.read(bytes, 0, bytes.length, 0));
  } finally {
    reader.close();
  }
}
