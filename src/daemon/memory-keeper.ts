/**
 * Keeps the daemon small. Buffers of the log and of packed files live long enough to leave V8's young generation and die soon after; V8 lets 64 MiB and
 * more of such memory pile up before it looks, since it counts little of what lies outside of its heap. This looks earlier.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Cancel, Clock } from '../base/clock.js';
import { MEMORY_CHECK_INTERVAL_MS, MEMORY_GARBAGE_BYTES_MAX } from '../base/limits.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Starts looking; the result ends it. */
export function keepMemory(clock: Clock): Cancel {
  let base = process.memoryUsage().arrayBuffers;
  let cancel: Cancel;
  const look = (): void => {
    const bytes = process.memoryUsage().arrayBuffers;
    base = Math.min(base, bytes);
    if (bytes > base + MEMORY_GARBAGE_BYTES_MAX) {
      collect();
      base = process.memoryUsage().arrayBuffers;
    }
    cancel = clock.after(MEMORY_CHECK_INTERVAL_MS, look);
  };
  cancel = clock.after(MEMORY_CHECK_INTERVAL_MS, look);
  return () => {
    cancel();
  };
}
