import { describe, expect, test } from 'vitest';
import { assemble } from '../../src/mapreduce/wasm-assembler.ts';

declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: unknown };
};

function run<T>(text: string, imports: object = {}): T {
  return new WebAssembly.Instance(new WebAssembly.Module(assemble(text)), imports).exports as T;
}

describe('the assembler', () => {
  test('makes the bytes that the specification says', () => {
    const text = `(module
      (func $add (export "add") (param $a i32) (param $b i32) (result i32) ;; a comment
        (i32.add (local.get $a) (local.get $b))))`;
    const expected = [
      ...['0061736d 01000000', '01 07 01 60 02 7f 7f 01 7f', '02 01 00', '03 02 01 00', '06 01 00'],
      ...['07 07 01 03 616464 00 00', '0a 09 01 07 00 20 00 20 01 6a 0b'],
    ];
    expect(Buffer.from(assemble(text)).toString('hex')).toBe(expected.join('').replaceAll(' ', ''));
  });

  test('writes constants of all sizes, negative ones too', () => {
    for (const value of [0, 1, 63, 64, -1, -64, -65, 127, 128, 8191, 8192, -8193, 2 ** 31 - 1, -(2 ** 31)]) {
      const { of } = run<{ of(): number }>(
        `(module (func $of (export "of") (result i32) (i32.const ${value})))`,
      );
      expect(of()).toBe(value);
    }
  });

  test('has loops, blocks and conditions, calls, globals and memory', () => {
    const { sum, seen } = run<{ sum(n: number): number; seen(): number }>(
      `(module
        (import "js" "twice" (func $twice (param $a i32) (result i32)))
        (global $calls (mut i32) (i32.const 0))
        (func $sum (export "sum") (param $n i32) (result i32) (local $all i32)
          (block $done
            (loop $next
              (br_if $done (i32.eqz (local.get $n)))
              (if (i32.and (local.get $n) (i32.const 1))
                (then (local.set $all (i32.add (local.get $all) (local.get $n))))
                (else
                  (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                  (local.set $all (i32.add (local.get $all) (call $twice (local.get $n))))))
              (local.set $n (i32.sub (local.get $n) (i32.const 1)))
              (br $next)))
          (local.get $all))
        (func $seen (export "seen") (result i32) (global.get $calls)))`,
      { js: { twice: (n: number) => 2 * n } },
    );
    expect(sum(5)).toBe(1 + 4 + 3 + 8 + 5);
    expect(seen()).toBe(2);
  });

  test('says what it does not know', () => {
    const body = (code: string) => () => assemble(`(module (func $f ${code}))`);
    expect(body('(i32.perhaps)')).toThrow('there is no instruction i32.perhaps');
    expect(body('(local.get $nobody)')).toThrow('what is named is there ($nobody)');
    expect(body('(drop (i32.const 1)')).toThrow('every parenthesis is closed');
  });
});
