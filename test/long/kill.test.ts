/**
 * kill -9 of the daemon, twenty times, at varying moments with writers going (I3, I4): what all writers had closed is there
 * whole; a file that was still open is one of its committed versions; nothing is torn; the next mount cleans up by itself.
 */
import t from 'tap';
import { spawn, type ChildProcess } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';
import { TestPool, sleep } from '../support/pool.js';
import { run } from '../support/run.js';
import { describeTree, differences, smallTree } from '../support/tree.js';
import { seededRandom } from '../../src/base/clock.js';
import { contentOf } from './kill-writer.js';

const writerProgram = fileURLToPath(new URL('./kill-writer.js', import.meta.url));

interface Writer {
  readonly process: ChildProcess;
  /** Files whose close returned: name → version; null: its unlink returned. Files in doubt: begun, not ended. */
  readonly closed: Map<string, number | null>;
  readonly doubt: Map<string, number | null>;
  /** Of those in doubt, targets of a rename: the old or the new content, nothing else. */
  readonly swaps: Set<string>;
  readonly ended: Promise<void>;
}

function startWriter(folder: string, seed: number): Writer {
  const child = spawn(process.execPath, [writerProgram, folder, String(seed)], { stdio: ['ignore', 'pipe', 'ignore'] });
  const closed = new Map<string, number | null>();
  const doubt = new Map<string, number | null>();
  const swaps = new Set<string>();
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    const [word, name = '', version = ''] = line.split(' ');
    const value = version === '-' ? null : Number(version);
    if (word === 'begin' || word === 'swap') doubt.set(name, value);
    if (word === 'swap') swaps.add(name);
    if (word === 'end') {
      doubt.delete(name);
      swaps.delete(name);
      closed.set(name, value);
    }
  });
  const ended = new Promise<void>((resolve) => lines.on('close', resolve));
  return { process: child, closed, doubt, swaps, ended };
}

t.test('twenty kills', async (t) => {
  const pool = await TestPool.create(t);
  const random = seededRandom(20);
  const tree = await describeTree(smallTree);
  const closed = new Map<string, number | null>();
  await pool.mount();
  await run('mkdir', [pool.at('w')]);
  for (let round = 0; round < 20; round++) {
    const writers = [startWriter(pool.at('w'), round * 2), startWriter(pool.at('w'), round * 2 + 1)];
    t.teardown(() => {
      for (const writer of writers) writer.process.kill('SIGKILL');
    });
    await run('cp', ['-a', smallTree, pool.at(`tree${round}`)]);
    await sleep(random.below(400));
    await pool.kill9();
    for (const writer of writers) writer.process.kill('SIGKILL');
    await pool.mount();
    for (const writer of writers) await writer.ended;

    t.same(differences(tree, await describeTree(pool.at(`tree${round}`))), [], `round ${round}: the copied tree is whole`);
    if (round > 0) t.same(differences(tree, await describeTree(pool.at(`tree${round - 1}`))), [], `round ${round}: the one before too`);
    if (round > 1) await run('rm', ['-rf', pool.at(`tree${round - 2}`)]);

    const wrong: string[] = [];
    const names = new Set(await readdir(pool.at('w')));
    for (const writer of writers) for (const [name, version] of writer.closed) closed.set(name, version);
    const doubt = new Map(writers.flatMap((writer) => [...writer.doubt]));
    const swaps = new Set(writers.flatMap((writer) => [...writer.swaps]));
    for (const name of new Set([...names, ...closed.keys()])) {
      const now = names.has(name) ? await readFile(pool.at('w', name)) : null;
      const is = (version: number | null | undefined): boolean =>
        version === null || version === undefined ? now === null : (now?.equals(contentOf(name, version)) ?? false);
      const before = closed.get(name);
      if (is(before)) continue;
      // In doubt when the daemon died: the new version, or any committed version of it while it was open (a prefix: writes were in order).
      if (doubt.has(name)) {
        const version = doubt.get(name);
        if (is(version)) closed.set(name, version ?? null);
        else if (
          now !== null &&
          !swaps.has(name) &&
          typeof version === 'number' &&
          contentOf(name, version).subarray(0, now.length).equals(now)
        ) {
          closed.delete(name);
          await run('rm', ['-f', pool.at('w', name)]);
        } else wrong.push(`${name}: ${now?.length ?? 'gone'} bytes, was version ${before ?? 'none'}, in doubt ${version ?? 'unlink'}`);
        continue;
      }
      wrong.push(`${name}: ${now?.length ?? 'gone'} bytes, closed as version ${before ?? 'none'}`);
    }
    t.same(wrong, [], `round ${round}: ${closed.size} closed files as they were closed`);
    const status = await pool.status();
    t.equal(status.endangered_blobs, 0);
  }
  await pool.unmount();
});
