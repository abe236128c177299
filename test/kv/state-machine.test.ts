import { describe, expect, test } from 'vitest';
import { encodePointer } from '../../src/kv/pointer.ts';
import { slotOf } from '../../src/kv/slot.ts';
import { formerMetaKey, metaKey, pointerKey } from '../../src/kv/stored-keys.ts';
import { ConfigError, CorruptionError } from '../../src/lib/errors.ts';
import type { Entry } from '../../src/raft/types.ts';
import { MemoryStore } from './memory-store.ts';
import { command, entryOf, OPEN, type Op, REGION, Replica } from './replica.ts';

class Script {
  readonly replica: Replica;
  index = 0;
  seq = 0;
  constructor(replica = new Replica()) {
    this.replica = replica;
    replica.apply([entryOf(++this.index, 1000, [OPEN])]);
  }
  at(atMs: number, ...ops: Op[]): this {
    this.replica.apply([entryOf(++this.index, atMs, [{ session: 1, firstSeq: this.seq + 1, ops }])]);
    this.seq += ops.length;
    return this;
  }
}

describe('time', () => {
  test('is the time of the newest entry and never goes back', () => {
    const script = new Script()
      .at(2000, command('SET', 'a', '1', 'PX', '100'))
      .at(1500, command('SET', 'b', '1', 'PX', '100'));
    expect(script.replica.machine.logTimeMs).toBe(2000);
    expect(script.replica.read(['PEXPIRETIME', 'b'])).toBe(2100);
  });

  test('makes a key expire when it moves past the moment, and a read alone removes nothing', () => {
    const { replica } = new Script()
      .at(2000, command('SET', 'a', '1', 'PX', '100'))
      .at(2100, { kind: 'advance' });
    expect(replica.read(['EXISTS', 'a'])).toBe(1);
    replica.apply([entryOf(4, 2101, [{ session: 1, firstSeq: 3, ops: [{ kind: 'advance' }] }])]);
    expect(replica.read(['EXISTS', 'a'])).toBe(0);
    expect(replica.machine.sizes[0]).toBe(1);
  });

  test('lets a write remove the expired key that it finds', () => {
    const { replica } = new Script()
      .at(2000, command('SET', 'a', '1', 'PX', '100'), command('SET', 'b', '1', 'PX', '100'))
      .at(3000, command('DEL', 'a'), command('APPEND', 'b', 'x'));
    expect(replica.replies.slice(-2)).toEqual([0, 1]);
    expect(replica.machine.sizes[0]).toBe(1);
    expect(replica.read(['TTL', 'b'])).toBe(-1);
  });

  test('must move first when a read finds a key that has expired by its own clock', () => {
    const script = new Script().at(2000, command('SET', 'a', '1', 'PX', '100'), command('SET', 'b', '1'));
    const { replica } = script;
    expect(replica.read(['GET', 'a'], 2100)).toEqual(Buffer.from('1'));
    expect(replica.read(['GET', 'a'], 2101)).toBeUndefined();
    expect(replica.read(['MGET', 'b', 'a'], 2101)).toBeUndefined();
    expect(replica.read(['GET', 'b'], 2101)).toEqual(Buffer.from('1'));
    script.at(2101, { kind: 'advance' });
    expect(replica.read(['GET', 'a'], 2101)).toBeNull();
  });

  test('to live is counted by the clock of a read when that is ahead', () => {
    const { replica } = new Script().at(2000, command('SET', 'a', '1', 'PX', '5000'));
    expect([replica.read(['PTTL', 'a'], 0), replica.read(['PTTL', 'a'], 3000)]).toEqual([5000, 4000]);
  });
});

