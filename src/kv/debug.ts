/**
 * What DEBUG tells of keys: OBJECT and DIGEST-VALUE. For tests, of Redis and of others.
 */
import { latin1 } from '../lib/bytes.ts';
import { sha1Hex } from '../lib/digest.ts';
import { ErrorReply, type Reply } from '../resp/reply.ts';
import { type Database, NEVER, type Value } from './command.ts';
import { encodingOf, referencesTo } from './object.ts';

const NO_DIGEST = '0'.repeat(40);
/** Redis counts in 24 bits when a key was used last. */
const USED_SECONDS_END = 2 ** 24;

/** DEBUG OBJECT key. There is no address; Redis's clients look for the fields behind it. */
export function debugObject(db: Database, argv: readonly Uint8Array[]): Reply {
  const key = argv[2]!;
  const value = db.peek(key);
  if (value === undefined) return new ErrorReply('ERR', 'no such key');
  const usedAtMs = db.usedAtMs(key) ?? db.nowMs;
  const usedSeconds = Math.floor(usedAtMs / 1000) % USED_SECONDS_END;
  const idleSeconds = Math.max(0, Math.floor((db.nowMs - usedAtMs) / 1000));
  return (
    `Value at:0x0 refcount:${referencesTo(value)} encoding:${encodingOf(value)} ` +
    `serializedlength:${value.bytes.length} lru:${usedSeconds} lru_seconds_idle:${idleSeconds}`
  );
}

/** DEBUG DIGEST-VALUE key ...: equal for equal values, whatever their keys. Whether there is a time to live counts. */
export function digestValues(db: Database, argv: readonly Uint8Array[]): Reply {
  return argv.slice(2).map((key) => {
    const value = db.peek(key);
    return value === undefined ? NO_DIGEST : digestOf(value);
  });
}

function digestOf({ type, bytes, expireAtMs }: Value): string {
  return sha1Hex(`${type} ${expireAtMs === NEVER ? '' : 'expires'} ${latin1(bytes)}`);
}
