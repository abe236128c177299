/**
 * The door: every command of every client comes through here, whatever it arrived on.
 *
 * It finds the command's row, runs the guards in Redis's order (known? arguments? authenticated?), and hands the command
 * to where its kind is carried out: reads and writes to the replica, all else to the row's own function. It knows
 * nothing of sockets, and nothing of Raft.
 */
import { latin1 } from '../lib/bytes.ts';
import type { Client } from '../resp/client.ts';
import { ErrorReply, type Reply } from '../resp/reply.ts';
import type { Request, RequestHandler, RequestKind } from '../resp/request.ts';
import type { AnyCommand, ServerCommand, ServerContext } from './context.ts';
import { quoted, wrongArity } from './replies.ts';

/** Redis cuts the arguments that it quotes in an error at so many bytes. */
const QUOTED_BYTES_MAX = 128;

const NO_AUTH = new ErrorReply('NOAUTH', 'Authentication required.');
const DISK_FULL = new ErrorReply(
  'MISCONF',
  'Errors writing to the write-ahead log: No space left on device. The command was not executed',
);

export class Executor implements RequestHandler {
  readonly #server: ServerContext;
  /** By the name as typed, so that a name seen before costs no conversion. Bounded: only names that exist. */
  readonly #byTypedName = new Map<string, AnyCommand>();

  constructor(server: ServerContext) {
    this.#server = server;
  }

  get congested(): boolean {
    return this.#server.replica.writes.congested;
  }

  classify(argv: readonly Uint8Array[], client: Client): RequestKind {
    const command = this.#find(argv);
    // What will be refused is answered at once.
    if (command === undefined || !arityFits(command, argv.length)) return 'local';
    if (!client.authenticated && !command.flags.includes('no_auth')) return 'local';
    return command.kind;
  }

  execute(request: Request): void {
    const { argv, client } = request;
    const { stats } = this.#server;
    stats.commandsProcessed++;
    const command = this.#find(argv);
    const refused = this.#refusal(command, argv, client);
    if (refused !== undefined) {
      stats.countError(refused);
      request.resolve(refused);
      return;
    }
    this.#carryOut(command!, request);
  }

  #find(argv: readonly Uint8Array[]): AnyCommand | undefined {
    const typed = latin1(argv[0]!);
    const seen = this.#byTypedName.get(typed);
    if (seen !== undefined) return seen;
    const command = this.#server.commands.get(typed.toLowerCase());
    if (command !== undefined) this.#byTypedName.set(typed, command);
    return command;
  }

  #refusal(
    command: AnyCommand | undefined,
    argv: readonly Uint8Array[],
    client: Client,
  ): ErrorReply | undefined {
    if (command === undefined) return unknownCommand(argv);
    if (!arityFits(command, argv.length)) return wrongArity(command.name);
    if (!client.authenticated && !command.flags.includes('no_auth')) return NO_AUTH;
    return undefined;
  }

  #carryOut(command: AnyCommand, request: Request): void {
    const { argv, client } = request;
    const { replica } = this.#server;
    client.lastCommand = command.name;
    switch (command.kind) {
      case 'read':
        replica.read(client.db, command, argv, request);
        return;
      case 'write': {
        const refused = command.check?.(argv) ?? (replica.diskFull ? DISK_FULL : undefined);
        if (refused === undefined) replica.write(client.db, argv, request);
        else this.#answer(request, refused);
        return;
      }
      default: {
        const reply = this.#runServerCommand(command, request);
        if (reply !== undefined) this.#answer(request, reply);
      }
    }
  }

  #runServerCommand(command: ServerCommand, request: Request): Reply | undefined {
    const { argv, client } = request;
    const call = { argv, client, server: this.#server, request };
    if (command.subcommands === undefined || argv.length < 2) return command.run(call);
    const name = latin1(argv[1]!).toLowerCase();
    const subcommand = command.subcommands.find((row) => row.name === name);
    if (subcommand === undefined) return unknownSubcommand(command.name, argv[1]!);
    if (!arityFits(subcommand, argv.length)) return wrongArity(`${command.name}|${name}`);
    client.lastCommand = `${command.name}|${name}`;
    return subcommand.run(call);
  }

  #answer(request: Request, reply: Reply): void {
    if (reply instanceof ErrorReply) this.#server.stats.countError(reply);
    request.resolve(reply);
  }
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
