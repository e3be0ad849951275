/** A process that was taken over and does not know: its users go on, until their calls fail (I9). Nobody compares what they wrote; it goes at the end. */
import type { Random } from '../../src/base/clock.js';
import { OperatingError } from '../../src/base/errors.js';
import type { Ino } from '../../src/namespace/namespace.js';
import type { PoolNamespace } from '../../src/namespace/pool-namespace.js';
import { caller } from './session.js';

const ROOT: Ino = 1;
const O_RDWR = 2;
const PREFIX = 'ghost-';
const FILE_BYTES_MAX = 120_000;

/** Makes files, one after the other, until the first error. Never rejects but for a bug. */
export async function writeOn(namespace: PoolNamespace, name: string, files: number, random: Random): Promise<void> {
  try {
    for (let file = 0; file < files; file++) {
      const { attributes, handle } = await namespace.create(ROOT, `${PREFIX}${name}-${file}`, 0o644, O_RDWR, caller);
      await namespace.write(attributes.ino, handle, 0, Buffer.alloc(1 + random.below(FILE_BYTES_MAX), file + 1), caller);
      await namespace.fsync(attributes.ino, handle);
      await namespace.release(attributes.ino, handle);
    }
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
  }
}

/** Deletes what all ghosts left. */
export async function removeGhosts(namespace: PoolNamespace): Promise<void> {
  const names: string[] = [];
  await namespace.readdir(ROOT, 0, false, ({ name }) => {
    if (name.startsWith(PREFIX)) names.push(name);
    return true;
  });
  for (const name of names) await namespace.unlink(ROOT, name);
}
