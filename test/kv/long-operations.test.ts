/**
 * Operations that take several turns: transactions that go through all keys, commands with very many keys, entries of
 * very many operations. Nobody sees a part of an operation, and nobody waits for a whole entry.
 */
import { describe, expect, test } from 'vitest';
import { findDataCommand } from '../../src/kv/table.ts';
import type { Entry } from '../../src/raft/types.ts';
import type { Reply } from '../../src/resp/reply.ts';
import { LogScript, names, replay, words } from './log-script.ts';
import { bytesOf, command, type Op, type Replica, transaction } from './replica.ts';

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
