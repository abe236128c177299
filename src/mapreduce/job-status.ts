/** What MR.STATUS says of a job (cluster/job-replies.ts), read from the reply. */
import { Buffer } from 'node:buffer';
import { MalformedError } from '../lib/bytes.ts';
import type { Counters } from './tasks.ts';

export interface JobStatus {
  /** `active`, `done`, `failed`, `cancelled`, `removed`. */
  readonly state: string;
  readonly progress: SubmittedProgress;
  readonly maps: number;
  readonly reduces: number;
  /** Of the input, as far as it is known. */
  readonly bytes: number;
  readonly counters: Counters;
  readonly failure: StatusFailure | undefined;
}

export interface SubmittedProgress {
  readonly phase: 'queued' | 'map' | 'reduce' | 'commit';
  readonly maps: Tasks;
  readonly reduces: Tasks;
  readonly bytes: Tasks;
}

interface Tasks {
  readonly done: number;
  readonly of: number;
}

interface Failure {
  readonly message: string;
  readonly file?: string;
  readonly offset?: number;
}

/** As a local job tells it: of a task, or of the job itself. */
export type StatusFailure =
  | Failure
  | {
      readonly phase: string;
      readonly task: number;
      readonly attempts: number;
      readonly failure: Failure;
    };

/** Throws MalformedError. */
export function readStatus(reply: unknown): JobStatus {
  const fields = new Fields(reply);
  const [maps, reduces, bytes] = [fields.number('maps'), fields.number('reduces'), fields.number('bytes')];
  // Who has ended does not say how far it has come.
  const tasks = (done: string, of: number): Tasks => ({ done: fields.maybeNumber(done) ?? of, of });
  const phase = fields.text('phase');
  return {
    state: fields.text('state'),
    progress: {
      phase: phase === 'queued' || phase === 'map' || phase === 'reduce' ? phase : 'commit',
      maps: tasks('maps-done', maps),
      reduces: tasks('reduces-done', reduces),
      bytes: tasks('bytes-done', bytes),
    },
    ...{ maps, reduces, bytes },
    counters: fields.has('counters') ? new Fields(fields.get('counters')).numbers() : {},
    failure: fields.has('error') ? readFailure(fields) : undefined,
  };
}

function readFailure(fields: Fields): StatusFailure {
  const [file, offset] = [fields.maybeText('error-file'), fields.maybeNumber('error-offset')];
  const failure = {
    message: fields.text('error'),
    ...(file === undefined ? {} : { file }),
    ...(offset === undefined ? {} : { offset }),
  };
  const [phase, task] = [fields.maybeText('error-phase'), fields.maybeNumber('error-task')];
  if (phase === undefined || task === undefined) return failure;
  return { phase, task, attempts: fields.maybeNumber('error-attempts') ?? 1, failure };
}

/** Names and values in turn. */
class Fields {
  readonly #values = new Map<string, unknown>();

  constructor(reply: unknown) {
    if (!Array.isArray(reply) || reply.length % 2 !== 0) throw senseless('no names and values');
    for (let i = 0; i < reply.length; i += 2) this.#values.set(textOf(reply[i]), reply[i + 1]);
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  get(name: string): unknown {
    if (!this.has(name)) throw senseless(`no ${name}`);
    return this.#values.get(name);
  }

  text(name: string): string {
    return textOf(this.get(name));
  }

  maybeText(name: string): string | undefined {
    return this.has(name) ? this.text(name) : undefined;
  }

  number(name: string): number {
    const value = this.get(name);
    if (typeof value !== 'number') throw senseless(`${name} is no number`);
    return value;
  }

  maybeNumber(name: string): number | undefined {
    return this.has(name) ? this.number(name) : undefined;
  }

  numbers(): Record<string, number> {
    return Object.fromEntries([...this.#values.keys()].map((name) => [name, this.number(name)]));
  }
}

function textOf(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8');
  if (typeof value === 'string') return value;
  throw senseless('a text is expected');
}

function senseless(what: string): MalformedError {
  return new MalformedError(`the answer to MR.STATUS makes no sense: ${what}`);
}
