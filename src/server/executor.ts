/**
 * The door: every command of every client comes through here, whatever it arrived on.
 *
 * It finds the command's row, runs the guards in Redis's order (known? arguments? authenticated?), and hands the command
 * to where its kind is carried out: reads and writes to the replica, all else to the row's own function. It knows
 * nothing of sockets, and nothing of Raft.
 */
import { latin1 } from '../lib/bytes.ts';
import type { Client } from '../resp/client.ts';
import { ErrorReply } from '../resp/reply.ts';
import type { Request, RequestHandler, RequestKind } from '../resp/request.ts';
import type { AnyCommand, ServerContext } from './context.ts';
import { allowsDebug, DEBUG_NOT_ALLOWED } from './debug-commands.ts';
import { refusedToMonitor } from './monitor.ts';
import { DISK_FULL, quoted, wrongArity } from './replies.ts';
import type { Known, Transactions } from './transactions.ts';

/** Redis cuts the arguments that it quotes in an error at so many bytes. */
const QUOTED_BYTES_MAX = 128;

const NO_AUTH = new ErrorReply('NOAUTH', 'Authentication required.');
export class Executor implements RequestHandler {
  readonly #server: ServerContext;
  readonly #transactions: Transactions;
  /** By the name as typed, so that a name seen before costs no conversion. Bounded: only names that exist. */
  readonly #byTypedName = new Map<string, Known>();

  constructor(server: ServerContext, transactions: Transactions) {
    this.#server = server;
    this.#transactions = transactions;
  }

  get congested(): boolean {
    return this.#server.replica.writes.congested;
  }

  classify(argv: readonly Uint8Array[], client: Client): RequestKind {
    const known = this.#find(argv);
    // What will be refused is answered at once.
    if (known instanceof ErrorReply || this.#refusal(known, argv, client) !== undefined) return 'local';
    const { command } = known;
    const transactions = this.#transactions;
    if (isExec(known, argv)) return transactions.kindOfExec(client);
    if (transactions.queues(client, known)) return 'local';
    if (command.kind !== 'scan') return command.kind;
    // It goes over many turns. A reply to KEYS may be so large that one at a time is enough for a connection.
    return command.name === 'keys' ? 'barrier' : 'read';
  }

  holds({ argv, client }: Request): boolean {
    const { pause } = this.#server;
    const transactions = this.#transactions;
    if (!pause.active || client.monitoring) return false;
    const known = this.#find(argv);
    if (known instanceof ErrorReply || this.#refusal(known, argv, client) !== undefined) return false;
    return pause.holds(known.command, isExec(known, argv) && transactions.writes(client));
  }

  execute(request: Request): void {
    const { argv, client } = request;
    const { stats } = this.#server;
    const transactions = this.#transactions;
    const known = this.#find(argv);
    client.lastCommand = known instanceof ErrorReply ? 'NULL' : known.fullName;
    if (known instanceof ErrorReply) {
      stats.countError(known);
      transactions.broken(client);
      request.resolve(known);
      return;
    }
    const refused = this.#refusal(known, argv, client);
    if (refused !== undefined) {
      const reply = transactions.refused(request, known, refused);
      known.counter.reject(reply);
      request.resolve(reply);
    } else if (isExecOnce(known, argv)) {
      known.counter.begin(request);
      transactions.execOnce(request);
    } else if (transactions.queues(client, known)) {
      const queued = transactions.queue(known, request);
      if (queued instanceof ErrorReply) known.counter.reject(queued);
      request.resolve(queued);
    } else {
      this.#carryOut(known, request);
    }
  }

  /** The row of the command, or of its subcommand. */
  #find(argv: readonly Uint8Array[]): Known | ErrorReply {
    const typed = latin1(argv[0]!);
    let known = this.#byTypedName.get(typed);
    if (known === undefined) {
      const command = this.#server.commands.get(typed.toLowerCase());
      if (command === undefined) return unknownCommand(argv);
      known = this.#known(command, command.name);
      this.#byTypedName.set(typed, known);
    }
    const { command } = known;
    return argv.length === 1 || command.subcommands === undefined
      ? known
      : this.#findSubcommand(command.subcommands, command.name, argv[1]!);
  }

  #findSubcommand(rows: readonly AnyCommand[], container: string, typed: Uint8Array): Known | ErrorReply {
    const name = latin1(typed).toLowerCase();
    const subcommand = rows.find((row) => row.name === name);
    if (subcommand === undefined) return unknownSubcommand(container, typed);
    return this.#known(subcommand, `${container}|${name}`);
  }

