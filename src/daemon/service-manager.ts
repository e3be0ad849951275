/**
 * The line to systemd, by sd_notify(3): made by the daemon's process when a service manager started it. Messages are single datagrams; one that is
 * lost is a line of `systemctl status` that is missing, but for READY, which is sent until it went out.
 */
import type { Clock } from '../base/clock.js';
import { errnoNumber } from '../base/errors.js';
import { SERVICE_STATUS_CHARACTERS_MAX } from '../base/limits.js';
import { nativeIo, type Status } from '../base/native-io.js';

/** sd_notify's queue is emptied by the service manager whenever it runs; a full one is asked again. */
const FULL_RETRY_MS = 100;
const FULL_RETRIES_MAX = 50;

/** Sends one datagram: 0 or a negative errno. */
export type Send = (socket: string, text: string) => Status;

/** One line without control characters, not too long for a datagram. */
function oneLine(text: string): string {
  // eslint-disable-next-line no-control-regex -- that is what is taken out
  return text.replace(/[\x00-\x1f\x7f]+/g, ' ').slice(0, SERVICE_STATUS_CHARACTERS_MAX);
}

export class ServiceManager {
  /** A sign of life must come this often; undefined where none is asked for. */
  readonly watchdogMs: number | undefined;
  readonly #socket: string;
  readonly #send: Send;
  #status = '';

  constructor(socket: string, watchdogMs: number | undefined, send: Send) {
    this.#socket = socket;
    this.watchdogMs = watchdogMs;
    this.#send = send;
  }

  /** The service is usable. Resolves when that was said. */
  async ready(clock: Clock, status: string): Promise<void> {
    this.#status = oneLine(status);
    for (let left = FULL_RETRIES_MAX; left > 0; left--) {
      if (this.#send(this.#socket, `READY=1\nSTATUS=${this.#status}`) !== -errnoNumber('EAGAIN')) return;
      await clock.sleep(FULL_RETRY_MS);
    }
  }

  /** What `systemctl status` shows. */
  status(text: string): void {
    const line = oneLine(text);
    if (line === this.#status) return;
    this.#status = line;
    this.#send(this.#socket, `STATUS=${line}`);
  }

  /** A step of the start that may take longer: shows it, and asks for time. */
  starting(text: string, extendMs: number): void {
    this.#status = oneLine(text);
    this.#send(this.#socket, `STATUS=${this.#status}\nEXTEND_TIMEOUT_USEC=${extendMs * 1000}`);
  }

  /** A sign of life. */
  alive(): void {
    this.#send(this.#socket, 'WATCHDOG=1');
  }

  stopping(): void {
    this.#send(this.#socket, 'STOPPING=1\nSTATUS=Stopping: what was written is made durable');
  }
}

/** The service manager that started this process, by its environment; undefined when none did, or it wants to hear nothing. */
export function serviceManagerOf(
  env: NodeJS.ProcessEnv,
  pid: number,
  send: Send = (socket, text) => nativeIo().sendDatagram(socket, text),
): ServiceManager | undefined {
  const socket = env.NOTIFY_SOCKET ?? '';
  if (!/^[/@]./.test(socket)) return undefined;
  const microseconds = Number(env.WATCHDOG_USEC ?? '');
  const ours = env.WATCHDOG_PID === undefined || env.WATCHDOG_PID === String(pid);
  return new ServiceManager(socket, ours && microseconds > 0 ? microseconds / 1000 : undefined, send);
}
