/**
 * Keeps the daemon small. Buffers of the log and of packed files live long enough to leave V8's young generation and die soon after; V8 lets 64 MiB and
 * more of such memory pile up before it looks, since it counts little of what lies outside of its heap. This has it look earlier; not by a collection that
 * stops everything, which took 20 to 100 ms. And what a busy time left behind in both heaps goes back to the system once the daemon is quiet.
 */
import type { Cancel, Clock } from '../base/clock.js';
import { MEMORY_CHECK_INTERVAL_MS, MEMORY_GARBAGE_BYTES_MAX, MiB } from '../base/limits.js';
import { nativeIo } from '../base/native-io.js';

/** What V8 waits for, at most (its soft limit for external memory). */
const LOOK_BYTES = 64 * MiB;
/** The processor time of the last second says whether the daemon is quiet. A collection of ours takes less. */
const QUIET_LOOK_MS = 1000;
const QUIET_CPU_MS = 200;
/** What is done after so long a quiet, from the step before. A collection ends within a second or two; what it freed of the C heap, and of V8's own pages, a second one and a second trim find. */
const REST: readonly { readonly afterMs: number; readonly what: 'beginCollection' | 'trim' }[] = [
  { afterMs: 5000, what: 'beginCollection' },
  { afterMs: 3000, what: 'trim' },
  { afterMs: 12_000, what: 'beginCollection' },
  { afterMs: 3000, what: 'trim' },
];
/** From one rest to the next, so that work that comes and goes is not interrupted each time. */
const REST_INTERVAL_MS = 60_000;

/** What is watched and done. */
export interface ProcessMemory {
  /** Bytes of buffers outside of V8's heap. */
  bufferBytes(): number;
  /** Processor time of all threads since the start. */
  cpuMs(): number;
  /** Has V8 mark in steps, and on its own threads, what is in use; then it frees the rest. */
  beginCollection(): void;
  /** Gives free pages of the C heap back. Takes some milliseconds. */
  trim(): void;
}

const ownMemory: ProcessMemory = {
  bufferBytes: () => process.memoryUsage().arrayBuffers,
  cpuMs: () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  },
  beginCollection: () => {
    nativeIo().beginCollection(LOOK_BYTES);
  },
  trim: () => {
    nativeIo().trimMemory();
  },
};

/** Starts looking; the result ends it. */
export function keepMemory(clock: Clock, memory: ProcessMemory = ownMemory): Cancel {
  const cancels = [lookForGarbage(clock, memory), restWhenQuiet(clock, memory)];
  return () => {
    for (const cancel of cancels) cancel();
  };
}

/** Calls `look` again and again. */
function repeat(clock: Clock, intervalMs: number, look: () => void): Cancel {
  let cancel: Cancel;
  const again = (): void => {
    cancel = clock.after(intervalMs, () => {
      look();
      again();
    });
  };
  again();
  return () => {
    cancel();
  };
}

function lookForGarbage(clock: Clock, memory: ProcessMemory): Cancel {
  let base = memory.bufferBytes();
  return repeat(clock, MEMORY_CHECK_INTERVAL_MS, () => {
    const bytes = memory.bufferBytes();
    base = Math.min(base, bytes);
    if (bytes <= base + MEMORY_GARBAGE_BYTES_MAX) return;
    memory.beginCollection();
    // What it finds is gone when it has ended; what has come until now is no reason to begin anew.
    base = bytes;
  });
}

function restWhenQuiet(clock: Clock, memory: ProcessMemory): Cancel {
  let cpuMs = memory.cpuMs();
  let quietMs = 0; // since the last step
  let done = 0;
  let begunMs = -Infinity;
  return repeat(clock, QUIET_LOOK_MS, () => {
    const now = memory.cpuMs();
    const busy = now - cpuMs > QUIET_CPU_MS;
    cpuMs = now;
    if (busy) quietMs = done = 0;
    else quietMs += QUIET_LOOK_MS;
    const next = REST[done];
    if (next === undefined || quietMs < next.afterMs) return;
    if (done === 0) {
      if (clock.monotonicMs() < begunMs + REST_INTERVAL_MS) return;
      begunMs = clock.monotonicMs();
    }
    memory[next.what]();
    done++;
    quietMs = 0;
  });
}
