/**
 * MULTI, EXEC, DISCARD, WATCH and UNWATCH.
 *
 *   MULTI --> queueing --(each command: +QUEUED)--> EXEC --> one operation of the log --> one array of replies
 *                 |  a command that cannot be queued: EXEC gives EXECABORT
 *                 +--> DISCARD
 *
 * The commands on data are carried out together, when the entry is applied, on every replica: nobody sees a part of them.
 * WATCH asks for the versions of its keys, and EXEC takes these along in the operation: it runs only if they still are
 * the same there and then, which holds whatever servers and leaders do in between. What concerns this server or the
 * connection (PING, SELECT, CONFIG ...) is carried out here once the operation has been applied, in its place among the
 * replies; a SELECT counts for what is queued behind it.
 *
 * What counts is what a key is when EXEC is applied. That a key which was missing has come and gone meanwhile is seen only
 * by this server, which answers then without asking the log; what comes and goes while EXEC is under way is not noticed.
 */

import type { OnceNumber, WatchedKey } from '../kv/batch.ts';
import { watchedVersions } from '../kv/internal-commands.ts';
import { BAD_NUMBERS, parseDo } from '../kv/session-commands.ts';
import type { KvStateMachine } from '../kv/state-machine.ts';
import { type DataCommand, isRepeatable } from '../kv/table.ts';
import { assert } from '../lib/assert.ts';
import { latin1 } from '../lib/bytes.ts';
import type { Client } from '../resp/client.ts';
import { ErrorReply, NullArrayReply, OK, type Reply } from '../resp/reply.ts';
import { Request, type RequestKind, type RequestOwner } from '../resp/request.ts';
import { parseDatabase } from './connection-commands.ts';
import type { AnyCommand, Call, ServerContext, TransactionState } from './context.ts';
import { DISK_FULL } from './replies.ts';
import type { CallCounter } from './stats.ts';

/** A command and its counter. */
export interface Known {
  readonly command: AnyCommand;
  /** `get`, `config|get`. */
  readonly fullName: string;
  readonly counter: CallCounter;
}

const NESTED = new ErrorReply('ERR', 'MULTI calls can not be nested');
const WATCH_INSIDE = new ErrorReply('ERR', 'WATCH inside MULTI is not allowed');
const EXEC_WITHOUT = new ErrorReply('ERR', 'EXEC without MULTI');
const DISCARD_WITHOUT = new ErrorReply('ERR', 'DISCARD without MULTI');
const NOT_ALLOWED = new ErrorReply('ERR', 'Command not allowed inside a transaction');
const ABORTED = new ErrorReply('EXECABORT', 'Transaction discarded because of previous errors.');
const TOO_LARGE = new ErrorReply('ERR', 'Transaction is larger than client-query-buffer-limit');
const TOO_MANY_WATCHED = new ErrorReply('ERR', 'Too many watched keys');
const WATCHED_MAX = 100_000;

/** These are carried out at once, also between MULTI and EXEC. */
const NEVER_QUEUED = new Set(['exec', 'discard', 'multi', 'watch', 'quit', 'reset']);

interface Queued {
  readonly known: Known;
  readonly argv: readonly Uint8Array[];
}

interface State {
  queue: Queued[];
  /** A command could not be queued. */
  broken: boolean;
  /** By database and key: a key is watched once, and from the first time. */
  watched: Map<string, WatchedKey>;
  /** As an operation of the log has them, like `Client.queuedBytes`: all of it must fit in one. */
  watchedBytes: number;
  readonly arrivals: Arrivals;
}

/** Watched keys that were missing: an operation of the log can see that one is there, and not that it was. */
class Arrivals {
  #seen = false;
  #ends: (() => void)[] = [];

  /** One of them has been written since. */
  get seen(): boolean {
    return this.#seen;
  }

  expect(stateMachine: Pick<KvStateMachine, 'watch'>, { db, key }: WatchedKey): void {
    const written = (): void => {
      this.#seen = true;
    };
    this.#ends.push(stateMachine.watch(db, latin1(key), { written }));
  }

  end(): void {
    for (const end of this.#ends) end();
    this.#ends = [];
    this.#seen = false;
  }
}

function isOnData(command: AnyCommand): command is DataCommand {
  const { kind } = command;
  return kind === 'read' || kind === 'write' || kind === 'scan';
}

export class Transactions implements TransactionState {
  readonly #server: ServerContext;
  readonly #states = new WeakMap<Client, State>();

  constructor(server: ServerContext) {
    this.#server = server;
  }

  /** Whether the command is to be queued, not carried out. */
  queues(client: Client, { fullName }: Known): boolean {
    return client.queued >= 0 && !NEVER_QUEUED.has(fullName);
  }

  /** Whether an EXEC of this client would write. */
  writes(client: Client): boolean {
    return this.#stateOf(client).queue.some(({ known }) => known.command.kind === 'write');
  }

