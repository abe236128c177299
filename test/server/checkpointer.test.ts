import { expect, test } from 'vitest';
import type { Store } from '../../src/lib/env.ts';
import { DiskFullError } from '../../src/lib/errors.ts';
import { Checkpointer } from '../../src/server/checkpointer.ts';
import { Client } from '../kv/replica.ts';

/** A checkpointer that begins nothing by itself, over a state machine whose store answers when it is told to. */
function world() {
  const client = new Client();
  const { machine, store } = client.replica;
  const later: (() => void)[] = [];
  const time = { monotonicMs: 0, wallMs: 1_000_000 };
  const disk = { full: false };
  const failing: Store = Object.assign(Object.create(store) as Store, {
    batch: () => {
      const batch = store.batch();
      return {
        ...batch,
        write: (done: (error: Error | null) => void) => {
          if (disk.full) later.push(() => done(new DiskFullError('no space left')));
          else batch.write(done);
        },
      };
    },
  });
  const fatal: Error[] = [];
  const silent = { debug: () => {}, verbose: () => {}, notice: () => {}, warning: () => {} };
  const checkpointer = new Checkpointer({
    limits: { dirtyBytesMax: 1e9, entriesMax: 1e9, intervalMs: 1e9 },
    clock: {
      monotonicMs: () => time.monotonicMs,
      wallMs: () => time.wallMs,
      after: () => ({ cancel: () => {} }),
      endOfTurn: (callback) => void later.push(callback),
    },
    log: silent,
    store: failing,
    stateMachine: machine,
    onCheckpoint: () => {},
    onFatal: (error) => void fatal.push(error),
  });
  /** Everything that has been asked for happens. */
  const settle = () => {
    for (;;) {
      const next = later.shift();
      if (next !== undefined) next();
      else if (!store.turn()) return;
    }
  };
  const outcomes: string[] = [];
  const flush = (name: string) =>
    checkpointer.flush((error) => void outcomes.push(error === null ? name : `${name} failed`));
  return { client, machine, checkpointer, time, disk, fatal, settle, outcomes, flush };
}

test('nothing begins by itself below the limits', () => {
  const { client, checkpointer, settle } = world();
  client.run('set', 'a', '1');
  checkpointer.consider();
  settle();
  expect(checkpointer.status).toMatchObject({ beganMs: undefined, finishedCount: 0, lastWallMs: 1_000_000 });
});

test('who asks for a checkpoint hears of one that holds everything applied before', () => {
  const { client, checkpointer, machine, time, settle, outcomes, flush } = world();
  client.run('set', 'a', '1');
  flush('first');
  expect([outcomes, checkpointer.status.beganMs]).toEqual([[], 0]);
  // Too late for the one that is under way.
  client.run('set', 'a', '2');
  flush('second');
  time.monotonicMs = 70;
  time.wallMs = 2_000_000;
  settle();
  expect(outcomes).toEqual(['first', 'second']);
  expect(checkpointer.checkpointedIndex).toBe(machine.appliedIndex);
  expect(checkpointer.status).toMatchObject({ beganMs: undefined, finishedCount: 2, lastWallMs: 2_000_000 });
});

test('where everything is in the store there is nothing to wait for, but the answer comes later all the same', () => {
  const { client, settle, outcomes, flush, checkpointer } = world();
  client.run('set', 'a', '1');
  flush('first');
  settle();
  flush('second');
  expect(outcomes).toEqual(['first']);
  settle();
  expect(outcomes).toEqual(['first', 'second']);
  expect(checkpointer.status.finishedCount).toBe(1);
});

test('a full disk is told to who waits, and tried again when somebody asks', () => {
  const { client, checkpointer, disk, fatal, settle, outcomes, flush } = world();
  client.run('set', 'a', '1');
  disk.full = true;
  flush('first');
  flush('second');
  settle();
  expect(outcomes).toEqual(['first failed', 'second failed']);
  expect(checkpointer.status).toMatchObject({ beganMs: undefined, finishedCount: 0, lastFailed: true });
  disk.full = false;
  flush('third');
  settle();
  expect(outcomes.at(-1)).toBe('third');
  expect([checkpointer.status.lastFailed, fatal]).toEqual([false, []]);
});

test('a checkpoint that is only asked for is made once, and again after a full disk', () => {
  const { client, checkpointer, machine, time, disk, settle } = world();
  client.run('set', 'a', '1');
  disk.full = true;
  checkpointer.request();
  settle();
  disk.full = false;
  checkpointer.consider();
  settle();
  expect(checkpointer.status.finishedCount).toBe(0);
  time.monotonicMs += 1000;
  checkpointer.consider();
  settle();
  expect([checkpointer.status.finishedCount, checkpointer.checkpointedIndex]).toEqual([
    1,
    machine.appliedIndex,
  ]);
  checkpointer.consider();
  settle();
  expect(checkpointer.status.finishedCount).toBe(1);
});
