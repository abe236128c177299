/**
 * What clients' sessions and transactions must do, as dumb as can be: on the dumb databases of twin-database.ts, with
 * everything in lists and nothing in a store. The ids of sessions and the versions of keys are the real one's, since a
 * client sees them; what they mean is decided here.
 */
import type { OnceNumber } from '../../src/kv/batch.ts';
import type { ClientSessionLimits } from '../../src/kv/client-sessions.ts';
import { fromLatin1 } from '../../src/lib/bytes.ts';
import { encodeReply } from '../../src/resp/encode.ts';
import { EncodedArrayReply, ErrorReply, NullArrayReply, type Reply } from '../../src/resp/reply.ts';
import { ReplyWriter } from '../../src/resp/reply-writer.ts';
import { names } from './log-script.ts';
import { render } from './redis-server.ts';
import type { CommandOp } from './replica.ts';
import { Twin } from './twin-database.ts';

const REPLY_OVERHEAD_BYTES = 100;
const NOT_REPEATABLE = new ErrorReply('ERR', 'this command has no reply that could be given again');

interface KeptReply {
  readonly seq: number;
  readonly reply: Reply;
  readonly bytes: number;
}

interface TwinSession {
  readonly id: number;
  ack: number;
  lastUsedMs: number;
  replies: KeptReply[];
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

  opened(id: number): void {
    this.#sessions.push({ id, ack: 0, lastUsedMs: this.databases.nowMs, replies: [] });
    if (this.#sessions.length > this.#limits.countMax) this.#sessions.shift();
  }

  get count(): number {
    return this.#sessions.length;
  }

  watch(db: number, key: string): Watched {
    return { db, key, held: this.#held(db, key) };
  }

  #held(db: number, key: string): Uint8Array | undefined {
    const value = this.databases.maps[db]!.get(key);
    return value === undefined || this.databases.nowMs > value.expireAtMs ? undefined : value.bytes;
  }

  transact(watched: readonly Watched[], commands: readonly CommandOp[], number?: OnceNumber): Reply {
    const run = (command: CommandOp): Reply =>
      number !== undefined && command.argv[0] === 'KEYS' ? NOT_REPEATABLE : this.run(command);
    const all = (): Reply => {
      if (watched.some(({ db, key, held }) => this.#held(db, key) !== held)) return NullArrayReply.instance;
      return commands.map(run);
    };
    return number === undefined ? all() : this.#once(number, all);
  }

  run({ argv, db = 0 }: CommandOp): Reply {
    if (argv[0] === 'HSTORE.SESSION') return this.#close(Number(argv[2]));
    if (argv[0] === 'KEYS') return this.#keys(db);
    if (argv[0] !== 'HSTORE.DO') return this.databases.run(argv, db);
    const [session, seq, ack] = argv.slice(1, 4).map(Number);
    return this.#once({ session: session!, seq: seq!, ack: ack! }, () =>
      this.databases.run(argv.slice(4), db),
    );
  }

  #close(id: number): number {
    const before = this.#sessions.length;
    this.#sessions = this.#sessions.filter((session) => session.id !== id);
    return before - this.#sessions.length;
  }

  #keys(db: number): Reply {
    const found = [...this.databases.maps[db]!.keys()].filter((key) => this.#held(db, key) !== undefined);
    return found.sort().map(fromLatin1);
  }

  #once({ session: id, seq, ack }: OnceNumber, run: () => Reply): Reply {
    const session = this.#sessions.find((other) => other.id === id);
    if (session === undefined)
      return new ErrorReply('SESSIONEXPIRED', `There is no session ${id}. The command was not executed`);
    this.#sessions = [...this.#sessions.filter((other) => other !== session), session];
    session.lastUsedMs = this.databases.nowMs;
    session.ack = Math.max(session.ack, ack);
    session.replies = session.replies.filter((reply) => reply.seq > session.ack);
    const refused = this.#refusal(session, seq);
    if (refused !== undefined) return refused;
    const reply = run();
    if (this.#sessions.includes(session)) this.#keep(session, seq, reply);
    return reply;
  }

  #refusal({ ack, replies }: TwinSession, seq: number): Reply | undefined {
    if (seq <= ack) {
      const message = `The client has acknowledged the replies up to ${ack}, that to ${seq} included. Nothing was executed now`;
      return new ErrorReply('STALESEQ', message);
    }
    const first = replies.find((kept) => kept.seq === seq);
    if (first !== undefined) return first.reply;
    const bytes = bytesOf(replies);
    if (replies.length < this.#limits.repliesMax && bytes < this.#limits.sessionBytesMax) return undefined;
    const message = `${replies.length} replies of ${bytes} bytes wait to be acknowledged. The command was not executed`;
    return new ErrorReply('SESSIONFULL', message);
  }

  #keep(session: TwinSession, seq: number, given: Reply): void {
    const { replyBytesMax, bytesMax } = this.#limits;
    const length = lengthOf(given);
    const message = `The command was executed once. Its reply of ${length} bytes was too long to be kept`;
    const reply = length > replyBytesMax ? new ErrorReply('REPLYNOTKEPT', message) : given;
    if (seq <= session.ack) return;
    session.replies = session.replies.filter((kept) => kept.seq !== seq);
    session.replies.push({ seq, reply, bytes: lengthOf(reply) + REPLY_OVERHEAD_BYTES });
    const all = () => bytesOf(this.#sessions.flatMap(({ replies }) => replies));
    while (all() > bytesMax && this.#sessions.length > 1) this.#sessions.shift();
  }
}

function bytesOf(replies: readonly KeptReply[]): number {
  return replies.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** As the table keeps it: in RESP3, where that tells all. */
function lengthOf(reply: Reply): number {
  const writer = new ReplyWriter();
  encodeReply(reply, reply instanceof NullArrayReply ? 2 : 3, writer);
  return writer.take().reduce((sum, chunk) => sum + chunk.length, 0);
}

/** The bytes of the reply; keys in the order of their names. */
export function shown(reply: Reply): string {
  if (reply instanceof NullArrayReply) return '*-1\r\n';
  if (reply instanceof EncodedArrayReply) return shown(names(reply).sort().map(fromLatin1));
  if (Array.isArray(reply)) return `*${reply.length}\r\n${reply.map(shown).join('')}`;
  return render(reply);
}
