/** A place of its own for tests of the command without a mount: folders, environment, and what lies in them. */
import { mkdir, mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { leaveNothing } from '../support/janitor.js';
import { mainProgram, type Teardown } from '../support/pool.js';
import { run, type RunResult } from '../support/run.js';

export class Place {
  readonly env: NodeJS.ProcessEnv;

  private constructor(readonly root: string) {
    this.env = {
      ...process.env,
      OSTRAKA_CONFIG_DIR: join(root, 'config'),
      OSTRAKA_STATE_DIR: join(root, 'state'),
      OSTRAKA_RUN_DIR: join(root, 'run'),
      NO_COLOR: '1',
    };
  }

  static async create(t: Teardown): Promise<Place> {
    const place = new Place(await mkdtemp(join(tmpdir(), 'ostraka-cli-')));
    leaveNothing(place.root);
    t.teardown(() => rm(place.root, { recursive: true, force: true }));
    return place;
  }

  at(...parts: readonly string[]): string {
    return join(this.root, ...parts);
  }

  /** Makes folders and returns their paths. */
  async folders(...names: readonly string[]): Promise<string[]> {
    for (const name of names) await mkdir(this.at(name), { recursive: true });
    return names.map((name) => this.at(name));
  }

  ostraka(args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd: string = this.root): Promise<RunResult> {
    return run(process.execPath, [mainProgram, ...args], { env: { ...this.env, ...env }, cwd, mayFail: true, limitMs: 60_000 });
  }

  /** Every path below the place with its content, to see whether anything changed. */
  async content(): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    for (const entry of await readdir(this.root, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      found.set(path.slice(this.root.length), entry.isFile() ? (await readFile(path)).toString('base64') : 'not a file');
    }
    return found;
  }
}

/** `--disk` for each. */
export function disks(paths: readonly string[]): string[] {
  return paths.flatMap((path) => ['--disk', path]);
}
