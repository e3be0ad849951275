/** Pools without a mount, for tests: opened and closed in this process, with their files by the namespace. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { must } from '../../src/base/assert.js';
import { createPool } from '../../src/daemon/create-pool.js';
import { nativeEnvironment } from '../../src/daemon/environment.js';
import type { Folders } from '../../src/daemon/folders.js';
import type { Log } from '../../src/daemon/logger.js';
import { openPool, type Pool } from '../../src/daemon/pool.js';
import { readDefinition } from '../../src/daemon/pool-definition.js';
import type { Teardown } from '../support/pool.js';

export const caller = { uid: 0, gid: 0, pid: 1 };
export const O_RDWR = 2;

/** A pool on directories of its own, opened and closed in this process. */
export class PoolRig {
  readonly folders: Folders;
  readonly warnings: string[] = [];
  readonly #open = new Set<Pool>();

  private constructor(readonly root: string) {
    this.folders = { config: join(root, 'config'), state: join(root, 'state'), run: join(root, 'run') };
  }

  static async create(t: Teardown, disks = 6): Promise<PoolRig> {
    const rig = new PoolRig(await mkdtemp(join(tmpdir(), 'ostraka-pool-')));
    t.teardown(async () => {
      for (const pool of rig.#open) await pool.close().catch(() => undefined);
      await rm(rig.root, { recursive: true, force: true });
    });
    const directories = rig.disks(disks);
    for (const directory of directories) await mkdir(directory);
    await createPool({ folders: rig.folders, name: 'p', disks: directories, code: undefined, witnesses: [], zones: [] });
    return rig;
  }

  disks(count = 6): string[] {
    return Array.from({ length: count }, (_, index) => join(this.root, `disk${index}`));
  }

  async open(readOnly = false): Promise<Pool> {
    const definition = await readDefinition(this.folders, 'p');
    const log: Log = (level, message) => {
      if (level !== 'info') this.warnings.push(message);
    };
    const pool = await openPool({
      environment: nativeEnvironment(this.folders, definition, log),
      definition,
      readOnly,
      log,
      progress: () => undefined,
      onInvalidate: () => undefined,
    });
    this.#open.add(pool);
    return pool;
  }

  async close(pool: Pool): Promise<void> {
    this.#open.delete(pool);
    await pool.close();
  }
}

export async function writeFile(pool: Pool, name: string, content: Buffer): Promise<number> {
  const { attributes, handle } = await pool.namespace.create(1, name, 0o644, O_RDWR, caller);
  for (let at = 0; at < content.length; at += 1 << 20)
    await pool.namespace.write(attributes.ino, handle, at, content.subarray(at, at + (1 << 20)), caller);
  await pool.namespace.flush(attributes.ino, handle);
  await pool.namespace.release(attributes.ino, handle);
  return attributes.ino;
}

export async function readFile(pool: Pool, name: string): Promise<Buffer> {
  const { ino, size } = must(await pool.namespace.lookup(1, name), 'the name is there');
  const handle = await pool.namespace.open(ino, 0, caller);
  const result = await pool.namespace.read(ino, handle, 0, size);
  const content = Buffer.concat(result.pieces);
  result.release();
  await pool.namespace.release(ino, handle);
  return content;
}
