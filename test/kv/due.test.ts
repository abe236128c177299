/**
 * Keys that expire are found, in memory and in the store, and removed by the log; with what can come in between.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LogScript, replay } from './log-script.ts';
import { command, commandIn, type Op } from './replica.ts';

/** The names found; of one database at a time. */
function find(script: LogScript, nowMs = script.nowMs, limit = 100): { db: number; names: string[] } {
  let found: { db: number; names: string[] } | undefined;
  script.replica.machine.findDue(nowMs, limit, (places) => {
    for (const { db } of places) expect(db).toBe(places[0]!.db);
    found = { db: places[0]?.db ?? -1, names: places.map(({ name }) => name) };
  });
  while (found === undefined && script.replica.store.turn());
  return found!;
}

/** What the expirer does, until there is nothing to do; the keys removed. */
function removeAll(script: LogScript, limit = 100): string[] {
  const removed: string[] = [];
  for (;;) {
    const { db, names } = find(script, script.nowMs, limit);
    if (names.length === 0) return removed.sort();
    removed.push(...names);
    script.run(commandIn(db, 'hstore.remove-expired', ...names));
    expect(removed.length).toBeLessThan(1000);
  }
}

function size(script: LogScript, db = 0): number {
  return script.replica.machine.sizes[db]!;
}

/** And what was flushed away goes from the store. */
function checkpoint(script: LogScript): void {
  const { store, machine } = script.replica;
  script.replica.checkpoint();
  for (const range of machine.takeGarbage()) store.clear(range, () => undefined);
  store.drain();
}

/** What the store calls due. */
function dueInStore(script: LogScript): number {
  let found = 0;
  const { store } = script.replica;
  store.range({ from: Buffer.from('e'), to: Buffer.from('f'), limit: 1000 }, (_, entries) => {
    found = entries.length;
  });
  store.drain();
  return found;
}

describe('a key that has expired is found', () => {
  const lives: readonly (readonly [string, (script: LogScript) => unknown])[] = [
    ['when it never was in the store', () => undefined],
    ['when it is in the store', (script) => script.replica.checkpoint()],
    ['after a restart', (script) => script.forget()],
    ['while a checkpoint writes it', (script) => script.replica.machine.beginCheckpoint()],
    [
      'when the checkpoint that was to write it has failed',
      (script) => script.replica.machine.beginCheckpoint()!.failed(),
    ],
    [
      'when it was changed while a checkpoint wrote it that failed, and then was saved',
      (script) => {
        const checkpoint = script.replica.machine.beginCheckpoint()!;
        script.command('APPEND', 'k', '!');
        checkpoint.failed();
        return script.forget();
      },
    ],
    [
      'when it got another time while a checkpoint wrote it that failed, and that time again',
      async (script) => {
        script.replica.checkpoint();
        script.command('PEXPIRE', 'k', '500');
        const checkpoint = script.replica.machine.beginCheckpoint()!;
        script.command('PEXPIREAT', 'k', '1100');
        checkpoint.failed();
        await script.forget();
      },
    ],
    [
      'when it got its time while a checkpoint was written, and no other has followed',
      (script) => {
        script.command('PERSIST', 'k');
        const begun = script.replica.machine.beginCheckpoint()!;
        script.command('PEXPIREAT', 'k', '1100');
        script.replica.write(begun, () => undefined);
        script.replica.store.drain();
      },
    ],
    ['in the database to which it was swapped', (script) => script.command('SWAPDB', '0', '5')],
    [
      'in the database to which it was swapped from the store',
      async (script) => {
        await script.forget();
        script.command('SWAPDB', '0', '5');
      },
    ],
    [
      'when the first answer of the store was out of date',
      (script) => {
        script.replica.checkpoint();
        script.replica.machine.findDue(9999, 10, () => undefined);
        script.replica.store.turn();
        script.run(commandIn(3, 'SET', 'x', 'y'));
        script.replica.checkpoint();
      },
    ],
  ];
  test.each(lives)('%s, once it has and not before, and only once it is gone no more', async (_, live) => {
    const script = new LogScript();
    script.command('SET', 'k', 'v', 'PX', '100');
    script.command('SET', 'later', 'v', 'PX', '100000');
    script.command('SET', 'for ever', 'v');
    await live(script);
    const db = size(script) === 0 ? 5 : 0;
    script.nowMs = 1100;
    expect(find(script).names).toEqual([]);
    script.nowMs = 1101;
    expect(removeAll(script)).toEqual(['k']);
    expect(size(script, db)).toBe(2);
    expect(find(script).names).toEqual([]);
    expect((await replay(script, {})).machine.stateHash()).toBe(script.hash);
  });

  test('with the others of its database, a bounded number at a time', async () => {
    for (const saved of [true, false]) {
      const script = new LogScript();
      for (let i = 0; i < 95; i++) script.run(commandIn(i % 2, 'SET', `k${i}`, 'v', 'PX', `${1 + (i % 7)}`));
      if (saved) await script.forget();
      script.nowMs += 10;
      const first = find(script, script.nowMs, 20);
      expect(first.names).toHaveLength(20);
      script.run(commandIn(first.db, 'hstore.remove-expired', ...first.names));
      expect(removeAll(script, 20)).toHaveLength(75);
      expect([size(script, 0), size(script, 1)]).toEqual([0, 0]);
    }
  });
});

