/** The other verbs without a mount: help, import, settings, and refusals with their messages and exit codes. */
import t from 'tap';
import { open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { exitCodeOf, exitCodes } from '../../src/cli/exit-codes.js';
import { formatBytes } from '../../src/cli/output.js';
import { OperatingError } from '../../src/base/errors.js';
import type { Teardown } from '../support/pool.js';
import { Place, disks } from './place.js';

const { usage, missing, refused: busy, disks: bad } = exitCodes;
const six = ['d1', 'd2', 'd3', 'd4', 'd5', 'd6'];

async function withPool(t: Teardown): Promise<{ place: Place; paths: string[] }> {
  const place = await Place.create(t);
  const paths = await place.folders(...six);
  await place.ostraka(['init', 'photos', ...disks(paths)]);
  return { place, paths };
}

t.test('help', async (t) => {
  const place = await Place.create(t);
  const help = await place.ostraka(['--help']);
  t.equal(help.code, 0);
  t.match(help.stdout, /Exit codes:/);
  for (const { code, meaning } of Object.values(exitCodes)) t.match(help.stdout, `${code}  ${meaning}`);
  for (const verb of ['init', 'mount', 'unmount', 'status', 'list', 'import', 'sync', 'quota', 'settings']) {
    const { code, stdout } = await place.ostraka([verb, '--help']);
    t.equal(code, 0, verb);
    t.match(stdout, /Example:\n {2}ostraka /, verb);
  }
  t.equal((await place.ostraka(['statsu'])).code, usage.code);
  t.match((await place.ostraka(['statsu'])).stderr, /Did you mean status/);
  t.match((await place.ostraka(['--version'])).stdout, /^\d+\.\d+\.\d+/);
});

t.test('refusals', async (t) => {
  const { place } = await withPool(t);
  const refused = async (args: readonly string[], code: number, pattern: RegExp): Promise<void> => {
    const before = await place.content();
    const result = await place.ostraka(args);
    t.equal(result.code, code, `${args.join(' ')}: ${result.stderr}`);
    t.match(result.stderr, pattern, args.join(' '));
    t.match(result.stderr, /what to do/);
    t.same(await place.content(), before, 'nothing changed');
  };
  await place.folders('mnt', 'taken/inside');
  await writeFile(place.at('file'), '');
  const mountpoint = place.at('mnt');
  await refused(['status', 'nobody'], missing.code, /no pool "nobody" is known here/);
  await refused(['mount', 'nobody', mountpoint], missing.code, /no pool "nobody" is known here/);
  await refused(['mount', 'photos', place.at('none')], missing.code, /mount point is not there/);
  await refused(['mount', 'photos', place.at('file')], missing.code, /mount point is not a directory/);
  await refused(['mount', 'photos', place.at('taken')], busy.code, /mount point is not empty/);
  await refused(['mount', 'photos', '/proc'], busy.code, /mounted here already/);
  await refused(['mount', 'photos', mountpoint, '-o', 'ro,sideways'], usage.code, /"sideways" is not a mount option/);
  await refused(['unmount', 'photos'], missing.code, /pool "photos" is not mounted/);
  await refused(['unmount', mountpoint], missing.code, /no pool known here is mounted/);
  await refused(['sync', 'photos'], missing.code, /not mounted/);
  await refused(['settings', 'photos', 'colour=red'], usage.code, /no setting "colour"/);
  await refused(['settings', 'photos', 'durability=often'], usage.code, /"often" is not a value of durability/);
  await refused(['settings', 'photos', 'durability=close', 'read-cache=none'], usage.code, /"none" is not a value/);
  await refused(['settings', 'nobody'], missing.code, /no pool "nobody"/);
});

t.test('settings', async (t) => {
  const { place } = await withPool(t);
  t.match(JSON.parse((await place.ostraka(['settings', 'photos', '--json'])).stdout), { durability: 'interval', 'commit-interval': '1s' });
  t.equal((await place.ostraka(['settings', 'photos', 'durability=close', 'commit-interval=200ms'])).code, 0);
  t.equal((await place.ostraka(['settings', 'photos', 'durability'])).stdout, 'close\n');
  t.match((await place.ostraka(['settings', 'photos'])).stdout, /commit-interval +200ms +1s/);
});

t.test('import', async (t) => {
  const { place, paths } = await withPool(t);
  const elsewhere = { OSTRAKA_CONFIG_DIR: place.at('config2') };
  const own = await place.ostraka(['import', ...disks(paths.slice(1))], elsewhere);
  t.equal(own.code, 0, own.stderr);
  t.match(own.stderr, /not given; it was last seen at .*d1/);
  t.same(
    JSON.parse(await readFile(place.at('config2/photos.json'), 'utf8')),
    JSON.parse(await readFile(place.at('config/photos.json'), 'utf8')),
    'the same definition, from the disks alone',
  );
  const few = await place.ostraka(['import', ...disks(paths.slice(3))], elsewhere);
  t.equal(few.code, bad.code, few.stderr);
  t.match(few.stderr, /coded 4\+2, and 3 of its disks are not given/);

  // Disks at other places, one of them moved.
  await rename(paths[0] ?? '', place.at('moved'));
  await place.ostraka(['import', ...disks([place.at('moved'), ...paths.slice(1)])], elsewhere);
  t.match(JSON.parse(await readFile(place.at('config2/photos.json'), 'utf8')), { members: [{ directory: place.at('moved') }] });
  t.match(JSON.parse((await place.ostraka(['status', 'photos', '--json'])).stdout), { disks: [{ state: 'offline' }, { state: 'online' }] });

  const [other = ''] = await place.folders('other');
  await place.ostraka(['init', 'other', '--disk', other]);
  const mixed = await place.ostraka(['import', ...disks([...paths.slice(1), other])], elsewhere);
  t.equal(mixed.code, usage.code);
  t.match(mixed.stderr, /2 pools/);
  const foreign = await place.ostraka(['import', ...disks([...(await place.folders('empty')), ...paths.slice(1)])], elsewhere);
  t.equal(foreign.code, missing.code);
  t.match(foreign.stderr, /no disk of a pool is at .*empty/);

  // The name is another pool's on this machine.
  await rm(place.at('config2'), { recursive: true });
  await place.ostraka(['init', 'photos', ...disks(await place.folders('x1'))], elsewhere);
  const taken = await place.ostraka(['import', ...disks(paths.slice(1))], elsewhere);
  t.equal(taken.code, busy.code);
  t.match(taken.stderr, /another pool is known here as "photos"/);
  t.equal((await place.ostraka(['import', ...disks(paths.slice(1)), '--name', 'old-photos'], elsewhere)).code, 0);
  t.match((await place.ostraka(['list'], elsewhere)).stdout, /old-photos[^]*photos/);
});

t.test('damaged superblocks are told, and left as they are', async (t) => {
  const { place, paths } = await withPool(t);
  const path = `${paths[2] ?? ''}/ostraka.superblock`;
  const file = await open(path, 'r+');
  const { size } = await file.stat();
  await file.write(Buffer.alloc(size, 0x5a), 0, size, 0);
  await file.close();
  const before = await place.content();
  const result = await place.ostraka(['import', ...disks(paths)], { OSTRAKA_CONFIG_DIR: place.at('config2') });
  t.equal(result.code, bad.code, result.stderr);
  t.match(result.stderr, /d3\/ostraka.superblock are damaged/);
  const init = await place.ostraka(['init', 'new', ...disks(paths)]);
  t.not(init.code, 0);
  t.match(JSON.parse((await place.ostraka(['status', 'photos', '--json'])).stdout), {
    disks: { 2: { state: 'offline', reason: /damaged/ } },
  });
  t.same(await place.content(), before, 'nothing changed');
});

t.test('damaged definitions', async (t) => {
  const { place } = await withPool(t);
  for (const text of ['', '{}', '{"version":2}', 'null']) {
    await writeFile(place.at('config/photos.json'), text);
    const result = await place.ostraka(['status', 'photos']);
    t.equal(result.code, usage.code, result.stderr);
    t.match(result.stderr, /photos\.json/);
    t.match(result.stderr, /import/);
    const list = await place.ostraka(['list']);
    t.equal(list.code, 0, 'the others can be listed');
    t.match(list.stderr, /photos/);
  }
});

t.test('exit codes and figures', async (t) => {
  t.equal(exitCodeOf(new OperatingError('EBUSY', '')), busy.code);
  t.equal(exitCodeOf(new OperatingError('ECONNRESET', '')), exitCodes.failed.code);
  t.equal(exitCodeOf(new TypeError('')), exitCodes.internal.code);
  t.equal(formatBytes(0), '0 B');
  t.equal(formatBytes(1023), '1023 B');
  t.equal(formatBytes(1536), '1.5 KiB');
  t.equal(formatBytes(250 * 1024 ** 3), '250 GiB');
});
