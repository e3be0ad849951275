/** What the pages of both bindings say about differences from a local file system is what the suite finds. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/base/package-root.js';
import { ostrakaExceptions } from './exceptions.js';
import { fuseNativeExceptions } from './fuse-native-exceptions.js';
import { differencesTable } from './table.js';

const pages = [
  { page: 'src/frontend/fuse/README.md', exceptions: ostrakaExceptions, by: 'test/long/posix.test.ts' },
  { page: 'src/frontend/fuse-native/README.md', exceptions: fuseNativeExceptions, by: 'test/long/posix-fuse-native.test.ts' },
];

for (const { page, exceptions, by } of pages)
  t.test(`the table of differences in ${page}`, async (t) => {
    const lines = (await readFile(join(packageRoot, page), 'utf8')).split('\n');
    const start = lines.findIndex((line) => line.startsWith('| operation') && line.includes('what Ostraka does'));
    const wanted = differencesTable(exceptions, by);
    t.same(lines.slice(start, start + wanted.length), wanted, 'each exception of the suite is a row, and nothing else is');
    t.notOk(lines[start + wanted.length]?.startsWith('|'), 'the table ends there');
  });
