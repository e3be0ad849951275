/** Ostraka itself, 4+2 on six disks: this checkout, another one to compare with, or with two disks missing from the beginning; and a null file system on its channel. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { forgetJournals } from '../../support/janitor.js';
import { mainProgram, until } from '../../support/pool.js';
import { run, type RunResult } from '../../support/run.js';
import { LoopDisks } from './loop-disks.js';
import { MountedSubject, unmount, type Site } from './subject.js';

export interface OstrakaOptions {
  readonly name: string;
  /** Another checkout's folder, built. */
  readonly checkout?: string;
  /** Two disks are away before anything is written. */
  readonly degraded?: boolean;
}

export class Ostraka extends MountedSubject {
  readonly name: string;
  readonly about: string;
  readonly #main: string;
  readonly #degraded: boolean;
  readonly #disks: LoopDisks;

  constructor(site: Site, options: OstrakaOptions) {
    super(site);
    this.name = options.name;
    this.#degraded = options.degraded === true;
    this.#main = options.checkout === undefined ? mainProgram : join(options.checkout, 'dist/src/cli/main.js');
    const where = site.folders ? 'six folders of one disk' : 'six ext4 disks';
    this.about = `Ostraka 4+2 on ${where}${this.#degraded ? ', two of them missing' : ''}${options.checkout === undefined ? '' : ` (${options.checkout})`}`;
    this.#disks = new LoopDisks(site);
  }

  async missing(): Promise<string | undefined> {
    return (await run('test', ['-f', this.#main], { mayFail: true })).code === 0 ? undefined : `there is no ${this.#main}`;
  }

  #ostraka(...args: readonly string[]): Promise<RunResult> {
    return run(process.execPath, [this.#main, ...args], { env: this.environment, limitMs: 300_000 });
  }

  protected override get environment(): NodeJS.ProcessEnv {
    const { root } = this.site;
    const places = {
      OSTRAKA_CONFIG_DIR: join(root, 'config'),
      OSTRAKA_STATE_DIR: join(root, 'state'),
      OSTRAKA_RUN_DIR: join(root, 'run'),
    };
    return { ...super.environment, ...places, NO_COLOR: '1' };
  }

  async up(): Promise<void> {
    await mkdir(this.folder, { recursive: true });
    await this.#disks.attachExt4(6);
    await this.#ostraka('init', 'bench', ...this.#disks.folders.flatMap((disk) => ['--disk', disk]));
    if (this.#degraded) await this.#removeTwo();
    await this.mountPool();
  }

  async mountPool(): Promise<void> {
    await this.#ostraka('mount', 'bench', this.folder);
  }

  async unmountPool(): Promise<void> {
    await this.#ostraka('unmount', 'bench');
  }

  /** kill -9 of the daemon; its mount goes too. */
  async crash(): Promise<void> {
    await this.end('SIGKILL');
    await unmount(this.folder);
  }

  /** Where the disks are. */
  get diskFolders(): readonly string[] {
    return this.#disks.folders;
  }

  async #removeTwo(): Promise<void> {
    for (const i of [1, 4]) await this.#disks.remove(i);
  }

  async loseTwoDisks(): Promise<void> {
    await this.unmountPool();
    await this.#removeTwo();
    await this.mountPool();
  }

  async down(): Promise<void> {
    await run(process.execPath, [this.#main, 'unmount', 'bench'], { env: this.environment, mayFail: true, limitMs: 60_000 });
    await unmount(this.folder);
    await this.end('SIGKILL');
    await forgetJournals(join(this.site.root, 'config'));
    await this.#disks.detach();
    for (const name of ['config', 'state', 'run']) await rm(join(this.site.root, name), { recursive: true, force: true });
  }

  trim(): Promise<void> {
    return this.#disks.trim();
  }
}

export class NullFileSystem extends MountedSubject {
  readonly name = 'null';
  readonly about = 'a namespace in memory on our FUSE channel; large files keep no content';
  override readonly keepsContent = false;

  async missing(): Promise<string | undefined> {
    return undefined;
  }

  async up(): Promise<void> {
    const program = fileURLToPath(new URL('../null-fuse.js', import.meta.url));
    await this.start('null', process.execPath, [program, '--serve', this.folder]);
    await this.mounted();
    await until('it answers', async () => (await run('stat', [this.folder], { mayFail: true, limitMs: 5000 })).code === 0);
  }

  async down(): Promise<void> {
    await unmount(this.folder);
    await this.end();
  }

  async trim(): Promise<void> {}
}
