/** Snapshots on disks: on so many of them, whole or not there at all, whatever fails or crashes on the way; old ones go. */
import t, { type Test } from 'tap';
import { seededRandom, systemClock } from '../../src/base/clock.js';
import { newUuid } from '../../src/base/ids.js';
import type { OperatingError } from '../../src/base/errors.js';
import type { Disk } from '../../src/disk/disk.js';
import { openNativeDisk } from '../../src/disk/native-disk.js';
import {
  expireSnapshots,
  listSnapshots,
  parseSnapshotName,
  readSnapshot,
  SNAPSHOT_DIRECTORY,
  snapshotName,
  writeSnapshot,
} from '../../src/durability/snapshots.js';
import { mkdtemp, mkdir, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const seconds = Date.UTC(2026, 0, 2, 3, 4, 5) / 1000;

async function* pieces(bytes: number, failAt = Infinity): AsyncGenerator<Buffer> {
  const random = seededRandom(1);
  for (let at = 0; at < bytes; at += 1000) {
    if (at >= failAt) throw new Error('the index cannot be read');
    yield Buffer.from(random.bytes(1000));
  }
}

async function contentOf(source: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const piece of source) parts.push(piece);
  return Buffer.concat(parts);
}

/** Disks in folders. */
async function disks(test: Test, count: number): Promise<Disk[]> {
  const root = await mkdtemp(join(tmpdir(), 'ostraka-snapshots-'));
  const made: Disk[] = [];
  test.teardown(async () => {
    for (const disk of made) await disk.close();
    await rm(root, { recursive: true });
  });
  for (let i = 0; i < count; i++) {
    await mkdir(join(root, String(i)));
    made.push(await openNativeDisk(join(root, String(i)), async () => newUuid(seededRandom(i)), { clock: systemClock }));
  }
  return made;
}

t.test('names', async (t) => {
  t.equal(snapshotName(seconds, 1234), 'INDEX-20260102T030405Z-1234.ostraka');
  t.same(parseSnapshotName('INDEX-20260102T030405Z-1234.ostraka'), {
    name: 'INDEX-20260102T030405Z-1234.ostraka',
    seconds,
    position: 1234,
  });
  for (const name of ['INDEX-20260102T030405Z-1234.ostraka.new', 'INDEX-2026-1.ostraka', 'x']) t.equal(parseSnapshotName(name), undefined);
});

t.test('on so many disks, and read again', async (t) => {
  const all = await disks(t, 4);
  const failures: OperatingError[] = [];
  const onFailure = (_: Disk, error: OperatingError): void => void failures.push(error);
  const name = snapshotName(seconds, 7);
  const written = await writeSnapshot({ disks: all, copies: 3, name, pieces: pieces(50_000), onFailure });
  t.same(written, all.slice(0, 3));
  t.same(failures, []);
  for (const disk of written) t.ok((await contentOf(readSnapshot(disk, name))).equals(await contentOf(pieces(50_000))));
  t.same(await Promise.all(all.map(async (disk) => (await listSnapshots(disk)).length)), [1, 1, 1, 0]);
});

t.test('a source that fails leaves nothing', async (t) => {
  const [disk] = await disks(t, 1);
  if (disk === undefined) return;
  const name = snapshotName(seconds, 7);
  await t.rejects(
    writeSnapshot({ disks: [disk], copies: 1, name, pieces: pieces(50_000, 20_000), onFailure: () => undefined }),
    /cannot be read/,
  );
  t.same(await readdir(join(disk.directory, SNAPSHOT_DIRECTORY)), []);
});

t.test('a disk that fails on the way is left out; what it has is no snapshot', async (t) => {
  const all = await disks(t, 2);
  const [bad, good] = all;
  if (bad === undefined || good === undefined) return;
  let renamed = 0;
  const failing = new Proxy(bad, {
    get(target, property) {
      if (property === 'rename') return () => (renamed++, Promise.reject(Object.assign(new Error('no more'), { code: 'EIO' })));
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  const failures: string[] = [];
  const onFailure = (_: Disk, { code }: OperatingError): void => void failures.push(code);
  const name = snapshotName(seconds, 7);
  const written = await writeSnapshot({ disks: [failing, good], copies: 2, name, pieces: pieces(5000), onFailure });
  t.same(written, [good]);
  t.same([renamed, failures], [1, ['EIO']]);
  t.same(await listSnapshots(bad), []);
  await t.rejects(writeSnapshot({ disks: [failing], copies: 1, name, pieces: pieces(5000), onFailure }), { code: 'EIO' });
});

t.test('only the newest stay', async (t) => {
  const [disk] = await disks(t, 1);
  if (disk === undefined) return;
  for (let day = 0; day < 5; day++)
    await writeSnapshot({
      disks: [disk],
      copies: 1,
      name: snapshotName(seconds + day * 86_400, day),
      pieces: pieces(1000),
      onFailure: () => undefined,
    });
  t.equal(await expireSnapshots(disk, 2), 3);
  t.same(
    (await listSnapshots(disk)).map(({ position }) => position),
    [4, 3],
  );
});
