/**
 * `kill -9` of the daemon, 200 times (OSTRAKA_KILLS), at random moments of a mixed load on loop devices, every fourth time also in the recovery from the kill before (I3,
 * I4, I10). `kill-writer.ts` says what is written and verifies it: of what was acknowledged no byte may be lost or torn. At the end the same from the disks after a clean
 * stop; then all is unlinked, and the space must come back.
 *
 * Two pools at a time, each with two writers and now and then a tree copied by cp. OSTRAKA_SEED repeats a run's moments and contents, as far as two machines do the same.
 */
import t from 'tap';
import { spawn, type ChildProcess } from 'node:child_process';
import { readdir, rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { seededRandom, type Random } from '../../src/base/clock.js';
import { TestPool, sleep, until, type Teardown } from '../support/pool.js';
import { run } from '../support/run.js';
import { describeTree, differences, smallTree } from '../support/tree.js';
import type { Stopped, Verified } from './kill-writer.js';

const KILLS = Number(process.env.OSTRAKA_KILLS ?? 200);
const SEED = Number(process.env.OSTRAKA_SEED ?? Date.now() % 1_000_000);
const POOLS = 2;
const MiB = 1024 ** 2;
const DISK_BYTES = 512 * MiB;
/** What a pool without files may use: what index rows of the root and the like take. */
const EMPTY_BYTES = 1 * MiB;
/** What programs on a mount are told when it died. */
const MOUNT_DIED = new Set(['ENOTCONN', 'ECONNABORTED', 'EIO']);

const writerProgram = fileURLToPath(new URL('./kill-writer.js', import.meta.url));

/** A writer's process: asked by lines, answers in order. */
class Writer {
  readonly #child: ChildProcess;
  readonly #waiting: ((answer: unknown) => void)[] = [];

  constructor(t: Teardown, folder: string, seed: number) {
    const child = spawn(process.execPath, [writerProgram, folder, String(seed)], { stdio: ['pipe', 'pipe', 'inherit'] });
    t.teardown(() => void child.kill('SIGKILL'));
    createInterface({ input: child.stdout }).on('line', (line) => this.#waiting.shift()?.(JSON.parse(line)));
    this.#child = child;
  }

  #ask(line: string): Promise<unknown> {
    const answer = new Promise<unknown>((resolve) => this.#waiting.push(resolve));
    this.#child.stdin?.write(`${line}\n`);
    return answer;
  }

  /** Resolves when the mount died or it was stopped. */
  go(): Promise<Stopped> {
    return this.#ask('go') as Promise<Stopped>;
  }

  /** `go` answers. */
  stop(): void {
    this.#child.stdin?.write('stop\n');
  }

  verify(all: boolean): Promise<Verified> {
    return this.#ask(all ? 'verify all' : 'verify') as Promise<Verified>;
  }
}

type Checks = Teardown & Pick<typeof t, 'ok' | 'same' | 'equal'>;

interface Sum {
  kills: number;
  operations: number;
  acknowledgedBytes: number;
  verifiedBytes: number;
}

async function oneRound(t: Checks, pool: TestPool, writers: readonly Writer[], random: Random, round: number, sum: Sum): Promise<void> {
  const going = writers.map((writer) => writer.go());
  const copied = round % 8 === 0;
  if (copied) await run('cp', ['-a', smallTree, pool.at('tree')]);
  await sleep(20 + random.below(600));
  await pool.kill9();
  sum.kills++;
  const stopped = await Promise.all(going);
  for (const { code } of stopped) t.ok(MOUNT_DIED.has(String(code)), `round ${round}: a writer stopped because of ${code ?? 'nothing'}`);
  if (round % 4 === 3) {
    await pool.killAtMount(random.below(1200));
    sum.kills++;
  }
  await pool.mount();
  for (const { wrong, bytes } of await Promise.all(writers.map((writer) => writer.verify(round % 10 === 9)))) {
    sum.verifiedBytes += bytes;
    t.same(wrong, [], `round ${round}: what was acknowledged is there`);
  }
  sum.operations = stopped.reduce((total, { operations }) => total + operations, 0);
  sum.acknowledgedBytes = stopped.reduce((total, { acknowledgedBytes }) => total + acknowledgedBytes, 0);
  if (!copied) return;
  t.same(differences(await describeTree(smallTree), await describeTree(pool.at('tree'))), [], `round ${round}: the copied tree is whole`);
  await rm(pool.at('tree'), { recursive: true });
}

async function onePool(t: Checks, kills: number, seed: number): Promise<Sum> {
  const pool = await TestPool.create(t, { loopBytes: DISK_BYTES, name: `kill${seed}` });
  const random = seededRandom(seed);
  await pool.mount();
  const writers: Writer[] = [];
  for (let i = 0; i < 2; i++) {
    await run('mkdir', [pool.at(`w${i}`)]);
    writers.push(new Writer(t, pool.at(`w${i}`), seed + i));
  }
  const sum: Sum = { kills: 0, operations: 0, acknowledgedBytes: 0, verifiedBytes: 0 };
  for (let round = 0; sum.kills < kills; round++) await oneRound(t, pool, writers, random, round, sum);

  const verified = async (when: string): Promise<void> => {
    await TestPool.dropCaches();
    for (const writer of writers) t.same((await writer.verify(true)).wrong, [], when);
  };
  await verified('all of it, from the disks');
  t.equal((await pool.status()).endangered_blobs, 0, 'no blob is short of a shard');
  await pool.remount();
  await verified('and after a clean stop');
  for (const name of await readdir(pool.mountpoint)) await rm(pool.at(name), { recursive: true });
  await pool.ostraka(['sync', pool.name]);
  await until(
    'what was unlinked, and what the kills left behind, gives its space back',
    async () => (await pool.status()).used_bytes < EMPTY_BYTES,
    60_000,
  );
  await pool.unmount();
  return sum;
}

t.test(`${KILLS} kills`, async (t) => {
  t.comment(`OSTRAKA_SEED=${SEED}`);
  const began = performance.now();
  const sums = await Promise.all(Array.from({ length: POOLS }, (_, i) => onePool(t, Math.ceil(KILLS / POOLS), SEED + 100 * i)));
  const total = (of: (sum: Sum) => number): number => sums.reduce((all, sum) => all + of(sum), 0);
  const operations = total((sum) => sum.operations);
  const acknowledged = Math.round(total((sum) => sum.acknowledgedBytes) / MiB);
  const verified = Math.round(total((sum) => sum.verifiedBytes) / MiB);
  t.comment(
    `${total((sum) => sum.kills)} kills, ${operations} operations, ${acknowledged} MiB acknowledged, ${verified} MiB verified after kills`,
  );
  t.comment(`${Math.round((performance.now() - began) / 1000)} s`);
  t.ok(operations > KILLS, 'much was going on');
});
