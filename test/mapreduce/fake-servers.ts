/** The servers of a cluster, in virtual time: they answer MR.* commands as real ones do, and have one job. */
import type { JobServers, Told } from '../../src/mapreduce/job-servers.ts';
import { PartWriter } from '../../src/mapreduce/parts.ts';
import type { Scheduler } from '../sim/scheduler.ts';

const ANSWER_MS = 1;
/** Small, so that parts have several. */
const CHUNK_BYTES = 16;

type Fields = Record<string, string | number>;

export class FakeServers implements JobServers {
  readonly #scheduler: Scheduler;
  readonly asked: (string | number)[][] = [];
  local = true;
  closed = false;
  /** What they have in place of a job of their own: how it ends, and when. */
  end: Fields = { state: 'done' };
  endsAtMs = 100;
  counters: Record<string, number> = {};
  /** Lines by their keys: a part each. */
  parts: readonly (readonly (readonly [key: string, count: number])[])[] = [];
  /** Undefined: as it should be. */
  answer: (words: readonly (string | number)[]) => Told | 'silence' | undefined = () => undefined;
  chunksUnderWayMax = 0;
  #chunksUnderWay = 0;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  get commands(): string[] {
    return this.asked.map(([command]) => `${command}`).filter((each, i, all) => each !== all[i - 1]);
  }

  submit(words: readonly (string | number)[]): Promise<Told> {
    return this.ask(words);
  }

  async ask(words: readonly (string | number)[]): Promise<Told> {
    this.asked.push([...words]);
    const isChunk = words[0] === 'MR.RESULT';
    if (isChunk) this.chunksUnderWayMax = Math.max(this.chunksUnderWayMax, ++this.#chunksUnderWay);
    await new Promise<void>((resolve) => this.#scheduler.after(ANSWER_MS, undefined, resolve, true));
    if (isChunk) this.#chunksUnderWay--;
    const told = this.answer(words) ?? { told: 'reply', reply: this.#reply(words) };
    return told === 'silence' ? new Promise(() => {}) : told;
  }

  close(): void {
    this.closed = true;
  }

  #reply([command, , , part, , chunk]: readonly (string | number)[]): unknown {
    switch (command) {
      case 'MR.SUBMIT':
        return 7;
      case 'MR.STATUS':
        return this.#status();
      case 'MR.RESULT':
        return this.#chunk(Number(part), Number(chunk));
      default:
        return 1;
    }
  }

  #status(): unknown {
    const isOver = this.#scheduler.nowMs >= this.endsAtMs;
    const head = { id: 7, maps: 4, reduces: this.parts.length, bytes: 1000 };
    const underWay = { state: 'active', phase: 'map', 'maps-done': 1, 'reduces-done': 0, 'bytes-done': 250 };
    const ended = { phase: 'done', ...this.end };
    const counters = ['counters', flat(this.counters)];
    return [...flat({ ...head, ...(isOver ? ended : underWay) }), ...(isOver ? bytesOf(counters) : [])];
  }

  #chunk(part: number, chunk: number): Uint8Array | null {
    const bytes = this.partBytes(part).subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES);
    return bytes.length === 0 ? null : bytes;
  }

  partBytes(part: number): Uint8Array {
    const written: Uint8Array[] = [];
    const write = (bytes: Uint8Array) => void written.push(Uint8Array.from(bytes));
    const writer = new PartWriter({ write, sync: () => {}, close: () => {} }, 'keyed');
    for (const [key, count] of this.parts[part]!) {
      writer.row({ key: Buffer.from(key), count, line: Buffer.from(`${key}: ${count}`) });
    }
    writer.flush();
    return Buffer.concat(written);
  }
}

function flat(fields: Fields): unknown[] {
  return bytesOf(Object.entries(fields).flat());
}

/** Texts come as bulk strings. */
function bytesOf(values: readonly unknown[]): unknown[] {
  return values.map((each) => (typeof each === 'string' ? Buffer.from(each) : each));
}
