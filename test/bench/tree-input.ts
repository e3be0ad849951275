/** The input of tar, rsync, git and find: a sample of this machine's headers, Python and npm files, always the same on the same machine. In shared memory. */
import { cp, lstat, mkdir, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { seededRandom } from '../../src/base/clock.js';
import { packageRoot } from '../../src/base/package-root.js';
import { run } from '../support/run.js';

const SOURCES = ['/usr/include', '/usr/lib/python3', '/usr/lib/python3.11', join(packageRoot, 'node_modules')];
const TREE_BYTES_MAX = 120_000_000;
const FILE_BYTES_MAX = 8_000_000;

export interface Tree {
  readonly folder: string;
  readonly archive: string;
  readonly files: number;
  readonly bytes: number;
  /** Reads it all, so that it comes from memory. */
  warm(): Promise<void>;
}

async function candidates(): Promise<string[]> {
  const found: string[] = [];
  for (const source of SOURCES)
    for (const entry of await readdir(source, { recursive: true, withFileTypes: true }).catch(() => []))
      if (entry.isFile()) found.push(join(entry.parentPath, entry.name));
  return found.sort();
}

/** Makes the tree and an archive of it in `folder`, of at most so many files. */
export async function makeTree(folder: string, filesMax: number): Promise<Tree> {
  const paths = await candidates();
  const random = seededRandom(1);
  for (let i = paths.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [paths[i], paths[j]] = [paths[j] ?? '', paths[i] ?? ''];
  }
  const root = join(folder, 'tree');
  let bytes = 0;
  let files = 0;
  for (const path of paths) {
    if (files === filesMax || bytes > TREE_BYTES_MAX) break;
    const { size } = await lstat(path);
    if (size > FILE_BYTES_MAX) continue;
    await mkdir(dirname(join(root, path)), { recursive: true });
    await cp(path, join(root, path));
    files++;
    bytes += size;
  }
  const archive = join(folder, 'tree.tar');
  await run('tar', ['-cf', archive, '-C', folder, 'tree']);
  bytes = (await stat(archive)).size;
  const warm = async (): Promise<void> => {
    await run('sh', ['-c', 'find "$1" -type f -print0 | xargs -0 cat >/dev/null; cat "$2" >/dev/null', 'sh', root, archive]);
  };
  return { folder: root, archive, files, bytes, warm };
}