  /** EXEC may be in flight with other writes unless it holds what concerns the connection. */
  kindOfExec(client: Client): RequestKind {
    const { queue, broken } = this.#stateOf(client);
    if (client.queued < 0 || broken) return 'local';
    return queue.every(({ known }) => isOnData(known.command)) ? 'write' : 'barrier';
  }

  #stateOf(client: Client): State {
    let state = this.#states.get(client);
    if (state === undefined) {
      state = { queue: [], broken: false, watched: new Map(), watchedBytes: 0, arrivals: new Arrivals() };
      this.#states.set(client, state);
    }
    return state;
  }

  multi(client: Client): Reply {
    if (client.queued >= 0) return NESTED;
    client.queued = 0;
    return OK;
  }

  /** What the client sent could not even be queued. */
  broken(client: Client): void {
    if (client.queued >= 0) this.#stateOf(client).broken = true;
  }

  /** The same, of a command that exists. An EXEC that is refused ends the transaction: what it gives is returned. */
  refused({ argv, client }: Request, { command, fullName }: Known, error: ErrorReply): ErrorReply {
    if (command.name !== 'exec') {
      this.broken(client);
      return error;
    }
    this.drop(client);
    this.#server.monitors.show(client, command, fullName, argv);
    return abortedBecauseOf(error);
  }

  queue(known: Known, { argv, bytes, client }: Request): Reply {
    const state = this.#stateOf(client);
    // What was typed without lengths takes more room in the log.
    const cost = Math.max(bytes, commandBytes(argv));
    const fits = state.watchedBytes + client.queuedBytes + cost <= this.#server.config.clientQueryBufferLimit;
    if (!fits || known.command.flags.includes('no_multi')) {
      state.broken = true;
      return fits ? NOT_ALLOWED : TOO_LARGE;
    }
    client.queued++;
    client.queuedBytes += cost;
    // The arguments are views of what the socket gave, and stay here for longer.
    if (!state.broken) state.queue.push({ known, argv: argv.map((arg) => Uint8Array.from(arg)) });
    return 'QUEUED';
  }

  discard(client: Client): Reply {
    if (client.queued < 0) return DISCARD_WITHOUT;
    this.drop(client);
    return OK;
  }

  /** Whatever was queued and watched is forgotten: RESET, DISCARD, and the end of EXEC. */
  drop(client: Client): void {
    client.queued = -1;
    client.queuedBytes = 0;
    this.#states.get(client)?.arrivals.end();
    this.#states.delete(client);
  }

  unwatch(client: Client): Reply {
    const state = this.#stateOf(client);
    state.watched.clear();
    state.watchedBytes = 0;
    state.arrivals.end();
    return OK;
  }

  watch({ argv, client, request }: Call): Reply | undefined {
    if (client.queued >= 0) return WATCH_INSIDE;
    const state = this.#stateOf(client);
    const keys = argv.slice(1).map((key) => Uint8Array.from(key));
    const bytes = state.watchedBytes + keys.reduce((sum, key) => sum + watchedKeyBytes(key), 0);
    if (state.watched.size + keys.length > WATCHED_MAX) return TOO_MANY_WATCHED;
    if (bytes > this.#server.config.clientQueryBufferLimit) return TOO_LARGE;
    const { db } = client;
    this.#server.replica.read(db, watchedVersions, [argv[0]!, ...keys], {
      resolve: (reply) => {
        if (reply instanceof ErrorReply) return request.resolve(reply);
        // The client has left meanwhile: nobody would ever end what is begun here.
        if (this.#states.get(client) !== state) return request.resolve(OK);
        const versions = reply as readonly number[];
        for (const [i, key] of keys.entries()) {
          const name = `${db} ${latin1(key)}`;
          if (state.watched.has(name)) continue;
          const watched = { db, key, version: versions[i]! };
          state.watched.set(name, watched);
          state.watchedBytes += watchedKeyBytes(key);
          if (watched.version === 0) state.arrivals.expect(this.#server.replica.stateMachine, watched);
        }
        request.resolve(OK);
      },
    });
    return undefined;
  }

  /** HSTORE.DO session seq ack EXEC: the same, and once however often it is sent. */
  execOnce(request: Request): void {
    const { client } = request;
    const once = parseDo(request.argv);
    const { queue } = this.#stateOf(client);
    const other = queue.find(({ known }) => !isOnData(known.command) || !isRepeatable(known.command));
    if (once !== undefined && other === undefined) return this.exec(request, once);
    if (client.queued >= 0) this.drop(client);
    request.resolve(other === undefined ? BAD_NUMBERS : abortedBecauseOf(notRepeatable(other.known)));
  }

  /** Answers the request, now or later. */
  exec(request: Request, once?: OnceNumber): void {
    const { client } = request;
    const { queue, broken, watched: watchedByName, arrivals } = this.#stateOf(client);
    const full = this.writes(client) && this.#server.replica.diskFull;
    const refused = client.queued >= 0 && (broken || full);
    const placed = client.queued < 0 || refused ? [] : placedFrom(client.db, queue);
    if (this.#server.monitors.active) this.#show(request, placed);
    if (client.queued < 0) return request.resolve(EXEC_WITHOUT);
    if (refused) {
      this.drop(client);
      return request.resolve(broken ? ABORTED : abortedBecauseOf(DISK_FULL));
    }
    // What has run once must give its first reply, whatever has come since.
    if (arrivals.seen && once === undefined) {
      this.drop(client);
      return request.resolve(NullArrayReply.instance);
    }
    const watched = [...watchedByName.values()];
    const commands = placed.filter(({ known }) => isOnData(known.command));
    const onlyData = commands.length === queue.length;
    // With others behind it in flight the client is out of the transaction now; else when all is done.
    if (onlyData) this.drop(client);
    const finish = (replies: Reply): void => {
      if (!Array.isArray(replies)) {
        if (!onlyData) this.drop(client);
        return request.resolve(replies);
      }
      new Execution(this.#server, client, { queue, replies }, (all) => {
        if (!onlyData) this.drop(client);
        request.resolve(all);
      }).next();
    };
    const nothing = commands.length === 0 && watched.length === 0 && once === undefined;
    if (nothing) finish([]);
    else this.#server.replica.transact({ once, watched, commands }, { resolve: finish });
  }

  /** What EXEC carries out, then EXEC itself, as Redis shows them. */
  #show({ argv, client }: Request, placed: readonly Placed[]): void {
    const { monitors, commands } = this.#server;
    for (const { known, argv, db } of placed) monitors.show(client, known.command, known.fullName, argv, db);
    monitors.show(client, commands.get('exec')!, 'exec', argv, placed.at(-1)?.db);
  }
}

