/**
 * Takes away all that a program of ours has on the machine, when that program ends: well, by a signal, or by kill -9. It is a process of its own, which reads the
 * folders to look after, a line each, and waits for the end of its standard input.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { readdir, readFile, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { kill, run } from './run.js';

const program = fileURLToPath(import.meta.url);

export class Janitor {
  readonly #child: ChildProcess;
  readonly #finished: Promise<unknown>;

  constructor() {
    this.#child = spawn(process.execPath, [program], { stdio: ['pipe', 'ignore', 'inherit'], detached: true });
    this.#finished = new Promise((resolve) => this.#child.once('close', resolve).once('error', resolve));
  }

  /** From now on these are removed in the end, with all mounts, processes and loop devices below them. Their names must be like no others. */
  watch(...folders: readonly string[]): void {
    for (const folder of folders) this.#child.stdin?.write(`${folder}\n`);
  }

  /** This process may end without `finish`; the janitor begins then. */
  unref(): void {
    this.#child.unref();
    if (this.#child.stdin instanceof Socket) this.#child.stdin.unref();
  }

  /** Resolves when everything is gone. */
  async finish(): Promise<void> {
    this.#child.stdin?.end();
    await this.#finished;
  }
}

let own: Janitor | undefined;

/** For tests: what is left below these folders when this process has ended, however it does, goes. */
export function leaveNothing(...folders: readonly string[]): void {
  if (own === undefined) {
    own = new Janitor();
    own.unref();
  }
  own.watch(...folders);
}

function isWithin(path: string, folders: readonly string[]): boolean {
  return folders.some((folder) => path === folder || path.startsWith(`${folder}/`));
}

/** Mount points below the folders, and of files of theirs elsewhere; innermost first. */
async function mountsOf(folders: readonly string[]): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').map((line) => line.split(' '));
  // The path of a file that is mounted somewhere begins at its file system's root.
  const ofTheirs = (inside: string): boolean => folders.some((folder) => inside.includes(`/${basename(folder)}/`));
  return lines
    .filter(([, , , inside = '', place = '']) => isWithin(place, folders) || ofTheirs(inside))
    .map(([, , , , place = '']) => place)
    .reverse();
}

/** Processes that were started with one of these folders, or something below it, in their environment. */
export async function pidsOf(folders: readonly string[]): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const environment = await readFile(`/proc/${name}/environ`, 'utf8').catch(() => '');
    if (environment.split('\0').some((line) => isWithin(line.slice(line.indexOf('=') + 1), folders))) found.push(Number(name));
  }
  return found;
}

async function loopsOf(folders: readonly string[]): Promise<string[]> {
  const { stdout } = await run('losetup', ['-l', '-n', '-O', 'NAME,BACK-FILE'], { mayFail: true });
  return stdout
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, file = '']) => isWithin(file, folders))
    .map(([name = '']) => name);
}

/** A daemon that was killed leaves its journal in shared memory. `config`: its folder of definitions. */
export async function forgetJournals(config: string): Promise<void> {
  for (const name of await readdir(config).catch(() => [])) {
    if (!name.endsWith('.json')) continue;
    const { poolId } = JSON.parse(await readFile(join(config, name), 'utf8')) as { poolId?: string };
    if (poolId !== undefined) await rm(`/dev/shm/ostraka-${process.geteuid?.() ?? 0}/journal-${poolId}`, { force: true });
  }
}

/** Removes everything; nothing in it may stop the rest. */
async function clean(folders: readonly string[]): Promise<void> {
  const unmountAll = async (): Promise<void> => {
    for (const place of await mountsOf(folders)) await run('umount', ['-l', place], { mayFail: true, limitMs: 20_000 }).catch(String);
  };
  await unmountAll();
  for (let round = 0; round < 50; round++) {
    const pids = await pidsOf(folders);
    if (pids.length === 0) break;
    for (const pid of pids) kill(pid, 'SIGKILL');
    await setTimeout(100);
  }
  await unmountAll();
  for (const folder of folders)
    for (const name of ['.', ...(await readdir(folder).catch(() => []))]) await forgetJournals(join(folder, name, 'config')).catch(String);
  // A file system that was unmounted lazily lets go of its device a moment later.
  for (let round = 0; round < 20; round++) {
    const devices = await loopsOf(folders);
    if (devices.length === 0) break;
    for (const device of devices) await run('losetup', ['-d', device], { mayFail: true, limitMs: 20_000 }).catch(String);
    await setTimeout(round === 0 ? 0 : 250);
  }
  for (const folder of folders) await rm(folder, { recursive: true, force: true, maxRetries: 5 }).catch(String);
}

if (process.argv[1] === program) {
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => undefined);
  const folders: string[] = [];
  createInterface({ input: process.stdin })
    .on('line', (line) => folders.push(line))
    .on('close', () => void clean(folders));
}
