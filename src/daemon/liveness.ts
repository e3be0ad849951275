/**
 * Signs of life for the service manager's watchdog, begun by the daemon's process when the pool is mounted. A timer alone would go on while requests
 * hang: a sign is sent only after a statfs(2) has gone through the mount, that is through the kernel, the FUSE channel, this event loop, the namespace and
 * back. Without a sign for long enough the service manager kills the daemon and starts it again, which recovery makes safe.
 *
 *   waiting ──interval──▶ probing ──answered──▶ sign sent ──▶ waiting
 *                            └──no answer: it stays here, no sign is sent, and no second probe is started
 */
import type { Cancel, Clock } from '../base/clock.js';
import { SERVICE_STATUS_INTERVAL_MS, SIGNS_OF_LIFE_PER_LIMIT } from '../base/limits.js';
import type { ServiceManager } from './service-manager.js';

/** What is watched. */
export interface Watched {
  /** Resolves when a request has gone all the way through; stays open as long as it hangs. */
  probe(): Promise<void>;
  /** Health in a line. */
  summary(): Promise<string>;
}

/** Runs `action` after each `intervalMs` that begins when the last one has ended. */
function repeat(action: () => Promise<void>, intervalMs: number, clock: Clock): Cancel {
  let ended = false;
  let cancel: Cancel = () => undefined;
  const next = (): void => {
    if (ended) return;
    cancel = clock.after(intervalMs, () => void action().then(next));
  };
  next();
  return () => {
    ended = true;
    cancel();
  };
}

/** Begins; the result ends it. Signs are sent where the service manager has asked for them. */
export function showLife(watched: Watched, manager: Pick<ServiceManager, 'watchdogMs' | 'alive' | 'status'>, clock: Clock): Cancel {
  const { watchdogMs } = manager;
  const status = async (): Promise<void> => {
    // What cannot be told now is told next time.
    const summary = await watched.summary().catch(() => undefined);
    if (summary !== undefined) manager.status(summary);
  };
  const sign = async (): Promise<void> => {
    await watched.probe();
    manager.alive();
  };
  const loops = [repeat(status, SERVICE_STATUS_INTERVAL_MS, clock)];
  if (watchdogMs !== undefined) loops.push(repeat(sign, watchdogMs / SIGNS_OF_LIFE_PER_LIMIT, clock));
  return () => {
    for (const end of loops) end();
  };
}
