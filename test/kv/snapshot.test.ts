/**
 * Snapshots from one server's store to another's: what arrives, what is refused, and what a crash leaves.
 */
import { describe, expect, test } from 'vitest';
import { positionOf } from '../../src/kv/position.ts';
import { SNAPSHOT_CHUNK_BYTES_MAX } from '../../src/kv/snapshot-format.ts';
import { metaKey, progressKey, StoredKeys } from '../../src/kv/stored-keys.ts';
import { MalformedError } from '../../src/lib/bytes.ts';
import { CorruptionError, SnapshotLostError } from '../../src/lib/errors.ts';
import { LogScript, once } from './log-script.ts';
import { MemoryStore } from './memory-store.ts';
import { commandIn, REGION, Replica } from './replica.ts';
import {
  allChunks,
  entriesUnder,
  finish,
  flip,
  ID,
  nextChunk,
  openReader,
  openWriter,
  readerOf,
  transfer,
  write,
} from './snapshots.ts';

const OTHER_ID = new Uint8Array(16).fill(8);

/** A state with a bit of everything, saved; about three chunks. */
function senderScript(): LogScript {
  const script = new LogScript();
  const session = script.openSession();
  script.run(once(session, 1, 0, 'SET', 'once', '1'), once(session, 2, 0, 'INCR', 'once'));
  script.openSession();
  for (let i = 0; i < 50; i++) script.command('SET', `k${i}`, `v${i}`);
  for (let i = 0; i < 9; i++) script.run(commandIn(3, 'SET', `e${i}`, 'v', 'PX', String(100 + i)));
  script.command('SETRANGE', 'long', '300000', 'x');
  script.run(commandIn(1, 'SETRANGE', 'longer', String(SNAPSHOT_CHUNK_BYTES_MAX * 2), 'y'));
  script.run(commandIn(0, 'SWAPDB', '0', '3'), commandIn(5, 'FLUSHDB'));
  const index = script.entries.length + 1;
  script.entries.push({ index, term: 1, type: 'configuration', data: Uint8Array.of(1, 2, 3) });
  script.replica.apply(script.entries.slice(-1));
  script.replica.checkpoint();
  return script;
}

async function replicaOver(store: MemoryStore): Promise<Replica> {
  const replica = new Replica({}, store);
  await replica.restart();
  return replica;
}

/** Without group and generation. */
function portable(entries: Map<string, string>): Map<string, string> {
  return new Map([...entries].map(([key, value]) => [key.slice(0, 2) + key.slice(18), value]));
}

