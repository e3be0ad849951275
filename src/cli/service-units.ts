/**
 * The text of the units that `ostraka systemd install` writes: the pool's service, its scrub, the scrub's timer, and the line for fstab(5) that does
 * without. Pure functions; `systemd.ts` writes and removes the files.
 *
 * Whatever puts a service into a mount namespace of its own (ProtectSystem=, PrivateTmp=, PrivateDevices=, ReadOnlyPaths= …) must not be in the pool's
 * service: the mount would be seen by nobody else. test/long/systemd.test.ts looks from outside.
 */
import { dirname } from 'node:path';
import { DAEMON_NICE_STEPS } from '../base/limits.js';

export interface UnitOptions {
  readonly pool: string;
  /** Absolute. */
  readonly mountpoint: string;
  /** As for `-o`; may be empty. */
  readonly mountOptions: string;
  /** Where file systems must be mounted for the disks to be there. */
  readonly diskMounts: readonly string[];
  /** What the pool needs beside its disks: configuration and state. */
  readonly folders: readonly string[];
  /** Program and first arguments of the `ostraka` command. */
  readonly command: readonly string[];
  /** Environment that the command was given to find its folders. */
  readonly environment: Readonly<Record<string, string>>;
  /** When to scrub, as systemd.time(7) has it. */
  readonly scrubCalendar: string;
  /** For a user's own service manager, where mounting goes through fusermount3. */
  readonly user: boolean;
}

export interface Unit {
  readonly name: string;
  readonly text: string;
}

/** Names of a pool's units: the service first. */
export function unitNames(pool: string): { readonly service: string; readonly scrub: string; readonly timer: string } {
  return { service: `ostraka@${pool}.service`, scrub: `ostraka-scrub@${pool}.service`, timer: `ostraka-scrub@${pool}.timer` };
}

/** All units of a pool. */
export function unitsOf(options: UnitOptions): Unit[] {
  const { service, scrub, timer } = unitNames(options.pool);
  return [
    { name: service, text: serviceText(options) },
    { name: scrub, text: scrubText(options) },
    { name: timer, text: timerText(options) },
  ];
}

/** One word of a setting: quoted, C escapes, no specifiers. */
export function quoted(word: string): string {
  const escaped = word.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n').replaceAll('%', '%%');
  return /^[\w@/.,:=+-]+$/.test(word) ? word : `"${escaped}"`;
}

/** A command line, where a dollar sign would begin a variable. */
function commandLine(words: readonly string[]): string {
  return words.map((word) => quoted(word).replaceAll('$', '$$$$')).join(' ');
}

/** systemd-escape --path: the name of the unit that mounts a file system at this path. */
export function mountUnitName(path: string): string {
  const trimmed = path.replace(/\/+/g, '/').replace(/^\/|\/$/g, '');
  if (trimmed === '') return '-.mount';
  const bytes = [...Buffer.from(trimmed)];
  const escaped = bytes.map((byte, index) => {
    const character = String.fromCharCode(byte);
    if (character === '/') return '-';
    const plain = /[A-Za-z0-9:_.]/.test(character) && !(character === '.' && index === 0);
    return plain ? character : `\\x${byte.toString(16).padStart(2, '0')}`;
  });
  return `${escaped.join('')}.mount`;
}

