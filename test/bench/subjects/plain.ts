/** Subjects without redundancy: one ext4, the same behind bindfs (a FUSE server in C), six disks in mergerfs, a folder that is there already. */
import { mkdir } from 'node:fs/promises';
import { run } from '../../support/run.js';
import { LoopDisks } from './loop-disks.js';
import { lacking, MountedSubject, unmount, type Subject } from './subject.js';

export class Ext4 extends MountedSubject {
  readonly name = 'ext4';
  readonly about = 'ext4 on one disk';
  readonly #disks = new LoopDisks(this.site);

  override get folder(): string {
    return this.#disks.folders[0] ?? '';
  }

  missing(): Promise<string | undefined> {
    return lacking('e2fsprogs', 'mkfs.ext4');
  }

  up(): Promise<void> {
    return this.#disks.attachExt4(1);
  }

  down(): Promise<void> {
    return this.#disks.detach();
  }

  trim(): Promise<void> {
    return this.#disks.trim();
  }
}

export class Bindfs extends MountedSubject {
  readonly name = 'bindfs';
  readonly about = 'bindfs (FUSE in C) over ext4 on one disk';
  readonly #disks = new LoopDisks(this.site);

  missing(): Promise<string | undefined> {
    return lacking('bindfs', 'bindfs');
  }

  async up(): Promise<void> {
    await this.#disks.attachExt4(1);
    await this.start('bindfs', 'bindfs', ['-f', this.#disks.folders[0] ?? '', this.folder]);
    await this.mounted();
  }

  async down(): Promise<void> {
    await unmount(this.folder);
    await this.end();
    await this.#disks.detach();
  }

  trim(): Promise<void> {
    return this.#disks.trim();
  }
}

export class Mergerfs extends MountedSubject {
  readonly name = 'mergerfs';
  readonly about = 'mergerfs over ext4 on six disks, no redundancy';
  readonly #disks = new LoopDisks(this.site);

  missing(): Promise<string | undefined> {
    return lacking('mergerfs', 'mergerfs');
  }

  async up(): Promise<void> {
    await this.#disks.attachExt4(6);
    const options = 'category.create=mfs,minfreespace=64M,cache.files=partial,dropcacheonclose=true,use_ino';
    await this.start('mergerfs', 'mergerfs', ['-f', '-o', options, this.#disks.folders.join(':'), this.folder]);
    await this.mounted();
  }

  async down(): Promise<void> {
    await unmount(this.folder);
    await this.end();
    await this.#disks.detach();
  }

  trim(): Promise<void> {
    return this.#disks.trim();
  }
}

/** A file system that somebody else mounted. */
export class Folder implements Subject {
  readonly about = 'a folder that was there';
  readonly keepsContent = true;

  constructor(
    readonly name: string,
    readonly folder: string,
  ) {}

  async missing(): Promise<string | undefined> {
    return (await run('test', ['-d', this.folder], { mayFail: true })).code === 0 ? undefined : `${this.folder} is no folder`;
  }

  async up(): Promise<void> {
    await mkdir(this.folder, { recursive: true });
  }

  async down(): Promise<void> {}

  async trim(): Promise<void> {}

  async pids(): Promise<number[]> {
    return [];
  }
}
