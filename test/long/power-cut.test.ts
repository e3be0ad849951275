/**
 * Power cuts under load, after each of which two of five voters are rotted, one of them below its synced mark (I4, I7). Every file whose fsync, or whose directory's fsync,
 * had returned is there to the byte; the damaged voters are found, not believed, and repaired: afterwards the pool goes on without two of the others.
 *
 * What a power cut is here says `TestPool.cutPower`. A file that was not synced may be gone, or any beginning of itself; nothing else.
 */
import t from 'tap';
import { open, readdir, readFile, rm, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { must } from '../../src/base/assert.js';
import { seededRandom, type Random } from '../../src/base/clock.js';
import { TestPool, exists, sleep, until } from '../support/pool.js';

const MiB = 1024 ** 2;
const CUTS = Number(process.env.OSTRAKA_CUTS ?? 5);

/** Content of a file by its name: what is found can be judged without a record of it. */
function contentOf(name: string): Buffer {
  let seed = 7;
  for (const char of name) seed = (seed * 31 + char.charCodeAt(0)) >>> 0;
  const random = seededRandom(seed);
  const bytes = random.below(5) === 0 ? random.below(3 * MiB) : random.below(40_000);
  const piece = Buffer.from(random.bytes(1009));
  const out = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += piece.length) piece.copy(out, at);
  return out;
}

class Load {
  /** fsync returned. */
  readonly durable = new Set<string>();
  /** Removed, and that was made durable. */
  readonly gone = new Set<string>();
  /** May be there, or not. */
  readonly doubt = new Set<string>();
  /** Closed without fsync. */
  readonly closed = new Set<string>();
  readonly #pool: TestPool;
  readonly #round: number;

  constructor(pool: TestPool, round: number) {
    this.#pool = pool;
    this.#round = round;
  }

  /** Works until the mount dies. */
  async run(lane: number, random: Random): Promise<string> {
    try {
      for (let i = 0; ; i++) await this.#one(`r${this.#round}-${lane}-${i}`, random);
    } catch (error) {
      return (error as NodeJS.ErrnoException).code ?? String(error);
    }
  }

