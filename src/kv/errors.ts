/**
 * The errors that many commands share, in Redis 7.0's own words (server.c, `createSharedObjects`; object.c).
 */
import { ErrorReply } from '../resp/reply.ts';

export const SYNTAX_ERROR = new ErrorReply('ERR', 'syntax error');
export const NOT_AN_INTEGER = new ErrorReply('ERR', 'value is not an integer or out of range');
export const OUT_OF_RANGE = new ErrorReply('ERR', 'offset is out of range');
export const WOULD_OVERFLOW = new ErrorReply('ERR', 'increment or decrement would overflow');
export const DECREMENT_WOULD_OVERFLOW = new ErrorReply('ERR', 'decrement would overflow');
export const STRING_TOO_LONG = new ErrorReply(
  'ERR',
  'string exceeds maximum allowed size (proto-max-bulk-len)',
);

export function wrongArity(command: string): ErrorReply {
  return new ErrorReply('ERR', `wrong number of arguments for '${command}' command`);
}

export function invalidExpireTime(command: string): ErrorReply {
  return new ErrorReply('ERR', `invalid expire time in '${command}' command`);
}