describe('nothing is found or removed', () => {
  const changes: readonly (readonly [string, readonly Op[]])[] = [
    ['that was deleted', [command('DEL', 'k')]],
    ['that was made to last', [command('PERSIST', 'k')]],
    ['that got a later time', [command('PEXPIRE', 'k', '5000')]],
    ['that was written without a time', [command('SET', 'k', 'w')]],
    ['that was flushed away', [command('FLUSHDB')]],
    [
      'that was moved away and back with another time',
      [command('RENAME', 'k', 'l'), command('SET', 'k', 'v'), command('DEL', 'l')],
    ],
  ];
  test.each(changes)('%s', async (_, ops) => {
    for (const saved of [0, 1, 2, 3]) {
      const script = new LogScript();
      script.command('SET', 'k', 'v', 'PX', '100');
      if (saved === 1) script.replica.checkpoint();
      if (saved === 2) await script.forget();
      const under = saved === 3 ? script.replica.machine.beginCheckpoint() : undefined;
      script.run(...ops);
      under?.failed();
      script.nowMs = 1101;
      expect(find(script).names).toEqual([]);
      if (saved > 0) await script.forget();
      expect(find(script).names).toEqual([]);
      expect(script.get('k')).toBe(size(script) === 0 ? null : script.get('k'));
    }
  });

  test('before its time by the log, whatever is proposed', () => {
    const script = new LogScript();
    script.command('SET', 'k', 'v', 'PX', '100');
    script.nowMs = 1100;
    script.command('hstore.remove-expired', 'k', 'missing');
    expect(script.get('k')).toBe('v');
    script.nowMs = 1101;
    script.command('hstore.remove-expired', 'k', 'missing');
    expect([script.get('k'), size(script)]).toEqual([null, 0]);
  });
});

test('what the store wrongly calls due is cleaned away, and not what it calls so rightly again', async () => {
  const script = new LogScript();
  script.command('SET', 'k', 'v', 'PX', '100');
  script.replica.checkpoint();
  script.command('PEXPIRE', 'k', '200');
  const failing = script.replica.machine.beginCheckpoint()!;
  script.command('PEXPIRE', 'k', '90000');
  failing.failed();
  script.replica.checkpoint();
  // That of the first time was left, because the second was taken for saved.
  expect(dueInStore(script)).toBe(2);
  script.nowMs = 2000;
  expect(find(script).names).toEqual([]);
  script.command('SET', 'other', 'v');
  await script.forget();
  expect(dueInStore(script)).toBe(1);
  script.nowMs = 95_000;
  expect(removeAll(script)).toEqual(['k']);
  await script.forget();
  expect(dueInStore(script)).toBe(0);
});

test('what the store calls due is cleaned away too when memory has forgotten that there was such a key', () => {
  const script = new LogScript();
  script.command('SET', 'z', 'v', 'PX', '100000');
  script.command('SET', 'k', 'v', 'PX', '100');
  script.replica.checkpoint();
  script.command('PEXPIRE', 'k', '200');
  const failing = script.replica.machine.beginCheckpoint()!;
  script.command('DEL', 'k');
  failing.failed();
  script.replica.checkpoint();
  // Some operations: each lets go of a little.
  for (let i = 0; i < 3; i++) script.command('APPEND', 'z', 'v');
  expect(dueInStore(script)).toBe(2);
  script.nowMs = 2000;
  expect(find(script).names).toEqual([]);
  script.replica.checkpoint();
  expect(dueInStore(script)).toBe(1);
});

