/**
 * One break for each rule of the check, on a copy of a sound pool: the check finds it, and no other rule cries but those that follow from it; the repair
 * leaves nothing to find, or says that it cannot, and no name or byte of others is touched.
 */
import t from 'tap';
import { must } from '../../src/base/assert.js';
import { systemClock } from '../../src/base/clock.js';
import { check, repair } from '../../src/durability/check/check.js';
import { RULES, type FindingCode } from '../../src/durability/check/finding.js';
import { decodeEndangered, encodeEndangered, encodeLocationRow, encodeReferences } from '../../src/index/schema/blob-rows.js';
import { encodeDirent } from '../../src/index/schema/dirent-row.js';
import { decodeExtent, encodeExtent } from '../../src/index/schema/extent-row.js';
import { decodeInode } from '../../src/index/schema/inode-row.js';
import * as tables from '../../src/index/schema/tables.js';
import { decodeCounters, encodeCounters, encodeNumber } from '../../src/index/schema/work-rows.js';
import { Ledger } from '../../src/namespace/ledger.js';
import { encodeLocation, MISSING } from '../../src/storage/location-codec.js';
import type { ShardDamage } from '../../src/storage/storage.js';
import { big, blob, direntOf, extentOf, inodeOf, inos, locationOf, pathless, putInode, small, sound, type Case } from './check-pool.js';
import { quotaCases } from './check-quota-cases.js';
import { contentOf, indexAfter, openPool, root, ROOT } from '../namespace/fixture.js';

