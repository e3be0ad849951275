/**
 * `npm run bench`: Ostraka beside other file systems, on the same work in the same run (README.md). Brings each subject up, measures group by group and round by
 * round, each subject in turn, and takes them down. Prints tables; writes JSON, and a picture where asked. Ends with 1 when a step failed.
 */
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../../src/base/package-root.js';
import { buildClient } from './client.js';
import { Janitor } from '../support/janitor.js';
import { measureGroup, peakBytes, type Sample } from './measure-group.js';
import { picture } from './picture.js';
import { figuresTable, processorTable, REPORT_FORMAT, type Report } from './report.js';
import { makeSubject, subjectNames } from './subjects/all.js';
import type { Subject } from './subjects/subject.js';
import { makeTree } from './tree-input.js';
import { groups, sizes, type Group } from './workloads.js';

const HELP = `npm run bench -- [options]
  --quick              about a minute a subject and round, one round
  --subjects A,B       of ${subjectNames.join(', ')},
                       ostraka@CHECKOUT (another one, built), NAME=/FOLDER; or "all". Default: ostraka,null,bindfs,ext4. The first one is compared
  --only A,B           groups (${groups.map(({ name }) => name).join(', ')}) or figures
  --degraded           also what two missing disks make of it
  --rounds N           default 3, with --quick 1
  --limit SECONDS      a step may take, default 120, with --quick 60
  --targets            a column: what is asked of Ostraka, and whether it was met
  --json FILE          default bench-results/bench.json
  --picture FILE       ratios as an SVG
  --from FILE          measure nothing: tables and picture of an earlier run's JSON
  --folders            disks are folders, not loop devices
  --images FOLDER      where disks' images are made, default /var/tmp
`;

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    /** Like --quick, with next to nothing to do; for the test. */
    tiny: { type: 'boolean', default: false },
    subjects: { type: 'string', default: 'ostraka,null,bindfs,ext4' },
    only: { type: 'string' },
    degraded: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    limit: { type: 'string' },
    targets: { type: 'boolean', default: false },
    json: { type: 'string', default: join(packageRoot, 'bench-results', 'bench.json') },
    picture: { type: 'string' },
    from: { type: 'string' },
    folders: { type: 'boolean', default: false },
    images: { type: 'string', default: '/var/tmp' },
    help: { type: 'boolean', default: false },
  },
});

const size = options.tiny ? 'tiny' : options.quick ? 'quick' : 'full';
const rounds = Number(options.rounds ?? (size === 'full' ? 3 : 1));
const limitSeconds = Number(options.limit ?? (size === 'full' ? 120 : 60));
const DISK_BYTES = { full: 4 * 1024 ** 3, quick: 2 * 1024 ** 3, tiny: 256 * 1024 ** 2 }[size];

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Groups with the steps that were asked for, and those that these need. */
function chosenGroups(): Group[] {
  if (options.only === undefined) return groups.filter(({ losesDisks }) => losesDisks !== true || options.degraded);
  const asked = new Set(options.only.split(','));
  if (options.degraded) asked.add('degraded');
  const known = new Set(groups.flatMap(({ name, steps }) => [name, ...steps.map(({ figure }) => figure)]));
  for (const word of asked) if (!known.has(word)) throw new Error(`no such group or figure: ${word} (there are ${[...known].join(', ')})`);
  return groups.flatMap((group) => {
    const wanted = new Set(group.steps.map(({ figure }) => figure).filter((figure) => asked.has(group.name) || asked.has(figure)));
    for (const { figure, needs } of [...group.steps].reverse()) if (wanted.has(figure) && needs !== undefined) wanted.add(needs);
    return wanted.size === 0 ? [] : [{ ...group, steps: group.steps.filter(({ figure }) => wanted.has(figure)) }];
  });
}

interface Run {
  readonly report: Report;
  /** What went wrong beside steps. */
  readonly failures: string[];
}

class Runner {
  readonly #root: string;
  readonly #images: string;
  readonly #leftOut: { name: string; why: string }[] = [];
  readonly #failures: string[] = [];
  readonly #samples: Sample[] = [];
  readonly #peaks = new Map<string, number>();
  #subjects: Subject[] = [];

  constructor(root: string, images: string) {
    this.#root = root;
    this.#images = images;
  }

