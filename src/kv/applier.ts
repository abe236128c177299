/**
 * Applies entries of the log, operation by operation.
 *
 * An operation whose keys are not all in memory stops the work; its keys and those of the operations behind it, some
 * hundred, are fetched in one question to the store, and the work goes on from there. When all keys are in memory, which
 * is the common case, `apply` does its work before it returns, unless it is so much that others would wait too long:
 * then it goes on in the next turn.
 *
 * Two kinds of operation may take several turns themselves: one over very many keys, done piece by piece, and a
 * transaction that is long or goes through all keys (KEYS inside MULTI). Until such a one is complete, reads wait.
 *
 * An entry may ask for a cut: the state behind it, and behind no other, is wanted as a whole (view.ts). The observer hears
 * of it between that entry and the next, and may have the next wait.
 */
import { assert } from '../lib/assert.ts';
import { latin1 } from '../lib/bytes.ts';
import type { Entry } from '../raft/types.ts';
import { ErrorReply, NullArrayReply, OK, type Reply } from '../resp/reply.ts';
import { ADVANCE, COMMAND, NO_SESSION, OPEN_SESSION, TRANSACTION, type TransactionCommand } from './batch.ts';
import { type Database, keyIndexes, type WriteCommand } from './command.ts';
import { readDatabases, type World, writeDatabases } from './databases.ts';
import { EntryCursor } from './entry-cursor.ts';
import type { Fetcher, KeyPlace } from './fetch.ts';
import { freezeCommand } from './internal-commands.ts';
import { otherPlaces, transactionPlaces } from './key-places.ts';
import type { KeptConfiguration } from './meta.ts';
import type { Reader } from './reader.ts';
import { type Row, Rows } from './rows.ts';
import { Scan, type ScanWorld } from './scan.ts';
import type { Session, Sessions } from './sessions.ts';
import { type DataCommand, isRepeatable } from './table.ts';

/** Keys fetched together: ahead of the operation that waits for its own, and for a piece of one. Even. */
const WINDOW_KEYS_MAX = 256;
/** Operations and keys after which a turn ends: some ten milliseconds. */
const STEPS_PER_TURN = 20_000;
/** More arguments than this are carried out piece by piece, where a command allows it; even, for keys with values. */
const PIECE_ARGUMENTS = 4096;

/** Hears what became of each operation, on every replica, in the order of the log, while `apply` runs. */
export interface ApplyObserver {
  /** Whether the replies to this session's operations matter here. If not, what only reads is not even run. */
  wants(session: number): boolean;
  /** Operation `seq` of the session has been executed. The reply of what is no command (skip, advance) is OK. */
  applied(session: number, seq: number, reply: Reply): void;
  /** The run's rest was not executed, because `expectedSeq` has not been yet: send again from there. */
  gap(session: number, expectedSeq: number): void;
  /** Nothing of the run that begins at `seq` was executed: the session was dropped, or never was. */
  sessionUnknown(session: number, seq: number): void;
  sessionOpened(nonce: number, session: number): void;
  /**
   * The state of now, behind entry `index`, is to be kept as views of these ids. False: nothing may be applied until
   * `resume`, which is called once, later. Without this nobody wants views.
   */
  cut?(ids: readonly string[], index: number, resume: () => void): boolean;
}

const NOT_REPEATABLE = new ErrorReply('ERR', 'this command has no reply that could be given again');

export interface ApplierParts {
  readonly world: World;
  readonly sessions: Sessions;
  readonly fetcher: Fetcher;
  readonly reader: Reader;
  readonly scanWorld: ScanWorld;
  readonly observer: ApplyObserver;
  /** Calls back in a later turn. */
  readonly later: (callback: () => void) => void;
}

export interface AppliedTo {
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  readonly opCount: number;
  readonly configuration: KeptConfiguration;
}

/** An operation that takes several turns. */
interface Pieces {
  /** The first argument not yet carried out. */
  next: number;
  sum: number;
}

interface RunningTransaction {
  next: number;
  readonly replies: Reply[];
  /** A scan has begun and not answered. */
  scanning: boolean;
}

export class Applier {
  readonly #parts: ApplierParts;
  readonly #writers: readonly Database[];
  /** For reads in transactions: at the log's time. */
  readonly #readers: readonly Database[];
  readonly #rows = new Rows();

  #appliedIndex = 0;
  #appliedTerm = 0;
  /** Operations executed since the beginning of the log. Replicated. */
  #opCount = 0;
  /** Replicated. */
  #configuration: KeptConfiguration = { index: 0, data: new Uint8Array(0) };

