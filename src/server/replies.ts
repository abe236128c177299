/**
 * Replies that several commands give, in Redis 7.0's words.
 */
import { fromLatin1 } from '../lib/bytes.ts';
import { ErrorReply } from '../resp/reply.ts';

export function wrongArity(name: string): ErrorReply {
  return new ErrorReply('ERR', `wrong number of arguments for '${name}' command`);
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
