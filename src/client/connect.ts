/**
 * A client of an hstore cluster whose writes happen exactly once, on top of ioredis.
 *
 *   const db = await connect('10.0.0.1:6379,10.0.0.2:6379,10.0.0.3:6379');
 *   await db.call('INCR', 'visits');        // once, whatever breaks on the way
 *   await db.close();
 *
 * It is connected to one server at a time, which may be any. What has not been answered when the connection breaks, when
 * a server says that it could not reach a majority, or when it says nothing for too long, is sent again to another one,
 * until the deadline: a read as it is, a write as `HSTORE.DO session seq ack ...` with the number that it had, so that it
 * runs once however often it is sent. Which servers there are it learns from the cluster.
 */
import { Redis, type RedisOptions } from 'ioredis';
import { Members, parseAddress, parseClusterNodes } from './members.ts';
import { Session } from './session.ts';

export interface ConnectOptions {
  /** Servers of the cluster, some of them at least: `HOST:PORT`. */
  readonly nodes: string | readonly string[];
  readonly username?: string;
  readonly password?: string;
  /** 0 to 15. */
  readonly db?: number;
  /** As ioredis takes it, and node:tls: `{ ca }`. */
  readonly tls?: NonNullable<RedisOptions['tls']>;
  /** How long a command may take with all its repetitions; 15000. */
  readonly deadlineMs?: number;
}

export type Argument = string | number | Buffer;

/**
 * The deadline has passed. `outcome` says what is known of the command: `not-done`, it has not happened and will not;
 * `unknown`, it may have happened, or may yet.
 */
export class DeadlineError extends Error {
  override readonly name = 'DeadlineError';
  readonly outcome: 'not-done' | 'unknown';

  constructor(command: string, outcome: 'not-done' | 'unknown', cause: unknown) {
    const what = outcome === 'unknown' ? 'it may have been executed' : 'it was not executed';
    super(`${command} was not answered before its deadline: ${what}`, { cause });
    this.outcome = outcome;
  }
}

/** The session was dropped by the servers while a write's outcome was not known. */
export class SessionLostError extends Error {
  override readonly name = 'SessionLostError';
  readonly outcome = 'unknown';

  constructor(command: string) {
    super(`the session expired before ${command} was answered: it may have been executed`);
  }
}

/** Of a connection, not of a command: they would be lost with the connection, and nobody would know. */
const REFUSED = new Set(
  ['multi', 'exec', 'discard', 'watch', 'unwatch', 'select', 'auth', 'hello', 'reset', 'quit'].concat([
    'monitor',
    'client',
    'subscribe',
    'psubscribe',
    'ssubscribe',
    'hstore.do',
    'hstore.session',
  ]),
);
/** Errors after which a command is sent again. What they leave open a session settles. */
const AGAIN = /^(CLUSTERDOWN|TIMEOUT|TRYAGAIN|LOADING|SESSIONFULL)\b/;
/** A server refuses what it is sent before it looks at what it is: that says nothing about an earlier attempt. */
const REFUSED_AT_THE_DOOR = /^(MISCONF|NOAUTH|WRONGPASS|DENIED)\b/;
const DEADLINE_MS = 15_000;
const RETRY_MS_MIN = 20;
const RETRY_MS_MAX = 500;
const CONNECT_MS_MAX = 2000;
const CLOSE_MS_MAX = 1000;
/** An attempt may take half of the time that is left, so that another server gets the other; or all, if it is so short. */
const ATTEMPT_MS_MIN = 1000;
/** The servers keep up to 512 replies of a session, and learn with the next write what may be forgotten. */
const OPEN_WRITES_MAX = 128;

export async function connect(options: string | readonly string[] | ConnectOptions): Promise<HstoreClient> {
  const given = typeof options === 'string' || 'length' in options ? { nodes: options } : options;
  const client = new HstoreClient(given);
  try {
    await client.start();
  } catch (error) {
    await client.close();
    throw error;
  }
  return client;
}

interface Numbered {
  readonly session: Session;
  readonly seq: number;
}

interface Attempt {
  readonly redis: Redis;
  readonly error?: unknown;
}

