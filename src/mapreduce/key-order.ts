/**
 * Puts entries into the order of (partition, key), keys by their bytes, unsigned; stable.
 *
 * A radix sort, least significant digit first, of the first eight bytes and then the partition; digits of 11 bits, those
 * in which all entries agree left out. Measured on 200,000 words: 16 to 27 ms, against 160 ms of a sort that compares.
 * What then has all eight bytes in common is compared, and such runs are short where keys are words.
 */

export interface EntriesToSort {
  readonly count: number;
  readonly partitions: number;
  /** Of each entry; not looked at if there is one partition. */
  readonly parts: Uint32Array;
  /** The first four bytes of each entry's key as one number, the first byte the highest; zeros behind a shorter key. */
  readonly high: Uint32Array;
  /** The next four. */
  readonly low: Uint32Array;
  /** Compares the keys of two entries whose first eight bytes are equal. */
  tie(a: number, b: number): number;
}

const DIGIT_BITS = 11;
const DIGIT_VALUES = 1 << DIGIT_BITS;

/** The entries' numbers in order. */
export function sortByKey({ count, partitions, parts, high, low, tie }: EntriesToSort): Uint32Array {
  let order = new Uint32Array(count);
  for (let i = 0; i < count; i++) order[i] = i;
  if (count < 2) return order;
  let spare = new Uint32Array(count);
  const counts = new Uint32Array(DIGIT_VALUES);
  const sortBy = (digits: Uint32Array, bits: number) => {
    for (let shift = 0; shift < bits; shift += DIGIT_BITS) {
      if (!sortByDigit(digits, shift, counts, order, spare)) continue;
      const sorted = spare;
      spare = order;
      order = sorted;
    }
  };
  sortBy(low, 32);
  sortBy(high, 32);
  if (partitions > 1) sortBy(parts, 32 - Math.clz32(partitions - 1));
  sortTies(order, partitions > 1 ? parts : undefined, high, low, tie);
  return order;
}

/** False if all entries agree in the digit: nothing was done. */
function sortByDigit(
  digits: Uint32Array,
  shift: number,
  counts: Uint32Array,
  from: Uint32Array,
  to: Uint32Array,
): boolean {
  const count = from.length;
  counts.fill(0);
  for (let i = 0; i < count; i++) counts[(digits[i]! >>> shift) & (DIGIT_VALUES - 1)]!++;
  if (counts[(digits[0]! >>> shift) & (DIGIT_VALUES - 1)] === count) return false;
  let place = 0;
  for (let digit = 0; digit < DIGIT_VALUES; digit++) {
    const next = place + counts[digit]!;
    counts[digit] = place;
    place = next;
  }
  for (let i = 0; i < count; i++) {
    const entry = from[i]!;
    to[counts[(digits[entry]! >>> shift) & (DIGIT_VALUES - 1)]!++] = entry;
  }
  return true;
}

function sortTies(
  order: Uint32Array,
  parts: Uint32Array | undefined,
  high: Uint32Array,
  low: Uint32Array,
  tie: (a: number, b: number) => number,
): void {
  const count = order.length;
  for (let first = 0, end = 1; first < count; first = end, end++) {
    const entry = order[first]!;
    while (end < count) {
      const other = order[end]!;
      if (low[other] !== low[entry] || high[other] !== high[entry]) break;
      if (parts !== undefined && parts[other] !== parts[entry]) break;
      end++;
    }
    // Native, stable since ES2019.
    if (end - first > 1) order.subarray(first, end).sort(tie);
  }
}
