/**
 * How often something took how long, in little memory: a count per range of durations, the ranges growing with the
 * duration (log-linear, as in HdrHistogram).
 *
 *   band     0: up to 1024 ns     1: up to 2048     2: up to 4096     ...     27: up to 137 s, and whatever is longer
 *   buckets  32 of one width in each band
 *
 * So a percentile is off by at most a 32nd of its band, and a histogram is 7 KB, however many durations it has seen.
 */

const FIRST_BAND_BITS = 10;
const BANDS = 28;
const BUCKETS_PER_BAND = 32;
const BUCKETS = BANDS * BUCKETS_PER_BAND;

/** So many took at most `usec`. */
export interface Cumulative {
  readonly usec: number;
  readonly count: number;
}

export class Histogram {
  /** Doubles, since 2^32 commands of one kind are a day's work. */
  readonly #counts = new Float64Array(BUCKETS);
  #total = 0;
  #maxNs = 0;

  get count(): number {
    return this.#total;
  }

  record(usec: number): void {
    const ns = usec * 1000;
    const index = bucketOf(ns);
    this.#counts[index] = this.#counts[index]! + 1;
    this.#total++;
    if (ns > this.#maxNs) this.#maxNs = ns;
  }

  /** The duration that `percent` of all did not exceed: the end of its bucket, or the longest of all. 0 when empty. */
  percentileUsec(percent: number): number {
    const wanted = Math.max(1, Math.ceil((percent / 100) * this.#total));
    let seen = 0;
    for (let index = 0; index < BUCKETS && this.#total > 0; index++) {
      seen += this.#counts[index]!;
      if (seen >= wanted) return Math.min(endOf(index), this.#maxNs) / 1000;
    }
    return 0;
  }

  /** By powers of two, without those at which nothing is added: what LATENCY HISTOGRAM shows. */
  cumulative(): Cumulative[] {
    const found: Cumulative[] = [];
    let count = 0;
    for (let band = 0; band < BANDS; band++) {
      const before = count;
      const first = band * BUCKETS_PER_BAND;
      for (let index = first; index < first + BUCKETS_PER_BAND; index++) count += this.#counts[index]!;
      if (count > before) found.push({ usec: shownUsec(band), count });
    }
    return found;
  }

  reset(): void {
    this.#counts.fill(0);
    this.#total = 0;
    this.#maxNs = 0;
  }
}

function bucketOf(ns: number): number {
  if (ns < 2 ** FIRST_BAND_BITS)
    return Math.floor((Math.max(0, ns) / 2 ** FIRST_BAND_BITS) * BUCKETS_PER_BAND);
  const bits = ns < 2 ** 31 ? 31 - Math.clz32(ns) : Math.floor(Math.log2(ns));
  const band = bits - FIRST_BAND_BITS + 1;
  if (band >= BANDS) return BUCKETS - 1;
  const within = Math.floor((ns / 2 ** bits - 1) * BUCKETS_PER_BAND);
  return band * BUCKETS_PER_BAND + Math.min(Math.max(within, 0), BUCKETS_PER_BAND - 1);
}

/** In nanoseconds. */
function endOf(index: number): number {
  const band = Math.floor(index / BUCKETS_PER_BAND);
  const share = ((index % BUCKETS_PER_BAND) + 1) / BUCKETS_PER_BAND;
  if (band === 0) return 2 ** FIRST_BAND_BITS * share;
  return 2 ** (FIRST_BAND_BITS + band - 1) * (1 + share);
}

/** How Redis names the end of a band, 1 2 4 8 16 33 66 132: its own buckets, which are finer, end a little behind it. */
function shownUsec(band: number): number {
  const ns = 2 ** (FIRST_BAND_BITS + band);
  return Math.floor((ns + ns / 128 - 1) / 1000);
}
