/**
 * Clock, timers and randomness. Everything above takes them from here, so that a pool can run in simulation from one seed.
 */
import { randomBytes } from 'node:crypto';
import { nativeIo } from './native-io.js';

const NANOSECONDS = 1_000_000_000n;

/** Cancels a timer; calling it twice, or after the timer fired, does nothing. */
export type Cancel = () => void;

export interface Clock {
  /** Milliseconds that only grow; for intervals. */
  monotonicMs(): number;
  /** Time since 1970, by the tick (1–10 ms) with which the kernel dates files, so that its dates and ours are in order; for file times. */
  now(): Time;
  /** Runs `action` once after `delayMs`. The timer alone does not keep the process alive. */
  after(delayMs: number, action: () => void): Cancel;
  /** Resolves after `delayMs`. */
  sleep(delayMs: number): Promise<void>;
  /** Gives the event loop a turn: other I/O and timers run before the promise resolves. */
  yield(): Promise<void>;
}

/** A point in time, UTC. `nanoseconds` is 0 … 999,999,999. */
export interface Time {
  readonly seconds: number;
  readonly nanoseconds: number;
}

export interface Random {
  /** `count` random bytes. */
  bytes(count: number): Uint8Array;
  /** A whole number from 0 to `below` - 1. */
  below(below: number): number;
}

/** The machine's clock. */
export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  now() {
    const nanoseconds = nativeIo().kernelTime();
    return { seconds: Number(nanoseconds / NANOSECONDS), nanoseconds: Number(nanoseconds % NANOSECONDS) };
  },
  after(delayMs, action) {
    const timer = setTimeout(action, delayMs);
    timer.unref();
    return () => {
      clearTimeout(timer);
    };
  },
  sleep: (delayMs) => new Promise((resolve) => setTimeout(resolve, delayMs)),
  yield: () => new Promise((resolve) => setImmediate(resolve)),
};

/** The machine's randomness. */
export const systemRandom: Random = {
  bytes: (count) => randomBytes(count),
  below: (below) => Math.floor((randomBytes(6).readUIntBE(0, 6) / 2 ** 48) * below),
};

/** Randomness from a seed (mulberry32; Tommy Ettinger's public-domain generator), for simulation and tests. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
  return {
    bytes(count) {
      const out = new Uint8Array(count);
      for (let i = 0; i < count; i++) out[i] = next() & 0xff;
      return out;
    },
    below: (below) => Math.floor((next() / 2 ** 32) * below),
  };
}
