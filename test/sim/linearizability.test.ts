/** The checker of histories, checked: by hand-made histories, and against a twin that tries every order. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type KeyCommand,
  type KeyOp,
  type KvReply,
  keyModel,
  runOnStore,
  type StoreCommand,
  type StoreOp,
  storeModel,
} from './kv-models.ts';
import { checkLinearizable, type Model, type Operation } from './linearizability.ts';

type Interval = readonly [callMs: number, returnMs: number];

function op<Command extends StoreCommand>(
  [callMs, returnMs]: Interval,
  command: Command,
  reply?: KvReply,
): Operation<Command & { reply: KvReply | undefined }> {
  return { client: 0, callMs, returnMs, op: { ...command, reply } };
}

const get = (interval: Interval, reply: KvReply, key = 'a') =>
  op(interval, { name: 'GET', key } as KeyCommand, reply);
const set = (interval: Interval, value: string, key = 'a') =>
  op(interval, { name: 'SET', key, value } as KeyCommand, 'OK');
const append = (interval: Interval, value: string, reply: KvReply) =>
  op(interval, { name: 'APPEND', key: 'a', value } as KeyCommand, reply);
const unknown = (callMs: number, command: KeyCommand) => op([callMs, Infinity], command);
const incr = (interval: Interval, reply: KvReply) =>
  op(interval, { name: 'INCR', key: 'a' } as KeyCommand, reply);

const SET_1: KeyCommand = { name: 'SET', key: 'a', value: '1' };

describe('histories of single keys', () => {
  const good: readonly (readonly [name: string, history: readonly Operation<KeyOp>[]])[] = [
    ['nothing', []],
    ['one client alone', [set([0, 1], '1'), get([2, 3], '1'), append([4, 5], '2', 2), get([6, 7], '12')]],
    ['a read beside a write sees the old value', [set([0, 1], '1'), set([2, 5], '2'), get([3, 4], '1')]],
    ['a read beside a write sees the new value', [set([0, 1], '1'), set([2, 5], '2'), get([3, 4], '2')]],
    [
      'two reads beside a write, the earlier sees the old value',
      [set([0, 9], '1'), get([1, 2], null), get([3, 4], '1')],
    ],
    [
      'a read called in the instant of a return',
      [set([0, 2], '1'), get([1, 2], null), set([2, 3], '2'), get([3, 4], '2')],
    ],
    [
      'an unknown write takes effect later',
      [unknown(0, SET_1), get([1, 2], null), get([3, 4], null), get([5, 6], '1')],
    ],
    ['an unknown write never takes effect', [unknown(0, SET_1), get([1, 2], null), get([90, 91], null)]],
    [
      'an unknown write takes effect at once',
      [unknown(0, SET_1), get([1, 2], '1'), set([3, 4], '2'), get([5, 6], '2')],
    ],
    ['concurrent increments', [incr([0, 5], 3), incr([0, 5], 1), incr([0, 5], 2), get([6, 7], '3')]],
    [
      'an unknown increment is seen in a number left out',
      [incr([0, 1], 1), unknown(2, { name: 'INCR', key: 'a' }), incr([3, 4], 3)],
    ],
    [
      'two SETNX, one wins',
      [
        op([0, 5], { name: 'SETNX', key: 'a', value: 'x' }, 0),
        op([1, 6], { name: 'SETNX', key: 'a', value: 'y' }, 1),
        get([7, 8], 'y'),
      ],
    ],
    [
      'GETSET hands on the old value, DEL tells whether there was one',
      [
        set([0, 1], '1'),
        op([2, 3], { name: 'GETSET', key: 'a', value: '2' }, '1'),
        op([4, 5], { name: 'DEL', key: 'a' }, 1),
      ],
    ],
    [
      'INCR of a word is an error',
      [set([0, 1], 'x'), incr([2, 3], '-ERR value is not an integer or out of range')],
    ],
    ['other keys do not matter', [set([0, 1], '1'), get([2, 3], null, 'b'), get([4, 5], '1')]],
  ];
  test.each(good)('%s: linearizable', (_, history) => {
    expect(checkLinearizable(keyModel, history)).toMatchObject({ outcome: 'ok', description: '' });
  });

  const bad: readonly (readonly [name: string, history: readonly Operation<KeyOp>[]])[] = [
    ['a stale read', [set([0, 1], '1'), set([2, 3], '2'), get([4, 5], '1')]],
    ['a value goes back', [set([0, 9], '1'), get([1, 2], '1'), get([3, 4], null)]],
    ['a lost write', [set([0, 1], '1'), get([2, 3], null)]],
    ['a lost append', [append([0, 1], 'x', 1), append([2, 3], 'y', 1)]],
    ['an append applied twice', [append([0, 1], 'x', 1), get([2, 3], 'xx')]],
    ['an increment applied twice', [incr([0, 1], 1), incr([2, 3], 3)]],
    ['a read from the future', [get([0, 1], '1'), set([2, 3], '1')]],
    ['a value that nobody wrote', [set([0, 1], '1'), get([2, 3], '7')]],
    ['an unknown write seen before its call', [get([0, 1], '1'), unknown(2, SET_1)]],
    ['an unknown write that comes and goes', [unknown(0, SET_1), get([1, 2], '1'), get([3, 4], null)]],
    [
      'an unknown write applied twice',
      [unknown(0, SET_1), get([1, 2], '1'), set([3, 4], '2'), get([5, 6], '2'), get([7, 8], '1')],
    ],
    [
      'two winners of SETNX',
      [
        op([0, 5], { name: 'SETNX', key: 'a', value: 'x' }, 1),
        op([0, 5], { name: 'SETNX', key: 'a', value: 'y' }, 1),
      ],
    ],
    [
      'readers who disagree on the order',
      [set([0, 9], '1'), set([0, 9], '2'), get([10, 11], '1'), get([12, 13], '2')],
    ],
    [
      'a fault in one of many keys',
      [set([0, 1], '1'), set([0, 1], '1', 'b'), get([2, 3], '1'), get([2, 3], null, 'b')],
    ],
  ];
  test.each(bad)('%s: not linearizable', (_, history) => {
    expect(checkLinearizable(keyModel, history).outcome).toBe('violation');
    expect(checkLinearizable<ReadonlyMap<string, string>, StoreOp>(storeModel, history).outcome).toBe(
      'violation',
    );
  });

  test('a violation is described: the key, how far it can be explained, and where that ends', () => {
    const history = [
      set([0, 1], '1', 'k'),
      set([2, 3], '2', 'k'),
      get([4, 5], '1', 'k'),
      set([0, 1], 'x', 'other'),
    ];
    expect(checkLinearizable(keyModel, history).description).toBe(
      [
        'k: no order explains these 3 operations; the longest that does has 2:',
        '  [0, 1] client 0: SET k 1 -> "OK"',
        '  [2, 3] client 0: SET k 2 -> "OK"',
        'then the state is "2", and one of these must follow, but none leads to the end:',
        '  [4, 5] client 0: GET k -> "1"',
      ].join('\n'),
    );
  });

  test('a search that takes too long is given up: unknown', () => {
    const history = Array.from({ length: 12 }, (_, index) => set([0, 100], `${index}`));
    const verdict = checkLinearizable(keyModel, [...history, get([101, 102], 'x')], { stepsMax: 1000 });
    expect(verdict).toMatchObject({ outcome: 'unknown', steps: 1000 });
  });
});

describe('histories of many keys', () => {
  const mset: StoreCommand = {
    name: 'MSET',
    pairs: [
      ['a', '1'],
      ['b', '1'],
    ],
  };
  const mget: StoreCommand = { name: 'MGET', keys: ['a', 'b'] };

  test('an MGET beside an MSET sees all of it or nothing', () => {
    const history = (reply: KvReply) => [op([0, 9], mset, 'OK'), op([1, 2], mget, reply)];
    expect(
      checkLinearizable<ReadonlyMap<string, string>, StoreOp>(storeModel, history(['1', '1'])).outcome,
    ).toBe('ok');
    expect(
      checkLinearizable<ReadonlyMap<string, string>, StoreOp>(storeModel, history([null, null])).outcome,
    ).toBe('ok');
    expect(
      checkLinearizable<ReadonlyMap<string, string>, StoreOp>(storeModel, history(['1', null])).outcome,
    ).toBe('violation');
  });

  test('keys that are each linearizable may not be so together', () => {
    const history: Operation<StoreOp>[] = [
      ...[set([0, 9], '1', 'a'), set([0, 9], '1', 'b')],
      ...[op([1, 2], mget, ['1', null]), op([3, 4], mget, ['1', '1'])],
    ];
    expect(checkLinearizable(storeModel, history).outcome).toBe('ok');
    history.push(op([1, 2], mget, [null, '1']));
    expect(checkLinearizable(storeModel, history).outcome).toBe('violation');
  });
});

/** Tries every order of every choice of operations that leaves out none of known outcome. */
function bruteForce<State, Op>(
  model: Model<State, Op>,
  left: readonly Operation<Op>[],
  state: State,
): boolean {
  const known = left.filter((operation) => operation.returnMs < Infinity);
  if (known.length === 0) return true;
  return left.some((operation, index) => {
    const rest = left.filter((_, other) => other !== index);
    if (rest.some((other) => other.returnMs < operation.callMs)) return false;
    const next = model.step(state, operation.op);
    return next !== undefined && bruteForce(model, rest, next);
  });
}

