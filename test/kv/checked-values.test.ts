/**
 * What the disk gives back is what was written for this key, or the server says so and stops.
 */
import { describe, expect, test } from 'vitest';
import { positionOf } from '../../src/kv/position.ts';
import { printable, VALUE_HEADER_BYTES } from '../../src/kv/records.ts';
import { StoredKeys } from '../../src/kv/stored-keys.ts';
import { CorruptionError } from '../../src/lib/errors.ts';
import { LogScript } from './log-script.ts';
import type { MemoryStore } from './memory-store.ts';
import { REGION } from './replica.ts';

function keyOf(name: string): Uint8Array {
  return new StoredKeys(REGION, 0).data(name, positionOf(name));
}

function stored(store: MemoryStore, name: string): Uint8Array {
  let found: Uint8Array | undefined;
  store.getMany([keyOf(name)], (_, values) => {
    found = values[0];
  });
  store.drain();
  return found!;
}

/** A server whose disk gives `value` for the key, and what it says when the key is read. */
async function reading(script: LogScript, name: string, value: Uint8Array): Promise<Error | undefined> {
  const { replica } = script;
  const batch = replica.store.batch();
  batch.put(keyOf(name), value);
  batch.write(() => undefined);
  replica.store.drain();
  await replica.restart();
  replica.fatal.length = 0;
  try {
    script.get(name);
  } catch (error) {
    expect((error as Error).message).toBe('0 answers to one read');
  }
  return replica.fatal[0];
}

async function saved(...commands: string[][]): Promise<LogScript> {
  const script = new LogScript();
  for (const argv of commands) script.command(...argv);
  await script.forget();
  return script;
}

describe('a value read from the store', () => {
  test('is refused when any bit of it has flipped, or its end is missing', async () => {
    for (const text of ['', 'v', 'some text', 'x'.repeat(600)]) {
      const script = await saved(['SET', 'key', text, 'PX', '100000']);
      const whole = stored(script.replica.store, 'key');
      expect(whole.length).toBe(VALUE_HEADER_BYTES + text.length);
      const damaged: Uint8Array[] = [new Uint8Array(0)];
      for (let at = 0; at < whole.length; at++) {
        damaged.push(whole.map((byte, i) => (i === at ? byte ^ (1 << (at % 8)) : byte)));
        if (at % 16 === 0) damaged.push(whole.subarray(0, at));
      }
      damaged.push(whole.subarray(0, whole.length - 1));
      for (const each of damaged) {
        const error = await reading(script, 'key', each);
        expect(error).toBeInstanceOf(CorruptionError);
        expect(error?.message).toBe(
          'the store is damaged: the value of the key "key" is not what was written for it',
        );
      }
      expect(await reading(script, 'key', whole)).toBeUndefined();
    }
  });

  test('is refused when it is that of another key, or an older one with a new version', async () => {
    const script = await saved(['SET', 'a', 'same'], ['SET', 'b', 'same']);
    const { store } = script.replica;
    const [a, b] = [stored(store, 'a'), stored(store, 'b')];
    expect((await reading(script, 'a', b))?.message).toContain('the key "a"');
    const version = Uint8Array.from(a);
    version.set(b.subarray(9, 17), 9);
    expect((await reading(script, 'a', version))?.message).toContain('the key "a"');
  });

  test('is refused when an entry of the log needs it too', async () => {
    const script = await saved(['SET', 'a', 'v']);
    const batch = script.replica.store.batch();
    batch.put(keyOf('a'), Uint8Array.of(1));
    batch.write(() => undefined);
    script.replica.store.drain();
    await script.replica.restart();
    script.command('APPEND', 'a', 'w');
    expect(script.replica.fatal[0]).toBeInstanceOf(CorruptionError);
    expect(script.replica.machine.appliedIndex).toBe(script.entries.length - 1);
  });
});

test('a key in an error is printable and short', () => {
  expect(printable('a"b\\c\n\xff')).toBe('"a\\"b\\\\c\\x0a\\xff"');
  expect(printable('k'.repeat(64))).toBe(`"${'k'.repeat(64)}"`);
  expect(printable('k'.repeat(65))).toBe(`"${'k'.repeat(64)}"...`);
});
