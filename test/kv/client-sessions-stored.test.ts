/**
 * The sessions of clients as replicated state: what the store holds of them, and their part of the hash of the state.
 */
import { describe, expect, test } from 'vitest';
import { CLIENT_SESSION_LIMITS } from '../../src/kv/client-sessions.ts';
import { encodeSession, sealed } from '../../src/kv/session-records.ts';
import { metaKey, sessionKey } from '../../src/kv/stored-keys.ts';
import { CorruptionError } from '../../src/lib/errors.ts';
import { code, LogScript, once, replay } from './log-script.ts';
import { MemoryStore } from './memory-store.ts';
import { command, REGION, Replica } from './replica.ts';

describe('the table of sessions in the store', () => {
  test('has one record for a session and one for each reply, and none of what was dropped', async () => {
    const script = new LogScript();
    const [a, b] = [script.openSession(), script.openSession()];
    for (const seq of [1, 2, 3])
      script.run(once(a, seq, 0, 'SET', 'k', 'v'), once(b, seq, 0, 'SET', 'k', 'v'));
    await script.forget();
    // The meta record and the key.
    expect(script.replica.store.size).toBe(2 + 8);
    script.run(once(a, 4, 2, 'SET', 'k', 'v'));
    await script.forget();
    expect(script.replica.store.size).toBe(2 + 7);
    script.command('HSTORE.SESSION', 'CLOSE', b);
    await script.forget();
    expect(script.replica.store.size).toBe(2 + 3);
    expect(script.run(once(a, 3, 0, 'DEL', 'k'))).toBe('OK');
  });

  test('is read whole, however many records it has', async () => {
    const script = new LogScript();
    const sessions = Array.from({ length: 300 }, () => script.openSession());
    for (const session of sessions) {
      script.run(...[1, 2, 3, 4, 5].map((seq) => once(session, seq, 0, 'INCR', `n${session}`)));
    }
    const { hash } = script;
    await script.forget();
    expect([script.hash, script.replica.machine.clientSessionCount]).toEqual([hash, 300]);
    expect(script.run(once(sessions[299]!, 5, 0, 'INCR', 'n'))).toBe(5);
  });

  test('loses nothing by checkpoints that fail, whatever is opened, used and dropped meanwhile', async () => {
    const script = new LogScript();
    const [a, b, c] = [script.openSession(), script.openSession(), script.openSession()];
    script.run(once(a, 1, 0, 'INCR', 'n'), once(b, 1, 0, 'INCR', 'n'), once(c, 1, 0, 'INCR', 'n'));
    const failing = script.replica.machine.beginCheckpoint()!;
    script.command('HSTORE.SESSION', 'CLOSE', b);
    script.run(once(a, 2, 1, 'INCR', 'n'));
    const d = script.openSession();
    failing.failed();
    script.replica.store.failWrites = 1;
    expect(script.replica.checkpoint()).toBe(false);
    script.run(once(d, 1, 0, 'INCR', 'n'));
    const { hash } = script;
    await script.forget();
    expect(script.hash).toBe(hash);
    expect([a, b, c, d].map((session) => code(script.run(once(session, 1, 0, 'INCR', 'n'))))).toEqual([
      'STALESEQ',
      'SESSIONEXPIRED',
      'no error',
      'no error',
    ]);
    expect(script.get('n')).toBe('5');
  });

  test('that makes no sense stops the start', async () => {
    const good = new LogScript();
    good.openSession();
    good.replica.checkpoint();
    const meta = await stored(good.replica.store, metaKey(REGION));
    const entry = (key: Uint8Array, value: Uint8Array) => [Buffer.from(key).toString('hex'), value] as const;
    const tooLong = Buffer.concat([sessionKey(REGION, 5), Buffer.from('x')]);
    const whole = encodeSession({ id: 5, ack: 0, lastUsedMs: 1000, lastUsedOp: 5 });
    for (const [key, content, problem] of [
      [sessionKey(REGION, 5, 1), Buffer.from('+OK\r\n'), 'a reply without its session 5'],
      [sessionKey(REGION, 5), Buffer.from('short'), 'the record of session 5 is not what was written'],
      [tooLong, Buffer.alloc(24), "no session's"],
      [sessionKey(REGION, 5), whole, 'not those of its meta record'],
    ] as const) {
      const entries = [entry(metaKey(REGION), meta), entry(key, sealed(key, content))];
      const start = new Replica({}, new MemoryStore(new Map(entries))).restart();
      await expect(start).rejects.toBeInstanceOf(CorruptionError);
      await expect(start).rejects.toThrow(problem);
    }
  });

  test('is refused when a bit of a record has flipped, or it is that of another key', async () => {
    const good = new LogScript();
    const [a, b] = [good.openSession(), good.openSession()].map(Number) as [number, number];
    good.run(once(String(a), 1, 0, 'INCR', 'n'), once(String(b), 1, 0, 'INCR', 'n'));
    good.replica.checkpoint();
    const { store } = good.replica;
    for (const [key, other, problem] of [
      [sessionKey(REGION, a), sessionKey(REGION, b), `the record of session ${a}`],
      [sessionKey(REGION, a, 1), sessionKey(REGION, b, 1), `reply 1 of session ${a}`],
    ] as const) {
      const value = await stored(store, key);
      const damaged = [await stored(store, other), value.subarray(0, 3)];
      for (let at = 0; at < value.length; at++)
        damaged.push(value.map((byte, i) => (i === at ? byte ^ 4 : byte)));
      for (const each of damaged) {
        const broken = store.crash(0);
        const batch = broken.batch();
        batch.put(key, each);
        batch.write(() => undefined);
        broken.drain();
        await expect(new Replica({}, broken).restart()).rejects.toThrow(`the store is damaged: ${problem} `);
      }
    }
  });
});

