/**
 * Chance that a seed decides: the same seed, the same world. Each part of the world splits off a generator of its own,
 * so that one more question in one part does not change the answers in another.
 *
 * xoshiro128** (Blackman & Vigna), seeded by splitmix32.
 */
import { assert } from '../../src/lib/assert.ts';
import type { Random } from '../../src/lib/env.ts';

export class SimRandom implements Random {
  readonly #s = new Uint32Array(4);

  constructor(seed: number) {
    let x = seed >>> 0;
    for (let i = 0; i < 4; i++) {
      x = (x + 0x9e3779b9) >>> 0;
      let z = x;
      z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
      this.#s[i] = z ^ (z >>> 16);
    }
  }

  #u32(): number {
    const s = this.#s;
    const product = Math.imul(s[1]!, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const t = s[1]! << 9;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= t;
    s[3] = (s[3]! << 11) | (s[3]! >>> 21);
    return result;
  }

  /** In [0, 1). */
  fraction(): number {
    return this.#u32() / 2 ** 32;
  }

  below(bound: number): number {
    assert(bound >= 1 && bound <= 2 ** 48, 'a bound is in range', bound);
    if (bound <= 2 ** 21) return Math.floor(this.fraction() * bound);
    return ((this.#u32() & 0xffff) * 2 ** 32 + this.#u32()) % bound;
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.below(256));
  }

  /** A number in [low, high). */
  between(low: number, high: number): number {
    return low + this.fraction() * (high - low);
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  /** With the given mean; many small ones and a few that are much larger. */
  exponential(mean: number): number {
    return -mean * Math.log(1 - this.fraction());
  }

  split(): SimRandom {
    return new SimRandom(this.#u32());
  }
}
