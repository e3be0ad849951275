/** What `/.ostraka` of a mount says: the daemon's reports, as text for people and simple scripts. `ostraka status --json` has all of it. */
import type { ControlFile } from '../frontend/fuse/control-directory.js';
import { settingKeys, type Settings } from './settings.js';
import type { StatusReport } from './status-report.js';

export interface ControlFilesOptions {
  readonly status: () => Promise<StatusReport>;
  /** As they are now. */
  readonly settings: () => Settings;
}

export function controlFiles({ status, settings }: ControlFilesOptions): ControlFile[] {
  return [
    { name: 'config', content: async () => configText(await status(), settings()) },
    { name: 'health', content: async () => healthText(await status()) },
    { name: 'stats', content: async () => statsText(await status()) },
  ];
}

/** What the pool is made of: JSON. */
function configText({ pool, pool_id, code, mountpoint, disks, daemon_pid }: StatusReport, settings: Settings): string {
  const config = {
    pool,
    pool_id,
    code,
    mountpoint,
    daemon_pid,
    settings: Object.fromEntries(settingKeys.map((key) => [key.key, key.format(settings)])),
    disks: disks.map(({ number, id, path, role, zone, voter }) => ({ number, id, path, role, zone, voter })),
  };
  return `${JSON.stringify(config, undefined, 2)}\n`;
}

/** The first line is the health alone; then what is wrong, a line each. */
function healthText({ health, state, messages, disks, voters, troubles }: StatusReport): string {
  const lines = [
    health,
    ...(state === 'mounted' ? [] : [`state: ${state}`]),
    ...messages,
    ...disks.filter((disk) => disk.state !== 'online').map((disk) => `disk ${disk.path}: ${disk.state}${because(disk.reason)}`),
    ...voters.filter((voter) => voter.state !== 'online').map((voter) => `voter ${voter.path}: ${voter.state}${because(voter.reason)}`),
    ...troubles.map(({ service, message }) => `${service}: ${message}`),
  ];
  return lines.map((line) => `${line.replaceAll('\n', ' ')}\n`).join('');
}

function because(reason: string | null): string {
  return reason === null ? '' : `, ${reason}`;
}

/** A name and a number a line. */
function statsText(report: StatusReport): string {
  const { log, front_end: frontEnd, disks } = report;
  const counters: [string, number][] = [
    ['usable_bytes', report.usable_bytes],
    ['used_bytes', report.used_bytes],
    ['free_bytes', report.free_bytes],
    ['objects', report.objects],
    ['endangered_blobs', report.endangered_blobs],
    ['disks', disks.length],
    ['disks_online', disks.filter(({ state }) => state === 'online').length],
    ['disk_errors', disks.reduce((sum, { errors }) => sum + errors, 0)],
  ];
  if (log !== null) counters.push(['log_epoch', log.epoch], ['log_position', log.position], ['log_durable_position', log.durable_position]);
  if (frontEnd !== null) {
    counters.push(['requests', frontEnd.requests], ['requests_under_way', frontEnd.under_way], ['requests_failed', frontEnd.failures]);
    counters.push(['open_files', frontEnd.open_files], ['loop_delay_p99_us', frontEnd.loop_delay.p99_us]);
    for (const { operation, count, failures, p50_us: p50, p99_us: p99 } of frontEnd.operations) {
      const name = operation.toLowerCase();
      counters.push([`${name}_count`, count], [`${name}_failures`, failures], [`${name}_p50_us`, p50], [`${name}_p99_us`, p99]);
    }
  }
  return counters.map(([name, value]) => `${name} ${value}\n`).join('');
}
