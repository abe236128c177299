/**
 * A job done in the simplest way there is: one file after the other, everything in memory, no splits, no tables, no spills
 * and no merge. It shares nothing with the tasks but what a job means, so that the one can be checked by the other: the
 * sequential mode of Dean & Ghemawat 2004, section 4.8, and of 6.824's lab.
 */
import { Buffer } from 'node:buffer';
import type { BulkFiles, BulkReader } from '../lib/bulk.ts';
import { GunzipReader } from '../lib/gunzip.ts';
import type { InputFile } from './inputs.ts';
import { builtinMeaning } from './jobs/builtin-meaning.ts';
import type { JobMeaning } from './jobs/job-meaning.ts';
import { moduleMeaning } from './jobs/module-meaning.ts';
import { partitionOf } from './partition.ts';
import { type PartRow, PartWriter } from './parts.ts';
import { inputError } from './split-input.ts';
import type { Counters, JobSpec } from './tasks.ts';
import { loadUserModule } from './user-module.ts';

const PIECE_BYTES = 4 << 20;
const NEWLINE = 0x0a;

export async function loadMeaning(spec: JobSpec, files: BulkFiles): Promise<JobMeaning> {
  const { job, args } = spec;
  if (job.kind === 'builtin') return builtinMeaning(job.name, args);
  return moduleMeaning(await loadUserModule(job, files), job.path, args);
}

/** The parts of the output, in order, in the job's temporary directory. Throws TaskError, BulkFileError. */
export function runSequential(
  { spec, job, files }: { spec: JobSpec; job: JobMeaning; files: BulkFiles },
  inputs: readonly InputFile[],
): { readonly parts: readonly string[]; readonly counters: Counters } {
  for (const input of inputs) {
    const name = input.name ?? input.path;
    eachPiece(input, job.records, files, (piece, offset) => job.piece(piece, name, offset));
  }
  const parts = Array.from({ length: spec.reducers }, (_, i) => `${spec.temporary}/part-${i}-sequential`);
  const rows: PartRow[][] = parts.map(() => []);
  for (const row of job.rows()) {
    const { key } = row;
    const part = job.partition?.(key, spec.reducers) ?? partitionOf(key, 0, key.length, spec.reducers);
    rows[part]!.push(row);
  }
  parts.forEach((path, i) => {
    const file = files.create(path);
    try {
      const writer = new PartWriter(file, spec.output);
      for (const row of rows[i]!) writer.row(row);
      writer.flush();
    } finally {
      file.close();
    }
  });
  return { parts, counters: job.counters };
}

/** The whole file, or pieces of it that end with a line. */
function eachPiece(
  input: InputFile,
  records: JobMeaning['records'],
  files: BulkFiles,
  visit: (piece: Buffer, offset: number) => void,
): void {
  const reader = files.open(input.path);
  try {
    const read = input.gzip ? unpacking(reader) : reading(reader);
    let rest: Buffer = Buffer.alloc(0);
    let offset = 0;
    for (let next = read(); next.length > 0; next = read()) {
      const all = Buffer.concat([rest, next]);
      const end = records === 'whole' ? 0 : all.lastIndexOf(NEWLINE) + 1;
      if (end > 0) visit(all.subarray(0, end), offset);
      offset += end;
      rest = all.subarray(end);
    }
    if (rest.length > 0) visit(rest, offset);
  } catch (error) {
    throw inputError(error, input.path);
  } finally {
    reader.close();
  }
}

function reading(reader: BulkReader): () => Buffer {
  let position = 0;
  return () => {
    const piece = Buffer.alloc(PIECE_BYTES);
    const read = reader.read(piece, 0, piece.length, position);
    position += read;
    return piece.subarray(0, read);
  };
}

function unpacking(reader: BulkReader): () => Buffer {
  const unpacked = new GunzipReader(reader);
  return () => {
    const piece = Buffer.alloc(PIECE_BYTES);
    return piece.subarray(0, unpacked.read(piece));
  };
}
