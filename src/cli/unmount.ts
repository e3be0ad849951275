/** `ostraka unmount`: returns when all is durable, the mount is gone and the daemon has ended. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { OperatingError } from '../base/errors.js';
import { ControlClient } from '../daemon/control-client.js';
import { poolPaths, type Folders } from '../daemon/folders.js';
import { definedPools, findDefinition, readDefinition, type PoolDefinition } from '../daemon/pool-definition.js';
import { cleanDeadMount, waitForExit } from '../daemon/pool-status.js';
import { mountsAt, tablePath } from '../frontend/fuse/mount-table.js';
import type { Context } from './context.js';

export function addUnmount(program: Command, context: Context): void {
  program
    .command('unmount')
    .description('unmount a pool; returns when everything is durable and the daemon has ended')
    .argument('<NAME|MOUNTPOINT>', 'the pool, or where it is mounted')
    .option('--lazy', 'also when files are open: the mount disappears at once, what is open ends with EIO')
    .addHelpText('after', '\nExample:\n  ostraka unmount photos\n  ostraka unmount /srv/photos\n')
    .action(async (which: string, options: { lazy?: boolean }) => {
      await unmountPool(context, await find(context.folders, which), options.lazy === true);
    });
}

/** Unmounts a pool and waits for the end of its daemon; where that had died, removes its mount. */
export async function unmountPool({ folders, output }: Context, definition: PoolDefinition, lazy: boolean): Promise<void> {
  const client = await ControlClient.connect(poolPaths(folders, definition.name).socket);
  if (client === undefined) {
    if (await cleanDeadMount(definition)) {
      output.line(`The daemon of pool "${definition.name}" had died; its mount at ${definition.lastMountpoint ?? '?'} is gone now.`);
      return;
    }
    throw new OperatingError('ENOTCONN', `pool "${definition.name}" is not mounted`, { hint: '"ostraka list" shows which are.' });
  }
  try {
    const { pid } = (await client.request({ verb: 'stop', lazy })) as { pid: number };
    await client.ended();
    await waitForExit(pid);
  } finally {
    client.close();
  }
  output.line(`Pool "${definition.name}" is unmounted.`);
}

/** The pool that is mounted at a path, or was there last; undefined where none known here was. */
export async function findMounted(folders: Folders, path: string): Promise<PoolDefinition | undefined> {
  const mountpoint = await tablePath(path);
  const mount = (await mountsAt(path)).at(-1);
  const found: PoolDefinition[] = [];
  for (const name of await definedPools(folders)) {
    const definition = await findDefinition(folders, name);
    if (definition?.lastMountpoint === mountpoint) found.push(definition);
  }
  // Several may have been there, one after the other.
  return found.find(({ name }) => name === mount?.source) ?? found[0];
}

async function find(folders: Folders, which: string): Promise<PoolDefinition> {
  if (!which.includes('/')) return readDefinition(folders, which);
  const found = await findMounted(folders, which);
  if (found !== undefined) return found;
  throw new OperatingError('ENOENT', 'no pool known here is mounted at this path', {
    path: resolve(which),
    hint: '"ostraka list" shows where pools are mounted.',
  });
}
