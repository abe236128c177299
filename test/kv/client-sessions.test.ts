/**
 * The sessions of clients: HSTORE.SESSION and HSTORE.DO, rule by rule. Against a dumb twin: client-sessions-twin.test.ts.
 */
import { describe, expect, test } from 'vitest';
import type { ClientSessionLimits } from '../../src/kv/client-sessions.ts';
import { findDataCommand } from '../../src/kv/table.ts';
import { ErrorReply, type Reply } from '../../src/resp/reply.ts';
import { code, LogScript, once, onceIn, replay } from './log-script.ts';
import { bytesOf, command, commandIn, transaction } from './replica.ts';

const LIMITS: ClientSessionLimits = {
  countMax: 3,
  idleMsMax: 1000,
  repliesMax: 3,
  sessionBytesMax: 1000,
  bytesMax: 1500,
  replyBytesMax: 500,
};

function scriptWith(limits: Partial<ClientSessionLimits>): LogScript {
  return new LogScript({ clientSessionLimits: { ...LIMITS, ...limits } });
}

describe('a numbered write', () => {
  test('runs once, and gives its first reply however often it is sent', () => {
    const script = new LogScript();
    const session = script.openSession();
    const replies = [1, 1, 2, 1, 2].map((seq) => script.run(once(session, seq, 0, 'APPEND', 'k', 'xy')));
    expect(replies).toEqual([2, 2, 4, 2, 4]);
    expect(script.get('k')).toBe('xyxy');
  });

  test('may come before others with lower numbers, as from several connections', () => {
    const script = new LogScript();
    const session = script.openSession();
    for (const seq of [3, 1, 2, 1]) script.run(once(session, seq, 0, 'APPEND', 'k', `${seq}`));
    expect(script.get('k')).toBe('312');
  });

  test('is known by its number alone: another command under it does not run', () => {
    const script = new LogScript();
    const session = script.openSession();
    script.run(once(session, 1, 0, 'SET', 'k', 'first'));
    expect(script.run(once(session, 1, 0, 'DEL', 'k'))).toBe('OK');
    expect(script.get('k')).toBe('first');
  });

  test('of one session has nothing to do with the same number in another', () => {
    const script = new LogScript();
    const [a, b] = [script.openSession(), script.openSession()];
    expect([a, b, a, b].map((session) => script.run(once(session, 1, 0, 'INCR', 'k')))).toEqual([1, 2, 1, 2]);
  });

  const replies: readonly (readonly [string, readonly string[][], readonly string[]])[] = [
    ['a status', [], ['SET', 'k', 'v']],
    ['a nil', [], ['GETDEL', 'k']],
    ['a bulk string', [['SET', 'k', 'v']], ['GETSET', 'k', 'w']],
    ['an empty bulk string', [['SET', 'k', '']], ['GETSET', 'k', 'w']],
    ['any bytes', [['SET', 'k', '\r\n$-1\r\n\x00\xff']], ['GETSET', 'k', 'w']],
    ['zero', [], ['DEL', 'k']],
    ['a negative integer', [], ['DECRBY', 'k', '7']],
    ['an integer beyond 2^53', [['SET', 'k', '9223372036854775806']], ['INCR', 'k']],
    ['the least integer', [['SET', 'k', '-9223372036854775807']], ['DECR', 'k']],
    ['a float', [['SET', 'k', '10.5']], ['INCRBYFLOAT', 'k', '0.1']],
    ['an error', [['SET', 'k', 'abc']], ['INCR', 'k']],
    ['an error of syntax', [], ['SET', 'k', 'v', 'EX', '0']],
    ['an array', [], ['BITFIELD', 'k', 'SET', 'u8', '0', '255', 'INCRBY', 'u8', '0', '1']],
    ['an array with nil', [], ['BITFIELD', 'k', 'OVERFLOW', 'FAIL', 'INCRBY', 'u2', '0', '9']],
    ['an empty array', [], ['SORT', 'k']],
  ];
  test.each(replies)('repeats %s as it was, also after a restart', async (_, before, argv) => {
    const script = new LogScript();
    const session = script.openSession();
    for (const words of before) script.command(...words);
    const first = script.run(once(session, 1, 0, ...argv));
    expect(first).toEqual(await replyOutside(before, argv));
    const state = () => [script.replica.read(['DUMP', 'k']), script.replica.machine.sizes[0]];
    const was = state();
    expect(script.run(once(session, 1, 0, ...argv))).toEqual(first);
    await script.forget();
    expect(script.run(once(session, 1, 0, ...argv))).toEqual(first);
    expect(state()).toEqual(was);
  });

  test('runs in the database that its client has selected', async () => {
    const script = new LogScript();
    const session = script.openSession();
    script.run(onceIn(3, session, 1, 0, 'SET', 'k', 'three'));
    await script.forget();
    expect(script.run(onceIn(3, session, 2, 0, 'APPEND', 'k', '!'))).toBe(6);
    expect([script.get('k', 3), script.get('k', 0)]).toEqual(['three!', null]);
  });
});

