/**
 * Both ends of a snapshot over stores in memory, for tests: each step is answered when the store has been asked.
 */

import { SnapshotReader } from '../../src/kv/snapshot-reader.ts';
import { type SnapshotOffer, SnapshotWriter } from '../../src/kv/snapshot-writer.ts';
import { fromLatin1 } from '../../src/lib/bytes.ts';
import type { MemoryStore } from './memory-store.ts';

export const GROUP = 1;
export const ID = new Uint8Array(16).fill(7);

/** What the call answers when the store answers. Throws its error. */
function answered<T>(store: MemoryStore, call: (done: (error: Error | null, result: T) => void) => void): T {
  let answers = 0;
  let failure: Error | null = null;
  let result: T | undefined;
  call((error, value) => {
    answers++;
    failure = error;
    result = value;
  });
  if (answers > 0) throw new Error('the answer came before the call had returned');
  while (answers === 0 && store.turn());
  if (answers !== 1) throw new Error(`${answers} answers`);
  if (failure !== null) throw failure;
  return result as T;
}

export function openReader(store: MemoryStore): SnapshotReader | undefined {
  return answered<SnapshotReader | undefined>(store, (done) => SnapshotReader.open(store, GROUP, done));
}

export function readerOf(store: MemoryStore): SnapshotReader {
  const reader = openReader(store);
  if (reader === undefined) throw new Error('there was no checkpoint');
  return reader;
}

export function nextChunk(store: MemoryStore, reader: SnapshotReader): Uint8Array | undefined {
  return answered<Uint8Array | undefined>(store, (done) => reader.next(done));
}

export function allChunks(store: MemoryStore, reader: SnapshotReader): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = nextChunk(store, reader);
    if (chunk === undefined) return chunks;
    chunks.push(chunk);
  }
}

export function openWriter(store: MemoryStore, offer: SnapshotOffer): SnapshotWriter {
  const writer = answered<SnapshotWriter | undefined>(store, (done) =>
    SnapshotWriter.open(store, GROUP, offer, done),
  );
  return writer!;
}

export function write(store: MemoryStore, writer: SnapshotWriter, chunk: Uint8Array): void {
  answered<void>(store, (done) => writer.write(chunk, (error) => done(error, undefined)));
}

export function finish(store: MemoryStore, writer: SnapshotWriter): void {
  answered<void>(store, (done) => writer.finish((error) => done(error, undefined)));
}

export function flip(store: MemoryStore, writer: SnapshotWriter): void {
  answered<void>(store, (done) => writer.flip((error) => done(error, undefined)));
}

/** The whole way, from the last checkpoint of one store to the state of another. */
export function transfer(from: MemoryStore, to: MemoryStore, id = ID): void {
  const reader = readerOf(from);
  const writer = openWriter(to, { id, header: reader.header });
  reader.seek(writer.resumeAfter);
  for (const chunk of allChunks(from, reader)) write(to, writer, chunk);
  finish(to, writer);
  flip(to, writer);
  reader.close();
  writer.close();
}

/** What the store holds under a family, by key in hexadecimal. */
export function entriesUnder(store: MemoryStore, family: string): Map<string, string> {
  const found = new Map<string, string>();
  const from = fromLatin1(family);
  store.range({ from, to: Uint8Array.of(from[0]! + 1), limit: 100_000 }, (_, entries) => {
    for (const [key, value] of entries) {
      found.set(Buffer.from(key).toString('hex'), Buffer.from(value).toString('hex'));
    }
  });
  store.drain();
  return found;
}
