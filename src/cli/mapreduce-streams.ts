/** Standard input and output of a job: more of it than fits in memory, and readers that go away. */
import { fstatSync } from 'node:fs';
import type { BulkFiles } from '../lib/bulk.ts';

const STANDARD_INPUT = 0;

/** Whether something is piped in: a terminal, or /dev/null as a daemon has it, is nothing to read. */
export function isInputPiped(): boolean {
  try {
    const found = fstatSync(STANDARD_INPUT);
    return found.isFIFO() || found.isFile() || found.isSocket();
  } catch {
    // It is closed.
    return false;
  }
}

/** Writes all of standard input into a new file, from which workers can read it at once and in parts. */
export async function spoolInput(
  path: string,
  files: BulkFiles,
  input: AsyncIterable<Uint8Array> = process.stdin,
): Promise<void> {
  const writer = files.create(path);
  try {
    for await (const chunk of input) writer.write(chunk);
  } finally {
    writer.close();
  }
}

/** A stream that may have no reader any more: `| head` has seen enough, and that is no error. */
export class BlockStream {
  readonly #stream: NodeJS.WritableStream;
  #broken = false;
  #failure: Error | undefined;

  constructor(stream: NodeJS.WritableStream) {
    this.#stream = stream;
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') this.#broken = true;
      else this.#failure ??= error;
    });
  }

  /** Nobody reads it. */
  get broken(): boolean {
    return this.#broken;
  }

  /** Resolves when the block is handed over; false: nobody reads any more. Throws what else is wrong. */
  write(block: Uint8Array): Promise<boolean> {
    return new Promise((resolve, reject) => {
      if (this.#broken) return resolve(false);
      if (this.#failure !== undefined) return reject(this.#failure);
      this.#stream.write(block, (error) => {
        // In a turn of its own: what is written to a file or pipe is written at once, and signals are to be heard too.
        if (error === null || error === undefined) return setImmediate(resolve, true);
        if ('code' in error && error.code === 'EPIPE') {
          this.#broken = true;
          return resolve(false);
        }
        return reject(new Error(`cannot write standard output: ${error.message}`, { cause: error }));
      });
    });
  }
}