/** What the command gives a client without a session. */
async function replyOutside(before: readonly string[][], argv: readonly string[]): Promise<Reply> {
  const script = new LogScript();
  for (const words of before) script.command(...words);
  return script.command(...argv);
}

describe('a numbered write does not run', () => {
  test('in a session that never was, was closed, or has expired', () => {
    const script = scriptWith({});
    const [closed, expired] = [script.openSession(), script.openSession()];
    expect(script.command('HSTORE.SESSION', 'CLOSE', closed)).toBe(1);
    expect(script.command('HSTORE.SESSION', 'CLOSE', closed)).toBe(0);
    script.nowMs += 1001;
    for (const session of ['0', '77', closed, expired, `${Number.MAX_SAFE_INTEGER}`]) {
      expect(script.run(once(session, 1, 0, 'SET', 'k', 'v'))).toEqual(
        new ErrorReply('SESSIONEXPIRED', `There is no session ${session}. The command was not executed`),
      );
    }
    expect(script.get('k')).toBeNull();
  });

  test('when its reply was acknowledged, be it that it never ran', () => {
    const script = new LogScript();
    const session = script.openSession();
    script.run(once(session, 1, 0, 'APPEND', 'k', 'a'), once(session, 5, 4, 'APPEND', 'k', 'b'));
    for (const seq of [1, 2, 4])
      expect(code(script.run(once(session, seq, 0, 'APPEND', 'k', 'x')))).toBe('STALESEQ');
    expect(script.run(once(session, 5, 0, 'APPEND', 'k', 'x'))).toBe(2);
    expect(script.get('k')).toBe('ab');
  });

  test('when too many replies wait to be acknowledged, until some are', () => {
    const script = scriptWith({});
    const session = script.openSession();
    for (const seq of [1, 2, 3]) script.run(once(session, seq, 0, 'INCR', 'n'));
    expect(script.run(once(session, 4, 0, 'INCR', 'n'))).toEqual(
      new ErrorReply(
        'SESSIONFULL',
        '3 replies of 312 bytes wait to be acknowledged. The command was not executed',
      ),
    );
    expect(script.run(once(session, 2, 0, 'INCR', 'n'))).toBe(2);
    expect(script.run(once(session, 4, 1, 'INCR', 'n'))).toBe(4);
    expect(code(script.run(once(session, 5, 1, 'INCR', 'n')))).toBe('SESSIONFULL');
    expect(script.get('n')).toBe('4');
  });

  test('when the replies that wait are too long together', () => {
    const script = scriptWith({ repliesMax: 100 });
    const session = script.openSession();
    script.command('SET', 'k', 'x'.repeat(450));
    for (const seq of [1, 2]) script.run(once(session, seq, 0, 'SET', 'k', 'x'.repeat(450), 'GET'));
    expect(code(script.run(once(session, 3, 0, 'INCR', 'n')))).toBe('SESSIONFULL');
    expect(script.run(once(session, 3, 1, 'INCR', 'n'))).toBe(1);
  });

  const bad = 'session, seq and ack must be whole numbers, ack below seq';
  const one = String(Number.MAX_SAFE_INTEGER);
  const reading =
    'HSTORE.DO takes a command that writes, or EXEC; one that only reads can be sent again as it is';
  const nested = 'HSTORE.DO takes neither HSTORE.DO nor HSTORE.SESSION';
  const refused: readonly (readonly [string, readonly string[]])[] = [
    [bad, ['', '1', '0', 'INCR', 'n']],
    [bad, ['x', '1', '0', 'INCR', 'n']],
    [bad, ['-2', '1', '0', 'INCR', 'n']],
    [bad, ['2', '0', '0', 'INCR', 'n']],
    [bad, ['2', '1', '1', 'INCR', 'n']],
    [bad, ['2', '1', '-1', 'INCR', 'n']],
    [bad, ['2', '1.0', '0', 'INCR', 'n']],
    [bad, ['2', '01', '0', 'INCR', 'n']],
    [bad, ['2', '9007199254740992', '0', 'INCR', 'n']],
    [bad, ['2', '9223372036854775807', one, 'INCR', 'n']],
    [reading, ['2', '1', '0', 'GET', 'n']],
    [reading, ['2', '1', '0', 'KEYS', '*']],
    [reading, ['2', '1', '0', 'PING']],
    [reading, ['2', '1', '0', '']],
    [reading, ['2', '1', '0', 'hstore.remove-expired', 'n']],
    [reading, ['2', '1', '0', 'hstore.active-expire', '0']],
    [reading, ['2', '1', '0', 'constructor', 'n']],
    [nested, ['2', '1', '0', 'HSTORE.SESSION', 'CLOSE', '2']],
    [nested, ['2', '1', '0', 'hstore.session', 'open']],
    [nested, ['2', '1', '0', 'HStore.Do', '2', '1', '0', 'INCR', 'n']],
    ["wrong number of arguments for 'incr' command", ['2', '1', '0', 'INCR']],
    ["wrong number of arguments for 'incr' command", ['2', '1', '0', 'INCR', 'n', 'm']],
    ["wrong number of arguments for 'mset' command", ['2', '1', '0', 'MSET', 'n', '1', 'm']],
    ['syntax error', ['2', '1', '0', 'SET', 'n', '1', 'XX', 'NX']],
  ];
  test.each(refused)('%s: HSTORE.DO %j, at the door or in the log', async (message, args) => {
    const script = new LogScript();
    expect(script.openSession()).toBe('2');
    const argv = ['HSTORE.DO', ...args];
    expect(script.command(...argv)).toEqual(new ErrorReply('ERR', message));
    const row = findDataCommand(bytesOf(argv));
    expect(row?.kind === 'write' && row.check?.(bytesOf(argv))).toEqual(new ErrorReply('ERR', message));
    // No number is used up.
    expect(script.run(once('2', 1, 0, 'INCR', 'n'))).toBe(1);
    expect(script.replica.machine.sizes[0]).toBe(1);
    const { hash } = script;
    await script.forget();
    expect(script.hash).toBe(hash);
  });
});

