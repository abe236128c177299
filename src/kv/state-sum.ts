/**
 * Adds up the records of a whole state, to be compared with what its meta record says of them: how many there are, and
 * the sums of their hashes. Nothing is missing, nothing is there twice, and nothing is of another state, when both agree.
 */
import { type ByteReader, type ByteWriter, MalformedError } from '../lib/bytes.ts';
import { CorruptionError } from '../lib/errors.ts';
import { NEVER } from './command.ts';
import type { DatabaseMeta, Meta } from './meta.ts';
import type { StoredValue } from './records.ts';
import { SessionSum, type StoredSession, sameSessions } from './session-records.ts';

interface SpaceSum {
  size: number;
  expiring: number;
  hashA: number;
  hashB: number;
}

export class StateSum {
  /** Of the spaces that databases have. */
  readonly #spaces: ReadonlyMap<number, SpaceSum>;
  readonly #sessions = new SessionSum();
  /** The session whose replies may follow; 0 before the first. */
  #sessionId = 0;

  constructor(meta: Pick<Meta, 'databases'>) {
    this.#spaces = new Map(
      meta.databases.map(({ space }) => [space, { size: 0, expiring: 0, hashA: 0, hashB: 0 }]),
    );
  }

  get keys(): number {
    let keys = 0;
    for (const { size } of this.#spaces.values()) keys += size;
    return keys;
  }

  get sessions(): number {
    return this.#sessions.sessions;
  }

  get entries(): number {
    return this.keys + this.#sessions.sessions + this.#sessions.replies;
  }

  /** Whether a database has this space. */
  has(space: number): boolean {
    return this.#spaces.has(space);
  }

  value(space: number, { expireAtMs, hashA, hashB }: StoredValue): void {
    const sum = this.#spaces.get(space);
    if (sum === undefined) throw new CorruptionError(`a key is in space ${space}, which no database has`);
    sum.size++;
    if (expireAtMs !== NEVER) sum.expiring++;
    sum.hashA = (sum.hashA + hashA) | 0;
    sum.hashB = (sum.hashB + hashB) | 0;
  }

  /** In the order of their keys: replies behind their session. Throws CorruptionError. */
  session(record: StoredSession): void {
    if (record.kind === 'session') this.#sessionId = record.session.id;
    else if (record.id !== this.#sessionId)
      throw new CorruptionError(`a reply is without its session ${record.id}`);
    this.#sessions.stored(record);
  }

  /** In words; none when all is there. */
  differences({ databases, clientSessions }: Pick<Meta, 'databases' | 'clientSessions'>): string[] {
    const found: string[] = [];
    for (const [db, meta] of databases.entries()) {
      const difference = compare(this.#spaces.get(meta.space)!, meta);
      if (difference !== undefined) found.push(`database ${db} ${difference}`);
    }
    const { sessions, replies } = this.#sessions;
    if (sessions !== clientSessions.sessions || replies !== clientSessions.replies) {
      found.push(
        `there are ${sessions} sessions with ${replies} replies instead of ${clientSessions.sessions} with ${clientSessions.replies}`,
      );
    } else if (!sameSessions(this.#sessions, clientSessions)) {
      found.push('the sessions have another hash');
    }
    return found;
  }

  encode(writer: ByteWriter): void {
    writer.u8(this.#spaces.size);
    for (const [space, sum] of this.#spaces) {
      writer.u64(space);
      writer.u64(sum.size);
      writer.u64(sum.expiring);
      writer.u32(sum.hashA >>> 0);
      writer.u32(sum.hashB >>> 0);
    }
    writer.u64(this.#sessions.sessions);
    writer.u64(this.#sessions.replies);
    writer.u32(this.#sessions.hashA >>> 0);
    writer.u32(this.#sessions.hashB >>> 0);
    writer.u64(this.#sessionId);
  }

  /** Goes on from what `encode` wrote, with the same spaces. Throws MalformedError. */
  decode(reader: ByteReader): void {
    const count = reader.u8();
    if (count !== this.#spaces.size) throw new MalformedError(`${count} spaces`);
    for (let i = 0; i < count; i++) {
      const space = reader.u64();
      const sum = this.#spaces.get(space);
      if (sum === undefined) throw new MalformedError(`space ${space}`);
      sum.size = reader.u64();
      sum.expiring = reader.u64();
      sum.hashA = reader.u32() | 0;
      sum.hashB = reader.u32() | 0;
    }
    this.#sessions.sessions = reader.u64();
    this.#sessions.replies = reader.u64();
    this.#sessions.hashA = reader.u32() | 0;
    this.#sessions.hashB = reader.u32() | 0;
    this.#sessionId = reader.u64();
  }
}

function compare(sum: SpaceSum, meta: DatabaseMeta): string | undefined {
  if (sum.size !== meta.size) return `has ${sum.size} keys instead of ${meta.size}`;
  if (sum.expiring !== meta.expiring)
    return `has ${sum.expiring} keys with a time to live instead of ${meta.expiring}`;
  if (sum.hashA !== meta.hashA || sum.hashB !== meta.hashB)
    return 'has other keys or values: its hash differs';
  return undefined;
}
