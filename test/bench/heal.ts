/**
 * How quickly a lost disk is rebuilt, beside what one disk can write: in turns, a file as large as what is rebuilt is written and synced on that same disk, then
 * a disk of the pool goes for good and is replaced by an empty one there. The rate is that from the begin of the rebuild until all of it is durable; what a user
 * waits for in all (votes moved, the count at the end) is told apart from it.
 */
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { must } from '../../src/base/assert.js';
import { requestJob } from '../../src/cli/watch-job.js';
import { ControlClient } from '../../src/daemon/control-client.js';
import type { TestPool } from '../support/pool.js';
import { run } from '../support/run.js';

const MiB = 1024 ** 2;
const SAMPLE_MS = 20;

export interface HealRound {
  /** Records written a second while blobs are rebuilt, until they are durable. */
  readonly healMBps: number;
  readonly plainMBps: number;
  readonly bytes: number;
  /** From the request to replace the disk until the count that found every blob whole. */
  readonly wholeSeconds: number;
}

export function medianOf<T>(items: readonly T[], figure: (item: T) => number): number {
  const sorted = items.map(figure).sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? NaN;
}

interface Rebuilt {
  readonly bytes: number;
  readonly ms: number;
}

/** Looks on until `done`; what the first run of heal rebuilt, from its begin until it counts, which is when all is durable. */
async function watch(pool: TestPool, done: () => boolean): Promise<Rebuilt> {
  const client = must(await ControlClient.connect(join(must(pool.env.OSTRAKA_RUN_DIR, 'set'), `${pool.name}.sock`)), 'it is mounted');
  let begin: number | undefined;
  let end: number | undefined;
  let bytes = 0;
  while (!done()) {
    const { job } = await requestJob(client, 'heal', 'status');
    const rebuilding = job.state === 'running' && job.message?.startsWith('counting') !== true;
    if (rebuilding && end === undefined) begin ??= performance.now();
    else if (begin !== undefined && bytes + job.doneBytes > 0) end ??= performance.now();
    if (begin !== undefined) bytes = Math.max(bytes, job.doneBytes);
    await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS));
  }
  client.close();
  return { bytes, ms: must(end, 'it was seen to end') - must(begin, 'it was seen at work') };
}

/** Content like that of records, which nothing between here and the platters can make smaller. In memory, so that reading it costs little. */
async function randomSource(bytes: number): Promise<string> {
  const path = `/dev/shm/ostraka-bench-${process.pid}`;
  await run('dd', ['if=/dev/urandom', `of=${path}`, 'bs=1M', `count=${Math.ceil(bytes / MiB)}`, 'status=none'], { limitMs: 600_000 });
  return path;
}

async function plainMBps(source: string, path: string): Promise<number> {
  const start = performance.now();
  await run('dd', [`if=${source}`, `of=${path}`, 'bs=1M', 'conv=fsync', 'status=none'], { limitMs: 600_000 });
  const seconds = (performance.now() - start) / 1000;
  const { size } = await stat(path);
  await rm(path);
  return size / 1e6 / seconds;
}

/** Loses and replaces as many disks, one after the other. The pool holds data and is mounted. */
export async function healRounds(pool: TestPool, rounds: number): Promise<HealRound[]> {
  const found: HealRound[] = [];
  for (let round = 0; round < rounds; round++) {
    const lost = must(pool.disks[round], 'a disk a round');
    const bytes = Number((await run('du', ['-s', '-B1', join(lost, 'segments')])).stdout.split('\t')[0]);
    const spare = join(pool.root, `spare${round}`);
    await mkdir(spare);
    // Twice, before and after, so that a disk that becomes slower meanwhile favours nobody.
    const source = await randomSource(bytes);
    const before = await plainMBps(source, join(spare, 'plain'));
    await rename(lost, `${lost}.gone`);
    const start = performance.now();
    let ended = false;
    const watching = watch(pool, () => ended);
    try {
      await pool.ostraka(['disk', 'replace', pool.name, String(round + 1), spare, '--force'], { limitMs: 300_000 });
      await pool.ostraka(['heal', pool.name, '--watch'], { limitMs: 900_000 });
    } finally {
      ended = true;
    }
    const wholeSeconds = (performance.now() - start) / 1000;
    const rebuilt = await watching;
    const healMBps = rebuilt.bytes / 1e3 / rebuilt.ms;
    const after = await plainMBps(source, join(spare, 'plain'));
    await rm(source);
    await rm(`${lost}.gone`, { recursive: true });
    found.push({ healMBps, plainMBps: (before + after) / 2, bytes: rebuilt.bytes, wholeSeconds });
  }
  return found;
}