test('a heap that is mostly out of date is made anew', () => {
  const script = new LogScript();
  for (let i = 0; i < 5000; i++) script.run(command('SET', 'k', 'v', 'PX', `${100_000 + i}`));
  script.nowMs += 200_000;
  expect(removeAll(script)).toEqual(['k']);
});

type Step =
  | { readonly do: 'run'; readonly op: Op }
  | { readonly do: 'time'; readonly ms: number }
  | { readonly do: 'checkpoint' }
  | { readonly do: 'fail' }
  | { readonly do: 'begin' }
  | { readonly do: 'end'; readonly ok: boolean }
  | { readonly do: 'restart' }
  | { readonly do: 'expire'; readonly limit: number };

const key = fc.constantFrom('a', 'b', 'c', 'd', 'e');
const ttl = fc.constantFrom('5', '20', '20', '60');
const words = (...parts: fc.Arbitrary<string>[]): fc.Arbitrary<Op> =>
  fc.tuple(fc.constantFrom(0, 0, 1), ...parts).map(([db, ...argv]) => commandIn(db, ...argv));
const word = fc.constant<string>;
const op = fc.oneof(
  { weight: 6, arbitrary: words(word('SET'), key, word('v'), word('PX'), ttl) },
  { weight: 3, arbitrary: words(word('PEXPIRE'), key, ttl) },
  { weight: 2, arbitrary: words(word('PEXPIREAT'), key, fc.constantFrom('1040', '1080')) },
  { weight: 3, arbitrary: words(word('APPEND'), key, word('x')) },
  { weight: 1, arbitrary: words(fc.constantFrom('DEL', 'PERSIST'), key) },
  { weight: 1, arbitrary: words(word('RENAME'), key, key) },
  { weight: 1, arbitrary: words(word('SWAPDB'), word('0'), word('1')) },
  { weight: 1, arbitrary: words(word('FLUSHDB')) },
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 10, arbitrary: fc.record({ do: fc.constant('run' as const), op }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('time' as const), ms: fc.constantFrom(1, 10, 30) }) },
  { weight: 2, arbitrary: fc.constantFrom<Step>({ do: 'checkpoint' }, { do: 'fail' }, { do: 'begin' }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('end' as const), ok: fc.boolean() }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: 'restart' }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('expire' as const), limit: fc.constantFrom(1, 2, 10) }),
  },
);

test('whatever happens, in the end all that has expired is found and removed, and nothing else', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 20, maxLength: 80 }),
      fc.constantFrom(0, 1200, 1 << 20),
      async (steps, memoryBytesMax) => {
        const script = new LogScript({ memoryBytesMax });
        let underWay: (() => void) | undefined;
        let giveUp: (() => void) | undefined;
        const begin = (): void => {
          const begun = script.replica.machine.beginCheckpoint();
          if (begun === undefined) return;
          underWay = () => script.replica.write(begun, () => undefined);
          giveUp = () => begun.failed();
        };
        const end = (ok: boolean): void => {
          if (ok) underWay?.();
          else giveUp?.();
          underWay = undefined;
          giveUp = undefined;
          script.replica.store.drain();
        };
        for (const each of steps) {
          if (each.do === 'run') script.run(each.op);
          else if (each.do === 'time') script.nowMs += each.ms;
          else if (each.do === 'begin') begin();
          else if (each.do === 'end') end(each.ok);
          else if (each.do === 'expire') removeAll(script, each.limit);
          else if (each.do === 'restart') {
            end(true);
            await script.forget();
          } else {
            end(true);
            if (each.do === 'fail') script.replica.store.failWrites = 1;
            script.replica.checkpoint();
          }
        }
        end(true);
        script.nowMs += 1000;
        // What was popped from the heap and not removed, the next checkpoint brings back.
        script.replica.checkpoint();
        removeAll(script, 3);
        expect(script.replica.machine.expiring.every((count) => count === 0)).toBe(true);
        // And nothing that lasts was touched.
        expect((await replay(script, { memoryBytesMax: 1 << 20 })).machine.stateHash()).toBe(script.hash);
        // While there is anything that will expire, what is out of date in the store is found, and cleaned away.
        for (const db of [0, 1]) script.run(commandIn(db, 'SET', 'z', 'v', 'PX', '1000000'));
        checkpoint(script);
        for (let i = 0; i < 4; i++) find(script);
        checkpoint(script);
        expect(dueInStore(script)).toBe(2);
      },
    ),
    { numRuns: 200 },
  );
});
