/**
 * An ordered map from keys to values in memory: a list of short sorted runs. It holds a transaction's own writes and is the whole of the in-memory
 * replica. Keys and values are kept by reference.
 */
import { must } from '../base/assert.js';
import { compareKeys } from './keys.js';

/** Keys in one run before it is split. Short enough that inserting into the middle is a small move. */
const RUN_KEYS_MAX = 256;

/** Like splice, which makes an array for what it takes out. */
function insert<T>(items: T[], at: number, item: T): void {
  items.push(item);
  for (let i = items.length - 1; i > at; i--) items[i] = items[i - 1] as T;
  items[at] = item;
}

interface Run<V> {
  readonly keys: Buffer[];
  readonly values: V[];
}

export class SortedRows<V> {
  #runs: Run<V>[] = [];
  #size = 0;
  #at = 0;

  get size(): number {
    return this.#size;
  }

  /** A map of the same keys and values, by itself from now on. */
  copy(): SortedRows<V> {
    const copied = new SortedRows<V>();
    copied.#runs = this.#runs.map(({ keys, values }) => ({ keys: keys.slice(), values: values.slice() }));
    copied.#size = this.#size;
    return copied;
  }

  clear(): void {
    this.#runs = [];
    this.#size = 0;
  }

  /** The run in which `key` is or would be. Leaves the index within it in #at; true if the key is there. */
  #find(key: Uint8Array, run: Run<V>): boolean {
    let low = 0;
    let high = run.keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const order = compareKeys(must(run.keys[middle], 'key in run'), key);
      if (order === 0) {
        this.#at = middle;
        return true;
      }
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    this.#at = low;
    return false;
  }

  /** Index of the last run whose first key is not greater than `key`; 0 if there is none. */
  #runOf(key: Uint8Array): number {
    let low = 0;
    let high = this.#runs.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (compareKeys(must(this.#runs[middle]?.keys[0], 'runs are not empty'), key) <= 0) low = middle;
      else high = middle;
    }
    return low;
  }

  /** The value of `key`, or undefined. */
  get(key: Uint8Array): V | undefined {
    const run = this.#runs[this.#runOf(key)];
    return run !== undefined && this.#find(key, run) ? run.values[this.#at] : undefined;
  }

  /** Sets a value; returns the one before it. */
  set(key: Buffer, value: V): V | undefined {
    const index = this.#runOf(key);
    const run = this.#runs[index];
    if (run === undefined) {
      this.#runs.push({ keys: [key], values: [value] });
      this.#size = 1;
      return undefined;
    }
    if (this.#find(key, run)) {
      const before = run.values[this.#at];
      run.values[this.#at] = value;
      return before;
    }
    insert(run.keys, this.#at, key);
    insert(run.values, this.#at, value);
    this.#size++;
    if (run.keys.length > RUN_KEYS_MAX) {
      const half = run.keys.length >>> 1;
      this.#runs.splice(index + 1, 0, { keys: run.keys.splice(half), values: run.values.splice(half) });
    }
    return undefined;
  }

  /** Removes a key; returns its value. */
  delete(key: Uint8Array): V | undefined {
    const index = this.#runOf(key);
    const run = this.#runs[index];
    if (run === undefined || !this.#find(key, run)) return undefined;
    const before = run.values[this.#at];
    run.keys.splice(this.#at, 1);
    run.values.splice(this.#at, 1);
    if (run.keys.length === 0) this.#runs.splice(index, 1);
    this.#size--;
    return before;
  }

  /** Calls `visit` with all keys and values, ascending. The map must not change meanwhile. */
  forEach(visit: (key: Buffer, value: V) => void): void {
    for (const { keys, values } of this.#runs) for (let at = 0; at < keys.length; at++) visit(must(keys[at], 'key'), values[at] as V);
  }

  /** Keys and values from `start` (inclusive) to `end` (exclusive; undefined: no end), ascending. The map must not change meanwhile. */
  *entries(start?: Uint8Array, end?: Uint8Array): Generator<[key: Buffer, value: V]> {
    const first = start === undefined ? 0 : this.#runOf(start);
    for (let index = first; index < this.#runs.length; index++) {
      const run = must(this.#runs[index], 'run');
      let at = 0;
      if (index === first && start !== undefined) {
        this.#find(start, run);
        at = this.#at;
      }
      for (; at < run.keys.length; at++) {
        const key = must(run.keys[at], 'key');
        if (end !== undefined && compareKeys(key, end) >= 0) return;
        yield [key, run.values[at] as V];
      }
    }
  }

  /** The same, descending from below `end`. */
  *entriesReverse(start: Uint8Array, end: Uint8Array): Generator<[key: Buffer, value: V]> {
    const last = this.#runOf(end);
    for (let index = Math.min(last, this.#runs.length - 1); index >= 0; index--) {
      const run = must(this.#runs[index], 'run');
      let at = run.keys.length;
      if (index === last) {
        this.#find(end, run);
        at = this.#at;
      }
      for (at--; at >= 0; at--) {
        const key = must(run.keys[at], 'key');
        if (compareKeys(key, start) < 0) return;
        yield [key, run.values[at] as V];
      }
    }
  }
}
