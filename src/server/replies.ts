/**
 * Replies that several commands give, in Redis 7.0's words.
 */
import { fromLatin1, latin1 } from '../lib/bytes.ts';
import { ErrorReply } from '../resp/reply.ts';

export function wrongArity(name: string): ErrorReply {
  return new ErrorReply('ERR', `wrong number of arguments for '${name}' command`);
}

/** For a subcommand that exists, with arguments that it does not take. `argv[1]` is its name as typed. */
export function subcommandSyntaxError(container: string, argv: readonly Uint8Array[]): ErrorReply {
  const name = quoted(argv[1]!, 128);
  const text = `unknown subcommand or wrong number of arguments for '${name}'. Try ${container} HELP.`;
  return new ErrorReply('ERR', text);
}

export const DISK_FULL = new ErrorReply(
  'MISCONF',
  'Errors writing to the write-ahead log: No space left on device. The command was not executed',
);
/** What CLIENT UNBLOCK with ERROR gives the client that waits. */
export const UNBLOCKED = new ErrorReply('UNBLOCKED', 'client unblocked via CLIENT UNBLOCK');

export const SYNTAX_ERROR = new ErrorReply('ERR', 'syntax error');

/**
 * An argument as an error quotes it: up to its first zero byte, as a string of C, and no more than `bytesMax`. What would
 * break the line becomes a space when the error is written.
 */
export function quoted(argument: Uint8Array, bytesMax = argument.length): string {
  const text = latin1(argument.subarray(0, bytesMax));
  const end = text.indexOf('\0');
  return end < 0 ? text : text.slice(0, end);
}

/** Text as a bulk string. */
export function bulk(text: string): Uint8Array {
  return fromLatin1(text);
}

/** What `COMMAND HELP`, `CLIENT HELP` ... print: one simple string per line. `lines` in pairs of usage and meaning. */
export function helpLines(command: string, lines: readonly string[]): string[] {
  return [
    `${command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:`,
    ...lines,
    'HELP',
    '    Prints this help.',
  ];
}
