import { describe, expect, test } from 'vitest';
import { inspectStore, PROBLEMS_MAX, type StoreReport } from '../../src/kv/inspect.ts';
import { positionOf } from '../../src/kv/position.ts';
import { metaKey, StoredKeys, sessionKey } from '../../src/kv/stored-keys.ts';
import { ConfigError } from '../../src/lib/errors.ts';
import { LogScript, once } from './log-script.ts';
import { MemoryStore } from './memory-store.ts';
import { commandIn, REGION } from './replica.ts';
import { ID, nextChunk, openWriter, readerOf, transfer, write } from './snapshots.ts';

function inspect(store: MemoryStore, onProgress?: (report: StoreReport) => void): StoreReport {
  let answer: [Error | null, StoreReport | undefined] | undefined;
  inspectStore(store, 1, onProgress === undefined ? {} : { onProgress }, (error, report) => {
    answer = [error, report];
  });
  store.drain();
  const [error, report] = answer!;
  if (error !== null) throw error;
  return report!;
}

function change(store: MemoryStore, key: Uint8Array, value: Uint8Array | undefined): void {
  const batch = store.batch();
  if (value === undefined) batch.delete(key);
  else batch.put(key, value);
  batch.write(() => undefined);
  store.drain();
}

function storedUnder(store: MemoryStore, key: Uint8Array): Uint8Array {
  let value: Uint8Array | undefined;
  store.getMany([key], (_, values) => {
    value = values[0];
  });
  store.drain();
  return value!;
}

const keys = new StoredKeys(REGION, 0);
const keyOf = (name: string) => keys.data(name, positionOf(name));

function savedScript(): LogScript {
  const script = new LogScript();
  const session = script.openSession();
  script.run(once(session, 1, 0, 'SET', 'a', '1'));
  for (let i = 0; i < 20; i++) script.command('SET', `k${i}`, 'v');
  script.command('SET', 'short', 'v', 'PX', '100');
  script.run(commandIn(4, 'SET', 'x', 'y'), commandIn(5, 'SET', 'gone', 'y'));
  script.replica.checkpoint();
  script.run(commandIn(5, 'FLUSHDB'));
  script.replica.checkpoint();
  return script;
}