export class HstoreClient {
  readonly #options: ConnectOptions;
  readonly #members: Members;
  readonly #deadlineMs: number;
  #redis: Promise<Redis> | undefined;
  #session: Promise<Session> | undefined;
  /** Flags of each command, by name in lower case. */
  #commands = new Map<string, readonly string[]>();
  /** Writes that wait for others to be settled, for a number; or, with undefined, to look again. */
  #waiting: ((taken: Numbered | undefined) => void)[] = [];
  #closed = false;

  /** For `connect`. */
  constructor(options: ConnectOptions) {
    this.#options = options;
    const texts = typeof options.nodes === 'string' ? options.nodes.split(',') : options.nodes;
    this.#members = new Members(texts.map(parseAddress), Math.random());
    this.#deadlineMs = options.deadlineMs ?? DEADLINE_MS;
  }

  /** For `connect`: resolves when a server has answered. */
  async start(): Promise<void> {
    await this.#read('COMMAND', [], { buffers: false });
  }

  /** The servers that it knows. */
  get members(): readonly { readonly host: string; readonly port: number }[] {
    return this.#members.all;
  }

  /** Bulk strings in the reply come as strings of UTF-8. Rejects with ioredis's ReplyError where Redis gives an error. */
  call(command: string, ...args: readonly Argument[]): Promise<unknown> {
    return this.#run(command, args, false);
  }

  /** The same, with bulk strings as Buffers. */
  callBuffer(command: string, ...args: readonly Argument[]): Promise<unknown> {
    return this.#run(command, args, true);
  }

  async get(key: string | Buffer): Promise<string | null> {
    return (await this.call('GET', key)) as string | null;
  }

  /** `options`: those of SET, as words: `'PX', 1000, 'NX'`, but not GET. True when it was set. */
  async set(key: string | Buffer, value: Argument, ...options: readonly Argument[]): Promise<boolean> {
    return (await this.call('SET', key, value, ...options)) !== null;
  }

  /** How many of the keys there were. */
  async del(...keys: readonly (string | Buffer)[]): Promise<number> {
    return (await this.call('DEL', ...keys)) as number;
  }

  async incrBy(key: string | Buffer, increment = 1): Promise<number> {
    return (await this.call('INCRBY', key, increment)) as number;
  }

