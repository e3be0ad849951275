/**
 * What mount(8) and umount(8) call for pools, through the programs that `install-helper.ts` writes:
 *
 *   mount.ostraka NAME DIR [-fnsv] [-o OPTIONS] [-t TYPE] [-N NAMESPACE]
 *   umount.ostraka DIR [-flnrv] [-t TYPE] [-N NAMESPACE]
 *
 * Mounting returns when the mount is usable, unmounting when everything is durable (README.md says when umount(8) calls this). They end with 32 where it failed, as mount(8) has it.
 */
import { basename, resolve } from 'node:path';
import type { Command } from 'commander';
import { OperatingError } from '../base/errors.js';
import { isKnownMountOption } from '../daemon/mount-options.js';
import { definedPools, readDefinition } from '../daemon/pool-definition.js';
import { poolStatus } from '../daemon/pool-status.js';
import type { Context } from './context.js';
import { mountPool } from './mount.js';
import { runProgram } from './run-program.js';
import { findMounted, unmountPool } from './unmount.js';

/** mount(8): "mount failure". */
const EXIT_MOUNT_FAILED = 32;

/** Options that mount(8) and fstab(5) keep for themselves: who may mount when, and what they note down. */
const OF_MOUNT = /^(user|users|nouser|owner|group|nogroup|noowner|(user|uhelper|helper|comment|loop|offset)=.*|X-.*)$/;

/** What the kernel can change while mounted. */
const REMOUNTABLE: ReadonlySet<string> = new Set(['ro', 'rw', 'exec', 'noexec', 'atime', 'noatime']);

interface MountArguments {
  readonly o: string[];
  /** Do everything but mount. */
  readonly f?: boolean;
  /** Bear options that are not known. */
  readonly s?: boolean;
}

interface UnmountArguments {
  readonly l?: boolean;
  readonly f?: boolean;
}

export function addMountHelper(program: Command, context: Context): void {
  program
    .command('mount-helper', { hidden: true })
    .description('what mount(8) calls for type ostraka')
    .argument('<NAME>')
    .argument('<DIR>')
    .option('-o <OPT,...>', 'options', (value: string, before: string[]) => [...before, value], [])
    .option('-f', 'only check')
    .option('-s', 'bear unknown options')
    .option('-n', 'no effect')
    .option('-v', 'no effect')
    .option('-t <TYPE>', 'no effect')
    .option('-N <NAMESPACE>', 'no effect')
    .addHelpText('after', '\nExample:\n  mount -t ostraka photos /srv/photos\n')
    .action((source: string, directory: string, options: MountArguments) =>
      asMountProgram(context, () => helpMount(context, source, directory, options)),
    );
}

export function addUnmountHelper(program: Command, context: Context): void {
  program
    .command('unmount-helper', { hidden: true })
    .description('what umount(8) calls for type fuse.ostraka')
    .argument('<DIR>')
    .option('-l', 'detach now, also when files are open')
    .option('-f', 'the same')
    .option('-n', 'no effect')
    .option('-r', 'no effect')
    .option('-v', 'no effect')
    .option('-t <TYPE>', 'no effect')
    .option('-N <NAMESPACE>', 'no effect')
    .addHelpText('after', '\nExample:\n  umount /srv/photos\n')
    .action((directory: string, options: UnmountArguments) =>
      asMountProgram(context, () => helpUnmount(context, directory, options.l === true || options.f === true)),
    );
}

async function asMountProgram({ output }: Context, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    output.error(error);
    process.exitCode = EXIT_MOUNT_FAILED;
  }
}

async function helpMount(context: Context, source: string, directory: string, { o, f, s }: MountArguments): Promise<void> {
  const names = o.flatMap((list) => list.split(',')).filter((name) => name !== '' && !OF_MOUNT.test(name));
  const pool = await poolOf(context, source);
  if (names.includes('remount')) {
    if (f !== true) await remount(context, pool, directory, names);
    return;
  }
  const options = s === true ? names.filter(isKnownMountOption) : names;
  if (f === true) return;
  await mountPool(context, pool, directory, [options.join(',')], false);
}

/** mount(8) makes a path of a name when there happens to be such a file where it was called. */
async function poolOf({ folders }: Context, source: string): Promise<string> {
  const last = basename(source);
  return source.includes('/') && (await definedPools(folders)).includes(last) ? last : source;
}

/** Options of the kernel's are changed; mount(8) hands over all others as they are in fstab or in force, and they stay. */
async function remount({ folders }: Context, pool: string, directory: string, names: readonly string[]): Promise<void> {
  const changed = names.filter((name) => REMOUNTABLE.has(name));
  const last = changed.filter((name) => name === 'ro' || name === 'rw').at(-1);
  const { state } = await poolStatus(folders, await readDefinition(folders, pool));
  if (last === 'rw' && state === 'read-only')
    throw new OperatingError('EROFS', `pool "${pool}" was mounted read-only, or has no majority of voters`, {
      path: directory,
      hint: `"ostraka status ${pool}" says why. Unmount it and mount it again.`,
    });
  await runProgram('mount', ['-i', '--options-mode', 'ignore', '-o', ['remount', ...changed].join(','), resolve(directory)]);
}

async function helpUnmount(context: Context, directory: string, lazy: boolean): Promise<void> {
  const definition = await findMounted(context.folders, directory);
  // A pool of somebody else's, or whose definition is elsewhere: its daemon notices that it was unmounted.
  if (definition === undefined) await runProgram('umount', ['-i', ...(lazy ? ['-l'] : []), directory]);
  else await unmountPool(context, definition, lazy);
}
