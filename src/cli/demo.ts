/** `ostraka demo`, which `npm start` runs: a pool of six folders under the user's data folder, mounted until Ctrl-C. */
import { lstat, mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { OperatingError } from '../base/errors.js';
import { createPool } from '../daemon/create-pool.js';
import { importPool } from '../daemon/import-pool.js';
import { findDefinition } from '../daemon/pool-definition.js';
import type { Context } from './context.js';
import { mountPool, stayWith } from './mount.js';

const POOL = 'demo';
const DISKS = 6;

export function addDemo(program: Command, context: Context): void {
  program
    .command('demo', { hidden: true })
    .description('make (once) and mount a pool of six folders, until Ctrl-C')
    .argument('[MOUNTPOINT]', 'where; ~/ostraka unless given')
    .addHelpText('after', '\nExample:\n  npm start -- /tmp/ostraka\n')
    .action(async (given: string | undefined) => {
      const { output } = context;
      const disks = await preparePool(context);
      const mountpoint = given === undefined ? join(homedir(), 'ostraka') : resolve(given);
      await mkdir(mountpoint, { recursive: true }).catch((error: NodeJS.ErrnoException) => {
        // The mount of a daemon that was killed; mounting cleans it up. Anything else is told by mounting.
        if (error.code !== 'ENOTCONN' && error.code !== 'EEXIST') throw error;
      });
      const launched = await mountPool(context, POOL, mountpoint, [], true);
      const { bold, cyan } = output.colours;
      const command = (text: string): string => `    ${cyan(text)}`;
      output.line();
      output.line(bold(`Pool "${POOL}" is mounted at ${mountpoint}, coded 4+2 over six folders in ${parent(disks)}.`));
      output.line(
        'Six folders of one real disk protect from nothing: this shows how Ostraka works. Use a real disk for each where data matters.',
      );
      output.line();
      output.line('Try, in another terminal:');
      output.line(command(`cp -a /usr/include ${mountpoint}/`));
      output.line(command(`npx ostraka status ${POOL}`));
      output.line(`  lose a disk (any two may go), and read everything back:`);
      output.line(command(`mv ${disks[1] ?? ''} ${disks[1] ?? ''}.gone`));
      output.line(command(`diff -r /usr/include ${mountpoint}/include && echo all the same`));
      output.line(command(`mv ${disks[1] ?? ''}.gone ${disks[1] ?? ''}`));
      output.line();
      output.line('Ctrl-C unmounts. The next start finds pool and files again.');
      await stayWith(launched);
      output.line(`Unmounted. Everything is in ${parent(disks)}.`);
    });
}

function parent(disks: readonly string[]): string {
  return join(disks[0] ?? '', '..');
}

/** Finds the demo pool, takes it over from its folders, or makes it. Returns its folders. */
async function preparePool({ folders, output }: Context): Promise<string[]> {
  const found = await findDefinition(folders, POOL);
  if (found !== undefined) return found.members.filter(({ role }) => role === 'data').map(({ directory }) => directory);
  const { XDG_DATA_HOME: xdg } = process.env;
  const data = xdg !== undefined && isAbsolute(xdg) ? xdg : join(homedir(), '.local', 'share');
  const disks = Array.from({ length: DISKS }, (_, index) => join(data, 'ostraka', 'demo', `disk${index + 1}`));
  const there = await existing(disks);
  const superblocks = await existing(disks.map((disk) => join(disk, 'ostraka.superblock')));
  if (superblocks.length > 0) {
    // Missing is not new: folders of an earlier demo are taken over, never made again.
    await importPool({ folders, directories: superblocks.map((path) => join(path, '..')), name: POOL });
    output.line(`The demo pool was found in ${parent(disks)}.`);
    return disks;
  }
  for (const disk of disks) if (!there.includes(disk)) await mkdir(disk, { recursive: true });
  await createPool({ folders, name: POOL, disks, code: { k: 4, m: 2 }, witnesses: [], zones: [] });
  output.line(`A pool "${POOL}" of six folders was made in ${parent(disks)}.`);
  return disks;
}

async function existing(paths: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const path of paths)
    try {
      await lstat(path);
      found.push(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        throw new OperatingError('EIO', `cannot look at ${path}`, { path, cause: error });
    }
  return found;
}
