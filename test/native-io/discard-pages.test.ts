/** Memory that goes back to the system while its array lives on. */
import t from 'tap';
import { readFileSync } from 'node:fs';
import { MiB } from '../../src/base/limits.js';
import { nativeIo } from '../../src/base/native-io.js';

/** Resident pages that belong to this process alone. */
function anonymousBytes(): number {
  return Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
}

t.test('pages wholly within the array go, and nothing beside them', (t) => {
  const all = Buffer.allocUnsafeSlow(64 * MiB).fill(7);
  const before = anonymousBytes();
  const part = all.subarray(10_001, 60 * MiB);
  nativeIo().discardPages(part);
  t.ok(before - anonymousBytes() > 55 * MiB, 'they are the system’s');
  t.ok(all.subarray(0, 10_001).every((byte) => byte === 7));
  t.ok(all.subarray(60 * MiB).every((byte) => byte === 7));
  const first = part.indexOf(0);
  const end = part.lastIndexOf(0) + 1;
  t.ok(first >= 0 && first < 65_536 && part.length - end < 65_536);
  t.ok(part.subarray(first, end).every((byte) => byte === 0));
  part.fill(9);
  t.ok(
    all.subarray(10_001, 60 * MiB).every((byte) => byte === 9),
    'it can be used again',
  );
  t.end();
});

t.test('less than a page stays as it is', (t) => {
  const small = Buffer.alloc(4000, 7);
  nativeIo().discardPages(small);
  nativeIo().discardPages(small.subarray(0, 0));
  t.ok(small.every((byte) => byte === 7));
  // @ts-expect-error what is not an array is refused
  t.throws(() => nativeIo().discardPages(7), TypeError);
  t.end();
});
