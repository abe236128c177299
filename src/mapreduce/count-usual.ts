/** The inner loop of counting many keys, where there is no kernel (word-kernel.ts). */

/** By length: what of four bytes belongs to a key. */
const FIRST_MASK = Int32Array.of(0, 0xff, 0xffff, 0xffffff, -1, -1, -1, -1, -1);
const SECOND_MASK = Int32Array.of(0, 0, 0, 0, 0, 0xff, 0xffff, 0xffffff, -1);

/**
 * Adds one for each key that is short, and found where it belongs; which are not, and how many. One loop without calls, for
 * which the compiler checks once what the arrays are.
 */
export function countUsual(
  view: DataView,
  ranges: Int32Array,
  start: number,
  end: number,
  slots: Int32Array,
  shift: number,
  unusual: Int32Array,
): number {
  const firstMask = FIRST_MASK;
  const secondMask = SECOND_MASK;
  let found = 0;
  for (let i = start; i < end; i++) {
    // `| 0`, and `|` in place of `+`, spare a check for numbers over 2^31.
    const from = ranges[i << 1]!;
    const length = (ranges[(i << 1) | 1]! - from) | 0;
    if (length <= 8) {
      const first = view.getInt32(from, true) & firstMask[length]!;
      const second = view.getInt32((from + 4) | 0, true) & secondMask[length]!;
      // hashShort, by hand.
      const mixed = Math.imul(first, 0x9e3779b1);
      const at = (Math.imul(mixed ^ (mixed >>> 15) ^ second, 0x85ebca6b) >>> shift) << 2;
      const count = slots[at | 3]!;
      if (
        slots[at] === first &&
        slots[at | 1] === second &&
        slots[at | 2] === ((length + 1) | 0) &&
        count !== -1
      ) {
        slots[at | 3] = (count + 1) | 0;
        continue;
      }
    }
    unusual[found++] = i;
  }
  return found;
}
