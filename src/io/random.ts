/**
 * The operating system's randomness behind `Random`: cryptographic, because ids and challenges must not be
 * guessed.
 */
import { randomBytes } from 'node:crypto';
import { assert } from '../lib/assert.ts';
import type { Random } from '../lib/env.ts';

const RANGE = 2 ** 48;

export class SystemRandom implements Random {
  below(bound: number): number {
    assert(Number.isSafeInteger(bound) && bound >= 1 && bound <= RANGE, '1 <= bound <= 2^48', bound);
    // Draws over the last whole multiple of `bound` are thrown away: they would favour the small numbers.
    const limit = RANGE - (RANGE % bound);
    for (;;) {
      const drawn = randomBytes(6).readUIntLE(0, 6);
      if (drawn < limit) return drawn % bound;
    }
  }

  bytes(count: number): Uint8Array {
    return randomBytes(count);
  }
}
