/** Our mounts as the kernel lists them in /proc/self/mountinfo. Reading that touches nothing mounted, so that a dead mount cannot hang us. */
import { readFile, realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { OperatingError } from '../../base/errors.js';

export interface MountEntry {
  readonly mountpoint: string;
  /** major:minor of the file system, its name below /sys/class/bdi. */
  readonly device: string;
  readonly type: string;
  /** What was mounted: a device, or the name of a pool. */
  readonly source: string;
}

/** Blanks and backslashes stand as three octal digits. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}

/** Mounts in the order in which they were made: the last one at a path is the visible one. `table` is latin1. */
export function parseMountTable(table: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of table.split('\n')) {
    const fields = line.split(' ');
    const dash = fields.indexOf('-', 6);
    const [type, source = ''] = [fields[dash + 1], fields[dash + 2]];
    const [, , device, , path] = fields;
    if (device === undefined || path === undefined || type === undefined) continue;
    const text = (field: string): string => Buffer.from(unescaped(field), 'latin1').toString('utf8');
    entries.push({ mountpoint: text(path), device, type, source: text(source) });
  }
  return entries;
}

/**
 * The path as the table has it: symbolic links resolved in the folder above, which is not the dead mount's; the last component stays.
 * @throws OperatingError when that folder is not there.
 */
export async function tablePath(path: string): Promise<string> {
  const absolute = resolve(path);
  try {
    return absolute === '/' ? absolute : join(await realpath(dirname(absolute)), basename(absolute));
  } catch (thrown) {
    throw new OperatingError('ENOENT', `no folder ${dirname(absolute)}`, { path, cause: thrown });
  }
}

/** All mounts at exactly this path, the visible one last. */
export async function mountsAt(path: string): Promise<MountEntry[]> {
  const wanted = await tablePath(path);
  return parseMountTable(await readFile('/proc/self/mountinfo', 'latin1')).filter((entry) => entry.mountpoint === wanted);
}

/** The source of the mount of this type whose files have this device number (st_dev); undefined: there is none. */
export async function sourceOfDevice(type: string, device: number): Promise<string | undefined> {
  const text = `${(device >>> 8) & 0xfff}:${(device & 0xff) | ((device >>> 12) & 0xfff00)}`;
  const mounts = parseMountTable(await readFile('/proc/self/mountinfo', 'latin1'));
  return mounts.find((entry) => entry.type === type && entry.device === text)?.source;
}