const key = fc.constantFrom('a', 'b');
const value = fc.constantFrom('1', '2');
const command: fc.Arbitrary<StoreCommand> = fc.oneof(
  fc.record({ name: fc.constantFrom('GET' as const, 'DEL' as const, 'INCR' as const), key }),
  fc.record({
    name: fc.constantFrom('SET' as const, 'SETNX' as const, 'GETSET' as const, 'APPEND' as const),
    key,
    value,
  }),
  fc.record({ name: fc.constant('MGET' as const), keys: fc.constant(['a', 'b']) }),
  fc.record({
    name: fc.constant('MSET' as const),
    pairs: fc.tuple(fc.tuple(key, value), fc.tuple(key, value)),
  }),
);
/** A command, where it takes effect, how far its interval reaches to both sides, and what is done to its record. */
const step = fc.record({
  command,
  early: fc.nat(3),
  late: fc.nat(3),
  fate: fc.constantFrom('seen', 'seen', 'seen', 'unknown', 'never', 'forged'),
  forged: fc.constantFrom<KvReply>('OK', '1', '2', '12', null, 0, 1, 2, 3),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** The history of a real order of effects, some replies of which are forged: about half are not linearizable. */
function record(steps: readonly Step[]): Operation<StoreOp>[] {
  let store: ReadonlyMap<string, string> = new Map();
  return steps.map(({ command, early, late, fate, forged }, at) => {
    const [after, reply] = runOnStore(store, command);
    if (fate !== 'never') store = after;
    const returnMs = fate === 'unknown' || fate === 'never' ? Infinity : at + late;
    const seen = { seen: reply, unknown: undefined, never: undefined, forged }[fate];
    return { client: at, callMs: at - early, returnMs, op: { ...command, reply: seen } };
  });
}

describe('against a twin that tries every order', () => {
  test('verdicts on small histories are the same, and both occur (property)', () => {
    const seen = { ok: 0, violation: 0, unknown: 0 };
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 7 }), (steps) => {
        const history = record(steps);
        const { outcome } = checkLinearizable(storeModel, history);
        seen[outcome]++;
        expect(outcome).toBe(bruteForce(storeModel, history, storeModel.initial) ? 'ok' : 'violation');
      }),
      { numRuns: 2000 },
    );
    expect(seen.unknown).toBe(0);
    expect(Math.min(seen.ok, seen.violation)).toBeGreaterThan(200);
  });

  test('key by key and all keys at once are of one opinion where no command joins keys (property)', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const history = record(steps.filter(({ command }) => 'key' in command));
        const byKey = checkLinearizable(keyModel, history as Operation<KeyOp>[]);
        expect(byKey.outcome).toBe(checkLinearizable(storeModel, history).outcome);
      }),
      { numRuns: 500 },
    );
  });
});