  /** What is being applied: undefined between `done` and the next `apply`. */
  #work: { readonly entries: readonly Entry[]; readonly done: () => void } | undefined;
  #position = 0;
  /** An entry is open at `#cursor`, partly applied. */
  #entryOpen = false;
  /** The cursor's present operation is not complete. */
  #waiting = false;
  readonly #cursor = new EntryCursor();
  readonly #ahead = new EntryCursor();
  #session: Session | undefined;
  #pieces: Pieces | undefined;
  #transaction: RunningTransaction | undefined;
  /** Ids of views that the open entry asks for. */
  readonly #cuts = new Set<string>();
  #steps = 0;
  /** Of the last operation, about. */
  #keysUsed = 0;

  constructor(parts: ApplierParts) {
    this.#parts = parts;
    this.#writers = writeDatabases(parts.world);
    this.#readers = readDatabases(parts.world);
  }

  restore(from: AppliedTo): void {
    this.#appliedIndex = from.appliedIndex;
    this.#appliedTerm = from.appliedTerm;
    this.#opCount = from.opCount;
    this.#configuration = from.configuration;
  }

  get appliedIndex(): number {
    return this.#appliedIndex;
  }
  get appliedTerm(): number {
    return this.#appliedTerm;
  }
  get opCount(): number {
    return this.#opCount;
  }
  get configuration(): KeptConfiguration {
    return this.#configuration;
  }
  /** No entry is half applied. */
  get atRest(): boolean {
    return !this.#entryOpen;
  }

  apply(entries: readonly Entry[], done: () => void): void {
    assert(this.#work === undefined, 'one apply at a time');
    this.#work = { entries, done };
    this.#position = 0;
    this.#continue();
  }

  /** Applies until all is done or something must be waited for. */
  #continue(): void {
    const { entries, done } = this.#work!;
    this.#steps = 0;
    while (this.#position < entries.length) {
      const entry = entries[this.#position]!;
      if (!this.#entryOpen) this.#openEntry(entry);
      if (entry.type === 'data' && !this.#applyOps()) return;
      this.#entryOpen = false;
      this.#appliedIndex = entry.index;
      this.#appliedTerm = entry.term;
      this.#position++;
      if (this.#cuts.size > 0 && !this.#cut()) return;
    }
    this.#cursor.close();
    this.#ahead.close();
    this.#parts.world.keyspace.forgetName();
    this.#work = undefined;
    done();
  }

  #openEntry(entry: Entry): void {
    assert(
      entry.index === this.#appliedIndex + 1,
      'entries are applied in order, each once',
      entry.index,
      this.#appliedIndex,
    );
    assert(entry.term >= this.#appliedTerm, 'terms do not fall along the log', entry.term, this.#appliedTerm);
    this.#entryOpen = true;
    if (entry.type === 'noop') return;
    if (entry.type === 'configuration') {
      // A copy: the entry may be a view of something bigger.
      this.#configuration = { index: entry.index, data: Uint8Array.from(entry.data) };
      return;
    }
    this.#cursor.open(entry.data);
    const { moment, sessions } = this.#parts.world;
    // A new leader's clock may be behind the old one's.
    moment.nowMs = Math.max(moment.nowMs, this.#cursor.atMs);
    this.#parts.sessions.expire(moment.nowMs);
    sessions.expire(moment.nowMs);
  }

  /** False when the next entry must wait. */
  #cut(): boolean {
    const ids = [...this.#cuts];
    this.#cuts.clear();
    return this.#parts.observer.cut?.(ids, this.#appliedIndex, () => this.#continue()) ?? true;
  }

  #noteCut(command: DataCommand, reply: Reply, argv: readonly Uint8Array[]): void {
    if (command === freezeCommand && reply === OK) this.#cuts.add(latin1(argv[1]!));
  }

  /** Applies what is left of the open entry. False when something must be waited for, which calls `#continue`. */
  #applyOps(): boolean {
    const cursor = this.#cursor;
    for (;;) {
      if (!this.#waiting) {
        if (this.#steps > STEPS_PER_TURN) {
          this.#parts.later(() => this.#continue());
          return false;
        }
        if (!cursor.nextOp()) {
          if (!cursor.nextRun()) return true;
          this.#beginRun();
          continue;
        }
      }
      this.#steps++;
      this.#waiting = true;
      if (cursor.session === NO_SESSION) this.#applyUnnumbered();
      else if (!this.#applyNumbered(this.#session!)) return false;
      this.#waiting = false;
    }
  }

  #beginRun(): void {
    const { session, firstSeq } = this.#cursor;
    if (session === NO_SESSION) return;
    this.#session = this.#parts.sessions.use(session, this.#parts.world.moment.nowMs);
    if (this.#session !== undefined) return;
    this.#cursor.skipRun();
    this.#parts.observer.sessionUnknown(session, firstSeq);
  }

  #applyUnnumbered(): void {
    const { kind, nonce } = this.#cursor;
    assert(kind === OPEN_SESSION || kind === ADVANCE, 'a command belongs to a session', kind);
    this.#opCount++;
    if (kind !== OPEN_SESSION) return;
    this.#parts.sessions.open(this.#opCount, this.#parts.world.moment.nowMs);
    this.#parts.observer.sessionOpened(nonce, this.#opCount);
  }

  /** False when it must be waited for. */
  #applyNumbered(session: Session): boolean {
    const { kind, seq } = this.#cursor;
    if (seq <= session.lastSeq) return true;
    if (seq > session.lastSeq + 1) {
      this.#cursor.skipRun();
      this.#parts.observer.gap(session.id, session.lastSeq + 1);
      return true;
    }
    const reply = this.#reply(kind);
    if (reply === undefined) return false;
    session.lastSeq = seq;
    this.#parts.world.keyspace.evict(this.#keysUsed);
    this.#parts.observer.applied(session.id, seq, reply);
    return true;
  }

  /** Undefined when it must be waited for. */
  #reply(kind: number): Reply | undefined {
    if (kind === COMMAND) return this.#command(this.#rows.write(this.#cursor.argLatin1(0)));
    if (kind === TRANSACTION) return this.#transact();
    this.#opCount++;
    return OK;
  }

  #beginOperation(): void {
    this.#opCount++;
    this.#parts.world.moment.version = this.#opCount;
  }

