import { expect, test } from 'vitest';
import { SystemRandom } from '../../src/io/random.ts';

const random = new SystemRandom();

test('below gives whole numbers in range, and each of a few', () => {
  const seen = new Set<number>();
  for (let i = 0; i < 1000; i++) seen.add(random.below(5));
  expect([...seen].sort()).toEqual([0, 1, 2, 3, 4]);
  expect(random.below(1)).toBe(0);
});

test('below reaches over 32 bits up to 2^48', () => {
  let highest = 0;
  for (let i = 0; i < 100; i++) {
    const drawn = random.below(2 ** 48);
    expect(Number.isSafeInteger(drawn) && drawn >= 0 && drawn < 2 ** 48).toBe(true);
    highest = Math.max(highest, drawn);
  }
  expect(highest).toBeGreaterThan(2 ** 40);
});

test('a bound of 0, over 2^48, or with a fraction is a bug of the caller', () => {
  for (const bound of [0, -1, 1.5, 2 ** 48 + 1, Number.NaN])
    expect(() => random.below(bound)).toThrow('bound');
});

test('bytes gives as many as asked for, not the same twice', () => {
  expect(random.bytes(0)).toHaveLength(0);
  expect(random.bytes(32)).toHaveLength(32);
  expect(random.bytes(32)).not.toEqual(random.bytes(32));
});
