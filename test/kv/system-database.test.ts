/**
 * The database that only services of the servers have: what of it clients could notice, and that it lasts.
 */
import { describe, expect, test } from 'vitest';
import {
  ALL_DATABASES,
  DATABASES,
  encodeCommandOp,
  SYSTEM_DATABASE,
  validateRun,
} from '../../src/kv/batch.ts';
import { decodeMeta } from '../../src/kv/meta.ts';
import { metaKey } from '../../src/kv/stored-keys.ts';
import { ByteWriter } from '../../src/lib/bytes.ts';
import { ErrorReply, NullArrayReply } from '../../src/resp/reply.ts';
import { LogScript, replay, words } from './log-script.ts';
import { MemoryStore } from './memory-store.ts';
import { bytesOf, command, commandIn, REGION, Replica, runOf, transaction } from './replica.ts';
import { transfer } from './snapshots.ts';

const inSystem = (...argv: string[]) => commandIn(SYSTEM_DATABASE, ...argv);

function filled(): LogScript {
  const script = new LogScript();
  script.run(inSystem('SET', 'job:1', 'queued'), inSystem('SET', 'job:2', 'done'));
  script.run(command('SET', 'mine', '1'));
  return script;
}

function stored(store: MemoryStore, key: Uint8Array): Uint8Array {
  let found: Uint8Array | undefined;
  store.getMany([key], (_, values) => {
    found = values[0];
  });
  store.drain();
  return found!;
}