  #known(command: AnyCommand, fullName: string): Known {
    return { command, fullName, counter: this.#server.stats.counterOf(fullName, command) };
  }

  /** In Redis's order: the subcommand is found before the password is asked for. */
  #refusal(
    { command, fullName }: Known,
    argv: readonly Uint8Array[],
    client: Client,
  ): ErrorReply | undefined {
    if (!arityFits(command, argv.length)) return wrongArity(fullName);
    if (command.name === 'debug' && !allowsDebug(this.#server, client)) return DEBUG_NOT_ALLOWED;
    if (!client.authenticated && !command.flags.includes('no_auth')) return NO_AUTH;
    const { unavailable } = this.#server;
    if (unavailable !== undefined && needsReplica(command, fullName)) return unavailable;
    return refusedToMonitor(client, command);
  }

  #carryOut({ command, fullName, counter }: Known, request: Request): void {
    const { argv, client } = request;
    const { replica, monitors } = this.#server;
    counter.begin(request);
    switch (command.kind) {
      case 'read':
      case 'scan':
        if (monitors.active) monitors.show(client, command, fullName, argv);
        replica.read(client.db, command, argv, request);
        return;
      case 'write': {
        if (monitors.active) monitors.show(client, command, fullName, argv);
        const refused = command.check?.(argv) ?? (replica.diskFull ? DISK_FULL : undefined);
        if (refused === undefined) replica.write(client.db, argv, request);
        else request.resolve(refused);
        return;
      }
      default: {
        const reply = command.run({ argv, client, server: this.#server, request });
        if (reply !== undefined) request.resolve(reply);
        // EXEC shows itself, behind what it carries out.
        if (monitors.active && fullName !== 'exec') monitors.show(client, command, fullName, argv);
      }
    }
  }
}

const NEED_REPLICA = [
  'exec',
  'watch',
  'save',
  'bgsave',
  'wait',
  'cluster|meet',
  'cluster|forget',
  'cluster|failover',
];

function needsReplica({ kind }: AnyCommand, fullName: string): boolean {
  return kind === 'read' || kind === 'write' || kind === 'scan' || NEED_REPLICA.includes(fullName);
}

function isExec(known: Known, argv: readonly Uint8Array[]): boolean {
  return known.fullName === 'exec' || isExecOnce(known, argv);
}

/** HSTORE.DO session seq ack EXEC */
function isExecOnce({ fullName }: Known, argv: readonly Uint8Array[]): boolean {
  return fullName === 'hstore.do' && argv.length === 5 && latin1(argv[4]!).toLowerCase() === 'exec';
}

function arityFits(command: { arity: number }, argc: number): boolean {
  return command.arity >= 0 ? argc === command.arity : argc >= -command.arity;
}

/** server.c, `commandCheckExistence`: the name as typed, and as many arguments as fit. */
function unknownCommand(argv: readonly Uint8Array[]): ErrorReply {
  let args = '';
  for (let i = 1; i < argv.length && args.length < QUOTED_BYTES_MAX; i++) {
    args += `'${quoted(argv[i]!, QUOTED_BYTES_MAX - args.length)}' `;
  }
  const name = quoted(argv[0]!, QUOTED_BYTES_MAX);
  return new ErrorReply('ERR', `unknown command '${name}', with args beginning with: ${args}`);
}

function unknownSubcommand(container: string, typed: Uint8Array): ErrorReply {
  const name = quoted(typed, QUOTED_BYTES_MAX);
  return new ErrorReply('ERR', `unknown subcommand '${name}'. Try ${container.toUpperCase()} HELP.`);
}
