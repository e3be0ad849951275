/**
 * Watching a long-running job of a pool's daemon: a bar with rate and time left on a terminal, plain lines otherwise, until it ends. Verbs that start jobs
 * call it. The job belongs to the daemon: who stops watching (Ctrl-C) does not stop it.
 */
import { SingleBar } from 'cli-progress';
import { systemClock } from '../base/clock.js';
import { OperatingError } from '../base/errors.js';
import type { ControlClient } from '../daemon/control-client.js';
import type { JobAction, JobAnswer } from '../daemon/jobs.js';
import type { JobReport } from '../daemon/status-report.js';
import { isActive, type Job } from '../durability/progress.js';
import { formatBytes } from './output.js';

/** How often the daemon is asked. */
const ASK_MS = 500;
/** Without a terminal, a line so often. */
const LINE_MS = 10_000;
const BAR_STEPS = 1000;

/** Where progress goes: standard error, so that the result alone is on standard output. */
export interface ProgressSink {
  readonly isTTY?: boolean | undefined;
  write(text: string): unknown;
}

/** Asks the daemon for something about a job. */
export async function requestJob(
  client: ControlClient,
  kind: string,
  action: JobAction,
  options?: Readonly<Record<string, unknown>>,
): Promise<JobAnswer> {
  return (await client.request({ verb: 'job', kind, action, ...(options !== undefined && { options }) })) as JobAnswer;
}

/** @throws OperatingError EIO with the job's message when it failed, ECANCELED when somebody cancelled it */
export function refuseFailed({ job }: JobAnswer): void {
  if (job.state === 'failed') throw new OperatingError('EIO', `${job.kind} failed: ${job.message ?? 'no reason given'}`);
  if (job.state === 'cancelled') throw new OperatingError('ECANCELED', `${job.kind} was cancelled`);
}

/**
 * Shows how a job gets on until it ends, one way or the other; one that waits or is paused is watched on.
 * @param between each time that it has looked; `pause` takes the progress off the terminal, for something else to be printed
 */
export async function watchJob(
  client: ControlClient,
  kind: string,
  { sink = process.stderr, between }: { sink?: ProgressSink; between?: (pause: () => void) => Promise<void> } = {},
): Promise<JobAnswer> {
  const view = sink.isTTY === true ? new BarView() : new LineView(sink);
  try {
    for (;;) {
      const answer = await requestJob(client, kind, 'status');
      const { job } = answer;
      if (!isActive(job)) {
        return answer;
      }
      view.show(job);
      await between?.(() => {
        view.end();
      });
      await new Promise((resolve) => setTimeout(resolve, ASK_MS));
    }
  } finally {
    view.end();
  }
}

/** 0 … 1; undefined when nobody knows the whole. */
function fraction({ doneBytes, totalBytes, doneItems, totalItems }: Job): number | undefined {
  if (totalBytes > 0) return Math.min(1, doneBytes / totalBytes);
  if (totalItems > 0) return Math.min(1, doneItems / totalItems);
  return undefined;
}

/** "42 %, 1.2 GiB of 3.0 GiB, 180 MiB/s, 3 min left: disk 2" */
export function describeJob(job: Job): string {
  const parts: string[] = [];
  const part = fraction(job);
  if (job.state !== 'running') parts.push(job.state);
  if (part !== undefined) parts.push(`${(part * 100).toFixed(part < 0.1 ? 1 : 0)} %`);
  const bytes = job.totalBytes > 0 || job.doneBytes > 0;
  if (bytes)
    parts.push(job.totalBytes > 0 ? `${formatBytes(job.doneBytes)} of ${formatBytes(job.totalBytes)}` : formatBytes(job.doneBytes));
  else if (job.totalItems > 0) parts.push(`${job.doneItems} of ${job.totalItems}`);
  if (job.state === 'running' && job.ratePerSecond > 0)
    parts.push(bytes ? `${formatBytes(job.ratePerSecond)}/s` : `${Math.round(job.ratePerSecond)}/s`);
  if (job.state === 'running' && job.secondsLeft !== null) parts.push(`${formatDuration(job.secondsLeft)} left`);
  const message = job.message === null ? '' : `${parts.length > 0 ? ': ' : ''}${job.message}`;
  return parts.join(', ') + message;
}

/** 75 → "1 min 15 s". */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [days, hours, minutes] = [Math.floor(whole / 86_400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

/** "200M" → bytes; undefined when it is no size. */
export function parseRate(text: string): number | undefined {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:iB|B)?$/i.exec(text) ?? [];
  if (digits === undefined || unit === undefined) return undefined;
  return Math.round(Number(digits) * 1024 ** (unit === '' ? 0 : 'KMGT'.indexOf(unit.toUpperCase()) + 1));
}

export function nowSeconds(): number {
  return systemClock.now().seconds;
}

/** 90 seconds ago → "1 min 30 s ago"; longer ago than a week, the date. */
export function formatSince(seconds: number, nowSeconds: number): string {
  const ago = nowSeconds - seconds;
  if (ago > 7 * 86_400) return `on ${new Date(seconds * 1000).toISOString().slice(0, 10)}`;
  return ago < 2 ? 'just now' : `${formatDuration(ago < 60 ? ago : ago - (ago % 60)).replace(/ 0 (s|min|h)$/, '')} ago`;
}

/** "done 3 h ago, took 12 min" */
export function lastRunText({ state, started_at: startedAt, finished_at: finishedAt, message }: JobReport): string {
  if (startedAt === null || finishedAt === null) return state;
  const took = `${state} ${formatSince(finishedAt, nowSeconds())}, took ${formatDuration(finishedAt - startedAt)}`;
  return message === null ? took : `${took}: ${message}`;
}

interface View {
  show(job: Job): void;
  /** May come twice. */
  end(): void;
}

class BarView implements View {
  readonly #bar = new SingleBar({ format: '{kind} {bar} {text}', stream: process.stderr, hideCursor: true, barsize: 30, linewrap: false });
  #started = false;

  show(job: Job): void {
    const value = Math.round((fraction(job) ?? 0) * BAR_STEPS);
    const payload = { kind: job.kind, text: describeJob(job) };
    if (this.#started) this.#bar.update(value, payload);
    else this.#bar.start(BAR_STEPS, value, payload);
    this.#started = true;
  }

  end(): void {
    if (this.#started) this.#bar.stop();
    this.#started = false;
  }
}

class LineView implements View {
  readonly #sink: ProgressSink;
  #shownMs: number | undefined;
  #asked = 0;

  constructor(sink: ProgressSink) {
    this.#sink = sink;
  }

  show(job: Job): void {
    // What ends within two seconds needs no line.
    const now = this.#asked++ * ASK_MS;
    if (now < 2000 || (this.#shownMs !== undefined && now - this.#shownMs < LINE_MS)) return;
    this.#shownMs = now;
    this.#sink.write(`${job.kind}: ${describeJob(job)}\n`);
  }

  end(): void {
    this.#shownMs = undefined;
  }
}
