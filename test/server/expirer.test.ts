/**
 * The background removal of expired keys, over a real state machine, by a clock that the test turns.
 */
import { expect, test } from 'vitest';
import { latin1 } from '../../src/lib/bytes.ts';
import { OK } from '../../src/resp/reply.ts';
import { Expirer } from '../../src/server/expirer.ts';
import { Client } from '../kv/replica.ts';

/** A state machine with `count` keys that expire together, and what the expirer has asked to be removed. */
function world(count: number) {
  const client = new Client();
  const expireAtMs = client.nowMs + 1000;
  for (let i = 0; i < count; i++) client.run('SET', `key:${i}`, 'v', 'PXAT', `${expireAtMs}`);
  const state = { mayWrite: true, wallMs: expireAtMs };
  let alarm: (() => void) | undefined;
  const batches: number[] = [];
  const expirer = new Expirer({
    clock: {
      monotonicMs: () => 0,
      wallMs: () => state.wallMs,
      after: (_, callback) => {
        alarm = callback;
        return { cancel: () => {} };
      },
      endOfTurn: () => {},
    },
    stateMachine: client.replica.machine,
    mayWrite: () => state.mayWrite,
    write: (_, argv, waiter) => {
      batches.push(argv.length - 1);
      client.nowMs = state.wallMs;
      client.run(...argv.map(latin1));
      waiter.resolve(OK);
    },
  });
  const look = (): void => {
    const due = alarm!;
    alarm = undefined;
    due();
    client.replica.store.drain();
  };
  return { client, state, batches, expirer, look, sizeOf: () => client.replica.machine.sizes[0] };
}

test('keys that expire together are removed in batches, and not before their time is over', () => {
  const { state, batches, look, sizeOf } = world(1200);
  look();
  expect(batches).toEqual([]);
  state.wallMs++;
  for (let i = 0; i < 5; i++) look();
  expect(batches).toEqual([500, 500, 200]);
  expect(sizeOf()).toBe(0);
});

test('nothing is removed while the disk is full or another server leads, and everything after that', () => {
  const { state, batches, look, sizeOf } = world(3);
  state.wallMs++;
  state.mayWrite = false;
  look();
  expect(batches).toEqual([]);
  state.mayWrite = true;
  look();
  expect(batches).toEqual([3]);
  expect(sizeOf()).toBe(0);
});
