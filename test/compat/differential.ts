/**
 * One history of commands, carried out on hstore and on Redis, and whether both have answered the same.
 *
 *   history -> two connections to each server -> replies, made comparable -> lines, to be compared
 *
 * What follows on the same connection is sent in one write; between the two connections all wait for the replies, so that
 * both servers see one order. Replies are compared as bytes, but for what cannot be equal; `comparable` tells what and why.
 */
import { Talk } from './talk.ts';
import { splitReplies } from './wire.ts';

export type Act =
  | { readonly do: 'send'; readonly client: 0 | 1; readonly argv: readonly string[] }
  /** A whole SCAN, from cursor to cursor. */
  | { readonly do: 'scan'; readonly client: 0 | 1; readonly options: readonly string[] }
  /** DUMP, and RESTORE of what the other server has dumped. */
  | {
      readonly do: 'transfer';
      readonly client: 0 | 1;
      readonly from: string;
      readonly restore: readonly string[];
    };

/** The same times to live are set a moment later on one server. */
const MOMENT = 20_000;
const TIMES = new Set(['ttl', 'pttl', 'expiretime', 'pexpiretime']);
const ENDS = ['discard +OK\r\n', 'reset +RESET\r\n'];
const NULLS = ['*-1\r\n', '_\r\n'];

/** A client, once on each server. */
class Twin {
  readonly ours: Talk;
  readonly theirs: Talk;
  /** What EXEC will carry out. */
  queued: (readonly string[])[] = [];
  inMulti = false;
  watched: Watched[] = [];

  private constructor(ours: Talk, theirs: Talk) {
    this.ours = ours;
    this.theirs = theirs;
  }

  static async start(ports: { hstore: number; redis: number }): Promise<Twin> {
    return new Twin(...(await Promise.all([Talk.start(ports.hstore), Talk.start(ports.redis)])));
  }

  async ask(steps: readonly (readonly string[])[]): Promise<[string[], string[]]> {
    const askOne = async (talk: Talk, name: string): Promise<string[]> => {
      try {
        return await talk.send(...steps).replies(steps.length);
      } catch (cause) {
        throw new Error(`${name} does not answer ${JSON.stringify(steps)}`, { cause });
      }
    };
    return Promise.all([askOne(this.ours, 'hstore'), askOne(this.theirs, 'Redis')]);
  }

  /** Follows a transaction by what Redis has answered. */
  follow(argv: readonly string[], reply: string): void {
    const name = argv[0]!.toLowerCase();
    if (reply === '+QUEUED\r\n') this.queued.push(argv);
    else if (name === 'multi' && reply === '+OK\r\n') this.inMulti = true;
    else if (name === 'unwatch' && reply === '+OK\r\n') this.watched = [];
    const ended =
      name === 'exec' ? reply !== '-ERR EXEC without MULTI\r\n' : ENDS.includes(`${name} ${reply}`);
    if (!ended) return;
    this.queued = [];
    this.inMulti = false;
    this.watched = [];
  }

  destroy(): void {
    this.ours.destroy();
    this.theirs.destroy();
  }
}

/** What Redis had under a key when it was watched. */
interface Watched {
  readonly db: string;
  readonly key: string;
  readonly state: string;
  swapped: boolean;
  bitsSet: boolean;
}

export class Differential {
  readonly #twins: readonly Twin[];
  /** Looks at what Redis has, when that is asked for. */
  readonly #probe: Talk;
  readonly #ours: string[] = [];
  readonly #theirs: string[] = [];
  /** INCRBYFLOAT stores a whole result as an integer in hstore, and text in Redis. */
  #floats = false;

  private constructor(twins: readonly Twin[], probe: Talk) {
    this.#twins = twins;
    this.#probe = probe;
  }

