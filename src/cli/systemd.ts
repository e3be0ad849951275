/** `ostraka systemd`: a pool as a service that is mounted at boot, watched, started again, and scrubbed. Writes units; systemd does the rest. */
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { OperatingError, asOperatingError } from '../base/errors.js';
import { ownUid, type Folders } from '../daemon/folders.js';
import { parseMountOptions } from '../daemon/mount-options.js';
import { checkPoolName, readDefinition } from '../daemon/pool-definition.js';
import { parseMountTable } from '../frontend/fuse/mount-table.js';
import type { Context } from './context.js';
import { HELPER_FOLDER, installHelpers, ownCommand } from './install-helper.js';
import { fstabEntries, mountsToWaitFor } from './mounts-to-wait-for.js';
import { runProgram } from './run-program.js';
import { fstabLine, unitNames, unitsOf, type UnitOptions } from './service-units.js';

interface InstallArguments {
  readonly options: string[];
  readonly print?: boolean;
  readonly enable?: boolean;
  readonly unitDir?: string;
  readonly scrub: string;
}

const collect = (value: string, before: string[]): string[] => [...before, value];

export function addSystemd(program: Command, context: Context): void {
  const systemd = program.command('systemd').description('run a pool as a service: mounted at boot, watched, scrubbed every month');
  systemd
    .command('install')
    .description("write a pool's service, its scrub and the scrub's timer; again after its disks have changed")
    .argument('<NAME>', 'the pool')
    .argument('<MOUNTPOINT>', 'an empty directory')
    .option('-o, --options <OPT,...>', 'mount options, as for "ostraka mount"', collect, [])
    .option('--print', 'show the units, and write nothing')
    .option('--enable', 'start at boot, and now')
    .option('--unit-dir <DIR>', 'where units belong; /etc/systemd/system for root, else ~/.config/systemd/user')
    .option('--scrub <CALENDAR>', 'when to scrub, as systemd.time(7) has it', 'monthly')
    .addHelpText(
      'after',
      '\nAs root it writes /sbin/mount.ostraka too, so that "mount -t ostraka" and lines in /etc/fstab work.\n' +
        '\nExample:\n  ostraka systemd install photos /srv/photos --enable\n  systemctl status ostraka@photos\n  journalctl -u ostraka@photos\n',
    )
    .action((name: string, mountpoint: string, options: InstallArguments) => install(context, name, mountpoint, options));
  systemd
    .command('uninstall')
    .description('stop and unmount the pool, and remove what install wrote; the pool itself stays as it is')
    .argument('<NAME>', 'the pool')
    .option('--unit-dir <DIR>', 'where install wrote the units')
    .addHelpText('after', '\nExample:\n  ostraka systemd uninstall photos\n')
    .action((name: string, options: { unitDir?: string }) => uninstall(context, name, options.unitDir));
  systemd
    .command('fstab')
    .description('show the line for /etc/fstab that mounts a pool at boot without a service')
    .argument('<NAME>', 'the pool')
    .argument('<MOUNTPOINT>', 'an empty directory')
    .option('-o, --options <OPT,...>', 'mount options', collect, [])
    .addHelpText('after', '\nExample:\n  ostraka install-helper\n  ostraka systemd fstab photos /srv/photos >>/etc/fstab\n')
    .action(async (name: string, mountpoint: string, options: { options: string[] }) => {
      context.output.line(fstabLine(await unitOptions(context.folders, name, mountpoint, options.options, 'monthly')));
    });
}

/** Variables that say where Ostraka keeps what it knows: the service must find the same. */
function folderVariables(): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of ['OSTRAKA_CONFIG_DIR', 'OSTRAKA_STATE_DIR', 'OSTRAKA_RUN_DIR']) {
    const value = process.env[name];
    if (value !== undefined && value !== '') found[name] = resolve(value);
  }
  return found;
}

async function unitOptions(
  folders: Folders,
  pool: string,
  mountpoint: string,
  optionLists: readonly string[],
  scrubCalendar: string,
): Promise<UnitOptions> {
  if (!/^[\w *.,:/~-]+$/.test(scrubCalendar))
    throw new OperatingError('EINVAL', `"${scrubCalendar}" is not a calendar event`, {
      hint: 'systemd-analyze calendar "monthly" explains them.',
    });
  parseMountOptions(optionLists);
  const { members } = await readDefinition(folders, pool);
  const disks = members.map(({ directory }) => directory);
  return {
    pool,
    mountpoint: resolve(mountpoint),
    mountOptions: optionLists.join(','),
    diskMounts: mountsToWaitFor(disks, await mountpoints(), await fstab()),
    folders: [folders.config, folders.state],
    command: ownCommand(),
    environment: folderVariables(),
    scrubCalendar,
    user: ownUid() !== 0,
  };
}

