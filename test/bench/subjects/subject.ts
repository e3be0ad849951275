/**
 * What is measured: a file system that the benchmark brings up and takes down. Each has a folder of its own below the run's root for all that it needs; its
 * daemons carry MARK in their environment, by which they are found again.
 */
import { spawn } from 'node:child_process';
import { mkdir, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pidsOf } from '../../support/janitor.js';
import { sleep, until } from '../../support/pool.js';
import { kill, run } from '../../support/run.js';

/** In the environment of every process that belongs to a subject: that subject's folder. */
const MARK = 'OSTRAKA_BENCH_SUBJECT';

/** Where and how a subject is brought up. */
export interface Site {
  /** For mount points, logs and state; removed afterwards. */
  readonly root: string;
  /** Below it are the disks. */
  readonly images: string;
  readonly diskBytes: number;
  /** Disks are plain folders: no loop devices. */
  readonly folders: boolean;
}

export interface Subject {
  readonly name: string;
  /** In a few words, for the report. */
  readonly about: string;
  /** Where workloads go, once it is up. */
  readonly folder: string;
  /** False: content is not kept, reads give zeros. */
  readonly keepsContent: boolean;
  /** Why it cannot be measured here; undefined: it can. */
  missing(): Promise<string | undefined>;
  /** Brings it up, empty. */
  up(): Promise<void>;
  down(): Promise<void>;
  /** Gives back what deleted files took of the disks' images. */
  trim(): Promise<void>;
  /** Empties caches of its own, where it has any that outlive the kernel's. */
  cool?(): Promise<void>;
  /** Takes two of its disks away, for good; data stays readable. */
  loseTwoDisks?(): Promise<void>;
  /** Ids of its processes. */
  pids(): Promise<number[]>;
}

/** Why a subject cannot be measured: one of its programs is not there. */
export async function lacking(debianPackage: string, ...programs: readonly string[]): Promise<string | undefined> {
  for (const program of programs)
    if ((await run('sh', ['-c', `command -v ${program}`], { mayFail: true })).code !== 0)
      return `no ${program} here (Debian package ${debianPackage})`;
  return undefined;
}

export async function isMounted(path: string): Promise<boolean> {
  return (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').some((line) => line.split(' ')[4] === path);
}

/** Unmounts, waiting a while for who still uses it. */
export async function unmount(path: string): Promise<void> {
  for (let i = 0; i < 20; i++) {
    if (!(await isMounted(path))) return;
    if ((await run('umount', [path], { mayFail: true })).code === 0) return;
    await sleep(250);
  }
  await run('umount', ['-l', path], { mayFail: true });
}

/** What most subjects share: a folder, a mount point in it, daemons. */
export abstract class MountedSubject implements Subject {
  abstract readonly name: string;
  abstract readonly about: string;
  readonly keepsContent: boolean = true;
  readonly site: Site;

  constructor(site: Site) {
    this.site = site;
  }

  get folder(): string {
    return join(this.site.root, 'mnt');
  }

  abstract missing(): Promise<string | undefined>;
  abstract up(): Promise<void>;
  abstract down(): Promise<void>;
  abstract trim(): Promise<void>;

  pids(): Promise<number[]> {
    return pidsOf([this.site.root]);
  }

  protected get environment(): NodeJS.ProcessEnv {
    return { ...process.env, [MARK]: this.site.root };
  }

  /** Starts a daemon that stays in the foreground; its output goes to `NAME.log`. */
  protected async start(name: string, command: string, args: readonly string[]): Promise<void> {
    await mkdir(this.folder, { recursive: true });
    const log = await open(join(this.site.root, `${name}.log`), 'a');
    const child = spawn(command, args, { stdio: ['ignore', log.fd, log.fd], env: this.environment, detached: true });
    child.unref();
    await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject)).finally(() => log.close());
  }

  protected mounted(): Promise<void> {
    return until(`${this.name} is mounted`, () => isMounted(this.folder), 60_000, 50);
  }

  /** Ends what is left of its processes. */
  protected async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    for (let i = 0; i < 100; i++) {
      const pids = await this.pids();
      if (pids.length === 0) return;
      for (const pid of pids) kill(pid, i < 80 ? signal : 'SIGKILL');
      await sleep(100);
    }
  }
}
