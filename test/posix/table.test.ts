/** What the front end's page says about differences from a local file system is what the suite finds. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { packageRoot } from '../../src/base/package-root.js';
import { ostrakaExceptions } from './exceptions.js';
import { differencesTable } from './table.js';

t.test('the table of differences', async (t) => {
  const page = await readFile(join(packageRoot, 'src/frontend/fuse/README.md'), 'utf8');
  const lines = page.split('\n');
  const start = lines.findIndex((line) => line.startsWith('| operation') && line.includes('what Ostraka does'));
  const wanted = differencesTable(ostrakaExceptions, 'test/long/posix.test.ts');
  t.same(lines.slice(start, start + wanted.length), wanted, 'each exception of the suite is a row, and nothing else is');
  t.notOk(lines[start + wanted.length]?.startsWith('|'), 'the table ends there');
});
