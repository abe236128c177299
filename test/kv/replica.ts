/**
 * A state machine for tests, with its store, the log it was given, and what its observer heard.
 */

import {
  encodeAdvanceOp,
  encodeCommandOp,
  encodeEntry,
  encodeOpenSessionOp,
  encodeRun,
  encodeSkipOp,
  encodeTransactionOp,
  NO_SESSION,
  type OnceNumber,
  type Transaction,
} from '../../src/kv/batch.ts';
import type { Checkpoint } from '../../src/kv/checkpoint.ts';
import type { ReadCommand, ScanCommand } from '../../src/kv/command.ts';
import { watchedVersions } from '../../src/kv/internal-commands.ts';
import { type KvOptions, KvStateMachine } from '../../src/kv/state-machine.ts';
import { findDataCommand } from '../../src/kv/table.ts';
import { ByteWriter, fromLatin1 } from '../../src/lib/bytes.ts';
import type { Entry } from '../../src/raft/types.ts';
import type { Reply } from '../../src/resp/reply.ts';
import { MemoryStore } from './memory-store.ts';

export type CommandOp = { readonly kind: 'command'; readonly argv: readonly string[]; readonly db?: number };
export type Op =
  | CommandOp
  | TransactionOp
  | { readonly kind: 'skip' }
  | { readonly kind: 'advance' }
  | { readonly kind: 'open'; readonly nonce: number };

export interface TransactionOp {
  readonly kind: 'transaction';
  readonly once?: OnceNumber | undefined;
  readonly watched: readonly { readonly db?: number; readonly key: string; readonly version: number }[];
  readonly commands: readonly CommandOp[];
}

export interface Run {
  readonly session: number;
  readonly firstSeq: number;
  readonly ops: readonly Op[];
}

export function bytesOf(argv: readonly string[]): Uint8Array[] {
  return argv.map(fromLatin1);
}

export function command(...argv: string[]): CommandOp {
  return { kind: 'command', argv };
}

/** Of a client in database `db`. */
export function commandIn(db: number, ...argv: string[]): CommandOp {
  return { kind: 'command', argv, db };
}

export function transaction(...commands: CommandOp[]): TransactionOp {
  return { kind: 'transaction', watched: [], commands };
}

export function runOf(run: Run): Uint8Array {
  const ops = new ByteWriter();
  for (const op of run.ops) {
    if (op.kind === 'command') encodeCommandOp(ops, op.db ?? 0, bytesOf(op.argv));
    else if (op.kind === 'transaction') encodeTransactionOp(ops, transactionOf(op));
    else if (op.kind === 'skip') encodeSkipOp(ops);
    else if (op.kind === 'advance') encodeAdvanceOp(ops);
    else encodeOpenSessionOp(ops, op.nonce);
  }
  const writer = new ByteWriter();
  encodeRun(writer, { session: run.session, firstSeq: run.firstSeq, count: run.ops.length, ops: ops.view() });
  return writer.copy();
}

function transactionOf({ once, watched, commands }: TransactionOp): Transaction {
  return {
    once,
    watched: watched.map(({ db = 0, key, version }) => ({ db, key: fromLatin1(key), version })),
    commands: commands.map(({ db = 0, argv }) => ({ db, argv: bytesOf(argv) })),
  };
}

export function entryOf(index: number, atMs: number, runs: readonly Run[]): Entry {
  return { index, term: 1, type: 'data', data: encodeEntry(atMs, runs.map(runOf)) };
}

/** Where the store has the state of a group that has received no snapshot. */
export const REGION = { group: 1, generation: 0 };

export const OPEN: Run = { session: NO_SESSION, firstSeq: 0, ops: [{ kind: 'open', nonce: 7 }] };

export class Replica {
  store: MemoryStore;
  machine: KvStateMachine;
  readonly heard: string[] = [];
  readonly replies: Reply[] = [];
  readonly fatal: Error[] = [];
  readonly later: (() => void)[] = [];
  readonly #options: KvOptions;

