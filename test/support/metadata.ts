/** Trees with all that a file system keeps of them: owners, modes, times, devices, hard links, extended attributes, ACLs, holes. */
import { lstat, readdir, readlink, stat } from 'node:fs/promises';
import { run } from './run.js';
import { sha256 } from './tree.js';

/** getfattr and getfacl write bytes of a name that are not plain as \ooo. */
function plainName(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}

/** What `# file: NAME` is followed by, for each name, in a stable order. */
function paragraphs(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const paragraph of text.split('\n\n')) {
    const [first = '', ...lines] = paragraph.split('\n');
    if (first.startsWith('# file: '))
      found.set(plainName(first.slice('# file: '.length)), lines.filter((line) => line !== '').sort().join(' ')); // prettier-ignore
  }
  return found;
}

/**
 * One line for each path below a folder, in bytes as latin1: type and mode, owner, mtime (ns), device, size, link target or SHA-256, the first of its names, number of
 * links, extended attributes, ACL. With `allTimes` ctime and atime, too.
 */
export async function describeFully(root: string, allTimes = false): Promise<Map<string, string>> {
  const limits = { cwd: root, limitMs: 120_000 };
  const attributes = paragraphs((await run('getfattr', ['-RPhd', '-m', '-', '-e', 'hex', '.'], limits)).stdout);
  const acls = paragraphs((await run('getfacl', ['-RPn', '.'], limits)).stdout);
  const lines = new Map<string, string>();
  const firstNames = new Map<bigint, string>();
  const folders = ['.'];
  for (let folder = folders.shift(); folder !== undefined; folder = folders.shift()) {
    const names = folder === '.' ? ['.'] : [];
    for (const name of [...names, ...(await readdir(bytesOf(root, folder), { encoding: 'latin1' })).sort()]) {
      const path = name === '.' || folder === '.' ? name : `${folder}/${name}`;
      const s = await lstat(bytesOf(root, path), { bigint: true });
      const parts = [s.mode.toString(8), `${s.uid}:${s.gid}`, `mtime ${s.mtimeNs}`, `links ${s.nlink}`, `device ${s.rdev}`];
      if (allTimes) parts.push(`ctime ${s.ctimeNs} atime ${s.atimeNs}`);
      if (s.isSymbolicLink()) parts.push(`-> ${await readlink(bytesOf(root, path), { encoding: 'latin1' })}`);
      if (s.isFile()) parts.push(`size ${s.size}`, await sha256(bytesOf(root, path)));
      if (!s.isDirectory()) parts.push(`first ${firstNames.get(s.ino) ?? path}`);
      else if (path !== '.') folders.push(path);
      if (!firstNames.has(s.ino)) firstNames.set(s.ino, path);
      lines.set(path, [...parts, attributes.get(path) ?? '', acls.get(path) ?? ''].join(' | '));
    }
  }
  return lines;
}

function bytesOf(root: string, path: string): Buffer {
  return Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, 'latin1')]);
}

/** Bytes that a file takes up, as its file system counts them. */
export async function allocatedBytes(path: string): Promise<number> {
  return (await stat(path)).blocks * 512;
}
