/** Which file systems must be mounted for a pool's disks to be there. Pure functions, used by `systemd.ts`. */
import { dirname } from 'node:path';

/** The lines of fstab(5): mount point → options. */
export function fstabEntries(text: string): Map<string, readonly string[]> {
  const entries = new Map<string, readonly string[]>();
  for (const line of text.split('\n')) {
    const [source = '', mountpoint, , options = ''] = line.trim().split(/[ \t]+/);
    if (source === '' || source.startsWith('#') || mountpoint === undefined) continue;
    const path = mountpoint.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
    entries.set(path, options.split(','));
  }
  return entries;
}

/**
 * For each disk the mount points on its way that are in use or in fstab, the root aside. A disk with none of them may be a folder of the root file
 * system, or a mount point that somebody else mounts: then its own directory.
 */
export function mountsToWaitFor(disks: readonly string[], mounted: ReadonlySet<string>, fstab: ReadonlyMap<string, unknown>): string[] {
  const found = new Set<string>();
  for (const disk of disks) {
    const way: string[] = [];
    for (let folder = disk; folder !== '/'; folder = dirname(folder)) if (mounted.has(folder) || fstab.has(folder)) way.unshift(folder);
    for (const folder of way.length === 0 ? [disk] : way) found.add(folder);
  }
  return [...found];
}
