/** How long calls of one kind usually take, and from that how long it is worth waiting for one. */

/** Durations that the usual one is taken from. */
const DURATIONS = 128;
/** It is worked out anew after so many. */
const REVIEW = 16;
/** Patience is so many times what 95 of 100 stay below. */
const FACTOR = 4;

export class UsualDuration {
  readonly #minMs: number;
  readonly #durations = new Float64Array(DURATIONS);
  #count = 0;
  #patienceMs: number;

  constructor(minMs: number) {
    this.#minMs = minMs;
    this.#patienceMs = minMs;
  }

  get patienceMs(): number {
    return this.#patienceMs;
  }

  /** A call took so long. */
  note(ms: number): void {
    this.#durations[this.#count++ % DURATIONS] = ms;
    if (this.#count % REVIEW !== 0) return;
    const sorted = this.#durations.slice(0, Math.min(this.#count, DURATIONS)).sort();
    this.#patienceMs = Math.max(this.#minMs, FACTOR * (sorted[Math.floor(sorted.length * 0.95)] ?? 0));
  }
}
