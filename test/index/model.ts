/** A plain model of the index: a map by the key's hexadecimal digits, sorted when asked. And random transactions for it. */
import type { Random } from '../../src/base/clock.js';
import type { LogEntry } from '../../src/quorum/state-machine.js';
import { decodeWrites } from '../../src/index/entry.js';
import type { Range, Row } from '../../src/index/index-store.js';

export class Model {
  readonly rows = new Map<string, Buffer>();

  set(key: Uint8Array, value: Uint8Array | undefined): void {
    const name = Buffer.from(key).toString('hex');
    if (value === undefined) this.rows.delete(name);
    else this.rows.set(name, Buffer.from(value));
  }

  get(key: Uint8Array): Buffer | undefined {
    return this.rows.get(Buffer.from(key).toString('hex'));
  }

  scan({ start, end, limit, reverse }: Range): Row[] {
    const found = [...this.rows]
      .map(([name, value]) => ({ key: Buffer.from(name, 'hex'), value }))
      .filter(({ key }) => Buffer.compare(key, start) >= 0 && Buffer.compare(key, end) < 0)
      .sort((a, b) => Buffer.compare(a.key, b.key));
    if (reverse === true) found.reverse();
    return found.slice(0, limit);
  }

  apply(entry: LogEntry): void {
    if (entry.kind === 'data') for (const { key, value } of decodeWrites(entry.payload)) this.set(key, value);
  }

  copy(): Model {
    const copy = new Model();
    for (const [name, value] of this.rows) copy.rows.set(name, value);
    return copy;
  }
}

/** Everything there is. */
export const everything: Range = { start: Buffer.alloc(0), end: Buffer.alloc(8, 0xff), limit: 16_384 };

/** Rows in a form that a failing test can show. */
export function shown(rows: readonly Row[]): string[] {
  return rows.map(({ key, value }) => `${Buffer.from(key).toString('hex')}=${value.length}:${value.subarray(0, 16).toString('hex')}`);
}

/** A key from a small space, so that transactions meet; some are prefixes of others, some have zeros and 0xff. */
export function randomKey(random: Random): Buffer {
  const bytes = [0, 1, 2, 0x7f, 0xfe];
  return Buffer.from([1 + random.below(3), ...Array.from({ length: random.below(4) }, () => bytes[random.below(bytes.length)] ?? 0)]);
}

export function randomValue(random: Random): Buffer {
  const bytes = random.below(40) === 0 ? random.below(65_537) : random.below(200);
  return Buffer.alloc(bytes, Buffer.from(random.bytes(7)));
}

export function randomRange(random: Random): Range {
  const [start, end] = [randomKey(random), randomKey(random)].sort((a, b) => Buffer.compare(a, b));
  return { start: start ?? Buffer.alloc(0), end: end ?? Buffer.alloc(0), limit: 1 + random.below(12), reverse: random.below(2) === 1 };
}