test('a reply too long to keep is given once; asked again, the client learns that the command has run', async () => {
  const script = scriptWith({});
  const session = script.openSession();
  const long = 'x'.repeat(600);
  script.command('SET', 'k', long);
  expect(script.run(once(session, 1, 0, 'SET', 'k', 'w', 'GET'))).toEqual(Buffer.from(long));
  const again = new ErrorReply(
    'REPLYNOTKEPT',
    'The command was executed once. Its reply of 608 bytes was too long to be kept',
  );
  expect(script.run(once(session, 1, 0, 'SET', 'k', 'w', 'GET'))).toEqual(again);
  await script.forget();
  expect(script.run(once(session, 1, 0, 'SET', 'k', 'w', 'GET'))).toEqual(again);
  expect(script.get('k')).toBe('w');
});

describe('HSTORE.SESSION', () => {
  test.each([
    ['unknown subcommand. Try HSTORE.SESSION OPEN or HSTORE.SESSION CLOSE session', ['FOO']],
    ["wrong number of arguments for 'hstore.session|open' command", ['OPEN', '1']],
    ["wrong number of arguments for 'hstore.session|close' command", ['CLOSE']],
    ["wrong number of arguments for 'hstore.session|close' command", ['CLOSE', '1', '2']],
    ['a session is a whole number', ['CLOSE', 'x']],
    ['a session is a whole number', ['close', '-1']],
  ])('says %s', (message, args) => {
    const script = new LogScript();
    expect(script.command('HSTORE.SESSION', ...args)).toEqual(new ErrorReply('ERR', message));
    expect(script.replica.machine.clientSessionCount).toBe(0);
  });

  test('OPEN never gives an id twice, several of one transaction and those of after a restart included', async () => {
    const script = scriptWith({ countMax: 2 });
    const ids = [script.openSession()];
    for (let round = 0; round < 3; round++) {
      const open = command('hstore.session', 'open');
      ids.push(...(script.run(transaction(open, open)) as Reply[]).map(String));
      script.command('HSTORE.SESSION', 'CLOSE', ids.at(-1)!);
      await script.forget();
      ids.push(script.openSession());
    }
    expect(new Set(ids).size).toBe(10);
    expect(ids.map(Number)).toEqual(ids.map(Number).sort((a, b) => a - b));
  });
});

