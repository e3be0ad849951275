/**
 * `npm run bench:scale`: what many files cost. In one directory, in a tree that is filled folder by folder as a copy does it, and by turns in all its folders: rates with few
 * files there and with all of them, what index and log take for a file, memory at rest, and how long a mount takes after a clean stop and after a crash. Prints a table
 * and writes bench-results/scale.json.
 */
import { mkdir, mkdtemp, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../../src/base/package-root.js';
import { sleep } from '../support/pool.js';
import { buildClient, measure, type Measurement } from './client.js';
import { Janitor } from '../support/janitor.js';
import { markdownTable } from './report.js';
import { Ostraka } from './subjects/ostraka.js';
import { dropKernelCaches } from './workloads.js';

const { values: options } = parseArgs({
  options: {
    /** In each layout. */
    files: { type: 'string', default: '100000' },
    /** Of each file, 4096 at most. */
    bytes: { type: 'string', default: '4096' },
    layouts: { type: 'string', default: 'directory,tree,turns' },
    folders: { type: 'boolean', default: false },
    images: { type: 'string', default: '/var/tmp' },
    json: { type: 'string', default: join(packageRoot, 'bench-results', 'scale.json') },
    /** For the test: nothing is waited for. */
    hurry: { type: 'boolean', default: false },
  },
});
const files = Number(options.files);
/** Rates are those of so many: the first ones, and the last ones. */
const sample = Math.min(10_000, Math.floor(files / 4));
const FILES_PER_DIRECTORY = Math.min(1000, Math.ceil(files / 10));
/** How many directories the client spreads files over, or below 0 how many files it puts into one before it begins the next. */
const SPREAD: Readonly<Record<string, number>> = {
  directory: 0,
  tree: -FILES_PER_DIRECTORY,
  turns: Math.ceil(files / FILES_PER_DIRECTORY),
};
/** Sparse: more than what is asked for can need. */
const DISK_BYTES = 2 * 1024 ** 3 + files * 16_384;
const REST_MS = options.hurry ? 0 : 15_000;
const LIMIT_SECONDS = 7200;

/** Taken on the disks and beside them, bytes. */
interface Space {
  /** Of the index: the durable replica on one voter. */
  readonly replica: number;
  readonly log: number;
  /** Segments of all disks. */
  readonly data: number;
  /** The working replica beside the disks. */
  readonly working: number;
}

interface Rates {
  readonly files: number;
  readonly create: number;
  readonly statCold: number;
  readonly listCold: number;
  readonly unlink: number;
}

interface LayoutReport {
  readonly layout: string;
  readonly few: Rates;
  readonly many: Rates;
  readonly createAll: number;
  /** What its files added, for each of them. */
  readonly spacePerFile: Space;
  readonly restingBytes: number;
  readonly peakBytes: number;
}

interface Mounts {
  /** Seconds. Those of mounts are from cold caches, the command's own start included. */
  readonly stop: number;
  readonly afterStop: number;
  readonly afterCrash: number;
  /** Of the daemon that was started anew. */
  readonly restingBytes: number;
}

/** What bench-results/scale.json holds. */
export interface ScaleReport {
  readonly when: string;
  readonly files: number;
  readonly bytes: number;
  readonly sample: number;
  readonly layouts: readonly LayoutReport[];
  readonly mounts: Mounts;
}

function say(line: string): void {
  process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${line}\n`);
}

async function allocated(folder: string, pattern: RegExp): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []))
    if (entry.isFile() && pattern.test(join(entry.parentPath, entry.name)))
      bytes += (await stat(join(entry.parentPath, entry.name)).catch(() => ({ blocks: 0 }))).blocks * 512;
  return bytes;
}

class Scale {
  readonly #subject: Ostraka;
  readonly #client: string;

  constructor(subject: Ostraka, client: string) {
    this.#subject = subject;
    this.#client = client;
  }

  async #run(...args: (string | number)[]): Promise<Measurement> {
    return measure(this.#client, await this.#subject.pids(), LIMIT_SECONDS, ['-b', options.bytes, ...args.map(String)]);
  }

  async #rate(...args: (string | number)[]): Promise<number> {
    const { operations, seconds } = await this.#run(...args);
    return operations / seconds;
  }

  async #space(): Promise<Space> {
    const [voter = ''] = this.#subject.diskFolders;
    let data = 0;
    for (const disk of this.#subject.diskFolders) data += await allocated(join(disk, 'segments'), /./);
    return {
      replica: await allocated(join(voter, 'quorum'), /\/replica\//),
      log: await allocated(join(voter, 'quorum'), /\/log-[^/]*$/),
      data,
      working: await allocated(join(this.#subject.site.root, 'state', 'working'), /./),
    };
  }

  async #memory(field: 'VmRSS' | 'VmHWM'): Promise<number> {
    let bytes = 0;
    for (const pid of await this.#subject.pids()) {
      const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
      bytes += Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) * 1024;
    }
    return bytes;
  }

  /** Files `from` … `from + sample` are there, the last of `from + sample`. Afterwards they are again. */
  async #rates(folder: string, from: number, spread: number, create: number): Promise<Rates> {
    const few = Math.ceil(sample / 5);
    const there = from + sample;
    await dropKernelCaches();
    const statCold = await this.#rate('stat', folder, from, sample, spread, 0);
    await dropKernelCaches();
    const directories = spread < 0 ? Math.ceil(there / -spread) : spread;
    const listCold = await this.#rate('list', folder, there + directories);
    const unlink = await this.#rate('unlink', folder, there - few, few, spread);
    await this.#run('create', folder, there - few, few, spread);
    return { files: there, create, statCold, listCold, unlink };
  }

  async layout(layout: string): Promise<LayoutReport> {
    const spread = SPREAD[layout];
    if (spread === undefined) throw new Error(`no layout "${layout}": ${Object.keys(SPREAD).join(', ')}`);
    const folder = join(this.#subject.folder, layout);
    await mkdir(folder);
    await sleep(REST_MS);
    const before = await this.#space();
    say(`${layout}: the first ${sample} files`);
    const few = await this.#rates(folder, 0, spread, await this.#rate('create', folder, 0, sample, spread));
    say(`${layout}: ${files - 2 * sample} more`);
    const start = performance.now();
    const step = Math.max(sample, Math.floor(files / 10));
    for (let at = sample; at < files - sample; at += step) {
      const rate = await this.#rate('create', folder, at, Math.min(step, files - sample - at), spread);
      say(`${layout}: ${Math.min(at + step, files - sample)} files, ${Math.round(rate)} creates/s`);
    }
    const createAll = ((files - 2 * sample) / (performance.now() - start)) * 1000;
    say(`${layout}: the last ${sample}`);
    const last = await this.#rate('create', folder, files - sample, sample, spread);
    const many = await this.#rates(folder, files - sample, spread, last);
    await sleep(REST_MS);
    const after = await this.#space();
    const each = (of: keyof Space): number => (after[of] - before[of]) / files;
    const spacePerFile = { replica: each('replica'), log: each('log'), data: each('data'), working: each('working') };
    return {
      layout,
      few,
      many,
      createAll,
      spacePerFile,
      restingBytes: await this.#memory('VmRSS'),
      peakBytes: await this.#memory('VmHWM'),
    };
  }

  async mounts(): Promise<Mounts> {
    const timed = async (what: string, action: () => Promise<void>): Promise<number> => {
      say(what);
      const start = performance.now();
      await action();
      return (performance.now() - start) / 1000;
    };
    const stop = await timed('unmount', () => this.#subject.unmountPool());
    await dropKernelCaches();
    const afterStop = await timed('mount', () => this.#subject.mountPool());
    await sleep(REST_MS);
    const restingBytes = await this.#memory('VmRSS');
    const folder = join(this.#subject.folder, 'before-the-crash');
    await mkdir(folder);
    await this.#run('create', folder, 0, sample, 0);
    await this.#subject.crash();
    await dropKernelCaches();
    const afterCrash = await timed('mount after kill -9', () => this.#subject.mountPool());
    await this.#run('read-files', folder, 0, sample, 0, 1);
    return { stop, afterStop, afterCrash, restingBytes };
  }
}

function table(layouts: readonly LayoutReport[]): string {
  const rate = (value: number): string => String(Math.round(value));
  const mebibytes = (bytes: number): string => String(Math.round(bytes / 1024 ** 2));
  const figures: [string, keyof Rates][] = [
    ['create + close, /s', 'create'],
    ['stat, cold, /s', 'statCold'],
    ['list, cold, names/s', 'listCold'],
    ['unlink, /s', 'unlink'],
  ];
  const rows = layouts.flatMap(({ layout, few, many }) =>
    figures.map(([label, figure]) => [
      `${layout}: ${label}`,
      rate(few[figure]),
      rate(many[figure]),
      (many[figure] / few[figure]).toFixed(2),
    ]),
  );
  const spaces = layouts.map(({ layout, spacePerFile, restingBytes, peakBytes }) => [
    layout,
    ...[spacePerFile.replica, spacePerFile.log, spacePerFile.data, spacePerFile.working].map(rate),
    mebibytes(restingBytes),
    mebibytes(peakBytes),
  ]);
  const head = [
    'bytes a file',
    'replica on each voter',
    'log on each voter',
    'segments, all disks',
    'working replica',
    'at rest, MiB',
    'peak, MiB',
  ];
  return `${markdownTable(['', `with ${sample} files`, `with ${files}`, 'ratio'], rows)}\n${markdownTable(head, spaces)}`;
}

async function main(): Promise<void> {
  if (process.geteuid?.() !== 0) throw new Error('it mounts and uses loop devices: it needs root');
  const images = await mkdtemp(join(options.images, 'ostraka-bench-images-'));
  const root = await mkdtemp(join(tmpdir(), 'ostraka-bench-'));
  const janitor = new Janitor();
  janitor.watch(root, images);
  try {
    const client = await buildClient(root);
    const site = { root: join(root, 's0'), images: join(images, 's0'), diskBytes: DISK_BYTES, folders: options.folders };
    await mkdir(site.root);
    const subject = new Ostraka(site, { name: 'ostraka' });
    await subject.up();
    const scale = new Scale(subject, client);
    const layouts: LayoutReport[] = [];
    for (const layout of options.layouts.split(',')) layouts.push(await scale.layout(layout));
    const mounts = await scale.mounts();
    await subject.down();
    const report: ScaleReport = { when: new Date().toISOString(), files, bytes: Number(options.bytes), sample, layouts, mounts };
    await mkdir(join(options.json, '..'), { recursive: true });
    await writeFile(options.json, JSON.stringify(report, undefined, 1) + '\n');
    const seconds = (value: number): string => `${value.toFixed(1)} s`;
    process.stdout.write(
      `${table(layouts)}\nunmount ${seconds(mounts.stop)} · mount after it ${seconds(mounts.afterStop)} · mount after kill -9 ${seconds(mounts.afterCrash)}` +
        ` · at rest after a mount ${Math.round(mounts.restingBytes / 1024 ** 2)} MiB\n`,
    );
  } finally {
    await janitor.finish();
  }
}

await main();