describe('a snapshot that was transferred', () => {
  test('is the state of the sender: hash, keys, sessions, configuration, and what is due', async () => {
    const script = senderScript();
    const to = new MemoryStore();
    transfer(script.replica.store, to);
    const receiver = await replicaOver(to);
    const { machine } = receiver;
    const sent = script.replica.machine;
    expect(machine.stateHash()).toBe(script.hash);
    expect([machine.generation, machine.installed]).toEqual([1, { index: sent.appliedIndex, term: 1 }]);
    expect(machine.configuration).toEqual({ index: sent.appliedIndex, data: Uint8Array.of(1, 2, 3) });
    for (const family of ['d', 'e', 's', 'm']) {
      expect(portable(entriesUnder(to, family))).toEqual(
        portable(entriesUnder(script.replica.store, family)),
      );
    }
    expect(to.size).toBe(script.replica.store.size + 1);
  });

  test('takes the place of what was there, which is garbage from then on', async () => {
    const script = senderScript();
    const old = new LogScript();
    old.command('SET', 'old', 'v', 'PX', '100');
    old.openSession();
    old.replica.checkpoint();
    const to = old.replica.store;
    transfer(script.replica.store, to);
    const receiver = await replicaOver(to);
    expect(receiver.machine.stateHash()).toBe(script.hash);
    for (const range of receiver.machine.takeGarbage()) receiver.store.clear(range, () => undefined);
    receiver.store.drain();
    expect(receiver.store.size).toBe(script.replica.store.size + 1);
    await receiver.restart();
    expect(receiver.machine.stateHash()).toBe(script.hash);
  });

  test('can be followed by another, and by checkpoints of its own', async () => {
    const script = senderScript();
    const to = new MemoryStore();
    transfer(script.replica.store, to);
    for (let generation = 2; generation < 4; generation++) {
      script.command('SET', `more${generation}`, 'v');
      script.replica.checkpoint();
      transfer(script.replica.store, to, OTHER_ID);
      const receiver = await replicaOver(to);
      expect([receiver.machine.generation, receiver.machine.stateHash()]).toEqual([generation, script.hash]);
      script.command('APPEND', `more${generation}`, '!');
      receiver.apply(script.entries.slice(receiver.machine.appliedIndex));
      receiver.checkpoint();
      await receiver.restart();
      expect(receiver.machine.stateHash()).toBe(script.hash);
    }
  });

  test('is that of the last checkpoint, and of the moment at which it was opened', async () => {
    const script = senderScript();
    const { hash } = script;
    script.command('SET', 'later', 'v');
    const reader = readerOf(script.replica.store);
    script.command('FLUSHALL');
    script.replica.checkpoint();
    const to = new MemoryStore();
    const writer = openWriter(to, { id: ID, header: reader.header });
    expect([writer.index, writer.term]).toEqual([reader.index, reader.term]);
    for (const chunk of allChunks(script.replica.store, reader)) write(to, writer, chunk);
    expect(writer.receivedEntries).toBe(reader.totalEntries);
    expect([writer.totalEntries, reader.totalEntries]).toEqual([62 + 2 + 2, 66]);
    finish(to, writer);
    flip(to, writer);
    expect((await replicaOver(to)).machine.stateHash()).toBe(hash);
  });

  test('may be empty', async () => {
    const sender = new Replica();
    expect(openReader(sender.store)).toBeUndefined();
    sender.apply([{ index: 1, term: 1, type: 'noop', data: new Uint8Array(0) }]);
    sender.checkpoint();
    const to = new MemoryStore();
    transfer(sender.store, to);
    const receiver = await replicaOver(to);
    expect([receiver.machine.appliedIndex, receiver.machine.stateHash()]).toEqual([
      1,
      sender.machine.stateHash(),
    ]);
  });
});