  async #one(name: string, random: Random): Promise<void> {
    this.doubt.add(name);
    const sync = random.below(3) > 0;
    const file = await open(this.#pool.at(name), 'wx');
    try {
      await file.writeFile(contentOf(name));
      if (sync) {
        await file.sync();
        this.durable.add(name);
        this.doubt.delete(name);
      }
    } finally {
      await file.close();
    }
    if (!sync) this.closed.add(name);
    if (random.below(4) > 0) return;
    const [old] = this.durable;
    if (old === undefined) return;
    this.durable.delete(old);
    this.doubt.add(old);
    await unlink(this.#pool.at(old));
    const folder = await open(this.#pool.mountpoint);
    try {
      await folder.sync();
      this.gone.add(old);
      this.doubt.delete(old);
    } finally {
      await folder.close();
    }
  }

  /** What is wrong with what is there now. */
  async verify(): Promise<string[]> {
    const wrong: string[] = [];
    const names = new Set((await readdir(this.#pool.mountpoint)).filter((name) => name.startsWith(`r${this.#round}-`)));
    for (const name of this.durable) if (!names.has(name)) wrong.push(`${name} was synced and is gone`);
    for (const name of this.gone) if (names.has(name)) wrong.push(`${name} was removed durably and is back`);
    for (const name of names) {
      const want = contentOf(name);
      const got = await readFile(this.#pool.at(name));
      const may = this.durable.has(name) ? want : want.subarray(0, got.length);
      if (!got.equals(may)) wrong.push(`${name}: ${got.length} bytes, should be ${want.length}`);
      if (!this.durable.has(name) && !this.doubt.has(name) && !this.gone.has(name)) wrong.push(`${name} is nobody's`);
    }
    return wrong;
  }
}

/** Folders `quorum` of the disks that vote. */
async function voterFolders(pool: TestPool): Promise<string[]> {
  const folders = pool.disks.map((disk) => join(disk, 'quorum'));
  const there = await Promise.all(folders.map(exists));
  return folders.filter((_, i) => there[i]);
}

/** Flips a byte of a log where it was written and synced long ago. */
async function rotBelowMark(folder: string): Promise<void> {
  const name = must((await readdir(folder)).filter((found) => found.startsWith('log-')).sort()[0], 'a voter has a log');
  const content = await readFile(join(folder, name));
  let end = content.length;
  while (end > 0 && content[end - 1] === 0) end--;
  // Behind the header, in front of the second half: that is below the mark of the last flush but one.
  let at = Math.max(4096 + 40, Math.floor(end / 3));
  while (content[at] === 0) at++;
  const file = await open(join(folder, name), 'r+');
  await file.write(Buffer.from([(content[at] ?? 0) ^ 0xff]), 0, 1, at);
  await file.sync();
  await file.close();
}

/** Overwrites every 1,000th byte of everything. */
async function rotAll(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const file = await open(path, 'r+');
    for (let at = 5; at < (await stat(path)).size; at += 1000) await file.write(Buffer.from([0xa5]), 0, 1, at);
    await file.close();
  }
}

const allFollow = (pool: TestPool): Promise<void> =>
  until('all voters are online', async () => (await pool.status()).voters.every((voter) => voter.state === 'online'), 60_000);

t.test(`${CUTS} power cuts, two of five voters rotted after each`, async (t) => {
  const pool = await TestPool.create(t, { loopBytes: 400 * MiB });
  const random = seededRandom(33);
  const loads: Load[] = [];
  await pool.mount();
  for (let round = 0; round < CUTS; round++) {
    const load = new Load(pool, round);
    loads.push(load);
    const lanes = [0, 1, 2].map((lane) => load.run(lane, seededRandom(round * 10 + lane)));
    await sleep(1500 + random.below(2500));
    await pool.cutPower();
    for (const code of await Promise.all(lanes))
      t.match(code, /^(ENOTCONN|ECONNABORTED|EIO)$/, `round ${round}: a writer ended with the mount`);
    t.ok(
      load.durable.size > 0,
      `round ${round}: ${load.durable.size} files were synced, ${load.closed.size} only closed, ${load.doubt.size} in doubt`,
    );

    const folders = await voterFolders(pool);
    const first = round % folders.length;
    const second = (first + 1 + random.below(folders.length - 1)) % folders.length;
    await rotBelowMark(must(folders[first], 'five voters'));
    await rotAll(must(folders[second], 'five voters'));
    await pool.mount();
    for (const [i, before] of loads.entries()) t.same(await before.verify(), [], `round ${round}: files of round ${i}`);
    const broken = (await pool.daemonLog()).filter((line) => /voter \d+ is broken and will be repaired/.test(line));
    t.ok(broken.length >= 2, `round ${round}: both damaged voters were found: ${broken.length}`);
    await allFollow(pool);
    t.equal((await pool.status()).endangered_blobs, 0);

    // The repaired ones are worth as much as the others: without two that were never touched it goes on.
    await pool.unmount();
    const others = folders.filter((_, i) => i !== first && i !== second);
    for (const folder of others.slice(0, 2)) await rm(folder, { recursive: true });
    await rm(join(pool.root, 'state'), { recursive: true });
    await pool.mount();
    t.same(await load.verify(), [], `round ${round}: without two of the others`);
    await allFollow(pool);
    // What was verified is the beginning of the next round: nothing is in doubt any more.
    for (const name of [...load.doubt]) if (await exists(pool.at(name))) await unlink(pool.at(name));
    await pool.ostraka(['sync', pool.name]);
    for (const name of load.doubt) load.gone.add(name);
    load.doubt.clear();
  }
  await pool.unmount();
});
