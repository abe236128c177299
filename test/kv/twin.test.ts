/**
 * The state machine against a dumb twin that keeps everything in a Map, under random entries, with a memory far too
 * small, with checkpoints that succeed, fail or are cut short by a crash, and with reads at any moment.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { findDataCommand } from '../../src/kv/table.ts';
import type { Entry } from '../../src/raft/types.ts';
import { render } from './redis-server.ts';
import { bytesOf, entryOf, OPEN, type Op, Replica, type Run } from './replica.ts';
import { Twin, type TwinValues } from './twin-database.ts';

/** What an entry does: `again` sends the last run once more, `ahead` leaves a gap. */
type Step = {
  readonly afterMs: number;
  readonly ops: readonly Op[];
  readonly trick: 'none' | 'again' | 'ahead';
};

interface History {
  readonly entries: readonly Entry[];
  /** By sequence number: the state after it, and its reply. */
  readonly states: readonly TwinValues[];
  readonly replies: readonly string[];
  /** By index: the last sequence number executed. */
  readonly seqAt: readonly number[];
}

function historyOf(steps: readonly Step[]): History {
  const twin = new Twin();
  const entries: Entry[] = [entryOf(1, 1000, [OPEN])];
  const states = [twin.values];
  const replies = [''];
  const seqAt = [0, 0];
  let last: Run | undefined;
  let nowMs = 1000;
  for (const step of steps) {
    nowMs += step.afterMs;
    const seq = states.length;
    const run: Run = { session: 1, firstSeq: seq, ops: step.ops };
    const runs = [run];
    if (step.trick === 'again' && last !== undefined) runs.unshift(last);
    if (step.trick === 'ahead') runs.unshift({ ...run, firstSeq: seq + 1 });
    last = run;
    twin.nowMs = nowMs;
    for (const op of step.ops) {
      replies.push(render(op.kind === 'command' ? twin.run(op.argv, op.db) : 'OK'));
      states.push(twin.values);
    }
    entries.push(entryOf(entries.length + 1, nowMs, runs));
    seqAt.push(states.length - 1);
  }
  return { entries, states, replies, seqAt };
}

const key = fc.nat(11).map((n) => `key${n}`);
const value = fc.string({ unit: 'binary-ascii', maxLength: 40 });
/** Mostly the first database; few others, so that they meet. */
const database = fc.constantFrom(0, 0, 0, 1, 2);
const databaseWord = database.map(String);
const words = (name: string, ...parts: fc.Arbitrary<string>[]): fc.Arbitrary<Op> =>
  fc.tuple(database, ...parts).map(([db, ...rest]) => ({ kind: 'command', argv: [name, ...rest], db }));

const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 6, arbitrary: words('SET', key, value) },
  { weight: 4, arbitrary: words('APPEND', key, value) },
  { weight: 3, arbitrary: words('SET', key, value, fc.constant('PX'), fc.constantFrom('1', '20', '300')) },
  { weight: 3, arbitrary: words('DEL', key, key, key) },
  { weight: 2, arbitrary: words('MSET', key, value, key, value, key, value) },
  { weight: 2, arbitrary: words('INCR', key) },
  { weight: 2, arbitrary: words('PEXPIRE', key, fc.constantFrom('-1', '10', '1000')) },
  { weight: 1, arbitrary: words('SETRANGE', key, fc.constant('17000'), value) },
  { weight: 1, arbitrary: words('FLUSHALL') },
  { weight: 1, arbitrary: words('FLUSHDB') },
  { weight: 2, arbitrary: words('SWAPDB', databaseWord, databaseWord) },
  { weight: 2, arbitrary: words('COPY', key, key, fc.constant('DB'), databaseWord) },
  { weight: 1, arbitrary: words('COPY', key, key, fc.constant('REPLACE')) },
  { weight: 2, arbitrary: words('MOVE', key, databaseWord) },
  { weight: 2, arbitrary: words('RENAME', key, key) },
  { weight: 1, arbitrary: words('GETEX', key, fc.constant('PX'), fc.constantFrom('1', '20', '300')) },
  { weight: 1, arbitrary: words('SETBIT', key, fc.constantFrom('0', '77', '20000'), fc.constant('1')) },
  { weight: 1, arbitrary: words('BITOP', fc.constantFrom('AND', 'XOR'), key, key, key) },
  { weight: 1, arbitrary: words('INCRBYFLOAT', key, fc.constantFrom('0.1', '-3e5')) },
  { weight: 1, arbitrary: words('SORT', key, fc.constant('STORE'), key) },
  { weight: 1, arbitrary: fc.constantFrom<Op>({ kind: 'skip' }, { kind: 'advance' }) },
);

