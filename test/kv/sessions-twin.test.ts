/**
 * Clients' sessions and transactions against their dumb twin, on a replica with far too little memory, with checkpoints
 * that succeed, fail or are given up, and with crashes at any moment.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ClientSessionLimits } from '../../src/kv/client-sessions.ts';
import type { Reply } from '../../src/resp/reply.ts';
import { LogScript } from './log-script.ts';
import { type CommandOp, command, commandIn, type Op, Replica } from './replica.ts';
import { SessionsTwin, shown, type Watched } from './sessions-twin.ts';

const LIMITS: ClientSessionLimits = {
  countMax: 3,
  idleMsMax: 100,
  repliesMax: 3,
  sessionBytesMax: 600,
  bytesMax: 900,
  replyBytesMax: 120,
};

interface Once {
  /** Which of those opened last. */
  readonly session: number;
  readonly seq: number;
  readonly ack: number;
}

type Step =
  | { readonly do: 'open' }
  | { readonly do: 'close'; readonly session: number }
  | { readonly do: 'run'; readonly command: CommandOp; readonly once: Once | undefined }
  | { readonly do: 'watch'; readonly db: number; readonly key: string }
  | {
      readonly do: 'exec';
      readonly once: Once | undefined;
      readonly commands: readonly { readonly command: CommandOp; readonly once: Once | undefined }[];
    }
  | { readonly do: 'time'; readonly ms: number };

const key = fc.constantFrom('a', 'b', 'c', 'd');
const database = fc.constantFrom(0, 0, 0, 1, 2);
const value = fc.constantFrom('', 'v', 'x'.repeat(70), 'x'.repeat(150), '7');
const words = (...parts: fc.Arbitrary<string>[]): fc.Arbitrary<CommandOp> =>
  fc.tuple(database, ...parts).map(([db, ...argv]) => commandIn(db, ...argv));
const word = fc.constant<string>;

const write = fc.oneof(
  { weight: 3, arbitrary: words(word('SET'), key, value) },
  { weight: 3, arbitrary: words(word('SET'), key, value, word('GET')) },
  { weight: 2, arbitrary: words(word('SET'), key, value, word('PX'), fc.constantFrom('1', '30')) },
  { weight: 3, arbitrary: words(word('APPEND'), key, value) },
  { weight: 2, arbitrary: words(word('INCR'), key) },
  { weight: 2, arbitrary: words(word('GETDEL'), key) },
  { weight: 1, arbitrary: words(word('PERSIST'), key) },
  { weight: 1, arbitrary: words(word('MSET'), key, value, key, value) },
  { weight: 1, arbitrary: words(word('RENAME'), key, key) },
  {
    weight: 1,
    arbitrary: words(word('COPY'), key, key, word('DB'), fc.constantFrom('0', '1', '2'), word('REPLACE')),
  },
  { weight: 1, arbitrary: words(word('MOVE'), key, fc.constantFrom('0', '1', '2')) },
  { weight: 1, arbitrary: words(word('SWAPDB'), fc.constantFrom('0', '1'), fc.constantFrom('1', '2')) },
  { weight: 1, arbitrary: words(fc.constantFrom('FLUSHDB', 'FLUSHDB', 'FLUSHALL')) },
);
const read = fc.oneof(
  words(fc.constantFrom('GET', 'STRLEN', 'TTL', 'DUMP'), key),
  words(word('MGET'), key, key),
  words(word('KEYS'), word('*')),
);
const once: fc.Arbitrary<Once> = fc.record({
  session: fc.constantFrom(0, 0, 0, 1, 1, 2, 3),
  seq: fc.integer({ min: 1, max: 6 }),
  ack: fc.constantFrom(0, 0, 1, 2, 3, 4),
});
const maybeOnce = fc.option(once, { nil: undefined, freq: 3 });

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.constant<Step>({ do: 'open' }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('close' as const), session: fc.nat(3) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('run' as const), command: write, once: maybeOnce }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('watch' as const), db: database, key }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('exec' as const),
      once: fc.option(once, { nil: undefined, freq: 2 }),
      commands: fc.array(
        fc.oneof(
          fc.record({ command: write, once: maybeOnce }),
          fc.record({ command: read, once: fc.constant(undefined) }),
        ),
        { maxLength: 5 },
      ),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('time' as const), ms: fc.constantFrom(1, 20, 40) }) },
);

