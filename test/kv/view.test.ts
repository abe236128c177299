/**
 * What a view of the keys shows: the state at one place of the log, whatever came later and however it lies in memory and
 * in the store.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { positionOf } from '../../src/kv/position.ts';
import { slotOf } from '../../src/kv/slot.ts';
import { ViewGoneError } from '../../src/kv/view.ts';
import { MalformedError } from '../../src/lib/bytes.ts';
import { CorruptionError, SnapshotLostError } from '../../src/lib/errors.ts';
import { pairsOf, rangeOf, ViewWorld } from '../server/view-world.ts';
import { command, commandIn, type Op } from './replica.ts';

describe('a view', () => {
  test('shows the state behind its entry: what came before, in the same entry too, and nothing that came later', () => {
    const world = new ViewWorld();
    world.script.run(command('SET', 'before', '1'));
    world.freeze('v', command('SET', 'beside', '2'));
    const index = world.script.entries.length;
    world.script.run(
      command('SET', 'behind', '3'),
      command('APPEND', 'before', '!'),
      command('DEL', 'beside'),
    );
    world.settle();
    expect(world.views.view('v')!.index).toBe(index);
    expect(world.contents('v')).toEqual({ before: '1', beside: '2' });
  });

  test('shows what the same entry writes behind the freeze: the place is between two entries', () => {
    const world = new ViewWorld();
    world.script.run(command('hstore.freeze', 'v'), command('SET', 'a', '1'));
    world.settle();
    expect(world.contents('v')).toEqual({ a: '1' });
  });

  test('keeps what is changed, deleted, flushed and swapped behind it, also when that is in the store', () => {
    const world = new ViewWorld();
    const keys = Array.from({ length: 50 }, (_, i) => `k${i}`);
    world.script.run(
      ...keys.map((key) => command('SET', key, `of ${key}`)),
      commandIn(3, 'SET', 'three', '3'),
    );
    world.freeze('v');
    world.settle();
    const before = world.contents('v');
    for (const op of [
      command('DEL', 'k1'),
      command('SET', 'k2', 'new'),
      command('SWAPDB', '0', '3'),
      command('FLUSHALL'),
      command('SET', 'k3', 'after'),
    ]) {
      world.script.run(op);
      world.checkpointer.request();
      world.settle();
    }
    expect(world.contents('v')).toEqual(before);
    expect(Object.keys(before)).toHaveLength(50);
    expect(world.contents('v', 3)).toEqual({ three: '3' });
    expect([world.views.view('v')!.sizeOf(0), world.views.view('v')!.sizeOf(3)]).toEqual([50, 1]);
  });

  test('goes by the database, not by the space, when databases were swapped before it', () => {
    const world = new ViewWorld();
    world.script.run(
      command('SET', 'a', 'zero'),
      commandIn(5, 'SET', 'b', 'five'),
      command('SWAPDB', '0', '5'),
    );
    world.freeze('v');
    world.settle();
    expect([world.contents('v', 0), world.contents('v', 5)]).toEqual([{ b: 'five' }, { a: 'zero' }]);
  });

  test('leaves out what has expired by the time of its entry, and shows what expires later', () => {
    const world = new ViewWorld();
    world.script.run(command('SET', 'soon', '1', 'PX', '100'), command('SET', 'late', '2', 'PX', '1000'));
    world.script.nowMs += 101;
    world.freeze('v');
    world.script.nowMs += 5000;
    world.script.run(command('GETDEL', 'late'));
    world.settle();
    expect(world.contents('v')).toEqual({ late: '2' });
    expect(world.views.view('v')!.sizeOf(0)).toBe(2);
  });

  test('shows data that are larger than memory', () => {
    const world = new ViewWorld({ memoryBytesMax: 2000 });
    const expected: Record<string, string> = {};
    for (let i = 0; i < 200; i++) {
      expected[`k${i}`] = `${i}`.repeat(20);
      world.script.run(command('SET', `k${i}`, expected[`k${i}`]!));
      if (i % 40 === 0) {
        world.checkpointer.request();
        world.settle();
      }
    }
    world.freeze('v');
    for (let i = 0; i < 200; i++) world.script.run(command('APPEND', `k${i}`, 'later'));
    world.settle();
    expect(world.contents('v')).toEqual(expected);
  });

  test('of an empty database is one empty block', () => {
    const world = new ViewWorld();
    world.freeze('v');
    world.settle();
    const answer = world.read(world.views.view('v')!);
    expect([answer.error, answer.block.length, answer.after]).toEqual([null, 0, undefined]);
  });
});

describe('the blocks of a view', () => {
  test('come in the order of positions, and slots cut it without gap or overlap', () => {
    const world = new ViewWorld();
    const keys = Array.from({ length: 300 }, (_, i) => `key:${i}`);
    world.script.run(...keys.map((key) => command('SET', key, key)));
    world.freeze('v');
    world.settle();
    const order = keys.sort((a, b) => positionOf(a) - positionOf(b));
    expect(world.pairs('v').map(([key]) => key)).toEqual(order);
    const cut = slotOf(order[100]!);
    const low = world.pairs('v', rangeOf({ toSlot: cut })).map(([key]) => key);
    const high = world.pairs('v', rangeOf({ fromSlot: cut })).map(([key]) => key);
    expect([...low, ...high]).toEqual(order);
    expect(low.every((key) => slotOf(key) < cut) && high.every((key) => slotOf(key) >= cut)).toBe(true);
    expect(world.pairs('v', rangeOf({ fromSlot: cut, toSlot: cut }))).toEqual([]);
  });

  test('have about 256 KiB each, and one record at least', () => {
    const world = new ViewWorld();
    const value = 'x'.repeat(100_000);
    for (let i = 0; i < 12; i++) world.script.run(command('SET', `k${i}`, value));
    world.script.run(command('SET', 'large', 'y'.repeat(3_000_000)));
    world.freeze('v');
    world.settle();
    const blocks = world.blocks(world.views.view('v')!);
    const pairs = blocks.flatMap(pairsOf);
    expect(pairs).toHaveLength(13);
    expect(new Map(pairs).get('large')).toBe('y'.repeat(3_000_000));
    expect(blocks.length).toBeGreaterThan(4);
    for (const block of blocks) {
      expect(block.length < 400_000 || pairsOf(block).some(([key]) => key === 'large')).toBe(true);
      // So that it can be handed over to a thread.
      expect(block.buffer.byteLength).toBe(block.length);
    }
  });

  test('hold what matches the pattern, and go past what does not until something does', () => {
    const world = new ViewWorld();
    const value = 'x'.repeat(50_000);
    for (let i = 0; i < 60; i++) world.script.run(command('SET', `other:${i}`, value));
    world.script.run(command('SET', 'doc:1', 'one'), command('SET', 'doc:[2]', 'two'));
    world.freeze('v');
    world.settle();
    const view = world.views.view('v')!;
    const first = world.read(view, rangeOf({ pattern: 'doc:*' }));
    expect(pairsOf(first.block).length).toBeGreaterThan(0);
    expect(new Set(world.pairs('v', rangeOf({ pattern: 'doc:*' })))).toEqual(
      new Set([
        ['doc:1', 'one'],
        ['doc:[2]', 'two'],
      ]),
    );
    expect(world.pairs('v', rangeOf({ pattern: 'doc:\\[2]' }))).toEqual([['doc:[2]', 'two']]);
    expect(world.pairs('v', rangeOf({ pattern: 'none' }))).toEqual([]);
    const few = world.blocks(view, rangeOf({ pattern: 'doc:*' }));
    expect(few.length).toBeLessThanOrEqual(3);
  });

  test('begin again behind a place only where the range has given it', () => {
    const world = new ViewWorld();
    for (let i = 0; i < 8; i++) world.script.run(command('SET', `k${i}`, 'x'.repeat(100_000)));
    world.freeze('v');
    world.settle();
    const view = world.views.view('v')!;
    const { after } = world.read(view);
    for (const wrong of [new Uint8Array(0), Uint8Array.of(1, 2, 3), after!.subarray(0, 3)]) {
      expect(world.read(view, rangeOf(), wrong).error).toBeInstanceOf(MalformedError);
    }
    expect(world.read(view, rangeOf({ db: 1 }), after).error).toBeInstanceOf(MalformedError);
    expect(world.read(view, rangeOf(), after).error).toBeNull();
  });
});

describe('a view that ends', () => {
  test('gives what is read just then an error, and what is read afterwards too', () => {
    const world = new ViewWorld();
    world.freeze('v', command('SET', 'a', '1'));
    world.settle();
    const view = world.views.view('v')!;
    const errors: (Error | null)[] = [];
    view.read(rangeOf(), undefined, (error) => errors.push(error));
    view.read(rangeOf(), undefined, (error) => errors.push(error));
    world.views.release('v');
    world.settle();
    expect(errors).toHaveLength(2);
    for (const error of [...errors, world.read(view).error]) expect(error).toBeInstanceOf(ViewGoneError);
    expect(world.views.view('v')).toBeUndefined();
  });

  test('is gone when the store had to be opened again, for all who read it', () => {
    const world = new ViewWorld();
    world.freeze('v', command('SET', 'a', '1'));
    world.settle();
    const view = world.views.view('v')!;
    world.disk.reopened = true;
    const errors: (Error | null)[] = [];
    view.read(rangeOf(), undefined, (error) => errors.push(error));
    view.read(rangeOf(), undefined, (error) => errors.push(error));
    world.settle();
    expect([errors.length, world.views.views, world.fatal]).toEqual([2, [], []]);
    for (const error of errors) expect(error).toBeInstanceOf(ViewGoneError);
    expect(errors[0]!.cause).toBeInstanceOf(SnapshotLostError);
    expect([world.closedSnapshots, world.warnings]).toEqual([1, ['a view of the keys was lost']]);
  });

  test('ends, and the server with it, when a value is not what was written', () => {
    const world = new ViewWorld();
    world.freeze('v', command('SET', 'a', '1'));
    world.settle();
    const view = world.views.view('v')!;
    const { store, machine } = world.script.replica;
    const batch = store.batch();
    store.range({ from: Uint8Array.of(0x64), to: Uint8Array.of(0x65), limit: 1 }, (_, [entry]) => {
      const value = Uint8Array.from(entry![1]);
      value[value.length - 1]! ^= 1;
      batch.put(entry![0], value);
      batch.write(() => {});
    });
    world.settle();
    // That one was made before.
    expect(world.read(view).error).toBeNull();
    world.freeze('w');
    world.settle();
    expect(world.read(world.views.view('w')!).error).toBeInstanceOf(CorruptionError);
    expect([world.fatal.length, world.views.views, machine.atRest]).toEqual([1, ['v'], true]);
  });
});

// A property: whatever the log says, and whenever each server makes checkpoints of its own.

const keyArb = fc.integer({ min: 0, max: 9 }).map((i) => `k${i}`);
const opArb: fc.Arbitrary<Op> = fc.oneof(
  fc
    .tuple(fc.integer({ min: 0, max: 1 }), keyArb, fc.nat(99))
    .map(([db, k, v]) => commandIn(db, 'SET', k, `${v}`)),
  fc
    .tuple(keyArb, fc.integer({ min: 1, max: 50 }))
    .map(([k, ms]) => command('SET', k, 'mortal', 'PX', `${ms}`)),
  keyArb.map((k) => command('DEL', k)),
  keyArb.map((k) => command('APPEND', k, 'x')),
  fc.constant(command('FLUSHDB')),
  fc.constant(command('SWAPDB', '0', '1')),
);
const stepArb = fc.record({
  ops: fc.array(opArb, { minLength: 1, maxLength: 6 }),
  passMs: fc.integer({ min: 0, max: 30 }),
  freeze: fc.boolean(),
  checkpoint: fc.boolean(),
  settle: fc.boolean(),
});

test('views are equal on servers whose memories and checkpoints differ, and are what the keys were', () => {
  fc.assert(
    fc.property(
      fc.array(stepArb, { maxLength: 12 }),
      fc.integer({ min: 0, max: 3000 }),
      (steps, memoryBytesMax) => {
        const [lazy, busy] = [new ViewWorld(), new ViewWorld({ memoryBytesMax })];
        const expected = new Map<string, string>();
        for (const [i, step] of steps.entries()) {
          for (const world of [lazy, busy]) {
            world.script.nowMs += step.passMs;
            if (step.freeze) world.freeze(`v${i}`, ...step.ops);
            else world.script.run(...step.ops);
          }
          if (step.checkpoint) busy.checkpointer.request();
          if (step.settle) busy.settle();
          if (step.freeze) expected.set(`v${i}`, stateOf(lazy));
        }
        for (const world of [lazy, busy]) {
          world.settle();
          expect(world.views.views).toEqual([...expected.keys()].slice(-4));
        }
        for (const id of lazy.views.views) {
          const [a, b] = [lazy, busy].map((world) => [0, 1].map((db) => world.pairs(id, rangeOf({ db }))));
          expect(a).toEqual(b);
          const sorted = [0, 1].map((db) => Object.entries(lazy.contents(id, db)).sort());
          expect(JSON.stringify(sorted)).toBe(expected.get(id));
        }
      },
    ),
    { numRuns: 150 },
  );
});

/** By GET, of the moment. */
function stateOf(world: ViewWorld): string {
  const all = [0, 1].map((db) =>
    Array.from({ length: 10 }, (_, i) => [`k${i}`, world.script.get(`k${i}`, db)] as const)
      .filter(([, value]) => value !== null)
      .sort(),
  );
  return JSON.stringify(all);
}