async function mountpoints(): Promise<Set<string>> {
  return new Set(parseMountTable(await readFile('/proc/self/mountinfo', 'latin1')).map(({ mountpoint }) => mountpoint));
}

async function fstab(): Promise<ReadonlyMap<string, readonly string[]>> {
  return fstabEntries(await readFile('/etc/fstab', 'utf8').catch(() => ''));
}

function unitFolder(given: string | undefined): string {
  if (given !== undefined) return resolve(given);
  if (ownUid() === 0) return '/etc/systemd/system';
  const { XDG_CONFIG_HOME: xdg } = process.env;
  return join(xdg !== undefined && isAbsolute(xdg) ? xdg : join(homedir(), '.config'), 'systemd', 'user');
}

async function install(context: Context, name: string, mountpoint: string, given: InstallArguments): Promise<void> {
  const { folders, output } = context;
  const options = await unitOptions(folders, name, mountpoint, given.options, given.scrub);
  const units = unitsOf(options);
  const folder = unitFolder(given.unitDir);
  if (given.print === true) {
    for (const [index, { name: file, text }] of units.entries())
      output.line(`${index > 0 ? '\n' : ''}# ${join(folder, file)}\n${text.trimEnd()}`);
    return;
  }
  await checkDirectory(options.mountpoint);
  for (const { name: file, text } of units) {
    await replaceFile(join(folder, file), text, 0o644);
    output.line(`wrote ${join(folder, file)}`);
  }
  if (ownUid() === 0 && given.unitDir === undefined) for (const path of await installHelpers(HELPER_FOLDER)) output.line(`wrote ${path}`);
  const entries = await fstab();
  for (const path of options.diskMounts)
    if (entries.get(path)?.includes('nofail') === false)
      output.warning(`${path} has no "nofail" in /etc/fstab: without that disk this machine would not boot, though the pool would do.`);
  const { service, timer } = unitNames(name);
  const managed = await isManaged();
  if (managed) await systemctl(['daemon-reload']);
  if (given.enable === true) {
    if (!managed)
      throw new OperatingError('ENOTCONN', 'systemd does not run here, so nothing was enabled', { hint: 'The units are written.' });
    await systemctl(['enable', '--now', service, timer]);
    output.line(`Pool "${name}" is mounted at ${options.mountpoint}, now and at every boot.`);
  } else
    output.line(
      `Start it now and at every boot: systemctl ${scope().join(' ')}${scope().length > 0 ? ' ' : ''}enable --now ${service} ${timer}`,
    );
}

async function checkDirectory(path: string): Promise<void> {
  const found = await stat(path).catch((error: unknown) => {
    throw new OperatingError('ENOENT', 'the mount point is not there', { path, hint: `Make it first: mkdir -p ${path}`, cause: error });
  });
  if (!found.isDirectory()) throw new OperatingError('ENOTDIR', 'the mount point is not a directory', { path });
}

async function replaceFile(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.${process.pid}.new`;
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(temporary, text, { mode });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw asOperatingError(error, { path });
  }
}

async function uninstall({ output }: Context, name: string, unitDir: string | undefined): Promise<void> {
  checkPoolName(name);
  const folder = unitFolder(unitDir);
  const { service, scrub, timer } = unitNames(name);
  const there: string[] = [];
  for (const unit of [timer, scrub, service])
    if (await stat(join(folder, unit)).then(() => true, () => false)) there.push(unit); // prettier-ignore
  if (there.length === 0)
    throw new OperatingError('ENOENT', `no units of pool "${name}" are installed`, {
      path: folder,
      hint: 'Name another folder by --unit-dir.',
    });
  const managed = await isManaged();
  // In this order: nothing starts what was stopped.
  if (managed) for (const unit of there) await systemctl(unit === scrub ? ['stop', unit] : ['disable', '--now', unit]);
  for (const unit of there) {
    await rm(join(folder, unit), { force: true });
    output.line(`removed ${join(folder, unit)}`);
  }
  if (managed) await systemctl(['daemon-reload']);
}

/** sd_booted(3). */
async function isManaged(): Promise<boolean> {
  return stat('/run/systemd/system').then(
    (found) => found.isDirectory(),
    () => false,
  );
}

function scope(): string[] {
  return ownUid() === 0 ? [] : ['--user'];
}

function systemctl(args: readonly string[]): Promise<void> {
  return runProgram('systemctl', [...scope(), ...args], `journalctl -u ${args.at(-1) ?? ''} says more.`);
}
