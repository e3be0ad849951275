/**
 * What is measured: groups of steps. A group begins with nothing in its folder; its steps build on each other. "Cold" is after the kernel's caches (and the
 * subject's own, where it can be told to) were dropped. A figure is a rate, or the seconds of a whole program's run.
 */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../support/run.js';
import { plus, type Measurement } from './client.js';
import type { Subject } from './subjects/subject.js';
import type { Tree } from './tree-input.js';

export interface Sizes {
  readonly bigMiB: number;
  readonly files: number;
  readonly syncedFiles: number;
  readonly names: number;
  readonly randomMiB: number;
  /** Loops that sync, or overwrite, end after so long. */
  readonly loopSeconds: number;
  readonly treeFiles: number;
  /** After a step that changes much: longer than what is put off on a timer (a commit interval is 1 s). */
  readonly restMs: number;
}

export const sizes: Readonly<Record<'full' | 'quick' | 'tiny', Sizes>> = {
  full: { bigMiB: 1024, files: 5000, syncedFiles: 1000, names: 2000, randomMiB: 512, loopSeconds: 5, treeFiles: 8000, restMs: 1100 },
  quick: { bigMiB: 192, files: 1000, syncedFiles: 200, names: 400, randomMiB: 64, loopSeconds: 2, treeFiles: 1500, restMs: 1100 },
  tiny: { bigMiB: 18, files: 60, syncedFiles: 32, names: 20, randomMiB: 4, loopSeconds: 1, treeFiles: 40, restMs: 0 },
};

/** What steps work with. */
export interface Bench {
  readonly subject: Subject;
  /** Empty when the group begins. */
  readonly folder: string;
  readonly sizes: Sizes;
  readonly tree: Tree;
  client(...args: (string | number)[]): Promise<Measurement>;
  /** Runs a program and its seconds count. */
  program(...command: string[]): Promise<Measurement>;
  cold(): Promise<void>;
}

export interface Step {
  readonly figure: string;
  readonly label: string;
  readonly unit: 'MB/s' | '/s' | 's';
  /** Operations of a program's run, for what one costs the daemons; default: the client counts them. */
  readonly operations?: (bench: Bench) => number;
  /** Left out after this one failed. */
  readonly needs?: string;
  /** It changes much: what is put off is waited for before the next step, for all subjects alike. */
  readonly settles?: boolean;
  run(bench: Bench): Promise<Measurement>;
}

export interface Group {
  readonly name: string;
  /** Only where it can lose disks; afterwards the subject is brought up anew. */
  readonly losesDisks?: boolean;
  readonly steps: readonly Step[];
}

const SPREAD = 50;
const check = (bench: Bench): number => (bench.subject.keepsContent ? 1 : 0);
const bigFile = (bench: Bench): string => join(bench.folder, 'big');

const big: Group = {
  name: 'big',
  steps: [
    {
      figure: 'big_write',
      label: 'big write, fsync',
      unit: 'MB/s',
      settles: true,
      run: (bench) => bench.client('write', bigFile(bench), bench.sizes.bigMiB),
    },
    {
      figure: 'big_read_cold',
      label: 'big read, cold',
      unit: 'MB/s',
      needs: 'big_write',
      run: async (bench) => {
        await bench.cold();
        return bench.client('read', bigFile(bench), bench.sizes.bigMiB, check(bench));
      },
    },
    {
      figure: 'big_copy',
      label: 'copy within the mount',
      unit: 'MB/s',
      needs: 'big_write',
      settles: true,
      run: async (bench) => {
        const copied = await bench.program('cp', bigFile(bench), join(bench.folder, 'copy'));
        const both = plus(copied, await bench.program('sync', '-f', bench.folder));
        return { ...both, operations: bench.sizes.bigMiB, asked: bench.sizes.bigMiB, bytes: bench.sizes.bigMiB * 1024 ** 2 };
      },
    },
  ],
};