describe('the system database', () => {
  test('is not seen by clients: no sizes, no digest, no keyspace hits', () => {
    const script = filled();
    const alone = new LogScript();
    alone.run({ kind: 'skip' }, { kind: 'skip' });
    alone.command('SET', 'mine', '1');
    const { machine } = script.replica;
    expect([machine.sizes, machine.expiring]).toEqual([
      [1, ...Array(DATABASES - 1).fill(0)],
      Array(DATABASES).fill(0),
    ]);
    expect(machine.dataHash).toBe(alone.replica.machine.dataHash);
    script.get('job:1', SYSTEM_DATABASE);
    script.get('job:3', SYSTEM_DATABASE);
    expect(machine.lookups).toEqual({ hits: 0, misses: 0 });
    expect(script.get('job:1')).toBe(null);
  });

  test('is part of the state hash', () => {
    const [one, other] = [filled(), filled()];
    expect(one.hash).toBe(other.hash);
    one.run(inSystem('SET', 'job:1', 'running'));
    other.run(inSystem('SET', 'job:1', 'done'));
    expect(one.hash).not.toBe(other.hash);
  });

  test('outlives FLUSHALL, by itself and in a transaction, and then again', () => {
    const script = filled();
    script.command('FLUSHALL');
    script.run(transaction(command('FLUSHALL'), command('SET', 'new', '1')));
    script.command('FLUSHALL');
    expect([script.get('mine'), script.get('new')]).toEqual([null, null]);
    expect(script.get('job:1', SYSTEM_DATABASE)).toBe('queued');
    expect(script.get('job:2', SYSTEM_DATABASE)).toBe('done');
  });

  test('cannot be named where a command names another database', () => {
    const script = filled();
    const refused = new ErrorReply('ERR', 'DB index is out of range');
    const index = String(SYSTEM_DATABASE);
    expect(script.command('MOVE', 'mine', index)).toEqual(refused);
    expect(script.command('COPY', 'mine', 'yours', 'DB', index)).toEqual(refused);
    expect(script.command('SWAPDB', '0', index)).toEqual(refused);
    expect(script.command('SWAPDB', index, '0')).toEqual(refused);
  });

  test('is there after a restart, from the checkpoint and the log behind it', async () => {
    const script = filled();
    script.replica.checkpoint();
    const at = script.replica.machine.appliedIndex;
    script.run(inSystem('SET', 'job:1', 'done'), inSystem('DEL', 'job:2'));
    const { replica } = script;
    await replica.restart();
    expect(replica.machine.appliedIndex).toBe(at);
    replica.apply(script.entries.slice(at));
    expect(words(replica.read(['MGET', 'job:1', 'job:2'], 0, SYSTEM_DATABASE)!)).toEqual(['done', null]);
    expect(replica.machine.stateHash()).toBe(script.hash);
  });

  test('comes with a snapshot', async () => {
    const script = filled();
    script.replica.checkpoint();
    const receiver = new Replica({}, new MemoryStore());
    transfer(script.replica.store, receiver.store);
    await receiver.restart();
    expect(receiver.machine.stateHash()).toBe(script.hash);
    expect(words(receiver.read(['GET', 'job:2'], 0, SYSTEM_DATABASE)!)).toBe('done');
  });

  test('is the same with hardly any memory', async () => {
    const script = filled();
    for (let i = 0; i < 50; i++) script.run(inSystem('SET', `chunk:${i}`, 'x'.repeat(500)));
    script.run(command('FLUSHALL'), inSystem('APPEND', 'chunk:7', 'y'));
    const small = await replay(script, { memoryBytesMax: 2000 }, (replica) => replica.checkpoint());
    expect(small.machine.stateHash()).toBe(script.hash);
    expect(words(small.read(['STRLEN', 'chunk:7'], 0, SYSTEM_DATABASE)!)).toBe(501);
  });

  test('fences: a transaction on it runs only if the versions that it watches still hold', () => {
    const script = filled();
    const [version] = script.replica.versions(['job:1'], SYSTEM_DATABASE);
    const watched = [{ db: SYSTEM_DATABASE, key: 'job:1', version: version! }];
    const commands = [
      inSystem('GET', 'job:1'),
      inSystem('SET', 'job:1', 'running'),
      command('SET', 'out', '1'),
    ];
    expect(words(script.run({ kind: 'transaction', watched, commands }))).toEqual(['queued', 'OK', 'OK']);
    expect(script.run({ kind: 'transaction', watched, commands })).toBe(NullArrayReply.instance);
    expect([script.get('job:1', SYSTEM_DATABASE), script.get('out')]).toEqual(['running', '1']);
  });

  test('has no key that expires', () => {
    expect(() => filled().run(inSystem('SET', 'job:1', 'x', 'EX', '1'))).toThrow('system database expires');
  });

  test('has a space of its own in the store, which no other database gets', () => {
    const script = filled();
    script.command('FLUSHALL');
    script.command('SET', 'mine', '2');
    script.replica.checkpoint();
    const garbage = script.replica.machine.takeGarbage();
    expect(garbage.length).toBeGreaterThan(0);
    const { databases, nextSpace } = decodeMeta(stored(script.replica.store, metaKey(REGION)));
    expect(databases).toHaveLength(ALL_DATABASES);
    expect(databases[SYSTEM_DATABASE]).toMatchObject({ space: SYSTEM_DATABASE, size: 2 });
    expect(new Set(databases.map(({ space }) => space)).size).toBe(ALL_DATABASES);
    expect(nextSpace).toBeGreaterThan(SYSTEM_DATABASE);
  });
});

describe('a run', () => {
  test('may be of the system database, and of none behind it', () => {
    const run = (db: number) => runOf({ session: 1, firstSeq: 1, ops: [commandIn(0, 'SET', 'k', `${db}`)] });
    const patched = (db: number) => {
      const bytes = run(db);
      // Header of the run, then the kind of the operation.
      bytes[25] = db;
      return bytes;
    };
    expect(validateRun(patched(SYSTEM_DATABASE))).toBe(true);
    expect(validateRun(patched(ALL_DATABASES))).toBe(false);
    expect(() => encodeCommandOp(new ByteWriter(), ALL_DATABASES, bytesOf(['GET', 'k']))).toThrow(
      'a database is one of those that there are',
    );
  });
});