function stored(store: MemoryStore, key: Uint8Array): Promise<Uint8Array> {
  const value = new Promise<Uint8Array>((resolve) => {
    store.getMany([key], (_, values) => resolve(values[0]!));
  });
  store.drain();
  return value;
}

describe('the hash of the state', () => {
  const hashAfter = (...ops: ReturnType<typeof command>[]): string => {
    const script = new LogScript();
    script.openSession();
    script.openSession();
    script.run(...ops);
    return script.hash;
  };
  test('tells sessions apart by their numbers, acknowledgements, replies and order of use', () => {
    const hashes = [
      hashAfter(once('2', 1, 0, 'SETNX', 'k', 'v'), once('3', 1, 0, 'SETNX', 'k', 'v')),
      hashAfter(once('3', 1, 0, 'SETNX', 'k', 'v'), once('2', 1, 0, 'SETNX', 'k', 'v')),
      hashAfter(once('2', 2, 0, 'SETNX', 'k', 'v'), once('3', 1, 0, 'SETNX', 'k', 'v')),
      hashAfter(once('2', 2, 1, 'SETNX', 'k', 'v'), once('3', 1, 0, 'SETNX', 'k', 'v')),
      hashAfter(once('2', 1, 0, 'SETNX', 'k', 'v'), command('HSTORE.SESSION', 'CLOSE', '3')),
      hashAfter(once('2', 1, 0, 'SETNX', 'k', 'v'), command('HSTORE.SESSION', 'CLOSE', '9')),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  test('is the same whatever the memory and whenever the checkpoints', async () => {
    const script = new LogScript({
      clientSessionLimits: { ...CLIENT_SESSION_LIMITS, countMax: 5, idleMsMax: 90, repliesMax: 3 },
    });
    for (let i = 0; i < 60; i++) {
      const session = i % 7 === 0 ? script.openSession() : String(2 + ((i * 13) % (i + 2)));
      script.run(once(session, 1 + (i % 4), i % 4 === 3 ? 2 : 0, 'APPEND', `k${i % 5}`, 'x'));
      script.nowMs += i % 9;
    }
    const hashes: string[] = [];
    await replay(script, {}, (replica) => hashes.push(replica.machine.stateHash()));
    for (const every of [1, 2, 5]) {
      const been = new Set<number>();
      await replay(script, { memoryBytesMax: every * 300 }, async (replica, index) => {
        expect(replica.machine.stateHash()).toBe(hashes[index - 1]);
        if (index % every !== 0 || been.has(index)) return;
        been.add(index);
        if (index % 3 === 0) replica.store.failWrites = 1;
        replica.checkpoint();
        if (index % 4 === 0) await replica.restart();
      });
    }
  });
});
