/**
 * A log written step by step, and the replica that applies it at once. What was written can be given to other replicas,
 * with another memory and other checkpoints: they must come to the same state.
 */
import type { KvOptions } from '../../src/kv/state-machine.ts';
import { latin1 } from '../../src/lib/bytes.ts';
import type { Entry } from '../../src/raft/types.ts';
import { EncodedArrayReply, ErrorReply, type Reply } from '../../src/resp/reply.ts';
import { type CommandOp, command, commandIn, entryOf, OPEN, type Op, Replica } from './replica.ts';

export class LogScript {
  readonly replica: Replica;
  readonly options: Partial<KvOptions>;
  readonly entries: Entry[] = [];
  nowMs: number;
  #seq = 0;

  constructor(options: Partial<KvOptions> = {}, nowMs = 1000) {
    this.options = options;
    this.nowMs = nowMs;
    this.replica = new Replica(options);
    this.entries.push(entryOf(1, this.nowMs, [OPEN]));
    this.replica.apply(this.entries);
  }

  /** One entry with these operations, at the time of now; the reply to the last of them. */
  run(...ops: Op[]): Reply {
    this.write(...ops);
    this.replica.apply(this.entries.slice(-1));
    return this.replica.replies.at(-1)!;
  }

  /** The same, and the entry is not applied yet. */
  write(...ops: Op[]): Entry {
    const runs = [{ session: 1, firstSeq: this.#seq + 1, ops }];
    this.#seq += ops.length;
    const entry = entryOf(this.entries.length + 1, this.nowMs, runs);
    this.entries.push(entry);
    return entry;
  }

  /** A write command of a client in database 0. */
  command(...argv: string[]): Reply {
    return this.run(command(...argv));
  }

  /** Runs them, and then time passes. */
  pass(ms: number, ...ops: Op[]): void {
    this.run(...ops);
    this.nowMs += ms;
  }

  openSession(): string {
    return String(this.command('HSTORE.SESSION', 'OPEN'));
  }

  get(key: string, db = 0): string | null {
    return text(this.replica.read(['GET', key], 0, db));
  }

  /** Everything goes to the store and out of memory. */
  async forget(): Promise<void> {
    this.replica.checkpoint();
    await this.replica.restart();
  }

  get hash(): string {
    return this.replica.machine.stateHash();
  }
}

/** Another replica with the same log; `after` each entry it may do what it likes. */
export async function replay(
  script: LogScript,
  options: Partial<KvOptions>,
  after: (replica: Replica, index: number) => unknown = () => undefined,
): Promise<Replica> {
  const replica = new Replica({ ...script.options, ...options });
  while (replica.machine.appliedIndex < script.entries.length) {
    const next = replica.machine.appliedIndex;
    replica.apply(script.entries.slice(next, next + 1));
    await after(replica, next + 1);
  }
  return replica;
}

/** HSTORE.DO. */
export function once(session: string, seq: number, ack: number, ...argv: string[]): CommandOp {
  return onceIn(0, session, seq, ack, ...argv);
}

export function onceIn(db: number, session: string, seq: number, ack: number, ...argv: string[]): CommandOp {
  return commandIn(db, 'HSTORE.DO', session, String(seq), String(ack), ...argv);
}

export function code(reply: Reply | undefined): string {
  return reply instanceof ErrorReply ? reply.code : 'no error';
}

export function text(reply: Reply | undefined): string | null {
  if (reply === null || typeof reply === 'string') return reply;
  if (reply instanceof Uint8Array) return latin1(reply);
  throw new Error(`no text: ${String(reply)}`);
}

/** Bulk strings as text. */
export function words(reply: Reply): unknown {
  if (Array.isArray(reply)) return reply.map(words);
  return reply instanceof Uint8Array ? text(reply) : reply;
}

/** Of SCAN and KEYS, in their order. */
export function names(reply: Reply | undefined): string[] {
  if (reply instanceof EncodedArrayReply) {
    const lines = latin1(Buffer.concat(reply.chunks)).split('\r\n');
    return lines.filter((_, i) => i % 2 === 1);
  }
  const [, found] = reply as [Reply, Reply[]];
  return found.map((name) => text(name)!);
}