const step: fc.Arbitrary<Step> = fc.record({
  afterMs: fc.constantFrom(0, 0, 1, 5, 50),
  ops: fc.array(op, { minLength: 1, maxLength: 4 }),
  trick: fc.constantFrom('none' as const, 'none' as const, 'again' as const, 'ahead' as const),
});

type Action =
  | { readonly do: 'apply'; readonly count: number }
  | { readonly do: 'turn' }
  | { readonly do: 'checkpoint' }
  | { readonly do: 'fail' }
  | { readonly do: 'giveUp' }
  | { readonly do: 'crash'; readonly done: number }
  | { readonly do: 'read'; readonly argv: readonly string[]; readonly db: number };

const query = fc.oneof(
  ...['GET', 'STRLEN', 'BITCOUNT', 'PEXPIRETIME', 'DUMP'].map((name) => key.map((k) => [name, k])),
  key.map((k) => ['OBJECT', 'ENCODING', k]),
  fc.tuple(key, key).map((keys) => ['MGET', ...keys]),
);

const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('apply' as const), count: fc.integer({ min: 1, max: 4 }) }),
  },
  { weight: 10, arbitrary: fc.constant<Action>({ do: 'turn' }) },
  { weight: 4, arbitrary: fc.constant<Action>({ do: 'checkpoint' }) },
  { weight: 1, arbitrary: fc.constantFrom<Action>({ do: 'fail' }, { do: 'giveUp' }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const), done: fc.nat(2) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('read' as const), argv: query, db: database }) },
);

/** Drives one replica through a history, and compares all that can be seen with the twin. */
class Driver {
  readonly #history: History;
  readonly replica: Replica;
  readonly hashes: ReadonlyMap<number, string> | undefined;
  #applying = false;
  #seq = 0;
  /** Counts restarts: what was asked before one is not answered any more. */
  #life = 0;
  reads = 0;

