/** Many extended attributes: their bound, and that each one costs the same. */
import t from 'tap';
import { XATTR_LIST_BYTES_MAX, XATTR_ROW_BYTES, XATTR_VALUE_BYTES_MAX, XATTRS_BYTES_MAX } from '../../src/base/limits.js';
import { TABLES } from '../../src/index/schema/tables.js';
import { checkRows } from './check.js';
import { codeOf, countScanned, openPool, pattern, root, ROOT, rowsByTable, writeFile, type Pool } from './fixture.js';

const named = (number: number, letters = 0): string => `user.${'n'.repeat(letters)}${number.toString().padStart(5, '0')}`;

/** Sets attributes until there is no room; how many there are then. */
async function fill({ namespace }: Pool, ino: number, valueBytes: number, letters: number): Promise<number> {
  for (let number = 0; ; number++) {
    const code = await codeOf(() => namespace.setxattr(ino, named(number, letters), pattern(valueBytes, number), 0, root));
    if (code === 'ENOSPC') return number;
    if (code !== 'none') throw new Error(`attribute ${number}: ${code}`);
  }
}

for (const { kind, valueBytes, letters, most } of [
  {
    kind: 'long values',
    valueBytes: XATTR_VALUE_BYTES_MAX,
    letters: 0,
    most: XATTRS_BYTES_MAX / (XATTR_VALUE_BYTES_MAX + XATTR_ROW_BYTES),
  },
  { kind: 'many', valueBytes: 1, letters: 0, most: XATTRS_BYTES_MAX / XATTR_ROW_BYTES },
  { kind: 'long names', valueBytes: 1, letters: 240, most: XATTR_LIST_BYTES_MAX / (240 + 11) },
])
  t.test(`${kind}: as many as may be, whoever counts them`, async (test) => {
    const pool = await openPool(test);
    const { namespace, index, log, storage } = pool;
    const ino = await writeFile(namespace, ROOT, 'f', Buffer.from('x'));
    const count = await fill(pool, ino, valueBytes, letters);
    test.ok(count <= most && count > most * 0.95, `${count} of ${most}`);
    const names = Array.from({ length: count }, (_, number) => named(number, letters));
    test.same(await namespace.listxattr(ino), names);
    await namespace.setxattr(ino, named(3, letters), pattern(valueBytes, 77), 0, root);
    test.ok((await namespace.getxattr(ino, named(3, letters)))?.equals(pattern(valueBytes, 77)), 'one of them may change');
    await namespace.removexattr(ino, named(5, letters), root);
    await namespace.setxattr(ino, named(5, letters), pattern(valueBytes, 78), 0, root);
    const another = named(count, letters);
    test.equal(await codeOf(() => namespace.setxattr(ino, another, pattern(valueBytes, 1), 0, root)), 'ENOSPC', 'one for another');
    const later = await openPool(test, { entries: log.entries, storage, epoch: 2 });
    test.equal(
      await codeOf(() => later.namespace.setxattr(ino, another, pattern(valueBytes, 1), 0, root)),
      'ENOSPC',
      'in the next mount, too',
    );
    test.same(await later.namespace.listxattr(ino), names);
    await checkRows(index);
    await namespace.unlink(ROOT, 'f', root);
    test.equal((await rowsByTable(index)).get('x'), undefined, 'all go with the file');
  });

t.test('who has more than that, of an earlier version, keeps them', async (test) => {
  const pool = await openPool(test);
  const { namespace } = pool;
  const ino = await writeFile(namespace, ROOT, 'f', Buffer.from('x'));
  await namespace.setxattr(ino, named(0), Buffer.alloc(1), 0, root);
  await pool.index.transact(async (tx) => {
    const [row] = await tx.scan({ start: Buffer.from([TABLES.xattr]), end: Buffer.from([TABLES.xattr + 1]), limit: 1 });
    if (row === undefined) throw new Error('it is there');
    const { key } = row;
    for (let number = 1; number <= 3000; number++) {
      const other = Buffer.from(key);
      other.write(named(number).slice(-5), key.indexOf('00000'), 'latin1');
      tx.put(other, row.value);
    }
  });
  const later = (await openPool(test, { entries: pool.log.entries, storage: pool.storage, epoch: 2 })).namespace;
  test.equal((await later.listxattr(ino)).length, 3001);
  test.equal(await codeOf(() => later.setxattr(ino, 'user.more', Buffer.alloc(1), 0, root)), 'ENOSPC');
  await later.setxattr(ino, named(3000), Buffer.alloc(1, 7), 0, root);
  test.same(await later.getxattr(ino, named(3000)), Buffer.alloc(1, 7), 'but not longer');
  test.equal(await codeOf(() => later.setxattr(ino, named(3000), Buffer.alloc(2), 0, root)), 'ENOSPC');
  for (let number = 0; number <= 3000; number++) await later.removexattr(ino, named(number), root);
  test.same(await later.listxattr(ino), []);
  await later.setxattr(ino, 'user.more', Buffer.alloc(1), 0, root);
  test.same(await later.listxattr(ino), ['user.more']);
});

t.test('a new one has none of the others read', async (test) => {
  const pool = await openPool(test);
  const ino = await writeFile(pool.namespace, ROOT, 'f', Buffer.from('x'));
  const scanned = countScanned(pool.working);
  for (let number = 0; number < 100; number++) await pool.namespace.setxattr(ino, named(number), pattern(10, number), 0, root);
  test.equal(scanned.rows, 0);
  await pool.namespace.removexattr(ino, named(7), root);
  scanned.rows = 0;
  for (let number = 100; number < 200; number++) await pool.namespace.setxattr(ino, named(number), pattern(10, number), 0, root);
  test.equal(scanned.rows, 99, 'counted once after one went');
});
