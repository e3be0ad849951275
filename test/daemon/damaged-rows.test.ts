/**
 * Rows that are read while a pool is opened, each damaged in turn: the pool can be opened and read, says what is wrong where nothing may be changed, and a check
 * repairs it without losing a file. Nothing that such a row protects is given away.
 */
import t, { type Test } from 'tap';
import { keyOf } from '../../src/index/keys.js';
import {
  countersKey,
  endangeredKey,
  freeKey,
  garbageKey,
  inodeKey,
  orphanKey,
  packableKey,
  partKey,
  TABLES,
  uploadKey,
} from '../../src/index/schema/tables.js';
import { cleanStopKey, diskOutKey, keepUnknownKey, settingKey } from '../../src/index/schema/pool-rows.js';
import { decodeCounters, encodeNumber } from '../../src/index/schema/work-rows.js';
import { must } from '../../src/base/assert.js';
import { keepsUnknown } from '../../src/durability/orphans.js';
import type { CheckResult } from '../../src/daemon/check-job.js';
import type { Pool } from '../../src/daemon/pool.js';
import { reportPool } from '../../src/daemon/pool-report.js';
import { isActive } from '../../src/durability/progress.js';
import { systemClock } from '../../src/base/clock.js';
import { PoolRig, readFile, writeFile } from './pool-rig.js';

const GARBAGE = Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
const content = Buffer.alloc(300_000, 'what was written ');

interface Case {
  readonly name: string;
  readonly keys: readonly Buffer[];
  /** The row is taken away instead. */
  readonly missing?: true;
  /** The pool can be written all the same. */
  readonly writable?: true;
  /** What the index holds after the repair. */
  readonly then?: (pool: Pool, t: Test) => Promise<void>;
}

const raw = (table: number): Buffer => Buffer.concat([Buffer.from([table]), GARBAGE]);

const cases: readonly Case[] = [
  { name: 'the counters', keys: [countersKey()] },
  { name: 'counters that are gone', keys: [countersKey()], missing: true },
  { name: 'a cut that is not finished', keys: [garbageKey(2, 0)] },
  { name: 'contents to be dropped, and the key of one', keys: [garbageKey(2, 7), garbageKey(99, 0), raw(TABLES.garbage)] },
  {
    name: 'rows that nothing has to wait for',
    keys: [
      settingKey('commit-interval'),
      cleanStopKey(),
      keepUnknownKey(),
      diskOutKey(3),
      raw(TABLES.diskOut),
      keyOf(TABLES.job).restText('scrub').end(),
      uploadKey(77),
      partKey(77, 5),
      orphanKey(99),
      packableKey(2),
      endangeredKey(12),
      freeKey(2 ** 33, 0),
    ],
    writable: true,
    then: async (pool, t) => {
      t.equal(await pool.index.get(freeKey(2 ** 33, 0)), undefined, 'this start searches for what it spoke of');
      t.equal(await keepsUnknown(pool.index), true, 'what a recovery keeps is kept until the operator says so');
    },
  },
];

/** Runs a check with repairs on a pool that nobody uses. */
async function repaired(rig: PoolRig): Promise<CheckResult> {
  const pool = await rig.open(true);
  await pool.jobs.request('check', 'start', { depth: 'headers', repair: true });
  while (isActive(pool.jobs.status('check'))) await systemClock.sleep(20);
  const { state, result, message } = pool.jobs.status('check');
  t.equal(state, 'done', message ?? '');
  await rig.close(pool);
  return result as CheckResult;
}

for (const { name, keys, missing, writable, then } of cases)
  void t.test(name, async (t) => {
    const rig = await PoolRig.create(t, 3);
    let pool = await rig.open();
    await writeFile(pool, 'file', content);
    const before = decodeCounters(must(await pool.index.get(countersKey()), 'counters'));
    await rig.close(pool);
    // Where nothing else writes: what is damaged now is what the next start finds.
    pool = await rig.open(true);
    await pool.index.transact(async (tx) => {
      for (const key of keys)
        if (missing === true) tx.delete(key);
        else tx.put(key, GARBAGE);
    });
    await pool.index.durable();
    await rig.close(pool);

    pool = await rig.open();
    const report = await reportPool({ pool, name: 'p', mountpoint: '/m', readOnly: false });
    t.ok((await readFile(pool, 'file')).equals(content), 'everything can be read');
    if (writable === true) await writeFile(pool, 'more', content);
    else {
      t.equal(report.state, 'read-only');
      t.match(report.messages.join(), /The pool is read-only: a row of the index is damaged .*ostraka check --repair/);
      await t.rejects(writeFile(pool, 'more', content), { code: 'EROFS' });
      await t.rejects(pool.jobs.start('scrub'), { code: 'EROFS' });
    }
    await rig.close(pool);

    const result = await repaired(rig);
    t.equal(result.left, 0, JSON.stringify(result));

    pool = await rig.open();
    t.equal(pool.readOnlyReason, undefined);
    t.ok((await readFile(pool, 'file')).equals(content));
    await writeFile(pool, 'after', content);
    const after = decodeCounters(must(await pool.index.get(countersKey()), 'counters'));
    t.ok(after.nextIno > before.nextIno, 'no number is given twice');
    t.ok((await readFile(pool, 'after')).equals(content));
    await then?.(pool, t);
    await rig.close(pool);
  });

void t.test('counters are counted anew, past every number that something is left of', async (t) => {
  const rig = await PoolRig.create(t, 3);
  let pool = await rig.open();
  const ino = await writeFile(pool, 'file', content);
  await rig.close(pool);
  pool = await rig.open(true);
  const before = decodeCounters(must(await pool.index.get(countersKey()), 'counters'));
  await pool.index.transact(async (tx) => {
    // What is left of a file that is gone; and a key that no pool can have.
    tx.put(garbageKey(ino + 500, 0), encodeNumber(0));
    tx.put(garbageKey(2 ** 52, 0), encodeNumber(0));
    tx.put(countersKey(), GARBAGE);
  });
  await pool.index.durable();
  await rig.close(pool);
  t.equal((await repaired(rig)).left, 0);
  pool = await rig.open(true);
  const after = decodeCounters(must(await pool.index.get(countersKey()), 'counters'));
  t.same(after, { ...before, nextIno: ino + 501 });
  t.ok(await pool.index.get(inodeKey(ino)));
  await rig.close(pool);
});