const cases: readonly Case[] = [
  {
    code: 'row-damaged',
    name: 'an extent that cannot be decoded',
    break: async (tx) => {
      const { key } = await extentOf(tx, inos.small);
      tx.put(key, Buffer.from([9]));
    },
    also: ['allocated'],
    stays: true,
  },
  {
    code: 'row-damaged',
    name: 'an order row that cannot be decoded is made again',
    break: async (tx) => {
      tx.put(tables.orderKey(inos.folder, (await direntOf(tx, inos.folder, 'big')).cookie), Buffer.from([77]));
    },
    also: ['order-missing'],
  },
  {
    code: 'row-unknown',
    name: 'a table of a later version is left alone',
    break: async (tx) => {
      tx.put(Buffer.from('Qx'), Buffer.from('y'));
    },
    stays: true,
    then: async (index) => {
      t.ok(await index.get(Buffer.from('Qx')));
    },
  },
  {
    code: 'root-missing',
    name: 'no root',
    break: async (tx) => {
      tx.delete(tables.inodeKey(ROOT));
    },
    also: ['counters'],
    stays: true,
  },
  {
    code: 'next-inode',
    name: 'counters that cannot be read are counted anew',
    break: async (tx) => {
      tx.put(tables.countersKey(), Buffer.from([200, 1]));
    },
  },
  {
    code: 'next-inode',
    name: 'a number that would be given twice',
    break: async (tx) => {
      const counters = decodeCounters(must(await tx.get(tables.countersKey()), 'counters'));
      tx.put(tables.countersKey(), encodeCounters({ ...counters, nextIno: inos.small }));
    },
  },
  {
    code: 'next-cookie',
    name: 'a place in a list that would be given twice',
    break: putInode(inos.folder, { nextCookie: 4 }),
  },
  {
    code: 'order-missing',
    name: 'a name that is not listed',
    break: async (tx) => {
      tx.delete(tables.orderKey(inos.folder, (await direntOf(tx, inos.folder, 'big')).cookie));
    },
  },
  {
    code: 'order-stray',
    name: 'a listed name that cannot be looked up comes back',
    break: async (tx) => {
      tx.delete(tables.direntKey(inos.folder, 'big'));
    },
    also: ['no-name', 'directory-size'],
    then: async (index) => {
      t.ok(await index.get(tables.direntKey(inos.folder, 'big')), 'the name is back');
    },
  },
  {
    code: 'dirent-parent',
    name: 'names in a directory that is lost: its files go to lost+found',
    break: async (tx) => {
      tx.delete(tables.inodeKey(inos.inner));
    },
    also: ['dirent-dangling', 'counters'],
    then: async (index) => {
      t.equal(await pathless(index, `#${inos.small}`), inos.small);
    },
  },
  {
    code: 'dirent-dangling',
    name: 'a name of an inode that is not there; its data comes back in lost+found',
    break: async (tx) => {
      tx.delete(tables.inodeKey(inos.small));
    },
    also: ['content-lost', 'counters'],
    then: async (index) => {
      t.equal(await pathless(index, `#${inos.small}`), inos.small, 'the data has a name again');
      const row = decodeInode(inos.small, must(await index.get(tables.inodeKey(inos.small)), 'the inode'));
      t.equal(row.size, small.length);
    },
  },
  {
    code: 'dirent-type',
    name: 'an entry with another type',
    break: async (tx) => {
      const dirent = await direntOf(tx, inos.inner, 'link');
      tx.put(tables.direntKey(inos.inner, 'link'), encodeDirent({ ...dirent, type: 0o100000 }));
    },
    also: ['order-missing'],
  },
  {
    code: 'directory-names',
    name: 'a directory with a second name elsewhere',
    break: async (tx) => {
      const dirent = await direntOf(tx, inos.folder, 'inner');
      tx.put(tables.direntKey(ROOT, 'again'), encodeDirent({ ...dirent, cookie: 90 }));
    },
    also: ['order-missing', 'directory-size', 'links'],
    then: async (index) => {
      t.ok(await index.get(tables.direntKey(inos.folder, 'inner')), 'its own name stays');
      t.notOk(await index.get(tables.direntKey(ROOT, 'again')));
    },
  },
  {
    code: 'directory-names',
    name: 'a directory with two names in one place keeps one',
    break: async (tx) => {
      const dirent = await direntOf(tx, inos.folder, 'inner');
      tx.put(tables.direntKey(inos.folder, 'inner2'), encodeDirent({ ...dirent, cookie: 90 }));
    },
    also: ['order-missing', 'directory-size', 'links'],
  },
  {
    code: 'directory-parent',
    name: 'a directory that says it is elsewhere',
    break: putInode(inos.inner, { parent: ROOT }),
  },
  {
    code: 'directory-loop',
    name: 'directories that lie within each other',
    break: async (tx) => {
      // folder moves into inner, which is in folder.
      const dirent = await direntOf(tx, ROOT, 'folder');
      tx.delete(tables.direntKey(ROOT, 'folder'));
      tx.delete(tables.orderKey(ROOT, dirent.cookie));
      tx.put(tables.direntKey(inos.inner, 'folder'), encodeDirent({ ...dirent, cookie: 90 }));
      await putInode(inos.folder, { parent: inos.inner })(tx);
    },
    also: ['order-missing', 'directory-size', 'links'],
    then: async (index) => {
      t.equal(await pathless(index, `#${inos.folder}`), inos.folder, 'it is reached by lost+found');
    },
  },
  { code: 'directory-size', name: 'a wrong number of entries', break: putInode(inos.folder, { size: 17 }) },
  {
    code: 'no-name',
    name: 'a file without a name',
    break: async (tx) => {
      const { cookie } = await direntOf(tx, inos.folder, 'big');
      tx.delete(tables.direntKey(inos.folder, 'big'));
      tx.delete(tables.orderKey(inos.folder, cookie));
    },
    also: ['directory-size'],
    then: async (index) => {
      t.equal(await pathless(index, `#${inos.big}`), inos.big);
    },
  },
  { code: 'links', name: 'too few links', break: putInode(inos.twice, { links: 1 }) },
  {
    code: 'orphan-stray',
    name: 'a file that counts as unlinked and has a name',
    break: async (tx) => {
      tx.put(tables.orphanKey(inos.small), encodeNumber(1));
    },
  },
  {
    code: 'orphan-stray',
    name: 'an unlinked file that is not there',
    break: async (tx) => {
      tx.put(tables.orphanKey(99_999), encodeNumber(1));
    },
    also: ['next-inode'],
  },
  { code: 'xattr-flag', name: 'attributes that are denied', break: putInode(inos.big, { flags: 0 }) },
  {
    code: 'xattr-stray',
    name: 'attributes of nobody',
    break: async (tx) => {
      tx.put(tables.xattrKey(99_999, 'user.x'), Buffer.from([1, 65]));
    },
    also: ['next-inode'],
  },
  {
    code: 'symlink-missing',
    name: 'a link without a target',
    break: async (tx) => {
      tx.delete(tables.symlinkKey(inos.link));
    },
    stays: true,
  },
  {
    code: 'symlink-stray',
    name: 'a target without a link',
    break: async (tx) => {
      tx.put(tables.symlinkKey(99_999), Buffer.from([1, 65]));
    },
    also: ['next-inode'],
  },
  {
    code: 'extent-overlap',
    name: 'two stretches that overlap are told, not guessed at',
    break: async (tx) => {
      const { generation } = await inodeOf(tx, inos.small);
      const extent = { kind: 'inline' as const, offset: 10, bytes: 20, data: Buffer.alloc(20) };
      tx.put(tables.extentKey(inos.small, generation, 10), encodeExtent(extent));
    },
    also: ['allocated'],
    stays: true,
  },
  {
    code: 'extent-beyond',
    name: 'data behind the end of a file is shown, not cut',
    break: putInode(inos.small, { size: 100 }),
    then: async (index) => {
      t.equal(decodeInode(inos.small, must(await index.get(tables.inodeKey(inos.small)), 'row')).size, small.length);
    },
  },
  {
    code: 'extent-outside',
    name: 'a stretch behind the end of its blob',
    break: async (tx) => {
      const { key, value } = await extentOf(tx, inos.big);
      const extent = decodeExtent(0, value);
      if (extent.kind === 'blob') tx.put(key, encodeExtent({ ...extent, blobOffset: 1_000_000 }));
    },
    stays: true,
  },
  {
    code: 'content-stray',
    name: 'a content that was replaced and never dropped',
    break: async (tx) => {
      const { value } = await extentOf(tx, inos.small);
      tx.put(tables.extentKey(inos.small, 900, 0), value);
    },
  },
  { code: 'allocated', name: 'wrong allocated bytes', break: putInode(inos.small, { allocatedBytes: 5 }), also: ['counters'] },
  {
    code: 'blob-missing',
    name: 'a blob that nothing is known of',
    break: async (tx) => {
      tx.delete(tables.blobKey(blob));
    },
    stays: true,
  },
  {
    code: 'blob-unreferenced',
    name: 'a blob that nothing refers to',
    break: async (tx) => {
      const location = { ...(await locationOf(tx)), blob: blob + 1000 };
      tx.put(tables.blobKey(blob + 1000), encodeLocationRow(encodeLocation(location)));
    },
    then: async (index) => {
      t.ok(await index.get(tables.freeKey(blob + 1000, 0)), 'it waits for the collector');
    },
  },
  {
    code: 'blob-disk',
    name: 'a shard on a disk that is not of the pool',
    break: async (tx) => {
      const location = await locationOf(tx);
      const shards = location.shards.map((place, shard) => (shard === 2 ? { ...place, disk: 4000 } : place));
      tx.put(tables.blobKey(blob), encodeLocationRow(encodeLocation({ ...location, shards })));
    },
    then: async (index) => {
      t.same(decodeEndangered(must(await index.get(tables.endangeredKey(blob)), 'recorded')), [2]);
    },
  },
  {
    code: 'location',
    name: 'the location of another blob',
    break: async (tx) => {
      tx.put(tables.blobKey(blob), encodeLocationRow(encodeLocation({ ...(await locationOf(tx)), blob: blob + 7 })));
    },
    stays: true,
  },
  {
    code: 'references',
    name: 'too many references',
    break: async (tx) => {
      tx.put(tables.referencesKey(blob), encodeReferences(3));
    },
  },
  {
    code: 'references',
    name: 'references of nobody',
    break: async (tx) => {
      tx.put(tables.referencesKey(blob + 1000), encodeReferences(3));
    },
  },
  {
    code: 'part-stray',
    name: 'a part of no upload',
    break: async (tx) => {
      tx.put(tables.partKey(55, blob), encodeNumber(0));
      tx.put(tables.referencesKey(blob), encodeReferences(2));
    },
  },
  {
    code: 'endangered-missing',
    name: 'a shard that is nowhere, and heal does not know',
    break: async (tx) => {
      const location = await locationOf(tx);
      const shards = location.shards.map((place, shard) => (shard === 1 ? MISSING : place));
      tx.put(tables.blobKey(blob), encodeLocationRow(encodeLocation({ ...location, shards })));
    },
  },
  {
    code: 'endangered-stray',
    name: 'a record of missing shards of nobody',
    break: async (tx) => {
      tx.put(tables.endangeredKey(blob + 1000), encodeEndangered([1]));
    },
  },
  {
    code: 'free-in-use',
    name: 'a blob that is in use and about to go',
    break: async (tx) => {
      tx.put(tables.freeKey(blob, 0), must(await tx.get(tables.blobKey(blob)), 'row'));
    },
  },
  {
    code: 'free-in-use',
    name: 'places that are in use and about to go',
    break: async (tx) => {
      tx.put(tables.freeKey(blob, 1), must(await tx.get(tables.blobKey(blob)), 'row'));
    },
  },
  {
    code: 'counters',
    name: 'wrong counters',
    break: async (tx) => {
      const counters = decodeCounters(must(await tx.get(tables.countersKey()), 'counters'));
      tx.put(tables.countersKey(), encodeCounters({ ...counters, inodes: 3, usedBytes: 1 }));
    },
  },
  {
    code: 'record',
    name: 'a record that is not as it was written',
    break: async () => undefined,
    damage: [{ shard: 4, code: 'EBADMSG' }],
    then: async (index) => {
      t.same(decodeEndangered(must(await index.get(tables.endangeredKey(blob)), 'recorded')), [4]);
    },
  },
  {
    code: 'blob-lost',
    name: 'a blob with too few good records',
    break: async () => undefined,
    damage: [0, 1, 2].map((shard) => ({ shard, code: 'EBADMSG' as const })),
    also: ['record'],
  },
  ...quotaCases,
];

