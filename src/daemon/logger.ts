/** Log lines on standard error: one JSON object each for the daemon's log file or a terminal, words with a priority for the system's journal. */
import { stat } from 'node:fs/promises';
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

const toStandardError = (): pino.DestinationStream => pino.destination({ fd: 2, sync: true });

/** syslog(3)'s priorities, as sd-daemon(3) has them at the beginning of a line. */
const PRIORITIES = { error: '<3>', warn: '<4>', info: '<6>' } as const;

/** A line for the journal, which adds time and process by itself: the message, and what belongs to it as JSON. */
export function journalLine(level: keyof typeof PRIORITIES, message: string, detail: Readonly<Record<string, unknown>> = {}): string {
  const said = Object.values(detail).some((value) => value !== undefined);
  // A line feed would begin an entry of its own, without a priority; JSON has none.
  return `${PRIORITIES[level]}${message.replaceAll('\n', ' ')}${said ? ` ${JSON.stringify(detail)}` : ''}\n`;
}

/** Does standard error lead into the journal? $JOURNAL_STREAM is device:inode of the stream that the service manager made. */
async function isJournal(env: NodeJS.ProcessEnv): Promise<boolean> {
  if (env.JOURNAL_STREAM === undefined) return false;
  const found = await stat('/proc/self/fd/2').catch(() => undefined);
  return found !== undefined && env.JOURNAL_STREAM === `${found.dev}:${found.ino}`;
}

/** @param pool stands in each line. Lines are written at once: the last words of a dying process matter most. */
export async function stderrLog(pool: string, env: NodeJS.ProcessEnv = process.env): Promise<Log> {
  return withoutRepeats((await isJournal(env)) ? journalLog() : jsonLog(pool), () => systemClock.monotonicMs());
}

function journalLog(): Log {
  const stream = toStandardError();
  return (level, message, detail) => {
    stream.write(journalLine(level, message, detail));
  };
}

function jsonLog(pool: string): Log {
  const logger = pino(
    { base: { pool, pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } },
    toStandardError(),
  );
  return (level, message, detail = {}) => {
    logger[level](detail, message);
  };
}
