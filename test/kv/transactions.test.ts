/**
 * MULTI, EXEC and WATCH as operations of the log: all of it happens at one place, or nothing. Against a dumb twin:
 * sessions-twin.test.ts; what others see meanwhile: long-operations.test.ts.
 */
import { describe, expect, test } from 'vitest';
import type { KvOptions } from '../../src/kv/state-machine.ts';
import { ErrorReply, NullArrayReply, type Reply } from '../../src/resp/reply.ts';
import { code, LogScript, names, once, replay, text, words } from './log-script.ts';
import { type CommandOp, command, commandIn, type TransactionOp, transaction } from './replica.ts';

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

describe('a numbered transaction', () => {
  const numbered = (session: string, seq: number, ...commands: CommandOp[]): TransactionOp => ({
    ...transaction(...commands),
    once: { session: Number(session), seq, ack: seq - 1 },
  });

  test('is carried out once, and gives its first replies again, also after a restart', async () => {
    const script = new LogScript();
    const session = script.openSession();
    const op = numbered(
      session,
      1,
      command('INCR', 'n'),
      command('MGET', 'n', 'm'),
      command('SET', 's', 'v', 'XX', 'NX'),
    );
    const first = script.run(op);
    expect(words(first)).toEqual([1, ['1', null], expect.any(ErrorReply)]);
    expect(script.run(op)).toEqual(first);
    await script.forget();
    expect(script.run(op)).toEqual(first);
    expect(script.get('n')).toBe('1');
    expect(script.run(numbered(session, 2, command('INCR', 'n')))).toEqual([2]);
    expect((await replay(script, { memoryBytesMax: 0 })).machine.stateHash()).toBe(script.hash);
  });

  test('that a watched key has stopped stays so, with the same reply', async () => {
    const script = new LogScript();
    const session = script.openSession();
    script.command('SET', 'k', 'v');
    const watched = [{ key: 'k', version: script.replica.versions(['k'])[0]! - 1 }];
    const op = { ...numbered(session, 1, command('INCR', 'n')), watched };
    expect(script.run(op)).toBe(NullArrayReply.instance);
    await script.forget();
    expect(script.run({ ...op, watched: [] })).toEqual(NullArrayReply.instance);
    expect(script.get('n')).toBeNull();
  });

  test('is not carried out in a session that is over', () => {
    const script = new LogScript();
    expect(code(script.run(numbered('77', 1, command('INCR', 'n'))))).toBe('SESSIONEXPIRED');
    expect(script.get('n')).toBeNull();
  });

  test('has no reply of a command that replicas answer differently', () => {
    const script = new LogScript();
    const session = script.openSession();
    const different = [['KEYS', '*'], ['RANDOMKEY'], ['SCAN', '0'], ['OBJECT', 'IDLETIME', 'k']];
    const commands = [
      command('SET', 'k', 'v'),
      ...different.map((argv) => command(...argv)),
      command('INCR', 'n'),
    ];
    const refused = new ErrorReply('ERR', 'this command has no reply that could be given again');
    expect(script.run(numbered(session, 1, ...commands))).toEqual(['OK', ...different.map(() => refused), 1]);
  });

  test('may hold commands of its own session, and has its number', async () => {
    const inner: readonly (readonly [CommandOp, Reply])[] = [
      [once('2', 1, 0, 'INCR', 'n'), 1],
      [once('2', 9, 8, 'INCR', 'n'), 1],
      [command('HSTORE.SESSION', 'CLOSE', '2'), 1],
    ];
    for (const [op, reply] of inner) {
      const script = new LogScript();
      expect(script.openSession()).toBe('2');
      expect(script.run(numbered('2', 1, op, command('INCR', 'm')))).toEqual([reply, 1]);
      const again = script.run(numbered('2', 1, op, command('INCR', 'm')));
      expect([['no error', 'STALESEQ', 'SESSIONEXPIRED'].includes(code(again)), script.get('m')]).toEqual([
        true,
        '1',
      ]);
      const { hash } = script;
      await script.forget();
      expect(script.hash).toBe(hash);
    }
  });
});
