/** The slots of a table of counts that are taken, on their way out: found, and then brought together in another order. */
import { swap } from './short-key.ts';

/** Where the keys are, and what they begin with, so that numbers compare as the keys' bytes do. */
export interface Entries {
  readonly places: Uint32Array;
  readonly high: Uint32Array;
  readonly low: Uint32Array;
}

export const GATHERED_MAX = 4096;

/** What `gather` has brought together; there is one writer at a time. */
export const gathered = {
  places: new Uint32Array(GATHERED_MAX),
  kinds: new Int32Array(GATHERED_MAX),
  counts: new Uint32Array(GATHERED_MAX),
  high: new Uint32Array(GATHERED_MAX),
  low: new Uint32Array(GATHERED_MAX),
} as const;

export function findEntries(slots: Int32Array, { places, high, low }: Entries): number {
  let found = 0;
  for (let at = 0; at < slots.length; at += 4) {
    if (slots[at + 2] === 0) continue;
    places[found] = at;
    high[found] = swap(slots[at]!);
    low[found] = swap(slots[at + 1]!);
    found++;
  }
  return found;
}

/** At most GATHERED_MAX of them. A short loop, so that the processor waits for many lines of the table at once. */
export function gather(order: Uint32Array, { places, high, low }: Entries, slots: Int32Array): void {
  for (let i = 0; i < order.length; i++) {
    const entry = order[i]!;
    const at = places[entry]!;
    gathered.places[i] = at;
    gathered.kinds[i] = slots[at + 2]!;
    gathered.counts[i] = slots[at + 3]!;
    gathered.high[i] = high[entry]!;
    gathered.low[i] = low[entry]!;
  }
}
