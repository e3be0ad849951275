/** Every import of src/ points to a lower floor or stays in its folder, by the table in src/README.md; some packages belong to one folder alone. */
import t from 'tap';
import { readFile, readdir } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';
import { packageRoot } from '../src/base/package-root.js';

const sourceRoot = join(packageRoot, 'src');

/** Folder → floor, from the rows "| 7 | `cli/` | … |". */
function parseFloors(page: string): Map<string, number> {
  const floors = new Map<string, number>();
  for (const [, floor, folder] of page.matchAll(/^\|\s*(\d+)\s*\|\s*`([\w-]+)\/`/gm))
    if (folder !== undefined) floors.set(folder, Number(floor));
  return floors;
}

async function sources(): Promise<string[]> {
  const entries = await readdir(sourceRoot, { recursive: true });
  return entries.filter((name) => name.endsWith('.ts')).sort();
}

interface Import {
  /** Relative to src/. */
  readonly from: string;
  readonly specifier: string;
}

async function importsOf(from: string): Promise<Import[]> {
  const text = await readFile(join(sourceRoot, from), 'utf8');
  return ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => ({ from, specifier: fileName }));
}

/** Why an import is not allowed; undefined when it is. */
function complaint({ from, specifier }: Import, floors: ReadonlyMap<string, number>): string | undefined {
  const folder = from.split('/')[0] ?? '';
  const floor = floors.get(folder);
  if (floor === undefined) return `${from}: its folder is not in the table`;
  if (!specifier.startsWith('.')) return packageComplaint(from, folder, specifier);
  const target = relative(sourceRoot, resolve(sourceRoot, dirname(from), specifier));
  const targetFolder = target.split('/')[0] ?? '';
  if (targetFolder === folder) return undefined;
  const targetFloor = floors.get(targetFolder);
  if (targetFloor === undefined) return `${from}: imports ${specifier}, outside the house`;
  return targetFloor < floor ? undefined : `${from} (floor ${floor}) imports ${target} (floor ${targetFloor})`;
}

/** Packages and Node modules that only some folders may use, with the reason. */
const owners: Readonly<Record<string, readonly string[]>> = {
  'better-sqlite3': ['index'],
  // Disks are read and written in disk/ alone, natively. base/ finds the package, index/ has the working replica,
  // frontend/ the table of mounts, daemon/ and cli/ what is on no disk.
  'node:fs': ['base', 'index', 'daemon', 'cli'],
  'node:fs/promises': ['base', 'index', 'frontend', 'daemon', 'cli'],
  'node:child_process': ['daemon', 'cli'],
  'node:crypto': ['base'],
  commander: ['cli'],
  'cli-table3': ['cli'],
  'cli-progress': ['cli'],
  picocolors: ['cli'],
  pino: ['daemon'],
};

function packageComplaint(from: string, folder: string, specifier: string): string | undefined {
  const allowed = owners[specifier];
  return allowed === undefined || allowed.includes(folder)
    ? undefined
    : `${from} imports ${specifier}, which is for ${allowed.join(', ')} alone`;
}

t.test('every import', async (t) => {
  const floors = parseFloors(await readFile(join(sourceRoot, 'README.md'), 'utf8'));
  t.ok(floors.size >= 9, `the table has ${floors.size} folders`);
  const folders = (await readdir(sourceRoot, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map(({ name }) => name);
  for (const folder of folders) t.ok(floors.has(folder), `${folder}/ has a floor`);
  const files = await sources();
  const complaints: string[] = [];
  let count = 0;
  for (const file of files)
    for (const each of await importsOf(file)) {
      count++;
      const found = complaint(each, floors);
      if (found !== undefined) complaints.push(found);
    }
  t.ok(count > 100, `${count} imports in ${files.length} files`);
  t.same(complaints, []);
});

t.test('the check finds what it is for', async (t) => {
  const floors = new Map([
    ['cli', 7],
    ['frontend', 5],
    ['durability', 5],
    ['index', 3],
    ['storage', 3],
    ['base', 0],
  ]);
  const check = (from: string, specifier: string): boolean => complaint({ from, specifier }, floors) === undefined;
  t.ok(check('cli/main.ts', '../base/errors.js'));
  t.ok(check('frontend/fuse/session.ts', './protocol.js'));
  t.ok(check('frontend/fuse/session.ts', '../../base/errors.js'));
  t.notOk(check('base/errors.ts', '../cli/main.js'), 'up');
  t.notOk(check('index/a.ts', '../storage/storage.js'), 'sideways');
  t.notOk(check('durability/a.ts', '../frontend/fuse/protocol.js'), 'sideways');
  t.notOk(check('cli/main.ts', '../../test/floors.test.js'), 'outside');
  t.notOk(check('attic/a.ts', '../base/errors.js'), 'a folder without a floor');
  t.notOk(check('storage/a.ts', 'better-sqlite3'));
  t.ok(check('index/a.ts', 'better-sqlite3'));
  t.notOk(check('storage/a.ts', 'node:fs/promises'));
});