describe('recovery', () => {
  test('begins empty on an empty store', async () => {
    const replica = new Replica();
    await replica.restart();
    expect([replica.machine.appliedIndex, replica.machine.appliedTerm]).toEqual([0, 0]);
  });

  test('goes on from the checkpoint with the same state', async () => {
    const script = new Script().at(2000, command('MSET', 'a', '1', 'b', '2'), {
      kind: 'command',
      argv: ['SET', 'a', 'x'],
      db: 3,
    });
    const { replica } = script;
    const hash = replica.machine.stateHash();
    replica.checkpoint();
    await replica.restart();
    expect([replica.machine.appliedIndex, replica.machine.appliedTerm, replica.machine.logTimeMs]).toEqual([
      2, 1, 2000,
    ]);
    expect(replica.machine.stateHash()).toBe(hash);
    expect(replica.machine.sizes.slice(0, 4)).toEqual([2, 0, 0, 1]);
    expect(replica.read(['GET', 'a'])).toEqual(Buffer.from('1'));
    expect(replica.read(['GET', 'a'], 0, 3)).toEqual(Buffer.from('x'));
  });

  test('refuses a store of another format, and a meta record that is damaged', async () => {
    const script = new Script().at(2000, command('SET', 'a', '1'));
    script.replica.checkpoint();
    const key = Buffer.from(metaKey(REGION)).toString('hex');
    const meta = await metaOf(script.replica.store);
    for (let at = 0; at < meta.length; at++) {
      const damaged = Uint8Array.from(meta);
      damaged[at]! ^= 0x40;
      const replica = new Replica({}, new MemoryStore(new Map([[key, damaged]])));
      await expect(replica.restart()).rejects.toThrow(at === 0 ? ConfigError : CorruptionError);
      const cut = new Replica({}, new MemoryStore(new Map([[key, meta.subarray(0, at)]])));
      await expect(cut.restart()).rejects.toThrow(CorruptionError);
    }
  });
});

describe('a configuration', () => {
  const entry = (index: number, ...bytes: number[]): Entry => {
    // A view of something bigger, as what comes from the network is.
    const data = Uint8Array.of(9, ...bytes).subarray(1);
    return { index, term: 1, type: 'configuration', data };
  };

  test('is kept with its index, through checkpoints and restarts, and is part of the state', async () => {
    const { replica } = new Script();
    expect(replica.machine.configuration).toEqual({ index: 0, data: new Uint8Array(0) });
    const hashes = [replica.machine.stateHash()];
    for (const each of [entry(2, 1, 2), entry(3, 1, 2), entry(4, 3)]) {
      replica.apply([each]);
      hashes.push(replica.machine.stateHash());
    }
    expect(new Set(hashes).size).toBe(4);
    expect(replica.machine.configuration).toEqual({ index: 4, data: Uint8Array.of(3) });
    expect(replica.machine.configuration.data.buffer.byteLength).toBe(1);
    replica.checkpoint();
    replica.apply([entry(5, 7)]);
    await replica.restart();
    expect(replica.machine.configuration).toEqual({ index: 4, data: Uint8Array.of(3) });
    expect(replica.machine.stateHash()).toBe(hashes[3]);
  });

  test('is no operation: it has no time and no reply', () => {
    const script = new Script().at(2000, command('SET', 'a', '1'));
    const { machine, heard } = script.replica;
    const before = [machine.logTimeMs, heard.length, machine.unsavedChanges];
    script.replica.apply([entry(++script.index, 1)]);
    expect([machine.logTimeMs, heard.length, machine.unsavedChanges]).toEqual(before);
    script.at(2000, command('SET', 'a', '2'));
    const versions = script.replica.versions(['a']);
    expect(versions).toEqual([3]);
  });
});

test('a store of a version without generations is refused', async () => {
  const former = Buffer.from(formerMetaKey(1)).toString('hex');
  const store = new MemoryStore(new Map([[former, Uint8Array.of(2, 0, 0, 0, 0, 0)]]));
  const start = new Replica({}, store).restart();
  await expect(start).rejects.toBeInstanceOf(ConfigError);
  await expect(start).rejects.toThrow('was written in format 2, this server knows format 4 only');
});

test('a pointer that is damaged, or of another format, is refused', async () => {
  const key = Buffer.from(pointerKey(1)).toString('hex');
  const pointer = encodePointer(1, { generation: 3, index: 5, term: 2 });
  for (let at = 0; at < pointer.length; at++) {
    for (const damaged of [pointer.map((byte, i) => (i === at ? byte ^ 1 : byte)), pointer.subarray(0, at)]) {
      const format = damaged.length > 0 && at === 0;
      const start = new Replica({}, new MemoryStore(new Map([[key, damaged]]))).restart();
      await expect(start).rejects.toBeInstanceOf(format ? ConfigError : CorruptionError);
    }
  }
  const other = new MemoryStore(new Map([[key, encodePointer(2, { generation: 3, index: 5, term: 2 })]]));
  await expect(new Replica({}, other).restart()).rejects.toThrow('its pointer is malformed');
});

