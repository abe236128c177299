import { expect, test } from 'vitest';
import { SNAPSHOT_CHUNK_BYTES_MAX } from '../../src/kv/snapshot-format.ts';
import { StoredKeys, sessionKey } from '../../src/kv/stored-keys.ts';
import { bytesEqual, MalformedError } from '../../src/lib/bytes.ts';
import type { StoreRange } from '../../src/lib/env.ts';
import { LogScript } from './log-script.ts';
import { MemoryStore } from './memory-store.ts';
import { REGION } from './replica.ts';
import { allChunks, finish, flip, ID, nextChunk, openWriter, readerOf, write } from './snapshots.ts';

function saved(keys: number, valueBytes: number): LogScript {
  const script = new LogScript();
  for (let i = 0; i < keys; i++) script.command('SETRANGE', `k${i}`, String(valueBytes - 1), 'x');
  script.openSession();
  script.replica.checkpoint();
  return script;
}

test('a reader reads ahead by bytes: a chunk, however many keys there are and however long', () => {
  const { store } = saved(40, 50_000).replica;
  const asked: StoreRange[] = [];
  const snapshot = store.snapshot.bind(store);
  store.snapshot = () => {
    const view = snapshot();
    const range: typeof view.range = (wanted, done) => {
      asked.push(wanted);
      view.range(wanted, done);
    };
    return { range, close: () => view.close() };
  };
  const chunks = allChunks(store, readerOf(store));
  expect(chunks).toHaveLength(8);
  for (const { bytesMax, limit } of asked) {
    expect(limit === 1 || bytesMax === SNAPSHOT_CHUNK_BYTES_MAX).toBe(true);
  }
  expect(asked.length).toBeLessThan(3 * chunks.length + 16);
});

test('a reader that is closed while a chunk is awaited still gives it, and lets go of its view then', () => {
  const { store } = saved(3, 10).replica;
  let closed = 0;
  const snapshot = store.snapshot.bind(store);
  store.snapshot = () => ({ range: snapshot().range, close: () => closed++ });
  const reader = readerOf(store);
  const answers: unknown[] = [];
  reader.next((error, chunk) => answers.push(error, chunk?.length));
  reader.close();
  expect(closed).toBe(0);
  store.drain();
  expect([answers, closed]).toEqual([[null, expect.any(Number)], 1]);
  readerOf(store).close();
  expect(closed).toBe(2);
  expect(() => reader.next(() => undefined)).toThrow('a reader is read before it is closed');
});

test('a position that is none is refused', () => {
  const { store } = saved(3, 10).replica;
  const reader = readerOf(store);
  const elsewhere = new StoredKeys(REGION, 77).data('k', 5);
  const positions = [
    new Uint8Array(0),
    Uint8Array.of(0x6d, 1, 2),
    Uint8Array.of(0x64, 0),
    Uint8Array.of(0x64, ...elsewhere.subarray(9)),
  ];
  for (const position of positions) expect(() => reader.seek(position)).toThrow(MalformedError);
  reader.seek(Uint8Array.of(0x73, ...sessionKey(REGION, 2 ** 40).subarray(9)));
  expect(nextChunk(store, reader)).toBeUndefined();
});

test('a reader can be moved back, also from within a long value', () => {
  const { store } = saved(3, 700_000).replica;
  const reader = readerOf(store);
  const all = allChunks(store, reader);
  for (const before of [0, 1, 2, all.length]) {
    reader.seek(undefined);
    for (const chunk of all.slice(0, before)) expect(bytesEqual(nextChunk(store, reader)!, chunk)).toBe(true);
  }
  expect(nextChunk(store, reader)).toBeUndefined();
});

test('a receiver whose disk is full at the end goes on when there is room, and has lost nothing', () => {
  const { store } = saved(3, 400_000).replica;
  const to = new MemoryStore();
  const reader = readerOf(store);
  const open = () => openWriter(to, { id: ID, header: reader.header });
  let writer = open();
  for (const chunk of allChunks(store, reader)) write(to, writer, chunk);
  to.failWrites = 1;
  expect(() => finish(to, writer)).toThrow('write failed');
  writer = open();
  finish(to, writer);
  to.failWrites = 1;
  expect(() => flip(to, writer)).toThrow('write failed');
  writer = open();
  expect(writer.receivedEntries).toBe(writer.totalEntries);
  finish(to, writer);
  flip(to, writer);
});
