/**
 * The errors that many commands share, in Redis 7.0's own words (server.c, `createSharedObjects`; object.c).
 */
import { ErrorReply } from '../resp/reply.ts';

export const SYNTAX_ERROR = new ErrorReply('ERR', 'syntax error');
export const NOT_AN_INTEGER = new ErrorReply('ERR', 'value is not an integer or out of range');
export const NOT_A_FLOAT = new ErrorReply('ERR', 'value is not a valid float');
export const NO_SUCH_KEY = new ErrorReply('ERR', 'no such key');
export const WRONG_TYPE = new ErrorReply(
  'WRONGTYPE',
  'Operation against a key holding the wrong kind of value',
);
export const DB_OUT_OF_RANGE = new ErrorReply('ERR', 'DB index is out of range');
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
