/**
 * The keyspace's own accounts: what it believes to hold, in memory and unsaved, is what it holds.
 */
import { expect, test } from 'vitest';
import { NEVER, type Value } from '../../src/kv/command.ts';
import { Keyspace, type Tombstone } from '../../src/kv/keyspace.ts';
import { fromLatin1 } from '../../src/lib/bytes.ts';
import { REGION } from './replica.ts';

function stringOf(text: string): Value {
  return { type: 'string', bytes: fromLatin1(text), expireAtMs: NEVER };
}

function dirtyBytesOf(keyspace: Keyspace): number {
  return keyspace.sizes.reduce((sum, _, db) => sum + keyspace.spaceOf(db).dirtyBytes, 0);
}

test('a checkpoint that fails after a FLUSHDB leaves all that is unsaved counted, also in the new space', () => {
  const keyspace = new Keyspace(REGION, Number.POSITIVE_INFINITY);
  const moment = { version: 1, nowMs: 1 };
  keyspace.put(0, 'old', stringOf('1'), moment);
  keyspace.put(1, 'elsewhere', stringOf('1'), moment);
  const frozen = keyspace.freeze();
  keyspace.flush(0);
  keyspace.put(0, 'new', stringOf('2'), moment);
  keyspace.thaw(frozen);
  expect(keyspace.dirtyBytes).toBe(dirtyBytesOf(keyspace));
  keyspace.flushAll();
  expect(keyspace.dirtyBytes).toBe(0);
  expect(keyspace.bytes).toBe(0);
});

test('what was deleted by the thousand is forgotten as fast as it comes, once it is saved', () => {
  const keyspace = new Keyspace(REGION, Number.POSITIVE_INFINITY);
  for (let round = 1; round <= 20; round++) {
    const names = Array.from({ length: 1000 }, (_, i) => `${round}:${i}`);
    for (const name of names) keyspace.put(0, name, stringOf('v'), { version: round, nowMs: 1 });
    keyspace.evict(names.length);
    for (const name of names) keyspace.remove(0, name, round);
    keyspace.evict(names.length);
    const frozen = keyspace.freeze();
    const [first] = frozen.spaces;
    const absent: Tombstone[] = Array.from(first!.records, ([name, record]) => ({
      ...{ space: first!.space, name, record },
    }));
    keyspace.saved(frozen, absent);
    expect(keyspace.spaceOf(0).records.size).toBe(1000);
  }
});