function notRepeatable({ fullName }: Known): ErrorReply {
  return new ErrorReply('ERR', `'${fullName}' has no reply that could be given again`);
}

/** Redis names every code but the one that says nothing. */
function abortedBecauseOf({ code, message }: ErrorReply): ErrorReply {
  const cause = code === 'ERR' ? message : `${code} ${message}`;
  return new ErrorReply('EXECABORT', `Transaction discarded because of: ${cause}`);
}

/** See batch.ts. */
function commandBytes(argv: readonly Uint8Array[]): number {
  return argv.reduce((sum, arg) => sum + 4 + arg.length, 5);
}

function watchedKeyBytes(key: Uint8Array): number {
  return 13 + key.length;
}

interface Placed extends Queued {
  readonly db: number;
}

/** Each with the database that is selected where it stands: for a SELECT, the one that it chooses. */
function placedFrom(selected: number, queue: readonly Queued[]): Placed[] {
  let db = selected;
  return queue.map(({ known, argv }) => {
    const chosen = known.command.name === 'select' ? parseDatabase(argv[1]!) : db;
    if (typeof chosen === 'number') db = chosen;
    return { known, argv, db };
  });
}

/** What is left when the log has done its part: the replies in their order, and between them what is done here. */
class Execution implements RequestOwner {
  readonly #server: ServerContext;
  readonly #client: Client;
  readonly #queue: readonly Queued[];
  /** To the commands on data, in their order. */
  readonly #fromLog: Iterator<Reply>;
  readonly #done: (replies: readonly Reply[]) => void;
  readonly #replies: Reply[] = [];
  #advancing = false;

  constructor(
    server: ServerContext,
    client: Client,
    work: { readonly queue: readonly Queued[]; readonly replies: readonly Reply[] },
    done: (replies: readonly Reply[]) => void,
  ) {
    this.#server = server;
    this.#client = client;
    this.#queue = work.queue;
    this.#fromLog = work.replies[Symbol.iterator]();
    this.#done = done;
  }

  next(): void {
    // Who has left meanwhile is served no more, as with what waits in its connection: it would monitor for ever.
    if (this.#advancing || !this.#server.clients.has(this.#client.id)) return;
    this.#advancing = true;
    for (let at = this.#replies.length; at < this.#queue.length; at++) {
      this.#carryOut(this.#queue[at]!);
      // A command that answers later goes on from `onAnswered`.
      if (this.#replies.length === at) break;
    }
    this.#advancing = false;
    if (this.#replies.length === this.#queue.length) this.#done(this.#replies);
  }

  /** A request of its own for each command, so that it is counted like any other. */
  #carryOut({ known, argv }: Queued): void {
    const { command, fullName, counter } = known;
    const call = new Request(this, this.#client, argv, 0);
    call.state = 'started';
    counter.begin(call);
    if (command.kind === 'local' || command.kind === 'barrier') {
      const reply = command.run({ argv, client: this.#client, server: this.#server, request: call });
      if (reply !== undefined) call.resolve(reply);
      return;
    }
    const next = this.#fromLog.next();
    assert(next.done !== true, 'the log has a reply to each command', fullName);
    call.resolve(next.value);
  }

  onAnswered({ reply }: Request): void {
    this.#replies.push(reply);
    this.next();
  }
}