describe('the least recently used session makes room', () => {
  const dropped = (script: LogScript, session: string) =>
    code(script.run(once(session, 99, 0, 'INCR', 'n'))) === 'SESSIONEXPIRED';

  test('when there are too many, in the order of the log and not of their opening', () => {
    const script = scriptWith({});
    const [a, b, c] = [script.openSession(), script.openSession(), script.openSession()];
    script.run(once(a, 1, 0, 'INCR', 'n'));
    // Also a use that is refused is one.
    expect(
      code(script.run(once(b, 1, 0, 'INCR', 'n'), once(b, 3, 2, 'INCR', 'n'), once(b, 1, 0, 'INCR', 'n'))),
    ).toBe('STALESEQ');
    const d = script.openSession();
    expect([a, b, c, d].map((session) => dropped(script, session))).toEqual([false, false, true, false]);
    expect(script.replica.machine.clientSessionCount).toBe(3);
  });

  test('when the replies of all take too much, and never the one that has just run', () => {
    const script = scriptWith({ repliesMax: 100, sessionBytesMax: 10_000, bytesMax: 1200 });
    const [a, b] = [script.openSession(), script.openSession()];
    const value = 'x'.repeat(200);
    let seq = 0;
    script.command('SET', 'k', value);
    for (const session of [a, b, b, b]) script.run(once(session, ++seq, 0, 'SET', 'k', value, 'GET'));
    expect([a, b].map((session) => dropped(script, session))).toEqual([true, false]);
    for (let i = 0; i < 9; i++) script.run(once(b, ++seq, 0, 'SET', 'k', value, 'GET'));
    expect(dropped(script, b)).toBe(false);
  });

  test('after its time without a use, by the log, also in an entry that only moves the time', () => {
    const script = scriptWith({});
    const [a, b] = [script.openSession(), script.openSession()];
    script.nowMs += 600;
    script.run(once(b, 1, 0, 'INCR', 'n'));
    script.nowMs += 400;
    script.run({ kind: 'advance' });
    expect(script.replica.machine.clientSessionCount).toBe(2);
    script.nowMs += 1;
    script.run({ kind: 'advance' });
    expect(script.replica.machine.clientSessionCount).toBe(1);
    expect([a, b].map((session) => dropped(script, session))).toEqual([true, false]);
  });

  test('a bounded number at a time, and all in the end', () => {
    const script = scriptWith({ countMax: 100 });
    for (let i = 0; i < 40; i++) script.openSession();
    script.nowMs += 1001;
    const counts = [1, 2, 3, 4].map(() => {
      script.run({ kind: 'advance' });
      return script.replica.machine.clientSessionCount;
    });
    expect(counts).toEqual([24, 8, 0, 0]);
    expect(script.replica.machine.memoryBytes).toBe(0);
  });

  test('in the same order on a server that has come back, when two were used in one transaction', async () => {
    const script = scriptWith({ countMax: 2 });
    const [a, b] = [script.openSession(), script.openSession()];
    script.run(transaction(once(b, 1, 0, 'INCR', 'n'), once(a, 1, 0, 'INCR', 'n')));
    await script.forget();
    script.openSession();
    expect([dropped(script, a), dropped(script, b)]).toEqual([false, true]);
    const other = await replay(script, {});
    expect(other.machine.stateHash()).toBe(script.hash);
  });
});

