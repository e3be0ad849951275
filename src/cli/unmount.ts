/** `ostraka unmount`: returns when all is durable, the mount is gone and the daemon has ended. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { OperatingError } from '../base/errors.js';
import { ControlClient } from '../daemon/control-client.js';
import type { StopProgress } from '../daemon/control-protocol.js';
import { poolPaths, type Folders } from '../daemon/folders.js';
import { definedPools, findDefinition, readDefinition, type PoolDefinition } from '../daemon/pool-definition.js';
import { cleanDeadMount, waitForExit } from '../daemon/pool-status.js';
import { mountsAt, tablePath } from '../frontend/fuse/mount-table.js';
import type { Context } from './context.js';
import { formatBytes, type Output } from './output.js';

/** Longer than an unmount usually takes. */
const PROGRESS_INTERVAL_MS = 2000;

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
  // A stop is answered when it is done; how far it is, is asked beside it.
  const observer = await ControlClient.connect(poolPaths(folders, definition.name).socket);
  const end = observer && showProgress(observer, output);
  try {
    const { pid } = (await client.request({ verb: 'stop', lazy })) as { pid: number };
    end?.();
    await client.ended();
    await waitForExit(pid);
  } finally {
    end?.();
    client.close();
  }
  output.line(`Pool "${definition.name}" is unmounted.`);
}

/** Says how far a stop is, every few seconds while it lasts. Returns what ends that. */
function showProgress(observer: ControlClient, output: Output): () => void {
  let said = '';
  const timer = setInterval(() => {
    observer.request({ verb: 'stop-progress' }).then(
      (answer) => {
        const text = progressText(answer as StopProgress);
        if (text !== said) output.note(text);
        said = text;
      },
      // It has ended, or does not know the question.
      () => undefined,
    );
  }, PROGRESS_INTERVAL_MS);
  return () => {
    clearInterval(timer);
    observer.close();
  };
}

/** One line of it. */
function progressText({ step, dirty_bytes, unsynced_bytes, changes, late_disks }: StopProgress): string {
  const doing = step === 'closing' ? 'Making everything durable' : 'Writing back what programs have written';
  const left = [
    ...(dirty_bytes > 0 ? [`${formatBytes(dirty_bytes)} to store`] : []),
    ...(unsynced_bytes > 0 ? [`${formatBytes(unsynced_bytes)} to sync`] : []),
    ...(changes > 0 ? [`${changes} changes of the index`] : []),
  ];
  const late = late_disks.length === 0 ? '' : `; waiting for ${late_disks.join(', ')}`;
  return `${doing}…${left.length === 0 ? '' : ` left: ${left.join(', ')}`}${late}`;
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
  // A name comes first; a folder may be meant, too, as umount(8) takes it.
  if (!which.includes('/') && !which.startsWith('.')) {
    const found = (await findDefinition(folders, which)) ?? (await findMounted(folders, which).catch(() => undefined));
    return found ?? readDefinition(folders, which);
  }
  const found = await findMounted(folders, which);
  if (found !== undefined) return found;
  throw new OperatingError('ENOENT', 'no pool known here is mounted at this path', {
    path: resolve(which),
    hint: '"ostraka list" shows where pools are mounted.',
  });
}