const disks = new Set(Array.from({ length: 100 }, (_, index) => index + 1));
const records = (damage: readonly ShardDamage[]) => ({
  depth: 'headers' as const,
  storage: { inspect: async (location: { blob: number }) => (location.blob === blob ? [...damage] : []) },
});

t.test('a sound pool has nothing to find', async (t) => {
  const { index } = indexAfter(sound.entries);
  const report = await check({ index, clock: systemClock, disks, records: records([]) });
  t.same(report.findings, []);
  t.ok(report.rows > 30);
  t.equal(report.records?.blobs, sound.storage.blobs.size);
});

t.test('a pool that was never mounted has nothing to find', async (t) => {
  t.same((await check({ index: indexAfter([]).index, clock: systemClock })).findings, []);
});

for (const each of cases)
  t.test(`${each.code}: ${each.name}`, async (t) => {
    const { index } = indexAfter(sound.entries);
    await index.transact((tx) => each.break(tx));
    const options = { index, clock: systemClock, disks, records: records(each.damage ?? []) };
    const found = await check(options);
    t.same(Object.keys(found.counts).sort(), [each.code, ...(each.also ?? [])].sort(), JSON.stringify(found.findings));
    const before = index.headPosition;
    await check(options);
    t.equal(index.headPosition, before, 'a check changes nothing');
    const ledger = new Ledger(index, sound.storage, () => undefined);
    await ledger.load();
    const told: string[] = [];
    const mended = await repair({
      ...options,
      ledger,
      told: async (steps) => {
        const wrong = (await check(options)).findings.map(({ message }) => message);
        for (const { message, repair: what } of steps) {
          told.push(`${message}: ${what ?? ''}`);
          t.ok(wrong.includes(message), `told before it is done: ${message}`);
        }
      },
    });
    if (each.stays === true) t.ok(mended.after.counts[each.code], 'it is told again');
    else t.same(mended.after.findings, [], 'nothing is left to find');
    t.ok(told.length >= mended.repaired.length);
    await each.then?.(index);
  });

t.test('every rule has a case', async (t) => {
  t.same(
    Object.keys(RULES).filter((code) => !cases.some((each) => each.code === code || each.also?.includes(code as FindingCode))),
    [],
  );
});

t.test('what was repaired is read as before', async (t) => {
  const { index, log } = indexAfter(sound.entries);
  const doing = cases.filter(({ code }) => ['no-name', 'links', 'order-missing', 'counters', 'directory-size'].includes(code));
  for (const each of doing) await index.transact((tx) => each.break(tx));
  const ledger = new Ledger(index, sound.storage, () => undefined);
  await ledger.load();
  const { after } = await repair({ index, clock: systemClock, disks, ledger });
  t.same(after.findings, []);
  const { namespace } = await openPool(t, { entries: [...sound.entries, ...log.entries], storage: sound.storage.copy(), epoch: 2 });
  const lost = must(await namespace.lookup(ROOT, 'lost+found', root), 'the name is there').ino;
  t.same(await contentOf(namespace, must(await namespace.lookup(lost, `#${inos.big}`, root), 'the name is there').ino), big);
  t.same(await contentOf(namespace, must(await namespace.lookup(inos.inner, 'small', root), 'the name is there').ino), small);
});
