/** What a job of the user's own means: all values of a key in a list, in the order in which they were emitted. */
import { Buffer } from 'node:buffer';
import type { Emit, Job, JobContext, MapRecord } from '../job.ts';
import type { PartRow } from '../parts.ts';
import type { JobSpec } from '../tasks.ts';
import { combineOf, emittedValue } from './combiners.ts';
import type { JobMeaning } from './job-meaning.ts';
import { userError } from './user-code.ts';
import { decodeValue, encodeValue } from './values.ts';

const WORD = /\p{L}+/gu;
const NEWLINE = 0x0a;

export function moduleMeaning(job: Job, path: string, args: JobSpec['args']): JobMeaning {
  const meaning = new ModuleMeaning(job, path, args);
  const { partition } = job;
  const records = job.input ?? 'lines';
  return {
    ...{ records, counters: meaning.counters },
    piece: (piece, file, offset) => meaning.piece(piece, file, offset),
    rows: () => meaning.rows(),
    ...(partition === undefined
      ? {}
      : { partition: (key: Uint8Array, reducers: number) => partition(key, reducers) }),
  };
}

class ModuleMeaning {
  readonly counters: Record<string, number> = { records: 0 };
  readonly #job: Job;
  readonly #path: string;
  readonly #context: JobContext;
  /** By the key's bytes as Latin-1, whose order is that of the bytes. Values as JSON and the like keep them. */
  readonly #values = new Map<string, unknown[]>();

  constructor(job: Job, path: string, args: JobSpec['args']) {
    this.#job = job;
    this.#path = path;
    const count = (name: string, by = 1) => {
      this.counters[name] = (this.counters[name] ?? 0) + by;
    };
    this.#context = { task: 0, attempt: 1, args, count };
  }

  piece(piece: Buffer, file: string, offset: number): void {
    if (this.#job.input === 'whole' || this.#job.input === 'chunk') return this.#map(piece, file, offset);
    for (let at = 0; at < piece.length; ) {
      const newline = piece.indexOf(NEWLINE, at);
      const end = newline < 0 ? piece.length : newline;
      this.#map(piece.subarray(at, end), file, offset + at);
      at = end + 1;
    }
  }

  *rows(): Generator<PartRow> {
    for (const name of [...this.#values.keys()].sort(byCodeUnits)) {
      const key = Buffer.from(name, 'latin1');
      this.#context.count('keys');
      try {
        yield* this.#reduce(key, key.toString('utf8'), this.#values.get(name)!);
      } catch (error) {
        throw userError(error, this.#path, { call: 'reduce', key: key.toString('utf8') }, true);
      }
    }
  }

  #map(bytes: Buffer, file: string, offset: number): void {
    const record: MapRecord = { bytes, text: bytes.toString('utf8'), file, offset };
    this.counters.records!++;
    try {
      this.#job.map(record, this.#emit(), this.#context);
    } catch (error) {
      throw userError(error, this.#path, { call: 'map', file, offset }, true);
    }
  }

  #emit(): Emit<unknown> {
    const add = (key: Buffer, value: unknown) => {
      const name = key.toString('latin1');
      const kept = decodeValue(encodeValue(emittedValue(this.#job.combine, value)));
      const values = this.#values.get(name);
      if (values === undefined) this.#values.set(name, [kept]);
      else values.push(kept);
    };
    const emit = (key: string, value: unknown) => add(Buffer.from(key), value);
    const bytes = (source: Uint8Array, from: number, to: number, value: unknown) =>
      add(Buffer.from(source.subarray(from, to)), value);
    const words = (record: MapRecord, value: unknown) => {
      for (const [word] of record.text.matchAll(WORD)) emit(word, value);
    };
    return Object.assign(emit, { bytes, words });
  }

  #reduce(key: Buffer, text: string, emitted: unknown[]): PartRow[] {
    const combine = combineOf(this.#job);
    const combined = combine === undefined || emitted.length === 1 ? emitted : [combine(text, emitted)];
    const rows: PartRow[] = [];
    if (this.#job.reduce === undefined) {
      for (const value of combined) {
        const line =
          typeof value === 'string'
            ? value
            : typeof value === 'number'
              ? String(value)
              : JSON.stringify(value);
        const count = typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0;
        rows.push({ key, count, line: Buffer.from(`: ${line}`) });
      }
      return rows.map((row) => ({ ...row, line: Buffer.concat([key, row.line]) }));
    }
    const write = (line: string | Uint8Array) =>
      rows.push({ key, count: 0, line: Buffer.from(line as string) });
    this.#job.reduce(text, combined, write, this.#context);
    return rows;
  }
}

function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
