/** What can be wrong with quotas, for the test of the check. */
import { encodeQuota } from '../../src/index/schema/quota-row.js';
import * as tables from '../../src/index/schema/tables.js';
import { inos, putInode, putQuota, quotaOf, type Case } from './check-pool.js';

export const quotaCases: readonly Case[] = [
  {
    code: 'quota-count',
    name: 'a quota that counts wrong',
    break: putQuota({ usedBytes: 5, usedInodes: 7 }),
  },
  {
    code: 'quota-mark',
    name: 'a file that counts in no quota, and is below one',
    break: putInode(inos.counted, { quota: 0 }),
    also: ['quota-count'],
  },
  {
    code: 'quota-mark',
    name: 'a directory that counts in a quota which is not there',
    break: putInode(inos.within, { quota: inos.big }),
    also: ['quota-count'],
  },
  {
    code: 'quota-parent',
    name: 'a quota that counts in one that it is not below',
    break: async (tx) => {
      tx.put(tables.quotaKey(inos.within), encodeQuota({ ...(await quotaOf(tx)), parent: 0, usedInodes: 2, usedBytes: 600 }));
      for (const ino of [inos.within, inos.counted]) await putInode(ino, { quota: inos.within })(tx);
    },
    also: ['quota-count'],
  },
  {
    code: 'quota-stray',
    name: 'a quota of a directory that is not there',
    break: async (tx) => {
      tx.put(tables.quotaKey(inos.big), encodeQuota({ ...(await quotaOf(tx)), usedInodes: 0, usedBytes: 0 }));
    },
  },
  {
    code: 'row-damaged',
    name: 'a quota that cannot be read is dropped, and nothing counts in it any more',
    break: async (tx) => {
      tx.put(tables.quotaKey(inos.limited), Buffer.from([9]));
    },
    also: ['quota-mark'],
  },
];
