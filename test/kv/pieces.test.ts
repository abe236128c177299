/**
 * Work that a client can make as long as it likes is done in pieces, each in a turn of its own.
 */
import { expect, test } from 'vitest';
import { REMOVE_EXPIRED } from '../../src/kv/internal-commands.ts';
import { findDataCommand } from '../../src/kv/table.ts';
import type { Reply } from '../../src/resp/reply.ts';
import { bytesOf, command, entryOf, OPEN, type Op, Replica, transaction } from './replica.ts';

const START_MS = 1_000_000;

/** A replica with a session, and how many turns each operation took on it. */
function replicaCountingTurns() {
  const replica = new Replica({ memoryBytesMax: Number.POSITIVE_INFINITY });
  let index = 0;
  let seq = 0;
  replica.apply([entryOf(++index, START_MS, [OPEN])]);
  const turnsOf = (op: Op, atMs = START_MS, between = (): void => {}): number => {
    let turns = 1;
    let done = false;
    replica.machine.apply([entryOf(++index, atMs, [{ session: 1, firstSeq: ++seq, ops: [op] }])], () => {
      done = true;
    });
    for (; !done; turns++) {
      between();
      replica.later.shift()!();
    }
    return turns;
  };
  return { replica, turnsOf };
}

test('a checkpoint brings no more sessions and replies to the store in a turn than it was told', () => {
  const { replica, turnsOf } = replicaCountingTurns();
  for (let i = 0; i < 20; i++) turnsOf(command('HSTORE.SESSION', 'OPEN'));
  const sessions = replica.replies.slice(-20);
  for (const session of sessions) turnsOf(command('HSTORE.DO', `${session}`, '1', '0', 'SET', 'k', 'v'));
  const checkpoint = replica.machine.beginCheckpoint()!;
  let changes = 0;
  const batch = replica.store.batch();
  const counting = {
    put: (key: Uint8Array, value: Uint8Array) => {
      changes++;
      batch.put(key, value);
    },
    delete: (key: Uint8Array) => {
      changes++;
      batch.delete(key);
    },
    write: batch.write,
  };
  const perTurn: number[] = [];
  for (let more = true; more; ) {
    const before = changes;
    more = checkpoint.fill(counting, 5);
    perTurn.push(changes - before);
  }
  // The key, the sessions and their replies, the meta record.
  expect(changes).toBe(1 + 40 + 1);
  expect(Math.max(...perTurn)).toBeLessThanOrEqual(6);
});

test('a transaction of very many commands takes several turns, and who asks in between sees all of it', () => {
  const { replica, turnsOf } = replicaCountingTurns();
  const count = 30_000;
  const commands = Array.from({ length: count }, (_, i) => command('SET', `key:${i}`, 'v'));
  const dbsize = findDataCommand(bytesOf(['DBSIZE']));
  if (dbsize?.kind !== 'read') throw new Error('DBSIZE reads');
  const seen: (Reply | undefined)[] = [];
  const ask = (): void =>
    replica.machine.read({ db: 0, command: dbsize, argv: bytesOf(['DBSIZE']), nowMs: 0 }, (reply) =>
      seen.push(reply),
    );
  const turns = turnsOf(transaction(...commands), START_MS, ask);
  expect(turns).toBeGreaterThan(3);
  expect(seen).toEqual(Array(turns - 1).fill(count));
  expect(replica.replies.at(-1)).toEqual(Array(count).fill('OK'));
});

test('expired keys of a very long read are removed over several turns', () => {
  const { replica, turnsOf } = replicaCountingTurns();
  const names = Array.from({ length: 10_000 }, (_, i) => `key:${i}`);
  turnsOf(command('MSET', ...names.flatMap((name) => [name, 'v'])));
  turnsOf(command('PEXPIREAT', 'key:9999', `${START_MS + 5}`));
  expect(turnsOf(command(REMOVE_EXPIRED, ...names), START_MS + 6)).toBeGreaterThan(2);
  expect(replica.machine.sizes[0]).toBe(9999);
});

test('expired keys with long values are found a few at a time, and none is left out', async () => {
  const { replica, turnsOf } = replicaCountingTurns();
  const count = 100;
  const value = 'x'.repeat(256 << 10);
  for (let i = 0; i < count; i++) turnsOf(command('SET', `key:${i}`, value, 'PXAT', `${START_MS + i}`));
  replica.checkpoint();
  await replica.restart();
  const found = new Set<string>();
  for (let last = -1; last !== found.size; ) {
    last = found.size;
    const before = replica.machine.memoryBytes;
    replica.machine.findDue(START_MS + count, 500, (places) => {
      for (const { name } of places) found.add(name);
    });
    replica.store.drain();
    expect(replica.machine.memoryBytes - before).toBeLessThanOrEqual(9 << 20);
  }
  expect(found.size).toBe(count);
});

test('many keys that are deleted at once, and are not in memory, are fetched a few at a time', async () => {
  const { replica, turnsOf } = replicaCountingTurns();
  const names = Array.from({ length: 6000 }, (_, i) => `key:${i}`);
  turnsOf(command('MSET', ...names.flatMap((name) => [name, 'v'])));
  replica.checkpoint();
  await replica.restart();
  const asked: number[] = [];
  const { store } = replica;
  const getMany = store.getMany.bind(store);
  store.getMany = (keys, done) => {
    asked.push(keys.length);
    getMany(keys, done);
  };
  replica.apply([
    entryOf(3, START_MS, [{ session: 1, firstSeq: 2, ops: [command('DEL', ...names, 'missing')] }]),
  ]);
  expect(replica.replies.at(-1)).toBe(6000);
  expect(asked.reduce((sum, count) => sum + count, 0)).toBe(6001);
  expect(Math.max(...asked)).toBe(256);
});
