/** `ostraka mount`: starts the daemon of a pool; returns when the mount is usable, or stays until it ends. */
import { readdir, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { OperatingError, asOperatingError } from '../base/errors.js';
import type { Folders } from '../daemon/folders.js';
import { becomeDaemon, launchDaemon, type Launched } from '../daemon/launch.js';
import { mountOptionNames, parseMountOptions } from '../daemon/mount-options.js';
import { readDefinition } from '../daemon/pool-definition.js';
import { refuseMountedPool } from '../daemon/pool-status.js';
import { serviceManagerOf } from '../daemon/service-manager.js';
import { mountsAt } from '../frontend/fuse/mount-table.js';
import { isStaleMount } from '../frontend/fuse/stale-mount.js';
import { BINDINGS } from '../frontend/mount.js';
import type { Context } from './context.js';

interface MountArguments {
  readonly foreground?: boolean;
  readonly options?: string[];
  readonly binding?: string;
}

export function addMount(program: Command, context: Context): void {
  program
    .command('mount')
    .description('mount a pool; returns when the mount is usable')
    .argument('<NAME>', 'the pool')
    .argument('<MOUNTPOINT>', 'an empty directory')
    .option('--foreground', 'stay, log to standard error, unmount on Ctrl-C; what a service runs')
    .option('-o, --options <OPT,...>', `mount options: ${mountOptionNames}`, (value: string, before: string[]) => [...before, value], [])
    .option('--binding <NAME>', `what carries requests: ${BINDINGS.join(', ')} (src/frontend/fuse-native says what the latter cannot do)`)
    .addHelpText('after', '\nExample:\n  ostraka mount photos /srv/photos\n  ostraka mount photos /srv/photos -o ro,allow_other\n')
    .action(async (name: string, mountpoint: string, options: MountArguments) => {
      const lists = [...(options.options ?? []), ...(options.binding === undefined ? [] : [`binding=${options.binding}`])];
      if (options.foreground === true && serviceManagerOf(process.env, process.pid) !== undefined)
        throw await mountAsService(context, name, mountpoint, lists);
      const launched = await mountPool(context, name, mountpoint, lists, options.foreground === true);
      if (options.foreground === true) await stayWith(launched);
      else
        context.output.line(
          `Pool "${name}" is mounted at ${resolve(mountpoint)}${launched.readOnlyReason === undefined ? '' : ', read-only'}.`,
        );
    });
}

interface CheckedMount {
  readonly folders: Folders;
  readonly pool: string;
  readonly mountpoint: string;
  readonly mountOptions: string;
}

/** What can be checked before there is a daemon. */
async function checkMount(folders: Folders, pool: string, mountpoint: string, optionLists: readonly string[]): Promise<CheckedMount> {
  const { nonEmpty } = parseMountOptions(optionLists);
  await refuseMountedPool(folders, await readDefinition(folders, pool));
  const target = resolve(mountpoint);
  await checkMountpoint(target, nonEmpty);
  return { folders, pool, mountpoint: target, mountOptions: optionLists.join(',') };
}

/** Started by a service manager: this process becomes the daemon, which speaks to it. Comes back only with an error. */
async function mountAsService(
  { folders }: Context,
  name: string,
  mountpoint: string,
  optionLists: readonly string[],
): Promise<OperatingError> {
  return becomeDaemon(await checkMount(folders, name, mountpoint, optionLists));
}

/** Checks what can be checked before a process is started, and starts the daemon. Warnings go to the output. */
export async function mountPool(
  { folders, output }: Context,
  name: string,
  mountpoint: string,
  optionLists: readonly string[],
  foreground: boolean,
): Promise<Launched> {
  const launched = await launchDaemon({
    ...(await checkMount(folders, name, mountpoint, optionLists)),
    foreground,
    progress: (text) => {
      output.line(text);
    },
  });
  if (launched.readOnlyReason !== undefined) output.warning(`the pool is read-only: ${launched.readOnlyReason}`);
  for (const message of launched.messages) output.warning(message);
  return launched;
}

/** A directory that is there, where nothing is mounted, and empty. The mount of a dead daemon of ours is the daemon's to clean up. */
async function checkMountpoint(path: string, nonEmpty: boolean): Promise<void> {
  if (await isStaleMount(path)) return;
  const mounted = (await mountsAt(path)).at(-1);
  if (mounted !== undefined)
    throw new OperatingError('EBUSY', `something is mounted here already (${mounted.type})`, {
      path,
      hint: 'Choose another mount point, or unmount that first.',
    });
  const hint = 'Give an empty directory.';
  try {
    if (!(await stat(path)).isDirectory()) throw new OperatingError('ENOTDIR', 'the mount point is not a directory', { path, hint });
    if (nonEmpty || (await readdir(path)).length === 0) return;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new OperatingError('ENOENT', 'the mount point is not there', { path, hint: `Make it first: mkdir -p ${path}` });
    throw asOperatingError(error, { path });
  }
  throw new OperatingError('ENOTEMPTY', 'the mount point is not empty', {
    path,
    hint: 'Give an empty directory, or -o nonempty to hide what is in it while the pool is mounted.',
  });
}

/** Passes signals on and ends as the daemon ends. */
export async function stayWith(launched: Launched): Promise<void> {
  const stop = (): void => {
    launched.stop();
  };
  process.on('SIGINT', stop).on('SIGTERM', stop).on('SIGHUP', stop);
  const how = await launched.ended;
  if (how !== 0)
    throw new OperatingError('EIO', `the daemon ended with ${how}`, { hint: 'Its messages above say why; the next mount recovers.' });
}
