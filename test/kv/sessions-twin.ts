/**
 * What clients' sessions and transactions must do, as dumb as can be: on the dumb databases of twin-database.ts, with
 * everything in lists and nothing in a store. The ids of sessions and the versions of keys are the real one's, since a
 * client sees them; what they mean is decided here.
 */
import type { ClientSessionLimits } from '../../src/kv/client-sessions.ts';
import type { Value } from '../../src/kv/command.ts';
import { fromLatin1 } from '../../src/lib/bytes.ts';
import { encodeReply } from '../../src/resp/encode.ts';
import { EncodedArrayReply, ErrorReply, NullArrayReply, type Reply } from '../../src/resp/reply.ts';
import { ReplyWriter } from '../../src/resp/reply-writer.ts';
import { names } from './log-script.ts';
import { render } from './redis-server.ts';
import type { CommandOp } from './replica.ts';
import { Twin } from './twin-database.ts';

const NULL_ARRAY = '*-1\r\n';

interface TwinSession {
  readonly id: string;
  ack: number;
  lastUsedMs: number;
  replies: { readonly seq: number; readonly shown: string; readonly bytes: number }[];
}

/** A key watched: what it held then. Every write makes a new array, a write of the same bytes too. */
export interface Watched {
  readonly db: number;
  readonly key: string;
  readonly held: Uint8Array | undefined;
}

export class SessionsTwin {
  readonly databases = new Twin();
  readonly #limits: ClientSessionLimits;
  /** The least recently used first. */
  #sessions: TwinSession[] = [];

  constructor(limits: ClientSessionLimits) {
    this.#limits = limits;
  }

  /** Another entry, at `nowMs`. */
  begin(nowMs: number): void {
    this.databases.nowMs = nowMs;
    this.#sessions = this.#sessions.filter(({ lastUsedMs }) => nowMs - lastUsedMs <= this.#limits.idleMsMax);
  }

  opened(id: string): void {
    this.#sessions.push({ id, ack: 0, lastUsedMs: this.databases.nowMs, replies: [] });
    if (this.#sessions.length > this.#limits.countMax) this.#sessions.shift();
  }

  get count(): number {
    return this.#sessions.length;
  }

  close(id: string): string {
    const before = this.#sessions.length;
    this.#sessions = this.#sessions.filter((session) => session.id !== id);
    return shown(before - this.#sessions.length);
  }

  watch(db: number, key: string): Watched {
    return { db, key, held: this.#held(db, key) };
  }

  #held(db: number, key: string): Uint8Array | undefined {
    const value: Value | undefined = this.databases.maps[db]!.get(key);
    return value === undefined || this.databases.nowMs > value.expireAtMs ? undefined : value.bytes;
  }

  /** The reply to a transaction, as `shown` shows it. */
  transact(watched: readonly Watched[], commands: readonly CommandOp[], number?: Number3): string {
    if (number === undefined) return this.#transact(watched, commands, (command) => this.run(command));
    const repeatable = (command: CommandOp) => (command.argv[0] === 'KEYS' ? NOT_REPEATABLE : this.run(command));
    return this.#onceOnly(number, () => {
      const reply = this.#transact(watched, commands, repeatable);
      // Of errors of sessions `shown` has the code alone.
      return { shown: reply, bytes: undefined };
    });
  }

  #transact(
    watched: readonly Watched[],
    commands: readonly CommandOp[],
    run: (command: CommandOp) => string,
  ): string {
    if (watched.some(({ db, key, held }) => this.#held(db, key) !== held)) return NULL_ARRAY;
    return `*${commands.length}\r\n${commands.map(run).join('')}`;
  }

  run({ argv, db = 0 }: CommandOp): string {
    if (argv[0] === 'HSTORE.DO') return this.#once(argv, db);
    if (argv[0] === 'KEYS') return this.#keys(db);
    return shown(this.databases.run(argv, db));
  }

  #keys(db: number): string {
    const found = [...this.databases.maps[db]!.keys()].filter((key) => this.#held(db, key) !== undefined);
    return shown(found.sort().map(fromLatin1));
  }

  #once([, id, seqWord, ackWord, ...argv]: readonly string[], db: number): string {
    const [seq, ack] = [Number(seqWord), Number(ackWord)];
    const session = this.#sessions.find((other) => other.id === id);
    if (session === undefined) return code('SESSIONEXPIRED');
    this.#sessions = [...this.#sessions.filter((other) => other !== session), session];
    session.lastUsedMs = this.databases.nowMs;
    session.ack = Math.max(session.ack, ack);
    session.replies = session.replies.filter((reply) => reply.seq > session.ack);
    if (seq <= session.ack) return code('STALESEQ');
    const first = session.replies.find((reply) => reply.seq === seq);
    if (first !== undefined) return first.shown;
    const { repliesMax, sessionBytesMax, replyBytesMax, bytesMax } = this.#limits;
    const full = session.replies.length >= repliesMax || bytesOf([session]) >= sessionBytesMax;
    if (full) return code('SESSIONFULL');
    const reply = this.databases.run(argv, db);
    const length = lengthOf(reply);
    const notKept = notKeptReply(length);
    const kept = length > replyBytesMax ? notKept : reply;
    session.replies.push({ seq, shown: shown(kept), bytes: lengthOf(kept) + 100 });
    while (bytesOf(this.#sessions) > bytesMax && this.#sessions.length > 1) this.#sessions.shift();
    return shown(reply);
  }
}

function notKeptReply(bytes: number): ErrorReply {
  return new ErrorReply(
    'REPLYNOTKEPT',
    `The command was executed once. Its reply of ${bytes} bytes was too long to be kept`,
  );
}

function bytesOf(sessions: readonly TwinSession[]): number {
  return sessions.flatMap(({ replies }) => replies).reduce((sum, { bytes }) => sum + bytes, 0);
}

/** As the table keeps it: in RESP3. */
function lengthOf(reply: Reply): number {
  const writer = new ReplyWriter();
  encodeReply(reply, 3, writer);
  return writer.take().reduce((sum, chunk) => sum + chunk.length, 0);
}

function code(word: string): string {
  return `-${word}`;
}

/** Of errors of sessions the code, of keys their sorted names; else the reply's bytes. */
export function shown(reply: Reply): string {
  if (reply instanceof ErrorReply && /^(SESSION|STALE)/.test(reply.code)) return code(reply.code);
  if (reply instanceof NullArrayReply) return NULL_ARRAY;
  if (reply instanceof EncodedArrayReply) return shown(names(reply).sort().map(fromLatin1));
  if (Array.isArray(reply)) return `*${reply.length}\r\n${reply.map(shown).join('')}`;
  return render(reply);
}
