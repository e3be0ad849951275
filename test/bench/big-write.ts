/**
 * `npm run bench:write`: where the processor time of a big write goes. The same mebibytes are written, with an fsync, to Ostraka, to the null file system on its
 * channel, and, six files of a quarter each, to the disks below; and are encoded. Prints seconds of the processor and what Ostraka takes beyond the sum of the
 * parts; with --svg FILE draws a flame graph of the daemon (needs perf: Debian package linux-perf).
 */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { must } from '../../src/base/assert.js';
import { systemRandom } from '../../src/base/clock.js';
import { BLOB_BYTES_MAX, MiB } from '../../src/base/limits.js';
import { nativeIo } from '../../src/base/native-io.js';
import { packageRoot } from '../../src/base/package-root.js';
import { sleep } from '../support/pool.js';
import { run } from '../support/run.js';
import { buildClient, measure } from './client.js';
import { flameGraph } from './flame-graph.js';
import { Janitor } from '../support/janitor.js';
import { processorSeconds, rest } from './measure-group.js';
import { markdownTable, median } from './report.js';
import { NullFileSystem, Ostraka } from './subjects/ostraka.js';
import { lacking } from './subjects/subject.js';

const { values: options } = parseArgs({
  options: {
    mebibytes: { type: 'string', default: '1024' },
    rounds: { type: 'string', default: '5' },
    images: { type: 'string', default: '/var/tmp' },
    json: { type: 'string', default: join(packageRoot, 'bench-results', 'big-write.json') },
    svg: { type: 'string' },
  },
});
const svg = options.svg === undefined ? undefined : resolve(options.svg);
const json = resolve(options.json);
const mebibytes = Number(options.mebibytes);
const rounds = Number(options.rounds);
const K = 4;
const M = 2;
const LIMIT_SECONDS = 300;
/** What a daemon puts off begins by then. */
const REST_MS = 1100;
const SAMPLES_PER_SECOND = 1999;

/** Processor seconds that encoding takes, with the checksums of frames. */
function encodeSeconds(): number {
  const io = nativeIo();
  const shardBytes = BLOB_BYTES_MAX / K;
  const data = Array.from({ length: K }, () => systemRandom.bytes(shardBytes));
  const parity = Array.from({ length: M }, () => new Uint8Array(shardBytes));
  const none = (count: number): undefined[] => Array.from({ length: count }, () => undefined);
  const before = process.cpuUsage();
  for (let blob = 0; blob < (mebibytes * MiB) / BLOB_BYTES_MAX; blob++) {
    io.rebuild(K, M, [...data, ...none(M)], [...none(K), ...parity]);
    for (const shard of [...data, ...parity]) io.frameCrcs(shard, 7, 0);
  }
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

const middle = (numbers: readonly number[]): number => must(median(numbers), 'a round');

/** Draws what the daemon's threads do in one more write. */
async function draw(ostraka: Ostraka, client: string, root: string, file: string): Promise<void> {
  const why = await lacking('linux-perf', 'perf');
  if (why !== undefined) throw new Error(why);
  const [pid] = await ostraka.pids();
  const data = join(root, 'perf.data');
  const args = ['record', '-q', '-e', 'cpu-clock', '-F', String(SAMPLES_PER_SECOND), '-g', '-p', String(pid), '-o', data];
  const perf = spawn('perf', args, { stdio: 'ignore' });
  const ended = new Promise((resolve) => perf.once('close', resolve));
  await sleep(1000);
  const path = join(ostraka.folder, 'drawn');
  await measure(client, [], LIMIT_SECONDS, ['write', path, String(mebibytes)]);
  perf.kill('SIGINT');
  await ended;
  const { stdout } = await run('perf', ['script', '-i', data, '-F', 'comm,ip,sym'], { limitMs: 300_000 });
  await writeFile(file, flameGraph(stdout, `The daemon while ${mebibytes} MiB are written to 4+2: processor time`));
  await rm(path);
}

async function main(): Promise<void> {
  if (process.geteuid?.() !== 0) throw new Error('it mounts and uses loop devices: it needs root');
  const images = await mkdtemp(join(options.images, 'ostraka-bench-images-'));
  const root = await mkdtemp(join(tmpdir(), 'ostraka-bench-'));
  const janitor = new Janitor();
  janitor.watch(root, images);
  // V8 leaves logs where a program was started that perf is to follow.
  process.chdir(root);
  try {
    const client = await buildClient(root);
    const site = (name: string) => ({
      root: join(root, name),
      images: join(images, name),
      diskBytes: (mebibytes + 2048) * MiB,
      folders: false,
    });
    // So that perf can name what V8 has compiled.
    if (svg !== undefined) process.env.NODE_OPTIONS = '--perf-basic-prof --interpreted-frames-native-stack';
    await mkdir(site('s0').root);
    await mkdir(site('s1').root);
    const ostraka = new Ostraka(site('s0'), { name: 'ostraka' });
    const nothing = new NullFileSystem(site('s1'));
    await ostraka.up();
    await nothing.up();
    const seconds = {
      ostraka: [] as number[],
      client: [] as number[],
      null: [] as number[],
      encode: [] as number[],
      files: [] as number[],
    };
    const write = async (folder: string, pids: readonly number[], size: number): Promise<{ own: number; daemons: number }> => {
      const path = join(folder, 'big-write');
      const before = await processorSeconds(pids);
      const { clientSeconds } = await measure(client, [], LIMIT_SECONDS, ['write', path, String(size)]);
      await rest(pids, REST_MS);
      const daemons = (await processorSeconds(pids)) - before;
      await rm(path);
      return { own: clientSeconds, daemons };
    };
    for (let round = 0; round < rounds; round++) {
      const big = await write(ostraka.folder, await ostraka.pids(), mebibytes);
      await rest(await ostraka.pids(), REST_MS);
      const bare = await write(nothing.folder, await nothing.pids(), mebibytes);
      let files = 0;
      for (const disk of ostraka.diskFolders) files += (await write(disk, [], mebibytes / K)).own;
      seconds.ostraka.push(big.own + big.daemons);
      seconds.client.push(big.own);
      seconds.null.push(bare.own + bare.daemons);
      seconds.files.push(files);
      seconds.encode.push(encodeSeconds());
    }
    const parts = middle(seconds.null) + middle(seconds.encode) + middle(seconds.files);
    const ratio = middle(seconds.ostraka) / parts;
    const row = (what: string, value: number): string[] => [what, value.toFixed(2)];
    process.stdout.write(
      markdownTable(
        [`${mebibytes} MiB written, fsync: processor seconds, median of ${rounds}`, ''],
        [
          row('Ostraka 4+2: the writer and the daemon', middle(seconds.ostraka)),
          row('… of that the writer', middle(seconds.client)),
          row('the null file system on the same channel: the writer and the server', middle(seconds.null)),
          row('encoding and checksums', middle(seconds.encode)),
          row('six files of a quarter each on the disks below', middle(seconds.files)),
          row('Ostraka × the sum of the three', ratio),
        ],
      ),
    );
    if (svg !== undefined) await draw(ostraka, client, root, svg);
    await ostraka.down();
    await nothing.down();
    await mkdir(join(json, '..'), { recursive: true });
    await writeFile(json, JSON.stringify({ when: new Date().toISOString(), mebibytes, seconds, ratio }, undefined, 1) + '\n');
  } finally {
    await janitor.finish();
  }
}

await main();
