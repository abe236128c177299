/**
 * What every `Stores` and `Store` must do, whoever implements it: classic-level and the simulated one run the
 * same tests, which is what allows the simulation to stand for the real one.
 */
import { Buffer } from 'node:buffer';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Store, StoreSnapshot, Stores } from '../../src/lib/env.ts';
import { InUseError } from '../../src/lib/errors.ts';

export interface StoreWorld {
  readonly stores: Stores;
  /** A path for a store, new in each world. */
  readonly path: string;
  /**
   * Lets the world go on until the promise settles: nothing to do in the real one, turns to run in a
   * simulated one.
   */
  until<T>(promise: Promise<T>): Promise<T>;
  end(): Promise<void>;
}

export function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'latin1'));
}

function text(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : Buffer.from(value).toString('latin1');
}

export function getMany(store: Store, keys: readonly string[]): Promise<(string | undefined)[]> {
  return new Promise((resolve, reject) => {
    store.getMany(keys.map(bytes), (error, values) =>
      error === null ? resolve(values.map(text)) : reject(error),
    );
  });
}

/** One batch: a string is put, undefined deletes. */
export function writeBatch(
  store: Store,
  entries: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  const batch = store.batch();
  for (const [key, value] of Object.entries(entries)) {
    if (value === undefined) batch.delete(bytes(key));
    else batch.put(bytes(key), bytes(value));
  }
  return new Promise((resolve, reject) => {
    batch.write((error) => (error === null ? resolve() : reject(error)));
  });
}

export function range(store: Store, from: string, to: string, limit = 1000): Promise<string[]> {
  return new Promise((resolve, reject) => {
    store.range({ from: bytes(from), to: bytes(to), limit }, (error, entries) => {
      if (error !== null) reject(error);
      else resolve(entries.map(([key, value]) => `${text(key)}=${text(value)}`));
    });
  });
}

function clear(store: Store, from: string, to: string): Promise<void> {
  return new Promise((resolve, reject) => {
    store.clear({ from: bytes(from), to: bytes(to) }, (error) =>
      error === null ? resolve() : reject(error),
    );
  });
}

