/**
 * A job of the user's own (job.ts) as the tasks see it: keys become bytes, values are encoded, and what the user's code
 * throws becomes a failure with the file and the offset of the record.
 *
 * Where a combiner with a name puts numbers together, that is done in a table before they go to the buffer of pairs: without
 * a string or an object for a word, `emit.words(record, 1)` is fast.
 */
import { Buffer } from 'node:buffer';
import type { Emit, Job, JobContext } from '../job.ts';
import type { ValueCombiner } from '../merge.ts';
import type { Partitioner } from '../partition.ts';
import { eachWord } from '../words.ts';
import type { Block, Collect, GatheringJob, Mapper, TaskContext, WriteRow } from './byte-job.ts';
import { type Combine, combineOf, combineValues, emittedValue, namedStep } from './combiners.ts';
import { NumberTable } from './number-table.ts';
import { userError } from './user-code.ts';
import { eachRecord, type UserRecord } from './user-record.ts';
import { decodeValue, encodeValue } from './values.ts';

const RECORDS_PER_REPORT = 1024;
const KEY_BYTES_MAX = 16 << 20;

/** `path`: of the module, for messages. */
export function moduleJob(job: Job, path: string): GatheringJob {
  const combine = combineOf(job);
  return {
    records: job.input ?? 'lines',
    gather: 'values',
    partitioner: job.partition === undefined ? undefined : checkedPartitioner(job, path),
    combine: combine === undefined ? undefined : valueCombiner(combine, path),
    mapper: (collect, { context, memoryBytes }) =>
      new UserMapper(job, path, { collect, context, memoryBytes }),
    reduce: (key, values, write, context) => {
      const text = textOf(key);
      try {
        context.count('keys');
        if (combine === undefined) reduceValues(job, { key, text }, values, { write, context });
        else reduceOne(job, { key, text }, combineValues(combine, text, values), { write, context });
      } catch (error) {
        throw userError(error, path, { call: 'reduce', key: text }, false);
      }
    },
  };
}

interface Key {
  readonly key: Uint8Array;
  readonly text: string;
}

interface Reducing {
  readonly write: WriteRow;
  readonly context: TaskContext;
}

/** Without a combiner: the values as they are, each a line where there is no `reduce`. */
function reduceValues(job: Job, { key, text }: Key, values: Iterable<Uint8Array>, to: Reducing): void {
  if (job.reduce === undefined) {
    for (const value of values) to.write(rowOf(key, decodeValue(value)));
  } else {
    job.reduce(text, decodedValues(values), lineWriter(key, to.write), userContext(to.context));
  }
}

/** With one, `reduce` gets a single value, however often some of them were combined before. */
function reduceOne(job: Job, { key, text }: Key, value: Uint8Array, to: Reducing): void {
  const decoded = decodeValue(value);
  if (job.reduce === undefined) to.write(rowOf(key, decoded));
  else job.reduce(text, [decoded], lineWriter(key, to.write), userContext(to.context));
}

function* decodedValues(values: Iterable<Uint8Array>): Generator<unknown> {
  for (const value of values) yield decodeValue(value);
}

function rowOf(key: Uint8Array, value: unknown): { key: Uint8Array; count: number; line: Uint8Array } {
  const text =
    typeof value === 'string' ? value : typeof value === 'number' ? String(value) : JSON.stringify(value);
  const count = typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0;
  return { key, count, line: Buffer.concat([key, Buffer.from(`: ${text}`)]) };
}

function lineWriter(key: Uint8Array, write: WriteRow): (line: string | Uint8Array) => void {
  return (line) => {
    const isText = typeof line === 'string';
    if (!isText && !(line instanceof Uint8Array)) {
      throw new TypeError(`write takes a line as a string or as bytes, not ${typeof line}`);
    }
    write({ key, count: 0, line: isText ? Buffer.from(line) : line });
  };
}

/** The same object for all calls would let jobs of the user's change it. */
function userContext(context: TaskContext): JobContext {
  return {
    ...{ task: context.task, attempt: context.attempt, args: context.args },
    count(name, by = 1) {
      if (typeof name !== 'string' || !Number.isFinite(by))
        throw new TypeError('count takes a name and a number');
      context.count(name, by);
    },
  };
}

function valueCombiner(combine: Combine, path: string): ValueCombiner {
  return (key, values) => {
    const text = textOf(key);
    try {
      return combineValues(combine, text, values);
    } catch (error) {
      throw userError(error, path, { call: 'combine', key: text }, false);
    }
  };
}