  /**
   * Several commands on keys in one step, all of them or none, and once: `[['DECRBY', 'a', 5], ['INCRBY', 'b', 5]]`. A
   * reply to each; where Redis gives an error, that is an Error in its place.
   */
  async transaction(
    commands: readonly (readonly [command: string, ...args: Argument[]])[],
  ): Promise<unknown[]> {
    const replies = await this.#write('EXEC', (redis, { session, seq }) =>
      sendTransaction(redis, commands, ['HSTORE.DO', session.id, seq, session.ack, 'EXEC']),
    );
    return replies as unknown[];
  }

  /** Waits for nothing: close when all is answered. The servers forget the session at once, or when it has expired. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const redis = await this.#redis?.catch(() => undefined);
    if (redis === undefined) return;
    const closeSession = this.#session?.then(({ id }) => redis.call('HSTORE.SESSION', 'CLOSE', id));
    if (closeSession !== undefined) await within(CLOSE_MS_MAX, closeSession).catch(() => {});
    redis.disconnect();
  }

  async #run(command: string, args: readonly Argument[], buffers: boolean): Promise<unknown> {
    const name = command.toLowerCase();
    if (REFUSED.has(name)) {
      throw new TypeError(`${command} belongs to one connection: use a connection of ioredis for it`);
    }
    const flags = this.#commands.get(name) ?? [];
    if (flags.includes('write')) {
      return this.#write(command, (redis, { session, seq }) =>
        send(redis, ['HSTORE.DO', session.id, seq, session.ack, command, ...args], buffers),
      );
    }
    return this.#read(command, args, { buffers, once: flags.includes('admin') });
  }

  /** `once`: it is not sent again when nobody knows what became of it. */
  async #read(
    command: string,
    args: readonly Argument[],
    how: { readonly buffers: boolean; readonly once?: boolean; readonly untilMs?: number },
  ): Promise<unknown> {
    const { buffers, once = false, untilMs = performance.now() + this.#deadlineMs } = how;
    for (let retryMs = RETRY_MS_MIN; ; retryMs = Math.min(2 * retryMs, RETRY_MS_MAX)) {
      let attempt: Attempt | undefined;
      try {
        const redis = await this.#connected(untilMs);
        attempt = { redis };
        return await within(attemptMs(untilMs), send(redis, [command, ...args], buffers));
      } catch (error) {
        if (isFinal(error)) throw error;
        if (attempt !== undefined && once) throw new DeadlineError(command, 'unknown', error);
        await this.#recover(attempt, error);
        if (!(await this.#pause(retryMs, untilMs))) throw new DeadlineError(command, 'not-done', error);
      }
    }
  }

  /** `attemptAt` sends the write under the number that it has got. */
  async #write(
    command: string,
    attemptAt: (redis: Redis, number: Numbered) => Promise<unknown>,
  ): Promise<unknown> {
    const untilMs = performance.now() + this.#deadlineMs;
    let { session, seq } = await this.#takeNumber(command, untilMs);
    /** An attempt was made of which nobody knows what became. */
    let open = false;
    try {
      for (let retryMs = RETRY_MS_MIN; ; retryMs = Math.min(2 * retryMs, RETRY_MS_MAX)) {
        let attempt: Attempt | undefined;
        try {
          const redis = await this.#connected(untilMs);
          attempt = { redis };
          return await within(attemptMs(untilMs), attemptAt(redis, { session, seq }));
        } catch (error) {
          if (isSessionExpired(error)) {
            if (open) throw new SessionLostError(command);
            session.lost = true;
            this.#settle(session, seq);
            ({ session, seq } = await this.#takeNumber(command, untilMs));
            continue;
          }
          if (isFinal(error) && !(open && isRefusedAtTheDoor(error))) throw error;
          open ||= attempt !== undefined && !isNotDone(error);
          if (!isSessionFull(error)) await this.#recover(attempt, error);
          if (!(await this.#pause(retryMs, untilMs))) {
            throw new DeadlineError(command, open ? 'unknown' : 'not-done', error);
          }
        }
      }
    } finally {
      this.#settle(session, seq);
    }
  }

  #settle(session: Session, seq: number): void {
    session.settle(seq);
    while (this.#waiting.length > 0 && (session.lost || session.open < OPEN_WRITES_MAX)) {
      this.#waiting.shift()!(session.lost ? undefined : { session, seq: session.next() });
    }
  }

  // Sessions

  /** A number of the present session, as soon as there is one and it has room. */
  async #takeNumber(command: string, untilMs: number): Promise<Numbered> {
    for (;;) {
      this.#session ??= this.#requestSession(untilMs);
      const opening = this.#session;
      let session: Session;
      try {
        session = await opening;
      } catch (error) {
        if (this.#session === opening) this.#session = undefined;
        if (!(error instanceof DeadlineError)) throw error;
        // It may have been the deadline of another write, which had asked first.
        if (performance.now() < untilMs - RETRY_MS_MAX) continue;
        throw new DeadlineError(command, 'not-done', error);
      }
      if (session.lost) {
        if (performance.now() >= untilMs) throw new DeadlineError(command, 'not-done', undefined);
        if (this.#session === opening) this.#session = undefined;
        continue;
      }
      // Looked and taken in one step: of all who have waited for the session no more go on than there is room for.
      if (session.open < OPEN_WRITES_MAX) return { session, seq: session.next() };
      const taken = await this.#turn(command, untilMs);
      if (taken !== undefined) return taken;
    }
  }

  /** Waits until another write is settled. */
  #turn(command: string, untilMs: number): Promise<Numbered | undefined> {
    return new Promise((resolve, reject) => {
      const settled = (taken: Numbered | undefined): void => {
        clearTimeout(timer);
        resolve(taken);
      };
      const timer = setTimeout(() => {
        this.#waiting = this.#waiting.filter((each) => each !== settled);
        reject(new DeadlineError(command, 'not-done', undefined));
      }, untilMs - performance.now());
      this.#waiting.push(settled);
    });
  }

  /** A session that is opened twice, because the first answer was lost, expires by itself. */
  async #requestSession(untilMs: number): Promise<Session> {
    return new Session((await this.#read('HSTORE.SESSION', ['OPEN'], { buffers: false, untilMs })) as number);
  }

  // Connections

  async #connected(untilMs: number): Promise<Redis> {
    if (this.#closed) throw new Error('the client is closed');
    this.#redis ??= this.#connect(untilMs);
    return this.#redis;
  }

  async #connect(untilMs: number): Promise<Redis> {
    const { username, password, db, tls } = this.#options;
    const connectMs = Math.max(1, Math.min(CONNECT_MS_MAX, untilMs - performance.now()));
    const redis = new Redis({
      ...this.#members.next(),
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...(tls === undefined ? {} : { tls }),
      db: db ?? 0,
      lazyConnect: true,
      connectTimeout: connectMs,
      // What is sent again, and where, is decided here.
      autoResendUnfulfilledCommands: false,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      retryStrategy: null,
      enableReadyCheck: false,
    });
    let reason: unknown;
    redis.on('error', (error: unknown) => {
      reason = error;
    });
    try {
      await within(
        connectMs,
        redis.connect().then(() => this.#learn(redis)),
      );
      return redis;
    } catch (error) {
      redis.disconnect();
      // "Connection is closed", says the one; why, the other.
      throw isFinal(error) ? error : (reason ?? error);
    }
  }

  async #learn(redis: Redis): Promise<void> {
    const nodes = (await redis.call('CLUSTER', 'NODES')) as string;
    this.#members.learn(parseClusterNodes(nodes));
    if (this.#commands.size > 0) return;
    const rows = (await redis.call('COMMAND')) as [name: string, arity: number, flags: readonly string[]][];
    this.#commands = new Map(rows.map(([name, , flags]) => [name.toLowerCase(), flags]));
  }

  /** After an error: the next attempt goes to another server, unless somebody has seen to that already. */
  async #recover(attempt: Attempt | undefined, error: unknown): Promise<void> {
    if (this.#closed) throw error;
    const present = this.#redis;
    const redis = await present?.catch(() => undefined);
    if (this.#redis !== present || (attempt !== undefined && redis !== attempt.redis)) return;
    this.#redis = undefined;
    redis?.disconnect();
  }

  /** False when the deadline comes first. */
  async #pause(ms: number, untilMs: number): Promise<boolean> {
    if (performance.now() + ms >= untilMs) return false;
    await new Promise((resolve) => void setTimeout(resolve, ms));
    return true;
  }
}

function attemptMs(untilMs: number): number {
  const leftMs = untilMs - performance.now();
  return Math.min(leftMs, Math.max(leftMs / 2, ATTEMPT_MS_MIN));
}

/** Rejects if it takes longer: a server that hangs says nothing, and its connection does not break. */
function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = (): void => reject(new Error(`no answer within ${Math.round(ms)} ms`));
    const timer = setTimeout(late, Math.max(0, ms));
    void promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function send(redis: Redis, [command, ...args]: readonly Argument[], buffers: boolean): Promise<unknown> {
  const words = args as (string | Buffer | number)[];
  return buffers ? redis.callBuffer(`${command}`, ...words) : redis.call(`${command}`, ...words);
}

/** All of it in one go, so that nothing else of this connection comes between. */
async function sendTransaction(
  redis: Redis,
  commands: readonly (readonly Argument[])[],
  exec: readonly Argument[],
): Promise<unknown> {
  const pipeline = redis.pipeline();
  for (const [command, ...args] of [['MULTI'], ...commands, exec]) pipeline.call(`${command}`, ...args);
  const replies = await pipeline.exec();
  const [error, result] = replies?.at(-1) ?? [new Error('the connection is closed'), undefined];
  if (error !== null) throw error;
  return result;
}

/** An answer that another attempt would not change: a mistake of the caller, or of the command's own. */
function isFinal(error: unknown): boolean {
  if (error instanceof TypeError) return true;
  return error instanceof Error && error.name === 'ReplyError' && !AGAIN.test(error.message);
}

function isRefusedAtTheDoor(error: unknown): boolean {
  return error instanceof Error && REFUSED_AT_THE_DOOR.test(error.message);
}

/** The server has said so. */
function isNotDone(error: unknown): boolean {
  return error instanceof Error && /^(CLUSTERDOWN|SESSIONFULL)\b/.test(error.message);
}

function isSessionFull(error: unknown): boolean {
  return error instanceof Error && /^SESSIONFULL\b/.test(error.message);
}

function isSessionExpired(error: unknown): boolean {
  return error instanceof Error && /^SESSIONEXPIRED\b/.test(error.message);
}
