/**
 * Operations that hold many commands or very many keys: all of it happens at one place of the log, and nobody sees a
 * part. Against a dumb twin: sessions-twin.test.ts.
 */
import { describe, expect, test } from 'vitest';
import type { KvOptions } from '../../src/kv/state-machine.ts';
import { findDataCommand } from '../../src/kv/table.ts';
import type { Entry } from '../../src/raft/types.ts';
import { ErrorReply, NullArrayReply, type Reply } from '../../src/resp/reply.ts';
import { LogScript, names, replay, text } from './log-script.ts';
import {
  bytesOf,
  type CommandOp,
  command,
  commandIn,
  type Op,
  type Replica,
  transaction,
} from './replica.ts';

/** WATCH and EXEC of one client, with others in between. */
class Watcher {
  readonly script: LogScript;
  readonly #watched: { db: number; key: string; version: number }[] = [];

  constructor(script: LogScript) {
    this.script = script;
  }

  watch(key: string, db = 0): this {
    this.script.run({ kind: 'advance' });
    this.#watched.push({ db, key, version: this.script.replica.versions([key], db)[0]! });
    return this;
  }

  /** Whether the transaction was carried out. */
  exec(...commands: CommandOp[]): boolean {
    const reply = this.script.run({ kind: 'transaction', watched: this.#watched, commands });
    if (reply === NullArrayReply.instance) return false;
    expect(reply).toHaveLength(commands.length);
    return true;
  }
}

describe('a transaction', () => {
  test('carries out its commands in order and gives their replies in order; an error stops none', () => {
    const script = new LogScript();
    script.command('SET', 'text', 'abc');
    const reply = script.run(
      transaction(
        command('SET', 'n', '1'),
        command('INCR', 'n'),
        command('INCR', 'text'),
        command('GET', 'n'),
        command('MGET', 'n', 'missing', 'text'),
        command('SET', 'n', '1', 'XX', 'NX'),
        command('DEL', 'n', 'n'),
        command('EXISTS', 'n'),
        command('OBJECT', 'ENCODING', 'text'),
      ),
    );
    expect(reply).toEqual([
      'OK',
      2,
      new ErrorReply('ERR', 'value is not an integer or out of range'),
      Buffer.from('2'),
      [Buffer.from('2'), null, Buffer.from('abc')],
      new ErrorReply('ERR', 'syntax error'),
      1,
      0,
      Buffer.from('embstr'),
    ]);
  });

  test('may be empty, and then says whether the watched keys are as they were', () => {
    const script = new LogScript();
    expect(script.run(transaction())).toEqual([]);
    expect(new Watcher(script).watch('k').exec()).toBe(true);
    const watcher = new Watcher(script).watch('k');
    script.command('SET', 'k', 'v');
    expect(watcher.exec()).toBe(false);
  });

  test('reads at the time of the log: a key that has expired there is gone inside too', () => {
    const script = new LogScript();
    script.command('SET', 'k', 'v', 'PX', '100');
    script.nowMs += 101;
    expect(
      script.run(transaction(command('GET', 'k'), command('KEYS', '*'), command('DBSIZE'))),
    ).toMatchObject([null, { count: 0 }, 1]);
    expect(script.run(transaction(command('DEL', 'k'), command('DBSIZE')))).toEqual([0, 0]);
  });

  test('knows the databases that were selected in it, and what has been swapped and flushed', async () => {
    for (const memoryBytesMax of [0, 1 << 20]) {
      const script = new LogScript({ memoryBytesMax });
      for (let db = 0; db < 4; db++) script.run(commandIn(db, 'MSET', 'k', `${db}`, 'l', `${db}l`));
      await script.forget();
      const reply = script.run(
        transaction(
          commandIn(2, 'GET', 'k'),
          command('SWAPDB', '2', '3'),
          commandIn(2, 'GET', 'k'),
          commandIn(3, 'APPEND', 'k', '!'),
          commandIn(1, 'FLUSHDB'),
          commandIn(1, 'GET', 'l'),
          commandIn(0, 'MOVE', 'l', '1'),
          command('SWAPDB', '0', '1'),
          commandIn(0, 'MGET', 'k', 'l'),
          commandIn(1, 'COPY', 'k', 'm', 'DB', '3'),
          commandIn(3, 'MGET', 'k', 'l', 'm'),
          command('FLUSHALL'),
          commandIn(3, 'DBSIZE'),
        ),
      ) as Reply[];
      expect(reply.map(words)).toEqual([
        '2',
        'OK',
        '3',
        2,
        'OK',
        null,
        1,
        'OK',
        [null, '0l'],
        1,
        ['2!', '2l', '0'],
        'OK',
        0,
      ]);
      expect((await replay(script, { memoryBytesMax: 1 << 20 })).machine.stateHash()).toBe(script.hash);
    }
  });

  test('leads to the same state on a replica that does not want the replies, and does not read there', async () => {
    const script = new LogScript();
    script.command('MSET', 'a', '1', 'b', '2');
    const replies = script.run(
      transaction(command('GET', 'a'), command('INCR', 'a'), command('KEYS', '*'), command('DBSIZE')),
    ) as Reply[];
    expect(replies.slice(0, 2)).toEqual([Buffer.from('1'), 2]);
    const heard: Reply[] = [];
    const observer: KvOptions['observer'] = {
      wants: () => false,
      applied: (_, __, reply) => heard.push(reply),
      gap: () => undefined,
      sessionUnknown: () => undefined,
      sessionOpened: () => undefined,
    };
    const other = await replay(script, { observer, memoryBytesMax: 0 });
    expect(heard.at(-1)).toEqual([null, 2, null, null]);
    expect(other.machine.stateHash()).toBe(script.hash);
  });

  test('sees by KEYS, SCAN and RANDOMKEY what it has done so far, and no more', async () => {
    for (const saved of [true, false]) {
      const script = new LogScript();
      script.command('MSET', 'a', '1', 'b', '2');
      if (saved) await script.forget();
      const reply = script.run(
        transaction(
          command('DEL', 'a'),
          command('SET', 'c', '3'),
          command('KEYS', '*'),
          command('SCAN', '0', 'COUNT', '100'),
          command('DEL', 'b'),
          command('RANDOMKEY'),
          command('FLUSHDB'),
          command('RANDOMKEY'),
          command('SET', 'd', '4'),
          command('KEYS', '*'),
        ),
      ) as Reply[];
      expect(names(reply[2]).sort()).toEqual(['b', 'c']);
      expect(names(reply[3]).sort()).toEqual(['b', 'c']);
      expect([text(reply[5]), reply[7]]).toEqual(['c', null]);
      expect(names(reply[9])).toEqual(['d']);
    }
  });
});

/** Bulk strings as text. */
function words(reply: Reply): unknown {
  if (Array.isArray(reply)) return reply.map(words);
  return reply instanceof Uint8Array ? text(reply) : reply;
}

describe('a watched key', () => {
  type Change = (script: LogScript) => unknown;
  const live: readonly (readonly [string, Change, boolean])[] = [
    ['nobody touches', () => undefined, true],
    ['others read', (script) => script.replica.read(['GET', 'k']), true],
    ['is written anew', (script) => script.command('SET', 'k', 'w'), false],
    ['is set to the value that it has', (script) => script.command('SET', 'k', 'v'), false],
    ['is appended nothing to', (script) => script.command('APPEND', 'k', ''), false],
    ['is not set because it is there', (script) => script.command('SETNX', 'k', 'w'), true],
    ['is deleted', (script) => script.command('DEL', 'k'), false],
    [
      'is deleted and set again',
      (script) => script.run(command('DEL', 'k'), command('SET', 'k', 'v')),
      false,
    ],
    ['gets a time to live', (script) => script.command('PEXPIRE', 'k', '10000'), false],
    ['expires', (script) => script.pass(11, command('PEXPIRE', 'k', '10')), false],
    ['is flushed away', (script) => script.command('FLUSHDB'), false],
    [
      'is flushed away and set again',
      (script) => script.run(command('FLUSHALL'), command('SET', 'k', 'v')),
      false,
    ],
    ['is swapped away', (script) => script.command('SWAPDB', '0', '1'), false],
    ['is renamed over', (script) => script.run(command('SET', 'l', 'v'), command('RENAME', 'l', 'k')), false],
    [
      'is renamed there and back',
      (script) => script.run(command('RENAME', 'k', 'l'), command('RENAME', 'l', 'k')),
      false,
    ],
    ['is copied', (script) => script.command('COPY', 'k', 'l'), true],
    ['lives beside one that changes', (script) => script.command('SET', 'l', 'v'), true],
    [
      'lives beside a namesake in another database that changes',
      (script) => script.run(commandIn(1, 'SET', 'k', 'v')),
      true,
    ],
    ['goes to the store and out of memory', (script) => script.forget(), true],
    [
      'changes, goes to the store and out of memory',
      (script) => (script.command('SET', 'k', 'v') === 'OK' ? script.forget() : undefined),
      false,
    ],
  ];
  test.each(live)('that %s', async (_, change, carriedOut) => {
    const script = new LogScript();
    script.command('SET', 'k', 'v');
    const watcher = new Watcher(script).watch('k');
    await change(script);
    expect(watcher.exec(command('SET', 'seen', '1'))).toBe(carriedOut);
    expect(script.get('seen')).toBe(carriedOut ? '1' : null);
    expect((await replay(script, { memoryBytesMax: 0 })).machine.stateHash()).toBe(script.hash);
  });

  const missing: readonly (readonly [string, Change, boolean])[] = [
    ['stays missing', (script) => script.command('DEL', 'k'), true],
    ['comes', (script) => script.command('SET', 'k', 'v'), false],
    ['is missing in an emptied database', (script) => script.command('FLUSHALL'), true],
    [
      'comes by a swap',
      (script) => script.run(commandIn(1, 'SET', 'k', 'v'), command('SWAPDB', '0', '1')),
      false,
    ],
    ['comes and goes', (script) => script.run(command('SET', 'k', 'v'), command('DEL', 'k')), true],
  ];
  test.each(missing)('that is missing and %s', async (_, change, carriedOut) => {
    const script = new LogScript();
    const watcher = new Watcher(script).watch('k');
    await change(script);
    expect(watcher.exec(command('SET', 'seen', '1'))).toBe(carriedOut);
  });

  test('that had expired when it was watched counts as missing, whether it has been removed since or not', () => {
    for (const removed of [true, false]) {
      const script = new LogScript();
      script.command('SET', 'k', 'v', 'PX', '10');
      script.nowMs += 11;
      const watcher = new Watcher(script).watch('k');
      if (removed) script.command('hstore.remove-expired', 'k');
      expect(watcher.exec(command('SET', 'seen', '1'))).toBe(true);
    }
  });

  test('with a time to live that has passed when EXEC is applied stops it, though nobody has removed the key', () => {
    const script = new LogScript();
    script.command('SET', 'k', 'v', 'PX', '10');
    const watcher = new Watcher(script).watch('k');
    script.nowMs += 11;
    expect(watcher.exec(command('SET', 'k', 'w'))).toBe(false);
    expect(script.get('k')).toBeNull();
  });

  test('is one of several, and each of them counts', () => {
    const script = new LogScript();
    script.run(commandIn(3, 'SET', 'k', 'v'));
    for (const touched of [0, 3]) {
      const watcher = new Watcher(script).watch('k').watch('k', 3).watch('l');
      script.run(commandIn(touched, 'SET', 'k', 'w'));
      expect(watcher.exec()).toBe(false);
    }
  });
});

/** Applies an entry step by step: one turn, or one answer of the store, at a time. */
class Slowly {
  readonly replica: Replica;
  done = false;
  steps = 0;

  constructor(replica: Replica, entry: Entry) {
    this.replica = replica;
    replica.machine.apply([entry], () => {
      this.done = true;
    });
  }

  step(): void {
    this.steps++;
    const { later, store } = this.replica;
    const next = later.shift();
    if (next !== undefined) next();
    else if (!store.turn()) throw new Error('nothing goes on');
  }

  finish(meanwhile: () => void): void {
    while (!this.done) {
      meanwhile();
      this.step();
    }
  }
}

/** Asks now; the answer comes when it may. */
function ask(replica: Replica, ...argv: string[]): { reply: Reply | undefined } {
  const answer: { reply: Reply | undefined } = { reply: undefined };
  const row = findDataCommand(bytesOf(argv));
  if (row === undefined || row.kind === 'write') throw new Error(`${argv[0]} is no read`);
  replica.machine.read({ db: 0, command: row, argv: bytesOf(argv), nowMs: 0 }, (reply) => {
    answer.reply = reply;
  });
  return answer;
}

describe('while an operation is half done', () => {
  test('a read waits until it is done, whether it was asked for before or meanwhile', async () => {
    const script = new LogScript();
    script.command('SET', 'z', '1');
    await script.forget();
    script.replica.read(['MGET', 'a', 'b']);
    const before = [ask(script.replica, 'SCAN', '0'), ask(script.replica, 'MGET', 'a', 'z')];
    const entry = script.write(
      transaction(
        command('SET', 'a', '1'),
        command('KEYS', '*'),
        command('RANDOMKEY'),
        command('SET', 'b', '1'),
      ),
    );
    const slowly = new Slowly(script.replica, entry);
    const meanwhile: { reply: Reply | undefined }[] = [];
    slowly.finish(() => {
      for (const each of [...before.slice(1), ...meanwhile]) expect(each.reply).toBeUndefined();
      meanwhile.push(ask(script.replica, 'MGET', 'a', 'b'));
      expect(script.replica.machine.beginCheckpoint()).toBeUndefined();
    });
    script.replica.store.drain();
    expect(meanwhile.length).toBeGreaterThan(1);
    for (const { reply } of meanwhile) expect(words(reply!)).toEqual(['1', '1']);
    expect(names(before[0]!.reply).sort()).toEqual(['a', 'b', 'z']);
    expect(words(before[1]!.reply!)).toEqual(['1', '1']);
  });

  test('a checkpoint that was under way finishes, and the scan of a transaction still sees every key once', async () => {
    const script = new LogScript({ memoryBytesMax: 0 });
    script.command('MSET', 'a', '1', 'b', '2', 'c', '3');
    await script.forget();
    script.command('SET', 'd', '4');
    const checkpoint = script.replica.machine.beginCheckpoint()!;
    const batch = script.replica.store.batch();
    while (checkpoint.fill(batch, 1));
    const entry = script.write(transaction(command('DEL', 'a'), command('SCAN', '0'), command('KEYS', '*')));
    const slowly = new Slowly(script.replica, entry);
    batch.write(() => checkpoint.finished());
    slowly.finish(() => undefined);
    const reply = script.replica.replies.at(-1) as Reply[];
    expect(names(reply[1]).sort()).toEqual(['b', 'c', 'd']);
    expect(names(reply[2]).sort()).toEqual(['b', 'c', 'd']);
  });
});

function numbered(count: number, prefix = 'k'): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${i}`);
}

function pairs(keys: readonly string[], value: string): string[] {
  return keys.flatMap((key) => [key, value]);
}

describe('a command with very many keys', () => {
  const MANY = 10_000;
  const keys = numbered(MANY);

  test('does what several with fewer keys do, and replies as one', async () => {
    const whole = new LogScript();
    const parts = new LogScript();
    const advance: Op = { kind: 'advance' };
    const cut = [
      keys.slice(0, 2000),
      keys.slice(2000, 4000),
      keys.slice(4000, 6000),
      keys.slice(6000, 8000),
      keys.slice(8000),
    ];
    expect(whole.run(command('MSET', ...pairs(keys, 'v')))).toBe('OK');
    whole.run(advance, advance, advance, advance);
    parts.run(...cut.map((some) => command('MSET', ...pairs(some, 'v'))));
    const missing = numbered(5, 'missing');
    const named = [...keys.slice(0, 9000), ...missing, 'k0', 'k8999'];
    for (const name of ['DEL', 'UNLINK']) {
      expect(whole.run(command(name, ...named))).toBe(name === 'DEL' ? 9000 : 0);
      whole.run(advance, advance, advance, advance);
      parts.run(...cut.map((some) => command(name, ...some.filter((key) => named.includes(key)))));
    }
    whole.run(advance, advance);
    parts.run(advance, advance);
    expect(whole.replica.machine.sizes[0]).toBe(1000);
    // Sessions, times and counts of operations are the same: it is the data that may differ.
    expect(whole.hash).toBe(parts.hash);
    expect((await replay(whole, { memoryBytesMax: 0 })).machine.stateHash()).toBe(whole.hash);
  });

  test('needs no more memory than a piece of it, and is done though memory is smaller', async () => {
    const script = new LogScript({ memoryBytesMax: 100_000 });
    script.run(command('MSET', ...pairs(keys, 'v'.repeat(200))));
    await script.forget();
    const slowly = new Slowly(script.replica, script.write(command('DEL', ...keys)));
    let most = 0;
    let dirty = 0;
    slowly.finish(() => {
      most = Math.max(most, script.replica.machine.memoryBytes - script.replica.machine.dirtyBytes);
      dirty = script.replica.machine.dirtyBytes;
    });
    expect(script.replica.replies.at(-1)).toBe(MANY);
    expect(dirty).toBeGreaterThan(0);
    expect(most).toBeLessThan(4096 * 600);
    expect(script.replica.machine.sizes[0]).toBe(0);
  });

  test('is seen whole or not at all', async () => {
    const script = new LogScript({ memoryBytesMax: 50_000 });
    script.command('SET', 'k0', 'old');
    await script.forget();
    const asked = [
      ask(script.replica, 'MGET', 'k0', 'k9999'),
      ask(script.replica, 'SCAN', '0', 'COUNT', '10000'),
    ];
    const slowly = new Slowly(script.replica, script.write(command('MSET', ...pairs(keys, 'new'))));
    slowly.finish(() => {
      if (slowly.steps < 6)
        asked.push(ask(script.replica, 'MGET', 'k0', 'k9999'), ask(script.replica, 'DBSIZE'));
      expect(script.replica.machine.beginCheckpoint()).toBeUndefined();
      expect(script.replica.machine.atRest).toBe(false);
    });
    script.replica.store.drain();
    const before: unknown[] = [['old', null], ['k0']];
    const after: unknown[] = [['new', 'new'], MANY];
    for (const [i, { reply }] of asked.entries()) {
      const seen = i === 1 ? names(reply) : words(reply!);
      if (i === 1 && (seen as string[]).length > 1) expect(seen).toHaveLength(MANY);
      else expect([...before, ...after]).toContainEqual(seen);
    }
    expect(asked.length).toBeGreaterThan(4);
  });

  test('that is wrong does nothing at all', () => {
    const script = new LogScript();
    const { hash } = script;
    const refused = script.run(command('MSET', ...pairs(keys, 'v'), 'odd'));
    expect(refused).toEqual(new ErrorReply('ERR', "wrong number of arguments for 'mset' command"));
    expect(script.replica.machine.sizes[0]).toBe(0);
    expect(script.hash).not.toBe(hash);
  });

  test('goes on from its beginning on a server that crashed in the middle of it', async () => {
    const script = new LogScript({ memoryBytesMax: 0 });
    script.run(command('MSET', ...pairs(keys, 'v')));
    await script.forget();
    const entry = script.write(command('DEL', ...keys));
    const slowly = new Slowly(script.replica, entry);
    for (let i = 0; i < 3; i++) slowly.step();
    script.replica.later.length = 0;
    await script.replica.restart();
    script.replica.apply([entry]);
    expect(script.replica.replies.at(-1)).toBe(MANY);
    expect((await replay(script, { memoryBytesMax: 1 << 24 })).machine.stateHash()).toBe(script.hash);
  });
});

test('an entry of very many operations is applied in several turns, and reads go on in between', () => {
  const script = new LogScript();
  const entry = script.write(...Array.from({ length: 50_000 }, () => command('INCR', 'n')));
  const slowly = new Slowly(script.replica, entry);
  const seen: number[] = [];
  slowly.finish(() => {
    seen.push(Number(script.get('n')));
    expect(script.replica.machine.beginCheckpoint()).toBeUndefined();
  });
  expect(seen.length).toBeGreaterThan(2);
  expect(seen).toEqual([...new Set(seen)].sort((a, b) => a - b));
  expect(script.get('n')).toBe('50000');
  expect(script.replica.replies).toEqual(Array.from({ length: 50_000 }, (_, i) => i + 1));
});

test('reads of very many keys do not fill memory beyond its bound', async () => {
  const script = new LogScript({ memoryBytesMax: 100_000 });
  const keys = numbered(5000);
  for (let i = 0; i < 5000; i += 1000) script.run(command('MSET', ...pairs(keys.slice(i, i + 1000), 'v')));
  await script.forget();
  for (let i = 0; i < 5000; i += 500) {
    expect(words(script.replica.read(['MGET', ...keys.slice(i, i + 500)])!)).toEqual(Array(500).fill('v'));
    expect(script.replica.machine.memoryBytes).toBeLessThanOrEqual(100_000);
  }
});
