/** `ostraka unmount`: returns when all is durable, the mount is gone and the daemon has ended. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { OperatingError } from '../base/errors.js';
import { ControlClient } from '../daemon/control-client.js';
import { poolPaths, type Folders } from '../daemon/folders.js';
import { definedPools, findDefinition, readDefinition, type PoolDefinition } from '../daemon/pool-definition.js';
import { cleanDeadMount, waitForExit } from '../daemon/pool-status.js';
import type { Context } from './context.js';

export function addUnmount(program: Command, { folders, output }: Context): void {
  program
    .command('unmount')
    .description('unmount a pool; returns when everything is durable and the daemon has ended')
    .argument('<NAME|MOUNTPOINT>', 'the pool, or where it is mounted')
    .option('--lazy', 'also when files are open: the mount disappears at once, what is open ends with EIO')
    .addHelpText('after', '\nExample:\n  ostraka unmount photos\n  ostraka unmount /srv/photos\n')
    .action(async (which: string, options: { lazy?: boolean }) => {
      const definition = await find(folders, which);
      const client = await ControlClient.connect(poolPaths(folders, definition.name).socket);
      if (client === undefined) {
        if (await cleanDeadMount(definition)) {
          output.line(`The daemon of pool "${definition.name}" had died; its mount at ${definition.lastMountpoint ?? '?'} is gone now.`);
          return;
        }
        throw new OperatingError('ENOTCONN', `pool "${definition.name}" is not mounted`, { hint: '"ostraka list" shows which are.' });
      }
      try {
        const { pid } = (await client.request({ verb: 'stop', lazy: options.lazy === true })) as { pid: number };
        await client.ended();
        await waitForExit(pid);
      } finally {
        client.close();
      }
      output.line(`Pool "${definition.name}" is unmounted.`);
    });
}

async function find(folders: Folders, which: string): Promise<PoolDefinition> {
  if (!which.includes('/')) return readDefinition(folders, which);
  const mountpoint = resolve(which);
  for (const name of await definedPools(folders)) {
    const definition = await findDefinition(folders, name);
    if (definition?.lastMountpoint === mountpoint) return definition;
  }
  throw new OperatingError('ENOENT', 'no pool known here is mounted at this path', {
    path: mountpoint,
    hint: '"ostraka list" shows where pools are mounted.',
  });
}