/** Writes the log, by the side of a replica that has all in memory, and asks the twin for each reply. */
class History {
  readonly script = new LogScript({ clientSessionLimits: LIMITS });
  readonly twin = new SessionsTwin(LIMITS);
  /** By sequence number, from 1 on; undefined: an id, which only a client can judge. */
  readonly replies: (string | undefined)[] = [undefined];
  /** By index of the log. */
  readonly hashes: string[] = ['', this.script.hash];
  /** How many operations there were up to an index. */
  readonly opsAt: number[] = [0, 0];
  readonly #ids: string[] = [];
  #watched: { readonly twin: Watched; readonly version: number }[] = [];

  constructor(steps: readonly Step[]) {
    for (const each of steps) this.#take(each);
  }

  #take(each: Step): void {
    if (each.do === 'time') this.script.nowMs += each.ms;
    else if (each.do === 'watch') this.#watch(each.db, each.key);
    else if (each.do === 'open') this.#open();
    else if (each.do === 'close') {
      const id = this.#id(each.session);
      const close = command('HSTORE.SESSION', 'CLOSE', id);
      this.#write(close, () => this.twin.run(close));
    } else if (each.do === 'run') {
      const op = this.#numbered(each.command, each.once);
      this.#write(op, () => this.twin.run(op));
    } else {
      const commands = each.commands.map(({ command: inner, once: number }) => this.#numbered(inner, number));
      this.#exec(each.once, commands);
    }
  }

  /** An old one, too; one that never was when there is none. */
  #id(back: number): string {
    return this.#ids.at(-1 - back) ?? '1';
  }

  #numbered(op: CommandOp, numbers: Once | undefined): CommandOp {
    if (numbers === undefined) return op;
    const { session, seq, ack } = numbers;
    const before = ['HSTORE.DO', this.#id(session), `${seq}`, `${Math.min(ack, seq - 1)}`];
    return { ...op, argv: [...before, ...op.argv] };
  }

  #write(op: Op, expected: () => Reply): Reply {
    this.twin.begin(this.script.nowMs);
    const reply = this.script.run(op);
    const wanted = shown(expected());
    expect(shown(reply)).toBe(wanted);
    this.#written(wanted);
    return reply;
  }

  #written(reply: string | undefined): void {
    this.replies.push(reply);
    this.hashes.push(this.script.hash);
    this.opsAt.push(this.replies.length - 1);
    expect(this.script.replica.machine.clientSessionCount).toBe(this.twin.count);
  }

  #open(): void {
    this.twin.begin(this.script.nowMs);
    const id = this.script.openSession();
    expect(Number(id)).toBeGreaterThan(Number(this.#id(0)));
    this.#ids.push(id);
    this.twin.opened(Number(id));
    this.#written(undefined);
  }

  /** What the server does for WATCH: the time of the log must have come, and a read tells the version. */
  #watch(db: number, name: string): void {
    this.#write({ kind: 'advance' }, () => 'OK');
    const [version] = this.script.replica.versions([name], db);
    this.#watched.push({ twin: this.twin.watch(db, name), version: version! });
  }

  #exec(number: Once | undefined, commands: readonly CommandOp[]): void {
    const numbers =
      number === undefined
        ? undefined
        : {
            session: Number(this.#id(number.session)),
            seq: number.seq,
            ack: Math.min(number.ack, number.seq - 1),
          };
    const watched = this.#watched.map(({ twin: { db, key: name }, version }) => ({ db, key: name, version }));
    const twins = this.#watched.map(({ twin }) => twin);
    this.#watched = [];
    const op: Op = { kind: 'transaction', once: numbers, watched, commands };
    this.#write(op, () => this.twin.transact(twins, commands, numbers));
  }
}

