/** Structured log lines on standard error: JSON, one a line, for the journal of the system or the daemon's log file. */
import pino from 'pino';

/** How every floor reports what the operator should see. */
export type Log = (level: 'info' | 'warn' | 'error', message: string, detail?: Readonly<Record<string, unknown>>) => void;

/** @param pool stands in each line. Lines are written at once: the last words of a dying process matter most. */
export function stderrLog(pool: string): Log {
  const logger = pino(
    { base: { pool, pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } },
    pino.destination({ fd: 2, sync: true }),
  );
  return (level, message, detail = {}) => {
    logger[level](detail, message);
  };
}