const small: Group = {
  name: 'small',
  steps: [
    {
      figure: 'create',
      label: 'create + 4K + close',
      unit: '/s',
      settles: true,
      run: (bench) => bench.client('create', bench.folder, 0, bench.sizes.files, SPREAD),
    },
    {
      figure: 'stat_cold',
      label: 'stat, cold',
      unit: '/s',
      needs: 'create',
      run: async (bench) => {
        await bench.cold();
        return bench.client('stat', bench.folder, 0, bench.sizes.files, SPREAD, 0);
      },
    },
    {
      figure: 'stat_warm',
      label: 'stat, warm',
      unit: '/s',
      needs: 'stat_cold',
      run: async (bench) => {
        await bench.client('stat', bench.folder, 0, bench.sizes.files, SPREAD, 0);
        return bench.client('stat', bench.folder, 0, bench.sizes.files, SPREAD, 1);
      },
    },
    {
      figure: 'read_cold',
      label: 'small read, cold',
      unit: '/s',
      needs: 'create',
      run: async (bench) => {
        await bench.cold();
        return bench.client('read-files', bench.folder, 0, bench.sizes.files, SPREAD, 1);
      },
    },
    {
      figure: 'unlink',
      label: 'unlink',
      unit: '/s',
      needs: 'create',
      settles: true,
      run: (bench) => bench.client('unlink', bench.folder, 0, bench.sizes.files, SPREAD),
    },
  ],
};

const synced = (figure: string, label: string, writers: number): Step => ({
  figure,
  label,
  unit: '/s',
  settles: true,
  run: (bench) => bench.client('synced', join(bench.folder, figure), bench.sizes.syncedFiles, writers),
});

const fsync: Group = {
  name: 'fsync',
  steps: [synced('fsync_1', 'create + 4K + fsync, 1 writer', 1), synced('fsync_16', 'create + 4K + fsync, 16 writers', 16)],
};

const git = (bench: Bench, ...args: readonly string[]): Promise<Measurement> =>
  bench.program(
    'git',
    ...['-C', join(bench.folder, 'copy'), '-c', 'user.name=bench', '-c', 'user.email=bench@localhost'],
    ...['-c', 'gc.auto=0', ...args],
  );

const rsync = async (bench: Bench): Promise<Measurement> => {
  await bench.tree.warm();
  return bench.program('rsync', '-a', `${bench.tree.folder}/`, `${join(bench.folder, 'copy')}/`);
};

const treeFiles = (bench: Bench): number => bench.tree.files;
const unpacked = (bench: Bench): string => join(bench.folder, 'tree');

const tree: Group = {
  name: 'tree',
  steps: [
    {
      figure: 'untar',
      label: 'untar',
      unit: 's',
      operations: treeFiles,
      settles: true,
      run: async (bench) => {
        await bench.tree.warm();
        const packed = await bench.program('tar', '-xf', bench.tree.archive, '-C', bench.folder);
        return plus(packed, await bench.program('sync', '-f', bench.folder));
      },
    },
    { figure: 'rsync', label: 'rsync in', unit: 's', operations: treeFiles, settles: true, run: rsync },
    { figure: 'rsync_again', label: 'rsync again', unit: 's', operations: treeFiles, needs: 'rsync', run: rsync },
    {
      figure: 'find_cold',
      label: 'find, cold',
      unit: 's',
      operations: treeFiles,
      needs: 'untar',
      run: async (bench) => {
        await bench.cold();
        return bench.program('find', unpacked(bench), '-printf', '%s\\n');
      },
    },
    {
      figure: 'git_add',
      label: 'git add',
      unit: 's',
      operations: treeFiles,
      needs: 'rsync',
      settles: true,
      run: async (bench) => plus(await git(bench, 'init', '-q'), await git(bench, 'add', '-A')),
    },
    {
      figure: 'git_commit',
      label: 'git commit',
      unit: 's',
      operations: treeFiles,
      needs: 'git_add',
      settles: true,
      run: (bench) => git(bench, 'commit', '-qm', 'x'),
    },
    {
      figure: 'git_status',
      label: 'git status',
      unit: 's',
      operations: treeFiles,
      needs: 'git_commit',
      run: (bench) => git(bench, 'status'),
    },
    {
      figure: 'rm',
      label: 'rm -rf',
      unit: 's',
      operations: treeFiles,
      needs: 'untar',
      settles: true,
      run: (bench) => bench.program('rm', '-rf', unpacked(bench)),
    },
  ],
};

