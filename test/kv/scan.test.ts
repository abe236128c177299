/**
 * SCAN, KEYS and RANDOMKEY over keys that are partly in memory, partly in the store and partly on the way between the two.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { positionOf } from '../../src/kv/position.ts';
import { EncodedArrayReply, ErrorReply, type Reply } from '../../src/resp/reply.ts';
import { command, entryOf, OPEN, type Op, Replica } from './replica.ts';

class Keys {
  readonly replica: Replica;
  index = 0;
  seq = 0;
  nowMs = 1000;

  constructor(memoryBytesMax = 1 << 20) {
    this.replica = new Replica({ memoryBytesMax });
    this.replica.apply([entryOf(++this.index, this.nowMs, [OPEN])]);
  }

  run(...ops: Op[]): Reply {
    this.replica.apply([entryOf(++this.index, this.nowMs, [{ session: 1, firstSeq: this.seq + 1, ops }])]);
    this.seq += ops.length;
    return this.replica.replies.at(-1)!;
  }

  page(cursor: string, ...options: string[]): { cursor: string; names: string[] } {
    return pageOf(this.replica.read(['SCAN', cursor, ...options]));
  }

  scan(...options: string[]): string[] {
    const names: string[] = [];
    let cursor = '0';
    do {
      const page = this.page(cursor, ...options);
      names.push(...page.names);
      cursor = page.cursor;
    } while (cursor !== '0');
    return names;
  }

  keys(pattern = '*'): string[] {
    return namesOf(this.replica.read(['KEYS', pattern])).sort();
  }
}

function text(reply: Reply): string {
  return Buffer.from(reply as Uint8Array).toString('latin1');
}

function pageOf(reply: Reply | undefined): { cursor: string; names: string[] } {
  const [cursor, names] = reply as [Reply, Reply[]];
  return { cursor: text(cursor), names: names.map(text) };
}

function namesOf(reply: Reply | undefined): string[] {
  if (!(reply instanceof EncodedArrayReply)) throw new Error('KEYS gives an encoded array');
  const lines = Buffer.concat(reply.chunks).toString('latin1').split('\r\n');
  const names = lines.filter((_, i) => i % 2 === 1);
  expect(names.length).toBe(reply.count);
  return names;
}

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `key:${i}`);
}

describe('SCAN', () => {
  test('returns every key once, wherever it lies', () => {
    const keys = new Keys(20_000);
    const names = numbered(500);
    for (const name of names.slice(0, 300)) keys.run(command('SET', name, 'v'));
    keys.replica.checkpoint();
    for (const name of names.slice(300)) keys.run(command('SET', name, 'v'));
    for (const count of ['1', '7', '100', '1000']) {
      expect(keys.scan('COUNT', count).sort()).toEqual(names.slice().sort());
    }
    expect(keys.keys()).toEqual(names.slice().sort());
  });

  test('goes on from the same cursor at a server that has come back', async () => {
    const keys = new Keys();
    for (const name of numbered(100)) keys.run(command('SET', name, 'v'));
    const first = keys.page('0', 'COUNT', '40');
    keys.replica.checkpoint();
    await keys.replica.restart();
    const names = [...first.names];
    for (let cursor = first.cursor; cursor !== '0'; ) {
      const page = keys.page(cursor);
      names.push(...page.names);
      cursor = page.cursor;
    }
    expect(names.sort()).toEqual(numbered(100).sort());
  });

  test('counts the keys that it looks at, so a pattern that matches nothing gives empty pages', () => {
    const keys = new Keys();
    for (const name of numbered(50)) keys.run(command('SET', name, 'v'));
    const page = keys.page('0', 'MATCH', 'other*', 'COUNT', '10');
    expect(page.names).toEqual([]);
    expect(page.cursor).not.toBe('0');
    expect(keys.scan('MATCH', 'key:1?').length).toBe(10);
    expect(keys.scan('TYPE', 'string').length).toBe(50);
    expect(keys.scan('TYPE', 'list')).toEqual([]);
  });

  test('shows no key that has expired, and none of another database', () => {
    const keys = new Keys();
    keys.run(command('SET', 'a', 'v', 'PX', '100'), command('SET', 'b', 'v'), {
      kind: 'command',
      argv: ['SET', 'c', 'v'],
      db: 1,
    });
    keys.nowMs += 101;
    keys.run({ kind: 'advance' });
    expect([keys.scan(), keys.keys()]).toEqual([['b'], ['b']]);
  });

  test('is not answered while a key is expired by the clock of the reader and not by the log', () => {
    const keys = new Keys();
    keys.run(command('SET', 'a', 'v', 'PX', '100'));
    for (const argv of [['SCAN', '0'], ['KEYS', '*'], ['RANDOMKEY']]) {
      expect(keys.replica.read(argv, keys.nowMs + 101)).toBeUndefined();
    }
  });

  test('takes the cursors that Redis takes', () => {
    const keys = new Keys();
    keys.run(command('SET', 'a', 'v'));
    for (const cursor of ['+0', '00', '-0', '']) expect(keys.page(cursor).names).toEqual(['a']);
    for (const cursor of ['18446744073709551615', '-1', `${2n ** 60n}`]) {
      expect(keys.page(cursor)).toEqual({ cursor: '0', names: [] });
    }
    for (const cursor of ['x', '1x', ' 1', '18446744073709551616']) {
      expect(keys.replica.read(['SCAN', cursor])).toEqual(new ErrorReply('ERR', 'invalid cursor'));
    }
    expect(keys.replica.read(['SCAN', '0', 'COUNT', '0'])).toEqual(new ErrorReply('ERR', 'syntax error'));
  });

  test('returns keys that share a position together', () => {
    // Two names with the same slot and the same hash: found by trying.
    const byPosition = new Map<number, string>();
    let pair: string[] = [];
    for (let i = 0; pair.length === 0; i++) {
      const name = `{t}${i}`;
      const other = byPosition.get(positionOf(name));
      if (other !== undefined) pair = [other, name];
      byPosition.set(positionOf(name), name);
    }
    const keys = new Keys();
    keys.run(command('SET', pair[0]!, 'v'));
    keys.replica.checkpoint();
    keys.run(command('SET', pair[1]!, 'v'));
    expect(keys.page('0', 'COUNT', '1')).toEqual({ cursor: expect.any(String), names: expect.any(Array) });
    expect(keys.scan('COUNT', '1').sort()).toEqual(pair.slice().sort());
    keys.replica.checkpoint();
    expect(keys.scan('COUNT', '1').sort()).toEqual(pair.slice().sort());
  });
});

test('RANDOMKEY finds each of a few keys now and then, and nothing in an empty database', () => {
  let chance = 0;
  const replica = new Replica({ chance: () => (chance = (chance + 0.381) % 1) });
  replica.apply([
    entryOf(1, 1000, [OPEN]),
    entryOf(2, 1000, [{ session: 1, firstSeq: 1, ops: [command('MSET', 'a', '1', 'b', '2', 'c', '3')] }]),
  ]);
  const seen = new Set(Array.from({ length: 50 }, () => text(replica.read(['RANDOMKEY'])!)));
  expect([...seen].sort()).toEqual(['a', 'b', 'c']);
  replica.apply([entryOf(3, 1000, [{ session: 1, firstSeq: 2, ops: [command('FLUSHDB')] }])]);
  expect(replica.read(['RANDOMKEY'])).toBeNull();
});

type Step =
  | { readonly do: 'set' | 'del' | 'expire'; readonly key: number }
  | { readonly do: 'checkpoint' | 'fail' | 'swap' | 'flush' | 'time' | 'page' };

const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constantFrom('set', 'del', 'expire'), key: fc.nat(40) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('page') }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('checkpoint', 'fail', 'time') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('swap', 'flush') }) },
) as fc.Arbitrary<Step>;

test('a scan returns what was there all the time exactly once, and nothing that never was', () => {
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 20, maxLength: 120 }),
      fc.constantFrom(2000, 1 << 20),
      (steps, memory) => {
        const keys = new Keys(memory);
        /** By database: what is there, and of the scan under way in database 0 what was, ever and always. */
        let databases = [new Map<string, number>(), new Map<string, number>()];
        let always = new Set<string>();
        let ever = new Set<string>();
        let cursor = '0';
        let seen: string[] = [];
        const live = () => [...databases[0]!].filter(([, at]) => at >= keys.nowMs).map(([name]) => name);
        const note = (): void => {
          const now = new Set(live());
          always = new Set([...always].filter((name) => now.has(name)));
          for (const name of now) ever.add(name);
        };
        for (const each of steps) {
          const name = 'key' in each ? `key:${each.key}` : '';
          if (each.do === 'set') {
            keys.run(command('SET', name, 'v'.repeat(50)));
            databases[0]!.set(name, Number.POSITIVE_INFINITY);
          } else if (each.do === 'del') {
            keys.run(command('DEL', name));
            databases[0]!.delete(name);
          } else if (each.do === 'expire') {
            keys.run(command('SET', name, 'v', 'PX', '50'));
            databases[0]!.set(name, keys.nowMs + 50);
          } else if (each.do === 'time') {
            keys.nowMs += 30;
            keys.run({ kind: 'advance' });
          } else if (each.do === 'swap') {
            keys.run(command('SWAPDB', '0', '1'));
            databases = [databases[1]!, databases[0]!];
          } else if (each.do === 'flush') {
            keys.run(command('FLUSHDB'));
            databases[0]!.clear();
          } else if (each.do === 'checkpoint' || each.do === 'fail') {
            if (each.do === 'fail') keys.replica.store.failWrites = 1;
            keys.replica.checkpoint();
            for (const range of keys.replica.machine.takeGarbage()) keys.replica.store.clear(range, () => {});
          } else {
            if (cursor === '0') {
              always = new Set(live());
              ever = new Set();
              seen = [];
            }
            note();
            const page = keys.page(cursor, 'COUNT', '5');
            seen.push(...page.names);
            cursor = page.cursor;
            expect(new Set(page.names).size).toBe(page.names.length);
            for (const found of page.names) expect(live()).toContain(found);
            if (cursor === '0') {
              for (const wanted of always) expect(seen.filter((found) => found === wanted)).toEqual([wanted]);
              for (const found of seen) expect(ever).toContain(found);
            }
            expect(keys.keys()).toEqual(live().sort());
          }
          note();
        }
      },
    ),
    { numRuns: 150 },
  );
});