  constructor(history: History, memoryBytesMax: number, hashes?: ReadonlyMap<number, string>) {
    this.#history = history;
    this.hashes = hashes;
    this.replica = new Replica({
      memoryBytesMax,
      observer: {
        wants: () => true,
        applied: (_, seq, reply) => {
          expect(seq).toBe(this.#seq + 1);
          expect(render(reply)).toBe(this.#history.replies[seq]);
          this.#seq = seq;
        },
        gap: (_, expected) => expect(expected).toBe(this.#seq + 1),
        sessionUnknown: () => expect.unreachable('the session is open'),
        sessionOpened: () => undefined,
      },
    });
  }

  get over(): boolean {
    return !this.#applying && this.replica.machine.appliedIndex === this.#history.entries.length;
  }

  async act(what: Action): Promise<void> {
    const { store, machine } = this.replica;
    if (what.do === 'turn') store.turn();
    else if (what.do === 'apply') this.apply(what.count);
    else if (what.do === 'checkpoint') this.#checkpoint();
    else if (what.do === 'fail') store.failWrites = 1;
    else if (what.do === 'giveUp') machine.beginCheckpoint()?.failed();
    else if (what.do === 'read') this.read(what.argv, what.db);
    else if (what.do === 'crash') await this.#crash(what.done);
  }

  apply(count: number): void {
    const { machine } = this.replica;
    const life = this.#life;
    if (this.#applying) return;
    this.#applying = true;
    const from = machine.appliedIndex;
    machine.apply(this.#history.entries.slice(from, from + count), () => {
      expect(this.#life).toBe(life);
      this.#applying = false;
      this.#compare();
    });
  }

  read(argv: readonly string[], db: number): void {
    const { machine } = this.replica;
    const command = findDataCommand(bytesOf(argv))!;
    if (command.kind !== 'read') throw new Error(`${argv[0]} is no read`);
    machine.read({ db, command, argv: bytesOf(argv), nowMs: 0 }, (reply) => {
      const twin = new Twin(this.#history.states[this.#seq]);
      twin.nowMs = machine.logTimeMs;
      expect(render(reply!)).toBe(render(twin.run(argv, db)));
      this.reads++;
    });
  }

  #checkpoint(): void {
    const checkpoint = this.replica.machine.beginCheckpoint();
    if (checkpoint === undefined) return;
    this.replica.write(checkpoint, () => {
      for (const range of this.replica.machine.takeGarbage())
        this.replica.store.clear(range, () => undefined);
    });
  }

  async #crash(done: number): Promise<void> {
    this.#life++;
    this.#applying = false;
    await this.replica.restart(done);
    this.#seq = this.#history.seqAt[this.replica.machine.appliedIndex]!;
  }

  #compare(): void {
    const { machine } = this.replica;
    const index = machine.appliedIndex;
    expect(this.#seq).toBe(this.#history.seqAt[index]);
    if (this.hashes !== undefined) expect(machine.stateHash()).toBe(this.hashes.get(index));
  }
}

/** The hash at each index, by a replica that holds everything in memory and never makes a checkpoint. */
function hashesOf(history: History): Map<number, string> {
  const driver = new Driver(history, 1 << 30);
  const hashes = new Map<number, string>();
  while (!driver.over) {
    driver.apply(1);
    hashes.set(driver.replica.machine.appliedIndex, driver.replica.machine.stateHash());
  }
  return hashes;
}

test('a replica with little memory, checkpoints and crashes is always equal to its dumb twin and to one without', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 5, maxLength: 40 }),
      fc.array(action, { minLength: 20, maxLength: 150 }),
      fc.constantFrom(0, 1500, 4000),
      async (steps, actions, memoryBytesMax) => {
        const history = historyOf(steps);
        const driver = new Driver(history, memoryBytesMax, hashesOf(history));
        for (const what of actions) await driver.act(what);
        for (let round = 0; !driver.over; round++) {
          driver.replica.store.drain();
          driver.apply(3);
          expect(round).toBeLessThan(1000);
        }
        const before = driver.reads;
        for (let n = 0; n < 12; n++) {
          for (let db = 0; db < 3; db++) driver.read(['GET', `key${n}`], db);
          driver.replica.store.drain();
        }
        expect(driver.reads - before).toBeGreaterThanOrEqual(36);
      },
    ),
    { numRuns: 400 },
  );
});

function hashAfter(...commands: string[][]): string {
  const replica = new Replica();
  const ops = commands.map((argv): Op => ({ kind: 'command', argv }));
  replica.apply([entryOf(1, 1000, [OPEN]), entryOf(2, 1000, [{ session: 1, firstSeq: 1, ops }])]);
  return replica.machine.stateHash();
}

test('the hash depends on the data and not on the way that led there', () => {
  const hash = hashAfter(['SET', 'a', '1'], ['SET', 'b', '2'], ['SET', 'c', '3']);
  expect(hashAfter(['MSET', 'b', '2', 'c', '3'], ['SET', 'a', '0'], ['INCR', 'a'])).toBe(hash);
  expect(hashAfter(['MSET', 'a', '1', 'b', '2', 'c', '3', 'd', '4'], ['DEL', 'e'], ['GETDEL', 'd'])).toBe(
    hash,
  );
  expect(hashAfter(['SET', 'a', '1'], ['SET', 'b', '2'], ['SET', 'c', '4'])).not.toBe(hash);
});

test('replicas that differ in one value or time to live have different hashes', () => {
  const hashes = [
    hashAfter(['SET', 'a', '1']),
    hashAfter(['SET', 'a', '2']),
    hashAfter(['SET', 'b', '1']),
    hashAfter(['SET', 'a', '1', 'PX', '5']),
    hashAfter(['SET', 'a', '1', 'PX', '6']),
    hashAfter(['SET', 'a', 'x'.repeat(600)]),
    hashAfter(['SET', 'a', `${'x'.repeat(599)}y`]),
    hashAfter(['SET', 'a', '1'], ['DEL', 'a']),
  ];
  expect(new Set(hashes).size).toBe(hashes.length);
  for (const hash of hashes) expect(hash).toMatch(/^[0-9a-f]{16}$/);
});
