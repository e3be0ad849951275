/** The kernel's table of mounts (/proc/self/mountinfo), read without touching what is mounted: a dead mount would not answer. */
import { readFile } from 'node:fs/promises';
import { OperatingError } from '../base/errors.js';

export interface Mount {
  readonly mountpoint: string;
  /** "fuse.ostraka", "ext4"… */
  readonly type: string;
  readonly source: string;
}

/** File system type of our mounts. */
export const MOUNT_TYPE = 'fuse.ostraka';

function unescape(field: string): string {
  // Spaces, tabs, newlines and backslashes stand as octal; bytes are UTF-8.
  return Buffer.from(
    field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))),
    'latin1',
  ).toString('utf8');
}

/** Mounts in the order in which they were made; the last one on a mount point covers the others. */
export function parseMountTable(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    const dash = fields.indexOf('-', 6);
    const [mountpoint, type, source] = [fields[4], fields[dash + 1], fields[dash + 2]];
    if (dash < 0 || mountpoint === undefined || type === undefined || source === undefined) continue;
    mounts.push({ mountpoint: unescape(mountpoint), type, source: unescape(source) });
  }
  return mounts;
}

export async function mountTable(): Promise<Mount[]> {
  return parseMountTable(await readFile('/proc/self/mountinfo', 'latin1'));
}

/** The mount on top of `mountpoint`, if any. */
export async function mountedAt(mountpoint: string): Promise<Mount | undefined> {
  return (await mountTable()).filter((mount) => mount.mountpoint === mountpoint).at(-1);
}

/** @throws OperatingError EBUSY when something is mounted there. */
export async function refuseMounted(mountpoint: string): Promise<void> {
  const found = await mountedAt(mountpoint);
  if (found !== undefined)
    throw new OperatingError('EBUSY', `something is mounted here already (${found.type}, ${found.source})`, {
      path: mountpoint,
      hint: 'Choose another mount point, or unmount that first.',
    });
}