describe('long histories', () => {
  /** `count` operations of overlapping clients on one key, from a little generator of its own. */
  function long(count: number): Operation<KeyOp>[] {
    let seed = 1;
    const below = (bound: number) => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % bound;
    };
    const steps = Array.from({ length: count }, (_, at): Step => {
      const value = `${at};`;
      const command: StoreCommand = [
        { name: 'GET' as const, key: 'a' },
        { name: 'SET' as const, key: 'a', value },
        { name: 'APPEND' as const, key: 'a', value },
      ][below(3)]!;
      const fate = below(50) === 0 ? 'unknown' : 'seen';
      return { command, early: below(4), late: below(4), fate, forged: null };
    });
    return record(steps) as Operation<KeyOp>[];
  }

  test('two thousand operations of overlapping clients, forty of them of unknown outcome, are decided in few steps', () => {
    const verdict = checkLinearizable(keyModel, long(2000));
    expect(verdict.outcome).toBe('ok');
    expect(verdict.steps).toBeLessThan(200_000);
  });

  test('one stale read among them is found', () => {
    const history = long(600);
    const stale = history.map((each, at) => (at === 500 ? get([each.callMs, each.callMs + 4], '7;') : each));
    const verdict = checkLinearizable(keyModel, stale);
    expect(verdict.outcome).toBe('violation');
    expect(verdict.description).toContain('GET a -> "7;"');
  });
});
