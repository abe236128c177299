/** What puts values of one key together: the combiners with a name, and a function of the user's. */
import type { Job } from '../job.ts';
import { decodeValue, encodeValue } from './values.ts';

/** `values` has one at least. */
export type Combine = (key: string, values: Iterable<unknown>) => unknown;

export const COMBINER_NAMES = ['sum', 'min', 'max', 'count'] as const;
type CombinerName = (typeof COMBINER_NAMES)[number];

const STEPS: Readonly<Record<CombinerName, (a: number, b: number) => number>> = {
  sum: (a, b) => a + b,
  min: (a, b) => Math.min(a, b),
  max: (a, b) => Math.max(a, b),
  // Each value was made 1 when it was emitted.
  count: (a, b) => a + b,
};

/** What a combiner with a name makes of two numbers; undefined for others. */
export function namedStep(combine: Job['combine']): ((a: number, b: number) => number) | undefined {
  return typeof combine === 'string' ? STEPS[combine] : undefined;
}

export function combineOf({ combine }: Job): Combine | undefined {
  const step = namedStep(combine);
  if (step !== undefined) return (_, values) => fold(values, step);
  return typeof combine === 'function' ? combine : undefined;
}

/** What is kept of a value that is emitted. Throws TypeError for one that the combiner cannot take. */
export function emittedValue(combine: Job['combine'], value: unknown): unknown {
  if (combine === 'count') return 1;
  if (typeof combine === 'string' && typeof value !== 'number') {
    throw new TypeError(`combine = '${combine}' takes numbers, and ${typeof value} was emitted`);
  }
  return value;
}

/** A value alone stays as it is. What a function has made is what JSON keeps of it. */
export function combineValues(combine: Combine, key: string, values: Iterable<Uint8Array>): Uint8Array {
  const iterator = values[Symbol.iterator]();
  const first = iterator.next();
  if (first.done === true) throw new TypeError('a key has a value at least');
  // The views of the values change, and are decoded before the next is asked for.
  const alone = Uint8Array.from(first.value);
  const second = iterator.next();
  if (second.done === true) return alone;
  const secondValue = decodeValue(second.value);
  return encodeValue(combine(key, all(decodeValue(alone), secondValue, iterator)));
}

function* all(first: unknown, second: unknown, rest: Iterator<Uint8Array>): Generator<unknown> {
  yield first;
  yield second;
  for (let next = rest.next(); next.done !== true; next = rest.next()) yield decodeValue(next.value);
}

function fold(values: Iterable<unknown>, step: (a: number, b: number) => number): number {
  let result: number | undefined;
  for (const value of values)
    result = result === undefined ? (value as number) : step(result, value as number);
  return result as number;
}
