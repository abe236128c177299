/**
 * The numbers of INCRBYFLOAT: what Redis computes in C's `long double`, which on x86-64 has 64 bits of significand and 15
 * of exponent. JavaScript has no such number, so this one is made of a BigInt and an exponent, and each operation is done
 * exactly and then rounded once, half to even, as the processor does it. The same on every machine, digit by digit.
 *
 * After `string2ld` and `ld2string` of Redis's util.c, which are C's strtold and `%.17Lf`.
 */
import { latin1 } from '../lib/bytes.ts';

/** `significand` times 2 to the power of `exponent`. At most 64 bits of it count; zero has no sign. */
export interface Finite {
  readonly significand: bigint;
  readonly exponent: number;
}
/** What may be added up; of an infinity only that it is one is of interest. */
export type LongDouble = Finite | 'infinity';

export const ZERO: Finite = { significand: 0n, exponent: 0 };

/** Redis reads no number that is longer (MAX_LONG_DOUBLE_CHARS). */
const TEXT_BYTES_MAX = 5 * 1024 - 1;
const SIGNIFICAND_BITS = 64;
/** No number reaches 2 to this power. */
const EXPONENT_END = 16384;
/** Of the last bit of the smallest numbers there are. */
const EXPONENT_MIN = -16445;
/** Numbers from 10 to this power on are too large, and those below 10 to the other are zero: no need to compute them. */
const DECIMAL_EXPONENT_MAX = 4933;
const DECIMAL_EXPONENT_MIN = -4952;
const FRACTION_DIGITS = 17;
const FRACTION_SCALE = 10n ** BigInt(FRACTION_DIGITS);

const INFINITY = /^[+-]?inf(?:inity)?$/i;
const DECIMAL = /^([+-]?)(?:(\d+)(?:\.(\d*))?|\.(\d+))(?:e([+-]?\d+))?$/i;
const HEXADECIMAL = /^([+-]?)0x(?:([\da-f]+)(?:\.([\da-f]*))?|\.([\da-f]+))(?:p([+-]?\d+))?$/i;

/** Undefined when the bytes are no number, or one that is too large, or so small that it would be zero. */
export function parseLongDouble(bytes: Uint8Array): LongDouble | undefined {
  if (bytes.length > TEXT_BYTES_MAX) return undefined;
  const text = latin1(bytes);
  if (INFINITY.test(text)) return 'infinity';
  const hexadecimal = HEXADECIMAL.exec(text);
  const parts = hexadecimal ?? DECIMAL.exec(text);
  if (parts === null) return undefined;
  const [, sign, whole = '', fraction = parts[4] ?? '', , power = '0'] = parts;
  const digits = (whole + fraction).replace(/^0+/, '');
  if (digits === '') return ZERO;
  const exponent = Number(power);
  const magnitude =
    hexadecimal === null
      ? fromDecimal(digits, exponent - fraction.length)
      : fromHexadecimal(digits, exponent - 4 * fraction.length);
  if (magnitude === undefined || magnitude.significand === 0n) return undefined;
  return sign === '-' ? { ...magnitude, significand: -magnitude.significand } : magnitude;
}

/** The exponent may be infinite: somebody has written more digits than a double holds. */
function fromDecimal(digits: string, exponent: number): Finite | undefined {
  const end = digits.length + exponent;
  if (end > DECIMAL_EXPONENT_MAX || end <= DECIMAL_EXPONENT_MIN) return undefined;
  const integer = BigInt(digits);
  return exponent < 0
    ? round(integer, 10n ** BigInt(-exponent))
    : round(integer * 10n ** BigInt(exponent), 1n);
}

function fromHexadecimal(digits: string, exponent: number): Finite | undefined {
  const end = 4 * digits.length + exponent;
  // The first digit may have three leading zero bits.
  if (end - 3 > EXPONENT_END || end < EXPONENT_MIN) return undefined;
  return roundBinary(BigInt(`0x${digits}`), exponent);
}

/** Undefined when the sum is infinite, or would be no number at all. */
export function addLongDoubles(a: LongDouble, b: LongDouble): Finite | undefined {
  if (a === 'infinity' || b === 'infinity') return undefined;
  const exponent = Math.min(a.exponent, b.exponent);
  const sum =
    (a.significand << BigInt(a.exponent - exponent)) + (b.significand << BigInt(b.exponent - exponent));
  if (sum >= 0n) return roundBinary(sum, exponent);
  const magnitude = roundBinary(-sum, exponent);
  return magnitude && { ...magnitude, significand: -magnitude.significand };
}

/** With 17 digits behind the point, less the zeros at the end; never with an exponent. */
export function formatLongDouble({ significand, exponent }: Finite): string {
  const magnitude = (significand < 0n ? -significand : significand) * FRACTION_SCALE;
  const scaled =
    exponent < 0 ? divideToEven(magnitude, 1n << BigInt(-exponent)) : magnitude << BigInt(exponent);
  if (scaled === 0n) return '0';
  const digits = String(scaled).padStart(FRACTION_DIGITS + 1, '0');
  const whole = digits.slice(0, -FRACTION_DIGITS);
  const fraction = digits.slice(-FRACTION_DIGITS).replace(/0+$/, '');
  return `${significand < 0n ? '-' : ''}${whole}${fraction === '' ? '' : '.'}${fraction}`;
}

function roundBinary(integer: bigint, exponent: number): Finite | undefined {
  return exponent < 0 ? round(integer, 1n << BigInt(-exponent)) : round(integer << BigInt(exponent), 1n);
}

/** The number nearest to a fraction that is not negative; undefined when that is infinite. */
function round(numerator: bigint, denominator: bigint): Finite | undefined {
  if (numerator === 0n) return ZERO;
  const exponent = Math.max(floorLog2(numerator, denominator) + 1 - SIGNIFICAND_BITS, EXPONENT_MIN);
  const significand =
    exponent < 0
      ? divideToEven(numerator << BigInt(-exponent), denominator)
      : divideToEven(numerator, denominator << BigInt(exponent));
  return bitLength(significand) + exponent > EXPONENT_END ? undefined : { significand, exponent };
}

/** The n for which 2^n <= numerator / denominator < 2^(n + 1). */
function floorLog2(numerator: bigint, denominator: bigint): number {
  const n = bitLength(numerator) - bitLength(denominator);
  const reached = n < 0 ? numerator << BigInt(-n) >= denominator : numerator >= denominator << BigInt(n);
  return reached ? n : n - 1;
}

function divideToEven(numerator: bigint, denominator: bigint): bigint {
  const quotient = numerator / denominator;
  const twice = 2n * (numerator % denominator);
  const up = twice > denominator || (twice === denominator && quotient % 2n === 1n);
  return up ? quotient + 1n : quotient;
}

/** Of a number that is not negative. */
function bitLength(integer: bigint): number {
  const digits = integer.toString(16);
  return 4 * digits.length - Math.clz32(Number.parseInt(digits[0]!, 16)) + 28;
}