  async run(chosen: readonly Group[]): Promise<Run> {
    const client = await buildClient(this.#root);
    const tree = await makeTree(this.#root, sizes[size].treeFiles);
    await this.#bringUp();
    for (let round = 1; round <= rounds; round++)
      for (const [g, group] of chosen.entries()) {
        say(`${new Date().toISOString().slice(11, 19)} round ${round} of ${rounds}: ${group.name}`);
        for (const subject of rotated(this.#subjects, round + g)) {
          if (group.losesDisks === true && subject.loseTwoDisks === undefined) continue;
          const conditions = { client, tree, sizes: sizes[size], limitSeconds, round, say };
          this.#samples.push(...(await measureGroup(subject, group, conditions)));
          const peak = await peakBytes(await subject.pids());
          this.#peaks.set(subject.name, Math.max(peak, this.#peaks.get(subject.name) ?? 0));
          if (group.losesDisks === true) await this.#renew(subject);
        }
      }
    for (const subject of this.#subjects) await this.#attempt(`${subject.name} down`, () => subject.down());
    const report: Report = {
      format: REPORT_FORMAT,
      when: new Date().toISOString(),
      command: commandLine(),
      machine: { kernel: release(), processors: cpus().length, memoryBytes: totalmem(), node: process.version },
      size,
      rounds,
      tree: { files: tree.files, bytes: tree.bytes },
      subjects: this.#subjects.map(({ name, about }) => ({ name, about, peakBytes: this.#peaks.get(name) ?? 0 })),
      leftOut: this.#leftOut,
      samples: this.#samples,
    };
    return { report, failures: this.#failures };
  }

  async #bringUp(): Promise<void> {
    const all = options.subjects === 'all';
    const words = all ? subjectNames.filter((name) => name !== 'ostraka-degraded') : options.subjects.split(',');
    for (const [i, word] of words.entries()) {
      const site = {
        root: join(this.#root, `s${i}`),
        images: join(this.#images, `s${i}`),
        diskBytes: DISK_BYTES,
        folders: options.folders,
      };
      await mkdir(site.root);
      const subject = makeSubject(word, site);
      const why = await subject.missing();
      if (why !== undefined) {
        say(`${subject.name} is left out: ${why}`);
        this.#leftOut.push({ name: subject.name, why });
        continue;
      }
      say(`bringing up ${subject.name}: ${subject.about}`);
      if (await this.#attempt(`${subject.name} up`, () => subject.up())) this.#subjects.push(subject);
      else this.#leftOut.push({ name: subject.name, why: this.#failures.at(-1) ?? '' });
    }
  }

  /** What lost its disks begins anew. */
  async #renew(subject: Subject): Promise<void> {
    const up = await this.#attempt(`${subject.name} anew`, async () => {
      await subject.down();
      await subject.up();
    });
    if (!up) this.#subjects = this.#subjects.filter((each) => each !== subject);
  }

  async #attempt(what: string, action: () => Promise<void>): Promise<boolean> {
    try {
      await action();
      return true;
    } catch (thrown) {
      const failure = `${what}: ${thrown instanceof Error ? thrown.message : String(thrown)}`;
      say(failure);
      this.#failures.push(failure);
      return false;
    }
  }
}

/** How to do the same again; without where results went. */
function commandLine(): string {
  const words = process.argv.slice(2);
  const kept = words.filter((word, i) => !/^--(json|picture)$/.test(word) && !/^--(json|picture)$/.test(words[i - 1] ?? ''));
  return ['npm run bench', ...(kept.length > 0 ? ['--', ...kept] : [])].join(' ');
}

function rotated<T>(items: readonly T[], by: number): T[] {
  const first = by % Math.max(1, items.length);
  return [...items.slice(first), ...items.slice(0, first)];
}

async function save(path: string, text: string): Promise<void> {
  await mkdir(dirname(resolve(path)), { recursive: true });
  await writeFile(path, text);
}

async function show(report: Report): Promise<void> {
  if (options.picture !== undefined) await save(options.picture, picture(report));
  process.stdout.write(`${figuresTable(report, options.targets)}\n${processorTable(report)}`);
  for (const { name, why } of report.leftOut) process.stdout.write(`left out: ${name}: ${why}\n`);
}

async function main(): Promise<void> {
  if (options.help) return void process.stdout.write(HELP);
  if (options.from !== undefined) return show(JSON.parse(await readFile(options.from, 'utf8')) as Report);
  if (process.geteuid?.() !== 0) throw new Error('the benchmark drops caches, mounts and uses loop devices: it needs root');
  const chosen = chosenGroups();
  const images = await mkdtemp(join(options.images, 'ostraka-bench-images-'));
  const root = await mkdtemp(join(tmpdir(), 'ostraka-bench-'));
  const janitor = new Janitor();
  janitor.watch(root, images);
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => {
      say(`${signal}: cleaning up`);
      void janitor.finish().then(() => process.exit(130));
    });
  try {
    const { report, failures } = await new Runner(root, images).run(chosen);
    await save(options.json, JSON.stringify(report, undefined, 1) + '\n');
    await show(report);
    const broken = report.samples.filter(({ error }) => error !== undefined);
    for (const { subject, figure, round, error } of broken)
      process.stdout.write(`failed: ${subject}, ${figure}, round ${round}: ${error ?? ''}\n`);
    if (broken.length + failures.length > 0) process.exitCode = 1;
  } finally {
    await janitor.finish();
  }
}

await main();