/** A share of the file's blocks, at random, by so many at once. */
const randomRead = (figure: string, label: string, jobs: number): Step => ({
  figure,
  label,
  unit: '/s',
  run: async (bench) => {
    await layRandomFile(bench);
    await bench.cold();
    const each = (bench.sizes.randomMiB * 256) / (jobs === 1 ? 8 : 16);
    return bench.client('random-read', join(bench.folder, 'random'), bench.sizes.randomMiB, jobs, each, check(bench));
  },
});

async function layRandomFile(bench: Bench): Promise<void> {
  const there = (await readdir(bench.folder)).includes('random');
  if (!there) await bench.client('write', join(bench.folder, 'random'), bench.sizes.randomMiB);
}

const random: Group = {
  name: 'random',
  steps: [
    randomRead('random_read_1', '4K random read, 1 job', 1),
    randomRead('random_read_4', '4K random read, 4 jobs', 4),
    {
      figure: 'random_write',
      label: '4K random overwrite',
      unit: '/s',
      needs: 'random_read_1',
      settles: true,
      run: (bench) => {
        const { randomMiB, loopSeconds } = bench.sizes;
        return bench.client('random-write', join(bench.folder, 'random'), randomMiB, randomMiB * 128, loopSeconds * 4);
      },
    },
    {
      figure: 'append_fsync',
      label: '4K append + fsync',
      unit: '/s',
      settles: true,
      run: (bench) => bench.client('append', join(bench.folder, 'append'), 65_536, bench.sizes.loopSeconds),
    },
  ],
};

const names: Group = {
  name: 'names',
  steps: [
    {
      figure: 'rename',
      label: 'rename',
      unit: '/s',
      settles: true,
      run: (bench) => bench.client('rename', join(bench.folder, 'rename'), bench.sizes.names),
    },
    {
      figure: 'mkdir',
      label: 'mkdir',
      unit: '/s',
      settles: true,
      run: (bench) => bench.client('mkdir', join(bench.folder, 'mkdir'), bench.sizes.names),
    },
  ],
};

/** What was written with all disks there is read without two of them, and more is written. */
const degraded: Group = {
  name: 'degraded',
  losesDisks: true,
  steps: [
    {
      figure: 'degraded_read_cold',
      label: 'big read, cold, two disks missing',
      unit: 'MB/s',
      run: async (bench) => {
        await bench.client('write', bigFile(bench), bench.sizes.bigMiB);
        await bench.client('create', bench.folder, 0, bench.sizes.files, SPREAD);
        await bench.cold();
        await bench.subject.loseTwoDisks?.();
        await bench.cold();
        return bench.client('read', bigFile(bench), bench.sizes.bigMiB, check(bench));
      },
    },
    {
      figure: 'degraded_small_read_cold',
      label: 'small read, cold, two disks missing',
      unit: '/s',
      needs: 'degraded_read_cold',
      run: async (bench) => {
        await bench.cold();
        return bench.client('read-files', bench.folder, 0, bench.sizes.files, SPREAD, 1);
      },
    },
    {
      figure: 'degraded_write',
      label: 'big write, fsync, two disks missing',
      unit: 'MB/s',
      needs: 'degraded_read_cold',
      settles: true,
      run: (bench) => bench.client('write', join(bench.folder, 'big2'), bench.sizes.bigMiB),
    },
  ],
};

export const groups: readonly Group[] = [big, small, fsync, tree, random, names, degraded];

export const stepsByFigure: ReadonlyMap<string, Step> = new Map(groups.flatMap(({ steps }) => steps.map((step) => [step.figure, step])));

/** A figure's value from a measurement. @returns undefined when the loop was cut short before anything was done */
export function valueOf(step: Step, { operations, bytes, seconds }: Measurement): number {
  if (step.unit === 's') return seconds;
  return (step.unit === 'MB/s' ? bytes / 1e6 : operations) / seconds;
}

/** Drops what the kernel has cached; dirty pages are written first. */
export async function dropKernelCaches(): Promise<void> {
  await run('sync', [], { limitMs: 300_000 });
  await writeFile('/proc/sys/vm/drop_caches', '3');
}

export async function freshFolder(path: string): Promise<string> {
  await rm(path, { recursive: true, force: true });
  await mkdir(path);
  return path;
}