function metaOf(store: MemoryStore): Promise<Uint8Array> {
  const meta = new Promise<Uint8Array>((resolve) => {
    store.getMany([metaKey(REGION)], (_, values) => resolve(values[0]!));
  });
  store.drain();
  return meta;
}

describe('a data set larger than memory', () => {
  async function large(): Promise<Script> {
    const script = new Script(new Replica({ memoryBytesMax: 3000 }));
    for (let i = 0; i < 100; i++) script.at(2000, command('SET', `k${i}`, `v${i}`));
    script.replica.checkpoint();
    for (let i = 0; i < 40; i++) script.at(2000, command('SET', 'other', 'x'));
    return script;
  }

  test('is evicted down to the bound once it is saved', async () => {
    const { replica } = await large();
    expect(replica.machine.memoryBytes).toBeLessThan(3000);
    expect(replica.store.size).toBe(101);
  });

  test('is fetched for an entry, all keys of many operations in one question', async () => {
    const script = await large();
    const before = script.replica.store.reads;
    script.at(2000, ...Array.from({ length: 100 }, (_, i) => command('APPEND', `k${i}`, '!')));
    expect(script.replica.replies.slice(-100)).toEqual(
      Array.from({ length: 100 }, (_, i) => (i < 10 ? 3 : 4)),
    );
    // Some are evicted before their turn comes: memory is far too small here.
    expect(script.replica.store.reads - before).toBeLessThan(20);
  });

  test('answers a read of more keys than fit in memory', async () => {
    const { replica } = await large();
    const keys = Array.from({ length: 100 }, (_, i) => `k${i}`);
    expect(replica.read(['MGET', ...keys])).toEqual(keys.map((key) => Buffer.from(key.replace('k', 'v'))));
  });

  test('is not shown an old value that was read before the key was written, saved and evicted', async () => {
    const script = await large();
    const { replica } = script;
    replica.checkpoint();
    await replica.restart();
    // Asked now, answered before the write, heard of after all that follows.
    let answer: (() => void) | undefined;
    const getMany = replica.store.getMany.bind(replica.store);
    replica.store.getMany = (keys, done) => {
      replica.store.getMany = getMany;
      getMany(keys, (error, values) => {
        answer = () => done(error, values);
      });
    };
    const replies: unknown[] = [];
    const { dataCommands } = await import('../../src/kv/table.ts');
    const get = dataCommands.get('get')!;
    if (get.kind !== 'read') throw new Error('GET reads');
    const argv = [Buffer.from('get'), Buffer.from('k1')];
    replica.machine.read({ db: 0, command: get, argv, nowMs: 0 }, (reply) => replies.push(reply));
    replica.store.drain();
    script.at(2000, command('SET', 'k1', 'new'));
    replica.checkpoint();
    for (let i = 0; i < 100; i++) script.at(2000, command('SET', `k${i + 2}`, 'x'));
    replica.checkpoint();
    for (let i = 0; i < 100; i++) script.at(2000, command('SET', `k${i + 2}`, 'x'));
    answer!();
    replica.store.drain();
    expect(replies).toEqual([Buffer.from('new')]);
  });

  test('stops the state machine when the store cannot be read', async () => {
    const script = await large();
    script.replica.store.failReads = 1;
    script.at(2000, command('APPEND', 'k1', '!'));
    expect(script.replica.fatal.map((error) => error.message)).toEqual(['read failed']);
    expect(script.replica.machine.appliedIndex).toBe(script.index - 1);
    expect(script.replica.machine.beginCheckpoint()).toBeUndefined();
  });
});

