/** Real input for end-to-end tests: trees that every machine with a compiler and npm has, and comparing them with everything. */
import { lstat, readdir, readlink, mkdir } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { dirname, join } from 'node:path';
import { packageRoot } from '../../src/base/package-root.js';
import { run } from './run.js';

/** Headers and npm packages: thousands of small files, links, some large ones. */
export const realTrees: readonly string[] = [
  '/usr/include',
  join(packageRoot, 'node_modules', 'typescript'),
  join(packageRoot, 'node_modules', 'eslint'),
];

/** A small real tree for tests that repeat it often. */
export const smallTree = join(packageRoot, 'node_modules', 'zod');

/** One line for each file, link and folder: type, mode, owner, mtime (ns), size, link target, SHA-256 of the content. */
export async function describeTree(root: string): Promise<Map<string, string>> {
  const lines = new Map<string, string>();
  const folders = [''];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const name of await readdir(join(root, folder))) {
      const path = join(folder, name);
      const full = join(root, path);
      const s = await lstat(full, { bigint: true });
      const common = `${s.mode.toString(8)} ${s.uid}:${s.gid}`;
      if (s.isDirectory()) {
        folders.push(path);
        lines.set(path, `${common} ${s.mtimeNs}`);
      } else if (s.isSymbolicLink()) lines.set(path, `${common} -> ${await readlink(full)}`);
      else lines.set(path, `${common} ${s.mtimeNs} ${s.size} ${await sha256(full)}`);
    }
  }
  return lines;
}

/** Differences between two descriptions, at most 20 lines. */
export function differences(want: ReadonlyMap<string, string>, got: ReadonlyMap<string, string>): string[] {
  const out: string[] = [];
  for (const [path, line] of want) if (got.get(path) !== line) out.push(`${path}: want ${line}, got ${got.get(path) ?? 'nothing'}`);
  for (const path of got.keys()) if (!want.has(path)) out.push(`${path}: not wanted`);
  return out.slice(0, 20);
}

export function sha256(path: string | Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const hash = createHash('sha256');
    createReadStream(path, { highWaterMark: 1 << 20 })
      .on('data', (chunk) => hash.update(chunk))
      .on('end', () => {
        resolve(hash.digest('hex'));
      })
      .on('error', reject);
  });
}

/** Writes `bytes` random bytes to a file and returns their SHA-256. */
export async function randomFile(path: string, bytes: number): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await run('dd', ['if=/dev/urandom', `of=${path}`, 'bs=1M', 'iflag=fullblock,count_bytes', `count=${bytes}`, 'status=none']);
  return sha256(path);
}

/** SHA-256 of each file below a folder, by relative path; an unreadable file's value is its error code. */
export async function digests(root: string): Promise<Map<string, string>> {
  const out = new Map<string, string>();
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const full = join(entry.parentPath, entry.name);
    const digest = await sha256(full).catch((error: unknown) => String((error as NodeJS.ErrnoException).code));
    out.set(full.slice(root.length + 1), digest);
  }
  return out;
}