/** Paths in one setting. systemd takes quotes off but leaves escapes as they are; what cannot be said so is left out. */
function pathList(paths: readonly string[]): string {
  const words = [...new Set(paths)].filter((path) => !/["\n]/.test(path)).map((path) => path.replaceAll('%', '%%'));
  return words.map((path) => (/[\s']/.test(path) ? `"${path}"` : path)).join(' ');
}

function lines(...text: (string | readonly string[])[]): string {
  return text.flat().join('\n') + '\n';
}

function head({ pool, mountpoint }: UnitOptions, what: string): string[] {
  return [
    `# ${what} of the Ostraka pool "${pool}", mounted at ${JSON.stringify(mountpoint)}. Written by "ostraka systemd install", which overwrites it:`,
    '# settings of your own belong into a drop-in ("systemctl edit").',
  ];
}

/** What must be mounted before, in [Unit]. */
function mounts({ diskMounts, folders, mountpoint }: UnitOptions): string[] {
  const units = [...new Set(diskMounts.map(mountUnitName))];
  return [
    `RequiresMountsFor=${pathList([...folders, dirname(mountpoint)])}`,
    // Names of units are taken as they are, with their own escapes.
    ...units.flatMap((unit) => [`Wants=${unit}`, `After=${unit}`]),
  ];
}

function environmentLines({ environment }: UnitOptions): string[] {
  return Object.entries(environment).map(([name, value]) => `Environment=${quoted(`${name}=${value}`)}`);
}

/** What the daemon does not need is taken from it, in [Service]. */
function hardening(user: boolean): string[] {
  if (user)
    return [
      '# A user mounts through fusermount3, which runs as root: NoNewPrivileges=, and all that implies it, would keep it from that.',
      'UMask=0077',
      'LimitCORE=0',
    ];
  return [
    '# As far as FUSE lets. Nothing here may imply a mount namespace (ProtectSystem=, PrivateTmp=, ReadOnlyPaths= and their like do): the mount would be',
    '# seen by nobody else. MemoryDenyWriteExecute= would stop the JavaScript engine.',
    'NoNewPrivileges=yes',
    '# To mount; to reach disks whoever owns them; to have memory reclaimed without waiting for itself, and the blocks that file systems keep for root.',
    'CapabilityBoundingSet=CAP_SYS_ADMIN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_SYS_RESOURCE',
    '# The thread that answers goes before those that copy.',
    `LimitNICE=-${DAEMON_NICE_STEPS}`,
    'RestrictAddressFamilies=AF_UNIX',
    'RestrictNamespaces=yes',
    'RestrictRealtime=yes',
    'RestrictSUIDSGID=yes',
    'LockPersonality=yes',
    'KeyringMode=private',
    'SystemCallArchitectures=native',
    'SystemCallFilter=@system-service @mount',
    'SystemCallErrorNumber=EPERM',
    'DevicePolicy=closed',
    'DeviceAllow=/dev/fuse rw',
    'UMask=0077',
    '# Its memory holds what is in files.',
    'LimitCORE=0',
  ];
}

function serviceText(options: UnitOptions): string {
  const { pool, mountpoint, mountOptions, command, user } = options;
  const start = [...command, 'mount', pool, mountpoint, '--foreground', ...(mountOptions === '' ? [] : ['-o', mountOptions])];
  return lines(
    head(options, 'The service'),
    '[Unit]',
    `Description=Ostraka pool ${pool}`,
    '# What the pool cannot do without is required. Its disks are not: RequiresMountsFor= on each would keep the pool from starting when one is missing, and',
    '# stop it when one is unplugged, though it works without. So each is wanted, which has it mounted first where that can be, and waited for.',
    mounts(options),
    '# Five starts in ten minutes, then it waits for you: "systemctl reset-failed" and "systemctl start".',
    'StartLimitIntervalSec=10min',
    'StartLimitBurst=5',
    '',
    '[Service]',
    '# The command becomes the daemon: its process is the main process, and the one that speaks to systemd.',
    'Type=notify',
    'NotifyAccess=main',
    environmentLines(options),
    '# A scrub that has opened the pool by itself lets go of it; the first start may come too early for that, the next one does not.',
    `ExecStartPre=-systemctl ${user ? '--user ' : ''}kill --kill-whom=main ${unitNames(pool).scrub}`,
    `ExecStart=${commandLine(start)}`,
    '# Returns when everything is durable, and is refused while files are open; then SIGTERM detaches the mount and gives programs ten seconds.',
    `ExecStop=-${commandLine([...command, 'unmount', pool])}`,
    '# Steps that take longer ask for more.',
    'TimeoutStartSec=10min',
    '# What is not durable yet is being written to all disks. Cutting it short loses nothing that was promised but while the machine goes down.',
    'TimeoutStopSec=5min',
    '# A sign of life is a request that went through the mount and back. Disks that hang are left out after half a minute each.',
    'WatchdogSec=3min',
    'WatchdogSignal=SIGKILL',
    '# The next start recovers, whatever the last one died of. An unmount by somebody else is no failure.',
    'Restart=on-failure',
    'RestartSec=5s',
    'KillMode=mixed',
    '# Two threads a disk, and some that hang in a dead one.',
    'TasksMax=2048',
    ...(user ? [] : ['# When memory runs out, not the drive first.', 'OOMScoreAdjust=-900']),
    hardening(user),
    '',
    '[Install]',
    `WantedBy=${user ? 'default.target' : 'multi-user.target'}`,
  );
}

function scrubText(options: UnitOptions): string {
  const { pool, command, user } = options;
  const { service, timer } = unitNames(pool);
  return lines(
    head(options, 'The scrub'),
    `# ${timer} starts it.`,
    '[Unit]',
    `Description=Scrub of Ostraka pool ${pool}: everything on its disks is read and verified`,
    '# At boot behind the pool, which would find its disks taken otherwise.',
    `After=${service}`,
    mounts(options),
    '',
    '[Service]',
    'Type=oneshot',
    environmentLines(options),
    `ExecStart=${commandLine([...command, 'scrub', pool, '--watch'])}`,
    `# It takes as long as it takes. The daemon of a mounted pool goes on when this is stopped; "ostraka scrub ${pool} --pause" interrupts it.`,
    'TimeoutStartSec=infinity',
    'TimeoutStopSec=5min',
    '# These count when the pool is not mounted, and this reads the disks itself. The daemon of a mounted pool reads by itself and backs off when others do.',
    'Nice=19',
    'CPUSchedulingPolicy=idle',
    'IOSchedulingClass=idle',
    hardening(user),
  );
}

function timerText(options: UnitOptions): string {
  return lines(
    head(options, 'The timer of the scrub'),
    '[Unit]',
    `Description=Scrub of Ostraka pool ${options.pool}, now and then`,
    '',
    '[Timer]',
    `OnCalendar=${options.scrubCalendar}`,
    '# A machine that was off makes up for it,',
    'Persistent=true',
    '# and not all machines, and all their pools, at the same minute.',
    'RandomizedDelaySec=6h',
    'AccuracySec=1min',
    '',
    '[Install]',
    'WantedBy=timers.target',
  );
}

/** The line for fstab(5) that mounts the pool at boot without a service of its own. */
export function fstabLine({ pool, mountpoint, mountOptions, diskMounts }: UnitOptions): string {
  const field = (text: string): string =>
    text.replace(/[\\ \t\n]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
  // A comma would end the option.
  const after = [...new Set(diskMounts)].filter((path) => !path.includes(',')).map((path) => `x-systemd.after=${path}`);
  const options = [mountOptions === '' ? 'defaults' : mountOptions, 'nofail', 'x-systemd.mount-timeout=10min', ...after].join(',');
  return [pool, mountpoint, 'ostraka', options, '0', '0'].map(field).join(' ');
}
