import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { SystemClock } from '../../src/io/clock.ts';

const clock = new SystemClock();

/** Resolves one turn of the event loop later. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test('monotonic time has fractions and does not go back', () => {
  let before = clock.monotonicMs();
  let fractions = false;
  for (let i = 0; i < 1000; i++) {
    const now = clock.monotonicMs();
    expect(now).toBeGreaterThanOrEqual(before);
    fractions ||= !Number.isInteger(now);
    before = now;
  }
  expect(fractions).toBe(true);
});

test('wall time is whole milliseconds since 1970', () => {
  expect(Number.isInteger(clock.wallMs())).toBe(true);
  expect(Math.abs(clock.wallMs() - Date.now())).toBeLessThan(1000);
});

test('a timer never fires early', async () => {
  const delaysMs = [0, 0.2, 1, 1.5, 3, 7.3, 12];
  const early: number[] = [];
  const startMs = clock.monotonicMs();
  await Promise.all(
    delaysMs.map(
      (delayMs) =>
        new Promise<void>((resolve) => {
          clock.after(delayMs, () => {
            if (clock.monotonicMs() - startMs < delayMs) early.push(delayMs);
            resolve();
          });
        }),
    ),
  );
  expect(early).toEqual([]);
});

test('a cancelled timer does not fire, and may be cancelled again', async () => {
  let fired = 0;
  const timer = clock.after(1, () => fired++);
  timer.cancel();
  timer.cancel();
  await sleep(5);
  expect(fired).toBe(0);
});

test('a timer may be cancelled after it has fired', async () => {
  let fired = 0;
  const timer = clock.after(0, () => fired++);
  await sleep(5);
  timer.cancel();
  expect(fired).toBe(1);
});

test('a timer of more than 2^31 milliseconds does not fire at once', async () => {
  let fired = 0;
  const timer = clock.after(2 ** 40, () => fired++);
  await sleep(5);
  timer.cancel();
  expect(fired).toBe(0);
});

test('the callbacks of one turn run in order at its end, after its promises', async () => {
  const calls: string[] = [];
  clock.endOfTurn(() => calls.push('first'));
  clock.endOfTurn(() => calls.push('second'));
  await Promise.resolve().then(() => calls.push('promise'));
  expect(calls).toEqual(['promise']);
  await turn();
  expect(calls).toEqual(['promise', 'first', 'second']);
});

test('a callback asked for at the end of a turn comes at the end of the next', async () => {
  const calls: string[] = [];
  clock.endOfTurn(() => {
    calls.push('first');
    clock.endOfTurn(() => calls.push('next'));
  });
  await turn();
  expect(calls).toEqual(['first']);
  await turn();
  expect(calls).toEqual(['first', 'next']);
});
