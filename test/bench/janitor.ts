/**
 * Takes away all that a run of a benchmark has on the machine, when that run ends: well, by a signal, or by kill -9. It is a process of its own, which waits for
 * the end of its standard input: `node janitor.js ROOT IMAGES`.
 */
import { spawn } from 'node:child_process';
import { readdir, readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sleep } from '../support/pool.js';
import { run } from '../support/run.js';
import { forgetJournal } from './subjects/ostraka.js';
import { kill, markedPids } from './subjects/subject.js';

/** Of the run: removed, with all mounts, processes and loop devices below them. */
export interface Traces {
  readonly root: string;
  readonly images: string;
}

export class Janitor {
  readonly #finished: Promise<unknown>;
  readonly #release: () => void;

  constructor({ root, images }: Traces) {
    const program = fileURLToPath(import.meta.url);
    const child = spawn(process.execPath, [program, root, images], { stdio: ['pipe', 'ignore', 'inherit'], detached: true });
    this.#finished = new Promise((resolve) => child.once('close', resolve).once('error', resolve));
    this.#release = () => child.stdin.end();
  }

  /** Resolves when everything is gone. */
  async finish(): Promise<void> {
    this.#release();
    await this.#finished;
  }
}

/** Mount points below the folders, and of files of theirs elsewhere; innermost first. */
async function mountsOf(folders: readonly string[]): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').map((line) => line.split(' '));
  const within = (path: string): boolean => folders.some((folder) => path === folder || path.startsWith(`${folder}/`));
  // The path of a file that is mounted somewhere begins at its file system's root. The folders' names are like no others.
  const ofTheirs = (inside: string): boolean => folders.some((folder) => inside.includes(`/${basename(folder)}/`));
  return lines
    .filter(([, , , inside = '', place = '']) => within(place) || ofTheirs(inside))
    .map(([, , , , place = '']) => place)
    .reverse();
}

async function loopsOf(images: string): Promise<string[]> {
  const { stdout } = await run('losetup', ['-l', '-n', '-O', 'NAME,BACK-FILE'], { mayFail: true });
  return stdout
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, file]) => file?.startsWith(`${images}/`))
    .map(([name = '']) => name);
}

/** Removes everything; nothing in it may stop the rest. */
export async function clean({ root, images }: Traces): Promise<void> {
  const unmountAll = async (): Promise<void> => {
    for (const place of await mountsOf([root, images]))
      await run('umount', ['-l', place], { mayFail: true, limitMs: 20_000 }).catch(String);
  };
  await unmountAll();
  for (let round = 0; round < 50; round++) {
    const pids = await markedPids(root);
    if (pids.length === 0) break;
    for (const pid of pids) kill(pid, 'SIGKILL');
    await sleep(100);
  }
  await unmountAll();
  for (const name of await readdir(root).catch(() => [])) await forgetJournal(join(root, name)).catch(String);
  // A file system that was unmounted lazily lets go of its device a moment later.
  for (let round = 0; round < 20; round++) {
    const devices = await loopsOf(images);
    if (devices.length === 0) break;
    for (const device of devices) await run('losetup', ['-d', device], { mayFail: true, limitMs: 20_000 }).catch(String);
    await sleep(round === 0 ? 0 : 250);
  }
  for (const folder of [root, images]) await rm(folder, { recursive: true, force: true, maxRetries: 5 }).catch(String);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , root = '', images = ''] = process.argv;
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => undefined);
  process.stdin.resume().once('end', () => void clean({ root, images }));
}
