/**
 * Long doubles, by sums that anybody can check, and by a real redis-server for all others.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addLongDoubles, formatLongDouble, parseLongDouble } from '../../src/kv/float.ts';
import { fromLatin1 } from '../../src/lib/bytes.ts';
import { Comparison } from './comparison.ts';
import { hasRedisServer } from './redis-server.ts';

function parse(text: string) {
  return parseLongDouble(fromLatin1(text));
}

function sum(a: string, b: string): string | undefined {
  const result = addLongDoubles(parse(a)!, parse(b)!);
  return result && formatLongDouble(result);
}

test.each([
  ['3.0e3', '200', '3200'],
  ['10', '0.1', '10.1'],
  ['0', '-0.1', '-0.1'],
  ['0.1', '0.2', '0.3'],
  ['17179869184', '1.5', '17179869185.5'],
  ['-0', '-0', '0'],
  ['1e-18', '0', '0'],
  ['-1e-18', '0', '0'],
  ['0x10', '0x.8p1', '17'],
  ['.5', '5.', '5.5'],
  ['18446744073709551615', '1', '18446744073709551616'],
  // 65 bits: half a unit goes to the even neighbour, three quarters go up.
  ['36893488147419103232', '1', '36893488147419103232'],
  ['36893488147419103232', '3', '36893488147419103236'],
])('%s and %s are %s', (a, b, expected) => {
  expect(sum(a, b)).toBe(expected);
});

test.each([
  '',
  ' 1',
  '1 ',
  'nan',
  '-nan',
  'nan(1)',
  'in',
  'infinit',
  '0x',
  '1e',
  '1e+',
  '.',
  '1.2.3',
  '+-1',
  '1\0',
  '1,5',
  '1e4933',
  '-1e99999999999999999999',
  '1e-4960',
  '1e-99999999999999999999',
  '0x1p16384',
  '0x1p-16446',
  `1${'0'.repeat(5120)}`,
])('%j is no number', (text) => {
  expect(parse(text)).toBeUndefined();
});

test('a sum that is too large, or of an infinity, is none', () => {
  expect(sum('1.1e4932', '1.1e4932')).toBeUndefined();
  expect(sum('inf', '-inf')).toBeUndefined();
  expect(sum('1', '+Infinity')).toBeUndefined();
});

describe.runIf(hasRedisServer())('compared with redis-server', () => {
  let comparison: Comparison;
  beforeAll(async () => {
    comparison = await Comparison.start();
  });
  afterAll(() => comparison.stop());

  test('INCRBYFLOAT gives what Redis gives, digit by digit', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(number(), { minLength: 2, maxLength: 20 }), async ([first, ...rest]) => {
        await comparison.expectSame([
          ['SET', 'a', first!],
          ...rest.flatMap((increment) => [
            ['INCRBYFLOAT', 'a', increment],
            ['INCRBYFLOAT', 'missing', increment],
          ]),
          ['GET', 'a'],
          ['STRLEN', 'missing'],
        ]);
      }),
      { numRuns: 300 },
    );
  });
});

function number(): fc.Arbitrary<string> {
  const digits = (max: number) => fc.stringMatching(new RegExp(`^[0-9]{1,${max}}$`));
  const sign = fc.constantFrom('', '-', '+', '-');
  const exponent = fc.oneof(
    fc.constant(''),
    fc.integer({ min: -25, max: 25 }).map((n) => `e${n}`),
    fc.integer({ min: -5000, max: 5000 }).map((n) => `E${n}`),
  );
  const decimal = fc
    .tuple(sign, digits(25), fc.option(digits(25), { nil: undefined }), exponent)
    .map(([s, whole, part, e]) => `${s}${whole}${part === undefined ? '' : `.${part}`}${e}`);
  const hexadecimal = fc
    .tuple(sign, fc.stringMatching(/^[0-9a-fA-F]{1,20}$/), fc.integer({ min: -17000, max: 17000 }))
    .map(([s, whole, p]) => `${s}0x${whole}.8p${p}`);
  const whole = fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(String);
  const short = fc.double({ noNaN: true }).map(String);
  const odd = fc.constantFrom(
    'inf',
    '-infinity',
    'nan',
    '',
    ' 1',
    '1 ',
    '.5',
    '5.',
    '.',
    '1e',
    '0x',
    'x',
    '-0',
    '1e-4951',
    '3.6e-4951',
    '1.18973149535723176e4932',
    '-1.18973149535723176e4932',
  );
  return fc.oneof(
    { weight: 6, arbitrary: decimal },
    { weight: 1, arbitrary: hexadecimal },
    { weight: 3, arbitrary: whole },
    { weight: 3, arbitrary: short },
    { weight: 1, arbitrary: odd },
  );
}