export function storeConformance(name: string, makeWorld: () => Promise<StoreWorld>): void {
  describe(`${name} is a Store`, () => {
    let world: StoreWorld;
    let store: Store;

    beforeEach(async () => {
      world = await makeWorld();
      store = await world.until(world.stores.open(world.path));
    });

    afterEach(async () => {
      await world.until(store.close());
      await world.end();
    });

    const write = (entries: Readonly<Record<string, string | undefined>>) =>
      world.until(writeBatch(store, entries));
    const read = (...keys: string[]) => world.until(getMany(store, keys));
    const list = (from: string, to: string, limit?: number) => world.until(range(store, from, to, limit));

    test('a new store is empty', async () => {
      expect(await list('', '\xff')).toEqual([]);
      expect(await read('a')).toEqual([undefined]);
    });

    test('getMany gives one value per key, in the order asked, doubles included', async () => {
      await write({ a: '1', b: '2' });
      expect(await read('b', 'missing', 'a', 'b')).toEqual(['2', undefined, '1', '2']);
      expect(await read()).toEqual([]);
    });

    test('the last operation of a batch on a key wins', async () => {
      const batch = store.batch();
      batch.put(bytes('a'), bytes('1'));
      batch.delete(bytes('a'));
      batch.delete(bytes('b'));
      batch.put(bytes('b'), bytes('2'));
      await world.until(new Promise<void>((resolve) => batch.write(() => resolve())));
      expect(await read('a', 'b')).toEqual([undefined, '2']);
    });

    test('a batch that is not written changes nothing', async () => {
      store.batch().put(bytes('a'), bytes('1'));
      expect(await read('a')).toEqual([undefined]);
    });

    test('an empty batch can be written', async () => {
      await write({});
      expect(await list('', '\xff')).toEqual([]);
    });

    test('deleting a missing key is no error', async () => {
      await write({ a: undefined });
      expect(await read('a')).toEqual([undefined]);
    });

    test('batches written one behind the other take effect in that order', async () => {
      await world.until(
        Promise.all([1, 2, 3, 4, 5].map((i) => writeBatch(store, { a: `${i}`, [`k${i}`]: 'x' }))),
      );
      expect(await read('a', 'k1', 'k5')).toEqual(['5', 'x', 'x']);
    });

    test('range includes its start, excludes its end, and goes in the order of bytes', async () => {
      await write({ b: '2', a: '1', '\x00': '0', '\xff': '5', '\x80': '4', ab: '3' });
      expect(await list('', '\xff')).toEqual(['\x00=0', 'a=1', 'ab=3', 'b=2', '\x80=4']);
      expect(await list('a', 'b')).toEqual(['a=1', 'ab=3']);
      expect(await list('b', 'a')).toEqual([]);
      expect(await list('a', 'a')).toEqual([]);
    });

    test('range stops at its limit', async () => {
      await write({ a: '1', b: '2', c: '3' });
      expect(await list('', '\xff', 2)).toEqual(['a=1', 'b=2']);
      expect(await list('', '\xff', 3)).toEqual(['a=1', 'b=2', 'c=3']);
    });

    test('range gives no more of a value than was asked for, also from a snapshot', async () => {
      await write({ a: '', b: '12', c: '123', d: '1234' });
      const wanted = { from: bytes('a'), to: bytes('e'), limit: 10, valueBytes: 3 };
      for (const source of [store, store.snapshot()]) {
        const values = await world.until(
          new Promise<string[]>((resolve, reject) => {
            source.range(wanted, (error, entries) =>
              error === null ? resolve(entries.map(([, value]) => text(value)!)) : reject(error),
            );
          }),
        );
        expect(values).toEqual(['', '12', '123', '123']);
      }
    });

    test('range ends with the entry that fills its bytes, also from a snapshot, and gives one at least', async () => {
      await write({ a: '1234', b: '', c: '12', d: '1' });
      const count = (source: Store | StoreSnapshot, bytesMax: number, valueBytes?: number) =>
        new Promise<number>((resolve, reject) => {
          const wanted = { from: bytes('a'), to: bytes('z'), limit: 10, bytesMax };
          source.range(valueBytes === undefined ? wanted : { ...wanted, valueBytes }, (error, entries) =>
            error === null ? resolve(entries.length) : reject(error),
          );
        });
      const snapshot = store.snapshot();
      for (const source of [store, snapshot]) {
        const counts: number[] = [];
        for (const bytesMax of [1, 5, 6, 7, 9, 10, 100]) {
          counts.push(await world.until(count(source, bytesMax)));
        }
        expect(counts).toEqual([1, 1, 2, 3, 3, 4, 4]);
        expect(await world.until(count(source, 6, 1))).toBe(4);
      }
      snapshot.close();
    });

    test('clear removes exactly its range', async () => {
      await write({ a: '1', b: '2', c: '3', d: '4' });
      await world.until(clear(store, 'b', 'd'));
      expect(await list('', '\xff')).toEqual(['a=1', 'd=4']);
    });

    test('keys and values keep every byte, and a value may be empty', async () => {
      const all = Array.from({ length: 256 }, (_, i) => String.fromCharCode(i)).join('');
      await write({ [all]: all, empty: '' });
      expect(await read(all, 'empty')).toEqual([all, '']);
    });

    test('callbacks never come before the call has returned', async () => {
      let returned = false;
      const early: string[] = [];
      const note = (what: string, resolve: () => void) => () => {
        if (!returned) early.push(what);
        resolve();
      };
      const calls = [
        new Promise<void>((resolve) => store.getMany([], note('getMany', resolve))),
        new Promise<void>((resolve) => store.batch().write(note('write', resolve))),
        new Promise<void>((resolve) =>
          store.range({ from: bytes(''), to: bytes(''), limit: 1 }, note('range', resolve)),
        ),
        new Promise<void>((resolve) =>
          store.clear({ from: bytes(''), to: bytes('') }, note('clear', resolve)),
        ),
      ];
      returned = true;
      await world.until(Promise.all(calls));
      expect(early).toEqual([]);
    });

    test('what was written is there after close and open', async () => {
      await write({ a: '1', b: '2' });
      await write({ b: undefined, c: '3' });
      await world.until(store.close());
      store = await world.until(world.stores.open(world.path));
      expect(await list('', '\xff')).toEqual(['a=1', 'c=3']);
    });

    test('close waits for the write under way', async () => {
      const written = writeBatch(store, { a: '1' });
      await world.until(Promise.all([written, store.close()]));
      store = await world.until(world.stores.open(world.path));
      expect(await read('a')).toEqual(['1']);
    });

    test('a store can be opened once at a time', async () => {
      await expect(world.until(world.stores.open(world.path))).rejects.toBeInstanceOf(InUseError);
      await write({ a: '1' });
      expect(await read('a')).toEqual(['1']);
    });
  });
}
