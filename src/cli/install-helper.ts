/**
 * `ostraka install-helper`: the programs that mount(8) and umount(8) look for when the type of a file system is "ostraka", or "fuse.ostraka" as the kernel
 * shows it. They are two lines of shell that call the hidden verbs of `mount-helper.ts`.
 */
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { OperatingError, asOperatingError } from '../base/errors.js';
import type { Context } from './context.js';

/** Where mount(8) looks. */
export const HELPER_FOLDER = '/sbin';

const MARK = '# Written by Ostraka';

/** File → verb. */
const HELPERS: Readonly<Record<string, string>> = {
  'mount.ostraka': 'mount-helper',
  'mount.fuse.ostraka': 'mount-helper',
  'umount.ostraka': 'unmount-helper',
  'umount.fuse.ostraka': 'unmount-helper',
};

export function addInstallHelper(program: Command, { output }: Context): void {
  program
    .command('install-helper')
    .description('let mount(8), umount(8) and /etc/fstab work with pools ("ostraka systemd install" does it, too)')
    .option('--dir <DIR>', 'where they look', HELPER_FOLDER)
    .option('--remove', 'take the helpers away')
    .addHelpText('after', '\nExample:\n  ostraka install-helper\n  mount -t ostraka photos /srv/photos\n  umount /srv/photos\n')
    .action(async (options: { dir: string; remove?: boolean }) => {
      const folder = resolve(options.dir);
      if (options.remove === true) for (const path of await removeHelpers(folder)) output.line(`removed ${path}`);
      else for (const path of await installHelpers(folder)) output.line(`wrote ${path}`);
    });
}

/** Program and first argument of this very command. */
export function ownCommand(): string[] {
  return [process.execPath, fileURLToPath(new URL('./main.js', import.meta.url))];
}

/** A word for sh(1). */
function shellWord(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** Writes the helpers. @returns their paths @throws OperatingError EEXIST where a file that is not ours is in the way */
export async function installHelpers(folder: string): Promise<string[]> {
  const paths: string[] = [];
  for (const [name, verb] of Object.entries(HELPERS)) {
    const path = join(folder, name);
    if ((await ours(path)) === false)
      throw new OperatingError('EEXIST', 'this file was not written by Ostraka', {
        path,
        hint: 'Remove it, or give another folder by --dir.',
      });
    const what = verb === 'mount-helper' ? 'mount(8) and fstab(5) mount' : 'umount(8) unmounts';
    const text = `#!/bin/sh\n${MARK}: with this, ${what} its pools. "ostraka install-helper --remove" takes it away.\nexec ${ownCommand().map(shellWord).join(' ')} ${verb} "$@"\n`;
    const temporary = `${path}.${process.pid}.new`;
    try {
      await mkdir(folder, { recursive: true });
      await writeFile(temporary, text);
      await chmod(temporary, 0o755);
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined);
      throw asOperatingError(error, { path });
    }
    paths.push(path);
  }
  return paths;
}

/** Is this one of our helpers? undefined: nothing is there. */
async function ours(path: string): Promise<boolean | undefined> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw asOperatingError(error, { path });
  });
  return text?.includes(MARK);
}

async function removeHelpers(folder: string): Promise<string[]> {
  const removed: string[] = [];
  for (const name of Object.keys(HELPERS)) {
    const path = join(folder, name);
    if ((await ours(path)) !== true) continue;
    await rm(path);
    removed.push(path);
  }
  return removed;
}