describe('keys that are not in memory are fetched for a numbered write', () => {
  const cases: readonly (readonly [
    readonly string[],
    Reply,
    readonly (readonly [number, string, string | null])[],
  ])[] = [
    [
      ['RENAME', 'a', 'b'],
      'OK',
      [
        [0, 'a', null],
        [0, 'b', '0a'],
      ],
    ],
    [['RENAMENX', 'a', 'b'], 0, [[0, 'a', '0a']]],
    [['COPY', 'a', 'b'], 0, [[0, 'b', '0b']]],
    [['COPY', 'a', 'b', 'DB', '1'], 0, [[1, 'b', '1b']]],
    [['COPY', 'a', 'b', 'DB', '1', 'REPLACE'], 1, [[1, 'b', '0a']]],
    [
      ['MOVE', 'a', '1'],
      0,
      [
        [0, 'a', '0a'],
        [1, 'a', '1a'],
      ],
    ],
    [
      ['MOVE', 'c', '1'],
      1,
      [
        [0, 'c', null],
        [1, 'c', '0c'],
      ],
    ],
    [['BITOP', 'NOT', 'd', 'a'], 2, [[0, 'd', '\xcf\x9e']]],
    [['MSETNX', 'x', '1', 'a', '2'], 0, [[0, 'x', null]]],
    [['SORT', 'x', 'STORE', 'a'], 0, [[0, 'a', null]]],
    [['GETEX', 'a', 'PX', '5000'], Buffer.from('0a'), [[0, 'a', '0a']]],
    [
      ['SWAPDB', '0', '1'],
      'OK',
      [
        [0, 'a', '1a'],
        [1, 'c', '0c'],
      ],
    ],
    [
      ['FLUSHDB'],
      'OK',
      [
        [0, 'a', null],
        [1, 'a', '1a'],
      ],
    ],
    [['FLUSHALL'], 'OK', [[1, 'a', null]]],
  ];
  test.each(cases)('%j', async (argv, reply, after) => {
    const script = new LogScript({ memoryBytesMax: 0 });
    const session = script.openSession();
    for (const name of ['a', 'b', 'c']) script.command('SET', name, `0${name}`);
    for (const name of ['a', 'b']) script.run(commandIn(1, 'SET', name, `1${name}`));
    await script.forget();
    expect(script.run(once(session, 1, 0, ...argv))).toEqual(reply);
    expect(script.run(once(session, 1, 0, ...argv))).toEqual(reply);
    for (const [db, name, value] of after) expect(script.get(name, db)).toBe(value);
    expect((await replay(script, {})).machine.stateHash()).toBe(script.hash);
  });
});
