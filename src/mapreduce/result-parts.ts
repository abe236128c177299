/** The result of a job that servers have done, brought here part by part, in the chunks in which they keep it. */
import type { BulkFiles } from '../lib/bulk.ts';
import { PartReader, PartWriter } from './parts.ts';

/** A chunk of a part; undefined: there is no more. */
export type ReadChunk = (part: number, chunk: number) => Promise<Uint8Array | undefined>;

/** Chunks under way: enough that one is on its way while others are read from the store and written here. */
const CHUNKS_AT_ONCE = 4;

/** Files in `directory`, in the order of the parts. Throws what `readChunk` throws, and BulkFileError. */
export async function bringParts(
  count: number,
  readChunk: ReadChunk,
  { directory, files }: { directory: string; files: BulkFiles },
): Promise<string[]> {
  const paths = Array.from({ length: count }, (_, part) => `${directory}/result-${part}`);
  let next = 0;
  let failed = false;
  const bringSome = async (): Promise<void> => {
    while (next < count && !failed) {
      const part = next++;
      const writer = files.create(paths[part]!);
      try {
        for (let chunk = 0; !failed; chunk++) {
          const bytes = await readChunk(part, chunk);
          if (bytes === undefined) break;
          writer.write(bytes);
        }
      } catch (error) {
        failed = true;
        throw error;
      } finally {
        writer.close();
      }
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: Math.min(CHUNKS_AT_ONCE, count) }, bringSome));
  for (const lane of lanes) if (lane.status === 'rejected') throw lane.reason;
  return paths;
}

/** Makes of a keyed part what `--out DIR` keeps: its lines, on the disk when it returns. */
export function writeLines(part: string, path: string, files: BulkFiles): void {
  const reader = new PartReader(files.open(part));
  try {
    const file = files.create(path);
    try {
      const writer = new PartWriter(file, 'lines');
      for (let row = reader.next(); row !== undefined; row = reader.next()) writer.row(row);
      writer.flush();
      file.sync();
    } finally {
      file.close();
    }
  } finally {
    reader.close();
  }
}