type Action =
  | { readonly do: 'apply'; readonly count: number }
  | { readonly do: 'crash'; readonly done: number }
  | { readonly do: 'turn' }
  | { readonly do: 'checkpoint' }
  | { readonly do: 'fail' }
  | { readonly do: 'giveUp' };

const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('apply' as const), count: fc.integer({ min: 1, max: 6 }) }),
  },
  { weight: 12, arbitrary: fc.constant<Action>({ do: 'turn' }) },
  { weight: 4, arbitrary: fc.constant<Action>({ do: 'checkpoint' }) },
  { weight: 1, arbitrary: fc.constantFrom<Action>({ do: 'fail' }, { do: 'giveUp' }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const), done: fc.nat(2) }) },
);

/** A replica that is given the same log, and compared after every entry. */
class Driver {
  readonly #history: History;
  readonly replica: Replica;
  #applying = false;
  #seq = 0;

  constructor(history: History, memoryBytesMax: number, wants: boolean) {
    this.#history = history;
    this.replica = new Replica({
      memoryBytesMax,
      clientSessionLimits: LIMITS,
      observer: {
        wants: () => wants,
        applied: (_, seq, reply) => {
          expect(seq).toBe(++this.#seq);
          const wanted = history.replies[seq];
          if (wants && wanted !== undefined) expect(shown(reply)).toBe(wanted);
        },
        gap: () => expect.unreachable('nothing is missing'),
        sessionUnknown: () => expect.unreachable('the session of the server is open'),
        sessionOpened: () => undefined,
      },
    });
  }

  get over(): boolean {
    return !this.#applying && this.replica.machine.appliedIndex === this.#history.script.entries.length;
  }

  async act(what: Action): Promise<void> {
    const { store, machine, later } = this.replica;
    if (what.do === 'apply') this.apply(what.count);
    else if (what.do === 'fail') store.failWrites = 1;
    else if (what.do === 'giveUp') machine.beginCheckpoint()?.failed();
    else if (what.do === 'turn') {
      if (!store.turn()) later.shift()?.();
    } else if (what.do === 'checkpoint') {
      const checkpoint = machine.beginCheckpoint();
      if (checkpoint !== undefined) this.replica.write(checkpoint, () => this.#clearGarbage());
    } else await this.#crash(what.done);
  }

  #clearGarbage(): void {
    const { store, machine } = this.replica;
    for (const range of machine.takeGarbage()) store.clear(range, () => undefined);
  }

  async #crash(done: number): Promise<void> {
    this.replica.later.length = 0;
    this.#applying = false;
    await this.replica.restart(done);
    this.#seq = this.#history.opsAt[this.replica.machine.appliedIndex]!;
  }

  apply(count: number): void {
    const { machine } = this.replica;
    if (this.#applying) return;
    this.#applying = true;
    const from = machine.appliedIndex;
    machine.apply(this.#history.script.entries.slice(from, from + count), () => {
      this.#applying = false;
      expect(machine.stateHash()).toBe(this.#history.hashes[machine.appliedIndex]);
    });
  }
}

test('sessions and transactions are those of their dumb twin, through checkpoints, failures and crashes', {
  timeout: 60_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 40, maxLength: 100 }),
      fc.array(action, { minLength: 80, maxLength: 200 }),
      fc.constantFrom(0, 1500, 1 << 20),
      fc.boolean(),
      async (steps, actions, memoryBytesMax, wants) => {
        const history = new History(steps);
        const driver = new Driver(history, memoryBytesMax, wants);
        for (const what of actions) await driver.act(what);
        for (let round = 0; !driver.over; round++) {
          while (driver.replica.store.turn());
          driver.apply(5);
          expect(round).toBeLessThan(1000);
        }
      },
    ),
    { numRuns: 150 },
  );
});
