import { describe, expect, test } from 'vitest';
import { Sessions } from '../../src/kv/sessions.ts';
import { ByteReader, ByteWriter } from '../../src/lib/bytes.ts';
import { Hash64 } from '../../src/lib/hash.ts';
import { command, entryOf, OPEN, Replica, type Run } from './replica.ts';

function run(session: number, firstSeq: number, ...values: string[]): Run {
  return { session, firstSeq, ops: values.map((value) => command('APPEND', 'k', value)) };
}

function opened(): Replica {
  const replica = new Replica();
  replica.apply([entryOf(1, 1000, [OPEN])]);
  replica.heard.length = 0;
  return replica;
}

function appended(replica: Replica): string {
  return String(replica.read(['GET', 'k']));
}

describe('a session', () => {
  test('gets the count of operations at its opening as its id', () => {
    const replica = new Replica();
    replica.apply([entryOf(1, 1000, [OPEN, OPEN])]);
    replica.apply([entryOf(2, 1000, [run(1, 1, 'a', 'b')]), entryOf(3, 1000, [OPEN])]);
    expect(replica.heard).toEqual(['opened 7 1', 'opened 7 2', 'applied 1 1', 'applied 1 2', 'opened 7 5']);
  });

  test('executes its operations in the order of their numbers, over several runs and entries', () => {
    const replica = opened();
    replica.apply([
      entryOf(2, 1000, [run(1, 1, 'a', 'b'), run(1, 3, 'c')]),
      entryOf(3, 1000, [run(1, 4, 'd')]),
    ]);
    expect(appended(replica)).toBe('abcd');
    expect(replica.heard).toEqual(['applied 1 1', 'applied 1 2', 'applied 1 3', 'applied 1 4']);
  });

  test('passes over what it has executed, in silence, and executes the rest of the run', () => {
    const replica = opened();
    replica.apply([entryOf(2, 1000, [run(1, 1, 'a', 'b')]), entryOf(3, 1000, [run(1, 1, 'a', 'b', 'c')])]);
    expect(appended(replica)).toBe('abc');
    expect(replica.heard).toEqual(['applied 1 1', 'applied 1 2', 'applied 1 3']);
  });

  test('executes nothing behind a gap and says once from where to send again', () => {
    const replica = opened();
    replica.apply([entryOf(2, 1000, [run(1, 1, 'a'), run(1, 3, 'c', 'd'), run(1, 2, 'b')])]);
    expect(appended(replica)).toBe('ab');
    expect(replica.heard).toEqual(['applied 1 1', 'gap 1 2', 'applied 1 2']);
  });

  test('goes on past a number that was skipped', () => {
    const replica = opened();
    replica.apply([
      entryOf(2, 1000, [
        { session: 1, firstSeq: 1, ops: [{ kind: 'skip' }, { kind: 'advance' }] },
        run(1, 3, 'c'),
      ]),
    ]);
    expect(appended(replica)).toBe('c');
    expect(replica.heard).toEqual(['applied 1 1', 'applied 1 2', 'applied 1 3']);
  });

  test('that nobody opened executes nothing', () => {
    const replica = opened();
    replica.apply([entryOf(2, 1000, [run(9, 1, 'a', 'b'), run(1, 1, 'c')])]);
    expect(appended(replica)).toBe('c');
    expect(replica.heard).toEqual(['unknown 9 1', 'applied 1 1']);
  });

  test('is dropped after an hour without a run, by the time of the log', () => {
    const replica = opened();
    replica.apply([entryOf(2, 1000, [OPEN]), entryOf(3, 3_601_000, [run(1, 1, 'a')])]);
    expect(replica.machine.sessionCount).toBe(2);
    replica.apply([entryOf(4, 3_601_001, [run(2, 1, 'b'), run(1, 2, 'c')])]);
    expect(replica.heard.slice(1)).toEqual(['applied 1 1', 'unknown 2 1', 'applied 1 2']);
    expect(replica.machine.sessionCount).toBe(1);
  });

  test('makes room for a new one when there are too many: the least recently used in the order of the log', () => {
    const replica = new Replica({ sessionLimits: { countMax: 2, idleMsMax: 1_000_000 } });
    replica.apply([entryOf(1, 1000, [OPEN, OPEN, run(1, 1, 'a'), OPEN, run(2, 1, 'b'), run(1, 2, 'c')])]);
    expect(replica.heard).toEqual([
      'opened 7 1',
      'opened 7 2',
      'applied 1 1',
      'opened 7 4',
      'unknown 2 1',
      'applied 1 2',
    ]);
  });

  test('is still known after a restart from a checkpoint', async () => {
    const replica = opened();
    replica.apply([entryOf(2, 1000, [run(1, 1, 'a')])]);
    replica.checkpoint();
    await replica.restart();
    replica.apply([entryOf(3, 1000, [run(1, 1, 'a'), run(1, 2, 'b')])]);
    expect(appended(replica)).toBe('ab');
    expect(replica.heard).toEqual(['applied 1 1', 'applied 1 2']);
  });
});

describe('the table of sessions', () => {
  test('is decoded to what was encoded, in its order', () => {
    const sessions = new Sessions();
    for (let id = 1; id <= 5; id++) sessions.open(id, 100);
    sessions.use(2, 200)!.lastSeq = 42;
    const writer = new ByteWriter();
    sessions.encode(writer);
    const copy = new Sessions();
    copy.decode(new ByteReader(writer.copy()));
    const again = new ByteWriter();
    copy.encode(again);
    expect(again.copy()).toEqual(writer.copy());
    expect(hashOf(copy)).toBe(hashOf(sessions));
    copy.use(1, 200);
    expect(hashOf(copy)).not.toBe(hashOf(sessions));
  });

  test('drops a bounded number of idle sessions at a time, and all in the end', () => {
    const sessions = new Sessions({ countMax: 100, idleMsMax: 10 });
    for (let id = 1; id <= 40; id++) sessions.open(id, 5);
    sessions.expire(15);
    expect(sessions.count).toBe(40);
    sessions.expire(16);
    expect(sessions.count).toBe(24);
    sessions.expire(16);
    sessions.expire(16);
    expect(sessions.count).toBe(0);
  });
});

function hashOf(sessions: Sessions): string {
  const hash = new Hash64();
  hash.reset();
  sessions.hashInto(hash);
  hash.finish();
  return hash.hex();
}
