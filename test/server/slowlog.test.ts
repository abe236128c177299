import { describe, expect, test } from 'vitest';
import { fromLatin1, latin1 } from '../../src/lib/bytes.ts';
import { Client } from '../../src/resp/client.ts';
import { Slowlog } from '../../src/server/slowlog.ts';

const address = { host: '10.0.0.1', port: 1234 };
const client = new Client({ id: 1, remote: address, local: address, nowMs: 0, authenticated: true });

function command(name: string, ...words: string[]) {
  return { name, argv: words.map(fromLatin1), client, usec: 12.6 };
}

function words(slowlog: Slowlog, count = 100): string[] {
  return slowlog.newest(count).map(({ argv }) => argv.map(latin1).join(' '));
}

describe('the slow log', () => {
  test('says what is slow', () => {
    const slowlog = new Slowlog({ slowerThanUsec: 10_000, lengthMax: 2 });
    expect([9999.9, 10_000].map((usec) => slowlog.isSlow(usec))).toEqual([false, true]);
    slowlog.slowerThanUsec = 0;
    expect(slowlog.isSlow(0)).toBe(true);
    slowlog.slowerThanUsec = -1;
    expect(slowlog.isSlow(1e9)).toBe(false);
    slowlog.slowerThanUsec = 0;
    slowlog.lengthMax = 0;
    expect(slowlog.isSlow(1e9)).toBe(false);
  });

  test('keeps the newest, and numbers go on', () => {
    const slowlog = new Slowlog({ slowerThanUsec: 0, lengthMax: 3 });
    for (const key of 'abcde') slowlog.add(command('get', 'get', key), 1_700_000_000_999);
    expect(words(slowlog)).toEqual(['get e', 'get d', 'get c']);
    expect(words(slowlog, 2)).toEqual(['get e', 'get d']);
    expect(words(slowlog, 0)).toEqual([]);
    slowlog.lengthMax = 1;
    expect(slowlog.length).toBe(3);
    slowlog.add(command('get', 'get', 'f'), 0);
    expect(slowlog.newest(9)).toMatchObject([{ id: 5, usec: 13, address: '10.0.0.1:1234', clientName: '' }]);
    slowlog.reset();
    expect(slowlog.length).toBe(0);
    slowlog.add(command('get', 'get', 'g'), 1_700_000_000_999);
    expect(slowlog.newest(9)).toMatchObject([{ id: 6, atSeconds: 1_700_000_000 }]);
  });

  test('keeps copies, so that what a client sends next is not seen in it', () => {
    const slowlog = new Slowlog({ slowerThanUsec: 0, lengthMax: 3 });
    const { argv, ...others } = command('echo', 'echo', 'a');
    slowlog.add({ ...others, argv }, 0);
    argv[1]!.fill(0x78);
    expect(words(slowlog)).toEqual(['echo a']);
  });

  test('keeps little of what is long', () => {
    const slowlog = new Slowlog({ slowerThanUsec: 0, lengthMax: 9 });
    slowlog.add(command('echo', 'echo', 'x'.repeat(1_000_000)), 0);
    slowlog.add(command('del', 'del', ...Array.from({ length: 10_000 }, (_, i) => `${i}`)), 0);
    const [deleted, echoed] = slowlog.newest(2).map(({ argv }) => argv.map(latin1));
    expect(echoed).toEqual(['echo', `${'x'.repeat(128)}... (999872 more bytes)`]);
    expect(deleted).toHaveLength(32);
    expect(deleted!.slice(-2)).toEqual(['29', '... (9970 more arguments)']);
  });

  test('never holds a password', () => {
    const slowlog = new Slowlog({ slowerThanUsec: 0, lengthMax: 9 });
    slowlog.add(command('auth', 'AUTH', 'bob', 'geheim'), 0);
    slowlog.add(command('hello', 'HELLO', '3', 'AUTH', 'bob', 'geheim', 'SETNAME', 'x'), 0);
    slowlog.add(command('config|set', 'CONFIG', 'SET', 'timeout', '1', 'requirepass', 'geheim'), 0);
    expect(words(slowlog).join('\n')).not.toContain('geheim');
    expect(words(slowlog)[0]).toBe('CONFIG SET timeout 1 requirepass (redacted)');
  });
});