  /** What each has answered, line by line, as far as it can be compared. */
  static async run(
    ports: { hstore: number; redis: number },
    protocol: 2 | 3,
    history: readonly Act[],
  ): Promise<{ ours: readonly string[]; theirs: readonly string[] }> {
    const twins = await Promise.all([Twin.start(ports), Twin.start(ports)]);
    const run = new Differential(twins, await Talk.start(ports.redis));
    await twins[0].ask([['FLUSHALL']]);
    if (protocol === 3) for (const twin of twins) await twin.ask([['HELLO', '3']]);
    try {
      await run.#carryOut(history);
    } finally {
      for (const each of [...twins, run.#probe]) each.destroy();
    }
    return { ours: run.#ours, theirs: run.#theirs };
  }

  async #carryOut(history: readonly Act[]): Promise<void> {
    for (let at = 0; at < history.length; ) {
      const act = history[at]!;
      let next = at + 1;
      let same = true;
      if (act.do === 'scan') same = await this.#scan(act);
      else if (act.do === 'transfer') same = await this.#transfer(act);
      else {
        while (!standsAlone(act) && next < history.length && follows(act, history[next]!)) next++;
        const sent = history.slice(at, next).flatMap((each) => (each.do === 'send' ? [each.argv] : []));
        same = await this.#send(act.client, sent);
      }
      // What comes behind a difference says nothing.
      if (!same) return;
      at = next;
    }
  }

  async #send(client: 0 | 1, steps: readonly (readonly string[])[]): Promise<boolean> {
    const twin = this.#twins[client]!;
    const name = steps[0]![0]!.toLowerCase();
    const watched = name === 'watch' && !twin.inMulti ? await this.#look(twin, steps[0]!.slice(1)) : [];
    const [ours, theirs] = await twin.ask(steps);
    for (const [i, step] of steps.entries()) {
      const word = step[0]!.toLowerCase();
      if (word === 'incrbyfloat') this.#floats = true;
      this.#noteWhatMatters(word);
      if (word === 'exec' && (await this.#knownOutcome(twin, ours[i]!, theirs[i]!))) return false;
      if (!this.#compare(client, step, [ours[i]!, theirs[i]!], twin.queued)) return false;
      twin.follow(step, theirs[i]!);
    }
    if (name === 'watch' && theirs[0] === '+OK\r\n') twin.watched.push(...watched);
    return true;
  }

  async #look(twin: Twin, keys: readonly string[]): Promise<Watched[]> {
    const db = / db=(\d+) /.exec(await twin.theirs.ask('CLIENT', 'INFO'))![1]!;
    const watched: Watched[] = [];
    for (const key of keys) {
      // What is watched already stays as it was then.
      if (twin.watched.some((each) => each.db === db && each.key === key)) continue;
      watched.push({ db, key, state: await this.#stateOf(db, key), swapped: false, bitsSet: false });
    }
    return watched;
  }

  async #stateOf(db: string, key: string): Promise<string> {
    const replies = await this.#probe.send(['SELECT', db], ['DUMP', key], ['PEXPIRETIME', key]).replies(3);
    return replies.join('');
  }

  #noteWhatMatters(word: string): void {
    for (const watched of this.#twins.flatMap((twin) => twin.watched)) {
      if (word === 'swapdb') watched.swapped = true;
      if (word === 'setbit' || word === 'bitfield') watched.bitsSet = true;
    }
  }

  /**
   * Redis remembers that a database was swapped, hstore looks at what its keys are. That a key is stored in another encoding
   * is a change in hstore, as when a bit is set to what it was. Where this has led to two outcomes the history ends.
   */
  async #knownOutcome({ watched }: Twin, ours: string, theirs: string): Promise<boolean> {
    const isNull = (reply: string) => NULLS.includes(reply);
    if (isNull(ours) === isNull(theirs)) return false;
    if (isNull(ours)) return watched.some(({ bitsSet }) => bitsSet);
    for (const { db, key, state } of watched) if ((await this.#stateOf(db, key)) !== state) return false;
    return watched.some(({ swapped }) => swapped);
  }

  async #scan({ client, options }: Extract<Act, { do: 'scan' }>): Promise<boolean> {
    const twin = this.#twins[client]!;
    // Inside MULTI one page, and all keys are on it.
    if (twin.inMulti) return this.#send(client, [['SCAN', '0', ...options, 'COUNT', '1000']]);
    const [ours, theirs] = await Promise.all([scanAll(twin.ours, options), scanAll(twin.theirs, options)]);
    return this.#compare(client, ['(whole SCAN)', ...options], [ours, theirs], []);
  }

  async #transfer({ client, from, restore }: Extract<Act, { do: 'transfer' }>): Promise<boolean> {
    const twin = this.#twins[client]!;
    const dump = ['DUMP', from];
    if (twin.inMulti) return this.#send(client, [dump]);
    const [[ours], [theirs]] = await twin.ask([dump]);
    if (!this.#compare(client, dump, [ours!, theirs!], []) || theirs!.startsWith('$-1')) return true;
    const step = (payload: string) => [
      'RESTORE',
      ...restore.slice(0, 2),
      bulkOf(payload),
      ...restore.slice(2),
    ];
    const [[toUs], [toThem]] = await Promise.all([
      twin.ours.send(step(theirs!)).replies(1),
      twin.theirs.send(step(ours!)).replies(1),
    ]);
    return this.#compare(client, ['RESTORE', ...restore, '(of the other)'], [toUs!, toThem!], []);
  }

  /** Notes both, and tells whether they are the same. */
  #compare(
    client: number,
    argv: readonly string[],
    replies: readonly [string, string],
    queued: readonly (readonly string[])[],
  ): boolean {
    const [ours, theirs] = this.#comparable(argv, replies, queued);
    const asked = `${client}: ${JSON.stringify(argv).slice(1, -1)}`;
    this.#ours.push(`${asked} -> ${JSON.stringify(ours)}`);
    this.#theirs.push(`${asked} -> ${JSON.stringify(theirs)}`);
    return ours === theirs;
  }

  /** Both replies, with what cannot be equal made equal. */
  #comparable(
    argv: readonly string[],
    [ours, theirs]: readonly [string, string],
    queued: readonly (readonly string[])[],
  ): readonly [string, string] {
    if (ours === theirs) return [ours, theirs];
    const name = argv[0]!.toLowerCase();
    // A dump says how old a value is in no way, but Redis compresses what is long.
    if (name === 'dump' && theirs.includes('\r\n\0\xc3'))
      return ['a dump', ours.startsWith('$-1') ? ours : 'a dump'];
    if (TIMES.has(name)) return nearly(ours, theirs);
    if (name === 'keys') return [sorted(ours), sorted(theirs)];
    // Chance.
    if (name === 'randomkey' && isBulk(ours) && isBulk(theirs)) return ['a key', 'a key'];
    if (name === 'scan') return [sortedPage(ours), sortedPage(theirs)];
    if (name === 'object') return this.#comparableObject(argv[1]?.toLowerCase(), ours, theirs);
    if (name === 'exec') return this.#comparableExec(queued, ours, theirs);
    return [ours, theirs];
  }

  #comparableObject(about: string | undefined, ours: string, theirs: string): readonly [string, string] {
    // In whole seconds of a clock of its own.
    if (about === 'idletime') return nearly(ours, theirs);
    const isFloat = about === 'encoding' && this.#floats;
    if (isFloat && ours === bulk('int') && theirs === bulk('embstr')) return [theirs, theirs];
    return [ours, theirs];
  }

