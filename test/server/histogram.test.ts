import { describe, expect, test } from 'vitest';
import { Histogram } from '../../src/server/histogram.ts';

/** A generator of its own, so that a failure can be repeated. */
function* durations(count: number): Generator<number> {
  let state = 12_345;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    // From a tenth of a microsecond to 100 seconds, each power of ten as often as the others.
    yield 10 ** ((state / 2 ** 32) * 9 - 1);
  }
}

describe('a histogram', () => {
  test('is empty in the beginning, and after a reset', () => {
    const histogram = new Histogram();
    const isEmpty = () =>
      histogram.count === 0 && histogram.percentileUsec(99) === 0 && histogram.cumulative().length === 0;
    expect(isEmpty()).toBe(true);
    histogram.record(5);
    expect(isEmpty()).toBe(false);
    histogram.reset();
    expect(isEmpty()).toBe(true);
  });

  test('knows a single duration exactly', () => {
    for (const usec of [0.5, 1, 3, 17.25, 1000, 123_456, 137_000_000]) {
      const histogram = new Histogram();
      histogram.record(usec);
      for (const percent of [0, 50, 100])
        expect(histogram.percentileUsec(percent), `${usec}`).toBeCloseTo(usec, 6);
    }
  });

  test('has percentiles that are at most a 32nd over the true ones, and never under them', () => {
    const histogram = new Histogram();
    const all = [...durations(10_000)];
    for (const usec of all) histogram.record(usec);
    all.sort((a, b) => a - b);
    for (const percent of [0, 1, 10, 25, 50, 75, 90, 99, 99.9, 100]) {
      const exact = all[Math.max(1, Math.ceil((percent / 100) * all.length)) - 1]!;
      const found = histogram.percentileUsec(percent);
      expect(found, `${percent}`).toBeGreaterThanOrEqual(exact);
      // Below a microsecond the buckets are as wide as above it.
      expect(found, `${percent}`).toBeLessThanOrEqual(exact + Math.max(exact, 1.024) / 32 + 1e-9);
    }
  });

  test('counts up by powers of two, as Redis names them, without those at which nothing is added', () => {
    const histogram = new Histogram();
    for (const usec of [0.3, 1, 1.5, 3, 3, 20, 100, 70_000]) histogram.record(usec);
    expect(histogram.cumulative()).toEqual([
      { usec: 1, count: 2 },
      { usec: 2, count: 3 },
      { usec: 4, count: 5 },
      { usec: 33, count: 6 },
      { usec: 132, count: 7 },
      { usec: 135_266, count: 8 },
    ]);
  });

  test('takes what is longer than its last band, nothing, and less than nothing', () => {
    const histogram = new Histogram();
    for (const usec of [1e12, 0, -1]) histogram.record(usec);
    expect(histogram.count).toBe(3);
    expect(histogram.cumulative().map(({ count }) => count)).toEqual([2, 3]);
    expect(histogram.percentileUsec(100)).toBeGreaterThan(137e6);
  });
});
