/** Disks for subjects: images on loop devices, with direct I/O, so that a sync is one of the disk below and no page is cached twice. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { must } from '../../../src/base/assert.js';
import { run } from '../../support/run.js';
import { unmount, type Site } from './subject.js';

export class LoopDisks {
  readonly #site: Site;
  /** Of each disk: its loop device; `undefined` where it was taken away. Empty where disks are folders. */
  readonly devices: (string | undefined)[] = [];
  /** Where file systems on them are mounted, or the folders. */
  readonly folders: string[] = [];

  constructor(site: Site) {
    this.#site = site;
  }

  /** Attaches so many bare disks. */
  async attach(count: number): Promise<void> {
    await mkdir(this.#site.images, { recursive: true });
    for (let i = 0; i < count; i++) {
      const image = join(this.#site.images, `disk${i}.img`);
      await rm(image, { force: true });
      await run('truncate', ['-s', String(this.#site.diskBytes), image]);
      // A file system without direct I/O, such as tmpfs of old, holds images as well.
      const direct = await run('losetup', ['-f', '--show', '--direct-io=on', image], { mayFail: true });
      const { stdout } = direct.code === 0 ? direct : await run('losetup', ['-f', '--show', image]);
      this.devices.push(stdout.trim());
    }
  }

  /** … with an ext4 on each, mounted. Inode tables are on them already, so that nothing writes them later. */
  async attachExt4(count: number): Promise<void> {
    if (!this.#site.folders) await this.attach(count);
    for (let i = 0; i < count; i++) {
      const folder = join(this.#site.folders ? this.#site.images : this.#site.root, `disk${i}`);
      await mkdir(folder, { recursive: true });
      this.folders.push(folder);
      if (this.#site.folders) continue;
      await run('mkfs.ext4', ['-qF', '-E', 'assume_storage_prezeroed=1', this.device(i)]);
      await run('mount', [this.device(i), folder]);
    }
  }

  device(i: number): string {
    return must(this.devices[i], `disk ${i} is attached`);
  }

  present(): string[] {
    return this.devices.filter((device) => device !== undefined);
  }

  /** The disk is not there any more; where it was mounted there is an empty folder. */
  async remove(i: number): Promise<void> {
    const folder = this.folders[i];
    if (folder !== undefined && !this.#site.folders) await unmount(folder);
    if (folder !== undefined && this.#site.folders) await run('mv', [folder, `${folder}.gone`]);
    if (this.devices[i] !== undefined) await run('losetup', ['-d', this.device(i)]);
    this.devices[i] = undefined;
  }

  /** Gives back to the images what file systems have free. */
  async trim(): Promise<void> {
    if (this.#site.folders) return;
    for (const [i, folder] of this.folders.entries()) if (this.devices[i] !== undefined) await run('fstrim', [folder], { mayFail: true });
  }

  async detach(): Promise<void> {
    for (const folder of this.folders.splice(0)) if (!this.#site.folders) await unmount(folder);
    for (const device of this.devices.splice(0)) if (device !== undefined) await run('losetup', ['-d', device], { mayFail: true });
    await rm(this.#site.images, { recursive: true, force: true });
  }
}