describe('a transfer that breaks', () => {
  test('goes on behind the last whole entry with the same snapshot, at both ends', () => {
    const script = senderScript();
    const from = script.replica.store;
    const reader = readerOf(from);
    const chunks = allChunks(from, reader);
    expect(chunks.length).toBeGreaterThan(4);
    for (let cut = 0; cut <= chunks.length; cut++) {
      let to = new MemoryStore();
      const offer = { id: ID, header: reader.header };
      const first = openWriter(to, offer);
      for (const chunk of chunks.slice(0, cut)) write(to, first, chunk);
      first.close();
      to = to.crash(0);
      const second = openWriter(to, offer);
      expect([second.receivedBytes, second.receivedEntries]).toEqual([
        first.receivedBytes,
        first.receivedEntries,
      ]);
      reader.seek(second.resumeAfter);
      for (const chunk of allChunks(from, reader)) write(to, second, chunk);
      finish(to, second);
      expect(second.receivedEntries).toBe(reader.totalEntries);
    }
  });

  test('begins anew when it is another snapshot, and nothing is left of the first', async () => {
    const script = senderScript();
    const from = script.replica.store;
    const to = new MemoryStore();
    const former = readerOf(from).header;
    const first = openWriter(to, { id: ID, header: former });
    for (const chunk of allChunks(from, readerOf(from)).slice(0, 3)) write(to, first, chunk);
    expect(openWriter(to.crash(0), { id: ID, header: former }).resumeAfter).toBeDefined();
    expect(openWriter(to.crash(0), { id: OTHER_ID, header: former }).resumeAfter).toBeUndefined();
    script.command('FLUSHALL');
    script.command('SET', 'only', 'v');
    script.replica.checkpoint();
    const { header } = readerOf(from);
    for (const id of [ID, OTHER_ID]) {
      expect(openWriter(to.crash(0), { id, header }).resumeAfter).toBeUndefined();
    }
    transfer(from, to, OTHER_ID);
    expect((await replicaOver(to)).machine.stateHash()).toBe(script.hash);
    expect(entriesUnder(to, 'd').size).toBe(1);
  });

  test('leaves the old state or the new one, whole, at whatever step the receiver crashes', async () => {
    const script = senderScript();
    const from = script.replica.store;
    const reader = readerOf(from);
    const chunks = allChunks(from, reader);
    const old = new LogScript();
    old.command('SET', 'old', 'v');
    old.replica.checkpoint();
    const seen = new Set<string>();
    for (let crashAt = 0; crashAt < chunks.length + 30; crashAt++) {
      for (const done of [0, 1]) {
        let to = old.replica.store.crash(0);
        let turns = 0;
        // Every answer of the store is a step; at `crashAt` the power fails, and what is under way is done or not.
        const turn = to.turn.bind(to);
        to.turn = () => {
          if (turns++ === crashAt) throw new Error('power failure');
          return turn();
        };
        let complete = false;
        try {
          transfer(from, to);
          complete = true;
        } catch (error) {
          expect((error as Error).message).toBe('power failure');
        }
        to = to.crash(done);
        const receiver = await replicaOver(to);
        const hash = receiver.machine.stateHash();
        expect([old.hash, script.hash]).toContain(hash);
        if (complete) expect(hash).toBe(script.hash);
        seen.add(hash);
        transfer(from, receiver.store);
        expect((await replicaOver(receiver.store)).machine.stateHash()).toBe(script.hash);
      }
    }
    expect(seen.size).toBe(2);
  });

  test('goes on when the disk was full', () => {
    const script = senderScript();
    const from = script.replica.store;
    const to = new MemoryStore();
    const reader = readerOf(from);
    const offer = { id: ID, header: reader.header };
    let writer = openWriter(to, offer);
    for (let failures = 0; failures < 3; failures++) {
      write(to, writer, nextChunk(from, reader)!);
      to.failWrites = 1;
      expect(() => write(to, writer, nextChunk(from, reader)!)).toThrow('write failed');
      writer.close();
      writer = openWriter(to, offer);
      reader.seek(writer.resumeAfter);
    }
    for (const chunk of allChunks(from, reader)) write(to, writer, chunk);
    finish(to, writer);
  });

  test('whose reader lost its view says so', () => {
    const { store } = senderScript().replica;
    const snapshot = store.snapshot.bind(store);
    let lost = false;
    store.snapshot = () => {
      const view = snapshot();
      return {
        close: () => view.close(),
        range: (range, done) =>
          view.range(range, (error, entries) =>
            lost ? done(new SnapshotLostError(), []) : done(error, entries),
          ),
      };
    };
    const reader = readerOf(store);
    lost = true;
    expect(() => nextChunk(store, reader)).toThrow(SnapshotLostError);
    expect(() => readerOf(store)).toThrow(SnapshotLostError);
  });
});

