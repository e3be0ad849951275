/** From a path on a mounted pool to the daemon that serves it. */
import { stat } from 'node:fs/promises';
import { asOperatingError, OperatingError } from '../base/errors.js';
import { ControlClient } from '../daemon/control-client.js';
import { poolPaths, type Folders } from '../daemon/folders.js';
import { sourceOfDevice } from '../frontend/fuse/mount-table.js';
import { MOUNT_TYPE } from '../frontend/fuse/stale-mount.js';

export interface PathOnPool {
  readonly pool: string;
  readonly ino: number;
  readonly isDirectory: boolean;
}

/**
 * Runs `work` with a connection to the daemon that a path is served by.
 * @throws OperatingError ENOENT there is nothing; EINVAL it is elsewhere; ENOTCONN the daemon is another user's
 */
export async function withPath<T>(
  folders: Folders,
  path: string,
  work: (client: ControlClient, found: PathOnPool) => Promise<T>,
): Promise<T> {
  const found = await stat(path).catch((error: unknown) => {
    throw asOperatingError(error, { path });
  });
  const pool = await sourceOfDevice(MOUNT_TYPE, found.dev);
  if (pool === undefined)
    throw new OperatingError('EINVAL', `${path} is not on a pool of Ostraka`, {
      path,
      hint: '"ostraka list" shows what is mounted where.',
    });
  const client = await ControlClient.connect(poolPaths(folders, pool).socket);
  if (client === undefined)
    throw new OperatingError('ENOTCONN', `the daemon of pool "${pool}" cannot be asked`, { hint: 'Are you the user who mounted it?' });
  try {
    return await work(client, { pool, ino: found.ino, isDirectory: found.isDirectory() });
  } finally {
    client.close();
  }
}
