/**
 * Keeps the daemon small. Buffers of the log and of packed files live long enough to leave V8's young generation and die soon after; V8 lets 64 MiB and
 * more of such memory pile up before it looks, since it counts little of what lies outside of its heap. This has it look earlier; not by a collection that
 * stops everything, which took 20 to 100 ms.
 */
import type { Cancel, Clock } from '../base/clock.js';
import { MEMORY_CHECK_INTERVAL_MS, MEMORY_GARBAGE_BYTES_MAX, MiB } from '../base/limits.js';
import { nativeIo } from '../base/native-io.js';

/** What V8 waits for, at most (its soft limit for external memory). */
const LOOK_BYTES = 64 * MiB;

/** Starts looking; the result ends it. */
export function keepMemory(clock: Clock): Cancel {
  let base = process.memoryUsage().arrayBuffers;
  let cancel: Cancel;
  const look = (): void => {
    const bytes = process.memoryUsage().arrayBuffers;
    base = Math.min(base, bytes);
    if (bytes > base + MEMORY_GARBAGE_BYTES_MAX) {
      nativeIo().beginCollection(LOOK_BYTES);
      // What it finds is gone when it has ended; what has come until now is no reason to begin anew.
      base = bytes;
    }
    cancel = clock.after(MEMORY_CHECK_INTERVAL_MS, look);
  };
  cancel = clock.after(MEMORY_CHECK_INTERVAL_MS, look);
  return () => {
    cancel();
  };
}