  constructor(options: Partial<KvOptions> = {}, store = new MemoryStore()) {
    this.store = store;
    this.#options = {
      group: 1,
      memoryBytesMax: 1 << 20,
      onFatal: (error) => this.fatal.push(error),
      later: (callback) => this.later.push(callback),
      chance: () => 0.5,
      observer: {
        wants: () => true,
        applied: (session, seq, reply) => {
          this.heard.push(`applied ${session} ${seq}`);
          this.replies.push(reply);
        },
        gap: (session, expected) => this.heard.push(`gap ${session} ${expected}`),
        sessionUnknown: (session, seq) => this.heard.push(`unknown ${session} ${seq}`),
        sessionOpened: (nonce, session) => this.heard.push(`opened ${nonce} ${session}`),
      },
      ...options,
    };
    this.machine = new KvStateMachine(store, this.#options);
  }

  /** Stops in the midst of everything and starts again on what the disk holds. */
  async restart(done = 0): Promise<void> {
    this.store = this.store.crash(done);
    let recovered: KvStateMachine | undefined;
    const recovering = KvStateMachine.recover(this.store, this.#options).then((machine) => {
      recovered = machine;
    });
    // It asks more than once, each time when it has heard the answer to the last.
    while (recovered === undefined && this.store.turn()) await Promise.resolve().then(() => {});
    await recovering;
    this.machine = recovered!;
  }

  /** Applies with the store answering as often as it is asked. */
  apply(entries: readonly Entry[]): void {
    let done = false;
    this.machine.apply(entries, () => {
      done = true;
    });
    while (!done && this.fatal.length === 0) {
      const next = this.later.shift();
      if (next !== undefined) next();
      else if (!this.store.turn()) throw new Error('apply waits, and nobody has been asked');
    }
  }

  read(argv: readonly string[], nowMs = 0, db = 0): Reply | undefined {
    const row = findDataCommand(bytesOf(argv));
    if (row?.kind !== 'read' && row?.kind !== 'scan') throw new Error(`${argv[0]} is no read`);
    return this.#read(row, argv, nowMs, db);
  }

  /** Of keys, as WATCH asks for them. */
  versions(keys: readonly string[], db = 0): readonly number[] {
    return this.#read(watchedVersions, ['hstore.versions', ...keys], 0, db) as readonly number[];
  }

  #read(
    row: ReadCommand | ScanCommand,
    argv: readonly string[],
    nowMs: number,
    db: number,
  ): Reply | undefined {
    let reply: Reply | undefined;
    let done = 0;
    this.machine.read({ db, command: row, argv: bytesOf(argv), nowMs }, (answer) => {
      reply = answer;
      done++;
    });
    while (done === 0 && this.store.turn());
    if (done !== 1) throw new Error(`${done} answers to one read`);
    return reply;
  }

  /** A whole checkpoint; false when it failed. */
  checkpoint(): boolean {
    const checkpoint = this.machine.beginCheckpoint();
    if (checkpoint === undefined) throw new Error('no checkpoint can begin');
    let durable: boolean | undefined;
    this.write(checkpoint, (ok) => {
      durable = ok;
    });
    while (durable === undefined && this.store.turn());
    return durable === true;
  }

  write(checkpoint: Checkpoint, done: (ok: boolean) => void): void {
    const batch = this.store.batch();
    while (checkpoint.fill(batch, 3));
    batch.write((error) => {
      if (error === null) checkpoint.finished();
      else checkpoint.failed();
      done(error === null);
    });
  }
}

/** A replica that takes commands one by one, each in an entry of its own. */
export class Client {
  readonly replica: Replica;
  #index = 0;
  #seq = 0;
  nowMs = Date.now();

  constructor(replica = new Replica()) {
    this.replica = replica;
    replica.apply([entryOf(++this.#index, this.nowMs, [OPEN])]);
  }

  run(...argv: string[]): Reply {
    const row = findDataCommand(bytesOf(argv));
    if (row === undefined) throw new Error(`no command ${argv[0]}`);
    if (row.kind !== 'write') {
      this.replica.apply([this.#entry({ kind: 'advance' })]);
      return this.replica.read(argv)!;
    }
    this.replica.apply([this.#entry({ kind: 'command', argv })]);
    return this.replica.replies.at(-1)!;
  }

  #entry(op: Op): Entry {
    return entryOf(++this.#index, this.nowMs, [{ session: 1, firstSeq: ++this.#seq, ops: [op] }]);
  }
}
