/**
 * How long things take, in powers of two of microseconds: counting costs next to nothing, ten million take as little room as ten, and a quantile is right
 * to a factor of two.
 */

/** The last one takes all from 2^35 µs (nine hours) on. */
const BUCKETS = 36;

export interface Durations {
  readonly count: number;
  /** Microseconds within which so many percent ended. */
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** How many took less than 2^i µs, and not less than half of it; without the zeros at the end. */
  readonly buckets: readonly number[];
}

export class Histogram {
  readonly #buckets = new Float64Array(BUCKETS);
  #count = 0;
  #maxUs = 0;

  add(milliseconds: number): void {
    const us = Math.max(0, Math.ceil(milliseconds * 1000));
    const bucket = us < 2 ** 31 ? 32 - Math.clz32(us) : Math.min(BUCKETS - 1, Math.ceil(Math.log2(us + 1)));
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + 1;
    this.#count++;
    if (us > this.#maxUs) this.#maxUs = us;
  }

  #quantile(part: number): number {
    let left = this.#count * part;
    for (const [i, count] of this.#buckets.entries()) {
      left -= count;
      if (left <= 0) return Math.min(2 ** i, this.#maxUs);
    }
    return this.#maxUs;
  }

  get durations(): Durations {
    const used = this.#buckets.findLastIndex((count) => count > 0) + 1;
    return {
      count: this.#count,
      p50: this.#quantile(0.5),
      p99: this.#quantile(0.99),
      max: this.#maxUs,
      buckets: [...this.#buckets.subarray(0, used)],
    };
  }
}