describe('FLUSHALL', () => {
  test('empties all databases in one step, and what the store still holds is garbage', async () => {
    const script = new Script().at(2000, command('SET', 'a', '1'), {
      kind: 'command',
      argv: ['SET', 'b', '1'],
      db: 2,
    });
    const { replica } = script;
    replica.checkpoint();
    expect(replica.machine.takeGarbage()).toEqual([]);
    script.at(2000, command('FLUSHALL'));
    expect(replica.read(['GET', 'a'])).toBeNull();
    expect(replica.machine.sizes.every((size) => size === 0)).toBe(true);
    // Until the new epoch is durable a crash must find the old one whole.
    expect(replica.machine.takeGarbage()).toEqual([]);
    script.at(2000, command('SET', 'c', '1'));
    replica.checkpoint();
    const garbage = replica.machine.takeGarbage();
    for (const range of garbage) replica.store.clear(range, () => undefined);
    replica.store.drain();
    expect(replica.store.size).toBe(2);
    expect(replica.machine.takeGarbage()).toEqual([]);
    await replica.restart();
    expect([replica.read(['GET', 'c']), replica.read(['GET', 'a'])]).toEqual([Buffer.from('1'), null]);
    expect(replica.machine.takeGarbage()).toEqual(garbage);
  });

  test('during a checkpoint that fails leaves nothing of the old epoch', () => {
    const script = new Script().at(2000, command('SET', 'a', '1'));
    const { replica } = script;
    const checkpoint = replica.machine.beginCheckpoint()!;
    script.at(2000, command('FLUSHALL'), command('SET', 'b', '1'));
    checkpoint.failed();
    replica.checkpoint();
    expect(replica.store.size).toBe(2);
    expect(replica.read(['MGET', 'a', 'b'])).toEqual([null, Buffer.from('1')]);
  });
});

test('a checkpoint is not begun while another is under way', () => {
  const { replica } = new Script();
  const checkpoint = replica.machine.beginCheckpoint()!;
  expect(replica.machine.beginCheckpoint()).toBeUndefined();
  checkpoint.failed();
  expect(replica.machine.beginCheckpoint()).toBeDefined();
});

test('a stored value does not pin the entry it came in', () => {
  const { replica } = new Script().at(
    2000,
    command('SET', 'a', 'x'.repeat(100)),
    command('SET', 'b', 'y'.repeat(20_000)),
  );
  const value = replica.read(['GET', 'b']);
  expect(value instanceof Uint8Array && value.buffer.byteLength).toBe(20_000);
});

test('dirtyBytes is what the next checkpoint has to write, whatever was written over and whatever failed', () => {
  const script = new Script().at(2000, command('SET', 'a', '1'));
  const { machine, store } = script.replica;
  const one = machine.dirtyBytes;
  expect([one > 0, one === machine.memoryBytes]).toEqual([true, true]);
  script.at(2000, command('SET', 'a', '2'), command('SET', 'a', '3'));
  expect(machine.dirtyBytes).toBe(one);
  const checkpoint = machine.beginCheckpoint()!;
  expect(machine.dirtyBytes).toBe(0);
  script.at(2000, command('SET', 'a', '4'), command('SET', 'b', '4'), command('SET', 'b', '5'));
  expect(machine.dirtyBytes).toBe(2 * one);
  checkpoint.failed();
  expect(machine.dirtyBytes).toBe(2 * one);
  script.at(2000, command('SET', 'b', '6'));
  expect(machine.dirtyBytes).toBe(2 * one);
  store.failWrites = 1;
  expect([script.replica.checkpoint(), machine.dirtyBytes]).toEqual([false, 2 * one]);
  expect([script.replica.checkpoint(), machine.dirtyBytes, machine.memoryBytes]).toEqual([true, 0, 2 * one]);
});

test('a no-op moves the applied index and nothing else', () => {
  const { replica } = new Script();
  const hash = replica.machine.stateHash();
  replica.apply([{ index: 2, term: 5, type: 'noop', data: new Uint8Array(0) }]);
  expect([replica.machine.appliedIndex, replica.machine.appliedTerm, replica.machine.stateHash()]).toEqual([
    2,
    5,
    hash,
  ]);
});

test('slots are those of Redis Cluster', () => {
  const slots = [
    '123456789',
    'foo',
    '{user1000}.following',
    'foo{}{bar}',
    'foo{{bar}}zap',
    'foo{bar}{zap}',
    '',
  ];
  expect(slots.map((key) => slotOf(Buffer.from(key).toString('latin1')))).toEqual([
    12739, 12182, 3443, 8363, 4015, 5061, 0,
  ]);
});
