/** Structured log lines on standard error: JSON, one a line, for the journal of the system or the daemon's log file. */
import pino from 'pino';
import { systemClock } from '../base/clock.js';

/** How every floor reports what the operator should see. */
export type Log = (level: 'info' | 'warn' | 'error', message: string, detail?: Readonly<Record<string, unknown>>) => void;

/** The same message is written at most so often; the next line says how many were left out. A failing disk fails thousands of times a second. */
const REPEAT_MS = 1000;
/** Messages that are remembered for that. */
const REMEMBERED_MAX = 256;

/** Wraps a log so that a message that comes again and again is written once in a while. @param nowMs monotonic */
export function withoutRepeats(log: Log, nowMs: () => number): Log {
  const seen = new Map<string, { writtenMs: number; left: number }>();
  return (level, message, detail) => {
    const last = seen.get(message);
    const now = nowMs();
    if (last !== undefined && now - last.writtenMs < REPEAT_MS) {
      last.left++;
      return;
    }
    seen.delete(message);
    seen.set(message, { writtenMs: now, left: 0 });
    for (const oldest of seen.keys()) {
      if (seen.size <= REMEMBERED_MAX) break;
      seen.delete(oldest);
    }
    log(level, message, last === undefined || last.left === 0 ? detail : { ...detail, leftOut: last.left });
  };
}

/** @param pool stands in each line. Lines are written at once: the last words of a dying process matter most. */
export function stderrLog(pool: string): Log {
  const logger = pino(
    { base: { pool, pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } },
    pino.destination({ fd: 2, sync: true }),
  );
  const write: Log = (level, message, detail = {}) => {
    logger[level](detail, message);
  };
  return withoutRepeats(write, () => systemClock.monotonicMs());
}
