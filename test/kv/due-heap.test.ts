import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DueHeap } from '../../src/kv/due-heap.ts';

test('the heap gives what it holds in the order of time, whatever comes in between', () => {
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.nat(50) },
    { weight: 2, arbitrary: fc.constantFrom('pop' as const) },
    { weight: 1, arbitrary: fc.constantFrom('clear' as const, 'pop' as const, 'pop' as const) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const heap = new DueHeap();
      let twin: { name: string; atMs: number }[] = [];
      const compare = (): void => {
        expect(heap.size).toBe(twin.length);
        expect(heap.first?.atMs).toBe(
          twin.length === 0 ? undefined : Math.min(...twin.map(({ atMs }) => atMs)),
        );
      };
      const pop = (): void => {
        const popped = heap.pop();
        // Of several at the same time any may come first.
        if (popped === undefined) expect(twin).toEqual([]);
        else expect(twin).toContain(popped);
        if (popped !== undefined) expect(twin.every(({ atMs }) => atMs >= popped.atMs)).toBe(true);
        twin = twin.filter((key) => key !== popped);
      };
      for (const [i, each] of steps.entries()) {
        if (each === 'pop') pop();
        else if (each === 'clear') {
          heap.clear();
          twin = [];
        } else {
          const key = { name: `k${i}`, atMs: each };
          heap.push(key);
          twin.push(key);
        }
        compare();
      }
      while (twin.length > 0) pop();
      expect([heap.pop(), heap.first, heap.size]).toEqual([undefined, undefined, 0]);
    }),
    { numRuns: 300 },
  );
});