describe('what a receiver refuses', () => {
  function incoming() {
    const script = senderScript();
    const from = script.replica.store;
    const reader = readerOf(from);
    const to = new MemoryStore();
    const writer = openWriter(to, { id: ID, header: reader.header });
    return { to, writer, header: reader.header, chunks: allChunks(from, reader) };
  }

  test('an offer that makes no sense', () => {
    const { header } = incoming();
    const to = new MemoryStore();
    const damaged = Uint8Array.from(header);
    damaged[20]! ^= 1;
    const offers = [
      { id: ID.subarray(1), header },
      { id: ID, header: new Uint8Array(0) },
      { id: ID, header: header.subarray(0, 30) },
      { id: ID, header: damaged },
      { id: ID, header: Uint8Array.of(9, ...header.subarray(1)) },
      { id: ID, header: Uint8Array.of(1, 9, ...header.subarray(2)) },
    ];
    for (const offer of offers) expect(() => openWriter(to, offer)).toThrow(MalformedError);
    expect(to.size).toBe(0);
  });

  test('a chunk with any bit flipped, or its whole, or cut short, or out of turn', () => {
    const { header, chunks } = incoming();
    const chunk = chunks[0]!;
    const wrong: Uint8Array[] = [new Uint8Array(0), chunk.subarray(0, 2), chunks[2]!];
    for (let at = 0; at < chunk.length; at += 7) {
      wrong.push(chunk.map((byte, i) => (i === at ? byte ^ 0x10 : byte)));
      if (at > 0) wrong.push(chunk.subarray(0, at));
    }
    for (const each of wrong) {
      const to = new MemoryStore();
      const writer = openWriter(to, { id: ID, header });
      let problem: unknown;
      try {
        write(to, writer, each);
        for (const rest of chunks.slice(1)) write(to, writer, rest);
        finish(to, writer);
      } catch (error) {
        problem = error;
      }
      const refused = problem instanceof MalformedError || problem instanceof CorruptionError;
      expect([refused, String(problem)]).toEqual([true, expect.any(String)]);
    }
    const { to, writer } = incoming();
    write(to, writer, chunk);
    expect(() => write(to, writer, chunk)).toThrow('out of order');
  });

  test('chunks that do not add up, and then all of them are void', () => {
    const { to, writer, header, chunks } = incoming();
    for (const chunk of chunks.slice(0, -1)) write(to, writer, chunk);
    expect(() => finish(to, writer)).toThrow(CorruptionError);
    expect(to.size).toBe(0);
    const again = openWriter(to, { id: ID, header });
    expect(again.resumeAfter).toBeUndefined();
    expect(() => finish(to, again)).toThrow('database 0 has 0 keys instead of 9');
  });

  test('a last entry that is cut', () => {
    const { to, writer, chunks } = incoming();
    write(to, writer, chunks[0]!);
    write(to, writer, chunks[1]!);
    expect(() => finish(to, writer)).toThrow('its last entry is cut');
  });
});

test('a sender does not pass on what its disk has damaged', () => {
  const { store } = senderScript().replica;
  const key = Buffer.from(new StoredKeys(REGION, 0).data('k7', positionOf('k7')));
  const value = Buffer.from(entriesUnder(store, 'd').get(key.toString('hex'))!, 'hex');
  value[value.length - 1]! ^= 1;
  const batch = store.batch();
  batch.put(key, value);
  batch.write(() => undefined);
  store.drain();
  expect(() => allChunks(store, readerOf(store))).toThrow(
    'the value of the key "k7" is not what was written',
  );
});

describe('at the start', () => {
  async function partial(index: number): Promise<Replica> {
    const script = senderScript();
    const from = script.replica.store;
    const receiver = new LogScript();
    while (receiver.entries.length < index) receiver.command('SET', 'k', 'v');
    receiver.replica.checkpoint();
    const to = receiver.replica.store;
    const writer = openWriter(to, { id: ID, header: readerOf(from).header });
    write(to, writer, allChunks(from, readerOf(from))[0]!);
    await receiver.replica.restart();
    return receiver.replica;
  }

  test('a part of a snapshot that is ahead of the state is kept', async () => {
    const { store } = await partial(3);
    expect(entriesUnder(store, 'p').size).toBe(1);
    expect(entriesUnder(store, 'd').size).toBeGreaterThan(1);
  });

  test('a part of a snapshot that the log has overtaken is cleared', async () => {
    const { store } = await partial(100);
    expect(store.size).toBe(2);
  });

  test('what lies there without a record of progress is cleared, or with one that is damaged', async () => {
    for (const value of [undefined, Buffer.from('?')]) {
      const { store } = await partial(3);
      const batch = store.batch();
      if (value === undefined) batch.delete(progressKey(1));
      else batch.put(progressKey(1), value);
      batch.write(() => undefined);
      store.drain();
      const receiver = await replicaOver(store);
      expect(receiver.store.size).toBe(2);
    }
  });

  test('a pointer to a generation that is not there is corruption', async () => {
    const to = new MemoryStore();
    transfer(senderScript().replica.store, to);
    const batch = to.batch();
    batch.delete(metaKey({ group: 1, generation: 1 }));
    batch.write(() => undefined);
    to.drain();
    await expect(replicaOver(to)).rejects.toThrow('generation 1 has no meta record');
  });
});