function checkedPartitioner(job: Job, path: string): Partitioner {
  return (bytes, from, to, partitions) => {
    let part: unknown;
    try {
      part = job.partition?.(Uint8Array.from(bytes.subarray(from, to)), partitions);
    } catch (error) {
      throw userError(error, path, { call: 'partition' }, true);
    }
    if (typeof part === 'number' && Number.isInteger(part) && part >= 0 && part < partitions) return part;
    const wrong = new RangeError(`${String(part)} is no number from 0 to ${partitions - 1}`);
    throw userError(wrong, path, { call: 'partition' }, true);
  };
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('utf8');
}

class UserMapper implements Mapper {
  readonly #job: Job;
  readonly #path: string;
  readonly #collect: Collect;
  readonly #context: TaskContext;
  readonly #userContext: JobContext;
  readonly #memoryBytes: number;
  readonly #emit: Emit<unknown>;
  /** Where a combiner with a name puts numbers together. */
  readonly #numbers: NumberTable | undefined;
  #keyBytes = Buffer.allocUnsafeSlow(1 << 10);
  #record: UserRecord | undefined;
  #records = 0;
  /** While a record that failed is tried again. */
  #discarding = false;

  constructor(job: Job, path: string, to: { collect: Collect; context: TaskContext; memoryBytes: number }) {
    this.#job = job;
    this.#path = path;
    this.#collect = to.collect;
    this.#context = to.context;
    this.#memoryBytes = to.memoryBytes;
    this.#userContext = userContext(to.context);
    const step = namedStep(job.combine);
    this.#numbers = step === undefined ? undefined : new NumberTable(step);
    this.#emit = this.#makeEmit();
  }

  block(block: Block): void {
    eachRecord(block, this.#job.input ?? 'lines', (record) => {
      if (++this.#records % RECORDS_PER_REPORT === 0) this.#context.alive();
      this.#map(record);
    });
  }

  end(): void {
    this.#context.count('records', this.#records);
    this.#emitNumbers();
  }

  #map(record: UserRecord): void {
    this.#record = record;
    try {
      const returned: unknown = this.#job.map(record, this.#emit, this.#userContext);
      if (returned instanceof Promise) throw new TypeError('map returned a promise: it must be synchronous');
    } catch (error) {
      const { file, offset } = record;
      throw userError(error, this.#path, { call: 'map', file, offset }, this.#failsAgain(record));
    }
  }

  /** The task has failed; what matters is whether trying it elsewhere could help. */
  #failsAgain(record: UserRecord): boolean {
    this.#discarding = true;
    try {
      this.#job.map(record, this.#emit, this.#userContext);
      return false;
    } catch {
      return true;
    }
  }

  #makeEmit(): Emit<unknown> {
    const emit = (key: string, value: unknown): void => {
      if (typeof key !== 'string')
        throw new TypeError(`emit takes a key that is a string, not ${typeof key}`);
      const length = this.#encodeKey(key);
      this.#add(this.#keyBytes, 0, length, value);
    };
    const bytes = (source: Uint8Array, from: number, to: number, value: unknown): void => {
      if (!(source instanceof Uint8Array) || !(from >= 0 && from <= to && to <= source.length)) {
        throw new RangeError('emit.bytes takes an array of bytes, and where in it the key begins and ends');
      }
      this.#add(source, from, to, value);
    };
    const words = (record: { readonly bytes: Uint8Array }, value: unknown): void => {
      if (record !== this.#record)
        throw new TypeError('emit.words takes the record that map was called with');
      const { bytes: text } = record;
      const add = this.#adder(value);
      eachWord(text, 0, text.length, (from, to) => add(text, from, to));
    };
    return Object.assign(emit, { bytes, words });
  }

  #encodeKey(key: string): number {
    const bytesMax = key.length * 3;
    if (bytesMax > this.#keyBytes.length) this.#keyBytes = Buffer.allocUnsafeSlow(bytesMax * 2);
    return this.#keyBytes.write(key, 0);
  }

  #add(source: Uint8Array, from: number, to: number, value: unknown): void {
    if (to - from > KEY_BYTES_MAX) throw new RangeError(`a key has ${KEY_BYTES_MAX} bytes at most`);
    this.#adder(value)(source, from, to);
  }

  /** Emits keys with this value. */
  #adder(value: unknown): (source: Uint8Array, from: number, to: number) => void {
    const kept = emittedValue(this.#job.combine, value);
    if (this.#discarding) return () => {};
    const numbers = this.#numbers;
    if (numbers === undefined) {
      const encoded = encodeValue(kept);
      return (source, from, to) => this.#collect(source, from, to, encoded);
    }
    const number = kept as number;
    return (source, from, to) => {
      const isNew = numbers.add(source, from, to, number);
      if (isNew && numbers.bytes > this.#memoryBytes) this.#emitNumbers();
    };
  }

  #emitNumbers(): void {
    const numbers = this.#numbers;
    numbers?.visit((source, from, to, number) => this.#collect(source, from, to, encodeValue(number)));
    numbers?.clear();
  }
}
