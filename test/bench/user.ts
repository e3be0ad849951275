/** A user of a pool who waits for each answer: what the benchmarks of quiet and busy pools time. */
import { constants } from 'node:fs';
import { mkdir, open, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { seededRandom } from '../../src/base/clock.js';
import type { TestPool } from '../support/pool.js';

/** linux: asm-generic/fcntl.h, x86. */
const O_DIRECT = 0o40000;
const BLOCK = 4096;

export interface Sample {
  readonly readMs: number[];
  readonly createMs: number[];
}

export function percentile(numbers: readonly number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

/**
 * A read of 4 KiB somewhere in the file `big`, past the kernel's cache, and a new file of 4 KiB, one after the other, as often as it goes.
 * @param goOn asked before each; the turn ends early where it says no
 */
export async function load(pool: TestPool, into: Sample, turn: string, forMs: number, goOn = (): boolean => true): Promise<void> {
  const random = seededRandom(turn.length);
  const folder = pool.at(turn);
  await mkdir(folder);
  const file = await open(pool.at('big'), constants.O_RDONLY | O_DIRECT);
  const { size } = await stat(pool.at('big'));
  const block = Buffer.alloc(BLOCK);
  const end = performance.now() + forMs;
  for (let n = 0; performance.now() < end && goOn(); n++) {
    const before = performance.now();
    await file.read(block, 0, BLOCK, random.below(size / BLOCK) * BLOCK);
    const between = performance.now();
    await writeFile(join(folder, String(n)), block);
    into.readMs.push(between - before);
    into.createMs.push(performance.now() - between);
  }
  await file.close();
  await rm(folder, { recursive: true });
}
