/**
 * Redis's integers: 64 bits, signed, in canonical decimal. A number is used where a double is exact, a bigint beyond.
 *
 * After `string2ll` of Redis's util.c: no sign but `-`, no leading zeros, no spaces, no `-0`.
 */
import { asBuffer } from '../lib/bytes.ts';
import { ErrorReply } from '../resp/reply.ts';
import { NOT_AN_INTEGER } from './errors.ts';

export type Integer = number | bigint;

export const INT64_MAX = 2n ** 63n - 1n;
export const INT64_MIN = -(2n ** 63n);

/** So many digits are always exact in a double. */
const EXACT_DIGITS = 15;
const LENGTH_MAX = 20;
const ZERO = 0x30;
const NINE = 0x39;
const MINUS = 0x2d;

/** Undefined when the bytes are no canonical integer of 64 bits. A bigint only when a number would not be exact. */
export function parseInteger(bytes: Uint8Array): Integer | undefined {
  const length = bytes.length;
  if (length === 0 || length > LENGTH_MAX) return undefined;
  const negative = bytes[0] === MINUS;
  const start = negative ? 1 : 0;
  const first = bytes[start];
  if (first === ZERO) return length === 1 ? 0 : undefined;
  if (first === undefined) return undefined;
  let value = 0;
  for (let i = start; i < length; i++) {
    const digit = bytes[i]!;
    if (digit < ZERO || digit > NINE) return undefined;
    value = value * 10 + (digit - ZERO);
  }
  if (length - start <= EXACT_DIGITS) return negative ? -value : value;
  const exact = BigInt(asBuffer(bytes).toString('latin1'));
  return exact > INT64_MAX || exact < INT64_MIN ? undefined : narrow(exact);
}

const INT32_MAX = 2 ** 31 - 1;
const INT32_MIN = -(2 ** 31);
const NO_INT32 = new ErrorReply(
  'ERR',
  `value is out of range, value must between ${INT32_MIN} and ${INT32_MAX}`,
);

/** For what Redis keeps in 32 bits: the number of a database. `wrong` in place of both usual errors. */
export function parseInt32(bytes: Uint8Array, wrong?: ErrorReply): number | ErrorReply {
  const value = parseInteger(bytes);
  if (value === undefined) return wrong ?? NOT_AN_INTEGER;
  return value >= INT32_MIN && value <= INT32_MAX ? Number(value) : (wrong ?? NO_INT32);
}

/** Undefined when the sum does not fit in 64 bits. */
export function addIntegers(a: Integer, b: Integer): Integer | undefined {
  if (typeof a === 'number' && typeof b === 'number') {
    const sum = a + b;
    if (Number.isSafeInteger(sum)) return sum;
  }
  const sum = BigInt(a) + BigInt(b);
  return sum > INT64_MAX || sum < INT64_MIN ? undefined : narrow(sum);
}

/** A number when that is exact. */
export function narrow(value: bigint): Integer {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
