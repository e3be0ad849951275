/**
 * So much at one time, the others wait in line, first come first served. Each takes one unit, or as many as it weighs (bytes, say). The number of waiters is
 * bounded by the callers' memory for what they wait with.
 */
export class Slots {
  readonly #waiting: { readonly weight: number; readonly go: () => void }[] = [];
  readonly #count: number;
  #free: number;

  constructor(count: number) {
    this.#count = count;
    this.#free = count;
  }

  /** Runs `work` once there is room. What weighs more than all there is runs alone. */
  async run<T>(work: () => Promise<T>, weight = 1): Promise<T> {
    const taken = Math.min(weight, this.#count);
    // Nobody overtakes who waits, not even with less weight.
    if (this.#waiting.length === 0 && this.#free >= taken) this.#free -= taken;
    else await new Promise<void>((go) => this.#waiting.push({ weight: taken, go }));
    try {
      return await work();
    } finally {
      this.#free += taken;
      for (let next = this.#waiting[0]; next !== undefined && next.weight <= this.#free; next = this.#waiting[0]) {
        this.#waiting.shift();
        this.#free -= next.weight;
        next.go();
      }
    }
  }
}
