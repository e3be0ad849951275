/**
 * Ranges of a file, each with a value; later ones cover earlier ones. Sorted, never overlapping; neighbours with the same value are one. The unit of
 * everything that is dirty, and of a read's plan.
 */
export interface Range<T> {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  readonly value: T;
}

export class RangeMap<T> {
  #ranges: Range<T>[] = [];
  readonly #displaced: ((value: T, bytes: number) => void) | undefined;

  /** @param displaced is told of every stretch that a value loses to a later one or to a cut. */
  constructor(displaced?: (value: T, bytes: number) => void) {
    this.#displaced = displaced;
  }

  /** Number of ranges. */
  get size(): number {
    return this.#ranges.length;
  }

  /** All ranges, in order. Not to be kept across changes. */
  get ranges(): readonly Range<T>[] {
    return this.#ranges;
  }

  /** Index of the first range that ends behind `offset`. */
  #first(offset: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const range = this.#ranges[middle];
      if (range !== undefined && range.end <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Gives `start` … `end` the value; what was there before is displaced. */
  set(start: number, end: number, value: T): void {
    this.#replace(start, end, { start, end, value });
  }

  /** Removes what lies at or behind `offset`. */
  cut(offset: number): void {
    this.#replace(offset, Infinity, undefined);
  }

  #replace(start: number, end: number, range: Range<T> | undefined): void {
    const ranges = this.#ranges;
    if (ranges.length === 0) {
      if (range !== undefined) ranges.push(range);
      return;
    }
    const first = this.#first(start);
    let last = first;
    const replacement: Range<T>[] = [];
    let tail: Range<T> | undefined;
    for (; last < ranges.length; last++) {
      const old = ranges[last];
      if (old === undefined || old.start >= end) break;
      if (old.start < start) replacement.push({ start: old.start, end: start, value: old.value });
      if (old.end > end) tail = { start: end, end: old.end, value: old.value };
      this.#displaced?.(old.value, Math.min(old.end, end) - Math.max(old.start, start));
    }
    if (range !== undefined) replacement.push(range);
    if (tail !== undefined) replacement.push(tail);
    let from = first;
    let to = last;
    const before = first === 0 ? undefined : ranges[first - 1];
    if (before !== undefined && touches(before, replacement[0])) {
      from--;
      replacement.unshift(before);
    }
    const after = ranges[last];
    if (after !== undefined && touches(replacement.at(-1), after)) {
      to++;
      replacement.push(after);
    }
    ranges.splice(from, to - from, ...joined(replacement));
  }

  /** The parts of ranges that lie in `start` … `end`, in order. */
  *within(start: number, end: number): Generator<Range<T>> {
    for (let at = this.#first(start); at < this.#ranges.length; at++) {
      const range = this.#ranges[at];
      if (range === undefined || range.start >= end) return;
      yield range.start >= start && range.end <= end
        ? range
        : { start: Math.max(range.start, start), end: Math.min(range.end, end), value: range.value };
    }
  }

  /** Has all of `start` … `end` this one value? */
  covered(start: number, end: number, value: T): boolean {
    const range = this.#ranges[this.#first(start)];
    return range !== undefined && range.value === value && range.start <= start && range.end >= end;
  }

  clear(): void {
    this.#ranges = [];
  }
}

function touches<T>(left: Range<T> | undefined, right: Range<T> | undefined): boolean {
  return left !== undefined && right !== undefined && left.end === right.start && left.value === right.value;
}

function joined<T>(ranges: readonly Range<T>[]): Range<T>[] {
  const out: Range<T>[] = [];
  for (const range of ranges) {
    const last = out.at(-1);
    if (last !== undefined && touches(last, range)) out[out.length - 1] = { start: last.start, end: range.end, value: range.value };
    else out.push(range);
  }
  return out;
}
