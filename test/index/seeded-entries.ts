/** A history that is the same in every process: the entry behind a point follows from its position alone. */
import { seededRandom } from '../../src/base/clock.js';
import { encodeWrites, writeBytes, type Write } from '../../src/index/entry.js';
import { keyOf } from '../../src/index/keys.js';
import type { LogEntry, LogPoint } from '../../src/quorum/state-machine.js';
import { nextEntry } from './fake-log.js';

/** The entry at the position behind `before`: a few rows out of 5,000, some large, some deleted. */
export function seededEntry(before: LogPoint): LogEntry {
  const random = seededRandom(before.position + 1);
  const writes = new Map<number, Write>();
  for (let i = 1 + random.below(6); i > 0; i--) {
    const number = random.below(5000);
    const bytes = random.below(30) === 0 ? random.below(20_000) : random.below(150);
    const value = random.below(4) === 0 ? undefined : Buffer.alloc(bytes, Buffer.from(random.bytes(5)));
    writes.set(number, { key: keyOf(1).number(number).end(), value });
  }
  const sorted = [...writes].sort(([a], [b]) => a - b).map(([, write]) => write);
  const bytes = sorted.reduce((sum, { key, value }) => sum + writeBytes(key.length, value?.length), 0);
  return nextEntry(before, encodeWrites(sorted, sorted.length, bytes));
}

/** So many entries behind `before`. */
export function seededEntries(before: LogPoint, count: number): LogEntry[] {
  const entries: LogEntry[] = [];
  let at = before;
  for (let i = 0; i < count; i++) {
    const entry = seededEntry(at);
    entries.push(entry);
    at = entry.point;
  }
  return entries;
}