  /** While an operation is half carried out, nobody else reads. */
  #halfWritten(half: boolean): void {
    const { world, reader } = this.#parts;
    world.keyspace.halfWritten = half;
    if (half) reader.hold();
    else reader.release();
  }

  // One command

  #command(row: Row<WriteCommand>): Reply | undefined {
    const cursor = this.#cursor;
    const { command, name } = row;
    // What is wrong with the whole was found at the door, or by `validateRun`.
    if (command.pieces !== undefined && cursor.argc > PIECE_ARGUMENTS) return this.#commandInPieces(row);
    if (!this.#inMemory(row)) {
      this.#fetchAhead();
      return undefined;
    }
    const argv: Uint8Array[] = [name];
    for (let i = 1; i < cursor.argc; i++) argv.push(cursor.arg(i));
    this.#steps += cursor.argc;
    this.#keysUsed = cursor.argc;
    this.#beginOperation();
    const reply = command.run(this.#writers[cursor.db]!, argv);
    this.#noteCut(command, reply, argv);
    return reply;
  }

  #commandInPieces({ command, name }: Row<WriteCommand>): Reply | undefined {
    const cursor = this.#cursor;
    const { world, later } = this.#parts;
    if (this.#pieces === undefined) {
      this.#beginOperation();
      this.#pieces = { next: 1, sum: 0 };
      this.#halfWritten(true);
    }
    const pieces = this.#pieces;
    const { complete } = world.keyspace.spaceOf(cursor.db);
    // What must be fetched may be long.
    const end = Math.min(pieces.next + (complete ? PIECE_ARGUMENTS : WINDOW_KEYS_MAX), cursor.argc);
    const argv: Uint8Array[] = [name];
    for (let i = pieces.next; i < end; i++) argv.push(cursor.arg(i));
    if (!complete) {
      const { first, last, step } = keyIndexes(command.keys, argv.length);
      const places: KeyPlace[] = [];
      for (let i = first; i <= last; i += step) places.push({ db: cursor.db, name: latin1(argv[i]!) });
      if (!this.#haveAll(places)) {
        this.#fetch(places);
        return undefined;
      }
    }
    const reply = command.run(this.#writers[cursor.db]!, argv);
    if (command.pieces === 'sum') pieces.sum += reply as number;
    pieces.next = end;
    if (end < cursor.argc) {
      world.keyspace.evict(PIECE_ARGUMENTS);
      later(() => this.#continue());
      return undefined;
    }
    this.#pieces = undefined;
    this.#keysUsed = PIECE_ARGUMENTS;
    this.#halfWritten(false);
    return command.pieces === 'sum' ? pieces.sum : reply;
  }

  // A transaction

  #transact(): Reply | undefined {
    const { once, watched, commands } = this.#cursor.transaction;
    if (this.#transaction === undefined) {
      const places = transactionPlaces(this.#cursor.transaction, this.#rows);
      if (!this.#haveAll(places)) {
        this.#fetch(places);
        return undefined;
      }
      this.#steps += places.length;
      this.#keysUsed = places.length;
      this.#beginOperation();
      const { sessions, moment } = this.#parts.world;
      const known = once === undefined ? undefined : sessions.begin(once, moment);
      if (known !== undefined) return known;
      this.#transaction = { next: 0, replies: [], scanning: false };
      const untouched = watched.every(
        ({ db, key, version }) => this.#readers[db]!.versionOf(key) === version,
      );
      if (!untouched) return this.#endTransaction(NullArrayReply.instance);
    }
    return this.#runTransaction(this.#transaction, commands);
  }

  #endTransaction(reply: Reply): Reply {
    const { once } = this.#cursor.transaction;
    if (once !== undefined) this.#parts.world.sessions.keep(once, reply);
    this.#transaction = undefined;
    this.#halfWritten(false);
    return reply;
  }

  #runTransaction(running: RunningTransaction, commands: readonly TransactionCommand[]): Reply | undefined {
    const once = this.#cursor.transaction.once !== undefined;
    const wanted = once || this.#parts.observer.wants(this.#cursor.session);
    while (running.next < commands.length) {
      if (this.#steps > STEPS_PER_TURN) {
        this.#halfWritten(true);
        this.#parts.later(() => this.#continue());
        return undefined;
      }
      const { db, argv } = commands[running.next]!;
      const row = this.#rows.inTransaction(argv);
      running.next++;
      this.#steps += argv.length;
      if (row.kind === 'write') {
        // Each has a version of its own: the sessions of clients are named and ordered by it.
        this.#beginOperation();
        const reply = row.run(this.#writers[db]!, argv);
        this.#noteCut(row, reply, argv);
        running.replies.push(reply);
      } else if (!wanted) {
        running.replies.push(null);
      } else if (once && !isRepeatable(row)) {
        running.replies.push(NOT_REPEATABLE);
      } else if (row.kind === 'read') {
        running.replies.push(row.run(this.#readers[db]!, argv));
      } else {
        running.scanning = true;
        const scan = new Scan(this.#parts.scanWorld, db, 0, 'in a transaction');
        let returned = false;
        row.run(scan, argv, (reply) => {
          assert(reply !== undefined, 'a scan at the time of the log has a reply');
          running.replies.push(reply);
          running.scanning = false;
          if (returned) this.#continue();
        });
        returned = true;
        if (running.scanning) {
          this.#halfWritten(true);
          return undefined;
        }
      }
    }
    return this.#endTransaction(running.replies);
  }

  // Keys

  #inMemory({ command }: Row<WriteCommand>): boolean {
    const cursor = this.#cursor;
    const { keyspace } = this.#parts.world;
    const { first, last, step } = keyIndexes(command.keys, cursor.argc);
    for (let i = first; i <= last; i += step) {
      if (!keyspace.has(cursor.db, cursor.argLatin1(i))) return false;
    }
    return command.otherKeys === undefined || this.#haveAll(otherPlaces(command, cursor));
  }

  #haveAll(places: readonly KeyPlace[]): boolean {
    const { keyspace } = this.#parts.world;
    return places.every(({ db, name }) => keyspace.has(db, name));
  }

  #fetch(places: readonly KeyPlace[]): void {
    this.#parts.fetcher.fetch(places, () => this.#continue());
  }

  /** Fetches what the waiting operation needs, and what those behind it will need, then goes on. */
  #fetchAhead(): void {
    const places: KeyPlace[] = [];
    this.#addKeys(places, this.#cursor, false);
    const ahead = this.#ahead;
    ahead.follow(this.#cursor);
    let position = this.#position;
    const { entries } = this.#work!;
    while (places.length < WINDOW_KEYS_MAX) {
      if (ahead.nextOp()) {
        if (ahead.kind === COMMAND) this.#addKeys(places, ahead, true);
      } else if (!ahead.nextRun()) {
        position++;
        const entry = entries[position];
        if (entry === undefined) break;
        if (entry.type === 'data') ahead.open(entry.data);
      }
    }
    this.#fetch(places);
  }

  #addKeys(places: KeyPlace[], cursor: EntryCursor, onlyMissing: boolean): void {
    const { keyspace } = this.#parts.world;
    const { db, argc } = cursor;
    const { command } = this.#rows.write(cursor.argLatin1(0));
    if (onlyMissing && argc > WINDOW_KEYS_MAX) return;
    const { first, last, step } = keyIndexes(command.keys, argc);
    for (let i = first; i <= last; i += step) {
      const name = cursor.argLatin1(i);
      if (!onlyMissing || !keyspace.has(db, name)) places.push({ db, name });
    }
    if (command.otherKeys === undefined || onlyMissing) return;
    places.push(...otherPlaces(command, cursor));
  }
}