  #comparableExec(
    queued: readonly (readonly string[])[],
    ours: string,
    theirs: string,
  ): readonly [string, string] {
    const header = `*${queued.length}\r\n`;
    if (!ours.startsWith(header) || !theirs.startsWith(header)) return [ours, theirs];
    const [our, their] = [ours, theirs].map((reply) => splitReplies(reply.slice(header.length)));
    const pairs = queued.map((step, i) => this.#comparable(step, [our![i]!, their![i]!], []));
    return [pairs.map(([each]) => each).join(''), pairs.map(([, each]) => each).join('')];
  }
}

/** These are looked at before and behind, so they are sent alone. */
function standsAlone(act: Act): boolean {
  return act.do !== 'send' || ['watch', 'exec', 'swapdb'].includes(act.argv[0]!.toLowerCase());
}

function follows(act: Act, next: Act): boolean {
  return next.client === act.client && !standsAlone(next);
}

function nearly(ours: string, theirs: string): readonly [string, string] {
  const [our, their] = [ours, theirs].map((reply) => Number(/^:(\d+)\r\n$/.exec(reply)?.[1]));
  return Math.abs(our! - their!) <= MOMENT ? [theirs, theirs] : [ours, theirs];
}

const isBulk = (reply: string) => reply.startsWith('$') && !reply.startsWith('$-1');
const bulk = (text: string) => `$${text.length}\r\n${text}\r\n`;

/** The bytes in a bulk string. */
function bulkOf(reply: string): string {
  return reply.slice(reply.indexOf('\r\n') + 2, -2);
}

function sorted(reply: string): string {
  if (!reply.startsWith('*')) return reply;
  return splitReplies(reply.slice(reply.indexOf('\r\n') + 2))
    .sort()
    .join('');
}

/** Cursor and keys. */
function sortedPage(reply: string): string {
  if (!reply.startsWith('*2\r\n')) return reply;
  const [cursor, keys] = splitReplies(reply.slice('*2\r\n'.length));
  return cursor + sorted(keys!);
}

/** All keys that a scan gives, in one order; or its error. */
async function scanAll(talk: Talk, options: readonly string[]): Promise<string> {
  const keys: string[] = [];
  let cursor = '0';
  do {
    const reply = await talk.ask('SCAN', cursor, ...options);
    if (!reply.startsWith('*2\r\n')) return reply;
    const [next, page] = splitReplies(reply.slice('*2\r\n'.length));
    keys.push(...splitReplies(page!.slice(page!.indexOf('\r\n') + 2)));
    cursor = bulkOf(next!);
  } while (cursor !== '0');
  return keys.sort().join('');
}
