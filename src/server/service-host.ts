/**
 * A server as its service sees it (service.ts): transactions and reads of its node's replica, questions to the other
 * servers, and the views. It belongs to one node, and ends with it: whoever was let into a cluster has another.
 *
 * What a service asks for is bounded as a client's requests are, and refused like these where it cannot be carried out:
 * the disk is full, the server is being let into a cluster, too much is under way.
 */
import { SYSTEM_DATABASE, type Transaction } from '../kv/batch.ts';
import { watchedVersions } from '../kv/internal-commands.ts';
import { accepts, findDataCommand } from '../kv/table.ts';
import { assert } from '../lib/assert.ts';
import { fromLatin1, latin1 } from '../lib/bytes.ts';
import type { Clock, Log, Random } from '../lib/env.ts';
import { ErrorReply, type Reply } from '../resp/reply.ts';
import type { Member } from './member.ts';
import type { Node } from './node.ts';
import { DISK_FULL } from './replies.ts';
import type { KeyView, ServiceCommand, ServiceHost, ServiceMember, ServiceTransaction } from './service.ts';
import type { ServiceCalls } from './service-calls.ts';

/** Of one transaction: it must fit in an entry of the log, and an entry in a frame between servers. */
const TRANSACTION_BYTES_MAX = 24 << 20;
/** Under way at a time: transactions and reads, and the bytes of transactions. */
const UNDER_WAY_MAX = 1024;
/** Readers, of whom there are many, leave room for those who write. */
const READS_UNDER_WAY_MAX = 768;
const UNDER_WAY_BYTES_MAX = 64 << 20;

const TOO_LARGE = new ErrorReply('ERR', 'too large');
const TOO_MUCH = new ErrorReply(
  'CLUSTERDOWN',
  'Too much of the service is under way on this server. The command was not executed',
);

export interface NodeServiceHostOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly directory: string;
  readonly node: Node;
  readonly calls: Pick<ServiceCalls, 'call'>;
  /** Why no data can be had here, if so. */
  readonly unavailable: () => ErrorReply | undefined;
}

export class NodeServiceHost implements ServiceHost {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly directory: string;
  readonly #options: NodeServiceHostOptions;
  #members: { readonly of: readonly Member[]; readonly members: readonly ServiceMember[] } | undefined;
  #underWay = 0;
  #underWayBytes = 0;
  #closed = false;

  constructor(options: NodeServiceHostOptions) {
    this.#options = options;
    this.clock = options.clock;
    this.random = options.random;
    this.log = options.log;
    this.directory = options.directory;
  }

  get self(): ServiceMember {
    return memberOf(this.#options.node.self);
  }

  get members(): readonly ServiceMember[] {
    const { node } = this.#options;
    if (node.joining) return [];
    if (this.#members?.of !== node.members) {
      this.#members = { of: node.members, members: node.members.map(memberOf) };
    }
    return this.#members!.members;
  }

  get leader(): number {
    return this.#options.node.replica.raft.leaderId;
  }

  get term(): number {
    return this.#options.node.replica.raft.term;
  }

  get diskFull(): boolean {
    return this.#options.node.replica.diskFull;
  }

  transact({ watched, commands }: ServiceTransaction, done: (reply: Reply) => void): void {
    const transaction = {
      watched: watched.map(({ key, version }) => ({ db: SYSTEM_DATABASE, key, version })),
      commands: commands.map(({ db = SYSTEM_DATABASE, argv }) => ({ db, argv })),
    };
    for (const { argv } of commands) checkCommand(argv);
    const bytes = transactionBytes(transaction);
    if (bytes > TRANSACTION_BYTES_MAX) return this.#later(() => done(TOO_LARGE));
    const { replica } = this.#options.node;
    if (replica.diskFull) return this.#later(() => done(DISK_FULL));
    this.#start(bytes, done, (waiter) => replica.transact(transaction, waiter));
  }

  read({ db = SYSTEM_DATABASE, argv }: ServiceCommand, done: (reply: Reply) => void): void {
    const command = findDataCommand(argv);
    assert(command?.kind === 'read', 'a command that reads', latin1(argv[0]!));
    checkCommand(argv);
    if (this.#underWay >= READS_UNDER_WAY_MAX) return this.#later(() => done(TOO_MUCH));
    this.#start(0, done, (waiter) => this.#options.node.replica.read(db, command, argv, waiter));
  }

  versionOf(key: Uint8Array, done: (reply: Reply) => void): void {
    const argv = [fromLatin1(watchedVersions.name), key];
    const told = (reply: Reply): void => done(Array.isArray(reply) ? (reply[0] as number) : reply);
    this.#start(0, told, (waiter) =>
      this.#options.node.replica.read(SYSTEM_DATABASE, watchedVersions, argv, waiter),
    );
  }

  call(member: number, payload: Uint8Array, done: (answer: Uint8Array | undefined) => void): void {
    this.#options.calls.call(member, payload, done);
  }

  freeze(id: string, done: (reply: true | Reply) => void): void {
    this.#start<true | Reply>(0, done, ({ resolve }) => this.#options.node.replica.views.freeze(id, resolve));
  }

  view(id: string): KeyView | undefined {
    return this.#options.node.replica.views.view(id);
  }

  release(id: string): void {
    this.#options.node.replica.views.release(id);
  }

  get views(): readonly string[] {
    return this.#options.node.replica.views.views;
  }

  /** The service has stopped: nothing comes back to it any more. */
  close(): void {
    this.#closed = true;
  }

  #refusal(bytes: number): ErrorReply | undefined {
    const full = this.#underWay >= UNDER_WAY_MAX || this.#underWayBytes + bytes > UNDER_WAY_BYTES_MAX;
    return this.#options.unavailable() ?? (full ? TOO_MUCH : undefined);
  }

  #later(callback: () => void): void {
    this.clock.after(0, () => {
      if (!this.#closed) callback();
    });
  }

  /** What is read from memory at once is told in a later turn, as all else. */
  #start<R extends true | Reply>(
    bytes: number,
    done: (reply: R | ErrorReply) => void,
    start: (waiter: { resolve(reply: R): void }) => void,
  ): void {
    // Nobody is told anything any more, and the replica may have stopped.
    if (this.#closed) return;
    const refused = this.#refusal(bytes);
    if (refused !== undefined) return this.#later(() => done(refused));
    this.#underWay++;
    this.#underWayBytes += bytes;
    let returned = false;
    const resolve = (reply: R): void => {
      this.#underWay--;
      this.#underWayBytes -= bytes;
      if (!returned) this.#later(() => done(reply));
      else if (!this.#closed) done(reply);
    };
    start({ resolve });
    returned = true;
  }
}

function memberOf({ id, name, host }: Member): ServiceMember {
  return { id, name, host };
}

/** The peers would take it for nonsense otherwise, and never answer. */
function checkCommand(argv: readonly Uint8Array[]): void {
  const [name = '', word = ''] = argv.slice(0, 2).map((arg) => latin1(arg));
  assert(accepts(name, argv.length, true, word), 'there is such a command', name, argv.length);
  assert(name.toLowerCase() !== 'swapdb', 'a service swaps no databases', name);
}

/** See batch.ts. */
function transactionBytes({ watched, commands }: Transaction): number {
  let bytes = 0;
  for (const { key } of watched) bytes += 13 + key.length;
  for (const { argv } of commands) bytes += argv.reduce((sum, arg) => sum + 4 + arg.length, 5);
  return bytes;
}
