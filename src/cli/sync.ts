/**
 * `ostraka sync`: returns when all that was written before is durable. sync(2) and syncfs(2) do not wait for a FUSE file system, so each file with
 * open writers is fsynced through the mount, from this process (never the daemon, which would wait for itself); then the daemon waits for its barrier.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { SingleBar } from 'cli-progress';
import type { Command } from 'commander';
import { z } from 'zod';
import { OperatingError, asOperatingError } from '../base/errors.js';
import { ControlClient } from '../daemon/control-client.js';
import { poolPaths } from '../daemon/folders.js';
import { readDefinition } from '../daemon/pool-definition.js';
import type { Context } from './context.js';

const FSYNCS_IN_FLIGHT = 4;
const PROGRESS_AFTER_MS = 2000;

const writersSchema = z.object({ mountpoint: z.string(), paths: z.array(z.string()) });

export function addSync(program: Command, { folders, output }: Context): void {
  program
    .command('sync')
    .description('return when everything written before is durable on the disks')
    .argument('<NAME>', 'the pool')
    .addHelpText('after', '\nExample:\n  ostraka sync photos\n')
    .action(async (name: string) => {
      await readDefinition(folders, name);
      const client = await ControlClient.connect(poolPaths(folders, name).socket);
      if (client === undefined)
        throw new OperatingError('ENOTCONN', `pool "${name}" is not mounted`, {
          hint: 'What was written before it was unmounted is durable.',
        });
      try {
        const { mountpoint, paths } = writersSchema.parse(await client.request({ verb: 'writers' }));
        await fsyncAll(mountpoint, paths);
        await client.request({ verb: 'sync' });
      } finally {
        client.close();
      }
      output.line(`Everything written to pool "${name}" before is durable.`);
    });
}

/** @param paths below the mount point, one character a byte. */
async function fsyncAll(mountpoint: string, paths: readonly string[]): Promise<void> {
  const bar = new SingleBar({ format: 'files {bar} {value}/{total}', stream: process.stderr, noTTYOutput: false, hideCursor: true });
  const timer = setTimeout(() => {
    bar.start(paths.length, 0);
  }, PROGRESS_AFTER_MS);
  let next = 0;
  let done = 0;
  const work = async (): Promise<void> => {
    for (let path = paths[next++]; path !== undefined; path = paths[next++]) {
      await fsyncFile(mountpoint, path);
      bar.update(++done);
    }
  };
  try {
    await Promise.all(Array.from({ length: FSYNCS_IN_FLIGHT }, work));
  } finally {
    clearTimeout(timer);
    bar.stop();
  }
}

async function fsyncFile(mountpoint: string, path: string): Promise<void> {
  const full = Buffer.concat([Buffer.from(mountpoint + '/'), Buffer.from(path, 'latin1')]);
  try {
    const file = await open(full, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    await file.sync().finally(() => file.close());
  } catch (error) {
    // Unlinked or renamed meanwhile: then it is not this name's content that has to last, and the daemon's own sync covers the rename.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || (error as NodeJS.ErrnoException).code === 'ELOOP') return;
    throw asOperatingError(error, {
      path: join(mountpoint, path),
      hint: 'The file system lost unsaved changes of this file; write it again.',
    });
  }
}