describe('a store that is looked at', () => {
  test('and is whole has no problems, garbage and all', () => {
    const script = savedScript();
    const pages: StoreReport[] = [];
    const report = inspect(script.replica.store, (page) => pages.push(page));
    const { appliedIndex } = script.replica.machine;
    expect(report).toEqual({
      ...{ appliedIndex, appliedTerm: 1, generation: 0, keys: 23, sessions: 1 },
      ...{ bytes: expect.any(Number), problems: [] },
    });
    expect(pages).toEqual([report]);
  });

  test('after a snapshot was received is that of the sender, and what was there before is garbage', () => {
    const script = savedScript();
    const old = new LogScript();
    old.command('SET', 'old', 'v');
    old.replica.checkpoint();
    transfer(script.replica.store, old.replica.store);
    const { keys: count, generation, problems } = inspect(old.replica.store);
    expect([count, generation, problems]).toEqual([23, 1, []]);
  });

  test('is read in pages', () => {
    const script = new LogScript();
    for (let i = 0; i < 5; i++) script.command('SETRANGE', `k${i}`, '600000', 'x');
    script.replica.checkpoint();
    const seen: number[] = [];
    expect(inspect(script.replica.store, (page) => seen.push(page.keys)).problems).toEqual([]);
    expect(seen).toEqual([2, 4, 5]);
  });

  test('may be empty', () => {
    expect(inspect(new MemoryStore())).toEqual({
      ...{ appliedIndex: 0, appliedTerm: 0, generation: 0, keys: 0, sessions: 0, bytes: 0, problems: [] },
    });
  });

  test('may be that of a new server which is taking in its first snapshot', () => {
    const { store } = savedScript().replica;
    const to = new MemoryStore();
    const reader = readerOf(store);
    const writer = openWriter(to, { id: ID, header: reader.header });
    write(to, writer, nextChunk(store, reader)!);
    const { keys: count, problems } = inspect(to);
    expect([count, problems]).toEqual([0, []]);
  });

  const damages: readonly (readonly [string, (store: MemoryStore) => void, readonly string[]])[] = [
    [
      'a flipped bit in a value',
      (store) => {
        const value = Uint8Array.from(storedUnder(store, keyOf('k3')));
        value[value.length - 1]! ^= 1;
        change(store, keyOf('k3'), value);
      },
      ['the value of the key "k3" is not what was written for it', 'database 0 has 21 keys instead of 22'],
    ],
    [
      'a key that is missing',
      (store) => change(store, keyOf('k3'), undefined),
      ['database 0 has 21 keys instead of 22'],
    ],
    [
      'an old value of a key',
      (store) => {
        const other = savedScript();
        other.command('SET', 'k3', 'other');
        other.replica.checkpoint();
        change(store, keyOf('k3'), storedUnder(other.replica.store, keyOf('k3')));
      },
      ['database 0 has other keys or values: its hash differs'],
    ],
    [
      'a key at a place that is not its own',
      (store) => {
        change(store, keys.data('k3', 5), storedUnder(store, keyOf('k3')));
        change(store, keyOf('k3'), undefined);
      },
      ['the key "k3" is at another position'],
    ],
    [
      'a key in a space that never was',
      (store) => change(store, new StoredKeys(REGION, 99).data('k3', 5), storedUnder(store, keyOf('k3'))),
      ['the key "k3" is in space 99, which never was'],
    ],
    [
      'a key that nobody would find to be due',
      (store) => change(store, keys.due('short', 1100), undefined),
      ['nothing tells when the key "short" expires'],
    ],
    [
      'a session that is missing',
      (store) => change(store, sessionKey(REGION, 2), undefined),
      ['a reply is without its session 2', 'there are 0 sessions with 0 replies instead of 1 with 1'],
    ],
    [
      'a reply that is damaged',
      (store) => change(store, sessionKey(REGION, 2, 1), Uint8Array.of(1, 2, 3, 4, 5)),
      ['reply 1 of session 2 is not what was', 'there are 1 sessions with 0 replies instead of 1 with 1'],
    ],
    [
      'a key of another group',
      (store) => change(store, metaKey({ group: 7, generation: 0 }), Uint8Array.of(1)),
      ['the store holds a key of group 7'],
    ],
    ['a key of no kind', (store) => change(store, Uint8Array.of(1, 2), Uint8Array.of(1)), ['no kind (0102)']],
    [
      'a meta record that is missing',
      (store) => change(store, metaKey(REGION), undefined),
      ['there are records, and no meta record'],
    ],
    [
      'a meta record that is damaged',
      (store) => change(store, metaKey(REGION), Uint8Array.of(4, 0, 0, 0, 0, 0)),
      ['malformed meta record'],
    ],
  ];
  test.each(damages)('has problems: %s', (_, damage, expected) => {
    const { store } = savedScript().replica;
    damage(store);
    const { problems } = inspect(store);
    expect(problems.slice(0, expected.length)).toEqual(expected.map((text) => expect.stringContaining(text)));
    expect(problems).toHaveLength(expected.length);
  });

  test('has no more problems than can be read', () => {
    const script = new LogScript();
    for (let i = 0; i < 200; i++) script.command('SET', `k${i}`, 'v');
    script.replica.checkpoint();
    for (let i = 0; i < 200; i++) change(script.replica.store, keyOf(`k${i}`), Uint8Array.of(1));
    expect(inspect(script.replica.store).problems).toHaveLength(PROBLEMS_MAX);
  });

  test('of another version is refused', () => {
    const { store } = savedScript().replica;
    change(store, metaKey(REGION), Uint8Array.of(9, 0, 0, 0, 0, 0));
    expect(() => inspect(store)).toThrow(ConfigError);
  });
});
