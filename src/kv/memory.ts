/**
 * What a key costs in memory, for MEMORY USAGE: by the estimate that bounds the memory of all of them (records.ts).
 */
import type { Reply } from '../resp/reply.ts';
import type { Database } from './command.ts';
import { RECORD_OVERHEAD_BYTES } from './records.ts';

/** MEMORY USAGE key: nothing for a key that is not there. That it is looked at does not count as use. */
export function memoryUsage(db: Database, argv: readonly Uint8Array[]): Reply {
  const key = argv[2]!;
  const value = db.peek(key);
  return value === undefined ? null : RECORD_OVERHEAD_BYTES + key.length + value.bytes.length;
}
